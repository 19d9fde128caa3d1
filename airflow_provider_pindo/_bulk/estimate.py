"""How long a bulk send takes, and whether its list fits into the window and before the last expiry."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from airflow_provider_pindo._bulk.gate import Expiries
from airflow_provider_pindo._policy import timing as clock
from airflow_provider_pindo._policy.timing import Timing

log = logging.getLogger(__name__)

#: Seconds that a response takes, for the estimate of a send that has measured nothing.
_RESPONSE_TIME = 0.1


@dataclass(frozen=True, slots=True)
class Estimate:
    """When a send starts, how long it takes, and whether it fits.

    :param starts: when the window opens; now if it is open.
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

    def log_estimate(self) -> None:
        """Log it, and warn if it does not fit."""
        log.info(
            "%s%s take about %s at %s",
            f"The send window opens at {self.starts:%Y-%m-%d %H:%M} UTC. "
            if self.starts > clock.now()
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


def estimate(count: int, unit: str, rate: Rate, timing: Timing, expiries: Expiries) -> Estimate:
    """Return how long ``count`` requests or recipients take.

    :param unit: ``requests`` or ``recipients``.
    """
    starts = timing.opens_at()
    closes = None if timing.window is None else timing.window.closes_at(starts)
    ends = [moment for moment in (closes, expiries.last_moment()) if moment is not None]
    return Estimate(starts, min(ends, default=None), f"{count:,} {unit}", count / rate.per_second, str(rate))
