"""Wait for inbound messages in the triggerer: for a task, and (Airflow 3) for an asset.

All triggers that wait on the same connection share one poll, see ``triggers/_poll.py``. The triggerer logs the event
that a trigger fires. So an event carries only ids, or hides its messages from the log.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import TriggerEvent

from airflow_provider_pindo._inbox.backoff import MAX_CONSECUTIVE_FAILURES, FailureBudget
from airflow_provider_pindo._inbox.event_scan import inbound_cursor
from airflow_provider_pindo._inbox.filter import InboundFilter, compile_pattern
from airflow_provider_pindo._inbox.scan import LIST, SOURCES, WEBHOOK
from airflow_provider_pindo.api.arguments import check_choice, read_seconds, read_since
from airflow_provider_pindo.api.errors import PindoError
from airflow_provider_pindo.api.limits import DEFAULT_CONN_ID
from airflow_provider_pindo.hooks._webhook_config import check_airflow
from airflow_provider_pindo.triggers._poll import subscribe, unusable_arguments
from airflow_provider_pindo.triggers._task import MATCHED, TaskTrigger

if TYPE_CHECKING:
    from airflow_provider_pindo.triggers._asset import PindoInboundSmsEventTrigger

__all__ = ["PindoInboundSmsEventTrigger", "PindoInboundSmsTrigger"]


def __getattr__(name: str) -> Any:
    """Load the trigger that only Airflow 3 has on first use."""
    if name == "PindoInboundSmsEventTrigger":
        from airflow_provider_pindo.triggers._asset import PindoInboundSmsEventTrigger

        return PindoInboundSmsEventTrigger
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class PindoInboundSmsTrigger(TaskTrigger):
    """Wait until enough messages match, for a deferred task.

    Fires one of two events. Neither carries a text:

    * ``{"status": "matched", "ids": [...]}``: the task reads these messages again.
    * ``{"status": "failed", "reason": ..., "retry_helps": ...}``: the wait ended with an error.

    :param pattern: RE2 pattern searched in the text.
    :param since: aware time, or one as ISO text: messages created then or later count.
    :param from_number: number of the sender; None matches every sender.
    :param inbound_number: the account's number that the message was sent to; None matches all.
    :param min_matches: how many messages must match.
    :param poke_interval: seconds between two polls of the inbound list, or a timedelta.
    :param max_consecutive_failures: how many failed polls in a row end the waiting.
    :param end_task: end the task here, with the matches as its XCom, instead of resuming it on a worker.
    :param source: ``list`` for Pindo's inbound list, ``webhook`` for what its inbound webhook brought to this Airflow.
    :param pindo_conn_id: Airflow connection of type ``pindo``.
    """

    waits_for = "messages"

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
        source: str = LIST,
        pindo_conn_id: str = DEFAULT_CONN_ID,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        with unusable_arguments():
            self.source = check_choice("source", source, SOURCES)
            if source == WEBHOOK:
                check_airflow("source='webhook'")
            self.poke_interval = read_seconds("poke_interval", poke_interval)
        self.pattern = pattern
        self.since = since
        self.from_number = from_number
        self.inbound_number = inbound_number
        self.min_matches = min_matches
        self.max_consecutive_failures = max_consecutive_failures
        self.end_task = end_task
        self.pindo_conn_id = pindo_conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments by which Airflow stores this trigger."""
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
                "source": self.source,
                "pindo_conn_id": self.pindo_conn_id,
            },
        )

    def __repr__(self) -> str:
        return f"<PindoInboundSmsTrigger pindo_conn_id={self.pindo_conn_id}, since={self.since}>"

    async def wait(self) -> TriggerEvent:
        """Wait until enough messages match."""
        matches = await self._wait()
        if self.end_task:
            return await self._end_task(matches)
        return TriggerEvent({"status": MATCHED, "ids": [match["id"] for match in matches]})

    async def _end_task(self, matches: list[dict[str, Any]]) -> TriggerEvent:
        """Push the matches as the task's result, and return the event that ends it.

        The event does not carry them, since Airflow logs its repr. Airflow 3.3.2 also stores an event's XComs as text,
        which downstream tasks would have to decode.
        """
        from airflow.sdk.execution_time.xcom import XCom
        from airflow.triggers.base import TaskSuccessEvent

        if getattr(self.task, "do_xcom_push", True):
            ti: Any = self.task_instance
            # ti.xcom_push reads an attribute that a serialized task does not have.
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
        cursor = inbound_cursor(self.source, read_since(self.since))
        budget = FailureBudget(self.max_consecutive_failures)
        inbound_filter: InboundFilter | None = None
        matches: list[dict[str, Any]] = []
        async with subscribe(self.pindo_conn_id, cursor=cursor, interval=self.poke_interval) as subscription:
            while len(matches) < self.min_matches:
                try:
                    result = await subscription.next_result()
                except PindoError as error:
                    budget.record_failure(error)
                    continue
                budget.reset()
                inbound_filter = inbound_filter or self._filter(result.country)
                inbound_filter.check_senders(result.names_senders)
                matches += await inbound_filter.async_matches(result.messages)
        return matches

    def _filter(self, country: str | None) -> InboundFilter:
        compile_pattern(self.pattern)  # an empty pattern must not match every text
        return InboundFilter(
            self.pattern,
            from_number=self.from_number,
            inbound_number=self.inbound_number,
            country=country,
        )
