"""What Airflow 3.1 and 3.2 have besides sending: webhooks, tasks that wait for delivery, watched assets, the page.

On 3.3 the other tests of this folder show the same, with what Airflow keeps of a task there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_1_PLUS

from demo.deployment import Deployment
from demo.rest import FINISHED_RUN, wait_until
from tests.e2e.noticed import wait_until_noticed
from tests.e2e.pindo_page import assert_everybody_can_use, open_pindo, run_tab, task_tab
from tests.versions import HAS_STORE

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [
    pytest.mark.skipif(not AIRFLOW_V_3_1_PLUS, reason="webhooks and pages need Airflow 3.1"),
    pytest.mark.skipif(HAS_STORE, reason="Airflow 3.3 has the task state store"),
    pytest.mark.timeout(600),
]

PHONE, LOST = "+250781234567", "+250781234511"
#: Numbers of the sandbox that always have one outcome.
SINGLE = ["+250781234501", "+250789900001"]  # delivered, undelivered
TRACKED = ["+250781234502", "+250789900002"]  # delivered, expired
#: A request for events in the access log.
POLL = r"POST .*/pindo/events/pindo_default"
DAGS = f"""
from datetime import datetime, timedelta
from airflow.sdk import DAG, Asset, AssetWatcher, task
from airflow_provider_pindo.notifications.sms import PindoNotifier
from airflow_provider_pindo.operators.sms import PindoSendBulkSmsOperator, PindoSendSmsOperator
from airflow_provider_pindo.sensors.delivery import PindoDeliverySensor
from airflow_provider_pindo.sensors.sms import PindoInboundSmsSensor
from airflow_provider_pindo.triggers.delivery import PindoDeliveryEventTrigger
from airflow_provider_pindo.triggers.sms import PindoInboundSmsEventTrigger

WHEN = datetime(2026, 1, 1)

with DAG("outcomes", schedule=None, start_date=WHEN):
    send = PindoSendSmsOperator.partial(task_id="text", text="Muraho neza").expand(to={SINGLE})
    waits = {{"on_no_report": "report", "retry_window": 5, "poke_interval": 5, "timeout": 60, "retries": 1}}
    PindoDeliverySensor(task_id="poke", sms_ids=send.output, mode="poke", deferrable=False, **waits)
    PindoDeliverySensor(task_id="reschedule", sms_ids=send.output, mode="reschedule", deferrable=False, **waits)
    PindoDeliverySensor(task_id="deferrable", sms_ids=send.output, deferrable=True, **waits)
    PindoSendBulkSmsOperator(
        task_id="text_tracked",
        recipients=[{{"phonenumber": number}} for number in {TRACKED}],
        text="Muraho neza",
        track_delivery=True,
        report_path=REPORT,
    ) >> PindoDeliverySensor(
        task_id="tracked", report_path=REPORT, retry_window=1, poke_interval=1, timeout=120, deferrable=True
    )
    PindoInboundSmsSensor(
        task_id="reply",
        pattern="YES 4821",
        from_number="{PHONE}",
        source="webhook",
        poke_interval=1,
        timeout=120,
        deferrable=True,
    )

DELIVERED = Asset(
    "delivered", watchers=[AssetWatcher(name="pindo", trigger=PindoDeliveryEventTrigger(poll_interval=2))]
)
REPLIES = Asset(
    "replies",
    watchers=[
        AssetWatcher(
            name="pindo",
            trigger=PindoInboundSmsEventTrigger(pattern="YES 4821", poll_interval=2, source="webhook"),
        )
    ],
)

with DAG("each_report", schedule=[DELIVERED], start_date=WHEN, catchup=True):

    @task(inlets=[DELIVERED])
    def take(triggering_asset_events=None):
        return [
            report["sms_id"]
            for event in triggering_asset_events[DELIVERED]
            for report in event.extra["payload"]["reports"]
        ]

    take()

with DAG("each_reply", schedule=[REPLIES], start_date=WHEN, catchup=True):

    @task(inlets=[REPLIES], show_return_value_in_logs=False)
    def senders(triggering_asset_events=None):
        return [
            message["raw"]["from"]
            for event in triggering_asset_events[REPLIES]
            for message in event.extra["payload"]["messages"]
        ]

    senders()

with DAG("broken", schedule=None, start_date=WHEN):

    @task(on_failure_callback=PindoNotifier("{PHONE}", max_segments=3))
    def load():
        raise ValueError("no header")

    load()

with DAG("lost", schedule=None, start_date=WHEN):
    PindoSendSmsOperator(task_id="text", to="{LOST}", text="Muraho", retries=2, retry_delay=timedelta(seconds=1))
"""


@pytest.fixture(scope="module")
def deployment(sigterm_is_heard: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """An Airflow that receives the sandbox's webhooks, with a scheduler that starts DAGs on events."""
    dags = tmp_path_factory.mktemp("dags")
    report = str(tmp_path_factory.mktemp("reports") / "tracked.csv")
    (dags / "without_store.py").write_text(f"REPORT = {report!r}\n{DAGS}", encoding="utf-8")
    settings = {"AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "True"}
    with Deployment(dags, settings=settings, webhooks=True) as running:
        for dag_id in ("outcomes", "each_report", "each_reply", "broken", "lost"):
            running.rest.wait_for_dag(dag_id)
        # A watcher stores no cursor here: only what comes after its first poll can start a DAG.
        triggerer, api_server = (running.component_log(name) for name in ("triggerer", "api-server"))
        wait_until(
            lambda: count(triggerer, r"trigger ID \d+ starting") >= 2,
            "both watchers have started",
            timeout=120,
        )
        polls = count(api_server, POLL)
        wait_until(lambda: count(api_server, POLL) >= polls + 4, "both watchers have polled", timeout=60)
        yield running


def count(log: Path, pattern: str) -> int:
    """Return how often a log has the pattern."""
    return len(re.findall(pattern, log.read_text(encoding="utf-8", errors="replace")))


@pytest.fixture(scope="module")
def run_id(deployment: Deployment) -> str:
    """A run of the DAG with every outcome, which has ended."""
    run_id = deployment.rest.trigger("outcomes")
    deployment.rest.wait_for_task("outcomes", run_id, "reply", state="deferred")
    wait_until_noticed(deployment, run_id, "reply")
    deployment.sandbox.reply("+250781234502", "YES 4821")
    deployment.sandbox.reply(PHONE, "YES 4821")
    assert deployment.rest.wait_for_run("outcomes", run_id, timeout=300) == "success"
    return run_id


def ids(deployment: Deployment, number: str) -> list[str]:
    """Return the ids of the messages on a phone."""
    return [message["sms_id"] for message in deployment.sandbox.messages(to=number)]


def taken_by_runs(deployment: Deployment, dag_id: str, task_id: str) -> list[str]:
    """Return what the runs of a watching DAG took."""
    page = deployment.rest.request("GET", f"/dags/{dag_id}/dagRuns", params={"limit": 1000})
    ended = [run for run in page["dag_runs"] if run["state"] in FINISHED_RUN]
    assert all(run["state"] == "success" for run in ended)
    return [each for run in ended for each in deployment.rest.xcom(dag_id, run["dag_run_id"], task_id) or ()]


@pytest.mark.parametrize("mode", ["poke", "reschedule", "deferrable"])
def test_a_task_waits_for_the_delivery_of_each_message(deployment, run_id, mode):
    result = deployment.rest.xcom("outcomes", run_id, mode)
    listed = result.pop("not_delivered")
    assert result == {"delivered": 1, "undelivered": 1, "no_report": 0, "of": 2}
    assert [(each["sms_id"], each["status"]) for each in listed] == [
        (*ids(deployment, SINGLE[1]), "UNDELIV"),
    ]


def test_a_task_waits_for_the_delivery_of_a_bulk_send(deployment, run_id):
    result = deployment.rest.xcom("outcomes", run_id, "tracked")
    listed = result.pop("not_delivered")
    assert result == {"delivered": 1, "undelivered": 1, "no_report": 0, "of": 2}
    assert [(each["sms_id"], each["status"]) for each in listed] == [
        (*ids(deployment, TRACKED[1]), "EXPIRED"),
    ]


def test_the_webhook_brings_a_reply_to_a_task(deployment, run_id):
    [match] = deployment.rest.xcom("outcomes", run_id, "reply")
    assert (match["text"], match["raw"]["from"]) == ("YES 4821", PHONE)


def test_reports_and_replies_start_dags(deployment, run_id):
    texted = {sms_id for number in (*SINGLE, *TRACKED) for sms_id in ids(deployment, number)}
    wait_until(
        lambda: set(taken_by_runs(deployment, "each_report", "take")) == texted,
        "every report has its run",
        timeout=120,
    )
    wait_until(
        lambda: sorted(taken_by_runs(deployment, "each_reply", "senders")) == ["+250781234502", PHONE],
        "both replies have their run",
        timeout=120,
    )


def test_an_alert_names_the_exception(deployment):
    run_id = deployment.rest.trigger("broken")
    assert deployment.rest.wait_for_run("broken", run_id) == "failed"
    assert "ValueError: no header" in deployment.sandbox.messages(to=PHONE)[-1]["text"]


def test_after_a_lost_response_nobody_is_texted_again(deployment):
    deployment.sandbox.add_fault("drop_after", call="send_sms", to=LOST)
    run_id = deployment.rest.trigger("lost")
    assert deployment.rest.wait_for_run("lost", run_id) == "failed"
    assert len(ids(deployment, LOST)) == 1
    assert "This Airflow has no task state store" in deployment.task_log("lost", run_id, "text")


@pytest.mark.browser
def test_the_page_and_its_tabs_say_that_nothing_is_recorded(deployment, run_id, page: Page):
    tabs = (run_tab(run_id, "outcomes"), task_tab(run_id, "text_tracked", "outcomes"))
    for path in ("/plugin/pindo", *tabs):
        frame = open_pindo(page, deployment.url, path)
        frame.get_by_text("This Airflow keeps no record of what was sent.").wait_for()
        frame.get_by_text("which came with Airflow 3.3").wait_for()
        assert_everybody_can_use(page)


@pytest.mark.browser
def test_the_page_has_the_address_of_the_webhooks(deployment, run_id, page: Page):
    frame = open_pindo(page, deployment.url)
    setup = frame.get_by_role("region", name="Set up webhooks")
    setup.get_by_label("Webhook address of pindo_default").first.wait_for()
    addresses = [field.input_value() for field in setup.get_by_role("textbox").all()]
    assert deployment.webhook_address in addresses
    assert_everybody_can_use(page)
