"""PindoInboundSmsSensor against the sandbox, in every mode that Airflow has for a sensor."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    TaskDeferred,
)
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_3_PLUS

from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.sensors.sms import PindoInboundSmsSensor
from airflow_provider_pindo.triggers.sms import PindoInboundSmsTrigger
from tests.sensors.waiting_task import LONG_AGO, MODES, PHONE, Store, Task, first_event
from tests.versions import needs_store

DAG = """
from datetime import datetime, timedelta
from airflow.providers.common.compat.sdk import DAG
from airflow_provider_pindo.sensors.sms import PindoInboundSmsSensor

with DAG("DAG_ID", schedule=None, start_date=datetime(2026, 1, 1)) as dag:
    PindoInboundSmsSensor(task_id="wait", **ARGUMENTS)
"""


@pytest.mark.parametrize("mode", [{"deferrable": True}, {"mode": "reschedule", "deferrable": False}])
def test_it_runs_in_airflow(run_dag, sandbox, mode):
    sandbox.reply(PHONE, "YES 4821")
    arguments = {"pattern": "YES {{ 4800 + 21 }}", "since": LONG_AGO, **mode}
    run = run_dag(DAG.replace("ARGUMENTS", repr(arguments)))
    [ti] = run.get_task_instances()
    assert [match["text"] for match in ti.xcom_pull(task_ids="wait")] == ["YES 4821"]


def test_it_returns_the_matches_oldest_first(sandbox, mode):
    sandbox.reply(PHONE, "yes 4821")
    sandbox.reply(PHONE, "hello")
    sandbox.reply(PHONE, "No, 4821!")
    matches = Task(pattern=r"(?i)\b(?P<answer>yes|no)\W+(?P<code>\d{4})", **mode).run()
    assert [(match["id"], match["text"], match["groups"]) for match in matches] == [
        (1, "yes 4821", {"answer": "yes", "code": "4821"}),
        (3, "No, 4821!", {"answer": "No", "code": "4821"}),
    ]
    assert set(matches[0]) == {"id", "text", "created_at", "inbound_sms_number", "groups", "raw"}
    assert datetime.fromisoformat(matches[0]["created_at"]).tzinfo is not None


def test_it_waits_for_a_reply(sandbox, reply_after_reads, mode):
    reply_after_reads("YES 4821")
    assert [match["text"] for match in Task(**mode).run()] == ["YES 4821"]


@pytest.mark.parametrize(
    "fault", [{"action": "status", "status": 503}, {"action": "rate_limit", "retry_after": 0}]
)
def test_it_waits_through_an_outage(sandbox, mode, fault):
    sandbox.reply(PHONE, "YES")
    sandbox.add_fault(call="list_inbound_sms", times=2, **fault)
    assert len(Task(**mode).run()) == 1


@pytest.mark.parametrize("mode", ["poke", "deferrable"])
def test_a_rate_limit_between_pages_delays_a_poll_and_does_not_discard_it(sandbox, mode):
    sandbox.reply_all([{"from": PHONE, "text": "YES" if n == 0 else "no"} for n in range(90)])
    sandbox.settings(requests_per_second=2)
    assert len(Task(**MODES[mode]).run()) == 1
    assert len(sandbox.requests(call="list_inbound_sms")) < 25


def test_it_waits_through_a_timeout(sandbox, mode, monkeypatch):
    sandbox.reply(PHONE, "YES")
    hasty = sandbox.connection_json().replace('"sender"', '"timeout": 0.3, "sender"')
    monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", hasty)
    sandbox.add_fault("slow_answer", call="list_inbound_sms", seconds=1)
    assert len(Task(**mode).run()) == 1


def test_a_sender_that_messages_do_not_name_fails_it_loudly(sandbox, mode):
    sandbox.reply(PHONE, "YES")
    with pytest.raises(AirflowFailException, match="do not name their sender"):
        Task(from_number=PHONE, **mode).run()


def test_a_sender_is_matched_where_messages_name_one(sandbox, mode):
    sandbox.settings(inbound_sender=True)
    sandbox.reply("+250781234568", "YES")
    sandbox.reply(PHONE, "YES")
    assert [match["id"] for match in Task(from_number="0781234567", **mode).run()] == [2]


def test_one_of_the_accounts_numbers_can_be_picked(sandbox, mode):
    sandbox.reply(PHONE, "YES", to="7878")
    sandbox.reply(PHONE, "YES", to="9999")
    assert [match["id"] for match in Task(inbound_number="9999", **mode).run()] == [2]


@pytest.mark.parametrize("order", ["newest_first", "oldest_first"])
def test_messages_that_arrive_between_pages_are_counted_once(sandbox, mode, order):
    sandbox.settings(
        inbound_order=order,
        inject_between_pages=[{"from": PHONE, "text": f"YES late {n}"} for n in range(25)],
    )
    sandbox.reply_all([{"from": PHONE, "text": f"YES {n}"} for n in range(45)])
    matches = Task(min_matches=70, **mode).run()
    assert [match["id"] for match in matches] == list(range(1, 71))


@pytest.mark.parametrize("has_store", [False, pytest.param(True, marks=needs_store)])
def test_what_came_before_the_task_first_started_does_not_count(sandbox, reply_after_reads, mode, has_store):
    store = Store() if has_store else None  # one for each task: it keeps when that first started
    sandbox.reply(PHONE, "YES, too old", created_at=(datetime.now(UTC) - timedelta(minutes=5)).isoformat())
    reply_after_reads("YES, in time", reads=1)
    assert [match["text"] for match in Task(store=store, since=None, **mode).run()] == ["YES, in time"]


@needs_store
def test_a_retry_or_a_clear_loses_nothing_since_the_first_start(sandbox, mode):
    store = Store()
    sandbox.add_fault("status", call="list_inbound_sms", status=401)
    with pytest.raises(AirflowFailException):
        Task(store=store, since=None, **mode).run()
    sandbox.reply(PHONE, "YES, between the tries")
    time.sleep(0.05)
    assert len(Task(store=store, since=None, **mode).run()) == 1


def test_a_pattern_that_a_template_got_wrong_fails_the_task(sandbox, mode):
    task = Task(pattern="{{ wrong }}", **mode)
    sensor = task.new_process()
    sensor.pattern = "(?=YES)"
    with pytest.raises(AirflowFailException, match="not valid RE2"):
        sensor.execute(task.context)


@pytest.mark.parametrize("order", ["newest_first", "oldest_first"])
def test_a_backlog_is_not_read(sandbox, order):
    sandbox.settings(inbound_order=order)
    long_ago = "2026-01-01T00:00:00"
    sandbox.reply_all([{"from": PHONE, "text": "old", "created_at": long_ago} for _ in range(1000)])
    sandbox.reply_all([{"from": PHONE, "text": "YES"}])
    Task(since=(datetime.now(UTC) - timedelta(minutes=1)).isoformat(), **MODES["poke"]).run()
    assert len(sandbox.requests(call="list_inbound_sms")) <= 3


@pytest.mark.parametrize("pattern", ["(?=YES)", r"(YES) \1", "(YES", "", None])
def test_a_pattern_that_re2_does_not_take_is_an_error_at_parse(pattern):
    with pytest.raises(PindoConfigurationError, match="pattern"):
        PindoInboundSmsSensor(task_id="wait", pattern=pattern)


def test_a_number_that_is_not_a_whole_one_from_1_is_an_error_at_parse():
    for name, value in (("min_matches", 0), ("min_matches", "2"), ("max_consecutive_failures", 1.5)):
        with pytest.raises(PindoConfigurationError, match=f"{name} is {value!r}: give a whole number"):
            PindoInboundSmsSensor(task_id="wait", pattern="YES", **{name: value})


def test_a_pattern_that_an_upstream_task_left_empty_matches_no_text(sandbox, mode):
    sandbox.reply(PHONE, "a stranger's words")
    task = Task(**mode)
    task.new_process = lambda: rendered(PindoInboundSmsSensor(task_id="wait", **task.arguments))

    def rendered(sensor):
        sensor.pattern = None  # as Airflow does with an XCom that is not there
        return sensor

    with pytest.raises(AirflowFailException, match="pattern is None"):
        task.run()


@needs_store
def test_an_entry_that_a_person_broke_is_named_with_what_to_do(sandbox):
    store = Store()
    store.set("pindo_inbound", {"first_start": "yesterday"})
    with pytest.raises(
        AirflowFailException, match=r"(?s)entry 'pindo_inbound' .* is 'yesterday'.*Or delete the entry"
    ):
        Task(store=store, since=None, mode="poke").run()


def test_a_since_without_a_zone_is_an_error_at_parse():
    with pytest.raises(PindoConfigurationError, match="since"):
        PindoInboundSmsSensor(task_id="wait", pattern="YES", since=datetime(2026, 1, 1))


@needs_store
def test_it_can_start_in_the_triggerer():
    sensor = Task(pattern="{{ x }}", deferrable=True, start_from_trigger=True, timeout=300).new_process()
    assert sensor.start_from_trigger
    assert sensor.start_trigger_args.timeout == timedelta(seconds=300)
    trigger = PindoInboundSmsTrigger(**sensor.start_trigger_args.trigger_kwargs)
    assert (trigger.pattern, trigger.since, trigger.end_task) == ("{{ x }}", LONG_AGO, True)


@pytest.mark.parametrize("arguments", [{"since": None}, {"deferrable": False}, {"from_number": 250781234567}])
def test_where_it_cannot_start_in_the_triggerer_it_does_not(arguments):
    sensor = Task(**{"deferrable": True, "start_from_trigger": True, **arguments}).new_process()
    assert not sensor.start_from_trigger
    assert sensor.start_trigger_args is None


def test_it_says_why_it_is_deferred_from_the_worker(sandbox, monkeypatch):
    lines = []
    log = SimpleNamespace(info=print, warning=lambda message, *values: lines.append(message % values))
    monkeypatch.setattr(PindoInboundSmsSensor, "log", log)
    for since, reason in ((None, "only a worker can keep"), (LONG_AGO, "starts no mapped task there")):
        task = Task(since=since, deferrable=True, start_from_trigger=True)
        with pytest.raises(TaskDeferred):
            task.new_process().execute(task.context)
        assert "deferred from the worker" in lines[-1]
        assert reason in lines[-1] or not AIRFLOW_V_3_3_PLUS


def test_a_reply_is_returned_although_it_repeats_one_that_became_visible_later(webhooks):
    """Ids are given out in order. The transaction of a lower one may commit last."""
    from airflow import settings

    from airflow_provider_pindo.plugins._event_table import TABLE

    for _ in range(2):
        webhooks.webhook({"from": PHONE, "to": "7878", "text": "YES", "sms_id": 1058918})
    with settings.engine.begin() as connection:
        [first, second] = connection.execute(TABLE.select().order_by(TABLE.c.id)).mappings().all()
        connection.execute(TABLE.delete().where(TABLE.c.id == first["id"]))
    trigger = PindoInboundSmsTrigger(pattern="YES", since=LONG_AGO, source="webhook")
    event = asyncio.run(first_event(trigger)).payload
    assert event["ids"] == [second["id"]]
    with settings.engine.begin() as connection:
        connection.execute(TABLE.insert(), [dict(first)])
    task = Task(source="webhook", deferrable=True)
    [match] = task.new_process().execute_complete(task.context, event)
    assert (match["id"], match["text"]) == (second["id"], "YES")


def test_a_reply_from_the_webhook_is_returned(webhooks, mode):
    body = {"to": "7878", "created_at": "24-07-2020, 23:35:32", "sms_id": 1058918, "telco": "MTN"}

    def reply_after_a_poll():
        while not webhooks.requests:
            time.sleep(0.01)
        for number, text in (("+250781234568", "YES"), (PHONE, "NO"), (PHONE, "YES")):
            webhooks.webhook({**body, "from": number, "text": text})

    threading.Thread(target=reply_after_a_poll, daemon=True).start()
    matches = Task(source="webhook", from_number=PHONE, **mode).run()
    assert [match["text"] for match in matches] == ["YES"]
