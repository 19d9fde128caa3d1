"""A call in flight, and whether its request was sent. This module loads no HTTP client.

Both transports mark the attempt when they send the request. Code that interrupts a hook reads here whether it was sent.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NoReturn

from airflow_provider_pindo.api.errors import PindoConnectionError, PindoError

_NOT_REACHED = "Pindo was not reached in time. Nothing was sent"


class Attempt:
    """One call over all its tries, which other code may have to interrupt.

    :ivar sent: whether the request was handed to an open connection, so that its outcome may be unknown.
    :ivar status: HTTP status of this try's response; None before it arrives.
    :ivar whole_timeout: most seconds from the sending to the end of the response.
    :ivar deadline: when the whole response must have arrived, in seconds of ``time.monotonic``.
    :ivar not_after: from then on the request must not be sent, in seconds of ``time.time``.
    :ivar is_last: whether there is no further try; other code may set it.
    :ivar is_late: whether the request was not sent because its time was over.
    :ivar error: why the last try failed, which may be repeated; None when there was no such try.
    """

    __slots__ = (
        "_aborted",
        "deadline",
        "error",
        "is_last",
        "is_late",
        "not_after",
        "sent",
        "status",
        "whole_timeout",
    )

    def __init__(self, *, is_last: bool = False) -> None:
        self.sent = False
        self.status: int | None = None
        self.whole_timeout = self.deadline = self.not_after = math.inf
        self.is_last = is_last
        self.is_late = self._aborted = False
        self.error: PindoError | None = None

    def expire_in(self, seconds: float) -> None:
        """Allow the request to be sent only within so many seconds."""
        self.not_after = time.time() + seconds

    def remaining(self) -> float:
        """Return the seconds within which the request may be sent."""
        return self.not_after - time.time()

    @contextmanager
    def waiting(self, delay: float) -> Iterator[float]:
        """Yield the seconds to wait for the request: ``delay``, or less if it would be too late then.

        :raises PindoConnectionError: after the wait, if it was less.
        """
        remaining = self.remaining()
        yield max(0.0, min(delay, remaining))
        if remaining <= delay:
            self._refuse_late()

    def mark_sent(self) -> None:
        """Note that a connection is open, and that the request is sent next.

        :raises PindoConnectionError: the attempt was aborted, or its time is over; the request must not be sent.
        """
        self.sent = True
        self.deadline = time.monotonic() + self.whole_timeout
        if self._aborted:
            raise PindoConnectionError(_NOT_REACHED)
        if time.time() >= self.not_after:
            self._refuse_late()

    def _refuse_late(self) -> NoReturn:
        self.is_late = self.is_last = True
        raise PindoConnectionError(_NOT_REACHED) from self.error

    def failed(self, error: PindoError) -> None:
        """Note that a try failed and may be repeated: it did nothing, or a repetition has no further effect."""
        self.sent = False
        self.status = None
        self.deadline = math.inf
        self.error = error

    def abort_if_unsent(self) -> bool:
        """Prevent the request from being sent, if it was not sent yet. May be called from any thread.

        This method and :meth:`mark_sent` each write their own flag before they read the other's. So at least one of
        them sees the other.

        :return: whether the request was sent, so that its outcome may be unknown.
        """
        self.is_last = self._aborted = True
        return self.sent


#: The attempt of this thread, or of this asyncio task.
_current: ContextVar[Attempt] = ContextVar("pindo_attempt")


def begin_attempt(attempt: Attempt | None = None) -> Attempt:
    """Make ``attempt``, or a new one, the current attempt of this thread or asyncio task."""
    attempt = attempt or Attempt()
    _current.set(attempt)
    return attempt


def current_attempt() -> Attempt:
    """Return the attempt that was begun last; a new one if there was none."""
    return _current.get(None) or begin_attempt()
