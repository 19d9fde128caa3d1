"""When a hook tries again, and how fast it goes.

Which failures may be repeated was decided where the answer was read (``api.answers``): a
:class:`PindoServerError` is raised only where a repetition does no harm, so here only the waiting is left.
"""

from __future__ import annotations

import random
import threading
import time

from airflow_provider_pindo.api.errors import PindoError, PindoRateLimitError, PindoServerError

#: Tries in all. With the waits below an outage of some ten seconds is bridged; a longer one is for
#: Airflow's own retries, which do not hold a worker.
MAX_ATTEMPTS = 5
#: Seconds that a ``Retry-After`` may ask for and be waited here; beyond it the error is raised at once.
LONGEST_WAIT = 60.0
_MAX_BACKOFF = 15.0  # seconds


def retry_delay(error: PindoError, attempt: int, max_attempts: int) -> float | None:
    """Return the seconds to wait before the next try; None when there is to be none.

    :param attempt: which try ended in ``error``, from 1.
    """
    if attempt >= max_attempts or not is_retryable(error):
        return None
    # Half a second and twice as much each time, and a chance on top, so that many clients do not come at once.
    backoff: float = min(0.5 * 2.0 ** (attempt - 1), _MAX_BACKOFF) + random.uniform(0.0, 0.5)  # noqa: S311 - no secret
    asked = error.retry_after if isinstance(error, PindoRateLimitError) else None
    # What is asked for may be no time at all, or have passed.
    return backoff if asked is None else max(backoff, asked + 0.1 * backoff)


def is_retryable(error: PindoError) -> bool:
    """Return whether the hook itself tries again after ``error``, soon."""
    if isinstance(error, PindoRateLimitError):
        return (error.retry_after or 0.0) <= LONGEST_WAIT
    return isinstance(error, PindoServerError)


def trying_again(error: PindoError, pause: float, attempt: int, max_attempts: int) -> str:
    """Return the line for the log before the wait."""
    return f"{error}. Trying again in {pause:.1f} s (try {attempt} of {max_attempts})"


class Pacer:
    """Spreads requests evenly, at most ``per_second`` of them each second; threads and tasks may share one.

    :param per_second: requests a second, or None for no limit.
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

    def delay(self) -> float:
        """Take the next place in the line; return the seconds to wait for it."""
        if not self._interval:
            return 0.0
        with self._lock:
            now = time.monotonic()
            turn = max(self._next, now)
            self._next = turn + self._interval
            return turn - now


_pacers: dict[tuple[str, float | None], Pacer] = {}
_pacers_lock = threading.Lock()
