"""Delivery in a real Airflow: nothing that was answered 2xx is lost, whatever is killed or restarted."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from demo.deployment import AIRFLOW_VERSION, EXAMPLE_DAGS, Deployment
from demo.rest import FINISHED_RUN, wait_until
from tests.databases import new_database

if AIRFLOW_VERSION < 3:
    pytest.skip("webhooks need Airflow 3.1", allow_module_level=True)

PHONE = "+250781234567"
BURST = 1000

DAGS = """
from datetime import datetime, timedelta
from airflow.sdk import DAG, Asset, AssetWatcher, task
from airflow_provider_pindo.operators.sms import PindoSendBulkSmsOperator, PindoSendSmsOperator
from airflow_provider_pindo.sensors.delivery import PindoDeliverySensor
from airflow_provider_pindo.triggers.delivery import PindoDeliveryEventTrigger

DELIVERED = Asset(
    "delivered", watchers=[AssetWatcher(name="pindo", trigger=PindoDeliveryEventTrigger(poll_interval=4))]
)

with DAG("each_report", schedule=[DELIVERED], start_date=datetime(2026, 1, 1), catchup=True, max_active_runs=1):

    # A task that runs while the API server is killed fails, and its retry has the same events.
    @task(inlets=[DELIVERED], retries=5, retry_delay=timedelta(seconds=1))
    def take(triggering_asset_events=None):
        return [
            report["sms_id"]
            for event in triggering_asset_events[DELIVERED]
            for report in event.extra["payload"]["reports"]
        ]

    take()

with DAG("waiting", schedule=None, start_date=datetime(2026, 1, 1)):
    PindoDeliverySensor(
        task_id="wait",
        sms_ids=[f"burst_{number}" for number in range(1000)],
        on_no_report="report",
        poke_interval=1,
        timeout=240,
        deferrable=True,
        retries=3,
        retry_delay=timedelta(seconds=1),
    )

with DAG("evidence", schedule=None, start_date=datetime(2026, 1, 1)):
    PindoSendSmsOperator(task_id="text", to="+250781234567", text="Muraho neza")

with DAG("bulk_evidence", schedule=None, start_date=datetime(2026, 1, 1)):
    PindoSendBulkSmsOperator(
        task_id="text",
        recipients=[{"phonenumber": f"+25078123456{row}", "name": f"Name {row}"} for row in range(3)],
        text="Mwiriwe @contact.name",
        on_unknown="ask",
    )
"""


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.databases)])
def airflow(
    request: pytest.FixtureRequest, sigterm_is_heard: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """An Airflow that receives the sandbox's webhooks, with a scheduler that starts DAGs on events."""
    dags = tmp_path_factory.mktemp("dags")
    (dags / "delivery.py").write_text(DAGS, encoding="utf-8")
    example = EXAMPLE_DAGS / "pindo_delivery_followup.py"
    source = example.read_text(encoding="utf-8")
    (dags / example.name).write_text(
        source.replace("seconds=10", "seconds=1").replace("hours=1", "seconds=60")
    )
    settings = {"AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "True"}
    with ExitStack() as stack:
        if request.param != "sqlite":
            settings["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = stack.enter_context(new_database(request.param))
        running = stack.enter_context(Deployment(dags, settings=settings, webhooks=True))
        for dag_id in ("each_report", "waiting", "evidence", "bulk_evidence", "pindo_delivery_followup"):
            running.rest.wait_for_dag(dag_id)
        wait_until(lambda: is_watched(running), "the asset is watched", timeout=120)
        yield running


def is_watched(airflow: Deployment) -> bool:
    """Whether the watcher has stored the cursor that it starts from."""
    assets = airflow.rest.request("GET", "/assets", params={"name_pattern": "delivered"})["assets"]
    states = [airflow.rest.request("GET", f"/assets/{asset['id']}/state-store") for asset in assets]
    return any(state["total_entries"] for state in states)


def post_report(airflow: Deployment, sms_id: str) -> bool:
    """Report that a message was delivered, once, as Pindo does. Return whether it was answered with 2xx."""
    body = {"sms_id": sms_id, "status": "DELIVRD", "modified_at": "2026-06-10T09:04:31", "retries_count": 0}
    try:
        return requests.post(str(airflow.webhook_address), json=body, timeout=30).ok
    except requests.RequestException:
        return False


def reports_of_runs(airflow: Deployment) -> list[str]:
    """Return what the runs of the watching DAG took."""
    path = "/dags/each_report/dagRuns"
    page = airflow.rest.request("GET", path, params={"limit": 1000})
    ended = [run for run in page["dag_runs"] if run["state"] in FINISHED_RUN]
    assert all(run["state"] == "success" for run in ended)
    return [
        sms_id
        for run in ended
        for sms_id in airflow.rest.xcom("each_report", run["dag_run_id"], "take") or ()
    ]


def logs(airflow: Deployment) -> Iterator[Path]:
    """Yield every log: of the components, the access log among them, and of the tasks."""
    yield from (airflow.home / "components").iterdir()
    yield from (file for file in (airflow.home / "logs").rglob("*") if file.is_file())


@pytest.mark.timeout(900)
def test_a_burst_reaches_dag_runs_and_a_waiting_task_through_a_restart_and_a_kill(airflow):
    waiting = airflow.rest.trigger("waiting")
    airflow.rest.wait_for_task("waiting", waiting, "wait", state="deferred")
    names = [f"burst_{number}" for number in range(BURST)]
    taken: list[str] = []
    with ThreadPoolExecutor(4) as pool:
        for part in range(0, BURST, 250):
            some = names[part : part + 250]
            answers = list(pool.map(lambda name: post_report(airflow, name), some))
            taken += [name for name, is_taken in zip(some, answers, strict=True) if is_taken]
            if part == 250:
                airflow.kill("triggerer")
                airflow.start("triggerer")
            if part == 500:
                airflow.kill("api-server")
                airflow.start("api-server")
                wait_until(
                    lambda: post_report(airflow, "restarted"), "webhooks are received again", timeout=120
                )
    assert len(taken) == BURST  # nothing was posted while the API server was down
    wait_until(
        lambda: set(reports_of_runs(airflow)) >= set(taken),
        "every report has its run",
        timeout=240,
        interval=2,
    )
    assert airflow.rest.wait_for_run("waiting", waiting, timeout=240) == "success"
    result = airflow.rest.xcom("waiting", waiting, "wait")
    assert (result["delivered"], result["of"]) == (BURST, BURST)


@pytest.mark.timeout(600)
def test_the_example_lists_whom_to_call(airflow):
    sandbox = airflow.sandbox
    run_id = airflow.rest.trigger("pindo_delivery_followup")
    assert airflow.rest.wait_for_run("pindo_delivery_followup", run_id, timeout=300) == "success"
    delivery = airflow.rest.xcom("pindo_delivery_followup", run_id, "wait_for_delivery")
    assert delivery["delivered"] + delivery["undelivered"] + delivery["no_report"] == delivery["of"] == 3
    assert len(sandbox.messages()) >= 3
    calls = airflow.rest.xcom("pindo_delivery_followup", run_id, "write_call_list")
    assert len(calls) == delivery["undelivered"] + delivery["no_report"]


@pytest.mark.timeout(600)
def test_a_lost_answer_is_settled_by_the_webhook_and_nobody_is_asked(airflow):
    airflow.sandbox.add_fault(call="send_sms", action="drop_after")
    before = len(airflow.sandbox.messages(to=PHONE))
    run_id = airflow.rest.trigger("evidence")
    assert airflow.rest.wait_for_run("evidence", run_id, timeout=180) == "success"
    receipt = airflow.rest.xcom("evidence", run_id, "text")
    [message] = airflow.sandbox.messages(to=PHONE)[before:]
    assert receipt["sms_id"] == message["sms_id"]
    [entry] = airflow.rest.task_state("evidence", run_id, "text").values()
    assert entry["settled"]["by"] == "evidence"


@pytest.mark.timeout(600)
def test_the_unknown_rows_of_a_bulk_send_are_settled_by_the_webhooks(airflow):
    airflow.sandbox.add_fault(call="texts", action="drop_after")
    run_id = airflow.rest.trigger("bulk_evidence")
    assert airflow.rest.wait_for_run("bulk_evidence", run_id, timeout=180) == "success"
    result = airflow.rest.xcom("bulk_evidence", run_id, "text")
    assert (result["accepted"], result["unknown"], result["requests"]) == (3, 0, 1)
    texted = [message for message in airflow.sandbox.messages() if message["text"].startswith("Mwiriwe")]
    assert len(texted) == 3
    entry = airflow.rest.task_state("bulk_evidence", run_id, "text")["pindo_bulk_00001"]
    assert entry["sms_ids"].split(" ") == [message["sms_id"] for message in texted]
    assert [(each["by"], each["arrived"]) for each in entry["settled"]] == [("evidence", "1-3")]


def test_no_log_shows_a_secret_a_text_or_a_number(airflow):
    """Runs last, after everything above has written logs."""
    secret = airflow._webhook_secret
    for file in logs(airflow):
        printed = file.read_text(encoding="utf-8", errors="replace")
        for private in (secret, "Muraho neza", PHONE, PHONE[1:], "the clinic is closed", "+250780000301"):
            assert private not in printed, file
