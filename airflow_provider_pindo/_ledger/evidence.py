"""What is known of an unknown outcome, from messages that Pindo reports.

Evidence only ever moves *unknown* to *sent*. Silence proves nothing: a report may be late or lost.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

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
