"""A person answers whether a message or a PIN arrived: what the phone gets, and what the ledger says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_pindo.notifications.sms import PindoNotifier
from airflow_provider_pindo.operators.sms import PindoSendSmsOperator
from airflow_provider_pindo.operators.verify import PindoVerifyOperator
from tests.operators.verification import PHONE, Task

exceptions = pytest.importorskip("airflow.sdk.exceptions")
if not hasattr(exceptions, "TaskAwaitingInput"):
    pytest.skip("a task can park itself from Airflow 3.3 on", allow_module_level=True)

ARRIVED, NOT_ARRIVED, LEFT = "It arrived", "It did not: send it", "Leave it failed"
AT = datetime(2026, 11, 24, 6, tzinfo=UTC)
PRESSED = {"by": "person", "who": "Aline", "at": AT.isoformat()}


class AskingTask(Task):
    """One task instance that asks, as Airflow runs it."""

    key: str
    call: str

    def run(self):
        """Run a try; return the exception that parks the task, or the result."""
        try:
            return super().run()
        except exceptions.TaskAwaitingInput as parked:
            self.parked = parked
            return parked

    def resume(self, **event):
        """Resume the task, as Airflow does with an answer."""
        method = getattr(self.make(), self.parked.method_name)
        try:
            return method(self.context(), event=event, **self.parked.kwargs)
        except exceptions.TaskAwaitingInput as parked:
            self.parked = parked
            return parked

    def answer(self, option):
        user = {"id": "7", "name": "Aline"}
        return self.resume(
            chosen_options=[option], params_input={}, responded_at=AT, responded_by_user=user, timedout=False
        )

    @property
    def entry(self):
        return self.store[self.key]


def is_parked(outcome):
    return isinstance(outcome, exceptions.TaskAwaitingInput)


@pytest.fixture
def forms(monkeypatch):
    """The questions that Airflow was asked to show."""
    shown = []
    monkeypatch.setattr(
        "airflow.sdk.execution_time.hitl.upsert_hitl_detail", lambda **form: shown.append(form)
    )
    return shown


@pytest.fixture(params=["sms", "verify"])
def task(request, forms):
    def make(**changes):
        arguments = {"task_id": "text", "on_unknown": "ask", **changes}
        if request.param == "verify":
            return PindoVerifyOperator(number=PHONE, **arguments)
        return PindoSendSmsOperator(**{"to": PHONE, "text": "Muraho", **arguments})

    task = AskingTask(make)
    task.key = f"pindo_{request.param}"
    task.call = {"sms": "send_sms", "verify": "verify"}[request.param]
    return task


@pytest.fixture
def lost(sandbox, task):
    """A task that asks, since the response to its request was lost."""
    sandbox.add_fault("drop_after", call=task.call)
    assert is_parked(task.run())
    return task


def change(task, **arguments):
    make = task.make
    task.make = lambda: make(**arguments)


def test_the_question_says_where_to_look_and_names_nobody(capsys, lost, forms):
    logged = capsys.readouterr().out
    (form,) = forms
    assert form["options"] == [ARRIVED, NOT_ARRIVED, LEFT]
    assert form["subject"] in ("Did the message arrive?", "Did the PIN arrive?")
    assert all(option in form["body"] for option in form["options"])
    assert "+250" not in form["body"]
    assert ("`request_id`" in form["body"]) == (lost.key == "pindo_verify")
    assert "The number, the time and the reason are in the task's log and in its Pindo tab" in form["body"]
    assert "+25078****567" in logged
    assert lost.entry["began"] in logged
    assert "may have been sent" in logged


def test_it_arrived_succeeds_and_sends_nothing(sandbox, lost, monkeypatch):
    counted = []
    monkeypatch.setattr("airflow_provider_pindo.operators._once.count_settled", counted.append)
    result = lost.answer(ARRIVED)
    assert counted == ["person"]
    expected = {"sms": {"to": PHONE}, "verify": {"number": PHONE, "request_id": None}}
    assert result == {"status": "sent", **expected[lost.key.removeprefix("pindo_")]}
    assert len(sandbox.messages()) == 1
    assert (lost.entry["status"], lost.entry["settled"]) == ("sent", PRESSED)
    assert lost.clear() == result
    change(lost, resend=True)
    lost.clear()
    assert len(sandbox.messages()) == 2


def test_it_did_not_sends_it_once(sandbox, lost):
    result = lost.answer(NOT_ARRIVED)
    assert result["sms_id" if lost.key == "pindo_sms" else "request_id"]
    assert len(sandbox.messages()) == 2
    assert lost.clear() == result
    assert len(sandbox.messages()) == 2


def test_left_failed_fails_without_retry_and_a_clear_asks_again(sandbox, lost, forms):
    with pytest.raises(AirflowFailException, match="may have been sent"):
        lost.answer(LEFT)
    assert (lost.entry["status"], lost.entry["settled"]) == ("unknown", PRESSED)
    assert is_parked(lost.clear())
    assert len(forms) == 2
    assert lost.answer(ARRIVED)["status"] == "sent"
    assert len(sandbox.messages()) == 1


def test_no_answer_in_time_fails_as_with_fail(sandbox, lost, capsys):
    with pytest.raises(AirflowFailException, match=r"Find out whether|cannot be checked"):
        lost.resume(error="The time has passed", error_type="timeout")
    assert "Nobody answered within 7 days" in capsys.readouterr().out
    assert (lost.entry["status"], lost.entry["settled"]) == ("unknown", None)
    assert len(sandbox.messages()) == 1


def test_the_retry_of_a_killed_task_asks(sandbox, task, forms):
    task.run()
    task.store[task.key] |= {"status": "unknown", "result": None}  # as a kill leaves it
    assert is_parked(task.run())
    assert len(forms) == len(sandbox.messages()) == 1


def test_a_second_unknown_asks_again(sandbox, lost, forms):
    sandbox.add_fault("drop_after", call=lost.call)
    first = lost.parked
    assert is_parked(lost.answer(NOT_ARRIVED))
    assert lost.parked.kwargs != first.kwargs
    assert (len(forms), len(sandbox.messages())) == (2, 2)
    assert lost.answer(ARRIVED)["status"] == "sent"
    assert len(sandbox.messages()) == 2


def test_an_answer_that_airflow_delivers_twice_sends_once(sandbox, lost, forms):
    """A scheduler that stops may run the same part of a try again, after its request has left."""
    delivered = lost.parked
    sandbox.add_fault("drop_after", call=lost.call)
    lost.answer(NOT_ARRIVED)
    lost.parked = delivered
    assert is_parked(lost.answer(NOT_ARRIVED))
    assert (len(forms), len(sandbox.messages())) == (3, 2)


def test_a_kill_between_answer_and_sending_sends_at_the_retry(sandbox, lost, monkeypatch):
    class Killed(BaseException):
        pass

    def die(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(type(lost.make()), "_send", die)
        with pytest.raises(Killed):
            lost.answer(NOT_ARRIVED)
    assert (lost.entry["status"], lost.entry["settled"]) == ("not_sent", PRESSED)
    assert not is_parked(lost.run())
    assert len(sandbox.messages()) == 2


def test_an_answer_that_the_ledger_cannot_take_is_not_applied(sandbox, lost, monkeypatch):
    def fail(*args, **kwargs):
        raise ConnectionError("no API server")

    with monkeypatch.context() as patch:
        patch.setattr(type(lost.store), "set", fail)
        with pytest.raises(ConnectionError):
            lost.answer(NOT_ARRIVED)
    assert len(sandbox.messages()) == 1
    assert is_parked(lost.run())


@pytest.mark.parametrize("option", [ARRIVED, NOT_ARRIVED, LEFT])
@pytest.mark.parametrize("status", ["sent", "not_sent"])
def test_what_somebody_settled_while_the_question_was_open_counts(sandbox, lost, option, status, capsys):
    lost.store[lost.key] = {**lost.entry, "status": status, "result": {"request_id": 1}}
    assert not is_parked(lost.answer(option))
    assert len(sandbox.messages()) == {"sent": 1, "not_sent": 2}[status]
    assert f"The answer '{option}' of Aline is not used" in capsys.readouterr().out


def test_an_answer_about_an_entry_that_somebody_deleted_still_counts(sandbox, lost):
    del lost.store[lost.key]
    assert lost.answer(ARRIVED)["status"] == "sent"
    assert len(sandbox.messages()) == 1


def test_an_option_of_another_version_of_the_form_asks_again(sandbox, lost, forms):
    assert is_parked(lost.answer("Perhaps"))
    assert (len(forms), len(sandbox.messages())) == (2, 1)


def test_the_answer_that_it_arrived_does_not_stand_for_another_input(sandbox, forms):
    text = ["Muraho"]
    task = AskingTask(
        lambda: PindoSendSmsOperator(
            task_id="text", to=PHONE, text=text[0], on_unknown="ask", ask_timeout=None
        )
    )
    sandbox.add_fault("drop_after", call="send_sms")
    assert task.run().timeout is None
    text[0] = "Murabeho"
    with pytest.raises(AirflowFailException, match="has sent, or may have sent, another message"):
        task.answer(ARRIVED)
    assert len(sandbox.messages()) == 1


def test_whoever_is_on_call_is_told_when_a_question_is_asked(sandbox, forms):
    told = []
    task = AskingTask(
        lambda: PindoSendSmsOperator(
            task_id="text", to=PHONE, text="Muraho", on_unknown="ask", ask_notifiers=[told.append]
        )
    )
    sandbox.add_fault("drop_after", call="send_sms")
    assert task.run().timeout == timedelta(days=7)
    assert [context["question_url"] for context in told] == ["http://airflow/t/required_actions"]


def test_a_pindo_notifier_texts_the_address_of_the_form(sandbox, forms):
    notifier = PindoNotifier("+250788888888", "Did it arrive? {{ question_url }}")
    task = AskingTask(
        lambda: PindoSendSmsOperator(
            task_id="text", to=PHONE, text="Muraho", on_unknown="ask", ask_notifiers=[notifier]
        )
    )
    sandbox.add_fault("drop_after", call="send_sms", times=1)
    assert is_parked(task.run())
    (told,) = sandbox.messages(to="+250788888888")
    assert told["text"] == "Did it arrive? http://airflow/t/required_actions"


def test_without_a_ledger_the_task_fails_as_with_fail(sandbox, task, forms):
    sandbox.add_fault("drop_after", call=task.call)
    context = task.context() | {"task_state_store": None}
    with pytest.raises(AirflowFailException, match="may have been sent"):
        task.make().execute(context)
    assert forms == []
