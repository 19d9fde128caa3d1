"""A send that is interrupted, or that fails after another one went out: what the ledger says afterwards."""

from __future__ import annotations

import importlib.util
import signal
import threading

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_pindo.api.errors import PindoInsufficientBalanceError
from airflow_provider_pindo.operators.ledger import NOT_SENT, SENT, UNKNOWN
from airflow_provider_pindo.operators.once import EndedBeforeSending
from airflow_provider_pindo.operators.sms import PindoSendSmsOperator

PHONE = "+250781234567"
needs_store = pytest.mark.skipif(
    importlib.util.find_spec("airflow.sdk") is None, reason="the task state store came with Airflow 3.3"
)


class Store(dict):
    """A task state store in memory; it fails as often as it is told to."""

    failures = 0

    def set(self, key, value, *, retention):
        if self.failures:
            self.failures -= 1
            raise ConnectionError("no API server")
        self[key] = value


class TaskInstance:
    def __init__(self, go):
        self.max_tries = go


class TimedOut(BaseException):
    """What Airflow raises in the middle of a task whose time is up."""


def execute(store=None, *, go=0, **arguments):
    """One try of a task; ``store`` is what its Airflow keeps, None on one that keeps nothing."""
    operator = PindoSendSmsOperator(task_id="text", **{"to": PHONE, "text": "Muraho", **arguments})
    context = {"ti": TaskInstance(go), **({} if store is None else {"task_state_store": store})}
    return operator.execute(context)


def status(store):
    return store["pindo_sms"]["status"]


@pytest.fixture
def after():
    """Raise something in the main thread after some seconds, as Airflow's timeout does, or call something."""
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
def test_a_failed_second_send_leaves_the_first_receipt_in_the_ledger(sandbox):
    store = Store()
    receipt = execute(store)
    sandbox.set_balance(0)
    with pytest.raises(PindoInsufficientBalanceError):
        execute(store, go=1, resend=True)
    sandbox.set_balance(10)
    assert execute(store, go=2) == receipt
    assert len(sandbox.messages()) == 1
    assert execute(store, go=2, resend=True)["sms_id"] != receipt["sms_id"]
    assert len(sandbox.messages()) == 2


@needs_store
def test_a_refusal_after_an_unknown_outcome_does_not_settle_it(sandbox):
    store = Store()
    sandbox.add_fault(call="send_sms", action="drop_after")
    with pytest.raises(Exception, match="The next try sends it again"):
        execute(store, on_unknown="resend")
    sandbox.add_fault(call="send_sms", action="status", status=401)
    with pytest.raises(AirflowFailException, match="401"):
        execute(store, on_unknown="resend")
    assert status(store) == UNKNOWN


@needs_store
def test_a_ledger_out_of_reach_does_not_hide_why_a_send_failed(sandbox):
    store = Store()
    sandbox.add_fault(call="send_sms", action="status", status=401)
    original = store.set

    def fail_once_after_the_first(key, value, *, retention):
        original(key, value, retention=retention)
        store.failures, store.set = 1, original

    store.set = fail_once_after_the_first
    with pytest.raises(AirflowFailException, match="401"):
        execute(store)
    assert status(store) == NOT_SENT


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


def test_a_task_that_sends_nothing_takes_no_notice_of_the_end():
    PindoSendSmsOperator(task_id="text", to=PHONE, text="Muraho").on_kill()
