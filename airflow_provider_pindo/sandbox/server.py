"""Pindo over HTTP: the API, and the faults on the wire.

One port serves all of a sandbox, in one event loop:

* ``/v1``, ``/v2``, ``/wallets``, ``/orgs`` and ``/sender_ids`` are Pindo's API. It needs a bearer token,
  and each path is spelled as Pindo spells it.
* ``/sandbox/…`` is the control API.
* ``/`` is the page of phones.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import math
import socket
import struct
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from email.utils import formatdate
from pathlib import Path

from aiohttp import web

from airflow_provider_pindo.api.phone import mask_phone_number
from airflow_provider_pindo.sandbox import numbers
from airflow_provider_pindo.sandbox.address import DEFAULT_HOST, is_trusted_host
from airflow_provider_pindo.sandbox.calls import CALLS, CALLS_WITH_BODY
from airflow_provider_pindo.sandbox.control import Control
from airflow_provider_pindo.sandbox.faults import (
    BEFORE,
    CALL_GROUPS,
    Fault,
    with_extra_keys,
    with_wrong_types,
)
from airflow_provider_pindo.sandbox.json_response import encode, json_response
from airflow_provider_pindo.sandbox.page import Page
from airflow_provider_pindo.sandbox.pindo import Request, Response, numbers_in
from airflow_provider_pindo.sandbox.request_log import LoggedRequest, decoded
from airflow_provider_pindo.sandbox.settings import Settings
from airflow_provider_pindo.sandbox.world import World

MAX_REQUEST_BYTES = 64 * 1024 * 1024

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """The sandbox's HTTP side. Create it inside the event loop that runs it.

    :param tokens: the valid bearer tokens; the page shows the first.
    :param state: file that keeps messages, wallet and verifications; None for memory.
    :param settings: the settings at the start and after a reset.
    :param verbose: whether to log one line for each request, with numbers masked.
    :param names: its names. The page and the control API answer only to them, to addresses, and to names that no
        stranger can register.
    """

    def __init__(
        self,
        tokens: Iterable[str],
        state: str | Path | None,
        settings: Settings,
        verbose: bool,
        names: Collection[str] = (),
    ) -> None:
        self.tokens = tuple(tokens)
        self._authorizations = frozenset(f"Bearer {token}" for token in self.tokens)
        self._verbose = verbose
        self._names = names
        self._world = World(state, settings)
        numbers.number_check(settings.supported_countries)  # so that the first call need not
        self._served: weakref.WeakKeyDictionary[asyncio.BaseTransport, int] = weakref.WeakKeyDictionary()

    def application(self) -> web.Application:
        """The web application, with all its routes."""
        app = web.Application(
            client_max_size=MAX_REQUEST_BYTES, middlewares=[self._plain_errors, self._trusted_hosts]
        )
        add = app.router.add_route
        for call, (method, path) in CALLS.items():
            add(method, path, functools.partial(self._handle, call))
        add("*", "/v1/sms", self._redirect_to_itself)
        page = Page(self._world)
        page.add_routes(app.router)
        Control(self._world, self.tokens[0]).add_routes(app.router)
        app.cleanup_ctx.append(self._running)
        app.on_shutdown.append(page.end_streams)
        return app

    async def _running(self, app: web.Application) -> AsyncIterator[None]:
        self._world.start()
        yield
        await self._world.stop()

    # -- Pindo's API

    async def _handle(self, call: str, request: web.Request) -> web.StreamResponse:
        with self._world.log.in_flight():
            return await self._respond(call, request)

    async def _respond(self, call: str, request: web.Request) -> web.StreamResponse:
        """Check the token and the rate, strike with the faults, and send Pindo's response."""
        body = await request.read()
        entry = self._add_to_log(request, call, body)
        settings = self._world.pindo.settings
        if not entry.authorized:
            return await self._send(request, entry, Response(401, {"message": "unauthorized"}))
        if wait := self._world.limiter.wait(settings.requests_per_second):
            return await self._too_many(request, entry, _retry_after(wait, settings.retry_after))
        has_json = call in CALLS_WITH_BODY and request.content_type == "application/json"
        pindo_request = Request(
            request.match_info,
            request.query,
            decoded(body) if has_json else None,
            f"{request.scheme}://{request.host}",
            entry.number,
        )
        faults = self._world.faults.take(call, numbers_in(pindo_request.body)) if self._world.faults else []
        entry.faults = tuple(fault.action for fault in faults)
        resets = self._world.resets
        await _sleep(settings.latency + sum(fault.seconds for fault in faults if fault.action == "latency"))
        if resets != self._world.resets:
            return self._drop(request, entry, reset=True)
        fault = next((fault for fault in faults if fault.action != "latency"), None)
        if fault is not None and fault.action in BEFORE:
            return await self._fail_before(request, entry, fault)
        response = self._world.pindo.respond(call, pindo_request)
        if settings.extra_keys:
            response = Response(response.status, with_extra_keys(response.body))
        if fault is not None:
            return await self._fail_after(request, entry, fault, response)
        return await self._send(request, entry, response)

    def _add_to_log(self, request: web.Request, call: str | None, body: bytes) -> LoggedRequest:
        if request.transport is not None:  # pragma: no branch - the client may have left
            self._served[request.transport] = self._served.get(request.transport, 0) + 1
        authorized = request.headers.get("Authorization", "") in self._authorizations
        return self._world.log.add(
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
        return await self._write(request, entry, json_response(response.status, response.body, headers), idle)

    async def _write(
        self, request: web.Request, entry: LoggedRequest, response: web.Response, idle: float | None = None
    ) -> web.StreamResponse:
        """Write a response and log its status.

        :param idle: seconds after which to close the connection if it is idle.
        """
        if entry.call in CALL_GROUPS["texts"] and isinstance(response.body, bytes):
            self._world.log.add_response(entry, response.body)
        self._log_status(entry, response.status)
        idle = self._world.pindo.settings.keepalive_timeout if idle is None else idle
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
        self._world.touch()
        if self._verbose:
            numbers = ", ".join(map(mask_phone_number, sorted(numbers_in(decoded(entry.body)))[:3]))
            log.info("%s %s %s %s", entry.method, entry.path, status, numbers)

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
                empty = web.Response(status=response.status, body=b"", content_type="application/json")
                return await self._write(request, entry, empty)
            case "close_idle":
                idle = fault.seconds
            case "slow_answer":
                self._world.touch()
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
        body = encode(response.body)
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
    async def _trusted_hosts(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse a name that a stranger can point here, except for Pindo's API, which has a token."""
        is_open = request.path == "/" or request.path.startswith("/sandbox/")
        host = request.headers.get("Host", DEFAULT_HOST)  # a browser always names one
        if is_open and not is_trusted_host(host, self._names):
            message = (
                "the sandbox does not know the name in this request's Host: use its IP address, or start it with "
                "--allow-host and the name"
            )
            return json_response(403, {"message": message})
        return await handler(request)

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
            return json_response(response.status, response.body)
        return await self._send(request, self._add_to_log(request, None, b""), response)


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


async def _sleep(seconds: float) -> None:
    if seconds > 0:
        await asyncio.sleep(seconds)
