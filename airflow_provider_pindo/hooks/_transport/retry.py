"""When a hook tries again, and how fast it sends.

:mod:`~airflow_provider_pindo.api.responses` decides which calls may be repeated: it raises :class:`PindoServerError`
only where that is safe. This module decides how long to wait.
"""

from __future__ import annotations

import random
import threading
import time

from airflow_provider_pindo.api.errors import PindoError, PindoRateLimitError, PindoServerError
from airflow_provider_pindo.hooks._transport.attempt import Attempt

#: Tries in all. With the waits below they outlast an outage of about ten seconds. Airflow's own retries, which hold no
#: worker, are for longer ones.
MAX_ATTEMPTS = 5
#: The longest ``Retry-After``, in seconds, that a hook waits for. Beyond it the error is raised at once.
_LONGEST_PAUSE = 60.0
_FIRST_BACKOFF = 0.5  # seconds
_MAX_BACKOFF = 15.0  # seconds


def retry_delay(error: PindoError, number: int, max_attempts: int) -> float | None:
    """Return the seconds to wait before the next try; None when there is no next try.

    :param number: which try ended in ``error``, from 1.
    """
    if number >= max_attempts or not is_retryable(error):
        return None
    # It doubles each time. The random part spreads many clients over time.
    jitter = random.uniform(0.0, _FIRST_BACKOFF)  # noqa: S311 - no secret
    backoff: float = min(_FIRST_BACKOFF * 2.0 ** (number - 1), _MAX_BACKOFF) + jitter
    requested = error.retry_after if isinstance(error, PindoRateLimitError) else None
    # Pindo may ask for 0 s, or for a moment that has passed.
    return backoff if requested is None else max(backoff, requested + 0.1 * backoff)


def is_retryable(error: PindoError) -> bool:
    """Return whether the hook itself tries again after ``error``."""
    if isinstance(error, PindoRateLimitError):
        return (error.retry_after or 0.0) <= _LONGEST_PAUSE
    return isinstance(error, PindoServerError)


class Pacer:
    """Spreads requests evenly over time. Threads and asyncio tasks may share one pacer.

    :param per_second: most requests per second; None for no limit.
    """

    def __init__(self, per_second: float | None) -> None:
        self._interval = 0.0 if per_second is None else 1.0 / per_second
        self._next = 0.0
        self._lock = threading.Lock()

    @classmethod
    def of_connection(cls, conn_id: str, per_second: float | None) -> Pacer:
        """Return the pacer that all hooks of a connection share in this process."""
        with _pacers_lock:
            return _pacers.setdefault((conn_id, per_second), cls(per_second))

    def delay(self, attempt: Attempt) -> float:
        """Return the seconds until the next free moment, and reserve it unless it is too late for ``attempt``."""
        if not self._interval:
            return 0.0
        with self._lock:
            now = time.monotonic()
            turn = max(self._next, now)
            if turn - now < attempt.remaining():
                self._next = turn + self._interval
            return turn - now


_pacers: dict[tuple[str, float | None], Pacer] = {}
_pacers_lock = threading.Lock()
