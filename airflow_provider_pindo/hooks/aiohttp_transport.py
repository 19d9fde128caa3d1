"""
Connections for ``aiohttp`` under which "unknown outcome" stays rare and true.

They note that a request leaves, are not used again once something came that nobody had asked for, and do not
wait for an answer that comes drop by drop. How ``requests`` is made to do the same is in
:mod:`~airflow_provider_pindo.hooks.requests_transport`.
"""

from __future__ import annotations

import asyncio
import math
import time
from functools import partial
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

from airflow_provider_pindo.api.errors import PindoConnectionError
from airflow_provider_pindo.hooks.attempt import current_attempt

#: What aiohttp raises; it lets some of the system's own errors through.
FAILURES = (aiohttp.ClientError, OSError, ValueError)
#: What it raises while no connection stands.
NO_CONNECTION = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    aiohttp.NonHttpUrlClientError,
)


class PindoConnector(aiohttp.TCPConnector):
    """
    Connections that note, as soon as one stands, that a request is handed to it next.

    ``_factory``, and the ``ResponseHandler`` that it makes, are aiohttp's own: should they be renamed, then
    ``test_an_answer_that_comes_drop_by_drop_is_not_waited_for_to_its_end`` fails.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._factory = partial(_Protocol, loop=asyncio.get_running_loop())  # type: ignore[assignment]

    async def connect(self, *args: Any, **kwargs: Any) -> Any:
        """Return a connection for the request of the current attempt."""
        connection: Any = await super().connect(*args, **kwargs)
        attempt = current_attempt()
        try:
            attempt.leave()
        except PindoConnectionError:
            connection.close()
            raise
        connection.protocol.until = attempt.until
        return connection


class _Protocol(ResponseHandler):
    """A connection that is not used again once something came that nobody had asked for, nor read for too long."""

    #: When all of an answer must have come, as ``time.monotonic`` tells it.
    until = math.inf

    def data_received(self, data: bytes) -> None:
        if time.monotonic() <= self.until:
            return super().data_received(data)
        self.set_exception(TimeoutError())  # for who waits for the head; the body then is cut short
        if self.transport is not None:
            self.transport.abort()
        return None

    def is_connected(self) -> bool:
        return super().is_connected() and not self.should_close
