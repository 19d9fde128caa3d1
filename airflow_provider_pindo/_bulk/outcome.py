"""What came of a batch's recipients: one column for each row, and who settled those that were unknown."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from itertools import chain

from airflow_provider_pindo._bulk.row_numbers import format_rows, parse_rows
from airflow_provider_pindo._ledger.entry import NOT_SENT, REJECTED, SENT, UNKNOWN, Settlement

#: Why recipients are unknown whose request had no response yet when the task was killed.
IN_FLIGHT = "the task ended while they were in flight"
#: Why recipients are unknown whose entry a person has changed.
NOT_AS_WRITTEN = "their entry is not as the task wrote it"

#: Settlements that are kept apart. Beyond them the oldest two become one.
_MAX_SETTLEMENTS = 10
_SEVERAL = "several"
#: Times of requests that are kept, which take at most 8 KB. Beyond them the oldest is forgotten.
_MAX_TIMES = 200


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
    :param resent_cost: USD that earlier requests of unknown outcome cost if they were sent, to rows that were accepted
        in a later one: an estimate.
    :param settled: who settled which rows that were unknown once, the oldest first.
    :param began: when the first and the last request began that may have left somebody unknown, in ISO 8601 and UTC.
    :param admitted_at: rows of requests to several by the second in which they were admitted, in ISO 8601 and UTC. Of
        two times of a row, the later one counts.
    """

    rejected: dict[str, list[int]] = field(default_factory=dict)
    unknown: dict[str, list[int]] = field(default_factory=dict)
    not_sent: list[int] = field(default_factory=list)
    sms_ids: dict[int, str] = field(default_factory=dict)
    requests: int = 0
    segments: int = 0
    cost: float = 0.0
    unknown_cost: float = 0.0
    resent_cost: float = 0.0
    settled: list[SettledRows] = field(default_factory=list)
    began: tuple[str, str] | None = None
    admitted_at: dict[str, str] = field(default_factory=dict)

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

    def column_of_rows(self) -> dict[int, tuple[str, str]]:
        """Return column and reason of each row that was not accepted."""
        columns = dict.fromkeys(self.not_sent, (NOT_SENT, ""))
        for column, reasons in ((REJECTED, self.rejected), (UNKNOWN, self.unknown)):
            for reason, rows in reasons.items():
                columns |= dict.fromkeys(rows, (column, reason))
        return columns

    def keep_time(self, rows: Iterable[int], moment: str) -> None:
        """Record when ``rows`` were admitted. Pindo's times are whole seconds, and so are these."""
        second = f"{moment[:19]}+00:00"
        self.admitted_at[second] = format_rows({*parse_rows(self.admitted_at.get(second, "")), *rows})
        if len(self.admitted_at) > _MAX_TIMES:
            del self.admitted_at[min(self.admitted_at)]

    def times(self) -> dict[int, str]:
        """Return when each row was admitted, as far as it is known."""
        return {row: moment for moment, rows in sorted(self.admitted_at.items()) for row in parse_rows(rows)}

    def take_unknown(self) -> list[int]:
        """Return the unknown rows, and forget that they are."""
        rows = sorted(chain(*self.unknown.values()))
        self.unknown = {}
        return rows

    def settle(self, some: SettledRows) -> None:
        """Turn unknown rows into accepted or not sent ones, and record who said so.

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
        earlier = [others.without(rows) for others in self.settled]
        self.settled = [*(others for others in earlier if others.arrived or others.not_arrived), some]
        if len(self.settled) > _MAX_SETTLEMENTS:
            oldest, second, *others = self.settled
            self.settled = [oldest.merge(second), *others]

    def put_back_rejected(self) -> None:
        """Move the rejected rows to those not sent, so that they are sent to again."""
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
            admitted_at=self.admitted_at.copy(),
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
