"""A bulk send and its send window, by a clock that the test sets: it waits, stops half way, and goes on."""

from __future__ import annotations

import json
import math
import re
from datetime import timedelta

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException, TaskDeferred

from tests.operators.bulk import COLUMNS, PERSONAL, Store, columns_in, people, send, times_texted
from tests.operators.bulk import at as time_of
from tests.operators.clock import DAY, at, set_clock

EVERYBODY = {"recipients": people(200, time=time_of), "text": PERSONAL, "concurrency": 4}


@pytest.fixture
def clock(monkeypatch):
    return lambda moment: set_clock(monkeypatch, moment)


@pytest.fixture
def logged(capfd, caplog):
    caplog.set_level("INFO")
    return lambda: caplog.text + "".join(capfd.readouterr())


def closes_after(sandbox, clock, messages):
    """Let the window close when the phones have so many messages."""
    clock(lambda: at(19) if len(sandbox.messages()) < messages else at(20))


def wait(store, **arguments):
    """Run a try that ends by waiting; return when it goes on."""
    with pytest.raises(TaskDeferred) as deferred:
        send(store, **{"send_window": DAY, **arguments})
    assert deferred.value.method_name == "execute_after_wait"
    return deferred.value.trigger.moment


def test_at_night_it_checks_everybody_and_waits(sandbox, clock):
    clock(at(22))
    store = Store()
    assert wait(store, **EVERYBODY) == at(8, day=25)
    assert sandbox.requests() == []
    with pytest.raises(AirflowFailException, match="1 of 1 recipients cannot be texted"):
        send(Store(), recipients=["0781"], text="Muraho", send_window=DAY)
    clock(at(8, day=25))
    assert send(store, send_window=DAY, **EVERYBODY)["accepted"] == 200


def test_before_it_has_sent_the_list_may_change_while_it_waits(sandbox, clock):
    clock(at(22))
    store = Store()
    wait(store, recipients=people(3))
    clock(at(8, day=25))
    assert send(store, send_window=DAY, recipients=people(4))["accepted"] == 4


def test_when_the_window_closes_half_way_it_waits_and_goes_on_where_it_was(sandbox, clock):
    store = Store()
    closes_after(sandbox, clock, 50)
    assert wait(store, **EVERYBODY) == at(8, day=25)
    first = len(sandbox.messages())
    assert 50 <= first < 60  # what was in flight has ended, and no more
    clock(at(22))
    assert wait(store, **EVERYBODY) == at(8, day=25)  # a retry or a clear at night
    assert wait(store, generation=1, **EVERYBODY) == at(8, day=25)
    assert len(sandbox.messages()) == first
    clock(at(8, day=25))
    result = send(store, generation=1, send_window=DAY, **EVERYBODY)
    assert (result["accepted"], result["not_sent"], result["given"]) == (200, 0, 200)
    assert set(times_texted(sandbox).values()) == {1}
    assert len(sandbox.messages()) == 200


def test_after_the_wait_the_list_must_be_the_same(sandbox, clock):
    store = Store()
    closes_after(sandbox, clock, 50)
    wait(store, **EVERYBODY)
    first = len(sandbox.messages())
    clock(at(8, day=25))
    with pytest.raises(AirflowFailException, match="Its recipients, text or sender have changed since"):
        send(store, send_window=DAY, **{**EVERYBODY, "recipients": people(201, time=time_of)})
    assert len(sandbox.messages()) == first


def test_a_send_that_ends_as_the_window_closes_does_not_wait(sandbox, clock):
    closes_after(sandbox, clock, 5)
    result = send(Store(), recipients=people(5), send_window=DAY)
    assert result["accepted"] == 5


def test_a_send_that_has_ended_does_not_wait_for_the_window(sandbox, clock):
    clock(at(9))
    store = Store()
    result = send(store, recipients=people(5), send_window=DAY)
    clock(at(22))
    assert send(store, generation=1, recipients=people(5), send_window=DAY) == result
    assert len(sandbox.messages()) == 5


@pytest.mark.parametrize(
    ("outside_window", "ends_as"), [("skip", AirflowSkipException), ("fail", AirflowFailException)]
)
def test_before_it_has_started_it_skips_or_fails_as_it_is_told(sandbox, clock, outside_window, ends_as):
    clock(at(22))
    with pytest.raises(ends_as, match=f"is closed.*and outside_window is '{outside_window}'"):
        send(Store(), send_window=DAY, outside_window=outside_window, **EVERYBODY)
    assert sandbox.requests() == []


@pytest.mark.parametrize("outside_window", ["skip", "fail"])
def test_once_it_has_started_both_stop_it_and_the_task_fails(sandbox, clock, outside_window):
    store = Store()
    closes_after(sandbox, clock, 50)
    arguments = {"send_window": DAY, "outside_window": outside_window, **EVERYBODY}
    for _ in range(2):  # the second is a retry at night
        with pytest.raises(
            AirflowFailException, match=r"is closed\. It opens at 08:00 CAT on Wednesday 25 November 2026"
        ) as stopped:
            send(store, **arguments)
        columns = columns_in(stopped.value)
        assert columns["accepted"] == len(sandbox.messages()) < 60
        assert columns["not_sent"] == 200 - columns["accepted"]
        assert "Clear the task when the window is open: it sends to the" in str(stopped.value)
    clock(at(8, day=25))
    assert send(store, generation=1, **arguments)["accepted"] == 200
    assert set(times_texted(sandbox).values()) == {1}


def test_bulk_requests_stop_and_go_on_too(sandbox, clock):
    store = Store()
    arguments = {"recipients": people(100), "chunk_size": 10, "concurrency": 1}
    closes_after(sandbox, clock, 30)
    wait(store, **arguments)
    assert len(sandbox.messages()) == 30
    clock(at(8, day=25))
    assert send(store, send_window=DAY, **arguments)["accepted"] == 100
    assert set(times_texted(sandbox).values()) == {1}


def test_without_a_ledger_it_does_not_start_outside_the_window_and_ends_what_it_has_started(sandbox, clock):
    clock(at(22))
    assert wait(None, **EVERYBODY) == at(8, day=25)
    assert sandbox.messages() == []
    closes_after(sandbox, clock, 50)
    assert send(None, send_window=DAY, **EVERYBODY)["accepted"] == 200


def test_an_unknown_outcome_waits_with_the_rest_and_is_told_at_the_end(sandbox, clock):
    store = Store()
    sandbox.add_fault("drop_after", call="send_sms")
    closes_after(sandbox, clock, 50)
    wait(store, **EVERYBODY)
    clock(at(8, day=25))
    with pytest.raises(AirflowFailException, match="Outcome unknown for 1 of 200") as failed:
        send(store, send_window=DAY, **EVERYBODY)
    assert columns_in(failed.value) == dict(zip(COLUMNS, (199, 0, 1, 0, 0, 0), strict=True))
    assert len(sandbox.messages()) == 200


def test_the_first_line_says_when_the_window_opens_and_how_long_it_takes(sandbox, clock, logged):
    clock(at(22))
    wait(Store(), **EVERYBODY)
    lines = logged()
    assert (
        "The send window opens at 2026-11-25 06:00 UTC. 200 requests take about 0:00:05 at 40 a second, if a response "
        "takes 0.1 s" in lines
    )
    assert "does not fit" not in lines


def test_the_connections_limit_is_the_rate_where_it_is_lower(sandbox, clock, logged, monkeypatch):
    connection = json.loads(sandbox.connection_json())
    connection["extra"]["requests_per_second"] = 2
    monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", json.dumps(connection))
    clock(at(9))
    assert send(None, dry_run=True, send_window=DAY, **EVERYBODY)["estimated_seconds"] == 100
    assert "take about 0:01:40 at 2 a second, the connection's requests_per_second" in logged()


def test_a_send_that_goes_on_estimates_by_the_rate_that_it_measured(sandbox, clock, logged):
    store = Store()
    sandbox.add_fault("latency", seconds=0.2, times=None)  # 4 in flight are 20 a second, and not 40
    closes_after(sandbox, clock, 28)
    wait(store, **EVERYBODY)
    pace = store.get("pindo_bulk")["pace"]
    left = 200 - len(sandbox.messages())
    assert 0 < pace <= 20
    logged()
    clock(at(22))
    wait(store, **EVERYBODY)
    seconds = timedelta(seconds=math.ceil(left / pace))
    assert f"{left} recipients take about {seconds} at {pace:.3g} a second, as measured before" in logged()
    assert store.get("pindo_bulk")["pace"] == pace


def test_a_list_that_does_not_fit_is_warned_of_and_so_is_a_callable(sandbox, clock, logged):
    clock(at(22))
    wait(Store(), **EVERYBODY, send_window="08:00-08:01 Africa/Kigali")
    assert "does not fit" not in logged()
    slow = {"text": PERSONAL, "concurrency": 1, "send_window": "08:00-08:01 Africa/Kigali"}
    wait(Store(), recipients=people(700, time=time_of), **slow)
    lines = logged()
    assert (
        "The list does not fit: it takes about 0:01:10, and at 2026-11-25 06:01 UTC the window closes"
        in lines
    )
    assert "recipients is a callable" not in lines
    wait(Store(), recipients=lambda: people(700, time=time_of), **slow)
    assert re.search("recipients is a callable.* must\\s+return the same rows", logged())


def test_a_dry_run_says_when_the_window_opens_and_how_long_it_takes(sandbox, clock):
    clock(at(22))
    result = send(None, dry_run=True, send_window=DAY, **EVERYBODY)
    assert (result["opens_at"], result["estimated_seconds"]) == ("2026-11-25T06:00:00+00:00", 5.0)
    clock(at(9))
    bulk = send(None, dry_run=True, send_window=DAY, recipients=people(400), concurrency=9)
    assert (bulk["opens_at"], bulk["requests"], bulk["estimated_seconds"]) == (None, 4, 0.2)
    assert sandbox.requests() == []


def test_the_rejected_are_sent_to_again_after_a_clear_that_had_to_wait(sandbox, clock):
    clock(at(19))
    sandbox.settings(rejected_numbers=[person["phonenumber"] for person in people(3)])
    store, three = Store(), {"recipients": people(3), "text": "Muraho"}
    with pytest.raises(AirflowFailException, match="Everybody was rejected"):
        send(store, send_window=DAY, **three)
    sandbox.settings(rejected_numbers=[])
    clock(at(21))
    wait(store, generation=1, **three)
    clock(at(8, day=25))
    assert send(store, generation=1, send_window=DAY, **three)["accepted"] == 3


def test_who_is_to_be_sent_to_again_is_waited_for_too(sandbox, clock):
    clock(at(19))
    sandbox.add_fault("drop_after", call="send_bulk_sms")
    store, one = Store(), {"recipients": people(1), "text": "Muraho", "on_unknown": "resend"}
    with pytest.raises(Exception, match="The next try sends to them again"):
        send(store, send_window=DAY, **one)
    clock(at(21))
    assert wait(store, **one) == at(8, day=25)
    clock(at(8, day=25))
    assert send(store, send_window=DAY, **one)["accepted"] == 1
