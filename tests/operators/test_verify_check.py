"""Checking a PIN against the sandbox, try after try: the API's log shows what counts."""

from __future__ import annotations

import traceback

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_pindo._ledger.transaction import RequestLedger
from airflow_provider_pindo.api.errors import PindoError, PindoInsufficientBalanceError
from airflow_provider_pindo.api.values import VerificationCheck
from airflow_provider_pindo.hooks._transport.attempt import begin_attempt
from airflow_provider_pindo.hooks.pindo import PindoHook
from airflow_provider_pindo.operators.verify import (
    PindoVerifyCancelOperator,
)
from tests.operators.verification import Task, checks, state
from tests.versions import needs_store

pytestmark = needs_store


@pytest.mark.parametrize("as_given", [int, str, lambda request_id: f" {request_id} "])
def test_the_right_code_gives_pindos_answer(sandbox, sent, check, as_given):
    answer = check(as_given(sent["request_id"]), sent["pin"]).run()
    assert answer == {
        "verified": True,
        "message": "success",
        "request_id": sent["request_id"],
        "remaining_balance": sandbox.state()["balance"],
    }


def test_a_wrong_code_fails_without_retry(sandbox, sent, check):
    with pytest.raises(AirflowFailException, match=r"verification 1 was not accepted: wrong code"):
        check(1, "000000").run()
    assert checks(sandbox) == [400]
    assert state(sandbox, 1) == "pending"


@pytest.mark.parametrize("status", [400, 409, 422])
def test_a_wrong_code_can_be_returned_to_branch_on(sandbox, sent, check, status):
    sandbox.settings(wrong_code_status=status)
    answer = check(1, "000000", on_wrong_code="return").run()
    assert answer == {"verified": False, "reason": "wrong code"}


def test_an_expired_code_is_returned_too(sandbox, send, check):
    sandbox.settings(pin_ttl=0)
    send().run()
    answer = check(1, sandbox.messages()[-1]["pin"], on_wrong_code="return").run()
    assert answer == {"verified": False, "reason": "verification is expired"}


@pytest.mark.parametrize(
    "as_typed",
    [
        lambda pin: f"\u200b{pin}",
        lambda pin: f"{pin[:2]} {pin[2:]}",
        lambda pin: "".join(chr(0xFF10 + int(digit)) for digit in pin),
        lambda pin: "".join(chr(0x0660 + int(digit)) for digit in pin),
    ],
    ids=["invisible", "space", "full-width", "Arabic"],
)
def test_the_right_code_in_another_spelling_is_right_and_in_no_log(sandbox, sent, check, caplog, as_typed):
    typed = as_typed(sent["pin"])
    task = check(1, typed)
    assert task.run()["verified"] is True
    assert checks(sandbox) == [200]
    logged = [record.getMessage() for record in caplog.records]
    assert not any(code in line for code in (typed, sent["pin"]) for line in logged)


@pytest.mark.parametrize("code", ["", "  ", "\u200b", " \ufeff\n"])
def test_an_empty_code_is_a_wrong_one_that_costs_no_attempt(sandbox, sent, check, code):
    answer = check(1, code, on_wrong_code="return").run()
    assert answer == {"verified": False, "reason": "the code is empty"}
    assert checks(sandbox) == []


@pytest.mark.parametrize("status", [401, 402, 403, 404])
def test_other_refusals_are_no_wrong_code(sandbox, sent, check, status):
    sandbox.add_fault("status", call="check_verification", status=status, body={"message": "no"})
    with pytest.raises((AirflowFailException, PindoInsufficientBalanceError)):
        check(1, sent["pin"], on_wrong_code="return").run()


def test_an_unknown_request_id_fails_and_names_it(sandbox, check):
    with pytest.raises(AirflowFailException, match="no such verification"):
        check(77, "123456", on_wrong_code="return").run()


@pytest.mark.parametrize("code", [123456, 7.0, True, None, ["123456"]])
def test_a_code_that_is_no_string_is_refused_and_not_shown(sandbox, sent, check, code):
    with pytest.raises(AirflowFailException, match=r"^code is") as caught:
        check(1, code, on_wrong_code="return").run()
    assert "123456" not in str(caught.value)
    assert checks(sandbox) == []


@pytest.mark.parametrize("again", [Task.run, Task.clear])
def test_a_right_answer_is_returned_again_and_nothing_is_asked(sandbox, sent, check, again):
    task = check(sent["request_id"], sent["pin"])
    first = task.run()
    assert again(task) == first
    assert checks(sandbox) == [200]


def test_a_wrong_code_is_asked_again_by_a_clear_and_not_by_a_retry(sandbox, sent, check):
    task = check(1, "000000", on_wrong_code="return")
    first = task.run()
    assert task.run() == first
    assert checks(sandbox) == [400]
    assert task.clear() == first
    assert checks(sandbox) == [400, 400]


def test_a_clear_checks_what_the_person_typed_the_second_time(sandbox, sent, check):
    task = check(1, "000000", on_wrong_code="return")
    task.run()
    task.make = check(1, sent["pin"]).make
    assert task.clear()["verified"] is True


def test_another_verification_is_checked_on_its_own(sandbox, sent, send, check):
    task = check(1, sent["pin"])
    task.run()
    send().run()
    task.make = check(2, sandbox.messages()[-1]["pin"]).make
    assert task.clear()["request_id"] == 2


LOST = [
    {"action": "status_after", "status": 500},
    {"action": "drop_after"},
    {"action": "not_json"},
]


@pytest.mark.parametrize("fault", LOST)
def test_a_right_code_whose_answer_was_lost_is_verified_by_its_state(sandbox, sent, check, fault):
    sandbox.add_fault(call="check_verification", **fault)
    task = check(1, sent["pin"])
    assert task.run() == {"verified": True, "request_id": 1}
    assert task.run() == {"verified": True, "request_id": 1}
    assert len(checks(sandbox)) == 1


@pytest.mark.parametrize("fault", [{"action": "status", "status": 500}, {"action": "drop_before"}, *LOST[:2]])
def test_a_lost_answer_that_the_state_does_not_settle_burns_no_second_attempt(sandbox, sent, check, fault):
    sandbox.add_fault(call="check_verification", **fault)
    wrong = check(1, "000000", on_wrong_code="return")
    for _ in range(2):
        with pytest.raises(AirflowFailException, match="could use up an attempt"):
            wrong.run()
    assert len(checks(sandbox)) == 1
    assert wrong.clear() == {"verified": False, "reason": "wrong code"}


def test_a_try_that_was_killed_is_settled_by_the_state(sandbox, sent, check, monkeypatch):
    """The worker died after the response came and before the ledger was written."""
    task = check(1, sent["pin"])
    monkeypatch.setattr(RequestLedger, "write_outcome", lambda self, entry: None)
    task.run()
    assert task.store["pindo_verify_check"]["status"] == "unknown"
    assert task.run() == {"verified": True, "request_id": 1}
    assert len(checks(sandbox)) == 1


def test_a_task_that_times_out_while_it_looks_at_the_state_asks_no_second_time(
    sandbox, sent, check, monkeypatch
):
    class Timeout(BaseException):
        pass

    def times_out(self, request_id):
        begin_attempt()  # the request for the state has not left yet
        raise Timeout

    sandbox.add_fault("status_after", call="check_verification", status=500)
    task = check(1, "000000")
    with monkeypatch.context() as patched:
        patched.setattr("airflow_provider_pindo.hooks.pindo.PindoHook.get_verification", times_out)
        with pytest.raises(Timeout):
            task.run()
    with pytest.raises(AirflowFailException, match="may have used up an attempt"):
        task.run()
    assert len(checks(sandbox)) == 1


class TimedOut(BaseException):
    """What Airflow raises in a task whose time is up."""


def time_out(*_):
    raise TimedOut


@pytest.mark.parametrize(
    ("fault", "patched", "status"),
    [
        ({"action": "rate_limit", "retry_after": 1}, "time.sleep", "not_sent"),
        (
            {"action": "latency", "seconds": 0},
            "airflow_provider_pindo.hooks._transport.sync.parse_response",
            "unknown",
        ),
    ],
    ids=["waiting", "sent"],
)
def test_a_check_that_times_out_is_unknown_only_if_it_had_left(
    sandbox, sent, check, monkeypatch, fault, patched, status
):
    sandbox.add_fault(call="check_verification", **fault)
    task = check(1, sent["pin"])
    monkeypatch.setattr(patched, time_out)
    with pytest.raises(TimedOut):
        task.run()
    assert task.store["pindo_verify_check"]["status"] == status


def test_a_check_that_times_out_before_it_leaves_is_not_unknown_because_the_state_was_read(
    sandbox, sent, check, monkeypatch
):
    sandbox.add_fault("status_after", call="check_verification", status=500)
    task = check(1, "000000")
    with pytest.raises(AirflowFailException):
        task.run()
    with monkeypatch.context() as patched:
        patched.setattr(PindoHook, "check_verification", time_out)
        with pytest.raises(TimedOut):
            task.clear()
    assert task.store["pindo_verify_check"]["status"] == "not_sent"


@pytest.mark.parametrize("status", [405, 413, 421, 425])
def test_what_refuses_the_request_as_such_says_nothing_of_the_code(sandbox, sent, check, status):
    sandbox.add_fault("status", call="check_verification", status=status)
    task = check(1, sent["pin"], on_wrong_code="return")
    with pytest.raises(AirflowFailException, match=str(status)):
        task.run()
    assert task.store["pindo_verify_check"]["status"] == "not_sent"
    assert task.clear()["verified"] is True


@pytest.mark.parametrize(
    "repeat",
    [
        lambda pin: pin,
        lambda pin: int(pin),
        lambda pin: {"data": [{"code": pin}]},
        lambda pin: f"code {pin} accepted",
    ],
)
def test_a_code_that_pindo_repeats_is_not_kept(sandbox, sent, check, monkeypatch, repeat):
    said = VerificationCheck(1, raw={"message": "success", "request_id": 1, "said": repeat(sent["pin"])})
    monkeypatch.setattr(PindoHook, "check_verification", lambda *_: said)
    task = check(1, sent["pin"])
    assert task.run() == {"message": "success", "request_id": 1, "verified": True}
    assert sent["pin"] not in str(task.store)


def test_what_only_looks_like_the_code_is_kept(sandbox, check, monkeypatch):
    said = {"message": "success", "request_id": 4, "at": "2026-11-28T10:04:00", "remaining_balance": 12.5}
    monkeypatch.setattr(PindoHook, "check_verification", lambda *_: VerificationCheck(4, raw=said))
    assert check(4, "000004").run() == {**said, "verified": True}


@pytest.mark.parametrize("has_left", [True, False])
def test_an_error_that_is_none_of_pindos_shows_no_code_and_asks_no_second_time(
    sandbox, sent, check, monkeypatch, has_left
):
    def fail(hook, request_id, code, ask=PindoHook.check_verification):
        if has_left:
            ask(hook, request_id, code)
            raise LookupError(f"{code} is what was typed")
        raise OSError("too many open files")

    sandbox.add_fault("status", call="get_verification", status=403, times=None)
    task = check(1, sent["pin"])
    monkeypatch.setattr(PindoHook, "check_verification", fail)
    with pytest.raises(AirflowFailException if has_left else OSError) as failed:
        task.run()
    shown = "".join(traceback.format_exception(failed.value))
    assert sent["pin"] not in shown
    assert ("LookupError in fail" in shown and "may have used up an attempt" in shown) is has_left
    assert task.store["pindo_verify_check"]["status"] == ("unknown" if has_left else "not_sent")


def test_a_lost_answer_whose_state_is_lost_too_is_unknown(sandbox, sent, check):
    sandbox.add_fault("drop_after", call="check_verification")
    sandbox.add_fault("status", call="get_verification", status=403, times=None)
    with pytest.raises(AirflowFailException, match="may have used up an attempt"):
        check(1, sent["pin"]).run()
    assert len(checks(sandbox)) == 1


def test_a_check_that_never_arrived_is_retried(sandbox, sent, check, monkeypatch):
    task = check(1, sent["pin"])
    sandbox.stop()
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the hook tries again for a while
    with pytest.raises(PindoError) as caught:
        task.run()
    assert caught.value.retry_helps
    assert task.store["pindo_verify_check"]["status"] == "not_sent"


def test_the_ledger_holds_nothing_that_a_code_could_be_found_by(sandbox, sent, check):
    right, wrong = check(1, sent["pin"]), check(1, "000000", on_wrong_code="return")
    wrong.run()
    right.run()
    assert right.store["pindo_verify_check"]["input"] == wrong.store["pindo_verify_check"]["input"]


def test_what_pindo_says_about_a_code_is_shown_without_it(sandbox, sent, check, caplog):
    sandbox.add_fault("status", call="check_verification", status=400, body={"message": "0471 is wrong"})
    with pytest.raises(AirflowFailException) as caught:
        check(1, " 0471\n").run()
    assert "*** is wrong" in str(caught.value)
    assert "0471" not in caplog.text


def test_an_odd_answer_to_a_code_is_kept_so_that_airflow_can_store_it(sandbox, sent, check):
    odd = {"message": "success", "__classname__": "x.Y", "remaining_balance": 10**30}
    sandbox.add_fault("status_after", call="check_verification", status=200, body=odd)
    kept = {
        "message": "success",
        "raw__classname__": "x.Y",
        "remaining_balance": str(10**30),
        "request_id": 1,
        "verified": True,
    }
    task = check(1, sent["pin"])
    assert task.run() == kept == task.store["pindo_verify_check"]["result"]
    sandbox.add_fault("status", call="cancel_verification", status=200, body={"status": "over", "__id__": 1})
    cancelled = PindoVerifyCancelOperator(task_id="cancel", request_id=1).execute({})
    assert cancelled == {"status": "over", "raw__id__": 1, "request_id": 1}
