"""What a waiting task keeps from one process to the next."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from airflow_provider_pindo._ledger.waiting import WaitingMemory
from airflow_provider_pindo.api.errors import PindoConfigurationError
from tests._ledger.memory import KEY, Store
from tests.versions import needs_store

STARTED = datetime(2026, 11, 24, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)


def memory(store, started=STARTED):
    """Return the memory of a task that started an hour after its run."""
    run = SimpleNamespace(start_date=started and started - HOUR)
    ti = SimpleNamespace(start_date=started)
    return WaitingMemory({"task_state_store": store, "ti": ti, "dag_run": run}, KEY)


@needs_store
def test_the_first_start_is_that_of_the_first_process():
    store = Store()
    assert memory(store).first_start() == STARTED
    assert memory(store, STARTED + HOUR).first_start() == STARTED
    assert store == {KEY: {"first_start": STARTED.isoformat()}}


@needs_store
def test_failures_are_counted_on_and_change_no_first_start():
    store = Store()
    first = memory(store)
    assert first.failures == 0
    first.first_start()
    first.keep_failures(2)
    second = memory(store)
    assert second.failures == 2
    del store[KEY]
    second.keep_failures(2)  # as stored: not written again
    assert store == {}
    second.keep_failures(0)
    assert store == {KEY: {"first_start": STARTED.isoformat(), "failures": 0}}


def test_where_nothing_is_kept_the_run_stands_for_the_task():
    old = memory(None)
    assert old.first_start() == STARTED - HOUR
    old.keep_failures(1)
    assert memory(None).failures == 0


@pytest.mark.parametrize("make", [lambda: None, pytest.param(Store, marks=needs_store)], ids=["old", "new"])
def test_a_task_without_a_start_starts_now(make):
    before = datetime.now(UTC)
    assert before <= memory(make(), None).first_start() <= datetime.now(UTC)


@pytest.mark.parametrize("value", ["yesterday", "2026-11-24T08:00:00", None, 5])
def test_a_first_start_that_a_person_broke_is_refused_with_what_to_do(value):
    with pytest.raises(PindoConfigurationError, match="Write a time with a zone") as refused:
        memory(Store({"first_start": value})).first_start()
    assert f"first_start in the entry {KEY!r}" in str(refused.value)
    assert f"is {value!r}, which is not a time with a zone" in str(refused.value)


@pytest.mark.parametrize("value", ["sent", 7, ["first_start"], {"failures": "two"}])
def test_what_is_no_entry_counts_no_failures(value):
    assert memory(Store(value)).failures == 0
