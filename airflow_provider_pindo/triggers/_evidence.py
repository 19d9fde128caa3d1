"""Wait for evidence of an unknown outcome in the triggerer, without a worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_pindo._inbox.event_scan import EventCursor
from airflow_provider_pindo._ledger.entry import fingerprint
from airflow_provider_pindo._ledger.evidence import canonical_number
from airflow_provider_pindo.api.errors import PindoError
from airflow_provider_pindo.api.webhooks import SENT
from airflow_provider_pindo.triggers._poll import subscribe

#: Seconds between two polls.
_INTERVAL = 2.0


class EvidenceTrigger(BaseTrigger):
    """Wait until Pindo's ``sent`` webhook names one of some messages. Fires one event, which says nothing.

    :param messages: their fingerprints, of number and text.
    :param since: ISO time: events received then or later count.
    :param until: ISO time at which the wait ends.
    :param pindo_conn_id: Airflow connection of type ``pindo``.
    """

    def __init__(self, *, messages: Collection[str], since: str, until: str, pindo_conn_id: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.messages = list(messages)
        self.since = since
        self.until = until
        self.pindo_conn_id = pindo_conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments by which Airflow stores this trigger."""
        return (
            "airflow_provider_pindo.triggers._evidence.EvidenceTrigger",
            {
                "messages": self.messages,
                "since": self.since,
                "until": self.until,
                "pindo_conn_id": self.pindo_conn_id,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and fire one event: also when there is no evidence, and the task does what ``on_unknown`` says."""
        remaining = (datetime.fromisoformat(self.until) - datetime.now(UTC)).total_seconds()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(remaining, 0.0)):
                await self._wait()
        yield TriggerEvent({"status": "done"})

    async def _wait(self) -> None:
        """Wait until every message was named."""
        missing = set(self.messages)
        cursor = EventCursor(SENT, since=datetime.fromisoformat(self.since))
        async with subscribe(self.pindo_conn_id, cursor=cursor, interval=_INTERVAL) as subscription:
            while missing:
                with suppress(PindoError):  # the poll has logged it, and continues
                    for event in (await subscription.next_result()).sent.values():
                        missing.discard(message_fingerprint(event.body.get("to"), event.body.get("text")))


def message_fingerprint(to: object, text: object) -> str:
    """Return what stands for a message in a trigger's arguments, which Airflow stores."""
    return fingerprint(canonical_number(to), str(text))
