"""What Airflow's database and logs keep, once everything of this folder ran."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from airflow_provider_pindo.sandbox import SandboxClient
from demo.cluster import Cluster
from demo.deployment import EXAMPLE_DAGS
from demo.rest import wait_until
from tests.e2e.cluster.campaign import TEXT_PARTITION
from tests.e2e.person import DAG_ID as VERIFICATION
from tests.e2e.person import Person

KEPT = """
from datetime import datetime
from airflow.providers.common.compat.sdk import DAG, task
from airflow_provider_pindo.operators.sms import PindoSendBulkSmsOperator, PindoSendSmsOperator
from airflow_provider_pindo.sensors.sms import PindoInboundSmsSensor

with DAG("kept", schedule=None, start_date=datetime(2026, 1, 1)):

    @task(show_return_value_in_logs=False)
    def people():
        return [{"phonenumber": "+25078" + "1000002", "name": "Aline"}]

    # The rendered values appear nowhere in this file.
    PindoSendSmsOperator(
        task_id="text", to="+25078{{ 1000001 }}", text="{{ dag_run.conf.greeting }}, said {{ 'the' }} clinic"
    )
    PindoSendBulkSmsOperator(task_id="many", recipients=people(), text="Written in the file")
    PindoInboundSmsSensor(
        task_id="wait",
        pattern="(?i)inyama",
        since="{{ dag_run.conf.since }}",
        poke_interval=2,
        deferrable=True,
        start_from_trigger=True,
    )
"""
RENDERED, XCOM = "rendered_task_instance_fields.rendered_fields", "xcom.value"
#: What Airflow's database keeps, and where (table and column), as docs/storage.rst lists it.
KEPT_WHERE = {
    "the token": set(),
    "a PIN that a person typed into a form": {"hitl_detail.params_input", XCOM},
    "a text, as rendered": {RENDERED},
    # The receipt has the number, and the ledger keeps the receipt.
    "a number, as rendered": {RENDERED, XCOM, "task_state_store.value"},
    "a text that stands in the DAG's file": {"dag_code.source_code", "serialized_dag.data", RENDERED},
    "what a run is started with": {"dag_run.conf", "log.extra", RENDERED},
    "recipients that come by XCom": {RENDERED, XCOM},
    "recipients that come from a file": set(),
    # A task that gets the text as a templated argument has it rendered.
    "a text that somebody sent us": {"asset_event.extra", RENDERED, XCOM},
}


@pytest.fixture
def person(cluster: Cluster, sandbox: SandboxClient) -> Person:
    """A person who gets a PIN of ten digits, so that no time or ID equals it by chance."""
    example = f"{VERIFICATION}.py"
    (cluster.dags / example).write_bytes((EXAMPLE_DAGS / example).read_bytes())
    sandbox.settings(pin_length=10)
    return Person(cluster, sandbox)


@pytest.fixture
def router(cluster: Cluster) -> Iterator[str]:
    """The example that replies to every message, for the duration of the test."""
    file = cluster.dags / "pindo_inbound_router.py"
    source = (EXAMPLE_DAGS / file.name).read_text(encoding="utf-8")
    file.write_text(source.replace("poll_interval=10", "poll_interval=2"), encoding="utf-8")
    cluster.rest.wait_for_dag(file.stem)
    yield file.stem
    file.unlink()


def test_what_is_kept_stands_where_the_docs_say_and_in_no_log(
    cluster, sandbox, start_campaign, person, router
):
    """The last test of the folder, so that it searches the logs of all the others too."""
    cluster.add_dag("kept", KEPT)
    rest = cluster.rest
    wait_until(lambda: cluster.query("SELECT 1 FROM asset_state_store"), "the asset is watched", timeout=120)
    campaign = start_campaign(recipients=200, partitions=1)
    conf = {"greeting": "Mwaramutse mwese", "since": datetime.now(UTC).isoformat()}
    run_id = rest.trigger("kept", conf=conf)
    verification = person.starts()
    pin = person.reads_the_pin()
    assert person.types(verification, pin)["verified"] == "success"
    rest.wait_for_task("kept", run_id, "wait", state="deferred")
    sandbox.reply("+250781000003", "inyama z'inka, 0781000003")
    assert rest.wait_for_run("kept", run_id) == "success"
    assert campaign.wait() == "success"
    wait_until(lambda: sandbox.messages(to="+250781000003"), "the router has answered", timeout=120)

    secrets = {
        "the token": sandbox.token,
        "a PIN that a person typed into a form": pin,
        "a text, as rendered": "said the clinic",
        "a number, as rendered": "781000001",
        "a text that stands in the DAG's file": "Written in the file",
        "what a run is started with": "Mwaramutse mwese",
        "recipients that come by XCom": "781000002",
        "recipients that come from a file": campaign.phones[7],
        "a text that somebody sent us": "inyama z'inka",
    }
    texts_of_other_tests = ["free eye checks", "we come"]
    assert lines_with([*secrets.values(), *texts_of_other_tests], cluster) == []
    kept = columns_with(list(secrets.values()), cluster)
    assert {what: kept[secret] for what, secret in secrets.items()} == KEPT_WHERE


def lines_with(secrets: list[str], cluster: Cluster) -> list[str]:
    """Return the log lines of all processes that have one of these, or any whole phone number."""
    pattern = re.compile("|".join([*map(re.escape, secrets), r"\+2507\d{8}"]))
    logs = [file for folder in ("logs", "components") for file in (cluster.home / folder).rglob("*.log")]
    logs.remove(cluster.component_log("sandbox"))  # the sandbox prints its token for the user
    assert {"worker-3.log", "triggerer-2.log", "scheduler.log"} <= {file.name for file in logs}
    assert any(TEXT_PARTITION in str(file) for file in logs)
    return [
        f"{file.relative_to(cluster.home)}: {line}"
        for file in logs
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines()
        if pattern.search(line)
    ]


def columns_with(secrets: list[str], cluster: Cluster) -> dict[str, set[str]]:
    """Return the columns of Airflow's database that have each of these."""
    columns_by_secret: dict[str, set[str]] = {secret: set() for secret in secrets}
    columns = cluster.query(
        "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public'"
    )
    for table, column, kind in columns:
        shown = f'"{column}"' if kind == "bytea" else f'"{column}"::text'
        rows = cluster.query(f'SELECT {shown} FROM "{table}" WHERE "{column}" IS NOT NULL')
        values = [value if kind != "bytea" else bytes(value).decode("latin-1") for (value,) in rows]
        for secret in secrets:
            if any(secret in value for value in values):
                columns_by_secret[secret].add(f"{table}.{column}")
    return columns_by_secret
