"""Connections for ``requests`` under which "unknown outcome" stays rare and true.

Four things that ``requests`` leaves open are settled here. A server may close a kept connection while it
idles, and a POST written into it looks just like one whose answer was lost: so a connection that has idled
is not used again. An exception does not say whether the request ever left: so each attempt notes it. An
interim answer (103, say) is not taken for the answer. And an answer that comes drop by drop has a time at which
it must have ended. How ``aiohttp`` is made to do the same is in
:mod:`~airflow_provider_pindo.hooks._transport.aio`.
"""

from __future__ import annotations

import http.client
import io
import json
import math
import socket
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import PoolManager, ProxyManager

from airflow_provider_pindo.hooks._transport.attempt import current_attempt
from airflow_provider_pindo.hooks._transport.limits import MAX_IDLE, Body

if TYPE_CHECKING:
    from requests import PreparedRequest, Response

#: Bytes of an answer that are read at a time.
_PIECE = 64 * 1024
#: What requests raises; it lets some of urllib3's and the system's own errors through.
FAILURES = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)


class PindoSession(requests.Session):
    """A session to which a redirect is an answer like any other.

    Although told not to follow it, requests would read the whole body of a redirect, of whatever size, and its
    Location, in whatever encoding.
    """

    def get_redirect_target(self, resp: Response) -> None:
        """Return that there is nowhere to go on to."""


class BearerAuth(requests.auth.AuthBase):
    """The token of every request: as an auth object, since requests puts a .netrc's password over a mere header."""

    def __init__(self, token: str) -> None:
        self._value = f"Bearer {token}"

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Put the token on ``request``."""
        request.headers["Authorization"] = self._value
        return request


def read_body(response: Response) -> bytes:
    """Return the body of ``response``, which was asked for with ``stream=True``; its connection is free again.

    :raises AnswerTooLarge: it is larger than any of Pindo's.
    """
    body = Body()
    with response:
        for piece in response.iter_content(_PIECE):
            body.add(piece)
    return body.content()


def hold_body(response: Response) -> None:
    """Read the body of ``response`` as :func:`read_body` does, and keep it there for whoever is given the response.

    ``_content`` is requests' own: should it be renamed, then ``test_what_run_returns_is_a_whole_answer`` fails.
    """
    response._content = read_body(response)


def strings_in(body: object) -> tuple[str, ...]:
    """Return the texts in the body of a request, JSON, a form or any other, which an answer to it may repeat.

    The longest come first: one that is part of another must not break it up before it is found.
    """
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    if not isinstance(text, str):  # none, or a stream that has gone
        return ()
    try:
        found = set(_strings_in(json.loads(text)))
    except (ValueError, RecursionError):
        found = {text, *(value for _, value in parse_qsl(text))}
    return tuple(sorted(found, key=len, reverse=True))


def _strings_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _strings_in(each)


class _Timely(io.RawIOBase):
    """What comes in over a connection, up to the moment at which all of an answer must have come.

    :param sock: the connection; its own timeout goes on counting for each piece.
    :param raw: what is read from it.
    :param until: the moment, as ``time.monotonic`` tells it.
    """

    def __init__(self, sock: socket.socket, raw: io.RawIOBase, until: float) -> None:
        self._sock = sock
        self._raw = raw
        self._until = until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._until - time.monotonic()
        if left <= 0:  # pragma: no cover - the time is up between two pieces, not while one is waited for
            raise TimeoutError
        timeout = self._sock.gettimeout()
        if timeout is not None and timeout <= left:
            return self._raw.readinto(buffer)
        self._sock.settimeout(left)
        try:
            return self._raw.readinto(buffer)
        finally:
            self._sock.settimeout(timeout)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _FinalResponse(http.client.HTTPResponse):
    """An answer that ends in time, and is none of the interim ones (1xx) which may come before it.

    ``http.client`` passes over 100 alone. Any other would be taken for the answer, and the real one, which stays
    in the connection, for the answer to the next request. ``_read_status`` is its own: should it be renamed, then
    ``test_an_interim_answer_is_not_taken_for_the_answer`` fails.
    """

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        until = current_attempt().until
        if until < math.inf:
            self.fp = io.BufferedReader(_Timely(sock, self.fp.detach(), until))

    def begin(self) -> None:
        super().begin()
        # What is no header is passed over; urllib3 would log it, and it may be a message's text.
        self.msg.set_payload("")
        self.msg.defects.clear()

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            status_line: tuple[str, int, str] = super()._read_status()  # type: ignore[misc]
            if not 100 < status_line[1] < 200 or status_line[1] == http.HTTPStatus.SWITCHING_PROTOCOLS:
                return status_line
            http.client.parse_headers(self.fp)


class _NotesRequests:
    """Mixin of a urllib3 connection: connect first, note the request, then send it."""

    def connect(self) -> None:
        attempt = current_attempt()
        attempt.until = time.monotonic() + attempt.whole_timeout  # a proxy may answer drop by drop, too
        super().connect()  # type: ignore[misc]

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is None:  # type: ignore[attr-defined]
            self.connect()
        current_attempt().mark_sent()
        super().request(*args, **kwargs)  # type: ignore[misc]


class _HTTPConnection(_NotesRequests, HTTPConnection):
    response_class = _FinalResponse


class _HTTPSConnection(_NotesRequests, HTTPSConnection):
    response_class = _FinalResponse


class _NeverIdle:
    """Mixin of a urllib3 pool: a connection that has idled is closed, and opens again when it is used.

    ``_put_conn`` and ``_get_conn`` are urllib3's own: should they be renamed, then
    ``test_a_connection_that_idled_is_not_used_again`` fails.
    """

    def _put_conn(self, conn: Any) -> None:
        if conn is not None:
            conn.idle_since = time.monotonic()
        super()._put_conn(conn)  # type: ignore[misc]

    def _get_conn(self, timeout: float | None = None) -> Any:
        conn = super()._get_conn(timeout)  # type: ignore[misc]
        if time.monotonic() - getattr(conn, "idle_since", math.inf) > MAX_IDLE:
            conn.close()
        return conn


class _HTTPPool(_NeverIdle, HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(_NeverIdle, HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


_POOLS = {"http": _HTTPPool, "https": _HTTPSPool}


class PindoAdapter(HTTPAdapter):
    """The adapter of :class:`~airflow_provider_pindo.hooks.pindo.PindoHook`'s session."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Build the pools of direct connections."""
        super().init_poolmanager(*args, **kwargs)
        manager: PoolManager = self.poolmanager
        manager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> ProxyManager:
        """Build the pools of connections through ``proxy``."""
        manager: ProxyManager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager
