"""Requests of a bulk send that wait for their turn or their next try: none leaves when it is too late by then."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_pindo.operators.sms import PindoSendBulkSmsOperator
from tests.operators.bulk import COLUMNS, PERSONAL, Store, context, people, times_texted
from tests.operators.bulk import at as time_of
from tests.operators.clock import DAY, at, set_clock

TWENTY = {"recipients": people(20, time=time_of), "text": PERSONAL, "concurrency": 20}


@pytest.fixture
def slow(sandbox, monkeypatch):
    """Let the connection allow two requests a second."""
    connection = json.loads(sandbox.connection_json())
    connection["extra"]["requests_per_second"] = 2
    monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", json.dumps(connection))


def run(store, **arguments):
    """Run a try; return its result, whose columns add up."""
    operator = PindoSendBulkSmsOperator(task_id="text_all", **{"text": "Muraho @contact.name", **arguments})
    result = operator.execute.__wrapped__(operator, context(store))
    assert sum(result[column] for column in (*COLUMNS, "expired")) == result["given"]
    return result


def soon(seconds):
    return datetime.now(UTC) + timedelta(seconds=seconds)


def test_a_request_whose_turn_comes_after_the_expiry_does_not_leave(sandbox, slow):
    expires = soon(3)
    result = run(Store(), expires_at=expires, **TWENTY)
    assert datetime.now(UTC) < expires + timedelta(seconds=3)
    assert 1 <= result["accepted"] == len(sandbox.messages()) <= 7
    assert result["expired"] == 20 - result["accepted"]
    assert result["requests"] == result["accepted"]


def test_a_request_whose_turn_comes_after_the_window_waits_for_the_next_one(sandbox, slow, monkeypatch):
    began = time.monotonic()
    set_clock(monkeypatch, lambda: at(19, 59) + timedelta(seconds=57 + time.monotonic() - began))
    store = Store()
    with pytest.raises(TaskDeferred) as deferred:
        run(store, send_window=DAY, **TWENTY)
    assert deferred.value.trigger.moment == at(8, day=25)
    assert time.monotonic() - began < 6
    first = len(sandbox.messages())
    assert 1 <= first <= 7
    entry = store.get("pindo_bulk_00001")
    assert (entry["accepted"], entry["unknown"]) == (first, {})
    assert store.get("pindo_bulk").get("pace", 0) < 4
    set_clock(monkeypatch, at(8, day=25))
    assert run(store, send_window=DAY, **TWENTY)["accepted"] == 20
    assert set(times_texted(sandbox).values()) == {1}


def test_a_request_that_pindo_puts_off_until_after_the_expiry_does_not_leave(sandbox):
    sandbox.add_fault("rate_limit", call="send_bulk_sms", retry_after=20)
    expires = soon(3)
    result = run(Store(), recipients=people(3), expires_at=expires)
    assert datetime.now(UTC) < expires + timedelta(seconds=3)
    assert (result["expired"], sandbox.messages(), len(sandbox.requests())) == (3, [], 1)


def test_only_those_who_expire_while_a_bulk_request_waits_are_left_out_of_it(sandbox):
    sandbox.add_fault("rate_limit", call="send_bulk_sms", retry_after=20)
    three = people(3, until=lambda row: soon(3 if row == 2 else 60).isoformat())
    result = run(Store(), recipients=three, expires_field="until")
    assert (result["accepted"], result["expired"]) == (2, 1)
    assert sorted(times_texted(sandbox)) == ["+250780000001", "+250780000003"]
    assert [request["status"] for request in sandbox.requests()] == [429, 201]
