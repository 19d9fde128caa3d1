"""Wait for delivery reports in the triggerer: for a task, and for an asset. Needs Airflow 3.1 and ``[pindo] webhooks``.

All triggers that wait on the same connection share one poll of the webhook events, see ``triggers/_poll.py``. What they
fire has ids and statuses, and no number or text.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import TriggerEvent

from airflow_provider_pindo._inbox.backoff import MAX_CONSECUTIVE_FAILURES, FailureBudget
from airflow_provider_pindo._inbox.event_scan import ReportCursor
from airflow_provider_pindo.api.arguments import read_seconds
from airflow_provider_pindo.api.delivery import RETRY_WINDOW, Deliveries, check_sms_id
from airflow_provider_pindo.api.errors import PindoError
from airflow_provider_pindo.api.limits import DEFAULT_CONN_ID
from airflow_provider_pindo.hooks._webhook_config import check_airflow
from airflow_provider_pindo.triggers._poll import subscribe, unusable_arguments
from airflow_provider_pindo.triggers._task import MATCHED, TaskTrigger

if TYPE_CHECKING:
    from airflow_provider_pindo.triggers._asset import PindoDeliveryEventTrigger

__all__ = ["PindoDeliveryEventTrigger", "PindoDeliveryTrigger"]


def __getattr__(name: str) -> Any:
    """Load the trigger that only Airflow 3 has on first use."""
    if name == "PindoDeliveryEventTrigger":
        from airflow_provider_pindo.triggers._asset import PindoDeliveryEventTrigger

        return PindoDeliveryEventTrigger
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class PindoDeliveryTrigger(TaskTrigger):
    """Wait until the outcome of every message is known, for a deferred task.

    Fires one of two events:

    * ``{"status": "matched"}``: the task reads the reports.
    * ``{"status": "failed", "reason": ..., "retry_helps": ...}``: the wait ended with an error.

    Reports that came before count. Use the task's timeout for messages that nobody reports.

    :param sms_ids: the ids of the messages, as text or whole numbers.
    :param retry_window: seconds, or a timedelta, in which Pindo may still deliver what it reported as undelivered.
    :param poke_interval: seconds between two polls, or a timedelta.
    :param max_consecutive_failures: how many failed polls in a row end the waiting.
    :param pindo_conn_id: Airflow connection of type ``pindo``.
    """

    waits_for = "delivery reports"

    def __init__(
        self,
        *,
        sms_ids: Iterable[str],
        retry_window: float | timedelta = RETRY_WINDOW,
        poke_interval: float | timedelta = 60.0,
        max_consecutive_failures: int = MAX_CONSECUTIVE_FAILURES,
        pindo_conn_id: str = DEFAULT_CONN_ID,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        with unusable_arguments():
            check_airflow(type(self).__name__)
            self.sms_ids = [check_sms_id(sms_id) for sms_id in sms_ids]
            self.retry_window = read_seconds("retry_window", retry_window)
            self.poke_interval = read_seconds("poke_interval", poke_interval)
        self.max_consecutive_failures = max_consecutive_failures
        self.pindo_conn_id = pindo_conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments by which Airflow stores this trigger."""
        return (
            "airflow_provider_pindo.triggers.delivery.PindoDeliveryTrigger",
            {
                "sms_ids": self.sms_ids,
                "retry_window": self.retry_window,
                "poke_interval": self.poke_interval,
                "max_consecutive_failures": self.max_consecutive_failures,
                "pindo_conn_id": self.pindo_conn_id,
            },
        )

    def __repr__(self) -> str:
        return f"<PindoDeliveryTrigger pindo_conn_id={self.pindo_conn_id}, {len(self.sms_ids)} messages>"

    async def wait(self) -> TriggerEvent:
        """Wait until every message has its final report."""
        deliveries = Deliveries(self.sms_ids, timedelta(seconds=self.retry_window))
        budget = FailureBudget(self.max_consecutive_failures)
        cursor = ReportCursor(frozenset(self.sms_ids))
        async with subscribe(self.pindo_conn_id, cursor=cursor, interval=self.poke_interval) as subscription:
            while deliveries.pending(datetime.now(UTC)):
                try:
                    result = await subscription.next_result()
                except PindoError as error:
                    budget.record_failure(error)
                    continue
                budget.reset()
                deliveries.add(result.reports)
        return TriggerEvent({"status": MATCHED})
