"""What a response means, and what a missing one means.

Only this module decides whether a request was certainly carried out, certainly not, or has an unknown outcome.
A call that sends was certainly carried out after a receipt. It certainly was not

- after a 4xx, as Pindo documents it ("the request was rejected; the body explains why"), but for one that says that a
  server stopped waiting (408, 460, 499);
- after a redirect that only moves the address: a 307, a 308, or a 301 or 302 to the same path elsewhere;
- if no connection was made.

Anything else is an unknown outcome: a 5xx, another redirect, a receipt that cannot be read, or no response.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import unquote, urljoin, urlsplit

import msgspec

from airflow_provider_pindo.api.calls import Call
from airflow_provider_pindo.api.errors import (
    PindoAuthError,
    PindoConfigurationError,
    PindoConnectionError,
    PindoError,
    PindoInsufficientBalanceError,
    PindoNotFoundError,
    PindoRateLimitError,
    PindoRejectedError,
    PindoServerError,
    PindoUnknownOutcomeError,
)
from airflow_provider_pindo.api.fields import MalformedResponse
from airflow_provider_pindo.api.redaction import clean_reason, gives_away, hide_private, one_line

T = TypeVar("T")

#: The longest ``Retry-After`` that an error carries, in seconds. A longer one is cut to it.
MAX_RETRY_AFTER = 3600.0

#: The keys of an error body that say why, the most telling one first.
_REASON_KEYS = ("message", "error", "errors", "detail")
_MONEY = r"\b(?:balance|credits?|funds?)\b"
_LACKING = r"\b(?:insufficient|not enough|too low|exceeds?|exhausted|empty)\b"
_NO_MONEY = re.compile(f"{_LACKING}.*{_MONEY}|{_MONEY}.*{_LACKING}", re.IGNORECASE)
#: Redirects after which nothing was done: the same request must go elsewhere (RFC 9110, 15.4.8 and 15.4.9).
_MOVED = frozenset({307, 308})
#: Redirects that may also follow a POST that was carried out. It was not if they lead to the same path on another host,
#: or to the same path with or without its trailing slash.
_MAY_HAVE_MOVED = frozenset({301, 302})
#: A server or its proxy stopped waiting (408; nginx's 499; AWS's 460). The request may have been carried out.
_TIMED_OUT = frozenset({408, 460, 499})
_SECONDS = re.compile(r"[0-9]+(\.[0-9]*)?")


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response as a transport received it.

    :param status: HTTP status.
    :param headers: header names in lower case.
    :param content: the whole body.
    :param url: the URL of the request, without its query.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes = field(repr=False)
    url: str


def parse_response(call: Call[T], response: Response, token: str = "") -> T:
    """Return the value of a successful response, or raise the error that any other one means.

    :param token: the API token; no error repeats it.
    :raises PindoError: its class says what happened, by the rule in this module's docstring.
    """
    if not 200 <= response.status < 300:
        raise _failure(call, response, token)
    try:
        return call.read(_decode(response.content))
    except MalformedResponse as problem:
        reason = f"its body cannot be read: {problem}"
        summary = f"{call.name}: Pindo returned {response.status}, but {reason}"
        if call.safe_to_repeat:
            raise PindoServerError(summary, status=response.status, reason=reason) from None
        raise _unknown(call, summary, status=response.status, reason=reason) from None


def no_connection(call: Call[Any], url: str, why: str) -> PindoConnectionError:
    """Return the error for a request that was not sent because no connection was made."""
    return PindoConnectionError(f"cannot connect to {url} for {call.name}: {why}. Nothing was sent")


def no_response(call: Call[Any], url: str, why: str) -> PindoServerError | PindoUnknownOutcomeError:
    """Return the error for a request that was sent and got no complete response."""
    summary = f"{call.method} {url} got no response: {why}"
    if call.safe_to_repeat:
        return PindoServerError(summary)
    return _unknown(call, summary, reason=f"{why} after the request was sent")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks to wait (RFC 9110, 10.2.3: seconds or a date).

    Some servers send a fraction of a second too.

    :return: seconds from now, from 0 to :data:`MAX_RETRY_AFTER`; None when the header is missing or malformed.
    """
    value = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(value):
        return min(float(value), MAX_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(0.0, (moment - datetime.now(UTC)).total_seconds()), MAX_RETRY_AFTER)


def _failure(call: Call[Any], response: Response, token: str) -> PindoError:
    status = response.status
    if 300 <= status < 400:
        return _redirect_error(call, response, token)
    message = one_line(_reasons(response.content))
    private = (token, *call.private(message))
    reason = clean_reason(message, private)
    summary = f"{call.name}: Pindo returned {status}" + (f" ({reason})" if reason else "")
    facts: dict[str, Any] = {"status": status, "reason": reason, "summary": summary}
    is_certain = 400 <= status < 500 and status not in _TIMED_OUT
    if status == 402 or (is_certain and status not in (401, 429) and _says_no_money(message, private)):
        return PindoInsufficientBalanceError(f"{summary}: the wallet is too low; top it up", **facts)
    if status in (401, 403):
        return PindoAuthError(
            f"{summary}. Copy the token from the Security page of the Pindo account into the connection's password; "
            "refreshing the token there revokes the old one at once",
            **facts,
        )
    if status == 404:
        check = "the id in the request, and the connection's host" if call.has_id else "the connection's host"
        return PindoNotFoundError(f"{summary} at {response.url}: check {check}", **facts)
    if status == 429:
        return PindoRateLimitError(
            f"{summary}: too many requests. Set 'requests_per_second' of the connection below Pindo's limit",
            retry_after=retry_after(response.headers),
            **facts,
        )
    if is_certain:
        return PindoRejectedError(f"{summary}: it refused the request and did nothing", **facts)
    if call.safe_to_repeat:
        return PindoServerError(f"{summary}; this call is safe to repeat, try again later", **facts)
    return _unknown(call, **facts)


def _unknown(call: Call[Any], summary: str, **facts: Any) -> PindoUnknownOutcomeError:
    return PindoUnknownOutcomeError(f"{summary}. {call.if_lost}", summary=summary, **facts)


def _redirect_error(
    call: Call[Any], response: Response, token: str
) -> PindoConfigurationError | PindoUnknownOutcomeError:
    location = re.split("[?#]", response.headers.get("location", "nowhere"), maxsplit=1)[0]
    target = one_line(unquote(location))
    target = clean_reason(target, (token, *call.private(target)))
    summary = f"{call.name}: {call.method} {response.url} was redirected ({response.status}) to {target}"
    message = (
        f"{summary}; redirects are not followed, so that no message goes twice and no token goes elsewhere. Set the "
        "connection's host to Pindo's address"
    )
    facts: dict[str, Any] = {
        "status": response.status,
        "reason": f"redirected to {target}",
        "summary": summary,
    }
    if call.safe_to_repeat or _did_nothing(response, location):
        return PindoConfigurationError(message, **facts)
    return PindoUnknownOutcomeError(f"{message}. {call.if_lost}", **facts)


def _did_nothing(response: Response, location: str) -> bool:
    """Return whether a redirected request that sends was certainly not carried out."""
    if response.status not in _MAY_HAVE_MOVED:
        return response.status in _MOVED
    try:
        requested, target = _address(response.url), _address(urljoin(response.url, location))
    except ValueError:  # not a URL
        return False
    return target != requested and target[-1].rstrip("/") == requested[-1].rstrip("/")


def _address(url: str) -> tuple[str, str | None, int | None, str]:
    """Return scheme, host, port and path, which are equal for equal addresses."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname, port, parts.path


def _decode(content: bytes) -> Any:
    if not content.strip():
        return None
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _decode_leniently(content)


def _decode_leniently(content: bytes) -> Any:
    """Decode JSON with numbers or characters that cannot be stored. These become None and ``?``."""
    try:
        body = json.loads(content, parse_constant=lambda _: None, parse_float=_finite)
        return json.loads(json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        raise MalformedResponse("it is not JSON") from None


def _finite(digits: str) -> float | None:
    """Return a number; None for one that is too large for a float, which JSON cannot hold."""
    number = float(digits)
    return number if math.isfinite(number) else None


def _reasons(content: bytes) -> str:
    """Return the reasons in an error body, such as ``message`` and ``error``, each once; "" if it has none of them."""
    try:
        fields = _by_lower_key(_decode(content))
    except MalformedResponse:
        return ""
    values = (fields.get(key) for key in _REASON_KEYS)
    texts = [_by_lower_key(value).get("message") if isinstance(value, Mapping) else value for value in values]
    return "; ".join(dict.fromkeys(text.strip() for text in texts if isinstance(text, str) and text.strip()))


def _by_lower_key(body: Any) -> dict[str, Any]:
    return {key.lower(): value for key, value in body.items()} if isinstance(body, Mapping) else {}


def _says_no_money(reason: str, private: Sequence[str]) -> bool:
    """Return whether Pindo says that the wallet is too low. An echoed text about money does not count."""
    reason = hide_private(reason, private)
    match = _NO_MONEY.search(reason)
    if match is None:
        return False
    around = f"{reason[: match.start()]} {reason[match.end() :]}"
    return not any(gives_away(around, value) for value in private)
