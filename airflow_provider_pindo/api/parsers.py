"""Decoded response bodies into values.

Tolerant where nothing is lost: unknown keys are kept, a missing price is None, an id may be a number or a string.
Strict where the caller needs the value: a receipt without its id is not a receipt. A body causes no other error than
:class:`~airflow_provider_pindo.api.fields.MalformedResponse`;
:mod:`~airflow_provider_pindo.api.responses` decides what it means for the call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from airflow_provider_pindo.api import values
from airflow_provider_pindo.api.fields import MalformedResponse, read_time
from airflow_provider_pindo.api.limits import MAX_INTEGER

T = TypeVar("T")

#: The JSON types of a number, and of an id. They are tuples, since a union is slower, and this runs for every field.
_NUMBER_TYPES = (str, int, float)
_ID_TYPES = (str, int)
#: The largest plausible count, and the most USD spent. The sum of millions of them can still be stored.
_MAX_COUNT = 2**31
#: Values of ``status`` that contradict a receipt. Pindo documents only "sent".
_FAILED = frozenset({"failed", "failure", "error", "rejected", "refused", "undelivered"})


def read_sms_receipt(body: Any) -> values.SmsReceipt:
    """Parse the receipt of a single send."""
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
    """Parse the totals of a bulk send."""
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
    """Parse the receipt of a PIN."""
    raw = _object(body)
    return values.Verification(
        request_id=_required(raw, "request_id", _whole),
        network=_optional(raw, "network", _id_text),
        remaining_balance=_optional(raw, "remaining_balance", _amount),
        raw=raw,
    )


def read_verification_check(body: Any) -> values.VerificationCheck:
    """Parse the response to a correct PIN, which says "success". Any other message may mean a wrong PIN."""
    raw = _object(body)
    if _required(raw, "message", _text).strip().lower() != "success":
        raise MalformedResponse("its 'message' is not 'success'")
    if str(raw.get("verified")).strip().lower() in ("false", "no", "0"):
        raise MalformedResponse(
            "its 'message' says that the code is right, and its 'verified' that it is wrong"
        )
    return values.VerificationCheck(
        request_id=_optional(raw, "request_id", _whole),
        message=_optional(raw, "message", _text),
        remaining_balance=_optional(raw, "remaining_balance", _amount),
        raw=raw,
    )


def read_verification_state(body: Any) -> values.VerificationState:
    """Parse the state of a verification, an object of any shape; an empty body counts as an empty object."""
    raw = {} if body is None else _object(body)
    return values.VerificationState(
        request_id=_optional(raw, "request_id", _whole), status=_optional(raw, "status", _text), raw=raw
    )


def read_inbound_page(body: Any, timezone: str) -> values.InboundPage:
    """Parse one page of inbound messages.

    One odd message must not block the others, so:

    * A message without a text gets an empty one. A text that is a number becomes its digits.
    * A message whose time cannot be parsed gets the time of the next newer message, and the newest one gets the current
      time. Ids grow with time, so it counts as newer than it is, and no waiting task misses it.
    * A message without a numeric id cannot be identified. It is omitted and counted in ``left_out``.

    :param timezone: IANA name of the time zone of times without one.
    :raises MalformedResponse: no message has a numeric id, or none of several has a time that can be parsed.
    """
    raw = _object(body)
    all_rows = _list(raw, "inbound_sms")
    rows = [row for row in all_rows if _has_id(row)]
    if all_rows and not rows:
        raise MalformedResponse("none of its messages has a numeric 'id'")
    times = _times_by_id(rows, timezone)
    pages = raw.get("pages")
    if not isinstance(pages, Mapping):
        pages = {}
    return values.InboundPage(
        messages=tuple(_read_inbound(row, times) for row in rows),
        page=_optional(pages, "page", _whole),
        pages=_optional(pages, "pages", _whole),
        per_page=_optional(pages, "per_page", _whole),
        total=_optional(pages, "total", _whole),
        left_out=len(all_rows) - len(rows),
        raw=raw,
    )


def _has_id(row: Any) -> bool:
    return isinstance(row, Mapping) and _optional(row, "id", _whole) is not None


def _times_by_id(rows: list[Mapping[str, Any]], timezone: str) -> dict[int, datetime]:
    """Return the time of each message by id. A missing time is that of the next newer message, or now."""
    parsed = {
        _required(row, "id", _whole): _optional(row, "created_at", lambda value: read_time(value, timezone))
        for row in rows
    }
    # One message may be malformed. When all of several are, Pindo's format has changed.
    if len(parsed) > 1 and not any(parsed.values()):
        raise MalformedResponse("none of its messages has a 'created_at' that can be parsed")
    times, newer = {}, datetime.now(UTC)
    for message_id, time in sorted(parsed.items(), reverse=True):
        newer = time or newer
        times[message_id] = newer
    return times


def _read_inbound(raw: Mapping[str, Any], times: Mapping[int, datetime]) -> values.InboundSms:
    message_id = _required(raw, "id", _whole)
    return values.InboundSms(
        id=message_id,
        text=_optional(raw, "text", _message_text) or "",
        created_at=times[message_id],
        inbound_sms_number=_optional(raw, "inbound_sms_number", _id_text),
        from_number=_optional(raw, "from", _id_text),
        raw=raw,
    )


def read_inbound_event(raw: Mapping[str, Any], event_id: int, received_at: datetime) -> values.InboundSms:
    """Parse an inbound message that a webhook brought, which names its sender.

    :param event_id: the message's id: its number among the events that Airflow received. Pindo's own is in ``raw``.
    :param received_at: the message's time: when Airflow received it, by one clock and with a time zone.
    """
    return values.InboundSms(
        id=event_id,
        text=_optional(raw, "text", _message_text) or "",
        created_at=received_at,
        inbound_sms_number=_optional(raw, "to", _id_text),
        from_number=_optional(raw, "from", _id_text),
        raw=raw,
    )


def read_balance(body: Any) -> values.Balance:
    """Parse the wallet."""
    raw = _object(body)
    return values.Balance(amount=_required(raw, "amount", _amount), raw=raw)


def read_sender_ids(body: Any) -> tuple[values.SenderId, ...]:
    """Parse the account's sender IDs: a list, or an object that holds one."""
    rows = body if isinstance(body, list) else _list(_object(body), "sender_ids")
    return tuple(
        values.SenderId(
            sender_id=_optional(raw, "sender_id", _id_text) or _optional(raw, "name", _id_text),
            status=_optional(raw, "status", _text),
            raw=raw,
        )
        for raw in map(_object, rows)
    )


def _object(body: Any) -> Mapping[str, Any]:
    if not isinstance(body, Mapping):
        raise MalformedResponse(f"it is {_kind(body)}, not a JSON object")
    return body


def _refuse_contradiction(raw: Mapping[str, Any]) -> None:
    status = str(raw.get("status")).strip().lower()
    if status in _FAILED:
        raise MalformedResponse(f"it is a receipt, but its 'status' is {status!r}")


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


def _message_text(value: Any) -> str:
    """Parse the text of a message. A server may have turned digits into a number."""
    if isinstance(value, bool) or not isinstance(value, _NUMBER_TYPES):
        raise MalformedResponse
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def _id_text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, _ID_TYPES) or value == "":
        raise MalformedResponse
    return str(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, _NUMBER_TYPES):
        raise MalformedResponse
    if isinstance(value, float) and not value.is_integer():
        raise MalformedResponse
    number = int(value)
    if not -MAX_INTEGER - 1 <= number <= MAX_INTEGER:
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
    """Parse an amount of money; the balance of a wallet may be negative."""
    if isinstance(value, bool) or not isinstance(value, _NUMBER_TYPES):
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
