"""Who ended in which column: the numbers of a bulk send, and the report that names everybody.

The report is a view of the ledger. Every try writes it again from the first row on, from what earlier tries left in the
ledger and from what it does itself. So everybody is in it once, even when the try before was killed in the middle of
a line. The report of a try that is interrupted ends early, and the error says so. The report of the try before would
have everybody, but call some *not sent* who were texted since.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import Any

from airflow_provider_pindo._bulk.batch_entry import entry_key
from airflow_provider_pindo._bulk.batches import Batch
from airflow_provider_pindo._bulk.gate import Expiries
from airflow_provider_pindo._bulk.outcome import NOT_AS_WRITTEN, Outcome
from airflow_provider_pindo._bulk.preflight import DUPLICATE, EXCLUDED, INVALID, SEND, Preflight
from airflow_provider_pindo._bulk.row_numbers import MAX_LISTED
from airflow_provider_pindo._sources.files import is_local, storage_path
from airflow_provider_pindo.api.redaction import mask_error

HEADER = ("row", "phonenumber", "name", "outcome", "reason", "sms_id")
_COLUMN = {INVALID: "rejected", DUPLICATE: "duplicate"}


@dataclass(frozen=True, slots=True)
class Counts:
    """Where everybody ended: all but the last add up to ``given``.

    Printed, it reads ``12 accepted, 3 rejected, 40 unknown, 945 not sent, 0 duplicates, 0 excluded of 1,000``.
    """

    accepted: int
    rejected: int
    unknown: int
    not_sent: int
    duplicates: int
    excluded: int
    expired: int
    given: int

    def __str__(self) -> str:
        expired = f", {self.expired:,} expired" if self.expired else ""
        return (
            f"{self.accepted:,} accepted, {self.rejected:,} rejected, {self.unknown:,} unknown, "
            f"{self.not_sent:,} not sent, {self.duplicates:,} duplicates, {self.excluded:,} excluded{expired} of "
            f"{self.given:,}"
        )


@dataclass(frozen=True, slots=True)
class RecipientResult:
    """A recipient that the result or an error names; by the row alone where the number was not read in this try."""

    row: int
    phonenumber: str
    name: str
    reason: str


class ReportError(Exception):
    """The report cannot be written; what was sent is accounted for all the same."""


@dataclass(slots=True)
class Totals:
    """Adds up what came of each batch.

    :param preflight: which rows are not sent to, and why.
    :param report: is written a line for each row; None for no report.
    :param expiries: when the messages expire.
    :param failure: why the report is not complete; the numbers are right all the same.
    :param refused: how many Pindo refused; rows that preflight rejected are not among them.
    :param refused_people: the first of them.
    :param excluded_elsewhere: recipients that are excluded now, and stand in the column where an earlier try put them.
    :param unknown_not_resendable: unknown recipients that ``on_unknown="resend"`` does not send to: they are excluded,
        or their message has expired.
    :param unknown_entries: entries of the ledger with somebody unknown, in the order in which their batches ended: at
        most a hundred, and one more if there are more.
    :param has_changed_entry: whether one of them is not as a task wrote it.
    """

    preflight: Preflight
    report: Report | None = None
    failure: ReportError | None = None
    accepted: int = 0
    refused: int = 0
    unknown: int = 0
    excluded_elsewhere: int = 0
    unknown_not_resendable: int = 0
    visited: int = 0
    requests: int = 0
    segments: int = 0
    cost: float = 0.0
    refused_people: list[RecipientResult] = field(default_factory=list)
    unknowns: list[RecipientResult] = field(default_factory=list)
    unknown_entries: list[str] = field(default_factory=list)
    has_changed_entry: bool = False

    expiries: Expiries = field(default_factory=Expiries)
    #: One byte for each row that has an outcome, where the rows have expiries of their own.
    _has_outcome: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        if self.expiries.by_row:
            self._has_outcome = bytearray(len(self.preflight.kinds))

    @property
    def rejections(self) -> list[RecipientResult]:
        """The first whom preflight rejected, or Pindo refused."""
        return _first(self.refused_people, [RecipientResult(*person) for person in self.preflight.rejections])

    def add(self, batch: Batch, outcome: Outcome) -> None:
        """Add a batch that has ended."""
        self.visited += len(batch)
        self.add_counts(batch, outcome)
        if outcome.rejected:
            self.refused_people[:] = _first(self.refused_people, _people(batch, outcome.rejected))

    def add_counts(self, batch: Batch, outcome: Outcome) -> None:
        """Add the counts and the unknown of a batch that did not end in this try."""
        self.accepted += outcome.count_accepted(len(batch))
        self.refused += outcome.count_rejected()
        self.unknown += outcome.count_unknown()
        self.excluded_elsewhere += len(batch.excluded.difference(outcome.not_sent))
        if self._has_outcome:
            for row in set(batch.rows).difference(outcome.not_sent):
                self._has_outcome[row - 1] = True
        self.requests += outcome.requests
        self.segments += outcome.segments
        self.cost += outcome.cost
        if outcome.unknown:
            unknown = list(_people(batch, outcome.unknown))
            self.unknowns[:] = _first(self.unknowns, unknown)
            self.has_changed_entry |= NOT_AS_WRITTEN in outcome.unknown
            has_expired = self.expiries.have_expired()
            self.unknown_not_resendable += sum(
                person.row in batch.excluded or has_expired(person.row) for person in unknown
            )
            if (
                len(self.unknown_entries) <= MAX_LISTED
            ):  # pragma: no branch - one more says that there are more
                self.unknown_entries.append(entry_key(batch.index))

    def add_left_out(self, row: int, number: str, name: str, kind: int, reason: str) -> None:
        """Add a row that is in no batch."""
        if self.report is not None and self.failure is None:
            self._try(self.report.write, [(row, number, name, _COLUMN[kind], reason, "")])

    def write(self, batch: Batch, outcome: Outcome) -> None:
        """Write the lines of a batch into the report."""
        if self.report is not None and self.failure is None:
            self._try(self.report.add, batch, outcome, filter(self.expiries.have_expired(), outcome.not_sent))

    def what_report_lacks(self) -> str:
        """Return in a sentence how many rows the report has; empty if it names everybody, or cannot be written."""
        given = self.preflight.given
        if self.report is None or self.failure is not None or self.report.rows == given:
            return ""
        return f" The report names {self.report.rows:,} of {given:,} rows; the next try writes it anew."

    def close(self) -> None:
        """Close the report."""
        if self.report is not None:
            self._try(self.report.close)

    def _try(self, write: Callable[..., None], *args: Any) -> None:
        try:
            write(*args)
        except Exception as error:  # every storage has its own
            if self.failure is None:
                self.failure = ReportError(f"the report cannot be written ({mask_error(error)})")

    def counts(self) -> Counts:
        """Return where everybody stands now."""
        excluded = self.preflight.count(EXCLUDED) - self.excluded_elsewhere
        remaining = self.preflight.in_batches - self.accepted - self.refused - self.unknown - excluded
        expired = self._count_expired(remaining)
        return Counts(
            accepted=self.accepted,
            rejected=self.refused + self.preflight.count(INVALID),
            unknown=self.unknown,
            not_sent=remaining - expired,
            duplicates=self.preflight.count(DUPLICATE),
            excluded=excluded,
            expired=expired,
            given=self.preflight.given,
        )

    def _count_expired(self, remaining: int) -> int:
        """Return how many of those ``remaining`` have expired by now."""
        has_expired = self.expiries.have_expired()
        if not self._has_outcome:
            return remaining if has_expired(1) else 0
        kinds = self.preflight.kinds
        return sum(
            has_expired(row)
            for row, (kind, has_outcome) in enumerate(zip(kinds, self._has_outcome, strict=True), start=1)
            if kind == SEND and not has_outcome
        )


def _people(batch: Batch, reasons: dict[str, list[int]]) -> Iterable[RecipientResult]:
    positions = {row: position for position, row in enumerate(batch.rows)}
    for reason, rows in reasons.items():
        for row in rows:
            position = positions[row]
            number, name = (batch.numbers[position], batch.names[position]) if batch.numbers else ("", "")
            yield RecipientResult(row, number, name, reason)


def _first(people: list[RecipientResult], more: Iterable[RecipientResult]) -> list[RecipientResult]:
    return nsmallest(MAX_LISTED, [*people, *more], key=lambda person: person.row)


#: Returns the report's column "evidence" of a batch, by row. The delivery sensor finds a message without an id by it.
EvidenceColumn = Callable[[Batch, Outcome], Mapping[int, str]]

# What a spreadsheet would take for a formula. A number may start with a plus.
_starts_formula = re.compile(r"[=+\-@\t\r]").match
_is_number = re.compile(r"\+[0-9]{1,15}").fullmatch


def _safe_to_open(line: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a line of the report whose texts no spreadsheet takes for formulas, as OWASP describes.

    The number stays usable: ``+250…`` is unchanged, and anything else in its place is treated like a text.
    """
    row, number, name, outcome, reason, *others = line
    if _starts_formula(number) and not _is_number(number):
        number = f"'{number}"
    return row, number, _plain(name), outcome, _plain(reason), *others


def _plain(text: str) -> str:
    return f"'{text}" if _starts_formula(text) else text


class Report:
    """The CSV that names everybody: ``row, phonenumber, name, outcome, reason, sms_id``, and perhaps ``evidence``.

    :param path: path or URL, as ``ObjectStoragePath`` takes it. On this machine the lines can be read as they
        come; most object storage shows the file when it is complete.
    :param evidence: returns the column ``evidence`` of a batch, by row; None for no such column.
    """

    def __init__(self, path: str, evidence: EvidenceColumn | None = None) -> None:
        self._evidence = evidence
        #: Rows that it names.
        self.rows = 0
        target = storage_path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        # An earlier try that lives on, taken for dead, must not write between our lines: it keeps the old file.
        if is_local(target) and target.is_file():
            with suppress(OSError):  # in a folder that may not be written to the file is written anew
                target.unlink()
        # Half a surrogate pair, for which a row is rejected, becomes a question mark.
        self._file = target.open("w", encoding="utf-8", errors="replace", newline="")
        self._writer = csv.writer(self._file)
        self._writer.writerow(HEADER if evidence is None else (*HEADER, "evidence"))

    def add(self, batch: Batch, outcome: Outcome, expired: Iterable[int] = ()) -> None:
        """Write the lines of a batch.

        :param expired: those not sent whose message has expired.
        """
        columns = outcome.column_of_rows()
        columns |= dict.fromkeys(expired, ("expired", ""))
        columns |= dict.fromkeys(batch.excluded.intersection(outcome.not_sent), ("excluded", ""))
        accepted = ("accepted", "")
        evidence = {} if self._evidence is None else self._evidence(batch, outcome)
        self.write(
            (
                row,
                number,
                name,
                *columns.get(row, accepted),
                outcome.sms_ids.get(row, ""),
                evidence.get(row, ""),
            )
            for row, number, name in zip(batch.rows, batch.numbers, batch.names, strict=True)
        )
        self._file.flush()

    def write(self, lines: Iterable[tuple[Any, ...]]) -> None:
        """Write lines; the column ``evidence`` may be missing."""
        width = len(HEADER) + (self._evidence is not None)
        written = [_safe_to_open((*line, "")[:width]) for line in lines]
        self._writer.writerows(written)
        self.rows += len(written)

    def close(self) -> None:
        """Write what is left, and close the file."""
        self._file.close()
