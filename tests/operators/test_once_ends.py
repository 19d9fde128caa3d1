"""A single send whose task times out or is told to end."""

from __future__ import annotations

import signal
import threading

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_pindo._ledger.entry import NOT_SENT, SENT, UNKNOWN
from airflow_provider_pindo.api.errors import PindoConnectionError, PindoRateLimitError
from airflow_provider_pindo.hooks._transport.attempt import begin_attempt
from airflow_provider_pindo.operators._once import EndedBeforeSending
from airflow_provider_pindo.operators.sms import PindoSendSmsOperator
from tests.operators.once import PHONE, Store, TaskInstance, execute, status
from tests.versions import needs_store


class TimedOut(BaseException):
    """What Airflow raises in a task whose time is up."""


@pytest.fixture
def after():
    """Call a function in the main thread after some seconds, as Airflow's timeout does."""
    timers = []

    def start(seconds, what):
        def act(signum, frame):
            what()

        signal.signal(signal.SIGUSR1, act)
        timers.append(threading.Timer(seconds, signal.pthread_kill, [threading.get_ident(), signal.SIGUSR1]))
        timers[-1].start()

    before = signal.getsignal(signal.SIGUSR1)
    yield start
    for timer in timers:
        timer.cancel()
        timer.join()
    signal.signal(signal.SIGUSR1, before)


def time_out():
    raise TimedOut


@needs_store
def test_a_task_that_times_out_while_it_waits_has_sent_nothing(sandbox, after):
    store = Store()
    sandbox.add_fault(call="send_sms", action="rate_limit", retry_after=30)
    after(1.0, time_out)
    with pytest.raises(TimedOut):
        execute(store)
    assert status(store) == NOT_SENT
    assert sandbox.messages() == []


@needs_store
def test_a_task_that_times_out_after_the_request_left_is_unknown(sandbox, after):
    store = Store()
    sandbox.add_fault(call="send_sms", action="slow_answer", seconds=3)
    after(1.0, time_out)
    with pytest.raises(TimedOut):
        execute(store)
    assert status(store) == UNKNOWN
    assert len(sandbox.messages()) == 1


def test_without_a_ledger_a_task_that_times_out_after_the_request_left_is_not_retried(sandbox, after):
    sandbox.add_fault(call="send_sms", action="slow_answer", seconds=3)
    after(1.0, time_out)
    with pytest.raises(AirflowFailException, match=r"if so, mark the task as success; if not, clear it"):
        execute()
    assert len(sandbox.messages()) == 1


@needs_store
@pytest.mark.parametrize(
    "fault", [{"action": "rate_limit", "retry_after": 30}, None], ids=["waiting", "sending"]
)
def test_a_task_that_is_told_to_end_sends_only_what_is_on_its_way(sandbox, after, fault):
    store = Store()
    sandbox.add_fault(call="send_sms", **(fault or {"action": "slow_answer", "seconds": 2}))
    operator = PindoSendSmsOperator(task_id="text", to=PHONE, text="Muraho")
    after(1.0, operator.on_kill)
    context = {"ti": TaskInstance(0), "task_state_store": store}
    if fault:
        with pytest.raises(EndedBeforeSending):
            operator.execute(context)
        assert status(store) == NOT_SENT
        assert sandbox.messages() == []
    else:
        assert operator.execute(context)["to"] == PHONE
        assert status(store) == SENT


@needs_store
def test_a_task_that_is_told_to_end_does_not_try_again(sandbox, after):
    store = Store()
    sandbox.settings(latency=2.0)
    sandbox.add_fault(call="send_sms", action="rate_limit", retry_after=0)
    operator = PindoSendSmsOperator(task_id="text", to=PHONE, text="Muraho")
    after(1.0, operator.on_kill)
    with pytest.raises(PindoRateLimitError):
        operator.execute({"ti": TaskInstance(0), "task_state_store": store})
    assert status(store) == NOT_SENT
    assert sandbox.messages() == []


def test_a_task_that_sends_nothing_takes_no_notice_of_the_end():
    PindoSendSmsOperator(task_id="text", to=PHONE, text="Muraho").on_kill()


@needs_store
@pytest.mark.parametrize("moment", ["settings", "get", "set"], ids=["checked", "read", "written"])
def test_a_task_that_is_told_to_end_before_it_sends_sends_nothing(sandbox, monkeypatch, moment):
    operator = PindoSendSmsOperator(task_id="text", to=PHONE, text="Muraho")
    store = Store()
    if moment == "settings":
        check = operator.prepare
        monkeypatch.setattr(operator, "prepare", lambda: (operator.on_kill(), check())[1])
    elif moment == "get":
        monkeypatch.setattr(store, "get", lambda key: operator.on_kill(), raising=False)
    else:
        write = store.set
        monkeypatch.setattr(
            store, "set", lambda *args, **kwargs: (operator.on_kill(), write(*args, **kwargs))
        )
    begin_attempt()
    with pytest.raises(EndedBeforeSending):
        operator.execute({"ti": TaskInstance(0), "task_state_store": store})
    assert sandbox.messages() == []
    assert status(store) == NOT_SENT


@needs_store
def test_a_request_that_only_read_leaves_nothing_unknown_when_the_task_ends_before_it_sends(
    sandbox, monkeypatch
):
    operator = PindoSendSmsOperator(task_id="text", to=PHONE, text="Muraho")
    check, store = operator.prepare, Store()

    def read_and_end():
        operator.hook.get_balance()
        operator.on_kill()
        return check()

    monkeypatch.setattr(operator, "prepare", read_and_end)
    with pytest.raises(EndedBeforeSending):
        operator.execute({"ti": TaskInstance(0), "task_state_store": store})
    assert status(store) == NOT_SENT


def test_what_another_task_of_the_process_sent_does_not_hold_back_the_end(sandbox):
    execute()
    operator = PindoSendSmsOperator(task_id="text", to=PHONE, text="Muraho")
    operator.on_kill()
    with pytest.raises(EndedBeforeSending):
        operator.execute({"ti": TaskInstance(0)})
    assert len(sandbox.messages()) == 1


@needs_store
def test_while_pindo_cannot_be_reached_nothing_is_sent_and_the_next_try_sends(sandbox, monkeypatch):
    monkeypatch.setattr("airflow_provider_pindo.hooks.pindo.retry_delay", lambda *_: None)
    store = Store()
    sandbox.stop()
    with pytest.raises(PindoConnectionError, match="Nothing was sent"):
        execute(store)
    assert status(store) == NOT_SENT
    sandbox.start()
    execute(store)
    assert [message["text"] for message in sandbox.messages()] == ["Muraho"]
