"""The waiting tasks of :mod:`benchmarks.waiting`, for its DAG file.

All tasks start in the triggerer, because a thousand worker starts would take longer than the benchmark. Most of
them end there, and some resume on a worker. ``PindoInboundSmsSensor`` can do both. The other sensors can do neither,
so this module adds both: the arguments of a start in the triggerer, and a trigger that ends the task. So only the
waiting differs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

from airflow.providers.http.triggers.http import HttpSensorTrigger
from airflow.triggers.base import StartTriggerArgs, TaskSuccessEvent, TriggerEvent

from airflow_provider_pindo.triggers.delivery import PindoDeliveryTrigger


class HttpTriggerThatEndsTheTask(HttpSensorTrigger):
    """An ``HttpSensorTrigger`` that ends the task with its event."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "benchmarks.sensors.HttpTriggerThatEndsTheTask", super().serialize()[1]

    async def run(self) -> AsyncIterator[TriggerEvent]:
        async for _ in super().run():
            yield TaskSuccessEvent()


def pindo(task_id: str, code: str, interval: float, *, on_worker: bool) -> None:
    """Wait for a message with the code."""
    from airflow_provider_pindo.sensors.sms import PindoInboundSmsSensor

    sensor = PindoInboundSmsSensor(
        task_id=task_id,
        pattern=rf"(?i)\b(?P<answer>yes|no)\W*{code}\b",
        since="{{ dag_run.conf['since'] }}",
        poke_interval=interval,
        deferrable=True,
        start_from_trigger=True,
    )
    start: Any = sensor.start_trigger_args
    start.trigger_kwargs["end_task"] = not on_worker


class DeliveryTriggerThatEndsTheTask(PindoDeliveryTrigger):
    """A ``PindoDeliveryTrigger`` that ends the task with its event."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "benchmarks.sensors.DeliveryTriggerThatEndsTheTask", super().serialize()[1]

    async def run(self) -> AsyncIterator[TriggerEvent]:
        async for _ in super().run():
            yield TaskSuccessEvent()


def delivery(task_id: str, code: str, interval: float, *, on_worker: bool) -> None:
    """Wait for the report of a message whose id is the code."""
    from airflow_provider_pindo.sensors.delivery import PindoDeliverySensor

    sensor = PindoDeliverySensor(task_id=task_id, sms_ids=[code], poke_interval=interval, deferrable=True)
    trigger = PindoDeliveryTrigger if on_worker else DeliveryTriggerThatEndsTheTask
    sensor.start_from_trigger = True
    sensor.start_trigger_args = StartTriggerArgs(
        trigger_cls=f"{trigger.__module__}.{trigger.__qualname__}",
        trigger_kwargs={"sms_ids": [code], "poke_interval": interval},
        next_method="execute_complete",
        timeout=timedelta(seconds=sensor.timeout),
    )


def http(task_id: str, code: str, interval: float, *, on_worker: bool) -> None:
    """Wait for the page with the code in its address."""
    from airflow.providers.http.sensors.http import HttpSensor

    arguments: dict[str, Any] = {"endpoint": f"reply/{code}", "http_conn_id": "replies"}
    sensor = HttpSensor(task_id=task_id, poke_interval=interval, deferrable=True, **arguments)
    trigger = HttpSensorTrigger if on_worker else HttpTriggerThatEndsTheTask
    sensor.start_from_trigger = True
    sensor.start_trigger_args = StartTriggerArgs(
        trigger_cls=f"{trigger.__module__}.{trigger.__qualname__}",
        trigger_kwargs={**arguments, "poke_interval": interval},
        next_method="execute_complete",
        timeout=timedelta(seconds=sensor.timeout),
    )
