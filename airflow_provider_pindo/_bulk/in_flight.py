"""The requests in flight, and the batches that they belong to.

A recipient *waits* for a write of the ledger, is *admitted* by it, and then has an outcome. A request that did not
leave returns its recipients to the columns they came from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from airflow_provider_pindo._bulk.batches import Batch, pick
from airflow_provider_pindo._bulk.gate import Expiries
from airflow_provider_pindo._bulk.outcome import Outcome
from airflow_provider_pindo._ledger.entry import utc_iso
from airflow_provider_pindo._metrics import BULK, count_messages
from airflow_provider_pindo.api.mentions import Template


class CountedOutcomes(NamedTuple):
    """What Airflow's metrics know of a batch."""

    accepted: int = 0
    rejected: int = 0
    unknown: int = 0
    segments: int = 0
    cost: float = 0.0


@dataclass(slots=True)
class BatchInFlight:
    """A batch that is being sent.

    :param outcome: what is certain. It does not name the admitted rows either, so only :meth:`snapshot` may be written,
        and accepted counts leave out ``admitted``.
    :param chunks: the requests that are not prepared yet, chunk by chunk.
    :param template: the text, with the mentions that Pindo fills.
    :param admitted: rows that a worker may send to, with the reason why each was unknown before, or None.
    :param waiting: requests that are prepared and not admitted.
    :param is_prepared: whether no further request of it is prepared.
    :param is_recorded: whether the last write has the present outcome.
    :param is_in_totals: whether the totals have it.
    :param counted: what Airflow's metrics know of it.
    :param unknown_before: rows that an earlier try left unknown.
    """

    batch: Batch
    outcome: Outcome
    chunks: Iterator[list[tuple[str | None, Sequence[int]]]]
    template: Template
    admitted: dict[int, str | None] = field(default_factory=dict)
    admitted_segments: int = 0
    waiting: int = 0
    is_prepared: bool = False
    is_recorded: bool = True
    is_in_totals: bool = False
    counted: CountedOutcomes = field(init=False)
    unknown_before: frozenset[int] = field(init=False)

    def __post_init__(self) -> None:
        self.counted = self._tally()
        self.unknown_before = frozenset(chain.from_iterable(self.outcome.unknown.values()))

    def count_new_outcomes(self) -> None:
        """Add what is new since the last time to Airflow's metrics."""
        before, current = self.counted, self._tally()
        self.counted = current
        count_messages(
            BULK,
            segments=current.segments - before.segments,
            cost=current.cost - before.cost,
            accepted=current.accepted - before.accepted,
            rejected=current.rejected - before.rejected,
            unknown=current.unknown - before.unknown,
        )

    def _tally(self) -> CountedOutcomes:
        outcome = self.outcome
        return CountedOutcomes(
            accepted=outcome.count_accepted(len(self.batch)) - len(self.admitted),
            rejected=outcome.count_rejected(),
            unknown=outcome.count_unknown(),
            segments=outcome.segments,
            cost=outcome.cost,
        )

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it is left to send."""
        return self.is_prepared and not self.admitted and not self.waiting

    def snapshot(self, price: float) -> Outcome:
        """Return what is known if the task is killed now.

        :param price: USD for a segment.
        """
        return self.outcome.if_killed(self.admitted, self.admitted_segments * price)

    def request(self, positions: Sequence[int], text: str | None, *, is_single: bool = False) -> Request:
        """Return a request to the recipients at ``positions``."""
        rows, segments = pick(self.batch.rows, positions), self.batch.segments(positions, self.template)
        return Request(self, positions, rows, text, segments, is_single)

    def admit(self, requests: Sequence[Request]) -> None:
        """Let workers send ``requests``, which were waiting."""
        rows = [row for request in requests for row in request.rows]
        has_open = bool(self.admitted)
        self.admitted |= dict.fromkeys(rows)
        self.admitted |= self.outcome.take(rows)
        self.outcome.began = self._began(has_open=has_open)
        if together := [row for request in requests if not request.is_single for row in request.rows]:
            self.outcome.keep_time(together, utc_iso())
        self.admitted_segments += sum(request.segments for request in requests)
        self.waiting -= len(requests)
        self.is_recorded = False

    def _began(self, *, has_open: bool) -> tuple[str, str] | None:
        """Return when the requests of this try began that may leave somebody unknown, now that one begins.

        None while rows of an earlier try are unknown. An event of this try's requests must not count for them.
        """
        unknown, moment = set(chain.from_iterable(self.outcome.unknown.values())), utc_iso()
        if unknown & self.unknown_before:
            return None
        first, _ = self.outcome.began or (moment, moment)
        return (first if has_open or unknown else moment), moment


@dataclass(slots=True)
class Request:
    """One request to make.

    :param positions: positions of its recipients in the batch.
    :param rows: their row numbers.
    :param text: the text. None: the plan's text, in which Pindo fills the name.
    :param segments: segments of its messages, as counted here.
    :param is_single: whether it uses the call for one message.
    :param whole: the request that it was cut from, by a refusal or an expiry; None if it is whole.
    :param is_partly_accepted: whether Pindo accepted a part of it.
    """

    source: BatchInFlight
    positions: Sequence[int]
    rows: Sequence[int]
    text: str | None
    segments: int
    is_single: bool = False
    whole: Request | None = None
    is_partly_accepted: bool = False

    @property
    def may_speak_for_all(self) -> bool:
        """Whether its refusal may concern everybody: not that of a group, once Pindo accepted others of its request."""
        return len(self.positions) == 1 or self.whole is None or not self.whole.is_partly_accepted

    def halves(self) -> tuple[Request, Request]:
        """Return two requests to half of its recipients each."""
        middle = len(self.positions) // 2
        return self._part(self.positions[:middle]), self._part(self.positions[middle:])

    def _part(self, positions: Sequence[int], *, is_single: bool = False) -> Request:
        part = self.source.request(positions, self.text, is_single=is_single)
        part.whole = self.whole or self
        return part

    def divide(self, expiries: Expiries) -> tuple[Request | None, Request | None]:
        """Return the part whose recipients' messages have expired, and the other part."""
        if not expiries:
            return None, self
        has_expired, rows = expiries.have_expired(), self.source.batch.rows
        expired = [position for position in self.positions if has_expired(rows[position])]
        if not expired:
            return None, self
        if len(expired) == len(self.positions):
            return self, None
        live = [position for position in self.positions if not has_expired(rows[position])]
        is_single = self.text is not None and len(live) == 1
        return self._part(expired), self._part(live, is_single=is_single)

    def take(self) -> dict[int, str | None]:
        """Take its recipients out of the admitted; return the reason why each was unknown before."""
        source = self.source
        source.admitted_segments -= self.segments
        source.is_recorded = False
        if len(self.positions) == len(source.admitted):
            before, source.admitted = source.admitted, {}
            return before
        return {row: source.admitted.pop(row) for row in self.rows}

    def accept(self) -> None:
        """Have its recipients accepted. What an earlier request to them may have cost stays known."""
        outcome, before = self.source.outcome, self.take()
        if self.source.unknown_before and (again := _count_unknown(before)):
            share = again / (again + outcome.count_unknown() + _count_unknown(self.source.admitted))
            outcome.resent_cost += share * outcome.unknown_cost
            outcome.unknown_cost -= share * outcome.unknown_cost

    def put_back(self) -> None:
        """Return its recipients to their columns, since nothing was sent to them now."""
        _put_back(self.source.outcome, self.take())

    def refuse(self, reason: str) -> bool:
        """Have its recipients rejected; return whether somebody was unknown before.

        Those stay unknown: an earlier request may have texted them.
        """
        before = self.take()
        if rejected := [row for row, why in before.items() if why is None]:
            self.source.outcome.rejected.setdefault(reason, []).extend(rejected)
        unknown = {row: why for row, why in before.items() if why is not None}
        _put_back(self.source.outcome, unknown)
        return bool(unknown)

    def put_back_in(self, snapshot: Outcome) -> None:
        """Do as :meth:`put_back` in a snapshot, which counts its recipients as unknown."""
        before = {row: self.source.admitted[row] for row in self.rows}
        snapshot.take(before)
        _put_back(snapshot, before)


def _count_unknown(before: Mapping[int, str | None]) -> int:
    return sum(reason is not None for reason in before.values())


def _put_back(outcome: Outcome, before: Mapping[int, str | None]) -> None:
    for row, reason in before.items():
        (outcome.not_sent if reason is None else outcome.unknown.setdefault(reason, [])).append(row)
