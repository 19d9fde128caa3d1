"""Evidence of an unknown outcome: what Pindo's ``sent`` webhook told this Airflow.

A message that Pindo names with the same recipient, text and sender, created since the request began, was sent. Nobody
then has to be asked. Silence proves nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from airflow_provider_pindo._inbox.events import EventFilter
from airflow_provider_pindo._ledger.entry import Settlement, now
from airflow_provider_pindo._ledger.evidence import SentEvent, read_sent_event
from airflow_provider_pindo.api.errors import PindoError
from airflow_provider_pindo.api.webhooks import SENT

if TYPE_CHECKING:
    from airflow.triggers.base import BaseTrigger

    from airflow_provider_pindo.hooks.pindo import PindoHook

log = logging.getLogger(__name__)

#: How long an event is waited for: from the loss of the response on, or in a later try from the request on.
WAIT = timedelta(seconds=30)
#: Our clock and that of the API server may differ, so events are read from a little earlier on.
_SKEW = timedelta(minutes=1)


def can_find_evidence(hook: PindoHook) -> bool:
    """Return whether this Airflow receives webhooks for the hook's connection."""
    from airflow_provider_pindo.hooks._webhook_config import webhooks_are_on

    return webhooks_are_on() and hook.settings.webhook_secret is not None


def read_sent_events(hook: PindoHook, began: datetime, to: str | None = None) -> list[SentEvent]:
    """Return the messages that Pindo named since ``began``.

    It returns none if the events cannot be read, since silence proves nothing.

    :param to: only those to this number.
    """
    from airflow_provider_pindo.hooks._events import EventReader

    try:
        with EventReader(hook.pindo_conn_id, settings=hook.settings) as reader:
            events = reader.read(EventFilter(kinds=(SENT,), to=to, since=began - _SKEW))
    except PindoError as error:
        log.warning("There may be evidence, but it cannot be read: %s", error)
        return []
    read = (read_sent_event(event.body, hook.settings.timezone) for event in events)
    return [event for event in read if event is not None]


def evidence_trigger(
    hook: PindoHook, began: datetime, until: datetime, messages: Iterable[tuple[str, str]]
) -> BaseTrigger:
    """Return the trigger that waits for evidence.

    :param began: when the requests began.
    :param until: when the wait ends.
    :param messages: number and text of each.
    """
    from airflow_provider_pindo.triggers._evidence import EvidenceTrigger, message_fingerprint

    return EvidenceTrigger(
        messages=[message_fingerprint(to, text) for to, text in messages],
        since=(began - _SKEW).isoformat(),
        until=until.isoformat(),
        pindo_conn_id=hook.pindo_conn_id,
    )


def settlement(event: SentEvent) -> Settlement:
    """Return the evidence as an entry of the ledger names it."""
    return Settlement(by="evidence", who="sent webhook", at=now(), sms_id=event.sms_id)
