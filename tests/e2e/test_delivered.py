"""Delivery in a real Airflow: nothing that was answered 2xx is lost, whatever is killed or restarted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import pytest
import requests

from demo.deployment import AIRFLOW_VERSION, EXAMPLE_DAGS, Deployment
from demo.rest import FINISHED_RUN, wait_until
from tests.databases import new_database
from tests.e2e.noticed import wait_until_noticed

if AIRFLOW_VERSION < 3:
    pytest.skip("webhooks need Airflow 3.1", allow_module_level=True)

PHONE = "+250781234567"
DAG_IDS = (
    "each_report",
    "waiting",
    "evidence",
    "bulk_evidence",
    "each_reply",
    "outcomes",
    "pindo_delivery_followup",
)
BURST = 1000

DAGS = """
from datetime import datetime, timedelta
from airflow.sdk import DAG, Asset, AssetWatcher, task
from airflow_provider_pindo.operators.sms import PindoSendBulkSmsOperator, PindoSendSmsOperator
from airflow_provider_pindo.operators.verify import PindoVerifyOperator
from airflow_provider_pindo.sensors.delivery import PindoDeliverySensor
from airflow_provider_pindo.sensors.sms import PindoInboundSmsSensor
from airflow_provider_pindo.triggers.delivery import PindoDeliveryEventTrigger
from airflow_provider_pindo.triggers.sms import PindoInboundSmsEventTrigger

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
    PindoSendSmsOperator(task_id="text", to="+250781234567", text="Muraho neza", on_unknown="ask")

with DAG("bulk_evidence", schedule=None, start_date=datetime(2026, 1, 1)):
    PindoSendBulkSmsOperator(
        task_id="text",
        recipients=[{"phonenumber": f"+25078123456{row}", "name": f"Name {row}"} for row in range(3)],
        text="Mwiriwe @contact.name",
        on_unknown="ask",
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

with DAG("each_reply", schedule=[REPLIES], start_date=datetime(2026, 1, 1), catchup=True):

    @task(inlets=[REPLIES], show_return_value_in_logs=False)
    def senders(triggering_asset_events=None):
        return [
            message["raw"]["from"]
            for event in triggering_asset_events[REPLIES]
            for message in event.extra["payload"]["messages"]
        ]

    senders()

# Independent tasks, so that what takes long takes long at the same time.
with DAG("outcomes", schedule=None, start_date=datetime(2026, 1, 1)):
    send = PindoSendSmsOperator.partial(task_id="text", text="Muraho neza").expand(to=SINGLE)
    # With a second between two pokes, Airflow takes a task for dead that comes back before its scheduler knows it left.
    waits = {"on_no_report": "report", "retry_window": 5, "poke_interval": 5, "timeout": 20, "retries": 1}
    PindoDeliverySensor(task_id="poke", sms_ids=send.output, mode="poke", deferrable=False, **waits)
    PindoDeliverySensor(task_id="reschedule", sms_ids=send.output, mode="reschedule", deferrable=False, **waits)
    PindoDeliverySensor(task_id="deferrable", sms_ids=send.output, deferrable=True, **waits)
    PindoDeliverySensor(task_id="no_report", sms_ids="out_sms_nobody", poke_interval=1, timeout=5, deferrable=True)

    PindoSendBulkSmsOperator(
        task_id="text_tracked",
        recipients=[{"phonenumber": number} for number in TRACKED],
        text="Muraho neza",
        track_delivery=True,
        report_path=REPORT,
    ) >> PindoDeliverySensor(
        task_id="tracked", report_path=REPORT, retry_window=1, poke_interval=1, timeout=120, deferrable=True
    )

    PindoInboundSmsSensor(
        task_id="reply",
        pattern="YES 4821",
        from_number="+250781234567",
        source="webhook",
        poke_interval=1,
        timeout=120,
        deferrable=True,
    )

    unknown = {"text": "Muraho neza", "retries": 1, "retry_delay": timedelta(seconds=1)}
    PindoSendSmsOperator.partial(task_id="unknown", **unknown).expand_kwargs(UNKNOWN)
    PindoSendSmsOperator(task_id="unknown_ask", to=ASKED, on_unknown="ask", **unknown)
    PindoVerifyOperator(task_id="pin", number=PIN, on_unknown="accept")
"""

#: Numbers of the sandbox that always have one outcome, and two that are delivered.
DELIVERED, UNDELIVERED, NO_REPORT, DELIVERED_BY_RETRY = SINGLE = [
    "+250781234501",
    "+250789900001",
    "+250789900004",
    "+250789900008",
]
_, EXPIRED, _, _ = TRACKED = ["+250781234502", "+250789900002", "+250789900006", "+250789900007"]
#: Whose answer is lost, while no webhook says that the message was sent.
UNKNOWN = [
    {"to": "+250781234511", "on_unknown": "fail"},
    {"to": "+250781234512", "on_unknown": "accept"},
    {"to": "+250781234513", "on_unknown": "resend"},
]
ASKED, PIN = "+250781234514", "+250781234515"
#: What no log may show: the numbers without the code of their country, and parts of the texts.
PRIVATE = [
    number[-9:]
    for number in (PHONE, *SINGLE, *TRACKED, *(each["to"] for each in UNKNOWN), ASKED, PIN, "+250780000301")
]
PRIVATE += ["Muraho neza", "Mwiriwe", "the clinic is closed", "YES 4821"]


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.databases)])
def airflow(
    request: pytest.FixtureRequest, sigterm_is_heard: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """An Airflow that receives the sandbox's webhooks, with a scheduler that starts DAGs on events."""
    dags = tmp_path_factory.mktemp("dags")
    report = str(tmp_path_factory.mktemp("reports") / "tracked.csv")
    names = {"SINGLE": SINGLE, "TRACKED": TRACKED, "UNKNOWN": UNKNOWN, "ASKED": ASKED, "PIN": PIN}
    head = "".join(f"{name} = {value!r}\n" for name, value in {**names, "REPORT": report}.items())
    (dags / "delivery.py").write_text(head + DAGS, encoding="utf-8")
    example = EXAMPLE_DAGS / "pindo_delivery_followup.py"
    source = example.read_text(encoding="utf-8")
    (dags / example.name).write_text(
        source.replace("seconds=10", "seconds=1").replace("hours=1", "seconds=20")
    )
    settings = {"AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "True"}
    with ExitStack() as stack:
        if request.param != "sqlite":
            settings["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = stack.enter_context(new_database(request.param))
        running = stack.enter_context(Deployment(dags, settings=settings, webhooks=True))
        for dag_id in DAG_IDS:
            running.rest.wait_for_dag(dag_id)
        for asset in ("delivered", "replies"):
            wait_until(lambda asset=asset: is_watched(running, asset), f"{asset} is watched", timeout=120)
        yield running


def is_watched(airflow: Deployment, name: str) -> bool:
    """Whether the watcher of an asset has stored the cursor that it starts from."""
    assets = airflow.rest.request("GET", "/assets", params={"name_pattern": name})["assets"]
    states = [airflow.rest.request("GET", f"/assets/{asset['id']}/state-store") for asset in assets]
    return any(state["total_entries"] for state in states)


def post_report(airflow: Deployment, sms_id: str) -> bool:
    """Report that a message was delivered, once, as Pindo does. Return whether it was answered with 2xx."""
    body = {"sms_id": sms_id, "status": "DELIVRD", "modified_at": "2026-06-10T09:04:31", "retries_count": 0}
    try:
        return requests.post(str(airflow.webhook_address), json=body, timeout=30).ok
    except requests.RequestException:
        return False


def taken_by_runs(airflow: Deployment, dag_id: str, task_id: str) -> list[str]:
    """Return what the runs of a watching DAG took."""
    page = airflow.rest.request("GET", f"/dags/{dag_id}/dagRuns", params={"limit": 1000})
    ended = [run for run in page["dag_runs"] if run["state"] in FINISHED_RUN]
    assert all(run["state"] == "success" for run in ended)
    return [each for run in ended for each in airflow.rest.xcom(dag_id, run["dag_run_id"], task_id) or ()]


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
        lambda: set(taken_by_runs(airflow, "each_report", "take")) >= set(taken),
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
    sandbox.add_rule("undelivered", to="+250780000302")
    sandbox.add_rule("no_report", to="+250780000303")
    run_id = airflow.rest.trigger("pindo_delivery_followup")
    assert airflow.rest.wait_for_run("pindo_delivery_followup", run_id, timeout=300) == "success"
    assert {message["to"] for message in sandbox.messages()} >= {f"+25078000030{end}" for end in (1, 2, 3)}
    calls = airflow.rest.xcom("pindo_delivery_followup", run_id, "write_call_list")
    assert [(call["name"], call["reason"]) for call in calls] == [
        ("Eric", "UNDELIV"),
        ("Chantal", "no report"),
    ]


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
    assert questions(airflow, "evidence", run_id) == []


def questions(airflow: Deployment, dag_id: str, run_id: str) -> list[str]:
    """Return the tasks of a run that have asked a person."""
    path = f"/dags/{dag_id}/dagRuns/{quote(run_id)}/hitlDetails"
    details = airflow.rest.request("GET", path)["hitl_details"]
    return [detail["task_instance"]["task_id"] for detail in details]


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


@pytest.fixture(scope="module")
def run_id(airflow: Deployment) -> str:
    """A run of the DAG with every outcome, which has ended."""
    sandbox, rest = airflow.sandbox, airflow.rest
    for number in [*(each["to"] for each in UNKNOWN), ASKED]:
        sandbox.add_fault("drop_after", call="send_sms", to=number)
        sandbox.add_fault("receiver_down", call="sent", to=number, times=None)
    sandbox.add_fault("drop_after", call="verify")
    run_id = rest.trigger("outcomes")
    rest.wait_for_task("outcomes", run_id, "reply", state="deferred")
    wait_until_noticed(airflow, run_id, "reply")
    sandbox.reply("+250781234502", "YES 4821")
    sandbox.reply(PHONE, "YES 4821")
    rest.wait_for_task("outcomes", run_id, "unknown_ask", state="awaiting_input")
    wait_until_noticed(airflow, run_id, "unknown_ask", count=2)
    rest.answer("outcomes", run_id, "unknown_ask", "It arrived")
    rest.wait_for_run("outcomes", run_id, timeout=300)
    return run_id


def texts(airflow: Deployment, number: str) -> list[str]:
    """Return the ids of the messages on a phone."""
    return [message["sms_id"] for message in airflow.sandbox.messages(to=number)]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("mode", ["poke", "reschedule", "deferrable"])
def test_every_mode_tells_delivered_from_undelivered_and_from_no_report(airflow, run_id, mode):
    [undelivered], [no_report] = texts(airflow, UNDELIVERED), texts(airflow, NO_REPORT)
    result = airflow.rest.xcom("outcomes", run_id, mode)
    listed = result.pop("not_delivered")
    assert result == {"delivered": 2, "undelivered": 1, "no_report": 1, "of": 4}
    assert [(each["sms_id"], each["status"]) for each in listed] == [
        (undelivered, "UNDELIV"),
        (no_report, None),
    ]
    [by_retry] = airflow.sandbox.messages(to=DELIVERED_BY_RETRY)
    assert by_retry["reports"] == ["UNDELIV", "DELIVRD"]


@pytest.mark.timeout(900)
def test_without_a_report_the_task_fails_at_its_timeout(airflow, run_id):
    assert airflow.rest.task_instance("outcomes", run_id, "no_report")["state"] == "failed"
    assert "AirflowSensorTimeout" in airflow.task_log("outcomes", run_id, "no_report")


@pytest.mark.timeout(900)
def test_the_report_of_a_bulk_send_that_tracks_delivery_names_the_messages(airflow, run_id):
    assert airflow.rest.xcom("outcomes", run_id, "text_tracked")["requests"] == len(TRACKED)
    result = airflow.rest.xcom("outcomes", run_id, "tracked")
    listed = result.pop("not_delivered")
    assert result == {"delivered": 3, "undelivered": 1, "no_report": 0, "of": 4}
    assert [(each["sms_id"], each["status"]) for each in listed] == [
        (*texts(airflow, EXPIRED), "EXPIRED"),
    ]


@pytest.mark.timeout(900)
def test_the_webhook_brings_messages_with_their_senders_to_a_task_and_to_an_asset(airflow, run_id):
    [match] = airflow.rest.xcom("outcomes", run_id, "reply")
    assert (match["text"], match["raw"]["from"]) == ("YES 4821", PHONE)
    wait_until(
        lambda: taken_by_runs(airflow, "each_reply", "senders") == ["+250781234502", PHONE],
        "both messages have their run",
        timeout=120,
    )


@pytest.mark.timeout(900)
def test_without_evidence_a_task_does_what_on_unknown_says(airflow, run_id):
    states = [
        airflow.rest.task_instance("outcomes", run_id, "unknown", map_index=index)["state"]
        for index in range(len(UNKNOWN))
    ]
    assert states == ["failed", "success", "success"]
    accepted, resent = (
        airflow.rest.xcom("outcomes", run_id, "unknown", map_index=index)["status"] for index in (1, 2)
    )
    assert (accepted, resent) == ("unknown", "sent")
    assert [len(texts(airflow, each["to"])) for each in UNKNOWN] == [1, 1, 2]
    assert questions(airflow, "outcomes", run_id) == ["unknown_ask"]
    assert airflow.rest.xcom("outcomes", run_id, "unknown_ask")["status"] == "sent"
    assert len(texts(airflow, ASKED)) == 1


@pytest.mark.timeout(900)
def test_a_pin_whose_outcome_is_unknown_is_not_waited_for(airflow, run_id):
    assert airflow.rest.xcom("outcomes", run_id, "pin")["status"] == "unknown"
    assert len(texts(airflow, PIN)) == 1
    waiting = re.compile(r"Waiting up to (29|30) s for Pindo's webhook")
    assert waiting.search(airflow.task_log("outcomes", run_id, "unknown_ask"))
    assert not waiting.search(airflow.task_log("outcomes", run_id, "pin"))


def test_no_log_shows_a_secret_a_text_or_a_number(airflow, run_id):
    """Runs last, after everything above has written logs."""
    secrets = (airflow.webhook_secret, airflow.sandbox.token)
    assert all(secrets)
    for file in logs(airflow):
        printed = file.read_text(encoding="utf-8", errors="replace")
        if file.name == "sandbox.log":  # it begins with the connection
            printed = printed.replace(airflow.sandbox.token, "", 1)
        for private in (*secrets, *PRIVATE):
            assert private not in printed, (file, private)
