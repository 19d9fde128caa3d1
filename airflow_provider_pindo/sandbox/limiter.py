"""The rate limit of the API: a token bucket that holds one second's worth of requests."""

from __future__ import annotations

import time


class Limiter:
    """A token bucket that holds one second's worth of requests, and at least one."""

    def __init__(self) -> None:
        self._tokens = 0.0
        self._rate: float | None = None
        self._at = 0.0

    def wait(self, rate: float | None) -> float:
        """Take a token.

        :return: 0.0, or the seconds until there is a token again.
        """
        if rate is None:
            return 0.0
        capacity, moment = max(1.0, rate), time.monotonic()
        if rate != self._rate:
            self._rate, self._tokens = rate, capacity
        else:
            self._tokens = min(capacity, self._tokens + (moment - self._at) * rate)
        self._at = moment
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / rate
