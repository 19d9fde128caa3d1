"""How PindoInboundSmsSensor ends without a reply: a deadline, an outage, a refused token."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import pytest
from airflow.exceptions import AirflowException
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_3_PLUS

from airflow_provider_pindo.api.errors import PindoRateLimitError, PindoServerError
from airflow_provider_pindo.sensors.sms import PindoInboundSmsSensor
from tests.sensors.waiting_task import LONG_AGO, MODES, PHONE, Store, Task, first_event
from tests.versions import needs_store


def end(task):
    """Let the time of a task be up: that of its deferral, or of its looking."""
    if not task.arguments["deferrable"]:
        return task.run()
    return task.new_process().resume_execution("__fail__", {"error": "Trigger timeout"}, task.context)


def test_a_server_that_asks_for_too_much_patience_does_not_hold_it_beyond_its_timeout(sandbox):
    sandbox.add_fault("rate_limit", call="list_inbound_sms", retry_after=86400, times=None)
    started = time.monotonic()
    with pytest.raises(PindoRateLimitError):
        Task(timeout=2, **MODES["poke"]).run()
    assert time.monotonic() - started < 60


def test_it_fails_after_too_many_failures_in_a_row(sandbox, mode):
    sandbox.add_fault("status", call="list_inbound_sms", status=503, times=None)
    store = Store() if AIRFLOW_V_3_3_PLUS else None
    with pytest.raises(PindoServerError):
        Task(store=store, max_consecutive_failures=3, **mode).run()


@needs_store
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
def test_a_refused_token_is_not_a_missing_reply_and_skips_it_only_where_it_must_never_fail(
    sandbox, mode, flag, error
):
    sandbox.add_fault("status", call="list_inbound_sms", status=401, times=None)
    with pytest.raises(error):
        Task(**{flag: True}, **mode).run()


@pytest.mark.parametrize("status", [401, 404])
def test_what_ends_the_wait_in_the_triggerer_is_not_a_missing_reply_either(sandbox, status):
    task = Task(deferrable=True, soft_fail=True)
    with pytest.raises(TaskDeferred) as deferral:
        task.new_process().execute(task.context)
    sandbox.add_fault("status", call="list_inbound_sms", status=status, times=None)
    event = asyncio.run(first_event(deferral.value.trigger))
    with pytest.raises(AirflowFailException, match=str(status)):
        task.new_process().resume_execution(
            deferral.value.method_name, {"event": event.payload}, task.context
        )


def test_what_a_retry_may_fix_skips_it_only_where_it_must_never_fail(sandbox):
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


@pytest.mark.parametrize(("soft_fail", "error"), [(False, AirflowException), (True, AirflowSkipException)])
def test_at_its_deadline_it_polls_once_more(sandbox, soft_fail, error):
    task = Task(deferrable=True, timeout=300, soft_fail=soft_fail)
    with pytest.raises(error):
        end(task)
    number = sandbox.reply(PHONE, "YES")["id"]
    assert [match["id"] for match in end(task)] == [number]


@pytest.mark.parametrize("mode", MODES)
def test_a_pindo_that_does_not_answer_when_the_time_is_up_is_not_a_missing_reply(sandbox, mode):
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


def test_a_token_that_is_refused_when_the_time_is_up_is_not_a_missing_reply(sandbox):
    sandbox.add_fault("status", call="list_inbound_sms", status=401)
    with pytest.raises(AirflowFailException, match="401"):
        end(Task(deferrable=True, soft_fail=True))


def test_a_trigger_that_failed_is_not_a_missing_reply(sandbox):
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
    assert [match["id"] for match in task.run()] == [number]


@pytest.mark.parametrize(
    ("soft_fail", "error"), [(False, AirflowSensorTimeout), (True, AirflowSkipException)]
)
def test_a_worker_that_comes_when_the_time_is_up_waits_no_more(sandbox, soft_fail, error):
    task = Task(deferrable=True, timeout=300, soft_fail=soft_fail)
    task.started -= timedelta(seconds=301)
    with pytest.raises(error, match="no reply within 300 seconds"):
        task.run()


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
    matches = task.new_process().execute_complete(task.context, {"status": "matched", "ids": [number, 7]})
    assert [match["id"] for match in matches] == [number]
