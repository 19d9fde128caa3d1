"""What is known of an unknown outcome, from messages that Pindo reports by its ``sent`` webhook.

Evidence only ever moves *unknown* to *sent*. Silence proves nothing: a report may be late or lost.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from airflow_provider_pindo.api.delivery import read_sms_id
from airflow_provider_pindo.api.parsers import MalformedResponse, read_time

#: Pindo's times are whole seconds, and its clock may differ from ours.
_TOLERANCE = timedelta(seconds=2)
#: A message that Pindo created later belongs to another request with the same text.
_LATEST = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class SentEvent:
    """A message that Pindo reports as sent.

    :param sms_id: Pindo's id of the message.
    :param to: the recipient, in E.164.
    :param text: the text as the phone gets it.
    :param sender: the sender ID; None when the report does not name it.
    :param created_at: when Pindo created the message; an aware time.
    """

    sms_id: str
    to: str
    text: str
    sender: str | None
    created_at: datetime


def read_sent_event(body: Mapping[str, Any], timezone: str) -> SentEvent | None:
    """Return the message that a ``sent`` webhook is about; None if the body does not describe one.

    :param timezone: IANA name of the time zone of times without one.
    """
    sms_id, text, sender = (
        read_sms_id(body.get("id", body.get("sms_id"))),
        body.get("text"),
        body.get("sender"),
    )
    try:
        created_at = read_time(body.get("created_at"), timezone)
    except (MalformedResponse, ValueError, TypeError, OverflowError):
        return None
    if sms_id is None or not isinstance(text, str):
        return None
    return SentEvent(
        sms_id=sms_id,
        to=canonical_number(body.get("to")),
        text=text,
        sender=sender if isinstance(sender, str) and sender else None,
        created_at=created_at,
    )


def canonical_number(value: object) -> str:
    """Return a number of Pindo's in E.164, also when it comes without its plus."""
    digits = re.sub(r"\D", "", str(value))
    return f"+{digits.removeprefix('00')}"


def find_evidence(
    events: Iterable[SentEvent],
    *,
    to: str,
    text: str,
    sender: str,
    began: datetime,
    counted: Container[str] = (),
) -> SentEvent | None:
    """Return the event which proves that a request sent its message; None when nothing proves it.

    It names the same recipient, text and sender. Pindo created it within ten minutes after the request began. The
    earliest such event counts.

    :param events: what Pindo reported.
    :param began: when the request began; an aware time.
    :param counted: ids of messages that belong to other requests.
    """
    matches = (
        event
        for event in events
        if (event.to, event.text) == (to, text)
        and event.sender in (None, sender)
        and began - _TOLERANCE <= event.created_at <= began + _LATEST
        and event.sms_id not in counted
    )
    return min(matches, key=lambda event: event.created_at, default=None)
