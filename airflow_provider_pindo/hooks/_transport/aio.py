"""HTTP over ``aiohttp``: a transport that knows whether a request was sent.

- The current ``Attempt`` is marked as soon as the request is handed to an open connection. A failure before that is
  certain: nothing was sent.
- A connection that has idled, or that brought bytes without a request, is not used again.
- Every response has a deadline, so a server that sends one byte at a time cannot hold a worker.

:mod:`~airflow_provider_pindo.hooks._transport.sync` guarantees the same for ``requests``.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, TypeVar

import aiohttp
from multidict import CIMultiDict

from airflow_provider_pindo.api.calls import Call
from airflow_provider_pindo.api.errors import PindoConnectionError
from airflow_provider_pindo.api.responses import Response, no_connection, no_response, parse_response
from airflow_provider_pindo.hooks._settings import PindoSettings
from airflow_provider_pindo.hooks._transport.attempt import Attempt, current_attempt
from airflow_provider_pindo.hooks._transport.errors import describe
from airflow_provider_pindo.hooks._transport.limits import CALL_HEADERS, HEADERS, MAX_IDLE, Body
from airflow_provider_pindo.hooks._transport.retry import Pacer
from airflow_provider_pindo.hooks._transport.tls import ssl_context

T = TypeVar("T")

#: What aiohttp raises. Some errors of the system pass through it unchanged.
_FAILURES = (aiohttp.ClientError, OSError, ValueError)
#: What it raises before a connection is open.
_NO_CONNECTION = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    aiohttp.NonHttpUrlClientError,
)
#: Bytes of a header line that are read: as many as ``http.client`` reads for the sync hook.
_MAX_HEADER_LINE = 65_536


class AsyncTransport:
    """One ``aiohttp`` session, which makes one attempt at a call. Make it with :meth:`open`."""

    def __init__(
        self,
        settings: PindoSettings,
        pacer: Pacer,
        session: aiohttp.ClientSession,
        connector: PindoConnector,
        concurrency: int,
    ) -> None:
        self._session = session
        self._settings = settings
        self._pacer = pacer
        self._in_flight = connector.in_flight
        # Not the connector's own limit: the time that a request waits there would count as the time to connect.
        self._slots = asyncio.Semaphore(concurrency)
        self._proxy = settings.proxy()  # read once: going through the environment takes a millisecond
        # Not a header of the session, since aiohttp shows those to a proxy too. This is aiohttp's own type for
        # headers, which saves a conversion for every request.
        self._authorization = CIMultiDict({"Authorization": f"Bearer {settings.token}"})

    @classmethod
    async def open(cls, settings: PindoSettings, pacer: Pacer, concurrency: int) -> AsyncTransport:
        """Return a transport with a session of its own.

        :param concurrency: most requests in flight; further requests wait.
        :raises PindoConfigurationError: a certificate cannot be used.
        """
        connector = PindoConnector(
            check_interval=settings.timeout / 4,
            limit=0,
            keepalive_timeout=MAX_IDLE,
            ssl=await asyncio.to_thread(ssl_context, settings),
        )
        session = aiohttp.ClientSession(
            headers=HEADERS | CALL_HEADERS,
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),  # no request depends on an earlier response
            # No total: its timer for each request costs 7 % of the speed. PindoConnector has one timer for all.
            timeout=aiohttp.ClientTimeout(
                total=None, connect=settings.connect_timeout, sock_read=settings.timeout
            ),
            max_line_size=_MAX_HEADER_LINE,
            max_field_size=_MAX_HEADER_LINE,
            # The settings have read the environment's proxies. With True, aiohttp also reads a .netrc, and refuses to
            # combine its password with our header.
            trust_env=False,
        )
        return cls(settings, pacer, session, connector, concurrency)

    async def request(self, call: Call[T]) -> T:
        """Try ``call`` once. The current :class:`Attempt` shows whether the request was sent.

        :raises PindoError: as :func:`~airflow_provider_pindo.api.responses.parse_response`, and when no response came.
        """
        url = self._settings.url(call.path)
        content = call.content()
        attempt = current_attempt()
        attempt.whole_timeout = self._settings.whole_timeout
        try:
            async with self._slots:
                # Behind the slot: requests that waited for it would otherwise leave all at once.
                if delay := self._pacer.delay(attempt):
                    with attempt.waiting(delay) as seconds:
                        await asyncio.sleep(seconds)
                async with self._session.request(
                    call.method,
                    url,
                    params=call.params,
                    data=content,
                    headers=self._authorization,
                    allow_redirects=False,
                    proxy=self._proxy,
                ) as response:
                    self._in_flight[attempt] = response
                    body, stream = Body(), response.content
                    while not stream.at_eof():
                        body.add(await stream.readany())
        except _FAILURES as error:
            # A proxy can end a request with many errors before it forwards it. Without a proxy, only these errors are
            # certain: a future aiohttp might send a request without calling PindoConnector.connect.
            certain = not attempt.sent and (self._proxy is not None or isinstance(error, _NO_CONNECTION))
            failed = no_connection if certain else no_response
            # After the deadline the connection was aborted, whatever the error says.
            late = time.monotonic() > attempt.deadline
            # Without its cause, whose text may repeat the server's bytes.
            raise failed(call, url, describe(TimeoutError() if late else error)) from None
        finally:
            self._in_flight.pop(attempt, None)
        attempt.status = response.status
        # aiohttp finds these headers in any case.
        return parse_response(
            call, Response(response.status, response.headers, body.content(), url), self._settings.token
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()


class PindoConnector(aiohttp.TCPConnector):
    """Marks the current attempt as sent when a connection is open, and aborts connections past their deadline.

    :param check_interval: seconds between two checks of the deadlines.
    :ivar in_flight: what aborts each attempt that was sent: its connection, or the response once its head has arrived.
        The transport removes an attempt that has ended.
    """

    def __init__(self, *, check_interval: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.in_flight: dict[Attempt, aiohttp.connector.Connection | aiohttp.ClientResponse] = {}
        self._check_interval = check_interval
        self._check: asyncio.TimerHandle | None = None

    async def connect(self, *args: Any, **kwargs: Any) -> aiohttp.connector.Connection:
        """Return a connection for the request of the current attempt."""
        connection = await super().connect(*args, **kwargs)
        while connection.protocol is not None and connection.protocol.should_close:
            connection.close()  # it has bytes that no request asked for, perhaps a response to an earlier one
            connection = await super().connect(*args, **kwargs)
        attempt = current_attempt()
        try:
            attempt.mark_sent()
        except PindoConnectionError:
            connection.close()
            raise
        self.in_flight[attempt] = connection
        if self._check is None:
            self._abort_late()
        return connection

    def _abort_late(self) -> None:
        now = time.monotonic()
        for attempt, in_flight in self.in_flight.items():
            if now <= attempt.deadline:
                continue
            if isinstance(in_flight, aiohttp.ClientResponse):
                # This wakes the reader. aiohttp does not when a later chunk is not valid HTTP: it only closes the
                # connection. A response that is complete is kept.
                if not in_flight.content.is_eof():
                    in_flight.close()
            elif in_flight.transport is not None:
                in_flight.transport.abort()
        loop = asyncio.get_running_loop()
        self._check = loop.call_later(self._check_interval, self._abort_late) if self.in_flight else None
