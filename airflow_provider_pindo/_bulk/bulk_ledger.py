"""The ledger of a bulk send: a header, and an entry for each batch of up to 1,000 recipients.

It is a write-ahead log with group commit. One write records what came of the recipients before it and admits the next
ones; a request leaves only when a completed write has admitted its recipients. So after a kill only the recipients
that the last write admitted, and whose outcome it could not know yet, are unknown.

A later try reads all entries before it starts. It sends to those not sent, and never to the accepted. If a person
changed the header, nothing is sent at all.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_pindo._bulk.batch_entry import (
    KEY,
    RowOutcome,
    StoredBatch,
    entry_key,
    format_entry,
    read_entry,
    read_rows,
    settle_rows,
)
from airflow_provider_pindo._bulk.batches import Batch
from airflow_provider_pindo._bulk.outcome import Outcome
from airflow_provider_pindo._bulk.row_numbers import parse_rows
from airflow_provider_pindo._ledger.entry import (
    MAX_RECIPIENTS,
    NOT_SENT,
    UNKNOWN,
    VERSION,
    Settlement,
    check_version,
    fingerprint,
    utc_iso,
)
from airflow_provider_pindo._ledger.store import Ledger
from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.hooks._evidence import settlement as evidence_settlement

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_pindo._ledger.evidence import SentEvent

#: Status of the header. A refused send stopped because Pindo refused everybody for one reason.
STARTED, FINISHED, REFUSED = "started", "finished", "refused"

#: Recipients that one entry covers, as far as they are a whole number of chunks.
ROWS_PER_ENTRY = MAX_RECIPIENTS

#: Key of the header: recipients a second, as the last try measured that had to wait.
_PACE = "pace"
#: Key of the header: when a question was asked that has no answer yet.
_QUESTION = "question"
#: Key of the header: a clear has made the rejected be sent to again, and the send has not ended since.
_ASKS_REJECTED = "asks_rejected"


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

    def has_finished(self) -> bool:
        """Return whether earlier tries have processed everybody."""
        header = self._ledger.get(KEY)
        return isinstance(header, Mapping) and header.get("status") == FINISHED

    def begin(self, *, input: str, given: int, chunk_size: int, resend: bool) -> dict[str, Any] | None:
        """Read what earlier tries did, and write that this one starts.

        :param input: fingerprint of what is sent to whom.
        :param given: rows of the list; it decides how many entries a later try reads.
        :param chunk_size: recipients of a bulk request. Each entry covers a whole number of them; a later try keeps the
            entries of the first.
        :param resend: in a new generation, send again what has finished; what has not is continued. Ignored within the
            same generation.
        :return: the first result when the send has finished before; then nothing may be sent.
        :raises PindoConfigurationError: somebody was, or may have been, texted with another input; or the header is not
            as a task wrote it; or another version of this provider wrote an entry.
        :raises AirflowException: Airflow did not store it; nothing was sent.
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
                "this task has texted, or may have texted, part of another list before. Its recipients, text or "
                "sender have changed since, and nothing is sent now. Give it the same input again to finish that "
                "list. If the new list must go out in full, clear the task with resend=True. Otherwise mark it as "
                "success"
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
        self._ledger.set_planned(KEY, header)

    @property
    def rows_per_entry(self) -> int:
        """Recipients in a batch."""
        return int(self._header["rows_per_entry"])

    @property
    def has_earlier(self) -> bool:
        """Whether earlier tries came to a batch that this one has not come to."""
        return bool(self._stored)

    @property
    def may_have_evidence(self) -> bool:
        """Whether earlier tries left somebody unknown, and no person has changed an entry."""
        stored = self._stored.values()
        return any(
            batch.status == UNKNOWN and batch.outcome and batch.outcome.unknown for batch in stored
        ) and all(batch.outcome is not None for batch in stored)

    @property
    def processed(self) -> int:
        """Recipients to whom earlier tries have sent, or may have."""
        outcomes = ((stored.recipients, stored.outcome) for stored in self._stored.values())
        return sum(count - len(outcome.not_sent) for count, outcome in outcomes if outcome is not None)

    @property
    def spent(self) -> float:
        """USD that earlier tries spent, with what they left unknown counted as spent."""
        return sum(stored.spent for stored in self._stored.values())

    @property
    def price(self) -> float | None:
        """USD for a segment, on average over earlier tries; None when they paid for none.

        Entries with settled rows are left out: their cost is that of more segments than they name.
        """
        all_outcomes = (stored.outcome for stored in self._stored.values())
        outcomes = [outcome for outcome in all_outcomes if outcome and not outcome.settled]
        segments = sum(outcome.segments for outcome in outcomes)
        return sum(outcome.cost for outcome in outcomes) / segments if segments else None

    @property
    def pace(self) -> float | None:
        """Recipients a second, as an earlier try measured; None when none did."""
        pace = self._header.get(_PACE)
        return pace if isinstance(pace, float) and pace > 0 else None

    def keep_pace(self, pace: float | None) -> None:
        """Write how many recipients a second this try has sent to, for the estimate of the next."""
        if pace is not None:
            self._header[_PACE] = pace
            self._ledger.set_outcome(KEY, self._header)

    def rest(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, Outcome]]:
        """Yield what earlier tries did in batches that this one did not come to.

        :param batches: all of them, with their row numbers.
        """
        for batch in batches:
            if not self._stored:
                return
            outcome = self.take(batch)
            if outcome is not None:
                yield batch, outcome

    def take(self, batch: Batch) -> Outcome | None:
        """Return what is known of ``batch`` from earlier tries. Each batch can be taken once.

        :return: None when no earlier try came to it.
        """
        stored = self._stored.pop(batch.index, None)
        if stored is None:
            return None
        if stored.is_settled:
            self._settled.add(batch.index)
        outcome = stored.outcome_of(batch)
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
        for _, key, value in self._values():
            stored = self._read_entry(key, value)
            if stored is None:
                continue
            if stored.outcome is None:
                raise PindoConfigurationError(
                    f"the entry {key!r} is not as the task wrote it, so no answer is applied, and nothing is sent now. "
                    "Restore its value in the Task State Store (the Storage tab of this task instance), and clear the "
                    "task to be asked again"
                )
            if rows := [row for row in read_rows(value) if row.outcome == UNKNOWN]:
                values[key] = value
                unknown += rows
        return UnknownEntries(self._header["given"], values, unknown, self._header.get(_QUESTION))

    def open_question(self) -> str:
        """Write that a question about the unknown is asked, and return what identifies it: the time.

        The next try, or the answer, removes it before the send goes on. So an answer that Airflow delivers a second
        time is not about those who became unknown since the first.
        """
        question = utc_iso()
        self._header = {**self._header, _QUESTION: question}
        self._ledger.set(KEY, self._header)
        return question

    def settle(self, unknown: UnknownEntries, arrived: Collection[int], settlement: Settlement) -> None:
        """Write that of the ``unknown`` the rows ``arrived`` got the message, and the others did not.

        :raises Exception: Airflow did not store it. What is not stored stays unknown.
        """
        rows = {recipient.row for recipient in unknown.rows}
        for key, value in unknown.values.items():
            mine = rows.intersection(parse_rows(value["rows"]))
            settled = settle_rows(value, mine.intersection(arrived), mine.difference(arrived), settlement)
            self._ledger.set(key, settled)

    def settle_by_evidence(self, unknown: UnknownEntries, evidence: Mapping[int, SentEvent]) -> None:
        """Write that the messages of some ``unknown`` rows were sent, each with its id.

        :raises Exception: Airflow did not store it. What is not stored stays unknown.
        """
        for key, value in unknown.values.items():
            ids = {row: evidence[row].sms_id for row in parse_rows(value["rows"]) if row in evidence}
            if ids:
                self._ledger.set(key, settle_rows(value, ids.keys(), (), evidence_settlement(), ids))

    def write(self, outcomes: Iterable[tuple[Batch, Outcome]]) -> None:
        """Record what came of recipients and admit the next ones.

        :raises Exception: Airflow did not store it; then no request of a recipient that it admits may leave.
        """
        for batch, outcome in outcomes:
            self._ledger.set(entry_key(batch.index), format_entry(batch, outcome, self._of))

    def write_last(self, outcomes: Iterable[tuple[Batch, Outcome]]) -> None:
        """Record what came of recipients when no further one is admitted; a failure is logged."""
        for batch, outcome in outcomes:
            self._ledger.set_outcome(entry_key(batch.index), format_entry(batch, outcome, self._of))

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

    @property
    def _of(self) -> str:
        """What ties the entries to the header, so that those of an older send do not count."""
        return f"{self._header.get('input')}/{self._header.get('generation')}"

    def _read_all(self) -> dict[int, StoredBatch]:
        entries = ((index, self._read_entry(key, value)) for index, key, value in self._values())
        return {index: entry for index, entry in entries if entry is not None}

    def _values(self) -> Iterator[tuple[int, str, Any]]:
        """Yield the entries that exist, with index and key. All of them: a person may have deleted some between."""
        for index in range(1, math.ceil(self._header["given"] / self.rows_per_entry) + 1):
            key = entry_key(index)
            if (value := self._ledger.get(key)) is not None:
                yield index, key, value

    def _read_entry(self, key: str, value: Any) -> StoredBatch | None:
        return read_entry(value, key, self._of, self._header["generation"])


def rows_per_entry(chunk_size: int) -> int:
    """Return how many recipients an entry covers: a whole number of chunks, about :data:`ROWS_PER_ENTRY`."""
    return chunk_size * max(1, ROWS_PER_ENTRY // chunk_size)


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
            "wrote it. So nobody knows who was texted, and nothing is sent now. (Recipients are settled in "
            f"{entry_key(1)!r} and so on.) Restore its value if you have it. If not, and everybody must be texted, "
            "delete that entry and clear the task. Otherwise mark the task as success"
        )
    return dict(value)


def _check(header: Mapping[str, Any]) -> str:
    """Return a digest of what decides which entries the send has."""
    keys = ("v", "input", "generation", "last_generation", "given", "rows_per_entry")
    return fingerprint(*(header.get(key) for key in keys))
