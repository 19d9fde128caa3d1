"""The example that waits for delivery: whom to call, and why."""

from __future__ import annotations

import threading
import time

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
    run = run_dag(quick_source())
    (listed,) = (each for each in run.get_task_instances() if each.task_id == "write_call_list")
    assert run.state == "success"
    assert [(call["name"], call["reason"]) for call in listed.xcom_pull("write_call_list")] == [
        ("Eric", "UNDELIV"),
        ("Chantal", "no report"),
    ]
