"""HTTP over ``requests``: a transport that knows whether a request was sent.

- The current ``Attempt`` is marked as soon as the request is handed to an open connection. A failure before that is
  certain: nothing was sent.
- A connection that has idled is not used again. The server may have closed it, and a POST written into it fails like
  one whose response was lost.
- An interim response (103, say) is never taken for the response.
- Every response has a deadline, so a server that sends one byte at a time cannot hold a worker.

:mod:`~airflow_provider_pindo.hooks._transport.aio` guarantees the same for ``aiohttp``.
"""

from __future__ import annotations

import http.client
import io
import math
import socket
import ssl
import time
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, TypeVar, cast

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import PoolManager, ProxyManager

from airflow_provider_pindo.api.calls import Call
from airflow_provider_pindo.api.errors import PindoError
from airflow_provider_pindo.api.responses import Response, no_connection, no_response, parse_response
from airflow_provider_pindo.hooks._settings import PindoSettings
from airflow_provider_pindo.hooks._transport.attempt import current_attempt
from airflow_provider_pindo.hooks._transport.errors import describe
from airflow_provider_pindo.hooks._transport.limits import CALL_HEADERS, HEADERS, MAX_IDLE, Body
from airflow_provider_pindo.hooks._transport.retry import Pacer
from airflow_provider_pindo.hooks._transport.tls import ca_bundle, ssl_context

if TYPE_CHECKING:
    from requests import PreparedRequest

T = TypeVar("T")

#: Bytes of a body that are read at a time.
_PIECE = 64 * 1024
#: What requests raises. Some errors of urllib3 and of the system pass through it unchanged.
_FAILURES = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)


class SyncTransport:
    """One ``requests`` session, which makes one attempt at a call.

    :raises PindoConfigurationError: a certificate cannot be used.
    """

    def __init__(self, settings: PindoSettings, pacer: Pacer) -> None:
        self.session = _open_session(settings)
        self.settings = settings
        self._pacer = pacer
        self._timeout = settings.connect_timeout, settings.timeout

    def request(self, call: Call[T]) -> T:
        """Try ``call`` once. The current :class:`Attempt` shows whether the request was sent.

        :raises PindoError: as :func:`~airflow_provider_pindo.api.responses.parse_response`, and when no response came.
        """
        url = self.settings.url(call.path)
        content = call.content()
        self._begin()
        try:
            response = self.session.request(
                call.method,
                url,
                params=call.params,
                data=content,
                headers=CALL_HEADERS,
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
            )
            body = _read_body(response)
        except _FAILURES as error:
            raise _failure(call, url, error) from None
        return self.parse(call, response, body)

    def send(self, call: Call[Any], session: requests.Session, request: PreparedRequest) -> requests.Response:
        """Make one attempt at a request of the caller's own, and return the response with its whole body.

        :raises PindoError: no response came.
        """
        environment = session.merge_environment_settings(request.url, {}, True, None, None)
        self._begin()
        try:
            response = session.send(request, timeout=self._timeout, allow_redirects=False, **environment)
            response.raw = io.BytesIO(_read_body(response))
        except _FAILURES as error:
            raise _failure(call, str(request.url).split("?", 1)[0], error) from None
        response.content  # noqa: B018 - requests reads the body into the response only when it is used
        return response

    def parse(self, call: Call[T], response: requests.Response, body: bytes) -> T:
        """Return what ``response`` says to ``call``, or raise what it means."""
        current_attempt().status = response.status_code
        headers = {name.lower(): value for name, value in response.headers.items()}
        url = response.url.split("?", 1)[0]
        return parse_response(call, Response(response.status_code, headers, body, url), self.settings.token)

    def close(self) -> None:
        """Close the connections."""
        self.session.close()

    def _begin(self) -> None:
        """Wait for this request's turn, and give its attempt a time limit."""
        attempt = current_attempt()
        if delay := self._pacer.delay(attempt):
            with attempt.waiting(delay) as seconds:
                time.sleep(seconds)
        attempt.whole_timeout = self.settings.whole_timeout


def _open_session(settings: PindoSettings) -> requests.Session:
    session = _Session()
    session.auth = _BearerAuth(settings.token)
    session.headers.update(HEADERS)
    # No cookie is kept, so no request depends on an earlier response.
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.verify, session.cert = settings.verify, settings.cert
    if settings.verify is True:
        session.verify = ca_bundle(settings) or True
    # The environment is read here, once. requests would read all of it for every message, and prefer its proxies and
    # certificates to the connection's.
    session.trust_env = False
    proxy = settings.proxy()
    session.proxies = {"all": proxy} if proxy else {}
    context = ssl_context(settings)  # says what is wrong with the files; requests would not
    for scheme in ("https://", "http://"):
        session.mount(scheme, _Adapter(context if settings.trusted else None))
    return session


class _Session(requests.Session):
    """A session that treats a redirect like any other response.

    With ``allow_redirects=False`` requests still reads the whole body of a redirect, of any size, and decodes its
    Location.
    """

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return None: no redirect is followed."""


class _BearerAuth(requests.auth.AuthBase):
    """Adds the token to every request. As a plain header, it would lose against the password of a .netrc."""

    def __init__(self, token: str) -> None:
        self._value = f"Bearer {token}"

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        request.headers["Authorization"] = self._value
        return request


def _read_body(response: requests.Response) -> bytes:
    """Return the body of a streamed response, and free its connection.

    It is read from urllib3's response, since requests cannot show a body as a whole that it has read piece by piece.

    :raises ResponseTooLarge: it is larger than any of Pindo's.
    """
    raw = cast(urllib3.BaseHTTPResponse, response.raw)
    body = Body()
    try:
        for piece in raw.stream(_PIECE, decode_content=True):
            body.add(piece)
    except BaseException:
        raw.close()
        raise
    finally:
        raw.release_conn()
    return body.content()


def _failure(call: Call[Any], url: str, error: BaseException) -> PindoError:
    """Return what a failure of this thread's attempt means.

    Raise it without its cause. Airflow logs the whole chain, and a library's error may repeat the server's bytes, such
    as a text or a number.
    """
    failed = no_response if current_attempt().sent else no_connection
    return failed(call, url, describe(error))


class _DeadlineSocket:
    """What ``http.client`` needs of a socket to read a response, with a deadline for all of it.

    :param deadline: the moment, in ``time.monotonic``.
    """

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_DeadlineReader(self._sock, self._deadline))


class _DeadlineReader(io.RawIOBase):
    """Reads from a socket until a deadline. The socket's own timeout still limits each read."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:  # pragma: no cover - the deadline passed between two pieces
            raise TimeoutError
        timeout = self._sock.gettimeout()
        if timeout is not None and timeout <= remaining:
            return self._raw.readinto(buffer)
        self._sock.settimeout(remaining)
        try:
            return self._raw.readinto(buffer)
        finally:
            self._sock.settimeout(timeout)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _FinalResponse(http.client.HTTPResponse):
    """A response that ends by its attempt's deadline, and is never an interim one (1xx).

    ``http.client`` skips only 100. It takes any other for the response, and the real one, which stays in the
    connection, for the response to the next request.
    """

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        deadline = current_attempt().deadline
        source = sock if deadline == math.inf else cast(socket.socket, _DeadlineSocket(sock, deadline))
        super().__init__(source, *args, **kwargs)

    def begin(self) -> None:
        super().begin()
        while 100 < self.status < 200 and self.status != http.HTTPStatus.SWITCHING_PROTOCOLS:
            self.headers = self.msg = None  # type: ignore[assignment] # else begin() reads no further head
            super().begin()
        # Lines that are not headers are dropped. urllib3 would log them, and one may be a message's text.
        self.msg.set_payload("")
        self.msg.defects.clear()


class _MarkingConnection:
    """Mixin of a urllib3 connection: connect, mark the attempt as sent, send. After an idle time, connect again."""

    responded = math.inf  # when the latest response began, in time.monotonic

    def connect(self) -> None:
        attempt = current_attempt()
        # A proxy may respond slowly, too. mark_sent() sets the deadline again.
        attempt.deadline = time.monotonic() + attempt.whole_timeout
        super().connect()  # type: ignore[misc]

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is None:  # type: ignore[attr-defined]
            self.connect()
        current_attempt().mark_sent()
        super().request(*args, **kwargs)  # type: ignore[misc]

    def getresponse(self) -> Any:
        response = super().getresponse()  # type: ignore[misc]
        self.responded = time.monotonic()
        return response

    @property
    def is_connected(self) -> bool:
        """Whether the pool may use the connection again; it closes one that is not connected."""
        connected: bool = super().is_connected  # type: ignore[misc]
        return connected and time.monotonic() - self.responded <= MAX_IDLE


class _HTTPConnection(_MarkingConnection, HTTPConnection):
    response_class = _FinalResponse


class _HTTPSConnection(_MarkingConnection, HTTPSConnection):
    response_class = _FinalResponse


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


_POOLS = {"http": _HTTPPool, "https": _HTTPSPool}


class _Adapter(HTTPAdapter):
    """Has requests use the connections of this module.

    :param context: what checks the server's certificate besides what requests knows.
    """

    def __init__(self, context: ssl.SSLContext | bool | None) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Build the pools of direct connections."""
        if self._context:
            kwargs["ssl_context"] = self._context
        super().init_poolmanager(*args, **kwargs)
        manager: PoolManager = self.poolmanager
        manager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> ProxyManager:
        """Build the pools of connections through ``proxy``."""
        manager: ProxyManager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager
