"""The events of Pindo's webhooks, with bodies exactly as its pages show them."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

from airflow_provider_pindo.sandbox import numbers
from airflow_provider_pindo.sandbox.store import Inbound, Message

#: The kinds of events, by the name that the log and the faults use.
EVENTS = ("sent", "delivery_report", "inbound")

_OLDER_TIME = "%d-%m-%Y, %H:%M:%S"


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """One event.

    :param kind: one of :data:`EVENTS`.
    :param sender: sender ID, or the account's number that received the message.
    :param number: the phone that it is about.
    :param body: the JSON object that the receiver gets.
    """

    kind: str
    sender: str
    number: str
    body: dict[str, Any]


def sent_event(message: Message) -> Event:
    """Pindo has sent the message to the network."""
    body = {
        "id": message.sms_id,
        "text": message.text,
        "sender": message.sender,
        "created_at": message.created_at[:19],
        "to": message.to,
    }
    return Event("sent", message.sender, message.to, body)


def delivery_report(message: Message, status: str, retries_count: int, at: float, older: bool) -> Event:
    """The network has reported what became of the message.

    :param at: time of the report, in seconds since the epoch.
    :param older: whether the body has the form of before 2023-08: the id a number, the time day first.
    """
    moment = datetime.fromtimestamp(at, UTC)
    if older:
        body = {
            "status": status,
            "sms_id": int(message.sms_id) if message.sms_id.isdecimal() else message.sms_id,
            "modified_at": moment.strftime(_OLDER_TIME),
            "retries_count": retries_count,
        }
    else:
        body = {
            "sms_id": message.sms_id,
            "modified_at": moment.strftime("%Y-%m-%dT%H:%M:%S"),
            "retries_count": retries_count,
            "status": status,
        }
    return Event("delivery_report", message.sender, message.to, body)


def inbound_event(message: Inbound) -> Event:
    """A phone has sent a message to the account."""
    body = {
        "from": message.sender,
        "to": message.recipient,
        "created_at": datetime.fromisoformat(message.created_at).strftime(_OLDER_TIME),
        "sms_id": message.id,
        "text": message.text,
        "telco": numbers.telco(message.sender),
    }
    return Event("inbound", message.recipient, message.sender, body)
