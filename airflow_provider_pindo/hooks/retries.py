"""
When a hook tries again, and how fast it goes.

Which failures may be repeated was decided where the answer was read (``api.answers``): a
:class:`PindoServerError` is raised only where a repetition does no harm, so here only the waiting is left.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import tenacity

from airflow_provider_pindo.api.errors import PindoRateLimitError, PindoServerError

#: Tries in all. With the waits below an outage of some ten seconds is bridged; a longer one is for
#: Airflow's own retries, which do not hold a worker.
MAX_ATTEMPTS = 5
#: Seconds that a ``Retry-After`` may ask for and be waited here; beyond it the error is raised at once.
MAX_RETRY_AFTER = 60.0

_backoff = tenacity.wait_exponential(multiplier=0.5, max=15.0) + tenacity.wait_random(0.0, 0.5)


def policy(log: Any, max_attempts: int) -> dict[str, Any]:
    """Return the arguments of ``tenacity.Retrying`` and ``AsyncRetrying`` that both hooks use."""
    return {
        "retry": tenacity.retry_if_exception(worth_repeating),
        "wait": _wait,
        "stop": tenacity.stop_after_attempt(max_attempts),
        "before_sleep": _say(log, max_attempts),
        "reraise": True,
    }


def worth_repeating(error: BaseException) -> bool:
    """Return whether the hook itself tries again after ``error``, soon."""
    if isinstance(error, PindoRateLimitError):
        return (error.retry_after or 0.0) <= MAX_RETRY_AFTER
    return isinstance(error, PindoServerError)


def _say(log: Any, max_attempts: int) -> Callable[[tenacity.RetryCallState], None]:
    def say(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        pause = state.next_action.sleep if state.next_action else 0.0
        log.warning(
            "%s. Trying again in %.1f s (try %d of %d)", error, pause, state.attempt_number, max_attempts
        )

    return say


def _wait(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, PindoRateLimitError) else None
    # On top of what was asked, so that many clients told the same moment do not all come at it.
    return _backoff(state) if asked is None else asked + 0.1 * _backoff(state)


class Pacer:
    """
    Spreads requests evenly, at most ``per_second`` of them each second; threads and tasks may share one.

    :param per_second: requests a second, or None for no limit.
    """

    def __init__(self, per_second: float | None) -> None:
        self._interval = 0.0 if per_second is None else 1.0 / per_second
        self._next = 0.0
        self._lock = threading.Lock()

    def delay(self) -> float:
        """Take the next place in the line; return the seconds to wait for it."""
        if not self._interval:
            return 0.0
        with self._lock:
            now = time.monotonic()
            turn = max(self._next, now)
            self._next = turn + self._interval
            return turn - now
