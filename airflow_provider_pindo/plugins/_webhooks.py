"""Everything that ``[pindo] webhooks`` switches on: the routes, the table and its retention.

The module is imported only then.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

from fastapi import FastAPI

from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.hooks._webhook_config import retention_days
from airflow_provider_pindo.plugins import _event_table, _events, _receiver
from airflow_provider_pindo.plugins._auth import Callers

log = logging.getLogger(__name__)

#: Seconds between two deletions of old events, and until a table that could not be created is tried again.
_RETENTION_INTERVAL = 3600.0
_RETRY_INTERVAL = 10.0
#: Seconds between two transactions of a deletion.
_PAUSE = 0.1


def add_to(app: FastAPI) -> None:
    """Add the routes to ``app``, and have it create the table when it starts."""
    callers = Callers()
    app.include_router(_receiver.create_router(callers))
    app.include_router(_events.create_router(callers))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        is_there = await _create_table(callers)
        end = threading.Event()  # a cancelled task does not end its thread, and the process waits for that
        maintenance = asyncio.create_task(_maintain(callers, is_there, end))
        yield
        end.set()
        maintenance.cancel()
        with suppress(asyncio.CancelledError):
            await maintenance

    app.router.lifespan_context = lifespan


async def _maintain(callers: Callers, is_there: bool, end: threading.Event) -> None:
    pause = partial(end.wait, _PAUSE)
    while not is_there:
        await asyncio.sleep(_RETRY_INTERVAL)
        is_there = await _create_table(callers)
    while True:
        try:
            if deleted := await callers.in_thread(_event_table.delete_old, retention_days(), pause):
                log.info("Deleted %d webhook events that were too old", deleted)
        except PindoConfigurationError as error:
            log.error("No webhook event is deleted, however old: %s", error)
        except _event_table.DatabaseError as error:
            log.warning("Old webhook events could not be deleted: %s", error)
        except Exception as error:  # the next time may succeed
            log.error("Old webhook events could not be deleted: %s", type(error).__name__)
        await asyncio.sleep(_RETENTION_INTERVAL)


async def _create_table(callers: Callers) -> bool:
    """Return whether the table is there. The API server starts also without it; then webhooks get 503."""
    try:
        await callers.in_thread(_event_table.create_table)
    except _event_table.DatabaseError as error:
        log.error(
            "The table %s could not be created, so no webhook is accepted: %s", _event_table.TABLE, error
        )
        return False
    return True
