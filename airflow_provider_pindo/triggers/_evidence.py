"""Wait for evidence of an unknown outcome in the triggerer, without a worker."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Container, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_pindo._inbox.event_scan import EventCursor
from airflow_provider_pindo._inbox.events import MAX_SMS_IDS
from airflow_provider_pindo._inbox.scan import PollResult
from airflow_provider_pindo._ledger.evidence import (
    CLOCK_SKEW,
    UnknownMessage,
    find_evidence,
    message_fingerprint,
)
from airflow_provider_pindo.api.errors import PindoError
from airflow_provider_pindo.api.redaction import safe_message
from airflow_provider_pindo.api.webhooks import SENT
from airflow_provider_pindo.triggers._poll import subscribe
from airflow_provider_pindo.triggers._task import MIN_WAIT

_log = logging.getLogger(__name__)
#: Seconds between two polls.
_INTERVAL = 2.0


class EvidenceTrigger(BaseTrigger):
    """Wait until Pindo's ``sent`` webhook proves of all of some messages that they were sent.

    Fires one event without a result. The task decides with ``find_evidence``.

    :param messages: fingerprints of number and text, by the ISO times between which their requests began:
        ``first/latest``.
    :param sender: their sender ID.
    :param until: ISO time at which the wait ends.
    :param pindo_conn_id: Airflow connection of type ``pindo``.
    """

    def __init__(
        self, *, messages: Mapping[str, Sequence[str]], sender: str, until: str, pindo_conn_id: str
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.messages = {began: list(some) for began, some in messages.items()}
        self.sender = sender
        self.until = until
        self.pindo_conn_id = pindo_conn_id

    @classmethod
    def of(cls, unknown: Sequence[UnknownMessage], until: datetime, pindo_conn_id: str) -> EvidenceTrigger:
        """Return the trigger that waits for messages of one sender."""
        messages = defaultdict[str, list[str]](list)
        for message in unknown:
            latest = message.latest or message.began
            messages[f"{message.began.isoformat()}/{latest.isoformat()}"].append(message.fingerprint)
        return cls(
            messages=messages, sender=unknown[0].sender, until=until.isoformat(), pindo_conn_id=pindo_conn_id
        )

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments by which Airflow stores this trigger."""
        return (
            "airflow_provider_pindo.triggers._evidence.EvidenceTrigger",
            {
                "messages": self.messages,
                "sender": self.sender,
                "until": self.until,
                "pindo_conn_id": self.pindo_conn_id,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and fire one event: also when there is no evidence, and the task does what ``on_unknown`` says."""
        remaining = (datetime.fromisoformat(self.until) - datetime.now(UTC)).total_seconds()
        least = asyncio.create_task(asyncio.sleep(MIN_WAIT))
        with suppress(TimeoutError):
            async with asyncio.timeout(max(remaining, 0.0)):
                await self._wait()
        await least
        yield TriggerEvent({"status": "done"})

    async def _wait(self) -> None:
        """Wait until there is evidence for every message."""
        unknown = self._unknown()
        fingerprints = {message.fingerprint for message in unknown.values()}
        began = min(message.began for message in unknown.values())
        sms_ids: dict[str, None] = {}
        cursor = EventCursor(SENT, since=began - CLOCK_SKEW)
        async with subscribe(self.pindo_conn_id, cursor=cursor, interval=_INTERVAL) as subscription:
            from airflow_provider_pindo.hooks._events import AsyncEventReader

            async with AsyncEventReader(self.pindo_conn_id) as reader:
                while True:
                    with suppress(PindoError):  # the poll has logged it, and continues
                        sms_ids |= _matching_sms_ids(await subscription.next_result(), fingerprints)
                    # These are read again, since the poll does not say which messages the ledger names.
                    if len(sms_ids) < len(unknown):
                        continue
                    try:
                        events = await reader.read_sent(began, list(sms_ids)[:MAX_SMS_IDS])
                    except Exception as error:  # such as the database of connections, for a moment
                        _log.warning(
                            "The events cannot be read. The next poll tries again: %s", safe_message(error)
                        )
                        continue
                    if len(find_evidence(unknown, events)) == len(unknown):
                        return

    def _unknown(self) -> dict[int, UnknownMessage]:
        """Return the messages, each with a number of its own."""
        unknown = [
            UnknownMessage(message, self.sender, *map(datetime.fromisoformat, times.split("/")))
            for times, some in self.messages.items()
            for message in some
        ]
        return dict(enumerate(unknown))


def _matching_sms_ids(result: PollResult, fingerprints: Container[str]) -> dict[str, None]:
    """Return the ids of the messages that a poll names and that may have one of the ``fingerprints``."""
    return {
        event.sms_id: None
        for event in result.sent.values()
        if event.sms_id and message_fingerprint(event.body.get("to"), event.body.get("text")) in fingerprints
    }
