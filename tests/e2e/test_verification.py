"""The verification example in a real Airflow: a person fills in the form, mistypes or stays away.

The tests also look for the PIN in Airflow's database and files afterwards.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from airflow_provider_pindo.sandbox import SandboxClient
from demo.deployment import AIRFLOW_VERSION, EXAMPLE_DAGS, Deployment
from demo.rest import wait_until
from tests.e2e.person import DAG_ID, PHONE, Person

pytestmark = pytest.mark.skipif(AIRFLOW_VERSION < 3, reason="forms and the ledger came later")


@pytest.fixture
def sandbox(sandbox: SandboxClient) -> SandboxClient:
    """A sandbox whose PINs have ten digits, so that no time or id in a log happens to be one."""
    sandbox.settings(pin_length=10)
    return sandbox


@pytest.fixture
def person(examples: Deployment, sandbox: SandboxClient) -> Person:
    """A person who fills in the form of the example DAG."""
    return Person(examples, sandbox)


def statuses(sandbox: SandboxClient, call: str) -> list[int]:
    return [request["status"] for request in sandbox.requests(call=call)]


def test_the_right_code_is_verified_and_stays_out_of_sight(person, examples, sandbox):
    run_id = person.starts()
    pin = person.reads_the_pin()
    states = person.types(run_id, pin)
    assert states.pop("not_verified") == "skipped"
    assert set(states.values()) == {"success"}
    assert statuses(sandbox, "check_verification") == [200]
    assert sandbox.requests(call="check_verification")[0]["json"]["code"] == pin
    assert person.rest.task_instance(DAG_ID, run_id, "check_code")["rendered_fields"]["code"] == "***"
    assert tables_with(examples, pin) == {"hitl_detail", "xcom"}  # as the docs say
    assert files_with(examples, pin) == set()
    assert tables_with(examples, sandbox.token) == set()
    assert files_with(examples, sandbox.token) <= {"components/sandbox.log"}  # prints how to connect to it


def test_a_wrong_code_branches_to_not_verified_and_the_pin_is_cancelled(person, sandbox):
    run_id = person.starts()
    states = person.types(run_id, "0000000000")
    assert states.pop("verified") == "skipped"
    assert set(states.values()) == {"success"}
    answer = person.rest.xcom(DAG_ID, run_id, "check_code")
    assert answer == {"verified": False, "reason": "wrong code"}
    assert statuses(sandbox, "check_verification") == [400]
    assert statuses(sandbox, "cancel_verification") == [200]


def test_no_answer_fails_the_run_and_cancels_the_pin(person, examples, sandbox):
    dag_id = "verification_without_answer"
    source = (EXAMPLE_DAGS / f"{DAG_ID}.py").read_text()
    source = source.replace(DAG_ID, dag_id).replace("timedelta(minutes=5)", "timedelta(seconds=1)")
    examples.add_dag(dag_id, source)
    run_id = person.rest.trigger(dag_id, conf={"phone": PHONE})
    states = person.waits(run_id, dag_id)
    assert states["ask_code"] == "failed"
    assert states["cancel_pin"] == "success"
    assert {states["verified"], states["not_verified"]} == {"upstream_failed"}
    assert person.rest.run_state(dag_id, run_id) == "failed"
    assert sandbox.requests(call="check_verification") == []
    assert statuses(sandbox, "cancel_verification") == [200]


STEPS = f"""
from datetime import datetime, timedelta
from airflow.providers.common.compat.sdk import DAG
from airflow_provider_pindo.operators.verify import PindoVerifyCheckOperator, PindoVerifyOperator

with DAG("verification_steps", start_date=datetime(2026, 1, 1), schedule=None, params={{"code": ""}}):
    send = PindoVerifyOperator(task_id="send", number="{PHONE}", retries=1, retry_delay=timedelta(0))
    PindoVerifyCheckOperator(task_id="check", request_id=send.output["request_id"], code="{{{{ params.code }}}}")
"""


@pytest.fixture
def steps(deployment: Deployment, sandbox: SandboxClient) -> str:
    """A DAG that sends a PIN and checks the code of the run's form; the PIN is 7123456789."""
    sandbox.settings(pin="7123456789")
    deployment.add_dag("verification_steps", STEPS)
    return "verification_steps"


def test_a_killed_task_leaves_one_pin_until_a_person_settles_it(steps, deployment, sandbox):
    rest = deployment.rest
    sandbox.add_fault("slow_answer", call="verify", seconds=60)
    run_id = rest.trigger(steps)
    running = rest.wait_for_task(steps, run_id, "send")
    wait_until(lambda: sandbox.messages(), "the PIN is on the phone", timeout=30)
    deployment.task_process(running).kill()
    assert rest.wait_for_run(steps, run_id) == "failed"
    assert rest.task_instance(steps, run_id, "send")["try_number"] == 2
    assert len(sandbox.messages()) == 1
    assert (
        "change the status of the entry 'pindo_verify' from 'unknown' to 'not_sent'"
        in deployment.task_log(steps, run_id, "send", try_number=2)
    )
    entry = rest.task_state(steps, run_id, "send")["pindo_verify"]
    rest.patch_task_state(steps, run_id, "send", "pindo_verify", {**entry, "status": "not_sent"})
    rest.clear(steps, run_id, "send")
    rest.wait_for_task(steps, run_id, "send", state="success")
    assert len(sandbox.messages()) == 2


def test_a_right_check_that_is_cleared_burns_no_attempt(steps, deployment, sandbox):
    rest = deployment.rest
    run_id = rest.trigger(steps, conf={"code": "7123456789"})
    assert rest.wait_for_run(steps, run_id) == "success"
    rest.clear(steps, run_id, "send", "check")
    rest.wait_for_task(steps, run_id, "check", state="success", try_number=2)
    assert len(sandbox.messages()) == 1
    assert len(sandbox.requests(call="check_verification")) == 1


def test_a_cleared_task_whose_pin_has_expired_points_to_resend(steps, deployment, sandbox):
    rest = deployment.rest
    sandbox.settings(pin_ttl=0)
    run_id = rest.trigger(steps, conf={"code": "7123456789"})
    assert rest.wait_for_run(steps, run_id) == "failed"
    rest.clear(steps, run_id, "send")
    rest.wait_for_task(steps, run_id, "send", state="failed", try_number=2)
    assert len(sandbox.messages()) == 1
    assert "clear the task with resend=True" in deployment.task_log(steps, run_id, "send", try_number=2)


def tables_with(deployment: Deployment, text: str) -> set[str]:
    """Return the tables of Airflow's database that have ``text`` in any column."""
    with closing(sqlite3.connect(f"file:{deployment.home}/airflow.db?mode=ro", uri=True)) as database:
        database.text_factory = bytes
        names = [
            name.decode()
            for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        return {name for name in names if any(text in value for value in _values(database, name))}


def _values(database: sqlite3.Connection, table: str) -> Iterator[str]:
    for row in database.execute(f'SELECT * FROM "{table}"'):
        for value in row:
            yield value.decode("latin-1") if isinstance(value, bytes) else str(value)


def files_with(deployment: Deployment, text: str) -> set[str]:
    """Return the files of Airflow's folder, including all logs, that have ``text`` in them."""
    walk = os.walk(deployment.home)  # skips a folder that is deleted meanwhile
    files = [Path(folder, name) for folder, _, names in walk for name in names if ".db" not in name]
    assert any(re.search("task_id=check_code", str(file)) for file in files)
    names = set()
    for file in files:
        with suppress(FileNotFoundError):  # a temporary file that is gone
            if file.is_file() and text in file.read_text(encoding="latin-1"):
                names.add(str(file.relative_to(deployment.home)))
    return names
