"""The webhooks: events that Pindo sends to the user's receiver, and the log of these calls.

Each event is sent once, in order. A receiver that is down, is slow or responds with an error misses it, as
the vendor describes for its own webhooks. Only a person sends it again, from the log. The queue is bounded,
so that a campaign cannot fill the memory; further events are dropped with a warning.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import aiohttp

from airflow_provider_pindo.sandbox.events import Event
from airflow_provider_pindo.sandbox.faults import FaultBook
from airflow_provider_pindo.sandbox.settings import SenderWebhook, Settings

QUEUE_LIMIT = 100_000
MAX_CALLS = 10_000
TIMEOUT_SECONDS = 5.0

log = logging.getLogger(__name__)


@dataclasses.dataclass(slots=True)
class WebhookCall:
    """One call of a receiver.

    :param status: status of the response; a word when there was none; None before that.
    :param again: number of the call that this one repeats.
    """

    number: int
    called_at: float
    event: Event
    webhook: SenderWebhook
    status: int | str | None = None
    faults: tuple[str, ...] = ()
    again: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The call without its headers, which may hold a secret."""
        return {
            "number": self.number,
            "at": datetime.fromtimestamp(self.called_at, UTC).isoformat(timespec="milliseconds"),
            "event": self.event.kind,
            "phone": self.event.number,
            "method": self.webhook.method,
            "url": self.webhook.url,
            "body": self.event.body,
            "status": self.status,
            "faults": list(self.faults),
            "again": self.again,
        }


class Webhooks:
    """One worker that calls the receiver, oldest event first.

    :param settings: function that returns the current settings.
    :param faults: the active faults, some of which are for webhooks.
    :param touch: called when the log has changed.
    """

    def __init__(
        self, settings: Callable[[], Settings], faults: FaultBook, touch: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._faults = faults
        self._touch = touch
        self._queue: asyncio.Queue[tuple[Event, int | None]] = asyncio.Queue(QUEUE_LIMIT)
        self._full = False
        self._calls: deque[WebhookCall] = deque(maxlen=MAX_CALLS)
        self._count = 0
        self._in_flight = 0
        self._worker: asyncio.Task[None]

    @property
    def pending(self) -> int:
        """Number of events that wait for their call, or for its response."""
        return self._queue.qsize() + self._in_flight

    def announce(self, event: Event) -> None:
        """Queue an event, if there is a webhook address for it."""
        if self._settings().webhook_for(event.kind, event.sender) is not None:
            self._put(event, None)

    def send_again(self, number: int) -> None:
        """Queue the event of an earlier call once more.

        :raises ValueError: the log has no such call.
        """
        call = next((call for call in self._calls if call.number == number), None)
        if call is None:
            raise ValueError(f"no webhook call {number} in the log, which has the newest {MAX_CALLS}")
        self._put(call.event, number)

    def as_json(self, event: str | None = None) -> list[dict[str, Any]]:
        """The calls, oldest first; only those of one kind of event, if named."""
        return [call.as_json() for call in self._calls if event is None or call.event.kind == event]

    def newest(self, limit: int) -> list[dict[str, Any]]:
        """The newest calls, newest first."""
        return [self._calls[-index].as_json() for index in range(1, min(limit, len(self._calls)) + 1)]

    def clear(self) -> None:
        """Forget all calls, and the events that wait."""
        self._calls.clear()
        while not self._queue.empty():
            self._queue.get_nowait()

    def start(self) -> None:
        """Start the worker. Call it inside the event loop."""
        self._worker = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Stop at once; queued events are lost."""
        self._worker.cancel()
        await asyncio.gather(self._worker, return_exceptions=True)

    def _put(self, event: Event, again: int | None) -> None:
        if self._queue.empty():
            self._full = False
        try:
            self._queue.put_nowait((event, again))
        except asyncio.QueueFull:
            if not self._full:  # one line until the queue was empty
                log.warning("webhooks dropped: the queue is full with %d events", QUEUE_LIMIT)
            self._full = True

    async def _work(self) -> None:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                event, again = await self._queue.get()
                webhook = self._settings().webhook_for(event.kind, event.sender)
                if webhook is not None:
                    self._in_flight = 1
                    await self._call(session, event, webhook, again)
                    self._in_flight = 0

    async def _call(
        self, session: aiohttp.ClientSession, event: Event, webhook: SenderWebhook, again: int | None
    ) -> None:
        faults = self._faults.take(event.kind, {event.number})
        self._count += 1
        call = WebhookCall(self._count, time.time(), event, webhook, again=again)
        call.faults = tuple(fault.action for fault in faults)
        self._calls.append(call)
        for fault in faults:
            if fault.action == "receiver_slow":
                self._touch()
                await asyncio.sleep(fault.seconds)
            elif fault.action == "receiver_down":
                call.status = "refused"
            else:
                call.status = fault.status or 500
        if call.status is None:
            call.status = await _send(session, event, webhook)
        if isinstance(call.status, str):
            log.warning("webhook lost: %s; it is not sent again", call.status)
        elif call.status >= 300:
            log.warning("webhook refused with status %d; it is not sent again", call.status)
        self._touch()


async def _send(session: aiohttp.ClientSession, event: Event, webhook: SenderWebhook) -> int | str:
    """Call the receiver.

    :return: its status, or the reason for a call without a response.
    """
    content: dict[str, Any] = {"params": event.body} if webhook.method == "GET" else {"json": event.body}
    try:
        async with session.request(
            webhook.method, webhook.url, headers=webhook.headers, allow_redirects=False, **content
        ) as response:
            return response.status
    except aiohttp.ClientConnectorError:
        return "refused"
    except TimeoutError:
        return "timeout"
    except (aiohttp.ClientError, ValueError) as error:
        return type(error).__name__
