"""What the default text says, from whatever a callback's context has."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace

import pytest

from airflow_provider_pindo.notifications._event import parse_event
from airflow_provider_pindo.notifications.sms import PindoNotifier

RUN = SimpleNamespace(
    dag_id="etl",
    run_id="r",
    logical_date=dt.datetime(2026, 11, 22, 12, 0, tzinfo=dt.timezone(dt.timedelta(hours=2))),
    start_date=dt.datetime(2026, 11, 22, 12, 1, tzinfo=dt.UTC),
    clear_number=0,
)
LOG_URL = "https://airflow.example.org/dags/etl/runs/r/tasks/load"


def task(**changes):
    values = {"dag_id": "etl", "task_id": "load", "map_index": -1, "try_number": 2, "state": "failed"}
    return SimpleNamespace(**{**values, "log_url": LOG_URL, **changes})


def context(**changes):
    return {"dag": SimpleNamespace(dag_id="etl"), "dag_run": RUN, "ti": task(), **changes}


def test_a_failed_task_is_told_with_everything_one_asks_first():
    incident = parse_event(context(exception=ValueError("no header\nline 2")))
    assert incident.text() == (
        "Failed: DAG etl, task load, run 2026-11-22 10:00 UTC, try 2. ValueError: no header"
    )
    assert incident.log_url == LOG_URL


def test_a_mapped_task_is_told_with_its_index_but_all_are_one_incident():
    incidents = [parse_event(context(ti=task(map_index=each))) for each in (3, 4)]
    assert "task load [3]," in incidents[0].text()
    assert {each.incident() for each in incidents} == {"Failed: DAG etl, task load"}


def test_a_question_is_told_with_the_address_of_its_form_and_each_one_is_an_event_of_its_own():
    event = parse_event(context(ti=task(state="running"), question_url=f"{LOG_URL}/required_actions"))
    assert event.text() == "Waits for an answer: DAG etl, task load, run 2026-11-22 10:00 UTC, try 2."
    assert event.log_url == f"{LOG_URL}/required_actions"
    assert event.id == ""


def test_phone_numbers_in_an_exception_are_masked():
    text = parse_event(context(exception=ValueError("+250781234567 and 0781234567"))).text()
    assert "781234567" not in text
    assert "+25078****567" in text


def test_a_deadline_callback_has_only_plain_dictionaries():
    incident = parse_event(
        {
            "dag_run": {
                "dag_id": "etl",
                "logical_date": None,
                "run_after": "2026-11-22T10:00:00Z",
                "state": "running",
            },
            "deadline": {"id": "x", "deadline_time": dt.datetime(2026, 11, 22, 10, 30, tzinfo=dt.UTC)},
        }
    )
    assert incident.text() == (
        "Late: DAG etl, run 2026-11-22 10:00 UTC, due 2026-11-22 10:30 UTC. The run's state: running"
    )


def test_a_callback_of_a_dag_may_have_no_more_than_the_dag_and_a_reason():
    incident = parse_event({"dag": SimpleNamespace(dag_id="etl"), "run_id": "r", "reason": "timed_out"})
    assert incident.text() == "Failed: DAG etl. It timed out"


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("task_failure", "Failed: DAG etl, task load, run 2026-11-22 10:00 UTC, try 2."),
        ("all_tasks_deadlocked", "try 2. All tasks are deadlocked"),
        ("of a later Airflow", "try 2. of a later Airflow"),
    ],
)
def test_why_a_run_failed_is_told_in_words_unless_it_says_no_more_than_that_it_did(reason, said):
    assert parse_event(context(reason=reason)).text().endswith(said)


def test_a_callback_of_a_dag_names_the_task_only_if_it_is_the_one_that_failed():
    assert parse_event(context(reason="task_failure")).task_id == "load"
    assert parse_event(context(reason="task_failure", ti=task(state=None))).task_id == "load"
    assert parse_event(context(reason="task_failure", ti=task(state="success"))).task_id == ""


@pytest.mark.parametrize(
    ("changes", "event"),
    [
        ({"ti": task(state="up_for_retry")}, "Will retry"),
        ({"ti": task(state="success")}, "Succeeded"),
        ({"ti": task(state="skipped")}, "Skipped"),
        ({"ti": task(state="running")}, "Started"),
        ({"ti": task(state=SimpleNamespace(value="success"))}, "Succeeded"),
        ({"reason": "success"}, "Succeeded"),
        ({"ti": task(state=None)}, "Failed"),
        ({"task_list": "load on 2026-11-22\nstore on 2026-11-22"}, "SLA missed"),
    ],
)
def test_the_event_comes_first_and_is_part_of_what_repetitions_have_in_common(changes, event):
    incident = parse_event(context(**changes))
    assert incident.text().startswith(f"{event}: DAG etl")
    assert incident.incident().startswith(f"{event}: DAG etl")


def run(**changes):
    return SimpleNamespace(**{**vars(RUN), **changes})


def test_callbacks_of_one_failure_have_one_id_wherever_they_run():
    of_task = parse_event(context(exception=ValueError("x"))).id
    in_dag_processor = context(
        ti=task(state=None),
        exception="missed its heartbeats",
        dag_run=run(start_date="2026-11-22T14:01:00+02:00"),
    )
    assert of_task == parse_event(in_dag_processor).id != ""
    of_run = parse_event(context(reason="task_failure")).id
    assert of_run == parse_event(context(reason="task_failure", ti=task(task_id="other"))).id != ""
    assert of_run == parse_event({"dag_run": RUN}).id


DEADLINE = {"id": "1", "deadline_time": dt.datetime(2026, 11, 22, 10, 30, tzinfo=dt.UTC)}


def test_different_failures_have_different_ids():
    contexts = [
        context(),
        context(dag=SimpleNamespace(dag_id="other")),
        context(dag_run=run(run_id="other")),
        context(dag_run=run(clear_number=1)),
        context(dag_run=run(start_date=RUN.start_date + dt.timedelta(seconds=1))),
        context(ti=task(task_id="other")),
        context(ti=task(map_index=0)),
        context(ti=task(map_index=1)),
        context(ti=task(try_number=1)),
        context(ti=task(state="up_for_retry")),
        context(reason="task_failure"),
        context(reason="success"),
        {"dag_run": {"dag_id": "etl"}, "deadline": DEADLINE},
        {"dag_run": {"dag_id": "etl"}, "deadline": {**DEADLINE, "id": "2"}},
    ]
    ids = {parse_event(each).id for each in contexts}
    assert len(ids - {""}) == len(contexts)


@pytest.mark.parametrize(
    "unknown",
    [
        {},
        {"task_list": "a"},
        {"dag": SimpleNamespace(dag_id="etl"), "run_id": "r", "reason": "timed_out"},
        context(dag_run=run(start_date=None)),
        context(ti=task(try_number=None)),
        context(ti=task(state="running")),
    ],
)
def test_what_another_event_may_have_too_is_no_id(unknown):
    assert parse_event(unknown).id == ""


def test_the_tasks_of_an_sla_miss_are_on_one_line():
    assert "\n" not in parse_event(context(task_list="a\nb")).text()


class Broken:
    """An object whose every attribute fails, as a task instance without its server can."""

    def __getattr__(self, name):
        raise RuntimeError(name)

    def __str__(self):
        raise RuntimeError("str")


@pytest.mark.parametrize("key", ["dag", "dag_run", "ti", "exception", "deadline", "reason", "task_list"])
@pytest.mark.parametrize("make", [lambda: None, str, int, dict, list, Broken], ids=lambda each: each.__name__)
def test_nothing_in_a_context_keeps_a_text_from_being_made(key, make):
    value = make()
    assert "DAG" in parse_event(context(**{key: value})).text()
    assert "DAG" in parse_event({key: value}).text()


PHONE = "+250781234567"
OF_A_RUN = {"dag_run": RUN, "ti": task(state=None), "reason": "task_failure"}  # as Airflow 3 calls a DAG back
SHORT = "Failed: DAG etl, task load, run 2026-11-22 10:00 UTC, try 2."


def text_of(sandbox, context, **arguments):
    PindoNotifier(PHONE, **arguments)(context)
    (message,) = sandbox.messages()
    return message["text"]


def test_the_address_of_the_log_follows_where_there_is_room_for_it(sandbox):
    assert text_of(sandbox, OF_A_RUN) == f"{SHORT} {LOG_URL}"


@pytest.mark.parametrize("max_segments", [1, 2])
def test_an_address_for_which_there_is_no_room_goes_without_a_trace(sandbox, max_segments):
    context = {**OF_A_RUN, "ti": task(log_url=LOG_URL + "/x" * 150)}
    assert text_of(sandbox, context, max_segments=max_segments) == SHORT


def test_a_long_exception_is_shortened_with_dots_and_has_no_address(sandbox):
    said = text_of(sandbox, {**context(exception=ValueError("no header " * 30)), "dag": None})
    assert said.startswith(f"{SHORT} ValueError: no header no header")
    assert said.endswith("...")
    assert len(said) <= 160


def test_a_text_of_ones_own_has_no_address(sandbox):
    assert text_of(sandbox, OF_A_RUN, text="Call me") == "Call me"


def test_what_airflow_knows_to_be_secret_is_masked_in_the_address_too(sandbox, monkeypatch):
    from airflow.providers.common.compat import sdk

    monkeypatch.setattr(sdk, "redact", lambda value: value.replace("hunter2", "***"))
    context = {**OF_A_RUN, "ti": task(log_url="https://a.example/hunter2")}
    assert text_of(sandbox, context) == f"{SHORT} https://a.example/***"
