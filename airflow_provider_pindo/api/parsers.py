"""Decoded answer bodies into values.

Tolerant where nothing is lost by it (unknown keys are kept, a missing price is None, an id may come as a
number or a string), strict where a caller could not go on: a receipt without its id is not a receipt.
Whatever the body is, the only error is :class:`MalformedResponse`; what that means for the call is decided in
:mod:`~airflow_provider_pindo.api.responses`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from airflow_provider_pindo.api import values

T = TypeVar("T")

#: What a number may come as, and an id. Tuples, since a union of types would be made and walked for every field.
_NUMERIC = (str, int, float)
_NAMING = (str, int)
#: Ids are at most this, so that a database takes them, and Airflow's supervisor.
MAX_ID = 2**63 - 1
#: Counts, and USD spent, are at most this: even the sum over millions of them can be stored then.
_MAX_COUNT = 2**31


#: A ``status`` that contradicts the receipt it stands in; "sent" is the only one that Pindo documents.
_NOT_TAKEN = frozenset({"failed", "failure", "error", "rejected", "refused", "undelivered"})


class MalformedResponse(ValueError):
    """The body of a successful answer is not what it should be; the message says what is missing."""


def read_sms_receipt(body: Any) -> values.SmsReceipt:
    """Read the answer to a single send."""
    raw = _object(body)
    _refuse_contradiction(raw)
    return values.SmsReceipt(
        sms_id=_required(raw, "sms_id", _id_text),
        to=_optional(raw, "to", _text),
        status=_optional(raw, "status", _text),
        item_count=_optional(raw, "item_count", _count),
        item_price=_optional(raw, "item_price", _spent),
        total_cost=_optional(raw, "total_cost", _spent),
        remaining_balance=_optional(raw, "remaining_balance", _amount),
        raw=raw,
    )


def read_bulk_receipt(body: Any) -> values.BulkReceipt:
    """Read the totals of a bulk send."""
    raw = _object(body)
    count = _required(raw, "count", _count)
    if count:
        _refuse_contradiction(raw)
    return values.BulkReceipt(
        count=count,
        total=_optional(raw, "total", _count),
        status=_optional(raw, "status", _text),
        item_price=_optional(raw, "item_price", _spent),
        remaining_balance=_optional(raw, "remaining_balance", _amount),
        raw=raw,
    )


def read_verification(body: Any) -> values.Verification:
    """Read the answer to a request for a PIN."""
    raw = _object(body)
    return values.Verification(
        request_id=_required(raw, "request_id", _whole),
        network=_optional(raw, "network", _id_text),
        remaining_balance=_optional(raw, "remaining_balance", _amount),
        raw=raw,
    )


def read_verification_check(body: Any) -> values.VerificationCheck:
    """Read the answer to a right PIN, which says "success": any other may be to a wrong one."""
    raw = _object(body)
    if _required(raw, "message", _text).strip().lower() != "success":
        raise MalformedResponse("its 'message' is not 'success'")
    if str(raw.get("verified")).strip().lower() in ("false", "no", "0"):
        raise MalformedResponse("it says that the code is right and that it is not")
    return values.VerificationCheck(
        request_id=_optional(raw, "request_id", _whole),
        message=_optional(raw, "message", _text),
        remaining_balance=_optional(raw, "remaining_balance", _amount),
        raw=raw,
    )


def read_verification_state(body: Any) -> values.VerificationState:
    """Read the state of a verification, of whatever shape; an empty body is an empty object."""
    raw = {} if body is None else _object(body)
    return values.VerificationState(
        request_id=_optional(raw, "request_id", _whole), status=_optional(raw, "status", _text), raw=raw
    )


def read_inbound_page(body: Any, timezone: str) -> values.InboundPage:
    """Read one page of inbound messages; naive times are of ``timezone``.

    One message that is odd must not hold up all the others. One without a text has an empty one, and a text that
    comes as a number is its digits. One whose time cannot be read has that of the message after it, since ids grow
    with time, and the newest has the moment of reading: so it is taken for newer than it is, and nobody who waits
    misses it. One without an id that is a number cannot be told from the next and is left out, and counted in
    ``left_out``.

    :raises Unreadable: it is no page of messages: none has an id that is a number, or none of several has a time
        that can be read.
    """
    raw = _object(body)
    given_rows = _list(raw, "inbound_sms")
    rows = [row for row in given_rows if _has_id(row)]
    if given_rows and not rows:
        raise MalformedResponse("none of its messages has an 'id' that is a number")
    times = _times_by_id(rows, timezone)
    given = raw.get("pages")
    pages: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    return values.InboundPage(
        messages=tuple(_read_inbound(row, times) for row in rows),
        page=_optional(pages, "page", _whole),
        pages=_optional(pages, "pages", _whole),
        per_page=_optional(pages, "per_page", _whole),
        total=_optional(pages, "total", _whole),
        left_out=len(given_rows) - len(rows),
        raw=raw,
    )


def _has_id(row: Any) -> bool:
    return isinstance(row, Mapping) and _optional(row, "id", _whole) is not None


def _times_by_id(rows: list[Mapping[str, Any]], timezone: str) -> dict[int, datetime]:
    """Return each message's time by its id, with the gaps filled from the message after, or else with now."""
    read = {
        _required(row, "id", _whole): _optional(row, "created_at", lambda value: read_time(value, timezone))
        for row in rows
    }
    # One alone may be odd; several of them write the time in a way that is not known here.
    if len(read) > 1 and not any(read.values()):
        raise MalformedResponse("none of its messages has a 'created_at' that can be read")
    times, following = {}, datetime.now(UTC)
    for number, time in sorted(read.items(), reverse=True):
        following = time or following
        times[number] = following
    return times


def _read_inbound(raw: Mapping[str, Any], times: Mapping[int, datetime]) -> values.InboundSms:
    number = _required(raw, "id", _whole)
    return values.InboundSms(
        id=number,
        text=_optional(raw, "text", _typed) or "",
        created_at=times[number],
        inbound_sms_number=_optional(raw, "inbound_sms_number", _id_text),
        from_number=_optional(raw, "from", _id_text),
        raw=raw,
    )


def read_balance(body: Any) -> values.Balance:
    """Read the wallet."""
    raw = _object(body)
    return values.Balance(amount=_required(raw, "amount", _amount), raw=raw)


def read_sender_ids(body: Any) -> tuple[values.SenderId, ...]:
    """Read the account's sender IDs: a bare list, or one inside an object."""
    rows = body if isinstance(body, list) else _list(_object(body), "sender_ids")
    return tuple(
        values.SenderId(
            sender_id=_optional(raw, "sender_id", _id_text) or _optional(raw, "name", _id_text),
            status=_optional(raw, "status", _text),
            raw=raw,
        )
        for raw in map(_object, rows)
    )


def read_time(value: Any, timezone: str) -> datetime:
    """Return a time of Pindo's as an aware UTC one.

    :param value: ISO 8601, with or without a zone, or the older webhooks' ``24-07-2020, 23:35:32``.
    :param timezone: IANA name of the zone that a time without one is in.
    """
    import pendulum

    text = _text(value)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = datetime.strptime(text, "%d-%m-%Y, %H:%M:%S")
    return pendulum.instance(moment, tz=timezone).in_timezone("UTC")


def _object(body: Any) -> Mapping[str, Any]:
    if not isinstance(body, Mapping):
        raise MalformedResponse(f"it is {_kind(body)}, not a JSON object")
    return body


def _refuse_contradiction(raw: Mapping[str, Any]) -> None:
    status = str(raw.get("status")).strip().lower()
    if status in _NOT_TAKEN:
        raise MalformedResponse(f"it is a receipt, and says {status!r}")


def _list(raw: Mapping[str, Any], key: str) -> list[Any]:
    rows = raw.get(key)
    if not isinstance(rows, list):
        raise MalformedResponse(f"its {key!r} is {_kind(rows)}, not a list")
    return rows


def _required(raw: Mapping[str, Any], key: str, convert: Callable[[Any], T]) -> T:
    value = raw.get(key)
    if value is None:
        raise MalformedResponse(f"it has no {key!r}")
    try:
        return convert(value)
    except (ValueError, OverflowError):
        raise MalformedResponse(f"its {key!r} is {_kind(value)} that makes no sense there") from None


def _optional(raw: Mapping[str, Any], key: str, convert: Callable[[Any], T]) -> T | None:
    value = raw.get(key)
    if value is None:
        return None
    try:
        return convert(value)
    except (ValueError, OverflowError):
        return None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise MalformedResponse
    return value


def _typed(value: Any) -> str:
    """Read what a person typed, which a server that guesses may have made a number of."""
    if isinstance(value, bool) or not isinstance(value, _NUMERIC):
        raise MalformedResponse
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def _id_text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, _NAMING) or value == "":
        raise MalformedResponse
    return str(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, _NUMERIC):
        raise MalformedResponse
    if isinstance(value, float) and not value.is_integer():
        raise MalformedResponse
    number = int(value)
    if not -MAX_ID - 1 <= number <= MAX_ID:
        raise MalformedResponse
    return number


def _count(value: Any) -> int:
    number = _whole(value)
    if not 0 <= number <= _MAX_COUNT:
        raise MalformedResponse
    return number


def _spent(value: Any) -> float:
    amount = _amount(value)
    if not 0 <= amount <= _MAX_COUNT:
        raise MalformedResponse
    return amount


def _amount(value: Any) -> float:
    """Read an amount of money, which a wallet may owe."""
    if isinstance(value, bool) or not isinstance(value, _NUMERIC):
        raise MalformedResponse
    amount = float(value)
    if not math.isfinite(amount):
        raise MalformedResponse
    return amount


def _kind(value: Any) -> str:
    if value is None:
        return "missing"
    names = {bool: "a boolean", str: "a string", int: "a number", float: "a number", list: "a list"}
    return names.get(type(value), "an object")
