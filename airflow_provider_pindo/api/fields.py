"""Fields that several kinds of bodies have: an id, a short text, a time.

Waiting for a message needs these, and not the values of whole responses. So importing a sensor does not load those.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from airflow_provider_pindo.api.limits import MAX_ID_LENGTH

#: Seconds since 1970, with ten digits from 2001 to 2286; or milliseconds, with thirteen.
_EPOCH = re.compile(r"([0-9]{10})([0-9]{3})?(?:\.[0-9]+)?").fullmatch
#: Characters of the longest time, with room to spare. Some parsers take seconds for a long text.
_MAX_TIME_LENGTH = 64


class MalformedResponse(ValueError):
    """The body of a successful response is malformed; the message says in what way."""


def read_sms_id(value: Any) -> str | None:
    """Return a message's id as text, or None if it is not short printable text or a whole number."""
    return short_text(value, MAX_ID_LENGTH)


def read_sent_id(body: Mapping[str, Any]) -> str | None:
    """Return the id of the message that a ``sent`` webhook is about: ``id``, or ``sms_id`` if that has none."""
    return read_sms_id(body.get("id")) or read_sms_id(body.get("sms_id"))


def short_text(value: Any, most: int) -> str | None:
    """Return a string or a whole number as text; None if it is anything else, or too long for its column."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    text = str(value).strip()
    return text if text.isprintable() and 0 < len(text) <= most else None


def read_time(value: Any, timezone: str) -> datetime:
    """Parse a time of Pindo's into an aware UTC one.

    :param value: ISO 8601 with or without a time zone, also with `` UTC`` behind it; ``24-07-2020, 23:35:32`` as in
        older webhooks; RFC 2822; or seconds or milliseconds since 1970.
    :param timezone: IANA name of the time zone of a time without one.
    :raises ValueError: it has another form. The error is a :class:`MalformedResponse` if it is not text, or too long.
    :raises OverflowError: it is outside the years 1 to 9999 in UTC.
    """
    import pendulum

    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number and not isinstance(value, str):
        raise MalformedResponse
    text = str(value).strip()
    if len(text) > _MAX_TIME_LENGTH:
        raise MalformedResponse
    if epoch := _EPOCH(text):
        return datetime.fromtimestamp(float(text) / 1000 if epoch[2] else float(text), UTC)
    try:
        moment = datetime.fromisoformat(re.sub(r"\s+(?:UTC|GMT)$", "+00:00", text, flags=re.I))
    except ValueError:
        moment = _read_other_time(text)
    return pendulum.instance(moment, tz=timezone).in_timezone("UTC")


def _read_other_time(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%d-%m-%Y, %H:%M:%S")
    except ValueError:
        return parsedate_to_datetime(re.sub(r"-0000$", "+0000", text))  # UTC, and Python gives it no zone
