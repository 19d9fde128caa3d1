"""A task with PindoInboundSmsSensor, run as Airflow runs it."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from types import SimpleNamespace

from airflow.exceptions import AirflowRescheduleException
from airflow.providers.common.compat.sdk import TaskDeferred
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

from airflow_provider_pindo.sensors.sms import PindoInboundSmsSensor
from airflow_provider_pindo.triggers.sms import PindoInboundSmsTrigger

PHONE = "+250781234567"


MODES = {
    "poke": {"mode": "poke", "deferrable": False},
    "reschedule": {"mode": "reschedule", "deferrable": False},
    "deferrable": {"deferrable": True},
}


# Airflow 2.11 looks up a reschedule in its database: there the DAG that really runs stands for all of them.
if not AIRFLOW_V_3_0_PLUS:
    del MODES["reschedule"]


LONG_AGO = "2020-01-01T00:00:00+00:00"


class Store(dict):
    """A task state store that outlives the task's processes, as Airflow's does."""

    def set(self, key, value, retention=None):
        self[key] = value


class Task:
    """A task instance that runs as in Airflow: each poke, and each resumption, in a new process.

    :param store: the task state store; None is an Airflow before 3.3.
    """

    def __init__(self, store=None, **arguments):
        self.arguments = {
            "pattern": "YES",
            "poke_interval": 0.1,
            "timeout": 60,
            "since": LONG_AGO,
            **arguments,
        }
        self.started = datetime.now(UTC)
        self.store = store
        self.processes = 0

    @property
    def context(self):
        ti = SimpleNamespace(start_date=self.started, get_first_reschedule_date=lambda _: self.started)
        context = {"ti": ti, "dag_run": SimpleNamespace(start_date=self.started)}
        return context if self.store is None else {**context, "task_state_store": self.store}

    def new_process(self):
        self.processes += 1
        return PindoInboundSmsSensor(task_id="wait", **self.arguments)

    def run(self):
        while True:
            try:
                return self.new_process().execute(self.context)
            except AirflowRescheduleException:
                time.sleep(0.1)
            except TaskDeferred as deferral:
                path, arguments = deferral.trigger.serialize()
                assert path.endswith("PindoInboundSmsTrigger")
                event = asyncio.run(first_event(PindoInboundSmsTrigger(**arguments)))
                return self.new_process().resume_execution(
                    deferral.method_name, {"event": event.payload}, self.context
                )


async def first_event(trigger):
    async for event in trigger.run():
        return event
