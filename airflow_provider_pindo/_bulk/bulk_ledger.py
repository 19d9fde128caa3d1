"""The ledger of a bulk send: a header, and an entry for each batch of up to 1,000 recipients.

It is a write-ahead log with group commit. One write records what came of the recipients before it and admits the next
ones; a request leaves only when a completed write has admitted its recipients. In an entry the admitted recipients
without an outcome are *unknown*, and those that are not admitted are *not sent*. So after a kill only the recipients
that the last write admitted, and whose outcome it could not know yet, are unknown.

A later try reads all entries before it starts. It sends to those not sent, and never to the accepted. The unknown are
settled row by row with :func:`settle_rows`, which an answer and the page use. Or a person changes the entry's status in
the Task State Store to *sent* or *not_sent*, which settles all its rows.

An entry is small: rows are ranges (``1-57,59-100``), and numbers are masked. If a person changed anything but its
status, all its recipients are unknown. If the header was changed, nothing is sent at all.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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
    Settlement,
    check_version,
    fingerprint,
    now,
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

#: Key of the header: when a question was asked that has no answer yet.
_QUESTION = "question"
#: Key of the header: a clear has made the rejected be sent to again, and the send has not ended since.
_ASKS_REJECTED = "asks_rejected"

#: Why recipients are unknown whose request had no response yet when the task was killed.
IN_FLIGHT = "the task ended while they were in flight"
#: Why recipients are unknown whose entry a person has changed.
NOT_AS_WRITTEN = "their entry is not as the task wrote it"

#: Different reasons that an entry names, and characters of each: more would make it larger than the UI can edit.
_MAX_REASONS, _MAX_REASON = 10, 80
_OTHER_REASONS = "other reasons"
#: Settlements that an entry lists, and characters of a name in them. Beyond them the oldest two become one.
_MAX_SETTLEMENTS, _MAX_WHO = 10, 40
_SEVERAL = "several"


@dataclass(frozen=True, slots=True)
class SettledRows:
    """Rows of one entry that were settled together.

    :param settlement: who settled them, and when.
    :param arrived: rows that got the message.
    :param not_arrived: rows that did not.
    """

    settlement: Settlement
    arrived: frozenset[int] = frozenset()
    not_arrived: frozenset[int] = frozenset()

    def without(self, rows: Collection[int]) -> SettledRows:
        """Return a copy without ``rows``, which were settled again since."""
        return replace(
            self, arrived=self.arrived.difference(rows), not_arrived=self.not_arrived.difference(rows)
        )

    def merge(self, later: SettledRows) -> SettledRows:
        """Return one that stands for this and ``later``, with the later time."""
        mine, other = self.settlement, later.settlement
        return SettledRows(
            Settlement(
                by=mine.by if mine.by == other.by else _SEVERAL,
                who=mine.who if mine.who == other.who else _SEVERAL,
                at=other.at,
            ),
            self.arrived | later.arrived,
            self.not_arrived | later.not_arrived,
        )


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
    :param settled: who settled which rows that were unknown once, the oldest first.
    """

    rejected: dict[str, list[int]] = field(default_factory=dict)
    unknown: dict[str, list[int]] = field(default_factory=dict)
    not_sent: list[int] = field(default_factory=list)
    sms_ids: dict[int, str] = field(default_factory=dict)
    requests: int = 0
    segments: int = 0
    cost: float = 0.0
    unknown_cost: float = 0.0
    settled: list[SettledRows] = field(default_factory=list)

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

    def settle(self, some: SettledRows) -> None:
        """Have unknown rows accepted or not sent, and record who said so.

        The unknown rows share their estimated cost equally.

        :raises ValueError: a row is not unknown, or is settled in two ways.
        """
        rows = some.arrived | some.not_arrived
        if both := some.arrived & some.not_arrived:
            raise ValueError(f"row {format_rows(both)} is given as arrived and as not arrived")
        if certain := rows.difference(chain(*self.unknown.values())):
            raise ValueError(f"row {format_rows(certain)} is not unknown")
        if not rows:
            return
        share = self.unknown_cost / self.count_unknown()
        self.take(rows)
        self.not_sent = sorted([*self.not_sent, *some.not_arrived])
        self.cost += share * len(some.arrived)
        self.unknown_cost = share * self.count_unknown()
        earlier = [each.without(rows) for each in self.settled]
        self.settled = [*(each for each in earlier if each.arrived or each.not_arrived), some]
        if len(self.settled) > _MAX_SETTLEMENTS:
            oldest, second, *others = self.settled
            self.settled = [oldest.merge(second), *others]

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

    def is_of(self, batch_rows: Collection[int]) -> bool:
        """Return whether it names only rows of a batch, and each once."""
        named = [*chain(*self.rejected.values(), *self.unknown.values()), *self.not_sent]
        rows = set(named)
        return len(rows) == len(named) and rows.issubset(batch_rows)


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
    :param has_new_settlement: whether :func:`settle_rows` has changed it since a task wrote it.
    """

    status: str
    outcome: Outcome | None = None
    recipients: int = 0
    has_new_settlement: bool = False

    @property
    def is_settled(self) -> bool:
        """Whether those whom the task left unknown were settled since, or some of them."""
        if self.outcome is None:
            return False
        return self.has_new_settlement or (bool(self.outcome.unknown) and self.status != UNKNOWN)

    @property
    def spent(self) -> float:
        """USD that were spent, with those of unknown outcome counted as spent."""
        if self.outcome is None:
            return 0.0
        return self.outcome.cost + (self.outcome.unknown_cost if self.status != NOT_SENT else 0.0)

    def settled(self, batch: Batch) -> Outcome:
        """Return what is known of ``batch`` now, with the person's word applied to those that were unknown."""
        if self.outcome is None or self.recipients != len(batch) or not self.outcome.is_of(batch.rows):
            return Outcome(unknown={NOT_AS_WRITTEN: list(batch.rows)}, unknown_cost=self.spent)
        return self.current()

    def current(self) -> Outcome:
        """Return the outcome, with the word that a person wrote for the status applied to the unknown rows."""
        outcome = self.outcome or Outcome()
        if self.status == UNKNOWN:
            return outcome
        unknown = outcome.take_unknown()
        if self.status == SENT:
            outcome.cost += outcome.unknown_cost
        else:
            outcome.not_sent = sorted([*outcome.not_sent, *unknown])
        outcome.unknown_cost = 0.0
        return outcome


@dataclass(frozen=True, slots=True)
class RowOutcome:
    """What an entry says of one recipient.

    :param number: masked.
    :param outcome: ``accepted``, ``rejected``, ``unknown`` or ``not_sent``.
    :param reason: why it is rejected or unknown; else empty.
    :param sms_id: Pindo's id of a message that was sent one by one; else empty.
    :param settlement: who settled it last, if it was unknown once.
    """

    row: int
    number: str
    outcome: str
    reason: str = ""
    sms_id: str = ""
    settlement: Settlement | None = None


@dataclass(frozen=True, slots=True)
class UnknownEntries:
    """The entries with somebody unknown.

    :param given: rows of the list.
    :param values: the entries by their keys.
    :param rows: what they say of each unknown recipient.
    :param question: when the question about them was asked; None when the send has gone on since.
    """

    given: int
    values: Mapping[str, Any]
    rows: Sequence[RowOutcome]
    question: str | None = None


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
        self._header = _open_header(header)
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
        self._asks_rejected_again = (
            self._is_finished or self._header.get("status") == REFUSED or _ASKS_REJECTED in self._header
        )
        header = {**self._header, "status": STARTED, "last_generation": self._ledger.generation}
        if self._asks_rejected_again:
            header[_ASKS_REJECTED] = True
        for key in ("result", _QUESTION):
            header.pop(key, None)
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
    def processed(self) -> int:
        """Recipients to whom earlier tries have sent, or may have."""
        outcomes = ((each.recipients, each.outcome) for each in self._stored.values())
        return sum(count - len(outcome.not_sent) for count, outcome in outcomes if outcome is not None)

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

    def read_unknown(self) -> UnknownEntries:
        """Return who is unknown now, as the store has it.

        :raises PindoConfigurationError: the header or an entry is not as a task wrote it, or of another version.
        """
        self._header = _open_header(self._ledger.get(KEY))
        values, unknown = dict[str, Any](), list[RowOutcome]()
        for index, key, value in self._values():
            stored = self._read_entry(index, value)
            if stored is None:
                continue
            if stored.outcome is None:
                raise PindoConfigurationError(
                    f"the entry {key!r} is not as the task wrote it, so no answer is applied, and nothing is sent now. "
                    "Restore its value in the Task State Store (the Storage tab of this task instance), and clear the "
                    "task to be asked again"
                )
            if rows := [each for each in read_rows(value) if each.outcome == UNKNOWN]:
                values[key] = value
                unknown += rows
        return UnknownEntries(self._header["given"], values, unknown, self._header.get(_QUESTION))

    def open_question(self) -> str:
        """Write that a question about the unknown is asked, and return what identifies it: the time.

        The next try, or the answer, removes it before the send goes on. So an answer that Airflow delivers a second
        time is not about those who became unknown since the first.
        """
        question = now()
        self._start({**self._header, _QUESTION: question})
        return question

    def settle(self, unknown: UnknownEntries, arrived: Collection[int], settlement: Settlement) -> None:
        """Write that of the ``unknown`` the rows ``arrived`` got the message, and the others did not.

        :raises Exception: Airflow did not store it. What is not stored stays unknown.
        """
        rows = {each.row for each in unknown.rows}
        for key, value in unknown.values.items():
            mine = rows.intersection(parse_rows(value["rows"]))
            settled = settle_rows(value, mine.intersection(arrived), mine.difference(arrived), settlement)
            self._ledger.set(key, settled)

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
        self._end({"status": FINISHED, **returned})

    def refuse(self) -> None:
        """Write that Pindo refused everybody for one reason: the next generation sends to the rejected again."""
        self._end({"status": REFUSED})

    def _end(self, changed: Mapping[str, Any]) -> None:
        header = {key: value for key, value in self._header.items() if key != _ASKS_REJECTED}
        self._ledger.set_outcome(KEY, {**header, **changed})

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
        return {
            "v": VERSION,
            "status": outcome.status,
            "recipients": len(batch),
            "rows": batch.shown_rows,
            **_format_outcome(outcome, len(batch)),
            "of": self._of,
            "numbers": batch.shown_numbers,
            **_format_ids(outcome, batch.rows),
        }

    def _read_all(self) -> dict[int, StoredBatch]:
        entries = ((index, self._read_entry(index, value)) for index, _, value in self._values())
        return {index: entry for index, entry in entries if entry is not None}

    def _values(self) -> Iterator[tuple[int, str, Any]]:
        """Yield the entries that exist, with index and key. All of them: a person may have deleted some between."""
        for index in range(1, math.ceil(self._header["given"] / self.rows_per_entry) + 1):
            key = self.key(index)
            if (value := self._ledger.get(key)) is not None:
                yield index, key, value

    def _read_entry(self, index: int, value: Any) -> StoredBatch | None:
        check_version(value, self.key(index))
        if _is_of_earlier_generation(value, self._header["generation"]):
            return None
        try:
            stored = _parse_entry(value)
            if stored is not None and value["of"] == self._of:
                return stored
        except _MALFORMED:
            pass
        return StoredBatch(UNKNOWN)  # a person has changed something other than the status


def rows_per_entry(chunk_size: int) -> int:
    """Return how many recipients an entry covers: a whole number of chunks, about :data:`ROWS_PER_ENTRY`."""
    return chunk_size * max(1, ROWS_PER_ENTRY // chunk_size)


#: Stands for a message that has no id.
_NO_ID = "-"
#: Key of an entry that :func:`settle_rows` has changed since a task wrote it.
_NEW_SETTLEMENT = "is_newly_settled"
#: What reading a value raises that no task wrote.
_MALFORMED = (ValueError, TypeError, LookupError, AttributeError, OverflowError)


def mask_all(numbers: Iterable[str]) -> str:
    """Return E.164 numbers masked, as :func:`~airflow_provider_pindo.api.phone.mask_phone_number` does, but faster."""
    return " ".join([f"{number[: min(6, len(number) - 7)]}****{number[-3:]}" for number in numbers])


def read_rows(value: Any) -> Iterator[RowOutcome]:
    """Yield what an entry says of each of its recipients, in the order of their rows.

    :param value: the JSON value of an entry such as ``pindo_bulk_00001``.
    :raises PindoConfigurationError: it is not as a task wrote it, or another version of this provider wrote it.
    """
    stored, rows = _open_entry(value)
    outcome = stored.current()
    outcomes = dict.fromkeys(outcome.not_sent, (NOT_SENT, ""))
    for column, reasons in (("rejected", outcome.rejected), (UNKNOWN, outcome.unknown)):
        for reason, some in reasons.items():
            outcomes |= dict.fromkeys(some, (column, reason))
    settlements = {
        row: some.settlement for some in outcome.settled for row in (*some.arrived, *some.not_arrived)
    }
    numbers = str(value.get("numbers")).split(" ")
    if len(numbers) != len(rows):  # nothing depends on them, so they need not be as written
        numbers = [""] * len(rows)
    for row, number in zip(rows, numbers, strict=True):
        column, reason = outcomes.get(row, ("accepted", ""))
        yield RowOutcome(row, number, column, reason, outcome.sms_ids.get(row, ""), settlements.get(row))


def settle_rows(
    value: Any, arrived: Collection[int], not_arrived: Collection[int], settlement: Settlement
) -> dict[str, Any]:
    """Return an entry with unknown rows settled. The next try of the task takes it up.

    The entry records the settlement. Many settlements share records, so the entry stays small.

    :param value: the JSON value of an entry such as ``pindo_bulk_00001``.
    :param arrived: unknown rows that got the message; they become accepted.
    :param not_arrived: unknown rows that did not; they become not sent.
    :param settlement: who or what settles them. Its ``sms_id`` is that of the ``arrived``.
    :raises PindoConfigurationError: a row is not unknown in this entry; or the entry is not as a task wrote it, or
        another version of this provider wrote it.
    """
    stored, rows = _open_entry(value)
    outcome = stored.current()
    try:
        outcome.settle(SettledRows(_short(settlement), frozenset(arrived), frozenset(not_arrived)))
    except ValueError as error:
        raise PindoConfigurationError(f"{error} in this entry, and nothing was settled") from None
    if settlement.sms_id is not None:
        outcome.sms_ids |= dict.fromkeys(arrived, settlement.sms_id)
    settled = _format_outcome(outcome, stored.recipients) | _format_ids(outcome, rows)
    return {**value, "status": outcome.status, **settled, _NEW_SETTLEMENT: True}


def _short(settlement: Settlement) -> Settlement:
    """Return what the record keeps of a settlement; an id stands among those of the messages."""
    return Settlement(settlement.by, settlement.who[:_MAX_WHO], settlement.at)


def _open_entry(value: Any) -> tuple[StoredBatch, list[int]]:
    """Return what an entry says, and its rows."""
    check_version(value, f"{KEY}_…")
    try:
        stored, rows = _parse_entry(value), parse_rows(value["rows"])
    except _MALFORMED:
        stored, rows = None, []
    if (
        stored is None
        or stored.outcome is None
        or not stored.outcome.is_of(rows)
        or len(rows) != stored.recipients
    ):
        raise PindoConfigurationError(
            "the entry is not as the task wrote it, so nobody can be settled in it. Restore its value in the Task "
            "State Store (the Storage tab of the task instance)"
        )
    return stored, rows


def _format_outcome(outcome: Outcome, recipients: int) -> dict[str, Any]:
    """Return what an entry says of the outcome, beside its status."""
    return {
        "accepted": outcome.count_accepted(recipients),
        "rejected": _format_reasons(outcome.rejected),
        "unknown": _format_reasons(outcome.unknown),
        "not_sent": format_rows(outcome.not_sent),
        "requests": outcome.requests,
        "segments": outcome.segments,
        "cost": round(outcome.cost, 6),
        "unknown_cost": round(outcome.unknown_cost, 6),
        **({"settled": list(map(_format_settled, outcome.settled))} if outcome.settled else {}),
    }


def _format_ids(outcome: Outcome, rows: Iterable[int]) -> dict[str, str]:
    if not outcome.sms_ids:
        return {}
    ids = (outcome.sms_ids.get(row, _NO_ID) for row in rows)
    return {"sms_ids": " ".join("_".join(sms_id.split(" ")) for sms_id in ids)}


def _format_settled(some: SettledRows) -> dict[str, str]:
    rows = {"arrived": format_rows(some.arrived), "not_arrived": format_rows(some.not_arrived)}
    return {**some.settlement.to_value(), **{name: ranges for name, ranges in rows.items() if ranges}}


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


def _open_header(value: Any) -> dict[str, Any]:
    """Return the header; refuse one that is not as a task wrote it."""
    check_version(value, KEY)
    if not isinstance(value, Mapping) or value.get("check") != _check(value):
        raise PindoConfigurationError(
            f"the entry {KEY!r} in the Task State Store (the Storage tab of this task instance) is not as a task "
            "wrote it, so it is unknown who was texted, and nothing is sent now. (Recipients are settled in "
            f"{BulkLedger.key(1)!r} and so on.) Restore its value if you have it; else, if everybody must be "
            "texted, delete that entry and clear the task; if not, mark the task as success"
        )
    return dict(value)


def _check(header: Mapping[str, Any]) -> str:
    """Return a digest of what decides which entries the send has."""
    keys = ("v", "input", "generation", "last_generation", "given", "rows_per_entry")
    return fingerprint(*(header.get(key) for key in keys))


def _parse_entry(value: Any) -> StoredBatch | None:
    """Return what an entry says; None when its counts do not add up.

    :raises Exception: one of :data:`_MALFORMED`, when a person has changed more than its status.
    """
    outcome, recipients = _parse_outcome(value), int(value["recipients"])
    if outcome.count_accepted(recipients) != value["accepted"]:
        return None
    return StoredBatch(_word(value["status"]), outcome, recipients, value.get(_NEW_SETTLEMENT) is True)


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
        settled=list(map(_parse_settled, value.get("settled", ()))),
    )


def _parse_settled(value: Mapping[str, str]) -> SettledRows:
    rows = {name: frozenset(parse_rows(value.get(name, ""))) for name in ("arrived", "not_arrived")}
    return SettledRows(Settlement(by=value["by"], who=value["who"], at=value["at"]), **rows)


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
