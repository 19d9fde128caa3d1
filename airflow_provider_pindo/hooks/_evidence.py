"""Evidence of an unknown outcome: what Pindo's ``sent`` webhook told this Airflow.

A message that Pindo names with the same recipient, text and sender, created since the request began, was sent. Nobody
then has to be asked. Silence proves nothing. :mod:`airflow_provider_pindo._ledger.evidence` says which events count.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from airflow_provider_pindo._ledger.entry import Settlement, utc_iso
from airflow_provider_pindo._ledger.evidence import SentEvent
from airflow_provider_pindo.api.errors import PindoError
from airflow_provider_pindo.hooks._webhook_config import webhooks_are_on

if TYPE_CHECKING:
    from airflow_provider_pindo.hooks.pindo import PindoHook

log = logging.getLogger(__name__)

#: How long an event is waited for: from the loss of the response on, or in a later try from the request on.
WAIT = timedelta(seconds=30)


def can_find_evidence(hook: PindoHook) -> bool:
    """Return whether this Airflow receives webhooks for the hook's connection."""
    return webhooks_are_on() and hook.settings.webhook_secret is not None


def read_sent_events(hook: PindoHook, began: datetime, to: str | None = None) -> list[SentEvent]:
    """Return the messages that Pindo named since ``began``, and that no entry of the ledger names.

    It returns none if the events cannot be read, since silence proves nothing.

    :param to: only those to this number.
    """
    from airflow_provider_pindo.hooks._events import EventReader

    try:
        with EventReader(hook.pindo_conn_id, settings=hook.settings) as reader:
            return reader.read_sent(began, to=to)
    except PindoError as error:
        log.warning("There may be evidence, but it cannot be read: %s", error)
        return []


def message_digest(hook: PindoHook, message: str) -> str:
    """Return the keyed digest that the report of a bulk send holds for a message.

    :param message: its fingerprint, which is not written: it would let others test guesses of the text.
    """
    from airflow_provider_pindo.api import webhooks

    return webhooks.message_digest(hook.settings.webhook_secret or "", hook.pindo_conn_id, message)


def settlement(sms_id: str | None = None) -> Settlement:
    """Return the evidence as an entry of the ledger names it.

    :param sms_id: the id of the one message that it is about.
    """
    return Settlement(by="evidence", who="sent webhook", at=utc_iso(), sms_id=sms_id)
