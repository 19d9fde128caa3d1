"""A single send that is interrupted or fails: what the phone gets, and what the ledger says."""

from __future__ import annotations

import json
import traceback
from dataclasses import asdict

import msgspec
import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_pindo._ledger.entry import NOT_SENT, SENT, UNKNOWN, Entry
from airflow_provider_pindo.api.errors import (
    PindoAuthError,
    PindoInsufficientBalanceError,
    PindoUnknownOutcomeError,
)
from airflow_provider_pindo.hooks.pindo import PindoHook
from tests.hooks.wire import Wire, answer
from tests.operators.once import PHONE, Store, execute, status
from tests.versions import HAS_STORE, needs_store


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
