"""A call on its way, and whether it has left: apart from the HTTP clients, so that looking at one loads none.

Both transports note here that a request leaves, and whoever interrupts a hook asks here whether one did.
"""

from __future__ import annotations

import math
import time
from contextvars import ContextVar

from airflow_provider_pindo.api.errors import PindoConnectionError, PindoError


class Attempt:
    """One call on its way, for whoever may have to interrupt it.

    :param whole_timeout: seconds from the request's leaving to the end of its answer, at most.
    :ivar sent: whether a connection stood and the request was handed to it, so that its outcome may be unknown.
    :ivar until: when all of the answer must have come, as ``time.monotonic`` tells it.
    :ivar is_last: set it, and the call is not tried again.
    :ivar error: why the last try failed, in which nothing was done; None when there was none.
    """

    __slots__ = ("_aborted", "error", "is_last", "sent", "until", "whole_timeout")

    def __init__(self, whole_timeout: float = math.inf) -> None:
        self.whole_timeout = whole_timeout
        self.sent = False
        self.until = math.inf
        self.is_last = self._aborted = False
        self.error: PindoError | None = None

    def mark_sent(self) -> None:
        """Note that a connection stands and the request is handed to it next.

        :raises PindoConnectionError: the attempt was given up meanwhile; the request must not leave.
        """
        self.sent = True
        self.until = time.monotonic() + self.whole_timeout
        if self._aborted:
            raise PindoConnectionError("Pindo was not reached in time. Nothing was sent")

    def failed(self, error: PindoError) -> None:
        """Note that a try failed, and that whatever had left has had a certain end."""
        self.sent = False
        self.error = error

    def abort_if_unsent(self) -> bool:
        """Have a request that has not left never leave; may be called from any thread.

        :return: whether it has left, so that its outcome may be unknown. Each side writes before it looks at what the
            other wrote: so at least one of them sees the other.
        """
        self.is_last = self._aborted = True
        return self.sent


#: The attempt that this thread makes, or this task of asyncio's.
_current: ContextVar[Attempt] = ContextVar("pindo_attempt")


def begin_attempt(attempt: Attempt | None = None) -> Attempt:
    """Note that an attempt of this thread, or of this task of asyncio's, starts: nothing has left yet."""
    attempt = attempt or Attempt()
    _current.set(attempt)
    return attempt


def current_attempt() -> Attempt:
    """Return the attempt that was begun last; one that begins now if there was none."""
    return _current.get(None) or begin_attempt()
