"""
The ledger of a bulk send: one entry for the whole, and one for each chunk of recipients.

Before a chunk's first request leaves, its recipients are written down as *unknown*; after the last answer,
what came of each. A later try reads all entries before it starts: what was sent is not sent again, what was
not is, and what is *unknown* stays so until a person settles it, chunk by chunk, by changing that word in the
Task State tab to *sent* or *not_sent*.

An entry is small whatever the chunk holds: rows are written as ranges (``1-57,59-100``), and only those that
were not accepted are named.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.recipients import Chunk
from airflow_provider_pindo.operators.ledger import NOT_SENT, SENT, UNKNOWN, Ledger

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

KEY = "pindo_bulk"
STARTED, FINISHED = "started", "finished"

#: Chunks that are on their way at a time. After a kill they are all unknown, so it is as few as keep the
#: requests flowing: one is being sent while the one before it waits for its last answers.
OPEN_CHUNKS = 2

#: Why recipients are unknown that were in flight when the task was killed.
IN_FLIGHT = "the task was cut off while they were being sent"


@dataclass(slots=True)
class Outcome:
    """
    What came of a chunk's recipients, by their row numbers; whoever is not named was accepted.

    :param rejected: rows by Pindo's reason.
    :param unknown: rows by the reason why nobody can know.
    :param not_sent: rows whose turn has not come.
    :param sms_ids: Pindo's id by row, of messages that were sent one by one.
    :param requests: requests that were made.
    :param segments: segments of the accepted messages.
    :param cost: USD, as far as Pindo said.
    """

    rejected: dict[str, list[int]] = field(default_factory=dict)
    unknown: dict[str, list[int]] = field(default_factory=dict)
    not_sent: list[int] = field(default_factory=list)
    sms_ids: dict[int, str] = field(default_factory=dict)
    requests: int = 0
    segments: int = 0
    cost: float = 0.0

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
    """Return the row numbers of ``1-57,59``."""
    rows: list[int] = []
    for part in filter(None, str(ranges).split(",")):
        first, _, last = part.partition("-")
        rows += range(int(first), int(last or first) + 1)
    return rows


@dataclass(frozen=True, slots=True)
class Found:
    """
    An entry of an earlier try.

    :param status: its word, as the task wrote it or a person settled it.
    :param outcome: what it says; None when a person put the bare word in its place.
    :param recipients: how many the chunk has.
    """

    status: str
    outcome: Outcome | None
    recipients: int

    def settled(self, chunk: Chunk) -> Outcome:
        """Return what is known of ``chunk`` now, with the person's word applied to those that were unknown."""
        outcome = self.outcome
        if outcome is None:
            outcome = Outcome(unknown={IN_FLIGHT: list(chunk.rows)})
        if self.status == SENT:
            outcome.take_unknown()
        elif self.status == NOT_SENT:
            outcome.not_sent = sorted([*outcome.not_sent, *outcome.take_unknown()])
        return outcome


class ChunkLedger:
    """
    The entries of one bulk send.

    :param context: the task's context.
    """

    def __init__(self, context: Context) -> None:
        self._ledger = Ledger(context, KEY)
        self._header: dict[str, Any] = {}
        self._found: dict[int, Found] = {}

    @property
    def is_kept(self) -> bool:
        """Whether this Airflow keeps the entries."""
        return self._ledger.is_kept

    def begin(self, *, input: str, given: int, chunk_size: int, resend: bool) -> dict[str, Any] | None:
        """
        Find what earlier tries did, and write that this one starts.

        :param input: fingerprint of what is sent to whom.
        :param given: rows of the list, for the person who reads the entry.
        :param chunk_size: recipients in a chunk; a later try keeps to that of the first.
        :param resend: send again in a new go; within the go that sent it has no effect.
        :return: the result of the task when it has finished before; then nothing may be sent.
        :raises PindoConfigurationError: somebody was, or may have been, texted with another input.
        """
        header = self._ledger.read_value(KEY)
        anew = {
            "status": STARTED,
            "input": input,
            "go": self._ledger.go,
            "given": given,
            "chunk_size": chunk_size,
        }
        if not isinstance(header, Mapping) or (resend and header.get("go") != self._ledger.go):
            self._start(anew)
            return None
        self._header = dict(header)
        self._found = self._read_all()
        if header.get("input") == input:
            finished = header.get("status") == FINISHED and isinstance(header.get("result"), Mapping)
            return dict(header["result"]) if finished else None
        if any(map(_may_have_sent, self._found.values())):
            raise PindoConfigurationError(
                "this task has texted, or may have texted, part of another list before; its recipients, text or "
                "sender have changed since, and nothing is sent now. Give it the same input again to finish that "
                "one, clear it with resend=True if the new one is to go out in full, or mark it as success"
            )
        self._start(anew)
        return None

    def _start(self, header: dict[str, Any]) -> None:
        self._found = {}
        self._header = header
        self._ledger.write_value(KEY, header)

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
        """USD that earlier tries spent."""
        return sum(found.outcome.cost for found in self._found.values() if found.outcome)

    def rest(self, sendable: int) -> Iterator[tuple[Outcome, int]]:
        """
        Yield what earlier tries did in chunks that this one did not come to, and how many recipients they have.

        :param sendable: recipients in all chunks.
        """
        while self._found:
            index, found = self._found.popitem()
            before = (index - 1) * self.chunk_size
            rows = list(range(before + 1, min(before + self.chunk_size, sendable) + 1))
            yield found.settled(Chunk(index, rows)), len(rows)

    def find(self, chunk: Chunk) -> Outcome | None:
        """Return what is known of ``chunk`` from earlier tries; None when none of them came to it."""
        found = self._found.pop(chunk.index, None)
        return None if found is None else found.settled(chunk)

    def open(self, chunk: Chunk, outcome: Outcome, rows: list[int]) -> None:
        """Write that ``rows`` are about to be sent to; raises when Airflow does not take it."""
        about = replace(outcome, not_sent=[], unknown={**outcome.unknown, IN_FLIGHT: rows})
        self._ledger.write_value(self.key(chunk.index), self._entry(chunk, about))

    def close(self, chunk: Chunk, outcome: Outcome) -> None:
        """Write what came of a chunk; when that fails, its recipients stay unknown in the ledger."""
        self._ledger.write_value_after(self.key(chunk.index), self._entry(chunk, outcome))

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write that the task is done, and what it returned."""
        self._ledger.write_value_after(KEY, {**self._header, "status": FINISHED, "result": dict(result)})

    @staticmethod
    def key(index: int) -> str:
        """Return the name of a chunk's entry, as the Task State tab shows it."""
        return f"{KEY}_{index:05d}"

    @property
    def _of(self) -> str:
        """What ties the entries of the chunks to the one of the whole: an older send's are not taken for them."""
        return f"{self._header.get('input')}/{self._header.get('go')}"

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
            "of": self._of,
            **(
                {"sms_ids": {str(row): sms_id for row, sms_id in outcome.sms_ids.items()}}
                if outcome.sms_ids
                else {}
            ),
        }

    def _read_all(self) -> dict[int, Found]:
        found: dict[int, Found] = {}
        index = missing = 0
        # Chunks are opened in order, few at a time: after a few that are missing there are no more.
        while missing < 2 * OPEN_CHUNKS:
            index += 1
            entry = _read_entry(self._ledger.read_value(self.key(index)), self._of)
            if entry is None:
                missing += 1
            else:
                missing = 0
                found[index] = entry
        return found


def _may_have_sent(found: Found) -> bool:
    """Return whether somebody in the chunk was texted, or may have been."""
    if found.outcome is None or found.status != NOT_SENT:
        return found.status != NOT_SENT
    return found.outcome.count_accepted(found.recipients) > 0


def _read_entry(value: Any, of: str) -> Found | None:
    if not isinstance(value, Mapping):
        # A person may have put the bare word in place of the whole value.
        return None if value is None else Found(_word(value), None, 0)
    if value.get("of") != of:
        return None
    return Found(
        _word(value.get("status")),
        Outcome(
            rejected=_ranges(value.get("rejected")),
            unknown=_ranges(value.get("unknown")),
            not_sent=parse_rows(value.get("not_sent") or ""),
            sms_ids={int(row): str(sms_id) for row, sms_id in (value.get("sms_ids") or {}).items()},
            requests=int(value.get("requests") or 0),
            segments=int(value.get("segments") or 0),
            cost=float(value.get("cost") or 0.0),
        ),
        int(value.get("recipients") or 0),
    )


def _ranges(value: Any) -> dict[str, list[int]]:
    return {reason: parse_rows(rows) for reason, rows in (value or {}).items()}


def _word(status: object) -> str:
    """Return the word of an entry; what is none of the three is unknown, which sends nothing."""
    word = str(status).strip().lower()
    return word if word in (SENT, NOT_SENT) else UNKNOWN
