"""The code of a check stays private: Airflow shows ``***``, however a DAG passes it.

Each DAG here really runs, sends a four-digit PIN with a leading zero, reads it off the sandbox's phone and checks
it. Then the test searches the rendered fields, the serialized DAG and all logs for it.
"""

from __future__ import annotations

import json
import re
import sqlite3
import sys

import pytest

from airflow_provider_pindo.operators._secret import PrivateArg
from airflow_provider_pindo.operators.verify import PindoVerifyCheckOperator

PIN = "0471"

DAG = """
import os
from datetime import datetime
from airflow.providers.common.compat.sdk import DAG, task
from airflow_provider_pindo.operators.verify import PindoVerifyCheckOperator, PindoVerifyOperator
from airflow_provider_pindo.sandbox import SandboxClient

def typed():
    return os.environ.get("TYPED") or SandboxClient(os.environ["SANDBOX"]).messages()[-1]["pin"]

@task(show_return_value_in_logs=False)
def ask():
    return typed()

@task(show_return_value_in_logs=False)
def ask_several():
    return [typed()]

@task(show_return_value_in_logs=False)
def ask_for_arguments(request_id):
    return [{"code": typed(), "request_id": request_id}]

with DAG("DAG_ID", schedule=None, start_date=datetime(2026, 1, 1), render_template_as_native_obj=NATIVE) as dag:
    sent = PindoVerifyOperator(task_id="send", number="0781234567")
    request_id = sent.output["request_id"]
    checked = PindoVerifyCheckOperator
"""

WAYS = {
    "an XComArg": """
    answer = ask()
    sent >> answer
    checked(task_id="check", request_id=request_id, code=answer)
""",
    "a template": """
    ask_task = ask()
    sent >> ask_task >> checked(
        task_id="check",
        request_id="{{ ti.xcom_pull('send')['request_id'] }}",
        code="{{ ti.xcom_pull('ask') }}",
    )
""",
    "expand": """
    answers = ask_several()
    sent >> answers
    checked.partial(task_id="check", request_id=request_id).expand(code=answers)
""",
    "expand_kwargs": """
    checked.partial(task_id="check").expand_kwargs(ask_for_arguments(request_id))
""",
    "partial": """
    answer = ask()
    sent >> answer
    checked.partial(task_id="check", code=answer, request_id=request_id).expand(on_wrong_code=["fail"])
""",
}


@pytest.fixture
def run_check(run_dag, sandbox, monkeypatch):
    """Run a DAG that checks the PIN in one of the ``WAYS``; returns the run."""
    monkeypatch.setenv("SANDBOX", sandbox.url)
    sandbox.settings(pin=PIN)

    def run(way: str, *, native: bool = False):
        return run_dag(DAG.replace("NATIVE", str(native)) + WAYS[way])

    return run


def rendered_fields(airflow_home, dag_id: str, task_id: str = "check") -> list[dict]:
    """Return the task's rendered fields in Airflow's database, one row for each map index."""
    with sqlite3.connect(f"{airflow_home}/airflow.db") as database:
        rows = database.execute(
            "SELECT rendered_fields FROM rendered_task_instance_fields WHERE dag_id = ? AND task_id = ?",
            (dag_id, task_id),
        ).fetchall()
    return [json.loads(row) for (row,) in rows]


def shows(text: str, pin: str = PIN) -> bool:
    """Return whether the PIN is in ``text``, and not only as digits of a longer number such as a time."""
    return re.search(rf"(?<![\w.]){pin}(?!\w)", text) is not None


@pytest.mark.parametrize("way", WAYS)
def test_the_code_is_checked_with_its_zeros_and_shown_nowhere(
    run_check, sandbox, airflow_home, capfd, caplog, way
):
    run = run_check(way)
    assert run.state == "success"
    (request,) = sandbox.requests(call="check_verification")
    assert request["json"]["code"] == PIN
    assert request["status"] == 200
    assert [row["code"] for row in rendered_fields(airflow_home, run.dag_id)] == ["***"]
    printed = capfd.readouterr()
    assert not shows(printed.out + printed.err + caplog.text)
    logs = [file.read_text(errors="replace") for file in airflow_home.rglob("*.log")]
    assert not any(shows(log) for log in logs)


@pytest.mark.parametrize("way", ["an XComArg", "a template"])
def test_the_serialized_dag_and_what_a_webserver_renders_from_it_are_masked(run_check, way):
    """Airflow 2.11's webserver renders the serialized DAG's fields again when it has not kept the stored ones."""
    run = run_check(way)
    try:
        from airflow.serialization.serialized_objects import DagSerialization
    except ImportError:
        from airflow.serialization.serialized_objects import SerializedDAG as DagSerialization

    serialized = DagSerialization.to_dict(sys.modules[run.dag_id].dag)
    assert "xcom_pull('ask')" not in json.dumps(serialized)
    task = DagSerialization.from_dict(serialized).get_task("check")
    assert task.code == "***"
    assert "ask" in task.upstream_task_ids


def test_whatever_shows_the_field_shows_the_mask():
    masked = PrivateArg("752623")
    assert [str(masked), repr(masked), f"{masked}", masked.serialize()] == ["***"] * 4
    assert masked.resolve({}) is masked
    assert masked.reveal() == "752623"


@pytest.mark.parametrize("way", ["an XComArg", "a template", "expand_kwargs"])
def test_the_code_is_a_string_in_a_native_dag_too(run_check, sandbox, airflow_home, capfd, caplog, way):
    run = run_check(way, native=True)
    assert run.state == "success"
    assert sandbox.requests(call="check_verification")[0]["json"]["code"] == PIN
    assert [row["code"] for row in rendered_fields(airflow_home, run.dag_id)] == ["***"]
    printed = capfd.readouterr()
    assert not shows(printed.out + printed.err + caplog.text)


# Of expand_kwargs Airflow itself renders every string as a template.
@pytest.mark.parametrize("way", sorted(set(WAYS) - {"expand_kwargs"}))
def test_what_a_person_typed_is_not_rendered_as_a_template(run_check, sandbox, monkeypatch, way):
    """Otherwise anyone who may answer a form could read every connection and variable."""
    typed = "{{ conn.pindo_default.password }}"
    monkeypatch.setenv("TYPED", typed)
    run_check(way)
    assert [request["json"]["code"] for request in sandbox.requests(call="check_verification")] == [typed]


def test_a_code_that_is_assigned_to_the_operator_is_private_once_it_is_rendered():
    operator = PindoVerifyCheckOperator(task_id="check", request_id=1, code="1234")
    operator.code = "{{ pin }}"
    operator.render_template_fields({"pin": PIN})
    assert str(operator.code) == "***"
    assert operator.code.reveal() == PIN
