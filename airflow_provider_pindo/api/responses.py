"""What an answer, or the lack of one, means.

The one place that decides whether something certainly did not happen, certainly did, or cannot be known.
A call that sends is *unknown* after everything but a refusal, a 429 or a failure to connect; the 4xx
statuses are refusals because Pindo documents them so ("the request was rejected; the body explains why").
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
from airflow_provider_pindo.api.parsers import MalformedResponse
from airflow_provider_pindo.api.redaction import _READ_OF_A_REASON, _clean, _one_line, _repeats, _without

T = TypeVar("T")

_MONEY = r"\b(?:balance|credits?|funds?)\b"
_LACKING = r"\b(?:insufficient|not enough|too low|exceeds?|exhausted|empty)\b"
_NO_MONEY = re.compile(f"{_LACKING}.*{_MONEY}|{_MONEY}.*{_LACKING}", re.IGNORECASE)
# "Ask there instead, with the same request" (RFC 9110, 15.4.8 and 15.4.9): here nothing was done. A 301 or 302 means
# that too where it points to the same path, with or without its slash, or on another host; elsewhere, and where it
# points to the very same place, it may follow a POST that was carried out, as a 303 does.
_MOVED = frozenset({307, 308})
_MAY_HAVE_MOVED = frozenset({301, 302})
# A server or a proxy between gave up waiting (408; nginx's 499, AWS's 460): what it passed on may have been done.
_TIMED_OUT = frozenset({408, 460, 499})
#: Seconds that a ``Retry-After`` counts for at most: whoever waits longer than that rather asks again.
LONGEST_RETRY_AFTER = 3600.0


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP answer as a transport received it.

    :param status: HTTP status.
    :param headers: header names in lower case.
    :param content: the whole body.
    :param url: where the request went, without query.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes = field(repr=False)
    url: str = ""


def parse_response(call: Call[T], answer: Response, token: str = "") -> T:
    """Return what ``answer`` says to ``call``, or raise what it means.

    :param token: the API token, taken out of everything that an error repeats from the answer.
    :raises PindoError: the leaf of the tree that fits; see the module's text for the rule.
    """
    if not 200 <= answer.status < 300:
        raise _failure(call, answer, token)
    try:
        return call.read(_decode(answer.content))
    except MalformedResponse as problem:
        raise _unreadable(
            call, f"answered {answer.status}, but its body is not to be understood: {problem}", answer.status
        ) from None


def no_connection(call: Call[Any], url: str, why: str) -> PindoConnectionError:
    """Return the error for a request that never left: no connection was made."""
    return PindoConnectionError(f"cannot connect to {url} for {call.name}: {why}. Nothing was sent")


def no_answer(call: Call[Any], url: str, why: str) -> PindoServerError | PindoUnknownOutcomeError:
    """Return the error for a request that left and got no whole answer."""
    if call.safe_to_repeat:
        return PindoServerError(f"{call.method} {url} got no answer: {why}")
    return PindoUnknownOutcomeError(f"{call.method} {url} got no answer: {why}. {_MAYBE[call.name]}")


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks to wait (RFC 9110, 10.2.3: seconds or a date).

    :return: seconds from now, from 0 to 3600; None when there is no such header or it cannot be read.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), LONGEST_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(0.0, (moment - (now or datetime.now(UTC))).total_seconds()), LONGEST_RETRY_AFTER)


_MAYBE = {
    "send_sms": "The message may have been sent",
    "send_bulk_sms": "The messages may have been sent",
    "verify": "The PIN may have been sent",
    "check_verification": "The check may have used up an attempt",
    "run": "It may have been carried out",
}


def _failure(call: Call[Any], answer: Response, token: str) -> PindoError:
    status = answer.status
    if 300 <= status < 400:
        return _redirected(call, answer, token)
    message = _one_line(_message(answer.content)[:_READ_OF_A_REASON])
    private = (token, *call.private(message))
    reason = _clean(message, private)
    said = f"{call.name}: Pindo answered {status}" + (f" ({reason})" if reason else "")
    details: dict[str, Any] = {"status": status, "reason": reason}
    if status == 402 or (status not in (401, 429) and status < 500 and _says_no_money(message, private)):
        return PindoInsufficientBalanceError(f"{said}: the wallet is too low; top it up", **details)
    if status in (401, 403):
        return PindoAuthError(
            f"{said}. Put the token that the account's Security page shows into the connection's password; "
            "refreshing it there revokes the old one at once",
            **details,
        )
    if status == 429:
        return PindoRateLimitError(
            f"{said}: slow down. Set 'requests_per_second' of the connection to less than Pindo takes",
            retry_after=retry_after(answer.headers),
            **details,
        )
    if 400 <= status < 500 and status not in _TIMED_OUT:
        return _refusal(answer, said, details)
    if call.safe_to_repeat:
        return PindoServerError(f"{said}; asking again does no harm, try later", **details)
    return PindoUnknownOutcomeError(f"{said}. {_MAYBE[call.name]}", **details)


def _refusal(answer: Response, said: str, details: dict[str, Any]) -> PindoError:
    if answer.status == 404:
        return PindoNotFoundError(
            f"{said} at {answer.url}: check the id that was asked for, and the connection's host", **details
        )
    return PindoRejectedError(f"{said}: it refused the request and did nothing", **details)


def _redirected(
    call: Call[Any], answer: Response, token: str
) -> PindoConfigurationError | PindoUnknownOutcomeError:
    location = answer.headers.get("location", "nowhere").split("?", 1)[0]
    shown = _one_line(unquote(location)[:_READ_OF_A_REASON])
    target = _clean(shown, (token, *call.private(shown)))
    said = (
        f"{call.name}: {call.method} {answer.url} was redirected ({answer.status}) to {target}; redirects are not "
        "followed, so that no message goes twice and no token goes elsewhere. Set the connection's host to where "
        "Pindo is"
    )
    if call.safe_to_repeat or _did_nothing(answer, location):
        return PindoConfigurationError(said, status=answer.status)
    return PindoUnknownOutcomeError(f"{said}. {_MAYBE[call.name]}", status=answer.status)


def _did_nothing(answer: Response, location: str) -> bool:
    """Return whether a redirect of a request that sends certainly came before anything was done."""
    if answer.status not in _MAY_HAVE_MOVED:
        return answer.status in _MOVED
    try:
        asked, told = _place(answer.url), _place(urljoin(answer.url, location))
    except ValueError:  # it points nowhere
        return False
    return told != asked and told[-1].rstrip("/") == asked[-1].rstrip("/")


def _place(url: str) -> tuple[str, str | None, int | None, str]:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname, port, parts.path


def _unreadable(call: Call[Any], what: str, status: int) -> PindoServerError | PindoUnknownOutcomeError:
    if call.safe_to_repeat:
        return PindoServerError(f"{call.name}: Pindo {what}", status=status)
    return PindoUnknownOutcomeError(f"{call.name}: Pindo {what}. {_MAYBE[call.name]}", status=status)


def _decode(content: bytes) -> Any:
    if not content.strip():
        return None
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _decode_leniently(content)


def _decode_leniently(content: bytes) -> Any:
    """Read what is JSON but for a number or a character that nobody can store; these become None and ``?``."""
    try:
        body = json.loads(content, parse_constant=lambda _: None, parse_float=_finite)
        return json.loads(json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        raise MalformedResponse("it is not JSON") from None


def _finite(digits: str) -> float | None:
    """Read a number; None for one too large to be stored and given on as JSON."""
    number = float(digits)
    return number if math.isfinite(number) else None


def _message(content: bytes) -> str:
    """Return the ``message`` of an error body, or what stands in its place; "" when there is none."""
    try:
        body = _decode(content)
    except MalformedResponse:
        return ""
    if not isinstance(body, Mapping):
        return ""
    found = {key.lower(): value for key, value in body.items()}
    said = (found.get(key) for key in ("message", "error", "detail"))
    return next((each for each in said if isinstance(each, str) and each.strip()), "")


def _says_no_money(reason: str, private: Sequence[str]) -> bool:
    """Return whether Pindo says that the wallet is too low, and does not merely repeat a text that speaks of money."""
    reason = _without(reason, private)
    found = _NO_MONEY.search(reason)
    if found is None:
        return False
    beside = f"{reason[: found.start()]} {reason[found.end() :]}"
    return not any(_repeats(beside, value) for value in private)
