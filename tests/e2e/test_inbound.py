"""Waiting for messages in a real Airflow, with a triggerer that is killed."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from demo.deployment import EXAMPLE_DAGS, Deployment, tail
from demo.rest import FINISHED_RUN, wait_until
from tests.e2e.noticed import wait_until_noticed
from tests.versions import HAS_STORE, needs_store

needs_start_in_triggerer = pytest.mark.skipif(
    not HAS_STORE, reason="a task starts in the triggerer from Airflow 3.3 on"
)
needs_asset_store = pytest.mark.skipif(not HAS_STORE, reason="Airflow before 3.3 has no asset state store")
PHONE = "+250781234567"

SENSOR = """
from datetime import datetime
from airflow.providers.common.compat.sdk import DAG
from airflow_provider_pindo.sensors.sms import PindoInboundSmsSensor

with DAG("{dag_id}", schedule=None, start_date=datetime(2026, 1, 1)) as dag:
    PindoInboundSmsSensor(task_id="wait", poke_interval={interval}, {arguments})
"""


def add_sensor(deployment, dag_id, arguments, interval=1):
    deployment.add_dag(dag_id, SENSOR.format(dag_id=dag_id, arguments=arguments, interval=interval))


def no_log_shows(deployment: Deployment, *secrets: str) -> None:
    """Assert that none of these is in a log of the triggerer or of a task that runs in it."""
    files = [deployment.component_log("triggerer"), *(deployment.home / "logs").rglob("*.trigger.*.log")]
    for file in files:
        printed = file.read_text(encoding="utf-8", errors="replace")
        for secret in secrets:
            assert secret not in printed, file


def restart_triggerer(deployment: Deployment) -> None:
    """Kill the triggerer outright, with the process that runs its triggers, and start another."""
    deployment.kill("triggerer")
    deployment.start("triggerer")


@pytest.fixture
def examples_with(deployment: Deployment):
    """Add an example DAG with some of its text replaced, under a new name."""

    def add(example: str, dag_id: str, **replacements: str) -> None:
        source = (EXAMPLE_DAGS / f"{example}.py").read_text(encoding="utf-8").replace(example, dag_id)
        for old, new in replacements.values():
            assert old in source
            source = source.replace(old, new)
        deployment.add_dag(dag_id, source)

    return add


def test_a_dag_branches_on_what_was_typed_on_the_phone(deployment, sandbox, examples_with):
    examples_with(
        "pindo_confirm_appointment",
        "confirm",
        wait=("timedelta(hours=20)", "timedelta(seconds=90)"),
        look=("timedelta(seconds=30)", "timedelta(seconds=1)"),
    )
    run_id = deployment.rest.trigger("confirm")

    def codes_by_patient() -> dict[str, str]:  # an earlier test's run may text somebody else meanwhile
        texts = ((message["to"], re.search(r"YES (\d+)", message["text"])) for message in sandbox.messages())
        return {to: code[1] for to, code in texts if code}

    wait_until(lambda: len(codes_by_patient()) == 3, "all three were asked", timeout=180)
    wait_until_noticed(deployment, run_id, "ask.wait_for_reply", count=3)
    codes = codes_by_patient()
    sandbox.reply("+250780000201", f"Yes, {codes['+250780000201']}")
    sandbox.reply("+250780000202", f"no {codes['+250780000202']} sorry")
    sandbox.reply("+250780000203", "yes 0000")  # nobody's code
    assert deployment.rest.wait_for_run("confirm", run_id, timeout=180) == "success"
    assert deployment.rest.xcom("confirm", run_id, "report") == {
        "confirm": ["Aline"],
        "rebook": ["Eric"],
        "call": ["Chantal"],
    }
    no_log_shows(deployment, "sorry", "nobody", *codes)


@needs_start_in_triggerer
def test_a_task_starts_and_ends_in_the_triggerer_through_a_kill_of_it(deployment, sandbox):
    add_sensor(
        deployment,
        "no_worker",
        "pattern=r'YES (?P<code>{{ dag_run.conf[\"code\"] }})', since='{{ dag_run.conf[\"since\"] }}', "
        "deferrable=True, start_from_trigger=True",
    )
    since = datetime.now(UTC).isoformat()
    run_id = deployment.rest.trigger("no_worker", conf={"code": "4821", "since": since})
    deployment.rest.wait_for_task("no_worker", run_id, "wait", state="deferred")
    sandbox.reply(PHONE, "YES 1111")
    restart_triggerer(deployment)
    sandbox.reply(PHONE, "YES 4821, from Aline")
    ended = deployment.rest.wait_for_run("no_worker", run_id)
    assert ended == "success", tail(deployment.component_log("triggerer"))
    [match] = deployment.rest.xcom("no_worker", run_id, "wait")
    assert (match["text"], match["groups"]) == ("YES 4821, from Aline", {"code": "4821"})
    assert deployment.task_log("no_worker", run_id, "wait") == ""  # no worker ever ran it
    no_log_shows(deployment, "Aline", "250781113333")


@needs_start_in_triggerer
def test_a_mapped_task_is_deferred_from_the_worker_and_says_so(deployment, sandbox):
    since = datetime.now(UTC).isoformat()
    deployment.add_dag(
        "mapped_wait",
        SENSOR.format(dag_id="mapped_wait", arguments="", interval=1).replace(
            'PindoInboundSmsSensor(task_id="wait", poke_interval=1, )',
            'PindoInboundSmsSensor.partial(task_id="wait", poke_interval=1, deferrable=True, '
            f"start_from_trigger=True, since={since!r}).expand(pattern=['YES 1', 'YES 2'])",
        ),
    )
    run_id = deployment.rest.trigger("mapped_wait")
    for index in range(2):
        deployment.rest.wait_for_task("mapped_wait", run_id, "wait", map_index=index, state="deferred")
    wait_until_noticed(deployment, run_id, "wait", count=2)
    sandbox.reply_all([{"from": PHONE, "text": "YES 1"}, {"from": PHONE, "text": "YES 2"}])
    state = deployment.rest.wait_for_run("mapped_wait", run_id)
    log = deployment.task_log("mapped_wait", run_id, "wait", map_index=0)
    assert state == "success", log + deployment.task_log("mapped_wait", run_id, "wait", map_index=1)
    assert [
        message["text"] for message in deployment.rest.xcom("mapped_wait", run_id, "wait", map_index=1)
    ] == ["YES 2"]
    assert "starts no mapped task there" in log


def test_a_reply_that_came_after_the_triggers_last_look_counts_when_the_time_is_up(deployment, sandbox):
    arguments = "pattern='YES', deferrable=True, timeout=60, soft_fail=True"
    add_sensor(deployment, "last_look", arguments, interval=600)
    run_id = deployment.rest.trigger("last_look")
    wait_until_noticed(deployment, run_id, "wait")
    time.sleep(5)  # meanwhile the trigger has polled
    sandbox.reply(PHONE, "YES, at last")
    assert deployment.rest.wait_for_run("last_look", run_id, timeout=180) == "success"
    assert [message["text"] for message in deployment.rest.xcom("last_look", run_id, "wait")] == [
        "YES, at last"
    ]


@needs_store
def test_a_task_that_is_cleared_counts_from_its_first_start(deployment, sandbox):
    add_sensor(deployment, "first_start", "pattern='YES', mode='poke', deferrable=False, timeout=3")
    run_id = deployment.rest.trigger("first_start")
    assert deployment.rest.wait_for_run("first_start", run_id) == "failed"
    sandbox.reply(PHONE, "YES")
    deployment.rest.clear("first_start", run_id, "wait")
    assert deployment.rest.wait_for_run("first_start", run_id) == "success"
    assert [message["text"] for message in deployment.rest.xcom("first_start", run_id, "wait")] == ["YES"]


LISTED = """
from datetime import datetime
from airflow.providers.common.compat.sdk import DAG
from airflow_provider_pindo.operators.sms import PindoSendSmsOperator

with DAG("listed", schedule=None, start_date=datetime(2026, 1, 1)) as dag:
    for name, to in {phones!r}.items():
        PindoSendSmsOperator(task_id=name, to=to, text="An offer", pindo_conn_id="pindo_listed")
"""


def text_after_a_stop(deployment: Deployment, **phones: str) -> dict[str, str]:
    """Text each phone over a connection that names the router's list. Return the state of each task."""
    connection = json.loads(deployment.sandbox.connection_json())
    connection["extra"] = json.dumps({**connection["extra"], "suppression_list": "variable:pindo_stop_list"})
    deployment.rest.request("POST", "/connections", json={"connection_id": "pindo_listed", **connection})
    deployment.add_dag("listed", LISTED.format(phones=phones))
    run_id = deployment.rest.trigger("listed")
    deployment.rest.wait_for_run("listed", run_id, timeout=180)
    assert "Nothing is sent to +25078****000" in deployment.task_log("listed", run_id, "stopped")
    return {task["task_id"]: task["state"] for task in deployment.rest.task_instances("listed", run_id)}


@pytest.fixture
def event_driven(tmp_path: Path) -> Iterator[Deployment]:
    """A separate Airflow with the router, whose scheduler starts DAGs on events.

    ``PINDO_TEST_DATABASE`` may name an empty database to use instead of SQLite.
    """
    router = (EXAMPLE_DAGS / "pindo_inbound_router.py").read_text(encoding="utf-8")
    (tmp_path / "pindo_inbound_router.py").write_text(router.replace("poll_interval=10", "poll_interval=4"))
    settings = {"AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "True"}
    if database := os.environ.get("PINDO_TEST_DATABASE"):
        settings["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = database
    with Deployment(tmp_path, settings=settings) as running:
        running.rest.wait_for_dag("pindo_inbound_router")
        wait_until(lambda: watched(running), "the asset is watched", timeout=120)
        yield running


@needs_asset_store
@pytest.mark.timeout(900)
def test_a_watched_asset_handles_each_message_once_through_a_kill(event_driven):
    """The example replies to every message: each of 50 phones gets one reply, whatever the bursts."""
    sandbox = event_driven.sandbox
    sandbox.settings(inbound_sender=True)
    phones = [f"+2507810000{number:02}" for number in range(50)]
    words = ["STOP", "What is my balance?", "Hello"]
    messages = [{"from": phone, "text": words[index % 3]} for index, phone in enumerate(phones)]
    for burst in range(0, 50, 10):
        sandbox.reply_all(messages[burst : burst + 10])
        if burst == 20:
            wait_until(lambda: sandbox.messages(), "the first are answered", timeout=240)
            restart_triggerer(event_driven)
    wait_until(lambda: len(sandbox.messages()) >= 50, "all are answered", timeout=280, interval=1)
    wait_until(lambda: all_ended(event_driven), "all runs have ended", timeout=120, interval=1)
    assert sorted(message["to"] for message in sandbox.messages()) == phones
    stopped = event_driven.rest.request("GET", "/variables/pindo_stop_list")["value"]
    assert re.findall(r"\+\d+", stopped) == phones[::3]
    trail = json.loads(event_driven.rest.request("GET", "/variables/pindo_opt_outs")["value"])
    assert sorted((entry["number"], entry["word"]) for entry in trail) == [
        (phone, "STOP") for phone in phones[::3]
    ]
    states = text_after_a_stop(event_driven, stopped=phones[0], other=phones[1])
    assert states == {"stopped": "skipped", "other": "success"}
    assert [message["to"] for message in sandbox.messages()[50:]] == [phones[1]]
    no_log_shows(event_driven, "balance", "+2507810000")


def watched(deployment: Deployment) -> bool:
    """Whether the watcher has stored the cursor that it starts from."""
    assets = deployment.rest.request("GET", "/assets", params={"name_pattern": "pindo_inbox"})["assets"]
    states = [deployment.rest.request("GET", f"/assets/{asset['id']}/state-store") for asset in assets]
    return any(state["total_entries"] for state in states)


def all_ended(deployment: Deployment) -> bool:
    """Whether every run of the router has ended."""
    path = "/dags/pindo_inbound_router/dagRuns"
    page = deployment.rest.request("GET", path, params={"limit": 1000})
    ended = [run for run in page["dag_runs"] if run["state"] in FINISHED_RUN]
    return len(ended) == page["total_entries"]
