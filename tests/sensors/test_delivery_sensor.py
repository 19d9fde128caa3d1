"""PindoDeliverySensor: which messages the phones have, in every mode."""

from __future__ import annotations

import json
import os
import time
from datetime import timedelta
from types import SimpleNamespace

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_1_PLUS

from airflow_provider_pindo.api.errors import PindoConfigurationError, PindoServerError
from airflow_provider_pindo.hooks import _webhook_config
from airflow_provider_pindo.sensors import delivery

if not AIRFLOW_V_3_1_PLUS:
    pytest.skip("webhooks need Airflow 3.1", allow_module_level=True)

from airflow_provider_pindo.sensors.delivery import PindoDeliverySensor
from tests.sensors.delivery_task import Task, later

ALL = {"delivered": 1, "undelivered": 0, "no_report": 0, "of": 1, "not_delivered": []}


def test_it_waits_until_the_phone_has_the_message(webhooks, mode):
    later(webhooks.report, "a")
    assert Task(**mode).run() == ALL


@pytest.mark.parametrize(("days", "warns"), [("1", True), ("2", False), ("some", False)])
def test_a_timeout_beyond_the_retention_is_a_warning(webhooks, monkeypatch, days, warns):
    monkeypatch.setenv("AIRFLOW__PINDO__WEBHOOK_RETENTION_DAYS", days)
    lines = []
    log = SimpleNamespace(info=print, warning=lambda message, *values: lines.append(message % values))
    monkeypatch.setattr(PindoDeliverySensor, "log", log)
    webhooks.report("a")
    assert Task(timeout=86_401).run()["delivered"] == 1
    assert (
        any("86,401 s is longer than [pindo] webhook_retention_days = 1." in line for line in lines) == warns
    )


def test_a_report_that_came_before_it_started_counts(webhooks, mode):
    webhooks.report("a")
    task = Task(**mode)
    assert task.run() == ALL
    assert not task.deferrals


def test_the_columns_add_up_and_name_who_was_not_reached(webhooks, mode):
    webhooks.report("a")
    webhooks.report("b", "UNDELIV", "2026-06-10T09:04:31")
    webhooks.report("c", "ACCEPTED")
    result = Task(sms_ids=list("abcd"), on_no_report="report", timeout=0.5, **mode).run()
    assert result == {
        "delivered": 1,
        "undelivered": 1,
        "no_report": 2,
        "of": 4,
        "not_delivered": [
            {"sms_id": "b", "status": "UNDELIV", "modified_at": "2026-06-10T09:04:31+00:00"},
            {"sms_id": "c", "status": "ACCEPTED", "modified_at": "2026-06-10T09:04:31+00:00"},
            {"sms_id": "d", "status": None, "modified_at": None},
        ],
    }


@pytest.mark.parametrize(
    ("soft_fail", "error"), [(False, AirflowSensorTimeout), (True, AirflowSkipException)]
)
def test_a_message_without_a_report_fails_it_at_its_timeout(webhooks, mode, soft_fail, error):
    with pytest.raises(error):
        Task(timeout=0.4, soft_fail=soft_fail, **mode).run()


def test_duplicates_any_order_and_both_forms_are_right(webhooks, mode):
    webhooks.report("a", "UNDELIV", "2026-06-10T09:04:31")
    webhooks.report("a", "UNDELIV", "2026-06-10T09:04:31")
    webhooks.report("a", "DELIVRD", "2026-06-10T09:05:31")
    webhooks.report("a", "ACCEPTED", "2026-06-10T09:06:31")
    webhooks.report(1058918, "DELIVRD", "24-07-2020, 23:35:32")
    result = Task(sms_ids=["a", {"sms_id": 1058918, "to": "+250781234567"}], **mode).run()
    assert result == {**ALL, "delivered": 2, "of": 2}


def test_an_undelivered_message_that_pindo_retries_is_delivered(webhooks, mode):
    webhooks.report("a", "UNDELIV")
    later(webhooks.report, "a", "DELIVRD")
    assert Task(retry_window=20, **mode).run() == ALL


def test_an_undelivered_message_is_one_when_pindo_has_had_time_to_retry(webhooks, mode):
    webhooks.report("a", "UNDELIV")
    result = Task(retry_window=timedelta(seconds=0.5), **mode).run()
    assert (result["undelivered"], result["no_report"]) == (1, 0)


def test_a_delivery_after_the_retry_window_counts_while_the_task_still_waits(webhooks, mode):
    webhooks.report("a", "UNDELIV")
    later(webhooks.report, "a", "DELIVRD", seconds=0.6)
    later(webhooks.report, "b", "DELIVRD", seconds=1.2)
    result = Task(sms_ids=["a", "b"], retry_window=0.1, **mode).run()
    assert result == {**ALL, "delivered": 2, "of": 2}


def test_a_secret_that_is_replaced_while_it_waits_fails_no_task(webhooks, mode, monkeypatch):
    """The connection has the new secret before the task reads it, and the API server at once."""
    connection = json.loads(os.environ["AIRFLOW_CONN_PINDO_DEFAULT"])
    connection["extra"]["webhook_secret"] = "the-next-secret-0123456789012345"
    later(monkeypatch.setenv, "AIRFLOW_CONN_PINDO_DEFAULT", json.dumps(connection), seconds=0.5)
    later(webhooks.reports, "a", seconds=1.5)
    monkeypatch.setattr("airflow_provider_pindo.plugins._auth._MAX_AGE", 0.0)
    monkeypatch.setattr("airflow_provider_pindo.plugins._auth._MAX_AGE_AFTER_MISMATCH", 0.0)
    assert Task(**mode).run() == ALL


def test_at_the_timeout_an_undelivered_message_is_one_without_more_waiting(webhooks, mode):
    webhooks.report("a", "UNDELIV")
    assert Task(retry_window=3600, timeout=0.4, **mode).run()["undelivered"] == 1


REPORT = "row,phonenumber,name,outcome,reason,sms_id\n"


def test_a_bulk_sends_report_names_the_messages(webhooks, mode, tmp_path):
    (tmp_path / "report.csv").write_text(
        f"{REPORT}2,+250781234567,Remy,accepted,,a\n3,+250781234568,Ange,rejected,wrong number,\n"
        "4,+250781234569,Keza,accepted,,b\n"
    )
    webhooks.reports("a", "b")
    result = Task(sms_ids=None, report_path=str(tmp_path / "report.csv"), **mode).run()
    assert result == {**ALL, "delivered": 2, "of": 2}


def test_a_report_without_ids_says_how_to_get_them(webhooks, mode, tmp_path):
    path = tmp_path / "report.csv"
    path.write_text(f"{REPORT}2,+250781234567,Remy,accepted,,a\n3,+250781234568,Ange,accepted,,\n")
    webhooks.report("a")
    with pytest.raises(AirflowFailException, match=r"no sms_id for 1 of 2 messages.*track_delivery=True"):
        Task(sms_ids=None, report_path=str(path), **mode).run()
    result = Task(sms_ids=None, report_path=str(path), on_no_report="report", **mode).run()
    assert (result["delivered"], result["no_report"], result["of"]) == (1, 1, 2)


def test_a_receipt_without_an_id_gets_no_advice_for_a_bulk_send(webhooks, mode):
    receipts = [{"sms_id": "a", "to": "+250781234567"}, {"sms_id": None, "to": "+250781234568"}]
    with pytest.raises(AirflowFailException) as failed:
        Task(sms_ids=receipts, **mode).run()
    assert str(failed.value) == (
        "no sms_id for 1 of 2 messages, since an outcome was settled or accepted without a receipt: "
        "count them with on_no_report='report'"
    )


def test_many_messages_are_waited_for_in_parts(webhooks, monkeypatch):
    monkeypatch.setattr(delivery, "_MAX_DEFERRED", 2)
    task = Task(sms_ids=list("abcde"), deferrable=True)
    task.later(webhooks.reports, *"abcde")
    assert task.run()["delivered"] == 5
    assert task.deferrals[0].trigger.sms_ids == ["a", "b"]


def test_nothing_to_wait_for_is_not_waited_for(webhooks, mode):
    assert Task(sms_ids=[], **mode).run()["of"] == 0
    assert webhooks.requests == []


def test_an_api_server_that_restarts_does_not_fail_it(webhooks, mode):
    webhooks.faults = [503, 503]
    webhooks.report("a")
    assert Task(**mode).run() == ALL


def test_an_api_server_that_is_down_at_the_timeout_is_no_missing_report(webhooks, mode):
    webhooks.faults = [503] * 100
    with pytest.raises(PindoServerError, match="503"):
        Task(timeout=0.3, on_no_report="report", **mode).run()


def test_an_api_server_that_is_down_when_it_resumes_is_asked_again(webhooks):
    task = Task(deferrable=True, max_consecutive_failures=2)
    webhooks.faults = [500] * 20
    with pytest.raises(TaskDeferred) as deferral:
        task.new_process().execute_complete(task.context, {"status": "matched"})
    with pytest.raises(PindoServerError):
        task.new_process().execute_complete(task.context, {"status": "matched"}, **deferral.value.kwargs)


def test_a_time_that_is_up_when_it_resumes_gives_the_counts(webhooks):
    task = Task(deferrable=True, on_no_report="report", timeout=300)
    task.started -= timedelta(seconds=301)
    assert task.new_process().execute_complete(task.context, {"status": "matched"})["no_report"] == 1


def test_webhooks_that_are_off_are_an_error_that_says_how_to_switch_them_on(webhooks, mode, monkeypatch):
    monkeypatch.setenv("AIRFLOW__PINDO__WEBHOOKS", "False")
    with pytest.raises(AirflowFailException, match="webhooks = True"):
        Task(**mode).run()


def test_a_server_with_another_secret_fails_it_without_a_retry(webhooks, mode):
    webhooks.faults = [401]
    with pytest.raises(AirflowFailException, match="webhook_secret must be the same"):
        Task(**mode).run()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({}, "give one of sms_ids"),
        ({"sms_ids": "a", "report_path": "b"}, "give one of sms_ids"),
        ({"sms_ids": "a", "on_no_report": "ignore"}, "on_no_report is 'ignore'"),
        ({"sms_ids": "a", "retry_window": -1}, "retry_window"),
        ({"sms_ids": "a", "max_consecutive_failures": 0}, "max_consecutive_failures"),
    ],
)
def test_wrong_arguments_are_errors_when_the_dag_is_parsed(arguments, reason):
    with pytest.raises(PindoConfigurationError, match=reason):
        PindoDeliverySensor(task_id="wait", **arguments)


def test_an_older_airflow_is_one_clear_error_when_the_dag_is_parsed(monkeypatch):
    monkeypatch.setattr(_webhook_config, "AIRFLOW_V_3_1_PLUS", False)
    with pytest.raises(PindoConfigurationError, match=r"PindoDeliverySensor needs Airflow 3\.1 or later"):
        PindoDeliverySensor(task_id="wait", sms_ids="a")


def test_it_runs_in_airflow_with_the_receipt_of_a_send(webhooks, sandbox, run_dag):
    def report_the_message():
        while not (messages := sandbox.messages()):
            time.sleep(0.1)
        webhooks.report(messages[0]["sms_id"])

    later(report_the_message)
    run = run_dag(
        """
from datetime import datetime
from airflow.sdk import DAG
from airflow_provider_pindo.operators.sms import PindoSendSmsOperator
from airflow_provider_pindo.sensors.delivery import PindoDeliverySensor

with DAG("DAG_ID", schedule=None, start_date=datetime(2026, 1, 1)) as dag:
    send = PindoSendSmsOperator(task_id="send", to="+250781234567", text="Hello")
    PindoDeliverySensor(task_id="wait", sms_ids=send.output, poke_interval=0.2, timeout=60)
"""
    )
    assert run.state == "success"
