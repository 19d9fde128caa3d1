"""The ledger of a bulk send: one entry for the whole, and one for each chunk of recipients.

Before a chunk's first request leaves, its recipients are written down as *unknown*; after the last answer,
what came of each. A later try reads all entries before it starts: what was sent is not sent again, what was
not is, and what is *unknown* stays so until a person settles it, chunk by chunk, by changing the entry's
status in the Task State Store to *sent* or *not_sent*.

An entry is small whatever the chunk holds: rows are written as ranges (``1-57,59-100``), and only those that
were not accepted are named. One that says what no task would write, beside a changed status, is unknown as a
whole: nothing of it is sent. That holds for the bare word in its place, too, which cannot say who of the chunk was
accepted and whose turn had not come. With an entry of the whole that no task wrote, nothing is sent at all.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from airflow_provider_pindo._bulk.recipients import Chunk
from airflow_provider_pindo._ledger.entry import MAX_RECIPIENTS, NOT_SENT, SENT, UNKNOWN, fingerprint
from airflow_provider_pindo._ledger.store import Ledger
from airflow_provider_pindo.api.errors import PindoConfigurationError

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

KEY = "pindo_bulk"
STARTED, FINISHED = "started", "finished"

#: Chunks that are on their way at a time. After a kill they are all unknown, so it is as few as keep the
#: requests flowing: one is being sent while the one before it waits for its last answers.
OPEN_CHUNKS = 2

#: Why recipients are unknown that were in flight when the task was killed.
IN_FLIGHT = "the task ended while they were in flight"
#: Why recipients are unknown whose chunk's entry says what no task wrote.
NOT_AS_WRITTEN = "their entry is not as the task wrote it"


@dataclass(slots=True)
class Outcome:
    """What came of a chunk's recipients, by their row numbers; whoever is not named was accepted.

    :param rejected: rows by Pindo's reason.
    :param unknown: rows by the reason why nobody can know.
    :param not_sent: rows whose turn has not come, and those that are excluded.
    :param sms_ids: Pindo's id by row, of messages that were sent one by one.
    :param requests: requests that were made.
    :param segments: segments of the accepted messages.
    :param cost: USD that the accepted messages cost, estimated where Pindo did not say.
    :param unknown_cost: USD that the unknown ones cost, if they were sent: an estimate.
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
        """The one word for it: unknown as long as somebody is, then whether everybody had their turn."""
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
        """Return how many of the chunk's ``recipients`` were accepted."""
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
        self.not_sent = [row for row in self.not_sent if row not in taken]
        before = {row: reason for reason, some in self.unknown.items() for row in some if row in taken}
        left = {reason: [row for row in some if row not in taken] for reason, some in self.unknown.items()}
        self.unknown = {reason: some for reason, some in left.items() if some}
        return before

    def if_killed(self, rows: list[int], cost: float) -> Outcome:
        """Return what is known if the task ends while it sends to ``rows``, which would cost ``cost``."""
        outcome = replace(
            self,
            rejected={reason: some.copy() for reason, some in self.rejected.items()},
            sms_ids=self.sms_ids.copy(),
            unknown_cost=self.unknown_cost + cost,
        )
        outcome.take(rows)
        outcome.unknown[IN_FLIGHT] = [*outcome.unknown.get(IN_FLIGHT, []), *rows]
        return outcome

    def is_of(self, chunk: Chunk) -> bool:
        """Return whether it names recipients of ``chunk`` alone, and each once."""
        named = [*chain(*self.rejected.values(), *self.unknown.values()), *self.not_sent]
        rows = set(named)
        return len(rows) == len(named) and rows.issubset(chunk.rows)


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

    :raises ValueError: it is none, or has more than a chunk can hold.
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
class StoredChunk:
    """An entry of an earlier try.

    :param status: its word, as the task wrote it or a person settled it.
    :param outcome: what it says; None when it is not as a task wrote it.
    :param recipients: how many the chunk has.
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

    def settled(self, chunk: Chunk) -> Outcome:
        """Return what is known of ``chunk`` now, with the person's word applied to those that were unknown."""
        outcome, status = self.outcome, self.status
        if outcome is None or self.recipients != len(chunk) or not outcome.is_of(chunk):
            return Outcome(unknown={NOT_AS_WRITTEN: list(chunk.rows)}, unknown_cost=self.spent)
        if status == UNKNOWN:
            return outcome
        unknown = outcome.take_unknown()
        if status == SENT:
            outcome.cost += outcome.unknown_cost
        else:
            outcome.not_sent = sorted([*outcome.not_sent, *unknown])
        outcome.unknown_cost = 0.0
        return outcome


class ChunkLedger:
    """The entries of one bulk send.

    :param context: the task's context.
    """

    def __init__(self, context: Context) -> None:
        self._ledger = Ledger(context)
        self._header: dict[str, Any] = {}
        self._found: dict[int, StoredChunk] = {}
        self._settled: set[int] = set()
        self._has_failed_for_the_rejected = False

    @property
    def is_kept(self) -> bool:
        """Whether this Airflow keeps the entries."""
        return self._ledger.is_kept

    def begin(self, *, input: str, given: int, chunk_size: int, resend: bool) -> dict[str, Any] | None:
        """Find what earlier tries did, and write that this one starts.

        :param input: fingerprint of what is sent to whom.
        :param given: rows of the list, for the person who reads the entry.
        :param chunk_size: recipients in a chunk; a later try keeps to that of the first.
        :param resend: send again in a new go what has finished; what has not goes on. Within the go that sent it
            has no effect.
        :return: the result of the task when it has finished before; then nothing may be sent.
        :raises PindoConfigurationError: somebody was, or may have been, texted with another input, or nobody can
            know, since the entry of the whole is none of this task's.
        """
        header = self._ledger.get(KEY)
        anew = {
            "status": STARTED,
            "input": input,
            "generation": self._ledger.generation,
            "last_generation": self._ledger.generation,
            "given": given,
            "chunk_size": chunk_size,
        }
        anew["check"] = _check(anew)
        if header is None:
            self._start(anew)
            return None
        if not _is_header(header):
            raise PindoConfigurationError(
                f"the entry {KEY!r} in the Task State Store (the Storage tab of this task instance) is not as a task "
                "wrote it, so nobody can know who was texted, and nothing is sent now. (Chunks are settled one by one, "
                f"in {ChunkLedger.key(1)!r} and so on.) Put its value back if you have it; else, if everybody is to be "
                "texted, delete that entry and clear the task; if not, mark the task as success"
            )
        self._header = dict(header)
        self._found = self._read_all()
        # A go may have a lower number than one before it, as `retries` may be lowered; a send that starts over may not.
        anew["generation"] = max(anew["generation"], header["generation"] + 1)
        anew["check"] = _check(anew)
        if (
            resend
            and header["last_generation"] != self._ledger.generation
            and (header["input"] != input or self._is_finished)
        ):
            self._found = {}
            self._start(anew)
            return None
        if header["input"] == input:
            return self._go_on()
        if any(map(_may_have_sent, self._found.values())):
            raise PindoConfigurationError(
                "this task has texted, or may have texted, part of another list before; its recipients, text or "
                "sender have changed since, and nothing is sent now. Give it the same input again to finish that "
                "one, clear it with resend=True if the new one is to go out in full, or mark it as success"
            )
        self._found = {}
        self._start(anew)
        return None

    @property
    def _is_finished(self) -> bool:
        """Whether everybody had their turn, and no person has settled a chunk since."""
        return self._header.get("status") == FINISHED and not any(
            found.is_settled for found in self._found.values()
        )

    def _go_on(self) -> dict[str, Any] | None:
        """Return the result of a send that has finished; else write that this go goes on with it."""
        result = self._header.get("result")
        if self._is_finished and isinstance(result, Mapping):
            return dict(result)
        self._has_failed_for_the_rejected = self._is_finished
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
    def chunk_size(self) -> int:
        """Recipients in a chunk."""
        return int(self._header["chunk_size"])

    @property
    def has_earlier(self) -> bool:
        """Whether earlier tries came to a chunk that this one has not come to."""
        return bool(self._found)

    @property
    def spent(self) -> float:
        """USD that earlier tries spent, with what they left unknown counted as spent."""
        return sum(found.spent for found in self._found.values())

    def rest(self, chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, Outcome]]:
        """Yield what earlier tries did in chunks that this one did not come to.

        :param chunks: all of them, with their row numbers.
        """
        for chunk in chunks:
            if not self._found:
                return
            outcome = self.find(chunk)
            if outcome is not None:
                yield chunk, outcome

    def find(self, chunk: Chunk) -> Outcome | None:
        """Return what is known of ``chunk`` from earlier tries; None when none of them came to it."""
        found = self._found.pop(chunk.index, None)
        if found is None:
            return None
        if found.is_settled:
            self._settled.add(chunk.index)
        outcome = found.settled(chunk)
        if self._has_failed_for_the_rejected:  # and was cleared since: somebody has mended what Pindo refused
            outcome.put_back_rejected()
        return outcome

    def was_settled(self, chunk: Chunk) -> bool:
        """Return whether a person's word on ``chunk`` was taken up by this try."""
        return chunk.index in self._settled

    def open(self, chunk: Chunk, outcome: Outcome) -> None:
        """Write what will be known if the task is cut off from now on; raises when Airflow does not take it."""
        self._ledger.set(self.key(chunk.index), self._entry(chunk, outcome))

    def close(self, chunk: Chunk, outcome: Outcome) -> None:
        """Write what came of a chunk; when that fails, its recipients stay unknown in the ledger."""
        self._ledger.set_outcome(self.key(chunk.index), self._entry(chunk, outcome))

    def finish(self, result: Mapping[str, Any] | None) -> None:
        """Write that everybody had their turn, and what the task returned; None when it fails all the same."""
        returned = {} if result is None else {"result": dict(result)}
        self._ledger.set_outcome(KEY, {**self._header, "status": FINISHED, **returned})

    @staticmethod
    def key(index: int) -> str:
        """Return the name of a chunk's entry, as the Task State Store shows it."""
        return f"{KEY}_{index:05d}"

    @property
    def _of(self) -> str:
        """What ties the entries of the chunks to the one of the whole: an older send's are not taken for them."""
        return f"{self._header.get('input')}/{self._header.get('generation')}"

    def _entry(self, chunk: Chunk, outcome: Outcome) -> dict[str, Any]:
        return {
            "status": outcome.status,
            "recipients": len(chunk),
            "rows": format_rows(chunk.rows),
            "accepted": outcome.count_accepted(len(chunk)),
            "rejected": {reason: format_rows(rows) for reason, rows in outcome.rejected.items()},
            "unknown": {reason: format_rows(rows) for reason, rows in outcome.unknown.items()},
            "not_sent": format_rows(outcome.not_sent),
            "requests": outcome.requests,
            "segments": outcome.segments,
            "cost": round(outcome.cost, 6),
            "unknown_cost": round(outcome.unknown_cost, 6),
            "of": self._of,
            **(
                {"sms_ids": {str(row): sms_id for row, sms_id in outcome.sms_ids.items()}}
                if outcome.sms_ids
                else {}
            ),
        }

    def _read_all(self) -> dict[int, StoredChunk]:
        # To the end, whatever is missing: somebody may have deleted some.
        indexes = range(1, math.ceil(self._header["given"] / self.chunk_size) + 1)
        entries = ((index, self._read_entry(index)) for index in indexes)
        return {index: entry for index, entry in entries if entry is not None}

    def _read_entry(self, index: int) -> StoredChunk | None:
        value = self._ledger.get(self.key(index))
        if value is None or _is_of_an_earlier_go(value, self._header["generation"]):
            return None
        try:
            outcome, recipients = _read_outcome(value), int(value["recipients"])
            if outcome.count_accepted(recipients) == value["accepted"] and value["of"] == self._of:
                return StoredChunk(_word(value["status"]), outcome, recipients)
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError):
            pass
        return StoredChunk(UNKNOWN)  # a person has changed something other than the status


def _is_of_an_earlier_go(value: Any, generation: int) -> bool:
    """Return whether an entry is of a send that was started over since."""
    of = re.fullmatch(r"[0-9a-f]{16}/([0-9]+)", str(value.get("of"))) if isinstance(value, Mapping) else None
    return of is not None and int(of[1]) < generation


def _may_have_sent(found: StoredChunk) -> bool:
    """Return whether somebody in the chunk was texted, or may have been."""
    if (found.outcome is None or found.outcome.unknown) and found.status != NOT_SENT:
        return True
    return found.outcome is not None and found.outcome.count_accepted(found.recipients) > 0


def _is_header(value: Any) -> bool:
    """Return whether the entry of the whole is one that a task wrote."""
    return isinstance(value, Mapping) and value.get("check") == _check(value)


def _check(header: Mapping[str, Any]) -> str:
    """Return a digest of all in the entry of the whole by which its chunks are found."""
    return fingerprint(
        *(header.get(each) for each in ("input", "generation", "last_generation", "given", "chunk_size"))
    )


def _read_outcome(value: Mapping[str, Any]) -> Outcome:
    return Outcome(
        rejected=_ranges(value["rejected"]),
        unknown=_ranges(value["unknown"]),
        not_sent=parse_rows(value["not_sent"]),
        sms_ids={int(row): str(sms_id) for row, sms_id in value.get("sms_ids", {}).items()},
        requests=int(value["requests"]),
        segments=int(value["segments"]),
        cost=_usd(value["cost"]),
        unknown_cost=_usd(value["unknown_cost"]),
    )


def _ranges(value: Mapping[str, str]) -> dict[str, list[int]]:
    return {reason: parse_rows(rows) for reason, rows in value.items()}


def _usd(value: Any) -> float:
    usd = float(value)
    if not (math.isfinite(usd) and usd >= 0):
        raise ValueError(value)
    return usd


def _word(status: object) -> str:
    """Return the word of an entry; what is none of the three is unknown, which sends nothing."""
    word = str(status).strip().lower()
    return word if word in (SENT, NOT_SENT) else UNKNOWN
