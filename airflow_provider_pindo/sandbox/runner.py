"""The sandbox from Python: run one inside a test, and talk to any.

:class:`SandboxClient` is a thin client of the control API, for a sandbox in any process.
:class:`Sandbox` is that client together with a server of its own, on a real socket, in a thread with its
own event loop; leaving the ``with`` block ends it.

::

    with Sandbox() as sandbox:
        monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", sandbox.connection_json())
        sandbox.add_fault("drop_after", call="send_sms", times=1)
        ...
        assert [message["text"] for message in sandbox.messages(to="+250781234567")] == ["Hello"]
"""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit

from airflow_provider_pindo.sandbox.address import _EXTRAS, DEFAULT_HOST, DEFAULT_TOKEN, connection_json


class SandboxError(Exception):
    """The sandbox refused a control request; the message says what it takes."""


class SandboxClient:
    """What a test or a person can do to a sandbox, and read from it.

    :param url: its address, such as ``http://127.0.0.1:8025``.
    :param token: the API token it was started with; only :meth:`connection_json` and
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

        An IPv6 address has its brackets and colons quoted, or Airflow would drop the brackets.
        """
        parts = urlsplit(self.url)
        extras = urlencode(_EXTRAS)
        token = quote(self.token, safe="")
        host = parts.hostname or ""
        host = quote(f"[{host}]") if ":" in host else host
        return f"pindo://{parts.scheme}://:{token}@{host}:{parts.port}/?{extras}"

    # -- what came in

    def messages(self, to: str | None = None) -> list[dict[str, Any]]:
        """The accepted messages, oldest first, as the phones show them.

        :param to: only those on the phone with this number.
        :return: for each ``id`` and ``sms_id`` (the same), ``to``, ``name`` (of a bulk recipient), ``text``
            with its mentions filled in, ``sender``, ``kind`` (``"sms"``, ``"bulk"`` or ``"pin"``),
            ``created_at``, ``encoding``, ``item_count``, ``total_cost``, and ``pin`` and ``request_id``
            of a verification.
        """
        found: list[dict[str, Any]] = self._ask("GET", "messages", query={"to": to})
        return found

    def requests(self, path: str | None = None, call: str | None = None) -> list[dict[str, Any]]:
        """The API requests that reached the sandbox, oldest first.

        :param path: only those of this path, such as ``"/v1/sms/"``.
        :param call: only those of this call, such as ``"send_sms"``.
        :return: for each ``number``, ``at``, ``method``, ``path``, ``query``, ``call``, ``authorized``,
            ``headers`` (without the token), ``size`` of the body, ``json``, ``status`` (or ``"dropped"``)
            and ``faults``.
        """
        found: list[dict[str, Any]] = self._ask("GET", "requests", query={"path": path, "call": call})
        return found

    def state(self) -> dict[str, Any]:
        """The wallet's ``balance``, and how many ``messages``, ``segments``, ``inbound``, ``requests``.

        ``most_in_flight`` is the most requests that were on their way at one time since the last reset.
        """
        found: dict[str, Any] = self._ask("GET", "state")
        return found

    # -- switches

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Change settings, if any are given, and return all of them.

        :raises SandboxError: no such setting, or a value that it does not take.
        """
        found: dict[str, Any] = (
            self._ask("PATCH", "settings", body=changes) if changes else self._ask("GET", "settings")
        )
        return found

    def add_fault(self, action: str, call: str = "*", **details: Any) -> int:
        """Make something go wrong; see :class:`~.faults.Fault` for what and how.

        :param action: such as ``"drop_after"``.
        :param call: such as ``"send_sms"``; ``"*"`` for every call.
        :param details: ``to``, ``times`` (default 1; None for ever), ``skip``, ``probability``, and what the
            action takes.
        :return: the fault's id.
        :raises SandboxError: no such action, call or detail.
        """
        return int(self._ask("POST", "faults", body={"action": action, "call": call, **details})["id"])

    def faults(self) -> list[dict[str, Any]]:
        """The faults that are set, with what is left of their ``times`` and ``skip``."""
        found: list[dict[str, Any]] = self._ask("GET", "faults")
        return found

    def clear_faults(self, fault_id: int | None = None) -> None:
        """Take a fault away, or all of them."""
        self._ask("DELETE", "faults" if fault_id is None else f"faults/{fault_id}")

    def reply(
        self, from_: str, text: str, to: str | None = None, created_at: str | None = None
    ) -> dict[str, Any]:
        """Text the account from a phone.

        :param to: which of the account's numbers; by default the one of the settings.
        :param created_at: ISO; without a zone it is UTC. By default now.
        :return: the inbound message: ``id``, ``from``, ``to``, ``text``, ``created_at``.
        """
        return self.reply_all([{"from": from_, "text": text, "to": to, "created_at": created_at}])[0]

    def reply_all(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Text the account many times at once: a list of ``{"from", "text", "to"?, "created_at"?}``."""
        found: list[dict[str, Any]] = self._ask("POST", "inbound", body=messages)
        return found

    def set_balance(self, amount: float) -> None:
        """Put exactly this many USD into the wallet."""
        self._ask("POST", "wallet", body={"balance": amount})

    def top_up(self, amount: float) -> float:
        """Add USD to the wallet, and return what it then holds."""
        return float(self._ask("POST", "wallet", body={"add": amount})["balance"])

    def reset(self) -> None:
        """Forget all messages, requests and faults; settings and wallet stand as at the start.

        Ids go on growing, as Pindo's do: whoever waits for a message with a higher id gets the next one.
        """
        self._ask("POST", "reset", body={})

    def _ask(
        self, method: str, path: str, query: dict[str, str | None] | None = None, body: Any = None
    ) -> Any:
        given = {key: value for key, value in (query or {}).items() if value is not None}
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname or DEFAULT_HOST, parts.port, timeout=60)
        try:
            connection.request(
                method,
                f"/sandbox/{path}?{urlencode(given)}",
                body=None if body is None else json.dumps(body),
                headers={"Content-Type": "application/json"},
            )
            response = connection.getresponse()
            answer = json.loads(response.read())
        finally:
            connection.close()
        if response.status != 200:
            raise SandboxError(answer["message"])
        return answer


class Sandbox(SandboxClient):
    """A sandbox that lives as long as the ``with`` block.

    :param token: the API token that it takes.
    :param state: file that keeps messages, wallet and verifications; by default memory only.
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
        """Serve; the address is known once this returns.

        :raises OSError: the port is taken, or the state file cannot be opened.
        :raises ValueError: no such setting.
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

        :meth:`start` then serves on the same port again, with what a ``state`` file has kept. Without one it
        has forgotten all but that ids grow: they go on from the clock.
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
        from airflow_provider_pindo.sandbox.settings import Settings, first_id_from_clock

        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        settings = Settings().changed(self._settings)
        settings = settings.changed({"first_id": max(settings.first_id, self._first_id)})
        async with serving(DEFAULT_HOST, self._port, (self.token,), self._state_file, settings) as url:
            self.url = url
            self._port = urlsplit(url).port or 0
            self._ready.set()
            await self._end.wait()
        self._first_id = first_id_from_clock()


class serving:
    """A server for as long as the block lasts; gives its address.

    :raises OSError: the port is taken.
    """

    def __init__(
        self,
        host: str,
        port: int,
        tokens: tuple[str, ...],
        state: str | Path | None,
        settings: Any,
        verbose: bool = False,
    ) -> None:
        self._where = (host, port)
        self._what = (tokens, state, settings, verbose)
        self._runner: Any = None

    async def __aenter__(self) -> str:
        from aiohttp import web

        from airflow_provider_pindo.sandbox.server import Server

        app = Server(*self._what).application()
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.5)
        await self._runner.setup()
        host, port = self._where
        try:
            await web.TCPSite(self._runner, host, port, backlog=1024).start()
        except BaseException:
            await self._runner.cleanup()
            raise
        bound: tuple[Any, ...] = self._runner.addresses[0]
        shown = {"0.0.0.0": DEFAULT_HOST, "::": "::1"}.get(host, host)  # noqa: S104 - to show, not to bind
        shown = f"[{shown}]" if ":" in shown else shown
        return f"http://{shown}:{bound[1]}"

    async def __aexit__(self, *exception: object) -> None:
        await self._runner.cleanup()
