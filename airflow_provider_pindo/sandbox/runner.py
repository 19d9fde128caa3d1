"""The sandbox from Python: run one inside a test, and control one in any process.

:class:`SandboxClient` is a client of the control API.
:class:`Sandbox` adds a server of its own: a real socket, and a thread with an event loop. It stops at the
end of its ``with`` block.

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
import http.client
import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit

from airflow_provider_pindo.sandbox.address import DEFAULT_HOST, DEFAULT_TOKEN, EXTRAS, connection_json
from airflow_provider_pindo.sandbox.settings import Settings, first_id_from_clock


class SandboxError(Exception):
    """The sandbox refused a control request. The message says what it takes."""


class SandboxClient:
    """A client of a sandbox's control API.

    :param url: its address, such as ``http://127.0.0.1:8025``.
    :param token: the API token that it was started with. Only :meth:`connection_json` and
        :meth:`connection_uri` use it.
    """

    def __init__(self, url: str, token: str = DEFAULT_TOKEN) -> None:
        self.url = url.rstrip("/")
        self.token = token

    def connection_json(self) -> str:
        """The value of ``AIRFLOW_CONN_PINDO_DEFAULT`` for this sandbox, as JSON."""
        return connection_json(self.url, self.token)

    def connection_uri(self) -> str:
        """The same as a URI.

        The brackets and colons of an IPv6 address are quoted, since Airflow would drop the brackets.
        """
        parts = urlsplit(self.url)
        extras = urlencode(EXTRAS)
        token = quote(self.token, safe="")
        host = parts.hostname or ""
        host = quote(f"[{host}]") if ":" in host else host
        return f"pindo://{parts.scheme}://:{token}@{host}:{parts.port}/?{extras}"

    # -- messages and requests

    def messages(self, to: str | None = None) -> list[dict[str, Any]]:
        """The accepted messages, oldest first, as the phones show them.

        :param to: only the messages to this number.
        :return: objects with these keys. ``id`` and ``sms_id`` are the same. ``name`` is of a bulk
            recipient. ``text`` has its mentions filled in. ``kind`` is ``"sms"``, ``"bulk"`` or ``"pin"``.
            ``pin`` and ``request_id`` are of a verification. The others are ``to``, ``sender``,
            ``created_at``, ``encoding``, ``item_count`` and ``total_cost``.
        """
        messages: list[dict[str, Any]] = self._ask("GET", "messages", query={"to": to})
        return messages

    def requests(self, path: str | None = None, call: str | None = None) -> list[dict[str, Any]]:
        """The API requests that reached the sandbox, oldest first.

        :param path: only those of this path, such as ``"/v1/sms/"``.
        :param call: only those of this call, such as ``"send_sms"``.
        :return: objects with these keys. ``headers`` are without the token. ``size`` is that of the body,
            and ``json`` its value. ``status`` can be ``"dropped"``. The others are ``number``, ``at``,
            ``method``, ``path``, ``query``, ``call``, ``authorized`` and ``faults``.
        """
        requests: list[dict[str, Any]] = self._ask("GET", "requests", query={"path": path, "call": call})
        return requests

    def state(self) -> dict[str, Any]:
        """The wallet's ``balance``, and the numbers of ``messages``, ``segments``, ``inbound``, ``requests``.

        ``most_in_flight`` is the most requests that were in flight at one time since the last reset.
        """
        state: dict[str, Any] = self._ask("GET", "state")
        return state

    # -- settings and faults

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Change settings, if there are changes, and return all settings.

        :raises SandboxError: an unknown setting, or a value that it does not take.
        """
        method, body = ("PATCH", changes) if changes else ("GET", None)
        settings: dict[str, Any] = self._ask(method, "settings", body=body)
        return settings

    def add_fault(self, action: str, call: str = "*", **details: Any) -> int:
        """Add a fault; :class:`~.faults.Fault` describes its fields.

        :param action: such as ``"drop_after"``.
        :param call: such as ``"send_sms"``; ``"*"`` for every call.
        :param details: ``to``, ``times`` (default 1; None for no limit), ``skip``, ``probability``, and the
            fields of the action.
        :return: the fault's id.
        :raises SandboxError: an unknown action, call or field, or a value that it does not take.
        """
        return int(self._ask("POST", "faults", body={"action": action, "call": call, **details})["id"])

    def faults(self) -> list[dict[str, Any]]:
        """The active faults, with the ``times`` and ``skip`` that remain."""
        faults: list[dict[str, Any]] = self._ask("GET", "faults")
        return faults

    def clear_faults(self, fault_id: int | None = None) -> None:
        """Remove one fault, or all of them."""
        self._ask("DELETE", "faults" if fault_id is None else f"faults/{fault_id}")

    def reply(
        self, from_: str, text: str, to: str | None = None, created_at: str | None = None
    ) -> dict[str, Any]:
        """Text the account from a phone.

        :param to: one of the account's numbers; by default the one of the settings.
        :param created_at: ISO time; without a zone it is UTC. By default now.
        :return: the inbound message: ``id``, ``from``, ``to``, ``text``, ``created_at``.
        """
        return self.reply_all([{"from": from_, "text": text, "to": to, "created_at": created_at}])[0]

    def reply_all(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Text the account many times at once.

        :param messages: objects ``{"from", "text", "to"?, "created_at"?}``.
        """
        received: list[dict[str, Any]] = self._ask("POST", "inbound", body=messages)
        return received

    def set_balance(self, amount: float) -> None:
        """Put exactly this many USD into the wallet."""
        self._ask("POST", "wallet", body={"balance": amount})

    def top_up(self, amount: float) -> float:
        """Add USD to the wallet, and return its new balance."""
        return float(self._ask("POST", "wallet", body={"add": amount})["balance"])

    def reset(self) -> None:
        """Forget all messages, requests and faults, and restore the first settings and balance.

        Ids keep growing, as Pindo's do, so that a task that waits for a higher id gets the next message.
        """
        self._ask("POST", "reset", body={})

    def _ask(
        self, method: str, path: str, query: dict[str, str | None] | None = None, body: Any = None
    ) -> Any:
        parameters = {key: value for key, value in (query or {}).items() if value is not None}
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname or DEFAULT_HOST, parts.port, timeout=60)
        try:
            connection.request(
                method,
                f"/sandbox/{path}?{urlencode(parameters)}",
                body=None if body is None else json.dumps(body),
                headers={"Content-Type": "application/json"},
            )
            response = connection.getresponse()
            value = json.loads(response.read())
        finally:
            connection.close()
        if response.status != 200:
            raise SandboxError(value["message"])
        return value


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

        :raises OSError: the port is taken, or the state file cannot be opened.
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
) -> AsyncIterator[str]:
    """Serve until the end of the block, which gets the address.

    :raises OSError: the port is taken.
    """
    from aiohttp import web

    from airflow_provider_pindo.sandbox.server import Server

    app = Server(tokens, state, settings, verbose).application()
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=1024).start()
        shown = {"0.0.0.0": DEFAULT_HOST, "::": "::1"}.get(host, host)  # noqa: S104 - to show, not to bind
        shown = f"[{shown}]" if ":" in shown else shown
        yield f"http://{shown}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
