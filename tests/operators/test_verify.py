"""The verify operators against the sandbox, try after try: what the phone and the API's log show is what counts.

A :class:`Task` stands in for Airflow here: it runs ``execute`` with the task state store, the number of tries and
the goes that Airflow 3.3 would give it (that it does is shown in ``tests/e2e``).
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_pindo._ledger.transaction import RequestLedger
from airflow_provider_pindo.api.errors import PindoError, PindoInsufficientBalanceError
from airflow_provider_pindo.api.values import VerificationCheck
from airflow_provider_pindo.hooks._transport.attempt import begin_attempt
from airflow_provider_pindo.hooks.pindo import PindoHook
from airflow_provider_pindo.operators.verify import (
    PindoVerifyCancelOperator,
    PindoVerifyCheckOperator,
    PindoVerifyOperator,
)

pytest.importorskip("airflow.sdk.execution_time.context", reason="the ledger needs Airflow 3.3")

PHONE = "+250781234567"


class Store(dict[str, Any]):
    """What a task instance keeps, as Airflow's task state store does."""

    def set(self, key: str, value: Any, *, retention: Any) -> None:
        self[key] = value


class Task:
    """One task instance.

    :param make: makes the operator anew for each try, as Airflow does.
    """

    def __init__(self, make: Callable[[], Any], *, retries: int = 1) -> None:
        self.make = make
        self.store = Store()
        self.retries = retries
        self.try_number = 0
        self.max_tries = retries

    def run(self) -> Any:
        """Run the first try, or retry."""
        self.try_number += 1
        ti = SimpleNamespace(try_number=self.try_number, max_tries=self.max_tries)
        return self.make().execute({"ti": ti, "task_state_store": self.store})

    def clear(self) -> Any:
        """Run again as after a clear."""
        self.max_tries = self.try_number + self.retries
        return self.run()


@pytest.fixture
def send() -> Callable[..., Task]:
    def make(**arguments: Any) -> Task:
        return Task(lambda: PindoVerifyOperator(task_id="send", number=PHONE, **arguments))

    return make


@pytest.fixture
def check() -> Callable[..., Task]:
    def make(request_id: int | str, code: Any, **arguments: Any) -> Task:
        return Task(
            lambda: PindoVerifyCheckOperator(task_id="check", request_id=request_id, code=code, **arguments)
        )

    return make


@pytest.fixture
def sent(sandbox, send) -> dict[str, Any]:
    """A PIN on the phone: ``request_id`` and ``pin``."""
    return {**send().run(), "pin": sandbox.messages()[-1]["pin"]}


def checks(sandbox) -> list[int]:
    return [request["status"] for request in sandbox.requests(call="check_verification")]


def state(sandbox, request_id: int) -> str:
    from airflow_provider_pindo.hooks.pindo import PindoHook

    return str(PindoHook().get_verification(request_id).status)


# -- sending


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


def test_sent_without_a_request_id_says_what_is_missing(sandbox, send):
    task = send()
    task.store["pindo_verify"] = "sent"
    with pytest.raises(AirflowFailException, match="no request_id to check it by"):
        task.run()
    assert sandbox.messages() == []


@pytest.mark.parametrize("settled", ["sent", {"status": "sent", "result": {"request_id": 4}}])
def test_a_clear_with_resend_sends_a_new_pin_after_what_a_person_wrote(sandbox, send, settled):
    """Verification 4 is none that Pindo knows: its PIN has lapsed."""
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
    from airflow_provider_pindo.hooks.pindo import PindoHook

    verify = PindoHook.verify

    def fail(self, *args):
        verify(self, *args)
        raise LookupError

    monkeypatch.setattr(PindoHook, "verify", fail)
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


# -- checking


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
    with pytest.raises(AirflowFailException, match=r"verification 1 does not count: wrong code"):
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


@pytest.mark.parametrize("code", ["", "  "])
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
        with pytest.raises(AirflowFailException, match="could burn an attempt"):
            wrong.run()
    assert len(checks(sandbox)) == 1
    assert wrong.clear() == {"verified": False, "reason": "wrong code"}


def test_a_try_that_was_killed_is_settled_by_the_state(sandbox, sent, check, monkeypatch):
    """The worker died after the answer came and before it was written down."""
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
    """What Airflow raises in the middle of a task whose time is up."""


def time_out(*_):
    raise TimedOut


@pytest.mark.parametrize(
    ("fault", "patched", "status"),
    [
        ({"action": "rate_limit", "retry_after": 1}, "time.sleep", "not_sent"),
        ({"action": "latency", "seconds": 0}, "airflow_provider_pindo.hooks.pindo.parse_response", "unknown"),
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


def test_where_airflow_keeps_nothing_a_lost_pin_is_asked_for_by_a_clear(sandbox):
    sandbox.add_fault("drop_after", call="verify")
    ti = SimpleNamespace(try_number=1, max_tries=1)
    with pytest.raises(AirflowFailException, match="For a new PIN, clear the task"):
        PindoVerifyOperator(task_id="send", number=PHONE).execute({"ti": ti})


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


# -- cancelling


@pytest.mark.parametrize("arguments", [{"cancel_on_failure": True}, {"cancel_on_failure": "True"}])
def test_a_check_that_fails_cancels_when_told_to(sandbox, sent, check, arguments):
    with pytest.raises(AirflowFailException):
        check(1, "000000", **arguments).run()
    assert state(sandbox, 1) == "cancelled"


def test_a_wrong_code_that_is_returned_is_no_failure(sandbox, sent, check):
    check(1, "000000", on_wrong_code="return", cancel_on_failure=True).run()
    assert state(sandbox, 1) == "pending"


def test_what_may_be_retried_is_cancelled_after_the_last_try_alone(sandbox, sent, check):
    sandbox.add_fault("status", call="check_verification", status=402, times=None)
    task = check(1, sent["pin"], cancel_on_failure=True)
    with pytest.raises(PindoInsufficientBalanceError):
        task.run()
    assert state(sandbox, 1) == "pending"
    with pytest.raises(PindoInsufficientBalanceError):
        task.run()
    assert state(sandbox, 1) == "cancelled"


@pytest.mark.parametrize("refused", [False, True], ids=["cancelled", "not cancelled"])
def test_nobody_is_told_to_check_a_code_once_more_after_it_was_cancelled(sandbox, sent, check, refused):
    sandbox.add_fault("status_after", call="check_verification", status=500)
    if refused:
        sandbox.add_fault("status", call="cancel_verification", status=403, times=None)
    with pytest.raises(AirflowFailException, match="may have used up an attempt") as caught:
        check(1, "000000", cancel_on_failure=True).run()
    assert ("clear the task" in str(caught.value)) is refused
    assert (state(sandbox, 1) == "cancelled") is not refused


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


def test_a_cancellation_that_fails_does_not_hide_why_the_check_failed(sandbox, sent, check):
    sandbox.add_fault("status", call="cancel_verification", status=403, times=None)
    with pytest.raises(AirflowFailException, match="wrong code"):
        check(1, "000000", cancel_on_failure=True).run()


def test_cancelling_makes_the_pin_worthless(sandbox, sent, check):
    cancelled = PindoVerifyCancelOperator(task_id="cancel", request_id=str(sent["request_id"])).execute({})
    assert (cancelled["request_id"], cancelled["status"]) == (sent["request_id"], "cancelled")
    answer = check(1, sent["pin"], on_wrong_code="return").run()
    assert answer == {"verified": False, "reason": "verification is cancelled"}


def test_cancelling_what_is_over_changes_nothing_and_succeeds(sandbox, sent, check):
    check(1, sent["pin"]).run()
    for _ in range(2):
        assert PindoVerifyCancelOperator(task_id="cancel", request_id=1).execute({})["status"] == "verified"


def test_a_cancellation_that_pindo_refuses_without_reason_fails(sandbox, sent):
    sandbox.add_fault("status", call="cancel_verification", status=409)
    with pytest.raises(AirflowFailException, match="409"):
        PindoVerifyCancelOperator(task_id="cancel", request_id=1).execute({})
    assert state(sandbox, 1) == "pending"


def test_a_cancellation_whose_answer_was_lost_succeeds(sandbox, sent):
    sandbox.add_fault("drop_after", call="cancel_verification")
    assert PindoVerifyCancelOperator(task_id="cancel", request_id=1).execute({})["status"] == "cancelled"


@pytest.mark.parametrize("request_id", ["", "four", None, 1.5, True])
def test_a_request_id_that_is_none_is_refused(sandbox, request_id):
    with pytest.raises(AirflowFailException, match="is not a whole number"):
        PindoVerifyCancelOperator(task_id="cancel", request_id=request_id).execute({})


def test_an_unknown_verification_cannot_be_cancelled(sandbox):
    with pytest.raises(AirflowFailException, match="no such verification"):
        PindoVerifyCancelOperator(task_id="cancel", request_id=77).execute({})
