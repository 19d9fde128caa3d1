"""What Airflow keeps of a task, and what the task says when Airflow keeps nothing."""

from __future__ import annotations

import logging

import pytest
from airflow.providers.common.compat.sdk import AirflowException

from airflow_provider_pindo._ledger.entry import SENT, UNKNOWN, Entry
from airflow_provider_pindo._ledger.transaction import RequestLedger
from tests._ledger.memory import GENERATION, KEY, Store, TaskInstance, ledger
from tests.versions import needs_store

PLANNED = Entry(UNKNOWN, input="this")


@needs_store
def test_an_entry_never_expires():
    from airflow.sdk.execution_time.context import NEVER_EXPIRE

    before, after = Store(), Store()
    ledger(before).write(PLANNED)
    ledger(after).write_outcome(PLANNED)
    assert before.retention is after.retention is NEVER_EXPIRE
    assert before == after == {KEY: PLANNED.to_value()}


def test_nothing_is_kept_where_airflow_keeps_nothing_and_the_task_says_so(caplog):
    with caplog.at_level(logging.WARNING):
        book = RequestLedger({"ti": TaskInstance()}, KEY)
    assert "no task state store" in caplog.text
    book.write(PLANNED)
    assert book.read() is None


@pytest.mark.parametrize("clears", [True, False])
def test_a_task_says_when_airflow_forgets_at_each_success(monkeypatch, caplog, clears):
    monkeypatch.setenv("AIRFLOW__STATE_STORE__CLEAR_ON_SUCCESS", str(clears))
    with caplog.at_level(logging.WARNING):
        book = ledger(Store())
    assert (book.is_kept, book.generation) == (True, GENERATION)
    assert ("clearing it sends again" in caplog.text) is clears


@needs_store
def test_before_a_send_a_ledger_that_cannot_be_written_stops_the_task():
    with pytest.raises(ConnectionError):
        ledger(Store(failures=1)).write(PLANNED)


@needs_store
def test_a_ledger_that_cannot_be_read_stops_the_task_and_names_no_number(monkeypatch):
    def fail(self, key):
        raise ConnectionError("no answer about +250781234567.")

    monkeypatch.setattr(Store, "get", fail)
    with pytest.raises(AirflowException) as failed:
        ledger(Store()).read()
    assert str(failed.value) == (
        "The ledger cannot be read (no answer about +25078****567), so nothing is sent now.\n"
        "The next try reads it again."
    )


@needs_store
@pytest.mark.parametrize(("failures", "kept"), [(3, True), (99, False)])
def test_after_a_send_a_ledger_that_cannot_be_written_does_not(failures, kept, monkeypatch, caplog):
    monkeypatch.setattr("airflow_provider_pindo._ledger.store._WRITE_PAUSES", (0, 0, 0))
    store = Store(failures=failures, failure=ConnectionError("no answer about +250781234567"))
    ledger(store).write_outcome(Entry(SENT, input="this"))
    assert (KEY in store) is kept
    assert ("(no answer about +25078****567): the outcome stays unknown" in caplog.text) is not kept
    assert "1234567" not in caplog.text
