"""The tasks that :mod:`benchmarks.waiting` has wait, made where its DAG file is read.

All begin in the triggerer, since a thousand worker starts would outlast the benchmark; most end there, some
resume on a worker. ``PindoInboundSmsSensor`` offers both. ``HttpSensor`` offers neither: it is given here what
Airflow wants of a task that begins in the triggerer, and a trigger that ends the task where its own fires, so
that what differs is the waiting.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

from airflow.providers.http.triggers.http import HttpSensorTrigger
from airflow.triggers.base import StartTriggerArgs, TaskSuccessEvent, TriggerEvent


class HttpTriggerThatEndsTheTask(HttpSensorTrigger):
    """``HttpSensorTrigger``, whose event ends the task."""

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


def http(task_id: str, code: str, interval: float, *, on_worker: bool) -> None:
    """Wait for the page that has the code for its name."""
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
