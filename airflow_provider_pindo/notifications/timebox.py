"""Work that is waited for only so long.

Timeouts of sockets do not bound a server that sends one byte at a time, nor an Airflow component that never
answers, so the waiting is bounded instead: the work runs in a daemon thread, which nobody waits for once its
time is up and which does not keep the process alive.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class TimeLimit:
    """A number of seconds that several steps share.

    :param seconds: what all of them together may take, from now.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left, never less than 0."""
        return max(0.0, self._end - time.monotonic())

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what ``work`` returns.

        :raises TimeoutError: it takes longer than what is left; it goes on, and nobody hears of it.
        """
        return in_background(work, *args, **kwargs).result(self.left())

    async def run_off_loop(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do as :meth:`run` does, without blocking the event loop."""
        future = asyncio.wrap_future(in_background(work, *args, **kwargs))
        return await asyncio.wait_for(future, self.left())


def in_background(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    """Start ``work`` in a daemon thread of its own; return its future."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()  # from here on it cannot be cancelled

    def run() -> None:
        try:
            future.set_result(work(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)

    # Airflow finds by the context where a line of log belongs.
    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=[run], name="pindo-alert", daemon=True).start()
    return future
