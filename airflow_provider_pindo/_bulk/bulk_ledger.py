"""The ledger of a bulk send: a header, and an entry for each batch of up to 1,000 recipients.

It is a write-ahead log with group commit. One write records what came of the recipients before it and admits the next
ones; a request leaves only when a completed write has admitted its recipients. In an entry the admitted recipients
without an outcome are *unknown*, and those that are not admitted are *not sent*. So after a kill only the recipients
that the last write admitted, and whose outcome it could not know yet, are unknown.

A later try reads all entries before it starts. It sends to those not sent, and never to the accepted. A person settles
the unknown: they change the entry's status in the Task State Store to *sent* or *not_sent*.

An entry is small: rows are ranges (``1-57,59-100``), and numbers are masked. If anything but its status was changed,
all its recipients are unknown. If the header was changed, nothing is sent at all.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from airflow_provider_pindo._bulk.recipients import Batch
from airflow_provider_pindo._ledger.entry import (
    MAX_RECIPIENTS,
    NOT_SENT,
    SENT,
    UNKNOWN,
    VERSION,
    check_version,
    fingerprint,
)
from airflow_provider_pindo._ledger.store import Ledger
from airflow_provider_pindo.api.errors import PindoConfigurationError

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

KEY = "pindo_bulk"
#: Status of the header. A refused send stopped because Pindo refused everybody for one reason.
STARTED, FINISHED, REFUSED = "started", "finished", "refused"

#: Recipients that one entry covers, as far as they are a whole number of chunks.
ROWS_PER_ENTRY = MAX_RECIPIENTS

#: Why recipients are unknown whose request had no response yet when the task was killed.
IN_FLIGHT = "the task ended while they were in flight"
#: Why recipients are unknown whose entry a person has changed.
NOT_AS_WRITTEN = "their entry is not as the task wrote it"

#: Different reasons that an entry names, and characters of each: more would make it larger than the UI can edit.
_MAX_REASONS, _MAX_REASON = 10, 80
_OTHER_REASONS = "other reasons"


@dataclass(slots=True)
class Outcome:
    """What came of a batch's recipients, by their row numbers. Rows that it does not name were accepted.

    :param rejected: rows by Pindo's reason.
    :param unknown: rows by the reason why their outcome is unknown.
    :param not_sent: rows that no request was made for, among them the excluded.
    :param sms_ids: Pindo's id by row, of messages that were sent one by one.
    :param requests: requests that were made.
    :param segments: segments of the accepted messages.
    :param cost: USD that the accepted messages cost, estimated where Pindo did not say.
    :param unknown_cost: USD that the unknown ones cost if they were sent: an estimate.
    """

    rejected: dict[str, list[int]] = field(default_factory=dict)
    unknown: dict[str, list[int]] = field(default_factory=dict)
    not_sent: list[int] = field(default_factory=list)
    sms_ids: dict[int, str] = field(default_factory=dict)
    requests: int = 0
    segments: int = 0
    cost: float = 0.0
    unknown_cost: float = 0.0

    @property
    def status(self) -> str:
        """The status of the entry: unknown as long as somebody is, then whether everybody was processed."""
        if self.unknown:
            return UNKNOWN
        return NOT_SENT if self.not_sent else SENT

    def count_rejected(self) -> int:
        """Return how many were rejected."""
        return sum(map(len, self.rejected.values()))

    def count_unknown(self) -> int:
        """Return how many are unknown."""
        return sum(map(len, self.unknown.values()))

    def count_accepted(self, recipients: int) -> int:
        """Return how many of the batch's ``recipients`` were accepted."""
        return recipients - self.count_rejected() - self.count_unknown() - len(self.not_sent)

    def take_unknown(self) -> list[int]:
        """Return the unknown rows, and forget that they are."""
        rows = sorted(row for each in self.unknown.values() for row in each)
        self.unknown = {}
        return rows

    def put_back_rejected(self) -> None:
        """Have those who were rejected among those not sent, as if their turn had not come."""
        self.not_sent = sorted(chain(self.not_sent, *self.rejected.values()))
        self.rejected = {}

    def take(self, rows: Iterable[int]) -> dict[int, str]:
        """Take ``rows`` out of those not sent and the unknown; return why each of the latter was unknown."""
        taken = set(rows)
        if len(taken) == len(self.not_sent) and not self.unknown:
            self.not_sent = []
            return {}
        self.not_sent = [row for row in self.not_sent if row not in taken]
        if not self.unknown:
            return {}
        before = {row: reason for reason, some in self.unknown.items() for row in some if row in taken}
        others = {reason: [row for row in some if row not in taken] for reason, some in self.unknown.items()}
        self.unknown = {reason: some for reason, some in others.items() if some}
        return before

    def if_killed(self, admitted: Iterable[int], cost: float) -> Outcome:
        """Return a copy in which the ``admitted`` rows are unknown; if they were sent, they cost ``cost``."""
        outcome = replace(
            self,
            rejected={reason: rows.copy() for reason, rows in self.rejected.items()},
            unknown={reason: rows.copy() for reason, rows in self.unknown.items()},
            not_sent=sorted(self.not_sent),
            sms_ids=self.sms_ids.copy(),
            unknown_cost=self.unknown_cost + cost,
        )
        if in_flight := [*outcome.unknown.get(IN_FLIGHT, []), *admitted]:
            outcome.unknown[IN_FLIGHT] = in_flight
        return outcome

    def is_of(self, batch: Batch) -> bool:
        """Return whether it names only rows of ``batch``, and each once."""
        named = [*chain(*self.rejected.values(), *self.unknown.values()), *self.not_sent]
        rows = set(named)
        return len(rows) == len(named) and rows.issubset(batch.rows)


def format_rows(rows: Iterable[int]) -> str:
    """Return row numbers as ranges, such as ``1-57,59``."""
    parts: list[list[int]] = []
    for row in sorted(rows):
        if parts and parts[-1][1] == row - 1:
            parts[-1][1] = row
        else:
            parts.append([row, row])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


def parse_rows(ranges: str) -> list[int]:
    """Return the row numbers of ``1-57,59``.

    :raises ValueError: malformed, or more than an entry can hold.
    """
    rows: list[int] = []
    for part in filter(None, ranges.split(",")):
        first, _, last = part.partition("-")
        some = range(int(first), int(last or first) + 1)
        if not 0 < len(some) <= MAX_RECIPIENTS:
            raise ValueError(part)
        rows += some
    return rows


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """An entry of an earlier try.

    :param status: its word, as the task wrote it or a person settled it.
    :param outcome: what it says; None when it is not as a task wrote it.
    :param recipients: how many the batch has.
    """

    status: str
    outcome: Outcome | None = None
    recipients: int = 0

    @property
    def is_settled(self) -> bool:
        """Whether a person has settled those whom the task left unknown."""
        return self.outcome is not None and bool(self.outcome.unknown) and self.status != UNKNOWN

    @property
    def spent(self) -> float:
        """USD that were spent, with those of unknown outcome counted as spent."""
        if self.outcome is None:
            return 0.0
        return self.outcome.cost + (self.outcome.unknown_cost if self.status != NOT_SENT else 0.0)

    def settled(self, batch: Batch) -> Outcome:
        """Return what is known of ``batch`` now, with the person's word applied to those that were unknown."""
        outcome, status = self.outcome, self.status
        if outcome is None or self.recipients != len(batch) or not outcome.is_of(batch):
            return Outcome(unknown={NOT_AS_WRITTEN: list(batch.rows)}, unknown_cost=self.spent)
        if status == UNKNOWN:
            return outcome
        unknown = outcome.take_unknown()
        if status == SENT:
            outcome.cost += outcome.unknown_cost
        else:
            outcome.not_sent = sorted([*outcome.not_sent, *unknown])
        outcome.unknown_cost = 0.0
        return outcome


class BulkLedger:
    """The entries of one bulk send.

    :param context: the task's context.
    """

    def __init__(self, context: Context) -> None:
        self._ledger = Ledger(context)
        self._header: dict[str, Any] = {}
        self._stored: dict[int, StoredBatch] = {}
        self._settled: set[int] = set()
        self._asks_rejected_again = False

    @property
    def is_kept(self) -> bool:
        """Whether this Airflow keeps the entries."""
        return self._ledger.is_kept

    def begin(self, *, input: str, given: int, chunk_size: int, resend: bool) -> dict[str, Any] | None:
        """Read what earlier tries did, and write that this one starts.

        :param input: fingerprint of what is sent to whom.
        :param given: rows of the list, for the person who reads the entry.
        :param chunk_size: recipients of a bulk request. Each entry covers a whole number of them; a later try keeps the
            entries of the first.
        :param resend: in a new generation, send again what has finished; what has not is continued. Ignored within the
            same generation.
        :return: the first result when the send has finished before; then nothing may be sent.
        :raises PindoConfigurationError: somebody was, or may have been, texted with another input; or the header is not
            as a task wrote it; or another version of this provider wrote an entry.
        """
        header = self._ledger.get(KEY)
        new = {
            "v": VERSION,
            "status": STARTED,
            "input": input,
            "generation": self._ledger.generation,
            "last_generation": self._ledger.generation,
            "given": given,
            "rows_per_entry": rows_per_entry(chunk_size),
        }
        new["check"] = _check(new)
        if header is None:
            self._start(new)
            return None
        check_version(header, KEY)
        if not _is_header(header):
            raise PindoConfigurationError(
                f"the entry {KEY!r} in the Task State Store (the Storage tab of this task instance) is not as a task "
                "wrote it, so it is unknown who was texted, and nothing is sent now. (Recipients are settled in "
                f"{BulkLedger.key(1)!r} and so on.) Restore its value if you have it; else, if everybody must be "
                "texted, delete that entry and clear the task; if not, mark the task as success"
            )
        self._header = dict(header)
        self._stored = self._read_all()
        # Lowered `retries` lower the task's generation; a send that starts over must have a higher one all the same.
        new["generation"] = max(self._ledger.generation, header["generation"] + 1)
        new["check"] = _check(new)
        if (
            resend
            and header["last_generation"] != self._ledger.generation
            and (header["input"] != input or self._is_finished)
        ):
            self._stored = {}
            self._start(new)
            return None
        if header["input"] == input:
            return self._continue()
        if any(map(_may_have_sent, self._stored.values())):
            raise PindoConfigurationError(
                "this task has texted, or may have texted, part of another list before; its recipients, text or "
                "sender have changed since, and nothing is sent now. Give it the same input again to finish that "
                "one, clear it with resend=True if the new one must go out in full, or mark it as success"
            )
        self._stored = {}
        self._start(new)
        return None

    @property
    def _is_finished(self) -> bool:
        """Whether everybody was processed, and no person has settled an entry since."""
        return self._header.get("status") == FINISHED and not any(
            stored.is_settled for stored in self._stored.values()
        )

    def _continue(self) -> dict[str, Any] | None:
        """Return the result of a send that has finished; else write that this generation continues it."""
        result = self._header.get("result")
        if self._is_finished and isinstance(result, Mapping):
            return dict(result)
        self._asks_rejected_again = self._is_finished or self._header.get("status") == REFUSED
        header = {**self._header, "status": STARTED, "last_generation": self._ledger.generation}
        header.pop("result", None)
        header["check"] = _check(header)
        if header != self._header:
            self._start(header)
        return None

    def _start(self, header: dict[str, Any]) -> None:
        self._header = header
        self._ledger.set(KEY, header)

    @property
    def rows_per_entry(self) -> int:
        """Recipients in a batch."""
        return int(self._header["rows_per_entry"])

    @property
    def has_earlier(self) -> bool:
        """Whether earlier tries came to a batch that this one has not come to."""
        return bool(self._stored)

    @property
    def spent(self) -> float:
        """USD that earlier tries spent, with what they left unknown counted as spent."""
        return sum(stored.spent for stored in self._stored.values())

    def rest(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, Outcome]]:
        """Yield what earlier tries did in batches that this one did not come to.

        :param batches: all of them, with their row numbers.
        """
        for batch in batches:
            if not self._stored:
                return
            outcome = self.find(batch)
            if outcome is not None:
                yield batch, outcome

    def find(self, batch: Batch) -> Outcome | None:
        """Return what is known of ``batch`` from earlier tries; None when none of them came to it."""
        stored = self._stored.pop(batch.index, None)
        if stored is None:
            return None
        if stored.is_settled:
            self._settled.add(batch.index)
        outcome = stored.settled(batch)
        if self._asks_rejected_again:  # the task was cleared since, so what Pindo refused may be fixed
            outcome.put_back_rejected()
        return outcome

    def was_settled(self, batch: Batch) -> bool:
        """Return whether this try has read a person's decision on ``batch``."""
        return batch.index in self._settled

    def write(self, outcomes: Iterable[tuple[Batch, Outcome]]) -> None:
        """Record what came of recipients and admit the next ones.

        :raises Exception: Airflow did not store it; then no request of a recipient that it admits may leave.
        """
        for batch, outcome in outcomes:
            self._ledger.set(self.key(batch.index), self._entry(batch, outcome))

    def write_last(self, outcomes: Iterable[tuple[Batch, Outcome]]) -> None:
        """Record what came of recipients when no further one is admitted; a failure is logged."""
        for batch, outcome in outcomes:
            self._ledger.set_outcome(self.key(batch.index), self._entry(batch, outcome))

    def finish(self, result: Mapping[str, Any] | None) -> None:
        """Write that everybody was processed, and what the task returned; None when it fails all the same."""
        returned = {} if result is None else {"result": dict(result)}
        self._ledger.set_outcome(KEY, {**self._header, "status": FINISHED, **returned})

    def refuse(self) -> None:
        """Write that Pindo refused everybody for one reason: the next generation sends to the rejected again."""
        self._ledger.set_outcome(KEY, {**self._header, "status": REFUSED})

    @staticmethod
    def key(index: int) -> str:
        """Return the name of a batch's entry, as the Task State Store shows it."""
        return f"{KEY}_{index:05d}"

    @property
    def _of(self) -> str:
        """What ties the entries to the header, so that those of an older send do not count."""
        return f"{self._header.get('input')}/{self._header.get('generation')}"

    def _entry(self, batch: Batch, outcome: Outcome) -> dict[str, Any]:
        if not batch.shown_rows:
            batch.shown_rows, batch.shown_numbers = format_rows(batch.rows), mask_all(batch.numbers)
        sms_ids = [outcome.sms_ids.get(row, _NO_ID) for row in batch.rows] if outcome.sms_ids else []
        return {
            "v": VERSION,
            "status": outcome.status,
            "recipients": len(batch),
            "rows": batch.shown_rows,
            "accepted": outcome.count_accepted(len(batch)),
            "rejected": _format_reasons(outcome.rejected),
            "unknown": _format_reasons(outcome.unknown),
            "not_sent": format_rows(outcome.not_sent),
            "requests": outcome.requests,
            "segments": outcome.segments,
            "cost": round(outcome.cost, 6),
            "unknown_cost": round(outcome.unknown_cost, 6),
            "of": self._of,
            "numbers": batch.shown_numbers,
            **({"sms_ids": " ".join(sms_ids)} if sms_ids else {}),
        }

    def _read_all(self) -> dict[int, StoredBatch]:
        # All of them, also after a missing one: a person may have deleted some.
        indexes = range(1, math.ceil(self._header["given"] / self.rows_per_entry) + 1)
        entries = ((index, self._read_entry(index)) for index in indexes)
        return {index: entry for index, entry in entries if entry is not None}

    def _read_entry(self, index: int) -> StoredBatch | None:
        value = self._ledger.get(self.key(index))
        check_version(value, self.key(index))
        if value is None or _is_of_earlier_generation(value, self._header["generation"]):
            return None
        try:
            outcome, recipients = _parse_outcome(value), int(value["recipients"])
            if outcome.count_accepted(recipients) == value["accepted"] and value["of"] == self._of:
                return StoredBatch(_word(value["status"]), outcome, recipients)
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError):
            pass
        return StoredBatch(UNKNOWN)  # a person has changed something other than the status


def rows_per_entry(chunk_size: int) -> int:
    """Return how many recipients an entry covers: a whole number of chunks, about :data:`ROWS_PER_ENTRY`."""
    return chunk_size * max(1, ROWS_PER_ENTRY // chunk_size)


#: Stands for a message that has no id.
_NO_ID = "-"


def mask_all(numbers: Iterable[str]) -> str:
    """Return E.164 numbers masked, as :func:`~airflow_provider_pindo.api.phone.mask_phone_number` does, but faster."""
    return " ".join([f"{number[: min(6, len(number) - 7)]}****{number[-3:]}" for number in numbers])


def _format_reasons(reasons: Mapping[str, list[int]]) -> dict[str, str]:
    """Return the rows of each reason; long reasons are cut, and those beyond the first few share one name."""
    rows_by_reason: dict[str, list[int]] = {}
    for reason, rows in reasons.items():
        shown = reason if len(reason) <= _MAX_REASON else f"{reason[:_MAX_REASON]}…"
        if shown not in rows_by_reason and len(rows_by_reason) >= _MAX_REASONS:
            shown = _OTHER_REASONS
        rows_by_reason.setdefault(shown, []).extend(rows)
    return {reason: format_rows(rows) for reason, rows in rows_by_reason.items()}


def _is_of_earlier_generation(value: Any, generation: int) -> bool:
    """Return whether an entry is of a send that was started over since."""
    of = re.fullmatch(r"[0-9a-f]{16}/([0-9]+)", str(value.get("of"))) if isinstance(value, Mapping) else None
    return of is not None and int(of[1]) < generation


def _may_have_sent(stored: StoredBatch) -> bool:
    """Return whether somebody in the batch was texted, or may have been."""
    if (stored.outcome is None or stored.outcome.unknown) and stored.status != NOT_SENT:
        return True
    return stored.outcome is not None and stored.outcome.count_accepted(stored.recipients) > 0


def _is_header(value: Any) -> bool:
    """Return whether the header is as a task wrote it."""
    return isinstance(value, Mapping) and value.get("check") == _check(value)


def _check(header: Mapping[str, Any]) -> str:
    """Return a digest of what decides which entries the send has."""
    keys = ("v", "input", "generation", "last_generation", "given", "rows_per_entry")
    return fingerprint(*(header.get(key) for key in keys))


def _parse_outcome(value: Mapping[str, Any]) -> Outcome:
    if value["v"] != VERSION:
        raise ValueError(value["v"])
    sms_ids = value.get("sms_ids")
    return Outcome(
        rejected=_parse_reasons(value["rejected"]),
        unknown=_parse_reasons(value["unknown"]),
        not_sent=parse_rows(value["not_sent"]),
        sms_ids={} if sms_ids is None else _parse_ids(value["rows"], sms_ids),
        requests=int(value["requests"]),
        segments=int(value["segments"]),
        cost=_usd(value["cost"]),
        unknown_cost=_usd(value["unknown_cost"]),
    )


def _parse_ids(rows: str, sms_ids: str) -> dict[int, str]:
    pairs = zip(parse_rows(rows), sms_ids.split(" "), strict=True)
    return {row: sms_id for row, sms_id in pairs if sms_id != _NO_ID}


def _parse_reasons(value: Mapping[str, str]) -> dict[str, list[int]]:
    return {reason: parse_rows(rows) for reason, rows in value.items()}


def _usd(value: Any) -> float:
    usd = float(value)
    if not (math.isfinite(usd) and usd >= 0):
        raise ValueError(value)
    return usd


def _word(status: object) -> str:
    """Return the status of an entry. Any other word is unknown, which sends nothing."""
    word = str(status).strip().lower()
    return word if word in (SENT, NOT_SENT) else UNKNOWN
