"""Runs a sender in a thread and an event loop of its own, while the task's main thread only waits.

So a signal or a timeout never strikes in the middle of a request or of a write to the ledger.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from airflow_provider_pindo._bulk.sender import GRACE, BulkSender
from airflow_provider_pindo.hooks.pindo import PindoAsyncHook, PindoHook


def run_in_thread(bulk_sender: BulkSender, hook: PindoHook) -> None:
    """Run ``bulk_sender`` in a thread of its own, and wait for its end.

    What interrupts the wait (a timeout, a signal) makes the sender end within its grace, and is raised then.
    """
    ended = threading.Event()
    failures: list[BaseException] = []

    async def send() -> None:
        async with PindoAsyncHook(
            hook.pindo_conn_id, settings=hook.settings, concurrency=bulk_sender.concurrency
        ) as async_hook:
            await bulk_sender.run(async_hook)

    def target() -> None:
        try:
            with _existing_objects_frozen(), asyncio.Runner(loop_factory=_fast_loop()) as runner:
                runner.run(send())
        except BaseException as error:
            failures.append(error)
        finally:
            ended.set()

    # A daemon thread: nothing that hangs in it can keep the task's process alive.
    threading.Thread(
        target=contextvars.copy_context().run, args=(target,), name="pindo-bulk-send", daemon=True
    ).start()
    try:
        ended.wait()
    except BaseException:
        bulk_sender.interrupt()
        ended.wait(GRACE + 1.0)
        raise
    if failures:
        raise failures[0]


@contextmanager
def _existing_objects_frozen() -> Iterator[None]:
    """Exclude the existing objects from garbage collection.

    Python would visit all objects of Airflow twice or more for 10,000 messages, which takes a tenth of the time.
    """
    if gc.get_freeze_count():  # Airflow freezes them where it forks; they must stay frozen
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return the factory of the faster event loop that Airflow 3 installs; None where it is missing."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
