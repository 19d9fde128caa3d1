"""What switching webhooks on starts in the API server: the table and its retention."""

from __future__ import annotations

import asyncio
import logging
import threading
import time

import pytest
from fastapi.testclient import TestClient

from airflow_provider_pindo.plugins import _event_table, _webhooks
from airflow_provider_pindo.plugins._app import create_app
from airflow_provider_pindo.plugins._auth import Callers
from tests.plugins.conftest import post


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(_webhooks, "_RETRY_INTERVAL", 0.01)
    monkeypatch.setattr(_webhooks, "_RETENTION_INTERVAL", 0.01)


async def until(is_true):
    async with asyncio.timeout(10):
        while not is_true():  # noqa: ASYNC110 - what it waits for sets no event
            await asyncio.sleep(0.01)


async def test_a_table_that_cannot_be_created_stops_no_api_server_and_is_tried_again(
    fast, monkeypatch, caplog
):
    answers = [_event_table.DatabaseError("OperationalError")] * 2
    deletions = []

    def create():
        if answers:
            raise answers.pop()

    monkeypatch.setattr(_event_table, "create_table", create)
    monkeypatch.setattr(_event_table, "delete_old", lambda days, _: deletions.append(days))
    callers = Callers()
    assert not await _webhooks._create_table(callers)
    assert (
        "pindo_webhook_event could not be created, so no webhook is accepted: OperationalError" in caplog.text
    )
    maintenance = asyncio.create_task(_webhooks._maintain(callers, False, threading.Event()))
    await until(lambda: deletions)
    maintenance.cancel()
    assert deletions[0] == 30


async def test_old_events_are_deleted_again_and_again_also_after_an_error(fast, monkeypatch, caplog):
    monkeypatch.setenv("AIRFLOW__PINDO__WEBHOOK_RETENTION_DAYS", "7")
    results = [3, _event_table.DatabaseError("OperationalError"), ZeroDivisionError("+250781234567"), 0]
    days = []

    def delete_old(age, _):
        days.append(age)
        result = results.pop(0) if results else 0
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(_event_table, "delete_old", delete_old)
    with caplog.at_level(logging.INFO):
        maintenance = asyncio.create_task(_webhooks._maintain(Callers(), True, threading.Event()))
        await until(lambda: len(days) > 4)
        maintenance.cancel()
    assert set(days) == {7}
    assert "Deleted 3 webhook events" in caplog.text
    assert "could not be deleted: OperationalError" in caplog.text
    assert "could not be deleted: ZeroDivisionError" in caplog.text
    assert "781234567" not in caplog.text


def test_a_deletion_of_many_events_does_not_hold_up_the_end_of_the_api_server(
    airflow_database, webhooks_on, monkeypatch
):
    batches = []

    def delete_batch(*_):
        batches.append(1)
        return len(batches) < 40  # for four seconds

    monkeypatch.setattr(_event_table, "_delete_batch", delete_batch)
    with TestClient(create_app()):
        time.sleep(0.3)
    count = len(batches)
    time.sleep(0.5)
    assert 0 < len(batches) <= count + 1


def test_the_app_starts_without_its_table_and_says_503_until_it_is_there(
    airflow_database, webhooks_on, monkeypatch
):
    def fail():
        raise _event_table.DatabaseError("ProgrammingError")

    def no_table(*_):
        raise _event_table.DatabaseError("OperationalError")

    monkeypatch.setattr(_event_table, "_PAUSE", 0.0)
    monkeypatch.setattr(_event_table, "create_table", fail)
    monkeypatch.setattr(_event_table, "_run", no_table)
    with TestClient(create_app()) as client:
        assert post(client, {"sms_id": "out_1", "status": "DELIVRD"}).status_code == 503


async def test_a_retention_that_is_no_number_deletes_nothing_and_says_what_to_do(fast, monkeypatch, caplog):
    monkeypatch.setenv("AIRFLOW__PINDO__WEBHOOK_RETENTION_DAYS", "a month")
    days = []
    monkeypatch.setattr(_event_table, "delete_old", lambda age, _: days.append(age))
    maintenance = asyncio.create_task(_webhooks._maintain(Callers(), True, threading.Event()))
    await until(lambda: caplog.text.count("No webhook event is deleted") > 1)
    assert not days
    assert "webhook_retention_days is 'a month': set it to a whole number of days" in caplog.text
    monkeypatch.setenv("AIRFLOW__PINDO__WEBHOOK_RETENTION_DAYS", "7")
    await until(lambda: days)
    maintenance.cancel()
    assert days[0] == 7
