"""Pindo's webhooks: what a body is about, and the tokens that are derived from a connection's ``webhook_secret``.

Pindo's documents contradict each other, so :func:`read_webhook` takes every published form and guesses nothing: a body
that has none of them is of the kind ``unknown``. No body causes an error.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_pindo.api.fields import read_sent_id, read_sms_id, short_text

#: What became of a message.
DELIVERY_REPORT = "delivery_report"
#: Pindo took a message; only this event has its text and its recipient.
SENT = "sent"
#: A person wrote to the account.
INBOUND = "inbound"
#: None of the published forms.
UNKNOWN = "unknown"
KINDS = (DELIVERY_REPORT, SENT, INBOUND, UNKNOWN)

#: Most characters of a status.
MAX_STATUS_LENGTH = 40


@dataclass(frozen=True, slots=True)
class Webhook:
    """What a webhook's body is about.

    :param kind: one of :data:`KINDS`.
    :param sms_id: the message's id as text, also when Pindo sends a number; None if the body names no message.
    :param status: of a delivery report, in capitals, such as ``DELIVRD``; None for every other kind.
    """

    kind: str
    sms_id: str | None = None
    status: str | None = None


def read_webhook(body: Mapping[str, Any]) -> Webhook:
    """Return what ``body`` is about.

    - ``from`` and ``text``: an inbound message. Both keys count also without a value, as for a hidden number.
    - ``sms_id`` and ``status``: a delivery report, in the current and in the older form.
    - ``to`` and ``text``: a message that was sent. Its id is in ``id``.
    """
    sms_id = read_sms_id(body.get("sms_id"))
    status = short_text(body.get("status"), MAX_STATUS_LENGTH)
    # Capitals may be longer: that of "ß" is "SS".
    status = status and short_text(status.upper(), MAX_STATUS_LENGTH)
    if "from" in body and "text" in body:
        return Webhook(INBOUND, sms_id)
    if sms_id and status:
        return Webhook(DELIVERY_REPORT, sms_id, status)
    if "text" in body and body.get("to"):
        return Webhook(SENT, read_sent_id(body))
    return Webhook(UNKNOWN, sms_id)


def posting_token(secret: str, conn_id: str) -> str:
    """Return the token that can post webhooks of ``conn_id``, and nothing else.

    It stands in the address for webhooks to which Pindo adds no header, so a proxy's access log shows it.
    """
    return _derive("post webhooks", secret, conn_id)


def reading_token(secret: str, conn_id: str) -> str:
    """Return the token with which tasks read the events of ``conn_id``."""
    return _derive("read events", secret, conn_id)


def message_digest(secret: str, conn_id: str, message: str) -> str:
    """Return the keyed digest of a message, for a file. Without the secret, nobody can test a guess of its text by it.

    :param message: its fingerprint, which everybody can calculate from its number and text.
    """
    return _derive(f"name message {message}", secret, conn_id)[:16]


def _derive(purpose: str, secret: str, conn_id: str) -> str:
    if not secret:
        raise ValueError("an empty secret allows nothing")
    message = f"pindo\0{purpose}\0{conn_id}"
    return hmac.new(secret.encode(), message.encode(), hashlib.sha256).hexdigest()
