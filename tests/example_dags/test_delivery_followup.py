"""The example that waits for delivery: whom to call, and why."""

from __future__ import annotations

import json
import os
import threading
import time
from types import SimpleNamespace

import pytest
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_1_PLUS

from demo.deployment import EXAMPLE_DAGS

if not AIRFLOW_V_3_1_PLUS:
    pytest.skip("webhooks need Airflow 3.1", allow_module_level=True)


def quick_source() -> str:
    """The example, with a sensor that polls each second and ends after four."""
    source = (EXAMPLE_DAGS / "pindo_delivery_followup.py").read_text(encoding="utf-8")
    source = source.replace("timedelta(hours=1)", "timedelta(seconds=4)").replace("seconds=10", "seconds=1")
    source = source.replace("deferrable=True", "deferrable=False, retry_window=0")
    head, _, tail = source.rpartition("    dag(\n")
    return f"{head}    dag = dag(\n{tail}"


def test_a_name_that_looks_like_a_template_stays_text(run_dag, sandbox, webhooks):
    people = [{"name": "{{ 6 * 7 }}", "to": "+250780000301"}, {"name": "Eric", "to": "+250780000302"}]
    run_dag(quick_source(), run_conf={"people": people})
    greeted = {message["to"]: message["text"].partition(",")[0] for message in sandbox.messages()}
    assert greeted == {"+250780000301": "Hello {{ 6 * 7 }}", "+250780000302": "Hello Eric"}


def test_the_log_says_how_many_people_the_call_list_leaves_out(
    run_dag, sandbox, webhooks, monkeypatch, capfd
):
    monkeypatch.setattr("airflow_provider_pindo.api.delivery.MAX_LISTED", 1)
    run_dag(quick_source())
    assert "0 of 3 delivered, 1 to call, 2 more not listed" in capfd.readouterr().out


def test_the_call_list_names_who_was_not_reached_and_why(run_dag, sandbox, webhooks):
    def report() -> None:
        while len(messages := sandbox.messages()) < 3:
            time.sleep(0.1)
        ids = {message["to"]: message["sms_id"] for message in messages}
        webhooks.report(ids["+250780000301"], "DELIVRD")
        webhooks.report(ids["+250780000302"], "UNDELIV")

    threading.Thread(target=report, daemon=True).start()
    assert call_list(run_dag(quick_source())) == [("Eric", "UNDELIV"), ("Chantal", "no report")]


def call_list(run) -> list[tuple[str, str]]:
    """Return whom a run that succeeded lists, and why."""
    assert run.state == "success"
    (listed,) = (each for each in run.get_task_instances() if each.task_id == "write_call_list")
    return [(call["name"], call["reason"]) for call in listed.xcom_pull("write_call_list")]


@pytest.fixture
def nobody_on_the_stop_list_is_texted(webhooks, monkeypatch, tmp_path):
    """The connection's ``suppression_list`` names the first person."""
    stop_list = tmp_path / "stop.txt"
    stop_list.write_text("+250780000301\n", encoding="utf-8")
    connection = json.loads(os.environ["AIRFLOW_CONN_PINDO_DEFAULT"])
    connection["extra"]["suppression_list"] = str(stop_list)
    monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", json.dumps(connection))


def test_a_skipped_or_refused_send_costs_nobody_else_the_list(
    run_dag, sandbox, nobody_on_the_stop_list_is_texted
):
    sandbox.settings(rejected_numbers=["+250780000302"])
    assert call_list(run_dag(quick_source())) == [
        ("Aline", "no receipt"),
        ("Eric", "no receipt"),
        ("Chantal", "no report"),
    ]
    assert [message["to"] for message in sandbox.messages()] == ["+250780000303"]


def test_everybody_is_listed_when_nobody_was_texted(run_dag, sandbox, webhooks):
    sandbox.settings(rejected_numbers=[f"+25078000030{end}" for end in (1, 2, 3)])
    assert [reason for _, reason in call_list(run_dag(quick_source()))] == ["no receipt"] * 3


def test_a_message_without_id_after_arrived_is_listed_as_without_report(dag_file, capsys):
    people = [{"name": name, "to": "+250780000301"} for name in ("Aline", "Eric")]
    receipts = [{"status": "sent", "to": "+250780000301"}, {"status": "sent", "sms_id": 7}]
    delivery = {"delivered": 1, "undelivered": 0, "no_report": 1, "of": 2, "not_delivered": []}
    with dag_file(quick_source()) as module:
        write_call_list = module.dag.get_task("write_call_list").python_callable
    ti = SimpleNamespace(xcom_pull=lambda *_, **__: receipts)
    calls = write_call_list(delivery, params={"people": people}, ti=ti)
    assert calls == [{**people[0], "reason": "no report"}]
    assert capsys.readouterr().out == "1 of 2 delivered, 1 to call, 0 more not listed\n"
