"""An attempt at a call, and whether the request was sent. This module loads no HTTP client.

Both transports mark the attempt when the request goes out. Code that interrupts a hook asks here whether it did.
"""

from __future__ import annotations

import math
import time
from contextvars import ContextVar

from airflow_provider_pindo.api.errors import PindoConnectionError, PindoError


class Attempt:
    """One call in flight, which other code may have to interrupt.

    :ivar sent: Whether the request was handed to an open connection, so that its outcome may be unknown.
    :ivar whole_timeout: Most seconds from the sending to the end of the response.
    :ivar deadline: When the whole response must have arrived, in ``time.monotonic``.
    :ivar is_last: Set it, and the call is not tried again.
    :ivar error: Why the last try failed, in which nothing was done; None when there was no such try.
    """

    __slots__ = ("_aborted", "deadline", "error", "is_last", "sent", "whole_timeout")

    def __init__(self) -> None:
        self.sent = False
        self.whole_timeout = self.deadline = math.inf
        self.is_last = self._aborted = False
        self.error: PindoError | None = None

    def mark_sent(self) -> None:
        """Note that a connection is open and the request is handed to it next.

        :raises PindoConnectionError: the attempt was aborted meanwhile; the request must not be sent.
        """
        self.sent = True
        self.deadline = time.monotonic() + self.whole_timeout
        if self._aborted:
            raise PindoConnectionError("Pindo was not reached in time. Nothing was sent")

    def failed(self, error: PindoError) -> None:
        """Note that a try failed, and that it had a certain end."""
        self.sent = False
        self.deadline = math.inf
        self.error = error

    def abort_if_unsent(self) -> bool:
        """Prevent a request that was not sent from being sent; may be called from any thread.

        Each side writes before it reads what the other wrote, so at least one of them sees the other.

        :return: Whether it was sent, so that its outcome may be unknown.
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
