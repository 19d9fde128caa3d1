"""What the tests of a single send share: a store, and one try of a task."""

from __future__ import annotations

from airflow_provider_pindo.operators.sms import PindoSendSmsOperator

PHONE = "+250781234567"


class Store(dict):
    """A task state store in memory, which fails ``failures`` times."""

    failures = 0

    def set(self, key, value, *, retention):
        if self.failures:
            self.failures -= 1
            raise ConnectionError("no API server")
        self[key] = value


class TaskInstance:
    def __init__(self, generation):
        self.max_tries = generation


def execute(store=None, *, generation=0, **arguments):
    """Run one try of a task; without ``store``, on an Airflow that has none."""
    operator = PindoSendSmsOperator(task_id="text", **{"to": PHONE, "text": "Muraho", **arguments})
    context = {"ti": TaskInstance(generation), **({} if store is None else {"task_state_store": store})}
    return operator.execute(context)


def status(store):
    return store["pindo_sms"]["status"]
