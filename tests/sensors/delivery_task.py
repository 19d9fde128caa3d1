"""A task with PindoDeliverySensor, run as Airflow runs it."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC, datetime
from types import SimpleNamespace

from airflow.exceptions import AirflowRescheduleException
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_pindo.sensors.delivery import PindoDeliverySensor
from tests.sensors.waiting_task import Store, first_event


class Task:
    """A task instance: each poke, and each resumption, in a new process. At its timeout, Airflow ends its deferral."""

    def __init__(self, **arguments):
        self.arguments = {"sms_ids": "a", "poke_interval": 0.1, "timeout": 60, "retry_window": 0, **arguments}
        self.started = datetime.now(UTC)
        self.store = Store()
        self.deferrals = []
        self.timers = []

    def later(self, action, *args, seconds=0.5):
        """Do something this long after the first deferral; on a busy machine an earlier start would come before it."""
        self.timers.append(threading.Timer(seconds, action, args))

    @property
    def context(self):
        ti = SimpleNamespace(start_date=self.started, get_first_reschedule_date=lambda _: self.started)
        run = SimpleNamespace(start_date=self.started)
        return {"ti": ti, "dag_run": run, "task_state_store": self.store}

    def new_process(self):
        return PindoDeliverySensor(task_id="wait", **self.arguments)

    def run(self):
        resume = None
        while True:
            sensor = self.new_process()
            try:
                if resume is None:
                    return sensor.execute(self.context)
                return sensor.resume_execution(*resume, self.context)
            except AirflowRescheduleException:
                time.sleep(0.1)
            except TaskDeferred as deferral:
                self.deferrals.append(deferral)
                while self.timers:
                    self.timers.pop(0).start()
                _, arguments = deferral.trigger.serialize()
                trigger = type(deferral.trigger)(**arguments)
                resume = self._wait(deferral.method_name, trigger, deferral.timeout.total_seconds())

    def _wait(self, method, trigger, seconds):
        async def wait():
            return await asyncio.wait_for(first_event(trigger), seconds)

        try:
            return method, {"event": asyncio.run(wait()).payload}
        except TimeoutError:
            return "__fail__", {"error": "Trigger timeout"}


def later(action, *args, seconds=0.5, **kwargs):
    threading.Timer(seconds, action, args, kwargs).start()
