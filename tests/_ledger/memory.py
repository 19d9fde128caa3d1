"""A task state store in memory, and the ledger on it."""

from __future__ import annotations

from airflow_provider_pindo._ledger.transaction import RequestLedger

KEY = "pindo_sms"
GENERATION = 2


class Store(dict):
    """A task state store in memory, which fails ``failures`` times."""

    def __init__(self, value=None, failures=0, failure=None):
        super().__init__({} if value is None else {KEY: value})
        self.failures, self.failure = failures, failure or ConnectionError("no API server")

    def set(self, key, value, *, retention):
        if self.failures:
            self.failures -= 1
            raise self.failure
        self[key] = value
        self.retention = retention


class TaskInstance:
    max_tries = GENERATION


def ledger(store):
    return RequestLedger({"task_state_store": store, "ti": TaskInstance()}, KEY)
