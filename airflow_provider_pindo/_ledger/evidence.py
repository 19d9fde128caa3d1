"""What is known of an unknown outcome, from messages that Pindo reports by its ``sent`` webhook.

Evidence only ever moves *unknown* to *sent*. Silence proves nothing: a report may be late or lost. The task and the
trigger that waits for it decide by the same function, :func:`find_evidence`.

One event counts for one message:

- Within a task, which may be a bulk send, :func:`find_evidence` takes each event once.
- Between tasks, the API server leaves out each event whose message a ledger names, as a receipt or as evidence.

This has limits. Nobody sees that an event belongs to another message with the same number, text and sender, if that
message

- was in a bulk request, whose response names no ids;
- came from another Airflow or program;
- is in the ledger of a run that is older than a week, which the API server does not read;
- has its own request open at the same moment, in another task.

For messages without an id the delivery sensor uses :func:`find_unambiguous_events`, which takes no event that may be of
another message.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, TypeVar

from airflow_provider_pindo._ledger.entry import fingerprint
from airflow_provider_pindo.api.fields import read_sent_id, read_time

Key = TypeVar("Key", bound=Hashable)

#: Pindo's times are whole seconds, and its clock may differ from ours.
_TOLERANCE = timedelta(seconds=2)
#: A message that Pindo created later belongs to another request with the same text.
_MAX_CREATION_DELAY = timedelta(minutes=10)
#: Two such events that come within this time may each be of the message. It is shorter than the time after which no
#: earlier event can appear, so what came within it is seen by then.
_AMBIGUITY_WINDOW = timedelta(seconds=20)
#: The clocks of a task and of the API server may differ, so events are read from a little earlier on.
CLOCK_SKEW = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class SentEvent:
    """A message that Pindo reports as sent.

    :param sms_id: Pindo's id of the message.
    :param fingerprint: :func:`message_fingerprint` of its number and text.
    :param sender: the sender ID; None when the report does not name it.
    :param created_at: when Pindo created the message; an aware time.
    :param received_at: when Airflow received the event; an aware time.
    :param event_id: its number among the events that Airflow received.
    """

    sms_id: str
    fingerprint: str
    sender: str | None
    created_at: datetime
    received_at: datetime
    event_id: int


@dataclass(frozen=True, slots=True)
class UnknownMessage:
    """A message that may have been sent.

    :param fingerprint: :func:`message_fingerprint` of its number and text, since a trigger's arguments are stored; or,
        of a message in the report of a bulk send, the keyed digest of that.
    :param sender: the sender ID.
    :param began: when its request began; an aware time.
    :param latest: the latest time at which it may have begun; None if ``began`` is exact.
    """

    fingerprint: str
    sender: str
    began: datetime
    latest: datetime | None = None


def read_sent_event(
    body: Mapping[str, Any], timezone: str, received_at: datetime, event_id: int
) -> SentEvent | None:
    """Return the message that a ``sent`` webhook is about; None if the body does not describe one.

    :param timezone: IANA name of the time zone of times without one.
    :param received_at: when Airflow received it.
    :param event_id: its number among the events that Airflow received.
    """
    sms_id, text, sender = read_sent_id(body), body.get("text"), body.get("sender")
    try:
        created_at = read_time(body.get("created_at"), timezone)
    except (ValueError, OverflowError):
        return None
    if sms_id is None or not isinstance(text, str):
        return None
    return SentEvent(
        sms_id=sms_id,
        fingerprint=message_fingerprint(body.get("to"), text),
        sender=sys.intern(sender) if isinstance(sender, str) and sender else None,
        created_at=created_at,
        received_at=received_at,
        event_id=event_id,
    )


def message_fingerprint(to: object, text: object) -> str:
    """Return the fingerprint of a number and a text. The number may come without its plus."""
    digits = re.sub(r"\D", "", str(to))
    return fingerprint(f"+{digits.removeprefix('00')}", str(text))


def find_evidence(unknown: Mapping[Key, UnknownMessage], events: Iterable[SentEvent]) -> dict[Key, SentEvent]:
    """Return the events which prove that messages were sent, by the keys of ``unknown``.

    Such an event names the same recipient, text and sender. Pindo created it within ten minutes after the request
    began. The earliest event counts for the earliest request, and each event for one.

    :param events: what Pindo reported, without the messages that are known to be of other requests.
    """
    by_message = defaultdict[str, list[SentEvent]](list)
    for event in sorted(
        {event.sms_id: event for event in events}.values(), key=lambda event: event.created_at
    ):
        by_message[event.fingerprint].append(event)
    evidence = {}
    for key, message in sorted(unknown.items(), key=lambda item: item[1].began):
        candidates = by_message.get(message.fingerprint, [])
        proof = next((event for event in candidates if _proves(event, message)), None)
        if proof is not None:
            candidates.remove(proof)
            evidence[key] = proof
    return evidence


def find_unambiguous_events(
    messages: Mapping[str, UnknownMessage], events: Iterable[SentEvent], stable_id: int
) -> dict[str, SentEvent]:
    """Return the event of each message that exactly one event can be of.

    It is the first one that came, if no other came soon after. A later one changes nothing, so the answer is the same
    whenever somebody looks.

    :param messages: by their own :attr:`UnknownMessage.fingerprint`, so each is there once.
    :param stable_id: events with a higher id are too new to tell. Another one may appear.
    """
    first: dict[str, SentEvent] = {}
    ambiguous = set[str]()
    for event in sorted(events, key=lambda event: (event.received_at, event.event_id)):
        message = messages.get(event.fingerprint)
        if message is None or not _proves(event, message):
            continue
        known = first.setdefault(event.fingerprint, event)
        if event.sms_id != known.sms_id and event.received_at - known.received_at <= _AMBIGUITY_WINDOW:
            ambiguous.add(event.fingerprint)
    return {
        key: event for key, event in first.items() if event.event_id <= stable_id and key not in ambiguous
    }


def format_message(digest: str, began: str | None, sender: str) -> str:
    """Return a message as the report of a bulk send holds it; :func:`parse_message` reads it.

    :param digest: the keyed digest of its fingerprint.
    :param began: when its request began, in ISO 8601; None if that is not known.
    """
    return f"{digest} {began or '-'} {sender}"


def parse_message(text: object) -> tuple[str, UnknownMessage | None]:
    """Return the digest of a message, and the message; None if nobody knows when its request began."""
    digest, began, sender = (*str(text or "").split(" ", 2), "", "")[:3]
    try:
        moment = _read_moment(began)
    except ValueError:
        return digest, None
    return digest, UnknownMessage(digest, sys.intern(sender), moment) if moment.tzinfo else None


#: The rows of a request share their time, and a report may have a million rows.
_read_moment = lru_cache(datetime.fromisoformat)


def _proves(event: SentEvent, message: UnknownMessage) -> bool:
    return (
        event.sender in (None, message.sender)
        and message.began - _TOLERANCE
        <= event.created_at
        <= (message.latest or message.began) + _MAX_CREATION_DELAY
    )
