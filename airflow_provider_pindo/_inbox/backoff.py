"""How long a waiting task tolerates failures of Pindo.

A task that waits for hours meets outages, which must not fail it. An error that a retry cannot fix, such as a refused
token, is raised at once. After any other error the task polls on with growing pauses, up to a number of failures in a
row.
"""

from __future__ import annotations

from airflow_provider_pindo.api.errors import PindoError, PindoRateLimitError

#: Failed polls in a row until a task fails. With the default interval of a minute, and the pauses below, this bridges
#: an outage of an hour and a half.
MAX_CONSECUTIVE_FAILURES = 20
#: Longest pause during an outage, in seconds, unless Pindo asks for more or the interval is longer.
MAX_PAUSE = 300.0
#: Shortest interval between two polls of one list, in seconds. Pauses grow from it when the interval is 0.
MIN_INTERVAL = 0.1


class FailureBudget:
    """Counts failures in a row.

    :param max_consecutive_failures: the failure with this number is raised.
    :param failures: failures before this process started.
    """

    def __init__(self, max_consecutive_failures: int, failures: int = 0) -> None:
        self.failures = failures
        self._max = max_consecutive_failures

    def record_failure(self, error: PindoError) -> None:
        """Count a failure. Raise ``error`` if the budget is used up, or if a retry cannot fix it."""
        self.failures += 1
        if not error.retry_helps or self.failures >= self._max:
            raise error

    def reset(self) -> None:
        """Start to count from 0 again."""
        self.failures = 0


def poll_backoff(failures: int, interval: float, error: BaseException | None = None) -> float:
    """Return the seconds to wait before the next poll.

    :param failures: failed polls in a row.
    :param interval: seconds between two polls without failures.
    :param error: the last failure. A 429 may say how long to wait.
    """
    if failures:
        interval = max(interval, MIN_INTERVAL)
    backoff = min(interval * 2.0 ** min(failures, 32), max(MAX_PAUSE, interval))
    if isinstance(error, PindoRateLimitError):
        return max(backoff, error.retry_after or 0.0)
    return backoff
