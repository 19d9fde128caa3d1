"""One bulk send from start to end."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_pindo._bulk.sender import BulkSender
    from airflow_provider_pindo.hooks.settings import PindoSettings


def run_apart(sending: BulkSender, pindo_conn_id: str, settings: PindoSettings) -> None:
    """Run ``sending`` in a thread of its own, and wait for its end.

    What interrupts the wait (a timeout, a signal) makes it end within its grace, and is raised then.
    """
    from airflow_provider_pindo._bulk.sender import GRACE
    from airflow_provider_pindo.hooks.pindo import PindoAsyncHook

    ended = threading.Event()
    failures: list[BaseException] = []

    async def send() -> None:
        async with PindoAsyncHook(pindo_conn_id, settings=settings, concurrency=sending.concurrency) as hook:
            await sending.run(hook)

    def target() -> None:
        try:
            with _collecting_new_garbage_alone(), asyncio.Runner(loop_factory=_fast_loop()) as runner:
                runner.run(send())
        except BaseException as error:
            failures.append(error)
        finally:
            ended.set()

    # A daemon, so that nothing that hangs in it can keep the task's process.
    threading.Thread(
        target=contextvars.copy_context().run, args=(target,), name="pindo-bulk-send", daemon=True
    ).start()
    try:
        ended.wait()
    except BaseException:
        sending.interrupt()
        ended.wait(GRACE + 1.0)
        raise
    if failures:
        raise failures[0]


@contextmanager
def _collecting_new_garbage_alone() -> Iterator[None]:
    """Leave what is there already out of garbage collection.

    Python would go through all objects of Airflow twice or more for 10,000 messages, which is a tenth of the time.
    """
    if gc.get_freeze_count():  # as in a process that Airflow forked: what is frozen there stays so
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes the faster event loop that Airflow 3 brings; None where there is none."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
