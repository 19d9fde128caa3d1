"""What time allows a bulk send: whether its window is open, and whose message has expired.

A recipient whose message has expired stays *not sent* in the ledger, and is counted as expired by the clock. So a task
that is cleared with a later expiry sends to them.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from airflow_provider_pindo._policy import timing as clock
from airflow_provider_pindo._policy.timing import Timing
from airflow_provider_pindo.api.errors import PindoWindowClosedError


@dataclass(slots=True)
class Expiries:
    """When the message of each row expires.

    :param everybody: timestamp after which nobody is sent to; infinity for no end.
    :param by_row: timestamp of each row; empty where the rows have none.
    """

    everybody: float = math.inf
    by_row: array[float] = field(default_factory=lambda: array("d"))

    def __bool__(self) -> bool:
        """Whether any message may expire."""
        return bool(self.by_row) or self.everybody < math.inf

    def have_expired(self) -> Callable[[int], bool]:
        """Return the test whether a row's message has expired by now."""
        now, by_row = clock.now().timestamp(), self.by_row
        if now >= self.everybody:
            return lambda row: True
        return (lambda row: by_row[row - 1] <= now) if by_row else (lambda row: False)

    def first(self, rows: Iterable[int]) -> float:
        """Return when the first message of ``rows`` expires."""
        by_row = self.by_row
        return min(self.everybody, min(by_row[row - 1] for row in rows)) if by_row else self.everybody

    def last(self) -> float:
        """Return when the last message expires; minus infinity if nobody is sent to."""
        return min(self.everybody, max(self.by_row, default=math.inf))

    def last_moment(self) -> datetime | None:
        """Return :meth:`last` as a time; None for no end, and for no message.

        Databases write 9999-12-31 for no end. A zone may take it into the year 10000, which no datetime can name.
        """
        try:
            return datetime.fromtimestamp(self.last(), UTC)
        except (ValueError, OverflowError):
            return None

    def are_over(self) -> bool:
        """Whether the last message has expired."""
        return clock.now().timestamp() >= self.last()


class WaitForWindow(Exception):
    """The task must wait.

    :param until: when it goes on.
    """

    def __init__(self, reason: str, until: datetime) -> None:
        super().__init__(reason)
        self.until = until


class Gate:
    """Whether a bulk send may admit recipients now.

    :param timing: the window.
    :param expiries: when the messages expire.
    :param is_bound: whether the window binds a send that has started. It does where a ledger lets it go on later.
    """

    def __init__(self, timing: Timing, expiries: Expiries, *, is_bound: bool) -> None:
        self._timing = timing
        self.expiries = expiries
        closes = timing.closes_at() if is_bound else None
        self._closes = math.inf if closes is None else closes.timestamp()
        #: Whether time may end the send.
        self.has_end = self._closes < math.inf or bool(expiries)

    def why_closed(self) -> PindoWindowClosedError | None:
        """Return why nobody may be admitted now; None if the window is open."""
        if self._closes == math.inf or clock.now().timestamp() < self._closes:
            return None
        return PindoWindowClosedError(self._timing.why_closed())

    def seconds_left(self, rows: Iterable[int]) -> float:
        """Return the seconds until the window closes or the first message of ``rows`` expires."""
        return min(self._closes, self.expiries.first(rows)) - clock.now().timestamp()
