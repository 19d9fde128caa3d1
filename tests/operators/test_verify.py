"""Sending a PIN against the sandbox, try after try: the phone shows what counts."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_pindo._ledger.entry import SENT, Settlement, read_entry, utc_iso
from airflow_provider_pindo.hooks.pindo import PindoHook
from airflow_provider_pindo.operators.verify import (
    PindoVerifyCancelOperator,
    PindoVerifyOperator,
)
from tests.operators.verification import PHONE, Task
from tests.versions import needs_store

pytestmark = needs_store


def test_a_pin_reaches_the_phone_and_its_request_id_is_returned(sandbox, send):
    result = send(brand="PindoTest").run()
    (message,) = sandbox.messages()
    assert (message["to"], message["kind"], message["sender"]) == (PHONE, "pin", "PindoTest")
    assert result["request_id"] == message["request_id"]
    assert result["network"] == "63510"
    assert result["remaining_balance"] == sandbox.state()["balance"]
    assert message["pin"] not in str(result)


@pytest.mark.parametrize("again", [Task.run, Task.clear])
def test_a_later_try_returns_the_first_request_id_and_sends_nothing(sandbox, send, again):
    task = send()
    first = task.run()
    assert again(task) == first
    assert len(sandbox.messages()) == 1


@pytest.mark.parametrize("fault", ["drop_after", "not_json", "empty_body", "truncate"])
def test_after_a_lost_answer_nothing_is_sent_until_a_person_settles_it(sandbox, send, fault):
    sandbox.add_fault(fault, call="verify")
    task = send()
    for attempt in (task.run, task.run, task.clear):
        with pytest.raises(AirflowFailException, match=r"request_id is not known.*'not_sent'"):
            attempt()
    assert len(sandbox.messages()) == 1
    task.store["pindo_verify"]["status"] = "not_sent"
    assert task.clear()["request_id"] == 2


@pytest.mark.parametrize("key", ["pindo_verify", "pindo_verify_check"])
def test_an_entry_of_another_version_stops_the_task_before_it_asks_pindo(sandbox, send, check, key):
    task = send() if key == "pindo_verify" else check(1, "000000")
    task.store[key] = {"v": 2, "status": "not_sent"}
    for attempt in (task.run, task.run, task.clear):
        with pytest.raises(AirflowFailException, match=rf"entry '{key}'.*has version 2"):
            attempt()
    assert sandbox.requests() == []


def test_a_request_id_that_a_person_found_is_used(sandbox, send):
    sandbox.add_fault("drop_after", call="verify")
    task = send()
    with pytest.raises(AirflowFailException):
        task.run()
    task.store["pindo_verify"] = {"status": "sent", "result": {"request_id": 1}}
    assert task.clear()["request_id"] == 1
    assert len(sandbox.messages()) == 1


def test_a_pin_that_arrived_by_the_button_on_the_page_has_no_request_id(sandbox, send):
    sandbox.add_fault("drop_after", call="verify")
    task = send()
    with pytest.raises(AirflowFailException, match="request_id is not known"):
        task.run()
    entry = read_entry(task.store["pindo_verify"], "pindo_verify")
    task.store["pindo_verify"] = entry.settle(SENT, Settlement("page", "claudine", utc_iso())).to_value()
    for attempt in (task.clear, task.run):
        assert attempt() == {"status": "sent", "number": PHONE, "request_id": None}
    assert len(sandbox.messages()) == 1


def test_sent_without_a_request_id_says_what_is_missing(sandbox, send):
    task = send()
    task.store["pindo_verify"] = "sent"
    with pytest.raises(AirflowFailException, match="no request_id to check it by"):
        task.run()
    assert sandbox.messages() == []


@pytest.mark.parametrize("settled", ["sent", {"status": "sent", "result": {"request_id": 4}}])
def test_a_clear_with_resend_sends_a_new_pin_after_what_a_person_wrote(sandbox, send, settled):
    """Pindo does not know verification 4: its PIN has lapsed."""
    task = send()
    task.store["pindo_verify"] = settled
    with pytest.raises(AirflowFailException, match=r"[Ff]or a new PIN, clear the task with resend=True"):
        task.clear()
    task.make = send(resend=True).make
    with pytest.raises(AirflowFailException):
        task.run()  # a retry
    assert sandbox.messages() == []
    assert task.clear()["request_id"] == 1
    assert len(sandbox.messages()) == 1


@pytest.mark.parametrize("resend", [False, True])
def test_a_request_id_can_be_given_later_to_what_a_person_settled(sandbox, send, resend):
    send().run()
    task = send(resend=resend)
    task.store["pindo_verify"] = "sent"
    with pytest.raises(
        AirflowFailException,
        match=r'Replace its value with \{"status": "sent", "result": \{"request_id": …\}\}',
    ):
        task.clear()
    task.store["pindo_verify"] = {"status": "sent", "result": {"request_id": 1}}
    assert task.clear()["request_id"] == 1
    assert len(sandbox.messages()) == 1


def test_another_number_after_a_lost_answer_gets_its_pin_once_a_person_settles_it(sandbox, send):
    sandbox.add_fault("drop_after", call="verify")
    task = send()
    with pytest.raises(AirflowFailException):
        task.run()
    task.make = lambda: PindoVerifyOperator(task_id="send", number="+250788888888", resend=True)
    with pytest.raises(AirflowFailException, match=r"another PIN.*\n.*to 'not_sent'") as caught:
        task.clear()
    assert "resend" not in str(caught.value)
    task.store["pindo_verify"]["status"] = "not_sent"
    task.clear()
    assert [message["to"] for message in sandbox.messages()] == [PHONE, "+250788888888"]


def test_an_error_that_nobody_foresaw_after_a_pin_left_says_how_to_settle_it(sandbox, send, monkeypatch):
    send_call = PindoHook.send

    def fail(self, *args):
        send_call(self, *args)
        raise LookupError

    monkeypatch.setattr(PindoHook, "send", fail)
    task = send()
    for attempt in (task.run, task.run, task.clear):
        with pytest.raises(AirflowFailException, match=r"request_id is not known.*'not_sent'"):
            attempt()
    assert len(sandbox.messages()) == 1


def test_accept_goes_on_without_a_request_id(sandbox, send):
    sandbox.add_fault("drop_after", call="verify")
    assert send(on_unknown="accept").run() == {"status": "unknown", "number": PHONE}


def test_resend_sends_another_pin_at_the_next_try_when_the_answer_was_lost(sandbox, send):
    sandbox.add_fault("drop_after", call="verify")
    task = send(on_unknown="resend")
    with pytest.raises(AirflowException, match="The next try sends it again"):
        task.run()
    assert task.run()["request_id"] == 2


def test_a_pin_that_has_expired_is_not_returned_and_resend_sends_a_new_one(sandbox, send):
    sandbox.settings(pin_ttl=0)
    task = send()
    first = task.run()["request_id"]
    with pytest.raises(AirflowFailException, match=rf"verification {first}.*expired.*\n.*resend=True"):
        task.clear()
    assert len(sandbox.messages()) == 1
    task.make = lambda: PindoVerifyOperator(task_id="send", number=PHONE, resend="True")
    assert task.clear()["request_id"] == first + 1


def test_a_cancelled_pin_is_not_returned(sandbox, send):
    task = send()
    request_id = task.run()["request_id"]
    PindoVerifyCancelOperator(task_id="cancel", request_id=request_id).execute({})
    with pytest.raises(AirflowFailException, match="cancelled"):
        task.clear()


def test_a_verification_that_pindo_has_forgotten_points_to_resend(sandbox, send):
    task = send()
    task.run()
    sandbox.reset()
    with pytest.raises(AirflowFailException, match="resend=True"):
        task.clear()


@pytest.mark.parametrize("status", [{"status": "in progress"}, {}, {"state": 3}])
def test_a_state_in_other_words_is_left_to_the_check(sandbox, send, status):
    task = send()
    first = task.run()
    sandbox.add_fault("status", call="get_verification", status=200, body=status)
    assert task.clear() == first


@pytest.mark.parametrize("status", [400, 401, 405, 503])
def test_a_state_that_pindo_does_not_give_is_left_to_the_check(sandbox, send, status):
    task = send()
    first = task.run()
    sandbox.add_fault("status", call="get_verification", status=status, times=None)
    assert task.clear() == first


def test_a_verification_that_is_gone_points_to_resend(sandbox, send):
    task = send()
    task.run()
    sandbox.add_fault("status", call="get_verification", status=410)
    with pytest.raises(AirflowFailException, match="resend=True"):
        task.clear()


def test_another_number_is_not_texted_by_a_clear(sandbox, send):
    task = send()
    task.run()
    task.make = lambda: PindoVerifyOperator(task_id="send", number="+250788888888")
    with pytest.raises(AirflowFailException, match="another PIN"):
        task.clear()
    assert len(sandbox.messages()) == 1


def test_where_airflow_keeps_nothing_a_lost_pin_is_asked_for_by_a_clear(sandbox):
    sandbox.add_fault("drop_after", call="verify")
    ti = SimpleNamespace(try_number=1, max_tries=1)
    with pytest.raises(AirflowFailException, match="For a new PIN, clear the task"):
        PindoVerifyOperator(task_id="send", number=PHONE).execute({"ti": ti})
