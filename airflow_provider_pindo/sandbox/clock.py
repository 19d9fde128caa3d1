"""The clock of a sandbox: the machine's time, until a test advances it or stops it.

It goes back only at a reset, so that what is due happens once and in order. Waits of the network, such as the
fault ``latency``, use the machine's time.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any


class Clock:
    """The time of one sandbox, in seconds since the epoch."""

    def __init__(self) -> None:
        self._stopped_at: float | None
        self.reset()

    def reset(self) -> None:
        """Show the machine's time again."""
        self._ahead = 0.0
        self._stopped_at = None

    @property
    def running(self) -> bool:
        """Whether the time passes."""
        return self._stopped_at is None

    def time(self) -> float:
        """The current time."""
        return time.time() + self._ahead if self._stopped_at is None else self._stopped_at

    def iso(self) -> str:
        """The current time as ISO text: aware, UTC, with microseconds."""
        return iso(self.time())

    def advance(self, seconds: float) -> None:
        """Go forward by some seconds."""
        if self._stopped_at is None:
            self._ahead += seconds
        else:
            self._stopped_at += seconds

    def move_to(self, moment: float) -> None:
        """Go forward to a time.

        :raises ValueError: the time has passed.
        """
        seconds = moment - self.time()
        if seconds < 0:
            raise ValueError(f"the clock is at {self.iso()} and does not go back to {iso(moment)}")
        self.advance(seconds)

    def stop(self) -> None:
        """Let no time pass but what :meth:`advance` and :meth:`move_to` add."""
        self._stopped_at = self.time()

    def run(self) -> None:
        """Let the time pass again, from where it stopped."""
        self._ahead = self.time() - time.time()
        self._stopped_at = None

    def as_json(self) -> dict[str, Any]:
        """The time, and whether it passes."""
        return {"now": self.iso(), "running": self.running}


def iso(moment: float) -> str:
    """Seconds since the epoch as ISO text: aware, UTC, with microseconds."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds")
