"""Pindo over HTTP: the API, the faults on the wire, the control API and the page.

One port serves all of it, in one event loop:

* ``/v1``, ``/v2``, ``/wallets``, ``/orgs`` and ``/sender_ids`` are Pindo's API. It needs a bearer token,
  and each path is spelled as Pindo spells it.
* ``/sandbox/…`` is the control API. It has no token, since the sandbox listens on loopback. It takes JSON
  only, so that a web page of another site cannot use it.
* ``/`` is the page of phones.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import math
import socket
import struct
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from email.utils import formatdate
from pathlib import Path
from typing import Annotated, Any

import msgspec
from aiohttp import web

from airflow_provider_pindo.api.phone import mask_phone_number
from airflow_provider_pindo.sandbox import numbers
from airflow_provider_pindo.sandbox.address import connection_json
from airflow_provider_pindo.sandbox.faults import (
    ACTIONS,
    BEFORE,
    Fault,
    FaultBook,
    with_extra_keys,
    with_wrong_types,
)
from airflow_provider_pindo.sandbox.pindo import CALLS, CALLS_WITH_BODY, Pindo, Request, Response, numbers_in
from airflow_provider_pindo.sandbox.request_log import LoggedRequest, RequestLog, decoded
from airflow_provider_pindo.sandbox.settings import INBOUND, InboundSms, Settings
from airflow_provider_pindo.sandbox.store import Store, micros, usd
from airflow_provider_pindo.sandbox.webhooks import Webhooks

MAX_REQUEST_BYTES = 64 * 1024 * 1024
PHONES_SHOWN = 40
MESSAGES_PER_PHONE = 40
_TICK_SECONDS = 0.2
_KEEPALIVE_SECONDS = 15.0
_PAGE = Path(__file__).with_name("phones.html")
_PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:"
)

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ControlHandler = Callable[[web.Request, Any], Any]
_Usd = Annotated[float, msgspec.Meta(gt=-1e9, lt=1e9)]


class _WalletChange(msgspec.Struct, forbid_unknown_fields=True):
    balance: _Usd | msgspec.UnsetType = msgspec.UNSET
    add: _Usd = 0.0


class Limiter:
    """A token bucket that holds one second's worth of requests, and at least one."""

    def __init__(self) -> None:
        self._tokens = 0.0
        self._rate: float | None = None
        self._at = 0.0

    def wait(self, rate: float | None) -> float:
        """Take a token.

        :return: 0.0, or the seconds until there is a token again.
        """
        if rate is None:
            return 0.0
        capacity, moment = max(1.0, rate), time.monotonic()
        if rate != self._rate:
            self._rate, self._tokens = rate, capacity
        else:
            self._tokens = min(capacity, self._tokens + (moment - self._at) * rate)
        self._at = moment
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / rate


class Server:
    """The sandbox's HTTP side. Create it inside the event loop that runs it.

    :param tokens: the valid bearer tokens; the page shows the first.
    :param state: file that keeps messages, wallet and verifications; None for memory.
    :param settings: the settings at the start and after a reset.
    :param verbose: whether to log one line for each request, with numbers masked.
    """

    def __init__(
        self, tokens: Iterable[str], state: str | Path | None, settings: Settings, verbose: bool
    ) -> None:
        self.tokens = tuple(tokens)
        self._authorizations = frozenset(f"Bearer {token}" for token in self.tokens)
        self._first_settings = settings
        self._verbose = verbose
        self._store = Store(state, settings.balance)
        self._webhooks = Webhooks(lambda: self._pindo.settings)
        self._pindo = Pindo(self._store, settings, self._webhooks.announce)
        self._faults = FaultBook()
        self._log = RequestLog()
        self._limiter = Limiter()
        numbers.number_check(settings.supported_countries)  # so that the first call need not
        self._in_flight = self._most_in_flight = 0
        self._changes = 0
        self._changed = asyncio.Event()
        self._closing = False
        self._served: weakref.WeakKeyDictionary[asyncio.BaseTransport, int] = weakref.WeakKeyDictionary()

    def application(self) -> web.Application:
        """The web application, with all its routes."""
        app = web.Application(client_max_size=MAX_REQUEST_BYTES, middlewares=[self._plain_errors])
        add = app.router.add_route
        for call, (method, path) in CALLS.items():
            add(method, path, functools.partial(self._handle, call))
        add("*", "/v1/sms", self._redirect_to_itself)
        add("GET", "/", self._page)
        for method, path, handler in self._control_routes():
            add(method, f"/sandbox/{path}", self._controlled(handler))
        add("GET", "/sandbox/events", self._events)
        app.cleanup_ctx.append(self._running)
        app.on_shutdown.append(self._end_streams)
        return app

    async def _running(self, app: web.Application) -> AsyncIterator[None]:
        self._webhooks.start()
        yield
        await self._webhooks.stop()
        self._store.close()

    async def _end_streams(self, app: web.Application) -> None:
        self._closing = True
        self._touch()

    def _touch(self) -> None:
        """Wake the pages: something is new."""
        self._changes += 1
        self._changed.set()

    # -- Pindo's API

    async def _handle(self, call: str, request: web.Request) -> web.StreamResponse:
        self._in_flight += 1
        self._most_in_flight = max(self._most_in_flight, self._in_flight)
        try:
            return await self._respond(call, request)
        finally:
            self._in_flight -= 1

    async def _respond(self, call: str, request: web.Request) -> web.StreamResponse:
        """Check the token and the rate, strike with the faults, and send Pindo's response."""
        body = await request.read()
        entry = self._add_to_log(request, call, body)
        settings = self._pindo.settings
        if not entry.authorized:
            return await self._send(request, entry, Response(401, {"message": "unauthorized"}))
        if wait := self._limiter.wait(settings.requests_per_second):
            return await self._too_many(request, entry, _retry_after(wait, settings.retry_after))
        has_json = call in CALLS_WITH_BODY and request.content_type == "application/json"
        pindo_request = Request(
            request.match_info,
            request.query,
            decoded(body) if has_json else None,
            f"{request.scheme}://{request.host}",
        )
        faults = self._faults.take(call, numbers_in(pindo_request.body)) if self._faults else []
        entry.faults = tuple(fault.action for fault in faults)
        await _sleep(settings.latency + sum(fault.seconds for fault in faults if fault.action == "latency"))
        fault = next((fault for fault in faults if fault.action != "latency"), None)
        if fault is not None and fault.action in BEFORE:
            return await self._fail_before(request, entry, fault)
        response = self._pindo.respond(call, pindo_request)
        if settings.extra_keys:
            response = Response(response.status, with_extra_keys(response.body))
        if fault is not None:
            return await self._fail_after(request, entry, fault, response)
        return await self._send(request, entry, response)

    def _add_to_log(self, request: web.Request, call: str | None, body: bytes) -> LoggedRequest:
        if request.transport is not None:  # pragma: no branch - the client may have left
            self._served[request.transport] = self._served.get(request.transport, 0) + 1
        authorized = request.headers.get("Authorization", "") in self._authorizations
        return self._log.add(
            request.method, request.path, request.query_string, call, authorized, request.headers, body
        )

    async def _send(
        self,
        request: web.Request,
        entry: LoggedRequest,
        response: Response,
        headers: dict[str, str] | None = None,
        idle: float | None = None,
    ) -> web.StreamResponse:
        return await self._write(request, entry, _json(response.status, response.body, headers), idle)

    async def _write(
        self, request: web.Request, entry: LoggedRequest, response: web.Response, idle: float | None = None
    ) -> web.StreamResponse:
        """Write a response and log its status.

        :param idle: seconds after which to close the connection if it is idle.
        """
        self._log_status(entry, response.status)
        idle = self._pindo.settings.keepalive_timeout if idle is None else idle
        transport = request.transport
        if idle is not None and transport is not None:
            with contextlib.suppress(ConnectionError):  # the client may have left
                await response.prepare(request)
                await response.write_eof()
            asyncio.get_running_loop().call_later(
                idle, self._close_if_idle, transport, self._served[transport]
            )
        return response

    def _close_if_idle(self, transport: asyncio.Transport, served: int) -> None:
        if self._served.get(transport) == served:
            transport.close()

    def _log_status(self, entry: LoggedRequest, status: int | str) -> None:
        entry.status = status
        self._touch()
        if self._verbose:
            masked = ", ".join(map(mask_phone_number, sorted(numbers_in(decoded(entry.body)))[:3]))
            log.info("%s %s %s %s", entry.method, entry.path, status, masked)

    async def _too_many(
        self, request: web.Request, entry: LoggedRequest, retry_after: str | None
    ) -> web.StreamResponse:
        headers = {} if retry_after is None else {"Retry-After": retry_after}
        return await self._send(request, entry, Response(429, {"message": "too many requests"}), headers)

    async def _fail_before(
        self, request: web.Request, entry: LoggedRequest, fault: Fault
    ) -> web.StreamResponse:
        """Strike before Pindo sees the request: nothing is accepted."""
        if fault.action == "drop_before":
            return self._drop(request, entry, fault.reset)
        if fault.action == "rate_limit":
            retry_after = None if fault.retry_after is None else str(fault.retry_after)
            return await self._too_many(request, entry, retry_after)
        if fault.action == "redirect":
            response = Response(fault.status or 308, {"message": "moved"})
            return await self._send(request, entry, response, {"Location": fault.location or ""})
        return await self._send(request, entry, _failure(fault))

    async def _fail_after(
        self, request: web.Request, entry: LoggedRequest, fault: Fault, response: Response
    ) -> web.StreamResponse:
        """Strike after Pindo has accepted the request: only the response fails."""
        idle = None
        match fault.action:
            case "drop_after":
                return self._drop(request, entry, fault.reset)
            case "truncate":
                return await self._truncate(request, entry, response)
            case "not_json":
                page = "<!DOCTYPE html><title>Pindo</title><h1>Something went wrong</h1>"
                html = web.Response(status=response.status, text=page, content_type="text/html")
                return await self._write(request, entry, html)
            case "empty_body":
                empty = web.Response(status=response.status, content_type="application/json")
                return await self._write(request, entry, empty)
            case "close_idle":
                idle = fault.seconds
            case "slow_answer":
                self._touch()
                await _sleep(fault.seconds)
            case "status_after":
                response = _failure(fault)
            case "extra_keys":
                response = Response(response.status, with_extra_keys(response.body))
            case "wrong_types":  # pragma: no branch - the last action
                response = Response(response.status, with_wrong_types(response.body))
        return await self._send(request, entry, response, idle=idle)

    def _drop(self, request: web.Request, entry: LoggedRequest, reset: bool) -> web.StreamResponse:
        """Close the connection without a response. The one returned here reaches no client."""
        if request.transport is not None:  # pragma: no branch - the client may have left
            if reset:
                wire = request.transport.get_extra_info("socket")
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request.transport.abort()
        self._log_status(entry, "dropped")
        return web.Response()

    async def _truncate(
        self, request: web.Request, entry: LoggedRequest, response: Response
    ) -> web.StreamResponse:
        body = _encode(response.body)
        stream = web.StreamResponse(
            status=response.status,
            headers={"Content-Type": "application/json", "Content-Length": str(len(body))},
        )
        await stream.prepare(request)
        await stream.write(body[: len(body) // 2])
        if request.transport is not None:  # pragma: no branch - the client may have left
            request.transport.close()
        self._log_status(entry, response.status)
        return stream

    async def _redirect_to_itself(self, request: web.Request) -> web.StreamResponse:
        """Redirect ``/v1/sms``, without its trailing slash, to itself, as Pindo does."""
        entry = self._add_to_log(request, None, await request.read())
        location = f"{request.scheme}://{request.host}/v1/sms"
        return await self._send(request, entry, Response(308, {"message": "moved"}), {"Location": location})

    @web.middleware
    async def _plain_errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Send every error as JSON with a ``message``."""
        try:
            return await handler(request)
        except web.HTTPException as error:
            response = Response(error.status, {"message": error.reason.lower()})
        except ConnectionError:  # pragma: no cover - the client has left, now or a moment later
            raise
        except Exception:
            log.exception("the sandbox itself failed at %s %s", request.method, request.path)
            response = Response(500, {"message": "the sandbox itself failed; its log has the traceback"})
        if request.path.startswith("/sandbox/"):
            return _json(response.status, response.body)
        return await self._send(request, self._add_to_log(request, None, b""), response)

    # -- the control API

    def _control_routes(self) -> list[tuple[str, str, ControlHandler]]:
        """Method, path below ``/sandbox/``, and handler of the request and its JSON."""
        return [
            ("GET", "state", lambda request, body: self._state(f"{request.scheme}://{request.host}")),
            (
                "GET",
                "messages",
                lambda request, body: [m.as_json() for m in self._store.messages(request.query.get("to"))],
            ),
            ("GET", "phones", lambda request, body: self._phones(request.query.get("find", ""))),
            (
                "GET",
                "requests",
                lambda request, body: self._log.as_json(request.query.get("path"), request.query.get("call")),
            ),
            ("GET", "settings", lambda request, body: self._pindo.settings.as_json()),
            ("PATCH", "settings", self._change_settings),
            ("GET", "faults", lambda request, body: self._faults.as_json()),
            ("POST", "faults", self._add_fault),
            ("DELETE", "faults", lambda request, body: self._faults.remove()),
            (
                "DELETE",
                "faults/{id:[0-9]+}",
                lambda request, body: self._faults.remove(int(request.match_info["id"])),
            ),
            ("POST", "inbound", self._receive),
            ("POST", "wallet", self._change_wallet),
            ("POST", "reset", lambda request, body: self._reset()),
        ]

    def _controlled(self, handler: ControlHandler) -> Handler:
        """Wrap a handler of the control API: JSON in and out, and 400 for a ``ValueError``."""

        async def handle(request: web.Request) -> web.StreamResponse:
            body = None
            if request.method in ("POST", "PATCH"):
                if request.content_type != "application/json":
                    return _json(415, {"message": "send JSON, with Content-Type: application/json"})
                body = decoded(await request.read())
            try:
                value = handler(request, body)
            except ValueError as error:
                return _json(400, {"message": str(error)})
            if request.method != "GET":
                self._touch()
            return _json(200, {} if value is None else value)

        return handle

    def _state(self, url: str) -> dict[str, Any]:
        """What the page shows beside the phones."""
        return {
            "balance": usd(self._store.balance),
            **self._store.counts(),
            "requests": self._log.count,
            "most_in_flight": self._most_in_flight,
            "newest_requests": self._log.newest(20),
            "settings": self._pindo.settings.as_json(),
            "faults": self._faults.as_json(),
            "actions": ACTIONS,
            "calls": list(CALLS),
            "phones_shown": PHONES_SHOWN,
            "token": self.tokens[0],
            "connection": connection_json(url, self.tokens[0]),
        }

    def _phones(self, find: str) -> list[dict[str, Any]]:
        """The phones with the newest messages first, each with its thread, oldest message first."""
        digits = "".join(char for char in find if char.isdigit())
        phones = []
        for number in self._store.newest_phones(PHONES_SHOWN, digits):
            sent, received = self._store.thread(number, MESSAGES_PER_PHONE)
            thread = [{**m.as_json(), "direction": "in"} for m in sent]
            thread += [{**m.as_json(), "direction": "out"} for m in received]
            thread.sort(key=lambda message: str(message["created_at"]))
            phones.append(
                {
                    "number": number,
                    "name": next((m.name for m in reversed(sent) if m.name), None),
                    "telco": numbers.telco(number),
                    "messages": thread[-MESSAGES_PER_PHONE:],
                }
            )
        return phones

    def _change_settings(self, request: web.Request, body: Any) -> dict[str, Any]:
        if not isinstance(body, dict):
            raise ValueError("send an object of settings and their values")
        self._pindo.settings = self._pindo.settings.changed(body)
        if "balance" in body:
            self._store.set_balance(micros(body["balance"]))
        return self._pindo.settings.as_json()

    def _add_fault(self, request: web.Request, body: Any) -> dict[str, Any]:
        return {"id": self._faults.add(Fault.from_json(body))}

    def _receive(self, request: web.Request, body: Any) -> list[dict[str, Any]]:
        definitions = body if isinstance(body, list) else [body]
        try:
            messages = msgspec.convert(definitions, list[InboundSms])
        except msgspec.ValidationError as error:
            raise ValueError(f"{error}; send {INBOUND}, or a list of them") from None
        return [message.as_json() for message in self._pindo.receive(messages)]

    def _change_wallet(self, request: web.Request, body: Any) -> dict[str, Any]:
        try:
            change = msgspec.convert(body or None, _WalletChange)
        except msgspec.ValidationError as error:
            raise ValueError(f"{error}; send {{'add': USD}} or {{'balance': USD}}") from None
        balance = self._store.balance if change.balance is msgspec.UNSET else micros(change.balance)
        self._store.set_balance(max(0, balance + micros(change.add)))
        return {"balance": usd(self._store.balance)}

    def _reset(self) -> None:
        self._pindo.settings = self._first_settings
        self._store.clear(self._first_settings.balance)
        self._faults.remove()
        self._log.clear()
        self._limiter = Limiter()
        self._most_in_flight = self._in_flight

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: one after a change, at most five a second."""
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        await response.prepare(request)
        seen = -1
        while not self._closing:
            if seen != self._changes:
                seen = self._changes
                await response.write(f"data: {seen}\n\n".encode())
                await asyncio.sleep(_TICK_SECONDS)
            else:
                self._changed.clear()
                try:
                    await asyncio.wait_for(self._changed.wait(), timeout=_KEEPALIVE_SECONDS)
                except TimeoutError:
                    await response.write(b": still here\n\n")
        return response

    async def _page(self, request: web.Request) -> web.StreamResponse:
        return web.Response(
            body=_PAGE.read_bytes(),
            content_type="text/html",
            charset="utf-8",
            headers={"Content-Security-Policy": _PAGE_POLICY, "Cache-Control": "no-store"},
        )


def _retry_after(wait: float, form: str) -> str | None:
    """The ``Retry-After`` of a 429, in the form of the setting ``retry_after``."""
    seconds = max(1, math.ceil(wait))
    if form == "http_date":
        return formatdate(time.time() + seconds, usegmt=True)
    return str(seconds) if form == "seconds" else None


def _failure(fault: Fault) -> Response:
    status = fault.status or 500
    return Response(
        status, {"message": f"fault {fault.action} {status}"} if fault.body is None else fault.body
    )


def _encode(body: Any) -> bytes:
    """JSON as UTF-8. Half a surrogate pair, which UTF-8 cannot hold, is written as JSON's escape."""
    return json.dumps(body, ensure_ascii=False).encode(errors="backslashreplace")


def _json(status: int, body: Any, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, body=_encode(body), content_type="application/json", headers=headers)


async def _sleep(seconds: float) -> None:
    if seconds > 0:
        await asyncio.sleep(seconds)
