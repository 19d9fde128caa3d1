"""A single send that is interrupted or fails: what the phone gets, and what the ledger says."""

from __future__ import annotations

import json
import signal
import threading
import traceback
from dataclasses import asdict

import msgspec
import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_pindo._ledger.entry import NOT_SENT, SENT, UNKNOWN, Entry
from airflow_provider_pindo.api.errors import (
    PindoAuthError,
    PindoInsufficientBalanceError,
    PindoRateLimitError,
    PindoUnknownOutcomeError,
)
from airflow_provider_pindo.hooks._transport.attempt import begin_attempt
from airflow_provider_pindo.hooks.pindo import PindoHook
from airflow_provider_pindo.operators._once import EndedBeforeSending
from airflow_provider_pindo.operators.sms import PindoSendSmsOperator
from tests.hooks.wire import Wire, answer
from tests.versions import HAS_STORE, needs_store

PHONE = "+250781234567"


class Store(dict):
    """A task state store in memory, which fails ``failures`` times."""

    failures = 0

    def set(self, key, value, *, retention):
        if self.failures:
            self.failures -= 1
            raise ConnectionError("no API server")
        self[key] = value


class WatchedStore(Store):
    """A store that notes each access."""

    def __init__(self):
        super().__init__()
        self.accesses = []

    def get(self, key, default=None):
        self.accesses.append("read")
        return super().get(key, default)

    def set(self, key, value, *, retention):
        self.accesses.append("write")
        super().set(key, value, retention=retention)


class TaskInstance:
    def __init__(self, generation):
        self.max_tries = generation


class TimedOut(BaseException):
    """What Airflow raises in a task whose time is up."""


def execute(store=None, *, generation=0, **arguments):
    """Run one try of a task; without ``store``, on an Airflow that has none."""
    operator = PindoSendSmsOperator(task_id="text", **{"to": PHONE, "text": "Muraho", **arguments})
    context = {"ti": TaskInstance(generation), **({} if store is None else {"task_state_store": store})}
    return operator.execute(context)


def status(store):
    return store["pindo_sms"]["status"]


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
def test_a_single_send_makes_one_read_and_two_writes(sandbox):
    store = WatchedStore()
    execute(store)
    assert store.accesses == ["read", "write", "write"]


@needs_store
def test_a_failed_second_send_leaves_the_first_receipt_in_the_ledger(sandbox):
    store = Store()
    receipt = execute(store)
    sandbox.set_balance(0)
    with pytest.raises(PindoInsufficientBalanceError):
        execute(store, generation=1, resend=True)
    sandbox.set_balance(10)
    assert execute(store, generation=2) == receipt
    assert len(sandbox.messages()) == 1
    assert execute(store, generation=2, resend=True)["sms_id"] != receipt["sms_id"]
    assert len(sandbox.messages()) == 2


@needs_store
def test_what_an_earlier_try_left_unknown_may_be_accepted(sandbox):
    store = Store()
    sandbox.add_fault(call="send_sms", action="drop_after")
    with pytest.raises(AirflowFailException, match="may have been sent"):
        execute(store, resend="")
    assert execute(store, on_unknown="accept") == {"status": "unknown", "to": PHONE}
    assert len(sandbox.messages()) == 1


def lose_the_answer(sandbox, store, **arguments):
    """Send a message whose response is lost; return the error."""
    sandbox.add_fault(call="send_sms", action="drop_after")
    with pytest.raises(AirflowFailException, match="may have been sent") as caught:
        execute(store, **arguments)
    return str(caught.value)


def change_status(store, word):
    store["pindo_sms"] = {**store["pindo_sms"], "status": word}


def put_the_bare_word(store, word):
    store["pindo_sms"] = word


def write_it_anew(store, word):
    store["pindo_sms"] = asdict(Entry(word, input=store["pindo_sms"]["input"]))


settle = pytest.mark.parametrize("settle", [change_status, put_the_bare_word, write_it_anew])


@needs_store
@settle
@pytest.mark.parametrize("generation", [0, 1], ids=["found by a retry", "found by a clear"])
@pytest.mark.parametrize("text", ["Muraho", "Mwiriwe"], ids=["the same text", "another text"])
def test_resend_acts_on_what_a_person_settled_as_sent_from_the_clear_after_it_was_found(
    sandbox, capfd, settle, generation, text
):
    store = Store()
    lose_the_answer(sandbox, store, resend=True)
    settle(store, "sent")
    for _ in range(2):  # the second is a retry
        assert execute(store, generation=generation, resend=True) == {"status": "sent", "to": PHONE}
    assert len(sandbox.messages()) == 1
    assert capfd.readouterr().out.count("A person has settled the entry") == 1
    receipt = execute(store, generation=2, resend=True, text=text)
    assert receipt["sms_id"] == sandbox.messages()[-1]["sms_id"]
    assert execute(store, generation=2, resend=True, text=text) == receipt
    assert len(sandbox.messages()) == 2


@needs_store
@pytest.mark.parametrize("settle", [change_status, write_it_anew])
def test_another_text_after_one_that_a_person_settled_as_sent_goes_out_by_what_the_error_says(
    sandbox, settle
):
    store = Store()
    lose_the_answer(sandbox, store)
    settle(store, "sent")
    for generation in (1, 2):
        with pytest.raises(AirflowFailException, match="clear the task with resend=True"):
            execute(store, generation=generation, text="Mwiriwe")
    execute(store, generation=3, text="Mwiriwe", resend=True)
    assert [each["text"] for each in sandbox.messages()] == ["Muraho", "Mwiriwe"]


@needs_store
def test_a_bare_word_stands_for_the_text_of_the_generation_that_finds_it(sandbox):
    store = Store(pindo_sms="sent")
    execute(store)
    seen = Entry(SENT, input=store["pindo_sms"]["input"], generation=0, to="+25078****567", result={})
    assert store["pindo_sms"] == seen.to_value()
    with pytest.raises(AirflowFailException, match="clear the task with resend=True"):
        execute(store, text="Mwiriwe")
    assert sandbox.messages() == []


@needs_store
@pytest.mark.parametrize(
    "arguments", [{}, {"on_unknown": "resend"}, {"on_unknown": "accept"}, {"resend": True}]
)
def test_nothing_is_sent_while_the_entry_is_of_another_version(sandbox, arguments):
    store = Store()
    lose_the_answer(sandbox, store)
    store["pindo_sms"]["v"] = 2
    for generation in (0, 1):
        with pytest.raises(AirflowFailException, match=r"has version 2.*\n.*Upgrade airflow-provider-pindo"):
            execute(store, generation=generation, **arguments)
    assert len(sandbox.messages()) == 1
    put_the_bare_word(store, "not_sent")
    execute(store, generation=2, **arguments)
    assert len(sandbox.messages()) == 2


@needs_store
def test_another_text_after_an_unknown_outcome_goes_out_once_a_person_settles_it(sandbox):
    store = Store()
    lose_the_answer(sandbox, store)
    for generation, resend in [(0, False), (1, True)]:
        with pytest.raises(AirflowFailException, match="choose Did not arrive in the Pindo tab") as caught:
            execute(store, generation=generation, resend=resend, text="Mwiriwe")
        assert "resend" not in str(caught.value)
    change_status(store, "not_sent")
    execute(store, generation=2, text="Mwiriwe")
    assert [each["text"] for each in sandbox.messages()] == ["Muraho", "Mwiriwe"]


def send_and_fail(monkeypatch, *, left):
    """Let the hook raise a library's error, after its request left or before."""
    send = PindoHook.send

    def fail(self, *args):
        if left:
            send(self, *args)
        raise LookupError("not foreseen")

    monkeypatch.setattr(PindoHook, "send", fail)


@needs_store
def test_an_error_that_nobody_foresaw_is_an_unknown_outcome_once_the_request_has_left(sandbox, monkeypatch):
    store = Store()
    send_and_fail(monkeypatch, left=True)
    settled = r"LookupError.*may have been sent\n.*'pindo_sms' from 'unknown' to 'sent' or 'not_sent'"
    with pytest.raises(AirflowFailException, match=settled):
        execute(store)
    assert status(store) == UNKNOWN
    assert execute(Store(), on_unknown="accept") == {"status": "unknown", "to": PHONE}


def test_without_a_ledger_an_error_that_nobody_foresaw_is_no_end_of_the_task(sandbox, monkeypatch):
    send_and_fail(monkeypatch, left=True)
    with pytest.raises(
        AirflowFailException, match=r"LookupError.*\n.*if so, mark the task as success"
    ) as caught:
        execute()
    assert "was ended" not in str(caught.value)


@needs_store
def test_an_error_that_nobody_foresaw_before_the_request_left_has_sent_nothing(sandbox, monkeypatch):
    store = Store()
    send_and_fail(monkeypatch, left=False)
    with pytest.raises(LookupError):
        execute(store)
    assert status(store) == NOT_SENT
    assert sandbox.messages() == []


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


ODD = {
    "a class": b'{"sms_id": "one", "__classname__": "x.Y", "extra": {"__type": "dict", "__var": 1}}',
    "an abyss": b'{"sms_id": "one", "extra": ' + b"[" * 900 + b"]" * 900 + b"}",
    "a huge number": b'{"sms_id": "one", "item_count": 1'
    + b"0" * 30
    + b', "extra": [-1'
    + b"0" * 400
    + b"]}",
    "NUL": b'{"sms_id": "one", "extra": "a\\u0000b", "c\\u0000": 1}',
    "no amount": b'{"sms_id": "one", "total_cost": -0.006, "extra": NaN}',
}


@pytest.mark.parametrize("body", ODD.values(), ids=ODD)
def test_an_odd_receipt_is_kept_and_returned_so_that_airflow_can_store_it(monkeypatch, body):
    store = Store() if HAS_STORE else None
    with Wire([answer(201, body)]) as wire:
        monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", wire.connection())
        result = execute(store)
    assert result["sms_id"] == "one"
    for kept in (result, *(store or {}).values()):
        msgspec.msgpack.encode(kept)
        stored = json.dumps(kept, allow_nan=False)
        assert not any(odd in stored for odd in ("\\u0000", '"__', "0" * 401))
    if store is not None:
        assert execute(store) == result


@pytest.mark.parametrize("on_unknown", ["fail", "resend"])
def test_what_the_server_wrote_stands_nowhere_in_the_chain_of_errors(monkeypatch, on_unknown):
    echo = json.dumps({"sms_id": "one", "to": PHONE, "text": "Your result is ready"}).encode()
    with Wire([echo + b"\r\n\r\n"]) as wire:
        monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", wire.connection())
        with pytest.raises(AirflowException) as caught:
            execute(text="Your result is ready", on_unknown=on_unknown)
    shown = "".join(traceback.format_exception(caught.value))
    assert "the response was not valid HTTP" in shown
    assert not any(piece in shown for piece in ("781234567", "sms_id", 'to": '))


def test_what_nobody_foresaw_is_told_by_its_kind_alone(sandbox, monkeypatch):
    def fail(*_):
        raise LookupError("Your result is ready")

    monkeypatch.setattr("airflow_provider_pindo.operators._once.json_safe", fail)
    with pytest.raises(
        AirflowFailException, match=r"LookupError in fail .* was raised after the request was sent"
    ) as caught:
        execute()
    assert "LookupError: Your result" not in "".join(traceback.format_exception(caught.value))


@needs_store
@pytest.mark.parametrize("is_retry", [False, True])
def test_an_unknown_outcome_says_in_one_line_what_happened_and_in_one_what_to_do(sandbox, caplog, is_retry):
    store = Store()
    sandbox.add_fault("drop_after", call="send_sms")
    for _ in range(1 + is_retry):
        caplog.clear()
        with pytest.raises(AirflowFailException) as failed:
            execute(store)
    happened, advice = str(failed.value).splitlines()
    assert "may have been sent" in happened
    assert advice.startswith("Find out whether +25078****567 got it")
    assert "change the status of the entry 'pindo_sms' from 'unknown' to 'sent' or 'not_sent'" in advice
    printed = "".join(traceback.format_exception(failed.value)) + caplog.text
    assert (printed.count(happened), printed.count(advice)) == (1, 1)


def test_a_callback_finds_the_facts_of_an_error_that_is_not_retried(sandbox):
    sandbox.add_fault(call="send_sms", action="status", status=401, body={"message": "unauthorized"})
    with pytest.raises(AirflowFailException) as failed:
        execute()
    error = failed.value.__context__
    assert isinstance(error, PindoAuthError)
    assert (str(error), error.status, error.reason) == (str(failed.value), 401, "unauthorized")


def test_an_unknown_outcome_keeps_the_facts_of_the_response(sandbox):
    sandbox.add_fault(call="send_sms", action="status", status=503, body={"message": "maintenance"})
    with pytest.raises(AirflowFailException) as failed:
        execute()
    error = failed.value.__context__
    assert isinstance(error, PindoUnknownOutcomeError)
    assert (error.status, error.reason) == (503, "maintenance")
