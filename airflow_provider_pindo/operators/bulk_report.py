"""
Who ended in which column: the seven numbers of a bulk send, and the report that names everybody.

The report is a view of the ledger: every try writes it anew, from the first row on, out of what earlier tries
left in the ledger and what it does itself. So nobody is missing from it and nobody is in it twice, also when
the try before was killed in the middle of a line.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import IO, Any, Self

from airflow_provider_pindo.api.recipients import DUPLICATE, EXCLUDED, INVALID, Chunk, Survey
from airflow_provider_pindo.operators.chunk_ledger import ChunkLedger, Outcome
from airflow_provider_pindo.operators.sources import storage_path

HEADER = ("row", "phonenumber", "name", "outcome", "reason", "sms_id")
#: Rejections that the result lists one by one.
LISTED = 100

_COLUMN = {INVALID: "rejected", DUPLICATE: "duplicate", EXCLUDED: "excluded"}


@dataclass(frozen=True, slots=True)
class Columns:
    """
    Where everybody ended: the first six add up to ``given``.

    Printed, it reads ``12 accepted, 3 rejected, 40 unknown, 945 not sent, 0 duplicates, 0 excluded of 1,000``.
    """

    accepted: int
    rejected: int
    unknown: int
    not_sent: int
    duplicates: int
    excluded: int
    given: int

    def __str__(self) -> str:
        return (
            f"{self.accepted:,} accepted, {self.rejected:,} rejected, {self.unknown:,} unknown, "
            f"{self.not_sent:,} not sent, {self.duplicates:,} duplicates, {self.excluded:,} excluded of {self.given:,}"
        )


@dataclass(frozen=True, slots=True)
class Somebody:
    """A recipient that the result or an error names."""

    row: int
    phonenumber: str
    name: str
    reason: str


@dataclass(slots=True)
class Tally:
    """
    Adds up what came of each chunk.

    :param found: which rows are not sent to, and why.
    :param report: is written a line for each row; None for no report.
    """

    found: Survey
    report: Report | None = None
    accepted: int = 0
    rejected: int = 0
    unknown: int = 0
    visited: int = 0
    requests: int = 0
    segments: int = 0
    cost: float = 0.0
    rejections: list[Somebody] = field(default_factory=list)
    unknowns: list[Somebody] = field(default_factory=list)
    unknown_entries: list[str] = field(default_factory=list)

    @property
    def sendable(self) -> int:
        """Recipients that are to be sent to."""
        return self.found.count(0)

    def add(self, chunk: Chunk, outcome: Outcome) -> None:
        """Add a chunk, now that its turn has come."""
        self.visited += len(chunk)
        self.add_counts(outcome, len(chunk))
        for reasons, people in ((outcome.rejected, self.rejections), (outcome.unknown, self.unknowns)):
            if reasons:
                people[:] = _first(people, _people(chunk, reasons))
        if outcome.unknown and len(self.unknown_entries) < LISTED:
            self.unknown_entries.append(ChunkLedger.key(chunk.index))
        if self.report is not None:
            self.report.add(chunk, outcome)

    def add_counts(self, outcome: Outcome, recipients: int) -> None:
        """Add the numbers alone, of a chunk whose turn did not come in this try."""
        self.accepted += outcome.count_accepted(recipients)
        self.rejected += outcome.count_rejected()
        self.unknown += outcome.count_unknown()
        self.requests += outcome.requests
        self.segments += outcome.segments
        self.cost += outcome.cost

    def leave_out(self, row: int, number: str, name: str, kind: int, reason: str) -> None:
        """Add a row that is not sent to."""
        if kind == INVALID:
            self.rejections[:] = _first(self.rejections, [Somebody(row, number, name, reason)])
        if self.report is not None:
            self.report.write([(row, number, name, _COLUMN[kind], reason, "")])

    def columns(self) -> Columns:
        """Return where everybody stands now."""
        return Columns(
            accepted=self.accepted,
            rejected=self.rejected + self.found.count(INVALID),
            unknown=self.unknown,
            not_sent=self.sendable - self.accepted - self.rejected - self.unknown,
            duplicates=self.found.count(DUPLICATE),
            excluded=self.found.count(EXCLUDED),
            given=self.found.given,
        )


def _people(chunk: Chunk, reasons: dict[str, list[int]]) -> Iterable[Somebody]:
    places = {row: place for place, row in enumerate(chunk.rows)}
    for reason, rows in reasons.items():
        for row in rows:
            yield Somebody(row, chunk.numbers[places[row]], chunk.names[places[row]], reason)


def _first(people: list[Somebody], more: Iterable[Somebody]) -> list[Somebody]:
    return nsmallest(LISTED, [*people, *more], key=lambda each: each.row)


class Report:
    """
    The CSV that names everybody: ``row, phonenumber, name, outcome, reason, sms_id``.

    :param path: path or URL, as ``ObjectStoragePath`` takes it. On this machine the lines can be read as they
        come; most object storage shows the file when it is complete.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> Self:
        target = storage_path(self._path)
        target.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[str] = target.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file)
        self._writer.writerow(HEADER)
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def add(self, chunk: Chunk, outcome: Outcome) -> None:
        """Write the lines of a chunk."""
        said: dict[int, tuple[str, str]] = dict.fromkeys(outcome.not_sent, ("not_sent", ""))
        for column, reasons in (("rejected", outcome.rejected), ("unknown", outcome.unknown)):
            for reason, rows in reasons.items():
                said |= dict.fromkeys(rows, (column, reason))
        accepted = ("accepted", "")
        self.write(
            (row, number, name, *said.get(row, accepted), outcome.sms_ids.get(row, ""))
            for row, number, name in zip(chunk.rows, chunk.numbers, chunk.names, strict=True)
        )
        self._file.flush()

    def write(self, lines: Iterable[tuple[Any, ...]]) -> None:
        """Write lines."""
        self._writer.writerows(lines)
