"""Why a request failed, in words without a proxy's address, a header or a body."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
from collections.abc import Iterator

from airflow_provider_pindo.hooks._transport.limits import ResponseTooLarge


def describe(error: BaseException) -> str:
    """Return why a request failed, for the log.

    The most telling error in the chain of causes counts. The text of a library's exception is never used: it repeats
    addresses, with the proxy's password, and objects.
    """
    chain = list(_causes(error))
    for kind, words in _WORDS:
        for cause in chain:
            if isinstance(cause, kind):
                return words(cause)
    for cause in chain:
        # The network cannot be reached, for example.
        if type(cause) is OSError and isinstance(cause.errno, int):
            return os.strerror(cause.errno)
    named = [type(cause).__name__ for cause in chain]
    for name, text in _WORDS_BY_NAME.items():
        if name in named:
            return text
    return named[-1]


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    todo: list[object] = [error]
    while todo:
        cause = todo.pop(0)
        if isinstance(cause, BaseException) and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            todo += [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args]


def _certificate(error: BaseException) -> str:
    error = getattr(error, "certificate_error", error)  # aiohttp's error wraps the one that says why
    return f"the server's TLS certificate was not accepted ({getattr(error, 'verify_message', 'invalid')})"


def _tls(error: BaseException) -> str:
    reason = getattr(error, "reason", None)
    shown = reason if isinstance(reason, str) else "handshake"
    return f"TLS failed ({shown}), perhaps because the host does not speak https"


_WORDS = (
    (ResponseTooLarge, lambda error: "the response was larger than any of Pindo's"),
    (ssl.SSLCertVerificationError, _certificate),
    (ssl.SSLError, _tls),
    (socket.gaierror, lambda error: "the host name cannot be resolved"),
    (ConnectionRefusedError, lambda error: "the connection was refused"),
    (http.client.RemoteDisconnected, lambda error: "the connection was closed without a response"),
    (ConnectionResetError, lambda error: "the connection was reset"),
    (BrokenPipeError, lambda error: "the connection was reset"),
    (TimeoutError, lambda error: "it took too long"),
)
_WORDS_BY_NAME = {
    "ProxyError": "the proxy refused or failed",
    "ClientHttpProxyError": "the proxy refused or failed",
    "ConnectTimeout": "it took too long",
    "ReadTimeout": "it took too long",
    "ServerDisconnectedError": "the connection was closed without a response",
    "IncompleteRead": "the response was cut short",
    "ClientPayloadError": "the response was cut short",
    "ContentLengthError": "the response was cut short",
    **dict.fromkeys(
        [
            "BadStatusLine",
            "BadHttpMessage",
            "InvalidHeader",
            "InvalidChunkLength",
            "DecodeError",
            "ContentDecodingError",
            "ContentEncodingError",
            "TransferEncodingError",
            "ProtocolError",
        ],
        "the response was not valid HTTP",
    ),
    **dict.fromkeys(
        [
            "InvalidURL",
            "InvalidProxyURL",
            "LocationParseError",
            "InvalidSchema",
            "MissingSchema",
            "UnicodeError",
        ],
        "invalid host or proxy address",
    ),
}
