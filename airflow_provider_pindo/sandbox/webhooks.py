"""The webhooks: events that Pindo POSTs to the user's receiver.

Each event is sent once, in order. A receiver that is down, is slow or responds with an error misses it, as
the vendor describes for its own webhooks. The queue is bounded, so that a campaign cannot fill the memory;
further events are dropped with a warning.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import aiohttp

from airflow_provider_pindo.sandbox.settings import Settings

QUEUE_LIMIT = 10_000
TIMEOUT_SECONDS = 5.0

log = logging.getLogger(__name__)


class Webhooks:
    """One worker that POSTs events, oldest first.

    :param settings: function that returns the current settings.
    """

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self._settings = settings
        self._queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(QUEUE_LIMIT)
        self._full = False
        self._worker: asyncio.Task[None]

    def announce(self, event: dict[str, Any]) -> None:
        """Queue an event, if there is a webhook address."""
        if self._settings().webhook_url is None:
            return
        try:
            self._queue.put_nowait(event)
            self._full = False
        except asyncio.QueueFull:
            if not self._full:  # one line for a burst of events
                log.warning("webhooks dropped: the queue is full with %d events", QUEUE_LIMIT)
            self._full = True

    def start(self) -> None:
        """Start the worker. Call it inside the event loop."""
        self._worker = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Stop at once; queued events are lost."""
        self._worker.cancel()
        await asyncio.gather(self._worker, return_exceptions=True)

    async def _work(self) -> None:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                await self._post(session, await self._queue.get())

    async def _post(self, session: aiohttp.ClientSession, event: dict[str, Any]) -> None:
        settings = self._settings()
        if settings.webhook_url is None:
            return
        try:
            async with session.post(
                settings.webhook_url, json=event, headers=settings.webhook_headers, allow_redirects=False
            ) as response:
                if response.status >= 300:
                    log.warning("webhook refused with status %d; it is not sent again", response.status)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            log.warning("webhook lost: %s; it is not sent again", type(error).__name__)
