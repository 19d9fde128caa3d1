"""Waiting for inbound messages in the triggerer: for a task, and (Airflow 3) for an asset.

All triggers that wait on the same connection share one poll, see
:mod:`~airflow_provider_pindo.triggers.poll`. The triggerer logs what a trigger fires, so an event
carries ids, or does not show what it carries: no text and no number reaches the log.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_pindo._inbox.backoff import MAX_CONSECUTIVE_FAILURES, FailureBudget
from airflow_provider_pindo._inbox.filter import InboundFilter, compile_pattern
from airflow_provider_pindo._inbox.scan import Cursor
from airflow_provider_pindo.api.arguments import read_since
from airflow_provider_pindo.api.errors import PindoError
from airflow_provider_pindo.api.redaction import safe_message
from airflow_provider_pindo.triggers.poll import read_interval, subscribe

if TYPE_CHECKING:
    from airflow_provider_pindo.triggers.asset import PindoInboundSmsEventTrigger

__all__ = ["PindoInboundSmsEventTrigger", "PindoInboundSmsTrigger"]

#: ``status`` of the event that resumes a task.
MATCHED = "matched"
FAILED = "failed"


def __getattr__(name: str) -> Any:
    """Load what only Airflow 3 has when it is asked for."""
    if name == "PindoInboundSmsEventTrigger":
        from airflow_provider_pindo.triggers.asset import PindoInboundSmsEventTrigger

        return PindoInboundSmsEventTrigger
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class PindoInboundSmsTrigger(BaseTrigger):
    """Wait until enough messages match, for a task that is deferred.

    Fires ``{"status": "matched", "ids": [...]}``; the task reads the messages again. Fires
    ``{"status": "failed", "reason", "retry_helps"}`` when waiting on has no point.

    :param pattern: RE2 pattern searched in the text.
    :param since: aware time, or one as ISO text: messages created then or later count.
    :param from_number: number of the sender; None takes every sender.
    :param inbound_number: the account's number that the message came to; None takes all.
    :param min_matches: how many messages must match.
    :param poke_interval: seconds between two looks at the inbound list, or a timedelta.
    :param max_consecutive_failures: how many looks in a row may fail.
    :param end_task: end the task here, with the matches as its XCom, instead of resuming it on a worker.
    :param pindo_conn_id: Airflow connection of type ``pindo``.
    """

    def __init__(
        self,
        *,
        pattern: str,
        since: datetime | str,
        from_number: str | None = None,
        inbound_number: str | None = None,
        min_matches: int = 1,
        poke_interval: float | timedelta = 60.0,
        max_consecutive_failures: int = MAX_CONSECUTIVE_FAILURES,
        end_task: bool = False,
        pindo_conn_id: str = "pindo_default",
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.pattern = pattern
        self.since = since
        self.from_number = from_number
        self.inbound_number = inbound_number
        self.min_matches = min_matches
        self.poke_interval = read_interval("poke_interval", poke_interval)
        self.max_consecutive_failures = max_consecutive_failures
        self.end_task = end_task
        self.pindo_conn_id = pindo_conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments that make this trigger again."""
        since = self.since.isoformat() if isinstance(self.since, datetime) else self.since
        return (
            "airflow_provider_pindo.triggers.sms.PindoInboundSmsTrigger",
            {
                "pattern": self.pattern,
                "since": since,
                "from_number": self.from_number,
                "inbound_number": self.inbound_number,
                "min_matches": self.min_matches,
                "poke_interval": self.poke_interval,
                "max_consecutive_failures": self.max_consecutive_failures,
                "end_task": self.end_task,
                "pindo_conn_id": self.pindo_conn_id,
            },
        )

    def __repr__(self) -> str:
        return f"<PindoInboundSmsTrigger pindo_conn_id={self.pindo_conn_id}, since={self.since}>"

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and fire one event."""
        try:
            matches = await self._wait()
            if self.end_task:
                event = await self._end_task(matches)
            else:
                event = TriggerEvent({"status": MATCHED, "ids": [each["id"] for each in matches]})
        except PindoError as error:
            event = TriggerEvent({"status": FAILED, "reason": str(error), "retry_helps": error.retry_helps})
        except Exception as error:
            # A trigger that crashes has its task skipped under soft_fail, though a reply may have come.
            reason = f"waiting for messages failed: {safe_message(error)}"
            self.log.error("%s", reason)
            event = TriggerEvent({"status": FAILED, "reason": reason, "retry_helps": True})
        yield event

    async def _end_task(self, matches: list[dict[str, Any]]) -> TriggerEvent:
        """Push the matches as the task's result, and return the event that ends it.

        They do not go with the event: its repr would be logged, and Airflow 3.3.2 stores an event's XComs as
        text that downstream tasks would have to decode.
        """
        from airflow.sdk.execution_time.xcom import XCom
        from airflow.triggers.base import TaskSuccessEvent

        if getattr(self.task, "do_xcom_push", True):
            ti: Any = self.task_instance
            # Not by ti.xcom_push, which asks the task for what a serialized one does not have.
            await XCom.aset(
                "return_value",
                matches,
                dag_id=ti.dag_id,
                task_id=ti.task_id,
                run_id=ti.run_id,
                map_index=ti.map_index,
            )
        return TaskSuccessEvent()

    async def _wait(self) -> list[dict[str, Any]]:
        place = Cursor(since=read_since(self.since))
        patience = FailureBudget(self.max_consecutive_failures)
        matches: list[dict[str, Any]] = []
        async with subscribe(self.pindo_conn_id, place=place, interval=self.poke_interval) as subscription:
            wanted: InboundFilter | None = None
            while len(matches) < self.min_matches:
                try:
                    found = await subscription.next_result()
                except PindoError as error:
                    patience.failed(error)
                    continue
                patience.succeeded()
                wanted = wanted or self._filter(found.country)
                wanted.check_senders(found.names_senders)
                matches += await wanted.async_matches(found.messages)
        return matches

    def _filter(self, country: str | None) -> InboundFilter:
        compile_pattern(self.pattern)  # an empty one is not to take every text
        return InboundFilter(
            self.pattern,
            from_number=self.from_number,
            inbound_number=self.inbound_number,
            country=country,
        )
