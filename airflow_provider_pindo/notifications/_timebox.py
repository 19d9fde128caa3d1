"""Time-boxed work: wait for it only until a time limit.

Socket timeouts do not bound a server that sends one byte at a time. They do not bound an Airflow component that
never responds either. So the wait is bounded: the work runs in a daemon thread. After the limit nothing waits for
that thread, and it does not keep the process alive.
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
    """A time limit that several steps share.

    :param seconds: the limit for all steps together, from now.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def remaining(self, reserve: float = 0.0) -> float:
        """Return the remaining seconds, never less than 0.

        :param reserve: seconds to keep for later steps; at most half of the remaining time is kept.
        """
        remaining = max(0.0, self._end - time.monotonic())
        return max(remaining - reserve, remaining / 2)

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of ``work``.

        :raises TimeoutError: the limit passed. The work continues, and its result is dropped.
        """
        return in_background(work, *args, **kwargs).result(self.remaining())

    async def run_off_loop(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``work`` like :meth:`run`, without blocking the event loop."""
        future = asyncio.wrap_future(in_background(work, *args, **kwargs))
        return await asyncio.wait_for(future, self.remaining())


def in_background(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    """Start ``work`` in its own daemon thread and return its future."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()  # from here on it cannot be cancelled

    def run() -> None:
        try:
            future.set_result(work(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)

    # Airflow uses the context to assign a log line to its task.
    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=[run], name="pindo-alert", daemon=True).start()
    return future
