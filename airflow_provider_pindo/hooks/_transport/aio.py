"""Connections for ``aiohttp`` under which "unknown outcome" stays rare and true.

They note that a request leaves, are not used again once something came that nobody had asked for, and do not
wait for an answer that comes drop by drop, nor for a server that does not read. How ``requests`` is made to do
the same is in :mod:`~airflow_provider_pindo.hooks._transport.sync`.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from contextvars import ContextVar
from functools import partial
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

from airflow_provider_pindo.api.errors import PindoConnectionError
from airflow_provider_pindo.hooks._transport.attempt import current_attempt

#: What aiohttp raises; it lets some of the system's own errors through.
FAILURES = (aiohttp.ClientError, OSError, ValueError)
#: What it raises while no connection stands.
NO_CONNECTION = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    aiohttp.NonHttpUrlClientError,
)
#: Bytes of a header line that are read: as many as ``http.client`` takes for the sync hook.
MAX_HEADER_LINE = 65_536
#: Bytes of a request's body that may wait in the buffers of the system and of the connection: a larger one may find a
#: server that takes connections and reads nothing, and aiohttp's ``sock_read`` starts once all of it is written.
_BUFFERED = 65_536
_bound: ContextVar[asyncio.Timeout | None] = ContextVar("pindo_bound", default=None)
_UNBOUND: AbstractAsyncContextManager[None] = nullcontext()


def bounded_from_its_leaving(content: bytes | None) -> AbstractAsyncContextManager[None]:
    """Return what ends a request with this body when its attempt's ``whole_timeout`` is over.

    Only a large one gets a timer: the body of a small one is written at once, and a timer for each would cost speed.

    :raises TimeoutError: on leaving the context, when it took too long.
    """
    return _bounded() if content is not None and len(content) > _BUFFERED else _UNBOUND


@asynccontextmanager
async def _bounded() -> AsyncIterator[None]:
    async with asyncio.timeout(None) as bound:
        before = _bound.set(bound)
        try:
            yield
        finally:
            _bound.reset(before)


class PindoConnector(aiohttp.TCPConnector):
    """Connections that note, as soon as one stands, that a request is handed to it next.

    ``_factory``, the ``ResponseHandler`` that it makes, and ``_create_proxy_connection`` are aiohttp's own: should they
    be renamed, then ``test_an_answer_that_comes_drop_by_drop_is_not_waited_for_to_its_end`` fails, or
    ``test_a_proxy_that_takes_a_connection_and_says_nothing_is_not_waited_for``.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._factory = partial(_Protocol, loop=asyncio.get_running_loop())  # type: ignore[assignment]

    async def connect(self, *args: Any, **kwargs: Any) -> Any:
        """Return a connection for the request of the current attempt."""
        connection: Any = await super().connect(*args, **kwargs)
        attempt = current_attempt()
        try:
            attempt.mark_sent()
        except PindoConnectionError:
            connection.close()
            raise
        connection.protocol.until = attempt.until
        if (bound := _bound.get()) is not None:  # not before: it may have waited long for a connection
            bound.reschedule(asyncio.get_running_loop().time() + attempt.whole_timeout)
        return connection

    async def _create_proxy_connection(self, req: Any, traces: Any, timeout: Any) -> Any:  # noqa: ASYNC109 - aiohttp's
        # It bounds the connection to the proxy, and not the wait for its leave to talk to Pindo through it.
        async with asyncio.timeout(timeout.sock_connect):
            return await super()._create_proxy_connection(req, traces, timeout)


class _Protocol(ResponseHandler):
    """A connection that is not used again once something came that nobody had asked for, nor read for too long."""

    #: When all of an answer must have come, as ``time.monotonic`` tells it.
    until = math.inf

    def data_received(self, data: bytes) -> None:
        if time.monotonic() <= self.until:
            return super().data_received(data)
        self.set_exception(TimeoutError())  # for who waits for the head; the body then is cut short
        if self.transport is not None:  # pragma: no branch - it may be closed already
            self.transport.abort()
        return None

    def is_connected(self) -> bool:
        return super().is_connected() and not self.should_close
