"""Wait in the triggerer for the ``sent`` events of messages whose ids nobody knows, without a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from airflow.triggers.base import TriggerEvent

from airflow_provider_pindo._inbox.backoff import FailureBudget
from airflow_provider_pindo._inbox.event_scan import EventCursor
from airflow_provider_pindo._inbox.events import WebhookEvent
from airflow_provider_pindo._ledger.evidence import message_fingerprint
from airflow_provider_pindo.api.errors import PindoError, PindoServerError
from airflow_provider_pindo.api.redaction import safe_message
from airflow_provider_pindo.api.webhooks import SENT, message_digest
from airflow_provider_pindo.triggers._poll import subscribe
from airflow_provider_pindo.triggers._task import MATCHED, MIN_WAIT, TaskTrigger


class SentTrigger(TaskTrigger):
    """Wait until every message has an event that may be about it, and none before that can appear any more.

    Fires ``{"status": "matched"}``, and the task decides which events count. Or it fires ``failed``, as
    :class:`~airflow_provider_pindo.triggers.delivery.PindoDeliveryTrigger` does.

    :param messages: what stands for each, as the report of the bulk send names it.
    :param since: ISO time; events that were received before it are known.
    :param after: events up to this id are known.
    :param poke_interval: seconds between two polls. It fires no earlier than that.
    :param max_consecutive_failures: how many failed polls in a row end the waiting.
    :param pindo_conn_id: Airflow connection of type ``pindo``.
    """

    waits_for = "sent events"

    def __init__(
        self,
        *,
        messages: Iterable[str],
        since: str,
        after: int,
        poke_interval: float,
        max_consecutive_failures: int,
        pindo_conn_id: str,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.messages = list(messages)
        self.since = since
        self.after = after
        self.poke_interval = poke_interval
        self.max_consecutive_failures = max_consecutive_failures
        self.pindo_conn_id = pindo_conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments by which Airflow stores this trigger."""
        return (
            "airflow_provider_pindo.triggers._sent.SentTrigger",
            {
                "messages": self.messages,
                "since": self.since,
                "after": self.after,
                "poke_interval": self.poke_interval,
                "max_consecutive_failures": self.max_consecutive_failures,
                "pindo_conn_id": self.pindo_conn_id,
            },
        )

    async def wait(self) -> TriggerEvent:
        """Wait as the class says."""
        earliest = asyncio.get_running_loop().time() + max(self.poke_interval, MIN_WAIT)
        open_messages, newest_id, stable_id = set(self.messages), 0, 0
        sent: dict[int, WebhookEvent] = {}
        secret = ""
        budget = FailureBudget(self.max_consecutive_failures)
        cursor = EventCursor(SENT, since=datetime.fromisoformat(self.since), after_id=self.after or None)
        async with subscribe(self.pindo_conn_id, cursor=cursor, interval=self.poke_interval) as subscription:
            while open_messages or newest_id > stable_id:
                try:
                    result = await subscription.next_result()
                    stable_id = result.stable_id
                    sent |= result.sent
                    secret = secret or await self._read_secret()
                except PindoError as error:
                    budget.record_failure(error)
                    continue
                budget.reset()
                # Many events would block the event loop.
                event_ids = await asyncio.to_thread(self._first_event_ids, sent, secret)
                sent = {}
                newest_id = max(
                    [newest_id, *(event_ids[message] for message in open_messages & event_ids.keys())]
                )
                open_messages -= event_ids.keys()
        await asyncio.sleep(earliest - asyncio.get_running_loop().time())
        return TriggerEvent({"status": MATCHED})

    async def _read_secret(self) -> str:
        from airflow_provider_pindo.hooks.pindo import PindoAsyncHook

        try:
            return (await PindoAsyncHook(self.pindo_conn_id).get_settings()).webhook_secret or ""
        except Exception as error:  # such as the database of connections, for a moment
            raise PindoServerError(f"the connection cannot be read: {safe_message(error)}") from None

    def _first_event_ids(self, sent: Mapping[int, WebhookEvent], secret: str) -> dict[str, int]:
        """Return what stands for each message that the events name, and the first of its events."""
        event_ids: dict[str, int] = {}
        for event_id, event in sorted(sent.items()):
            message = message_fingerprint(event.body.get("to"), event.body.get("text"))
            event_ids.setdefault(message_digest(secret, self.pindo_conn_id, message), event_id)
        return event_ids
