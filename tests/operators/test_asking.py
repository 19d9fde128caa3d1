"""The question to a person: what Airflow is asked to show, who is told, and how an answer is read."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace

import pytest
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_3_PLUS

from airflow_provider_pindo._ledger.entry import Settlement
from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.operators import _ask
from airflow_provider_pindo.operators._ask import Form, FormAnswer, read_form_answer
from airflow_provider_pindo.operators.sms import PindoSendSmsOperator

needs_forms = pytest.mark.skipif(not AIRFLOW_V_3_3_PLUS, reason="a task can park itself from Airflow 3.3 on")
FORM = Form("Did it arrive?", "Look.", ("Yes", "No"), {"rows": {"value": ""}})
PAGE = "http://airflow/dags/d/runs/r/tasks/t/mapped/3"


@pytest.fixture
def shown(monkeypatch):
    """The forms that Airflow was asked to show."""
    forms = []
    monkeypatch.setattr(
        "airflow.sdk.execution_time.hitl.upsert_hitl_detail", lambda **form: forms.append(form)
    )
    return forms


def park(*notifiers, timeout=timedelta(days=7)):
    from airflow.sdk.exceptions import TaskAwaitingInput

    context = {"ti": SimpleNamespace(id="an id", log_url=f"{PAGE}?try_number=1")}
    operator = PindoSendSmsOperator(
        task_id="text", to="+250781234567", text="Muraho", ask_timeout=timeout, ask_notifiers=notifiers
    )
    with pytest.raises(TaskAwaitingInput) as parked:
        operator._park(context, FORM, about="it")
    return parked.value


@needs_forms
def test_a_question_is_shown_and_the_task_parks_itself(shown):
    parked = park()
    assert shown == [
        {
            "ti_id": "an id",
            "options": ["Yes", "No"],
            "subject": "Did it arrive?",
            "body": "Look.",
            "params": {"rows": {"value": ""}},
        }
    ]
    assert (parked.method_name, parked.kwargs, parked.timeout) == (
        "execute_answer",
        {"about": "it"},
        timedelta(days=7),
    )


@needs_forms
def test_a_question_may_wait_for_ever(shown):
    assert park(timeout=None).timeout is None


@needs_forms
def test_notifiers_get_the_address_of_the_form(shown):
    told = []
    park(lambda context: told.append(context["question_url"]))
    assert told == [f"{PAGE}/required_actions"]


@needs_forms
def test_a_notifier_that_fails_does_not_keep_the_others_or_the_question_from_the_person(shown, caplog):
    def fail(context):
        raise ConnectionError("to +250781234567")

    told = []
    with caplog.at_level(logging.WARNING):
        assert park(fail, told.append).method_name == "execute_answer"
    assert "(ConnectionError); the question stands" in caplog.text
    assert "+250781234567" not in caplog.text
    assert len(told) == len(shown) == 1


def test_an_answer_says_which_button_who_and_when():
    event = {
        "chosen_options": ["Yes"],
        "params_input": {"rows": "1-3"},
        "responded_at": datetime(2026, 11, 24, 8, tzinfo=timezone(timedelta(hours=2))),
        "responded_by_user": {"id": "7", "name": "Aline"},
        "timedout": False,
    }
    answer = read_form_answer(event)
    assert answer == FormAnswer("Yes", "Aline", "2026-11-24T06:00:00+00:00", {"rows": "1-3"})
    assert answer.settlement == Settlement("person", "Aline", "2026-11-24T06:00:00+00:00")


@pytest.mark.parametrize(
    ("user", "who"), [({"id": "7", "name": ""}, "7"), (None, "a person whom Airflow did not name")]
)
def test_an_answer_names_the_person_as_well_as_airflow_does(user, who):
    event = {"chosen_options": ["Yes"], "params_input": None, "responded_at": None, "responded_by_user": user}
    answer = read_form_answer(event)
    assert (answer.option, answer.who, answer.params) == ("Yes", who, {})
    assert datetime.fromisoformat(answer.at).tzinfo == UTC


def test_no_answer_in_time_is_no_option():
    assert read_form_answer({"error": "the time has passed", "error_type": "timeout"}).option is None


@pytest.mark.parametrize("timeout", [timedelta(0), timedelta(days=-1), 7, "7 days"])
def test_a_wrong_ask_timeout_is_refused_when_the_dag_is_parsed(timeout):
    with pytest.raises(PindoConfigurationError, match=r"ask_timeout is .*: give a timedelta"):
        PindoSendSmsOperator(task_id="text", to="+250781234567", text="Muraho", ask_timeout=timeout)


@pytest.mark.parametrize("notifiers", [print, "PindoNotifier", ["+250781234567"], None])
def test_wrong_ask_notifiers_are_refused_when_the_dag_is_parsed(notifiers):
    with pytest.raises(PindoConfigurationError, match=r"give a list of notifiers") as refused:
        PindoSendSmsOperator(task_id="text", to="+250781234567", text="Muraho", ask_notifiers=notifiers)
    assert "+250781234567" not in str(refused.value)


def test_ask_is_refused_before_airflow_3_3_when_the_dag_is_parsed(monkeypatch):
    monkeypatch.setattr(_ask, "AIRFLOW_V_3_3_PLUS", False)
    with pytest.raises(PindoConfigurationError, match=r"that came with Airflow 3\.3"):
        PindoSendSmsOperator(task_id="text", to="+250781234567", text="Muraho", on_unknown="ask")


def test_a_rendered_ask_is_refused_before_airflow_3_3_and_nothing_is_sent(sandbox, monkeypatch):
    from airflow.providers.common.compat.sdk import AirflowFailException

    monkeypatch.setattr(_ask, "AIRFLOW_V_3_3_PLUS", False)
    operator = PindoSendSmsOperator(
        task_id="text", to="+250781234567", text="Muraho", on_unknown="{{ params.on_unknown }}"
    )
    operator.on_unknown = "ask"
    with pytest.raises(AirflowFailException, match=r"that came with Airflow 3\.3"):
        operator.execute({})
    assert sandbox.requests() == []
