"""The first example DAG, run by a real scheduler and executor."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from airflow_provider_pindo.sandbox import SandboxClient
from demo.deployment import AIRFLOW_VERSION, Deployment
from demo.reminders import DAG_ID, DemoError, compare, run_once
from tests.e2e.noticed import wait_until_noticed


@pytest.fixture
def run_reminders(examples: Deployment, sandbox: SandboxClient):
    """Run the DAG once; returns the run's ID and what its last task reported."""
    examples.rest.wait_for_dag(DAG_ID)

    def run(**params: str) -> tuple[str, dict[str, Any]]:
        run_id = examples.rest.trigger(DAG_ID, conf=params)
        assert examples.rest.wait_for_run(DAG_ID, run_id) == "success"
        return run_id, examples.rest.xcom(DAG_ID, run_id, "report")

    return run


@pytest.mark.main_job
def test_the_phones_get_exactly_what_the_appointments_ask_for(run_reminders, sandbox):
    _, report = run_reminders()
    assert compare(sandbox.messages(), report) == []


def test_a_refused_message_holds_up_nobody_and_is_reported_with_its_reason(run_reminders, sandbox):
    sandbox.settings(rejected_numbers=["+250780000103"])
    try:
        _, report = run_reminders()
    finally:
        sandbox.settings(rejected_numbers=[])
    assert sandbox.messages(to="+250780000103") == []
    assert len(sandbox.messages()) == report["texted"] == 6
    reasons = {patient["name"]: patient["reason"] for patient in report["not_texted"]}
    assert set(reasons) == {"Zoë Kayitesi", "Emmanuel Nshuti"}
    assert "409" in reasons["Zoë Kayitesi"]


@pytest.mark.skipif(AIRFLOW_VERSION < 3, reason="a task can park itself from Airflow 3.3 on")
def test_a_lost_response_asks_the_reception_and_its_answer_ends_the_run(examples, sandbox):
    examples.rest.wait_for_dag(DAG_ID)
    sandbox.add_fault("drop_after", call="texts", times=1)
    run_id = examples.rest.trigger(DAG_ID)
    examples.rest.wait_for_task(DAG_ID, run_id, "text_patients", state="awaiting_input")
    wait_until_noticed(examples, run_id, "text_patients")
    (told,) = sandbox.messages(to="+250780000200")
    assert told["text"].startswith("Did the reminders arrive? http://127.0.0.1:")
    assert told["text"].endswith("/tasks/text_patients/required_actions")
    examples.rest.answer(DAG_ID, run_id, "text_patients", "All arrived", arrived="")
    assert examples.rest.wait_for_run(DAG_ID, run_id) == "success"
    reminders = [message for message in sandbox.messages() if message["id"] != told["id"]]
    assert compare(reminders, examples.rest.xcom(DAG_ID, run_id, "report")) == []


def test_a_day_without_appointments_texts_nobody(run_reminders, sandbox, tmp_path):
    empty = tmp_path / "appointments.csv"
    empty.write_text("date,time,name,phone,doctor\n2026-01-15,09:00,Théogène Bizimana,0780000109,Dr Keza\n")
    _, report = run_reminders(csv=str(empty))
    assert sandbox.messages() == []
    assert report == {"texted": 0, "not_texted": []}


def test_a_run_whose_next_day_has_come_skips_everything_and_texts_nobody(examples, sandbox):
    examples.rest.wait_for_dag(DAG_ID)
    yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    run_id = examples.rest.trigger(DAG_ID, logical_date=yesterday)
    assert examples.rest.wait_for_run(DAG_ID, run_id) == "success"
    assert {task["state"] for task in examples.rest.task_instances(DAG_ID, run_id)} == {"skipped"}
    assert "nobody is reminded" in examples.task_log(DAG_ID, run_id, "read_appointments")
    assert sandbox.messages() == []


def test_the_sender_of_the_run_is_used(run_reminders, sandbox):
    sandbox.settings(approved_senders=["PindoTest", "KigaliClinc"])
    try:
        run_reminders(sender="KigaliClinc")
    finally:
        sandbox.settings(approved_senders=["PindoTest"])
    assert {message["sender"] for message in sandbox.messages()} == {"KigaliClinc"}


def test_the_demo_fails_when_a_phone_gets_nothing(examples, sandbox, capsys):
    sandbox.settings(rejected_numbers=["+250780000103"])
    try:
        with pytest.raises(DemoError) as raised:
            run_once(examples, print)
    finally:
        sandbox.settings(rejected_numbers=[])
    assert "+250780000103 did not receive Zoë Kayitesi's reminder for 09:00" in str(raised.value)


def test_the_demo_fails_and_shows_the_log_when_the_task_does(examples, sandbox, capsys):
    sandbox.settings(approved_senders=[])
    try:
        with pytest.raises(DemoError) as raised:
            run_once(examples, print)
    finally:
        sandbox.settings(approved_senders=["PindoTest"])
    assert "--- text_patients [-1] failed" in str(raised.value)
    assert "Everybody was rejected (409 Unknown sender id" in str(raised.value)
