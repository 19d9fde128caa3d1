"""How long to put up with a Pindo that does not answer, for those who wait for messages.

Whoever waits for hours sees outages; they are no reason to fail. What a retry cannot mend (a refused token)
is raised at once; for the rest the waiting goes on, ever more slowly, until it has failed too often in a row.
"""

from __future__ import annotations

from airflow_provider_pindo.api.errors import PindoError, PindoRateLimitError

#: Failed rounds in a row until a task gives up: with the default interval of a minute, and the pauses below,
#: an outage of an hour and a half.
MAX_CONSECUTIVE_FAILURES = 20
#: Seconds between two tries during an outage, at most, unless Pindo asks for more or the interval is longer.
MAX_PAUSE = 300.0
#: The interval that the pauses grow from when somebody looks all the time, in seconds.
SHORTEST_PAUSE = 0.1


class FailureBudget:
    """Counts failures in a row.

    :param max_consecutive_failures: how many to put up with.
    :param failures: how many there were already.
    """

    def __init__(self, max_consecutive_failures: int, failures: int = 0) -> None:
        self.failures = failures
        self._max = max_consecutive_failures

    def failed(self, error: PindoError) -> None:
        """Count a failure; raise ``error`` when it is one too many, or one that waiting cannot mend."""
        self.failures += 1
        if not error.retry_helps or self.failures >= self._max:
            raise error

    def succeeded(self) -> None:
        """Forget the failures."""
        self.failures = 0


def poll_backoff(failures: int, interval: float, error: BaseException | None = None) -> float:
    """Return the seconds to wait before the next round.

    :param failures: failed rounds in a row.
    :param interval: seconds between two rounds when all is well.
    :param error: what went wrong last; a 429 may say how long to wait.
    """
    asked = error.retry_after if isinstance(error, PindoRateLimitError) else None
    if failures:
        interval = max(interval, SHORTEST_PAUSE)
    backoff = min(interval * 2.0 ** min(failures, 32), max(MAX_PAUSE, interval))
    return max(backoff, asked or 0.0)
