"""The bulk send under a real scheduler and executor: killed, asked to end, settled, and spread over tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from urllib.parse import quote

import psutil
import pytest

from airflow_provider_pindo.sandbox import SandboxClient
from demo.deployment import AIRFLOW_VERSION, Deployment
from demo.rest import wait_until

DAG_ID, TASK = "bulk", "text_all"
COUNT, CONCURRENCY = 600, 5
DAG = """
from datetime import datetime, timedelta
from airflow.providers.common.compat.sdk import DAG
from airflow_provider_pindo.operators.sms import PindoSendBulkSmsOperator


def patients():
    return [{"phonenumber": f"+25078{row:07}", "name": "A", "time": f"{row}"} for row in range(600)]


with DAG("bulk", schedule=None, start_date=datetime(2026, 1, 1)) as dag:
    PindoSendBulkSmsOperator(
        task_id="text_all",
        recipients=patients,
        text="We expect you at @contact.time",
        concurrency=CONCURRENCY,
        retries=2,
        retry_delay=timedelta(seconds=1),
    )
""".replace("CONCURRENCY", str(CONCURRENCY))
ledger = pytest.mark.skipif(AIRFLOW_VERSION < 3, reason="the task state store came with Airflow 3.3")


@pytest.fixture
def killed_send(deployment: Deployment, sandbox: SandboxClient):
    """Start a send of 600, interrupt it while requests are in flight, and wait for its end. Returns the run's ID."""
    deployment.add_dag(DAG_ID, DAG)

    def start(cut: Callable[[psutil.Process, str], None]) -> str:
        sandbox.settings(latency=0.02)
        try:
            run_id = deployment.rest.trigger(DAG_ID)
            task = deployment.rest.wait_for_task(DAG_ID, run_id, TASK)
            wait_until(lambda: len(sandbox.messages()) > 130, "some are texted", timeout=60, interval=0.02)
            process = deployment.task_process(task)
            sandbox.settings(latency=1)  # the interruption takes effect before the send is done
            cut(process, run_id)
            wait_until(lambda: not process.is_running(), "its process has ended", timeout=60, interval=0.02)
            assert len(sandbox.messages()) < COUNT
            sandbox.settings(latency=0)  # a retry, which may have begun, is fast
            wait_until(
                lambda: deployment.rest.task_instance(DAG_ID, run_id, TASK)["state"] != "running",
                "the try has ended",
                timeout=60,
            )
        finally:
            sandbox.settings(latency=0)
        return run_id

    return start


@ledger
def test_a_killed_bulk_send_goes_on_and_a_person_settles_the_rest(killed_send, deployment, sandbox):
    run_id = killed_send(lambda process, run_id: process.kill())
    rest = deployment.rest
    assert rest.wait_for_run(DAG_ID, run_id) == "failed"
    texted = {message["to"] for message in sandbox.messages()}
    state = rest.task_state(DAG_ID, run_id, TASK)
    unknown = {key: value for key, value in state.items() if value["status"] == "unknown"}
    assert len(unknown) == 1
    assert len(texted) >= COUNT - 3 * CONCURRENCY

    for key, value in unknown.items():
        rest.patch_task_state(DAG_ID, run_id, TASK, key, {**value, "status": "sent"})
    rest.clear(DAG_ID, run_id, TASK)
    assert rest.wait_for_run(DAG_ID, run_id) == "success"
    assert rest.xcom(DAG_ID, run_id, TASK)["accepted"] == COUNT
    assert {message["to"] for message in sandbox.messages()} == texted
    assert set(Counter(message["to"] for message in sandbox.messages()).values()) == {1}


@ledger
def test_a_bulk_send_that_is_asked_to_end_ends_cleanly_and_its_retry_sends_the_rest(
    killed_send, deployment, sandbox
):
    run_id = killed_send(lambda process, run_id: process.terminate())
    assert deployment.rest.wait_for_run(DAG_ID, run_id) == "success"
    assert deployment.rest.xcom(DAG_ID, run_id, TASK)["accepted"] == COUNT
    assert len(sandbox.messages()) == COUNT
    assert set(Counter(message["to"] for message in sandbox.messages()).values()) == {1}


@ledger
def test_a_bulk_send_that_is_marked_failed_ends_and_goes_on_when_it_is_cleared(
    killed_send, deployment, sandbox
):
    rest = deployment.rest
    path = "/dags/{}/dagRuns/{}/taskInstances/{}"
    run_id = killed_send(
        lambda process, run_id: rest.request(
            "PATCH", path.format(DAG_ID, quote(run_id), TASK), json={"new_state": "failed"}
        )
    )
    assert rest.wait_for_run(DAG_ID, run_id) == "failed"
    state = rest.task_state(DAG_ID, run_id, TASK)
    unknown = [key for key, value in state.items() if value["status"] == "unknown"]
    assert unknown == []  # the requests in flight got their responses within the grace period
    rest.clear(DAG_ID, run_id, TASK)
    assert rest.wait_for_run(DAG_ID, run_id) == "success"
    assert rest.xcom(DAG_ID, run_id, TASK)["accepted"] == COUNT
    assert set(Counter(message["to"] for message in sandbox.messages()).values()) == {1}
    assert len(sandbox.messages()) == COUNT


def test_the_campaign_texts_everybody_in_the_file_once_over_several_tasks(examples, sandbox):
    dag_id = "pindo_campaign"
    examples.rest.wait_for_dag(dag_id)
    run_id = examples.rest.trigger(dag_id)
    assert examples.rest.wait_for_run(dag_id, run_id) == "success"
    total = examples.rest.xcom(dag_id, run_id, "add_up")
    columns = ("accepted", "rejected", "unknown", "not_sent", "duplicates", "excluded", "given")
    assert {name: total[name] for name in columns} == dict(zip(columns, (7, 1, 0, 0, 1, 1, 10), strict=True))
    assert len(total["reports"]) == 4
    assert sandbox.messages(to="+250780000209") == []
    assert len(sandbox.messages(to="+250780000207")) == 1
    assert [message["text"] for message in sandbox.messages(to="+250780000203")] == [
        "Hello Zoë Kayitesi, free eye checks this Saturday in Nyarugenge. Kigali Family Clinic"
    ]
