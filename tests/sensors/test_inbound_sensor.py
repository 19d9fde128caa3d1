"""PindoInboundSmsSensor against the sandbox, in every mode that Airflow has for a sensor."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from airflow.exceptions import AirflowException, AirflowRescheduleException
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS, AIRFLOW_V_3_3_PLUS

from airflow_provider_pindo.api.errors import PindoConfigurationError, PindoRateLimitError, PindoServerError
from airflow_provider_pindo.sensors.sms import PindoInboundSmsSensor
from airflow_provider_pindo.triggers.sms import PindoInboundSmsTrigger

PHONE = "+250781234567"
DAG = """
from datetime import datetime, timedelta
from airflow.providers.common.compat.sdk import DAG
from airflow_provider_pindo.sensors.sms import PindoInboundSmsSensor

with DAG("DAG_ID", schedule=None, start_date=datetime(2026, 1, 1)) as dag:
    PindoInboundSmsSensor(task_id="wait", **ARGUMENTS)
"""
MODES = {
    "poke": {"mode": "poke", "deferrable": False},
    "reschedule": {"mode": "reschedule", "deferrable": False},
    "deferrable": {"deferrable": True},
}
# Airflow 2.11 looks up a reschedule in its database: there the DAG that really runs stands for all of them.
if not AIRFLOW_V_3_0_PLUS:
    del MODES["reschedule"]
needs_task_state = pytest.mark.skipif(not AIRFLOW_V_3_3_PLUS, reason="Airflow 3.3 has a task state store")
LONG_AGO = "2020-01-01T00:00:00+00:00"


class Store(dict):
    """A task state store that outlives the task's processes, as Airflow's does."""

    def set(self, key, value, retention=None):
        self[key] = value


class Task:
    """A task instance that is carried out as Airflow does it: each look, and each resumption, by a new process.

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


@pytest.fixture(params=MODES)
def mode(request):
    return MODES[request.param]


@pytest.fixture
def reply_once_asked(sandbox):
    """Text the account as soon as somebody has looked at the inbound list ``looks`` times."""

    def start(text, looks=2):
        def reply():
            while len(sandbox.requests(call="list_inbound_sms")) < looks:
                time.sleep(0.05)
            sandbox.reply(PHONE, text)

        threading.Thread(target=reply, daemon=True).start()

    return start


@pytest.mark.parametrize("mode", [{"deferrable": True}, {"mode": "reschedule", "deferrable": False}])
def test_it_runs_in_airflow(run_dag, sandbox, mode):
    sandbox.reply(PHONE, "YES 4821")
    arguments = {"pattern": "YES {{ 4800 + 21 }}", "since": LONG_AGO, **mode}
    run = run_dag(DAG.replace("ARGUMENTS", repr(arguments)))
    [ti] = run.get_task_instances()
    assert [each["text"] for each in ti.xcom_pull(task_ids="wait")] == ["YES 4821"]


def test_it_returns_the_matches_oldest_first(sandbox, mode):
    sandbox.reply(PHONE, "yes 4821")
    sandbox.reply(PHONE, "hello")
    sandbox.reply(PHONE, "No, 4821!")
    found = Task(pattern=r"(?i)\b(?P<answer>yes|no)\W+(?P<code>\d{4})", **mode).run()
    assert [(each["id"], each["text"], each["groups"]) for each in found] == [
        (1, "yes 4821", {"answer": "yes", "code": "4821"}),
        (3, "No, 4821!", {"answer": "No", "code": "4821"}),
    ]
    assert set(found[0]) == {"id", "text", "created_at", "inbound_sms_number", "groups", "raw"}
    assert datetime.fromisoformat(found[0]["created_at"]).tzinfo is not None


def test_it_waits_for_a_reply(sandbox, reply_once_asked, mode):
    reply_once_asked("YES 4821")
    assert [each["text"] for each in Task(**mode).run()] == ["YES 4821"]


@pytest.mark.parametrize(
    "fault", [{"action": "status", "status": 503}, {"action": "rate_limit", "retry_after": 0}]
)
def test_it_waits_through_an_outage(sandbox, mode, fault):
    sandbox.reply(PHONE, "YES")
    sandbox.add_fault(call="list_inbound_sms", times=2, **fault)
    assert len(Task(**mode).run()) == 1


@pytest.mark.parametrize("mode", ["poke", "deferrable"])
def test_a_limit_on_requests_that_a_look_exceeds_holds_it_up_and_does_not_undo_it(sandbox, mode):
    sandbox.reply_all([{"from": PHONE, "text": "YES" if n == 0 else "no"} for n in range(90)])
    sandbox.settings(requests_per_second=2)
    assert len(Task(**MODES[mode]).run()) == 1
    assert len(sandbox.requests(call="list_inbound_sms")) < 25


def test_a_server_that_asks_for_too_much_patience_does_not_hold_it_beyond_its_timeout(sandbox):
    sandbox.add_fault("rate_limit", call="list_inbound_sms", retry_after=86400, times=None)
    started = time.monotonic()
    with pytest.raises(PindoRateLimitError):
        Task(timeout=2, **MODES["poke"]).run()
    assert time.monotonic() - started < 60


def test_it_waits_through_a_timeout(sandbox, mode, monkeypatch):
    sandbox.reply(PHONE, "YES")
    hasty = sandbox.connection_json().replace('"sender"', '"timeout": 0.3, "sender"')
    monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", hasty)
    sandbox.add_fault("slow_answer", call="list_inbound_sms", seconds=1)
    assert len(Task(**mode).run()) == 1


def test_it_gives_up_after_too_many_failures_in_a_row(sandbox, mode):
    sandbox.add_fault("status", call="list_inbound_sms", status=503, times=None)
    store = Store() if AIRFLOW_V_3_3_PLUS else None
    with pytest.raises(PindoServerError):
        Task(store=store, max_consecutive_failures=3, **mode).run()


@needs_task_state
def test_the_next_try_has_the_same_budget(sandbox):
    sandbox.reply(PHONE, "YES")
    sandbox.add_fault("status", call="list_inbound_sms", status=503, times=3)
    task = Task(store=Store(), max_consecutive_failures=2, **MODES["reschedule"])
    with pytest.raises(PindoServerError):
        task.run()
    assert len(task.run()) == 1


def test_a_refused_token_fails_it_at_once(sandbox, monkeypatch, mode):
    monkeypatch.setenv(
        "AIRFLOW_CONN_PINDO_DEFAULT", sandbox.connection_json().replace(sandbox.token, "wrong")
    )
    with pytest.raises(AirflowFailException, match="401"):
        Task(**mode).run()
    assert len(sandbox.requests(call="list_inbound_sms")) == 1


def test_a_token_that_is_refused_after_the_deferral_fails_it_without_a_retry(sandbox, monkeypatch):
    task = Task(deferrable=True)
    with pytest.raises(TaskDeferred) as deferral:
        task.new_process().execute(task.context)
    monkeypatch.setenv(
        "AIRFLOW_CONN_PINDO_DEFAULT", sandbox.connection_json().replace(sandbox.token, "wrong")
    )
    event = asyncio.run(first_event(deferral.value.trigger))
    with pytest.raises(AirflowFailException, match="401"):
        task.new_process().execute_complete(task.context, event.payload)


def test_an_outage_when_it_resumes_sends_it_back_to_wait(sandbox):
    number = sandbox.reply(PHONE, "YES")["id"]
    task = Task(deferrable=True, max_consecutive_failures=2)
    event = {"status": "matched", "ids": [number]}
    sandbox.add_fault("rate_limit", call="list_inbound_sms", retry_after=600, times=2)
    with pytest.raises(TaskDeferred) as deferral:
        task.new_process().execute_complete(task.context, event)
    assert deferral.value.trigger.since == LONG_AGO
    with pytest.raises(PindoRateLimitError):
        task.new_process().execute_complete(task.context, event, **deferral.value.kwargs)
    assert len(task.new_process().execute_complete(task.context, event, **deferral.value.kwargs)) == 1


def test_a_token_that_is_refused_when_it_resumes_fails_it_without_a_retry(sandbox):
    number = sandbox.reply(PHONE, "YES")["id"]
    sandbox.add_fault("status", call="list_inbound_sms", status=401)
    task = Task(deferrable=True)
    with pytest.raises(AirflowFailException, match="401"):
        task.new_process().execute_complete(task.context, {"status": "matched", "ids": [number]})


@pytest.mark.parametrize(
    ("flag", "error"), [("soft_fail", AirflowFailException), ("never_fail", AirflowSkipException)]
)
def test_a_refused_token_is_no_silence_and_skips_it_only_where_it_must_never_fail(sandbox, mode, flag, error):
    sandbox.add_fault("status", call="list_inbound_sms", status=401, times=None)
    with pytest.raises(error):
        Task(**{flag: True}, **mode).run()


@pytest.mark.parametrize("status", [401, 404])
def test_what_ends_the_wait_in_the_triggerer_is_no_silence_either(sandbox, status):
    task = Task(deferrable=True, soft_fail=True)
    with pytest.raises(TaskDeferred) as deferral:
        task.new_process().execute(task.context)
    sandbox.add_fault("status", call="list_inbound_sms", status=status, times=None)
    event = asyncio.run(first_event(deferral.value.trigger))
    with pytest.raises(AirflowFailException, match=str(status)):
        task.new_process().resume_execution(
            deferral.value.method_name, {"event": event.payload}, task.context
        )


def test_what_a_retry_may_mend_skips_it_only_where_it_must_never_fail(sandbox):
    given_up = {"status": "failed", "reason": "no answer", "retry_helps": True}
    for arguments, error in (
        ({"soft_fail": True}, PindoServerError),
        ({"never_fail": True}, AirflowSkipException),
    ):
        task = Task(deferrable=True, **arguments)
        with pytest.raises(error, match="no answer"):
            task.new_process().execute_complete(task.context, given_up)


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "deferrable"])
@pytest.mark.parametrize(("soft_fail", "error"), [(False, AirflowException), (True, AirflowSkipException)])
def test_a_timeout_ends_it_as_any_sensor(sandbox, mode, soft_fail, error):
    with pytest.raises(error):
        Task(timeout=0.3, soft_fail=soft_fail, **MODES[mode]).run()


def test_the_deferral_has_what_is_left_of_the_sensors_timeout(sandbox):
    task = Task(timeout=300, deferrable=True)
    task.started -= timedelta(seconds=100)
    with pytest.raises(TaskDeferred) as deferral:
        task.new_process().execute(task.context)
    assert timedelta(seconds=100) < deferral.value.timeout <= timedelta(seconds=200)


def end(task):
    """Let the time of a task be up: that of its deferral, or of its looking."""
    if not task.arguments["deferrable"]:
        return task.run()
    return task.new_process().resume_execution("__fail__", {"error": "Trigger timeout"}, task.context)


@pytest.mark.parametrize(("soft_fail", "error"), [(False, AirflowException), (True, AirflowSkipException)])
def test_when_the_time_is_up_it_looks_once_more(sandbox, soft_fail, error):
    task = Task(deferrable=True, timeout=300, soft_fail=soft_fail)
    with pytest.raises(error):
        end(task)
    number = sandbox.reply(PHONE, "YES")["id"]
    assert [each["id"] for each in end(task)] == [number]


@pytest.mark.parametrize("mode", MODES)
def test_a_pindo_that_does_not_answer_when_the_time_is_up_is_no_persons_silence(sandbox, mode):
    sandbox.add_fault("status", call="list_inbound_sms", status=503, times=None)
    with pytest.raises(PindoServerError, match="503"):
        end(Task(timeout=0.3, soft_fail=True, **MODES[mode]))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("answers", [True, False])
def test_a_task_that_must_never_fail_is_skipped_when_its_time_is_up(sandbox, mode, answers):
    if not answers:
        sandbox.add_fault("status", call="list_inbound_sms", status=503, times=None)
    with pytest.raises(AirflowSkipException):
        end(Task(never_fail=True, timeout=0.3, **MODES[mode]))


def test_a_token_that_is_refused_when_the_time_is_up_is_no_persons_silence(sandbox):
    sandbox.add_fault("status", call="list_inbound_sms", status=401)
    with pytest.raises(AirflowFailException, match="401"):
        end(Task(deferrable=True, soft_fail=True))


def test_a_trigger_that_failed_is_no_persons_silence(sandbox):
    task = Task(deferrable=True, timeout=300, soft_fail=True)
    failed = ("__fail__", {"error": "Trigger failure", "traceback": ["no such module"]}, task.context)
    with pytest.raises(AirflowException) as raised:
        task.new_process().resume_execution(*failed)
    assert not isinstance(raised.value, AirflowSkipException)
    sandbox.reply(PHONE, "YES")
    assert len(task.new_process().resume_execution(*failed)) == 1


def test_a_time_that_is_up_while_it_begins_to_wait_again_leaves_what_matched_to_a_retry(sandbox, monkeypatch):
    begin = PindoInboundSmsSensor._begin

    def begin_slowly(sensor, context):
        time.sleep(0.5)
        return begin(sensor, context)

    monkeypatch.setattr(PindoInboundSmsSensor, "_begin", begin_slowly)
    number = sandbox.reply(PHONE, "YES")["id"]
    sandbox.add_fault("rate_limit", call="list_inbound_sms", retry_after=3600)  # which is not waited for
    task = Task(deferrable=True, timeout=300, soft_fail=True)
    task.started -= timedelta(seconds=299.7)
    with pytest.raises(PindoRateLimitError):
        task.new_process().execute_complete(task.context, {"status": "matched", "ids": [number]})


def test_one_that_resumes_too_late_to_wait_again_leaves_what_matched_to_a_retry(sandbox):
    number = sandbox.reply(PHONE, "YES")["id"]
    sandbox.add_fault("status", call="list_inbound_sms", status=503, times=5)
    task = Task(deferrable=True, timeout=300, soft_fail=True)
    started = task.started
    task.started -= timedelta(seconds=301)
    with pytest.raises(PindoServerError, match="503"):
        task.new_process().execute_complete(task.context, {"status": "matched", "ids": [number]})
    task.started = started
    assert [each["id"] for each in task.run()] == [number]


@pytest.mark.parametrize(
    ("soft_fail", "error"), [(False, AirflowSensorTimeout), (True, AirflowSkipException)]
)
def test_a_worker_that_comes_when_the_time_is_up_waits_no_more(sandbox, soft_fail, error):
    task = Task(deferrable=True, timeout=300, soft_fail=soft_fail)
    task.started -= timedelta(seconds=301)
    with pytest.raises(error, match="no reply within 300 seconds"):
        task.run()


def test_a_sender_that_messages_do_not_name_fails_it_loudly(sandbox, mode):
    sandbox.reply(PHONE, "YES")
    with pytest.raises(AirflowFailException, match="do not name their sender"):
        Task(from_number=PHONE, **mode).run()


def test_a_sender_is_matched_where_messages_name_one(sandbox, mode):
    sandbox.settings(inbound_sender=True)
    sandbox.reply("+250781234568", "YES")
    sandbox.reply(PHONE, "YES")
    assert [each["id"] for each in Task(from_number="0781234567", **mode).run()] == [2]


def test_one_of_the_accounts_numbers_can_be_picked(sandbox, mode):
    sandbox.reply(PHONE, "YES", to="7878")
    sandbox.reply(PHONE, "YES", to="9999")
    assert [each["id"] for each in Task(inbound_number="9999", **mode).run()] == [2]


@pytest.mark.parametrize("order", ["newest_first", "oldest_first"])
def test_messages_that_arrive_between_pages_are_counted_once(sandbox, mode, order):
    sandbox.settings(
        inbound_order=order,
        inject_between_pages=[{"from": PHONE, "text": f"YES late {n}"} for n in range(25)],
    )
    sandbox.reply_all([{"from": PHONE, "text": f"YES {n}"} for n in range(45)])
    found = Task(min_matches=70, **mode).run()
    assert [each["id"] for each in found] == list(range(1, 71))


@pytest.mark.parametrize("store", [None, pytest.param(Store(), marks=needs_task_state)])
def test_what_came_before_the_task_first_started_does_not_count(sandbox, reply_once_asked, mode, store):
    sandbox.reply(PHONE, "YES, too old", created_at=(datetime.now(UTC) - timedelta(minutes=5)).isoformat())
    reply_once_asked("YES, in time", looks=1)
    assert [each["text"] for each in Task(store=store, since=None, **mode).run()] == ["YES, in time"]


@needs_task_state
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


def test_a_message_that_is_gone_when_the_task_resumes_is_waited_for_again(sandbox):
    task = Task(deferrable=True)
    event = {"status": "matched", "ids": [7]}
    with pytest.raises(TaskDeferred):
        task.new_process().execute_complete(task.context, event)
    task = Task(deferrable=True, max_consecutive_failures=1, soft_fail=True)
    with pytest.raises(PindoServerError, match=r"\[7\] matched before, but are missing"):
        task.new_process().execute_complete(task.context, event)


def test_a_message_that_is_gone_is_not_missed_where_the_others_are_enough(sandbox):
    number = sandbox.reply(PHONE, "YES")["id"]
    task = Task(deferrable=True)
    found = task.new_process().execute_complete(task.context, {"status": "matched", "ids": [number, 7]})
    assert [each["id"] for each in found] == [number]


@pytest.mark.parametrize("pattern", ["(?=YES)", r"(YES) \1", "(YES", "", None])
def test_a_pattern_that_re2_does_not_take_is_an_error_at_parse(pattern):
    with pytest.raises(PindoConfigurationError, match="pattern"):
        PindoInboundSmsSensor(task_id="wait", pattern=pattern)


def test_waiting_for_no_message_at_all_is_an_error_at_parse():
    for name, value in (("min_matches", 0), ("min_matches", "2"), ("max_consecutive_failures", 1.5)):
        with pytest.raises(PindoConfigurationError, match=f"{name} is {value!r}: give a whole number"):
            PindoInboundSmsSensor(task_id="wait", pattern="YES", **{name: value})


def test_a_pattern_that_an_upstream_task_left_empty_takes_nobodys_words(sandbox, mode):
    sandbox.reply(PHONE, "a stranger's words")
    task = Task(**mode)
    task.new_process = lambda: rendered(PindoInboundSmsSensor(task_id="wait", **task.arguments))

    def rendered(sensor):
        sensor.pattern = None  # as Airflow does with an XCom that is not there
        return sensor

    with pytest.raises(AirflowFailException, match="pattern is None"):
        task.run()


@needs_task_state
def test_an_entry_that_a_person_broke_is_named_with_what_to_do(sandbox):
    store = Store()
    store.set("pindo_inbound", {"first_start": "yesterday"})
    with pytest.raises(
        AirflowFailException, match=r"entry 'pindo_inbound' .* is 'yesterday'.*or delete the entry"
    ):
        Task(store=store, since=None, mode="poke").run()


def test_a_since_without_a_zone_is_an_error_at_parse():
    with pytest.raises(PindoConfigurationError, match="since"):
        PindoInboundSmsSensor(task_id="wait", pattern="YES", since=datetime(2026, 1, 1))


@needs_task_state
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
    said = []
    log = SimpleNamespace(info=print, warning=lambda message, *values: said.append(message % values))
    monkeypatch.setattr(PindoInboundSmsSensor, "log", log)
    for since, reason in ((None, "only a worker can keep"), (LONG_AGO, "starts no mapped task there")):
        task = Task(since=since, deferrable=True, start_from_trigger=True)
        with pytest.raises(TaskDeferred):
            task.new_process().execute(task.context)
        assert "deferred from the worker" in said[-1]
        assert reason in said[-1] or not AIRFLOW_V_3_3_PLUS


@pytest.mark.parametrize(
    "module", ["airflow_provider_pindo.sensors.sms", "airflow_provider_pindo.triggers.sms"]
)
def test_importing_it_loads_no_matcher_and_no_client(module):
    """Airflow itself may load a client: what counts is what this module adds to it."""
    check = (
        "import sys, airflow.triggers.base, airflow.providers.common.compat.sdk as sdk; sdk.BaseSensorOperator\n"
        f"before = set(sys.modules); import {module}\n"
        "added = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(added & {'re2', 'aiohttp', 'requests', 'phonenumbers', 'tenacity'})"
    )
    printed = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True).stdout
    assert printed.splitlines()[-1] == "set()"
