"""The page of phones: its HTML, what it shows, and the stream of events that tells it to look again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from aiohttp import web

from airflow_provider_pindo.sandbox import numbers
from airflow_provider_pindo.sandbox.world import World

PHONES_SHOWN = 40
MESSAGES_PER_PHONE = 40
HTML = Path(__file__).with_name("phones.html")
_TICK_SECONDS = 0.2
_KEEPALIVE_SECONDS = 15.0
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Page:
    """The page of one sandbox."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._closing = False

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add the page and its event stream."""
        router.add_get("/", self._html)
        router.add_get("/sandbox/events", self._events)

    async def end_streams(self, app: web.Application) -> None:
        """End the event streams, so that the server can stop."""
        self._closing = True
        self._world.touch()

    async def _html(self, request: web.Request) -> web.StreamResponse:
        return web.Response(
            body=HTML.read_bytes(),
            content_type="text/html",
            charset="utf-8",
            headers={"Content-Security-Policy": _POLICY, "Cache-Control": "no-store"},
        )

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: one after a change, at most five a second."""
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        await response.prepare(request)
        seen = -1
        while not self._closing:
            if seen != self._world.changes:
                seen = self._world.changes
                await response.write(f"data: {seen}\n\n".encode())
                await asyncio.sleep(_TICK_SECONDS)
            else:
                self._world.changed.clear()
                try:
                    await asyncio.wait_for(self._world.changed.wait(), timeout=_KEEPALIVE_SECONDS)
                except TimeoutError:
                    await response.write(b": still here\n\n")
        return response


def phones(world: World, find: str) -> list[dict[str, Any]]:
    """The phones with the newest messages first, each with its thread, oldest message first.

    :param find: part of a number, of a name or of a message's text; empty for all phones.
    """
    shown = []
    for number in world.store.newest_phones(PHONES_SHOWN, find):
        sent, received = world.store.thread(number, MESSAGES_PER_PHONE)
        thread = [{**m, "direction": "in"} for m in world.lives.as_json(sent)]
        thread += [{**m.as_json(), "direction": "out"} for m in received]
        thread.sort(key=lambda message: str(message["created_at"]))
        shown.append(
            {
                "number": number,
                "name": next((m.name for m in reversed(sent) if m.name), None),
                "telco": numbers.telco(number),
                "messages": thread[-MESSAGES_PER_PHONE:],
            }
        )
    return shown
