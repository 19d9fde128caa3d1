"""Run a sandbox inside a test.

:class:`Sandbox` is a :class:`~.client.SandboxClient` with a server of its own: a real socket, and a thread
with an event loop. It stops at the end of its ``with`` block.

::

    with Sandbox() as sandbox:
        monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", sandbox.connection_json())
        sandbox.add_fault("drop_after", call="send_sms", times=1)
        ...
        assert [message["text"] for message in sandbox.messages(to="+250781234567")] == ["Hello"]
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from airflow_provider_pindo.sandbox.address import DEFAULT_HOST, DEFAULT_TOKEN
from airflow_provider_pindo.sandbox.client import SandboxClient
from airflow_provider_pindo.sandbox.settings import Settings, first_id_from_clock


class Sandbox(SandboxClient):
    """A sandbox that runs until the end of its ``with`` block.

    :param token: the valid API token.
    :param state: file for messages, wallet and verifications. None keeps them in memory.
    :param port: 0 picks a free one.
    :param settings: any of :class:`~.settings.Settings`.
    """

    def __init__(
        self, token: str = DEFAULT_TOKEN, state: str | Path | None = None, port: int = 0, **settings: Any
    ) -> None:
        super().__init__("", token)
        self._state_file = state
        self._port = port
        self._settings = settings
        self._first_id = 1
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start to serve. ``url`` is known once this returns.

        :raises OSError: the port is taken.
        :raises Exception: the state file cannot be opened; a ``sqlite3.Error``.
        :raises ValueError: an unknown setting, or a value that it does not take.
        """
        self._ready.clear()
        self._error = None
        self._thread = threading.Thread(target=self._run, name="pindo-sandbox", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            self._thread.join()
            raise self._error

    def stop(self) -> None:
        """Close the port and every connection, and wait until that is done.

        :meth:`start` then serves on the same port again, with the content of the ``state`` file. Without
        such a file it is empty, and its ids begin at the clock, so that they still grow.
        """
        if self._loop is not None and self._end is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join()
            self._loop = None

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._error = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        settings = Settings().changed(self._settings)
        settings = settings.changed({"first_id": max(settings.first_id, self._first_id)})
        async with serve(DEFAULT_HOST, self._port, (self.token,), self._state_file, settings) as url:
            self.url = url
            self._port = urlsplit(url).port or 0
            self._ready.set()
            await self._end.wait()
        self._first_id = first_id_from_clock()


@contextlib.asynccontextmanager
async def serve(
    host: str,
    port: int,
    tokens: tuple[str, ...],
    state: str | Path | None,
    settings: Settings,
    verbose: bool = False,
    names: Collection[str] = (),
) -> AsyncIterator[str]:
    """Serve until the end of the block, which gets the address.

    :param names: names of this sandbox, besides ``host``.
    :raises OSError: the port is taken.
    """
    from aiohttp import web

    from airflow_provider_pindo.sandbox.server import Server

    app = Server(tokens, state, settings, verbose, (host, *names)).application()
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=1024).start()
        shown = {"0.0.0.0": DEFAULT_HOST, "::": "::1"}.get(host, host)  # noqa: S104 - to show, not to bind
        shown = f"[{shown}]" if ":" in shown else shown
        yield f"http://{shown}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
