"""The events that Pindo POSTs to a receiver of yours.

Each is sent once, in the order in which things happened, and a receiver that is down, slow or says no
misses it: that is how the vendor describes its own webhooks. The queue is bounded, and what does not fit
is dropped with a warning, so that a campaign cannot fill the memory with events that nobody takes.
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

    :param settings: gives the settings of the moment, whose address and headers count.
    """

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self._settings = settings
        self._queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(QUEUE_LIMIT)
        self._full = False
        self._worker: asyncio.Task[None]

    def announce(self, event: dict[str, Any]) -> None:
        """Queue an event, if anybody is to be told."""
        if self._settings().webhook_url is None:
            return
        try:
            self._queue.put_nowait(event)
            self._full = False
        except asyncio.QueueFull:
            if not self._full:  # one line for a burst, not one for each event
                log.warning("webhooks dropped: %d are waiting already", QUEUE_LIMIT)
            self._full = True

    def start(self) -> None:
        """Begin to work; call it inside the event loop."""
        self._worker = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Stop at once; what is still queued is lost."""
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
            ) as answer:
                if answer.status >= 300:
                    log.warning("webhook refused with status %d; it is not sent again", answer.status)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            log.warning("webhook lost: %s; it is not sent again", type(error).__name__)
