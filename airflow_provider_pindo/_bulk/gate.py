"""What time allows a bulk send: whether its window is open, whose message has expired, and whether the list will fit.

A recipient whose message has expired stays *not sent* in the ledger, and is counted as expired by the clock. So a task
that is cleared with a later expiry sends to them.
"""

from __future__ import annotations

import logging
import math
from array import array
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from airflow_provider_pindo._policy import timing as policy
from airflow_provider_pindo._policy.timing import Timing
from airflow_provider_pindo.api.errors import PindoConfigurationError, PindoWindowClosedError

log = logging.getLogger(__name__)

#: Seconds that a response takes, for the estimate of a send that has measured nothing.
_RESPONSE_TIME = 0.1
_NO_TIME = "is not a date with a time of day: write one such as 2026-11-24 09:30"


def read_expiry(value: Any, zone: tzinfo) -> float:
    """Return the time in a recipient's field, as a timestamp.

    :param value: a datetime, or one as ISO text.
    :param zone: the zone of a time that names none.
    :raises PindoConfigurationError: it is neither; the error does not show the value.
    """
    if isinstance(value, str) and len(value.strip()) > len("2026-11-24"):
        with suppress(ValueError):
            value = datetime.fromisoformat(value.strip())
    if (
        not isinstance(value, datetime) or value != value
    ):  # pandas' NaT is a datetime that is not equal to itself
        raise PindoConfigurationError(_NO_TIME)
    return (value if value.tzinfo is not None else value.replace(tzinfo=zone)).timestamp()


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
        now, by_row = policy.now().timestamp(), self.by_row
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
        return policy.now().timestamp() >= self.last()


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
        if self._closes == math.inf or policy.now().timestamp() < self._closes:
            return None
        return PindoWindowClosedError(self._timing.why_closed())

    def seconds_left(self, rows: Iterable[int]) -> float:
        """Return the seconds until the window closes or the first message of ``rows`` expires."""
        return min(self._closes, self.expiries.first(rows)) - policy.now().timestamp()


@dataclass(frozen=True, slots=True)
class Estimate:
    """When a send starts, how long it takes, and whether it fits.

    :param starts: when the window opens; the present if it is open.
    :param ends: when the window closes after that, or the last message expires; None if neither happens.
    :param what: how many requests or recipients.
    :param seconds: how long they take.
    :param basis: the rate, and where it is from.
    """

    starts: datetime
    ends: datetime | None
    what: str
    seconds: float
    basis: str

    @property
    def fits(self) -> bool:
        """Whether it ends in time."""
        return self.ends is None or self.starts + timedelta(seconds=self.seconds) <= self.ends

    def report(self) -> None:
        """Log it, and warn if it does not fit."""
        log.info(
            "%s%s take about %s at %s",
            f"The send window opens at {self.starts:%Y-%m-%d %H:%M} UTC. "
            if self.starts > policy.now()
            else "",
            self.what,
            timedelta(seconds=math.ceil(self.seconds)),
            self.basis,
        )
        if self.ends is not None and not self.fits:
            log.warning(
                "The list does not fit: it takes about %s, and at %s the window closes or the messages expire",
                timedelta(seconds=math.ceil(self.seconds)),
                f"{self.ends:%Y-%m-%d %H:%M} UTC",
            )


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast a send is.

    :param per_second: requests a second, or recipients.
    :param source: where the number is from.
    """

    per_second: float
    source: str

    def __str__(self) -> str:
        return f"{self.per_second:.3g} a second, {self.source}"


def expected_rate(in_flight: int, requests_per_second: float | None) -> Rate:
    """Return the requests a second of a send that has measured nothing.

    :param in_flight: requests in flight at a time.
    :param requests_per_second: the connection's limit.
    """
    if requests_per_second is not None and requests_per_second < in_flight / _RESPONSE_TIME:
        return Rate(requests_per_second, "the connection's requests_per_second")
    return Rate(in_flight / _RESPONSE_TIME, f"if a response takes {_RESPONSE_TIME:g} s")


def measured_rate(pace: float) -> Rate:
    """Return the recipients a second of a send that goes on."""
    return Rate(pace, "as measured before")


def estimate(count: int, unit: str, rate: Rate, timing: Timing, expiries: Expiries) -> Estimate:
    """Return how long ``count`` requests or recipients take.

    :param unit: ``requests`` or ``recipients``.
    """
    starts = timing.opens_at()
    closes = None if timing.window is None else timing.window.closes_at(starts)
    ends = [moment for moment in (closes, expiries.last_moment()) if moment is not None]
    return Estimate(starts, min(ends, default=None), f"{count:,} {unit}", count / rate.per_second, str(rate))
