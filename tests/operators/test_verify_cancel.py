"""Cancelling a verification, as a task of its own and after a check that failed."""

from __future__ import annotations

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_pindo.api.errors import PindoInsufficientBalanceError
from airflow_provider_pindo.operators.verify import (
    PindoVerifyCancelOperator,
)
from tests.operators.verification import state


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
