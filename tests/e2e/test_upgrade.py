"""An upgrade keeps the ledger: this version reads every entry that an earlier one wrote, and texts nobody again."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from demo.deployment import AIRFLOW_VERSION, Deployment
from demo.rest import wait_until
from tests.upgrade import make_database

HERE = Path(make_database.__file__).parent
DAG_ID = "upgrade"
#: How each task ends after a clear. The sandbox of this test never sent the PIN, which counts as a lapsed one.
TASKS = {"accepted": "success", "pin": "failed", "unknown": "failed", "everybody": "failed"}

pytestmark = pytest.mark.skipif(AIRFLOW_VERSION < 3, reason="the task state store came with Airflow 3.3")


@pytest.fixture(scope="module", params=sorted(HERE.glob("entries_v*.sql")), ids=lambda file: file.stem)
def upgraded(request, sigterm_is_heard, tmp_path_factory):
    """A running Airflow whose database an earlier version of the provider has filled; and that database as SQL."""
    dags = tmp_path_factory.mktemp("dags")
    (dags / "upgrade.py").write_bytes((HERE / "dag.py").read_bytes())
    sql = request.param.read_text(encoding="utf-8").replace(make_database.FOLDER, str(dags))
    with Deployment(dags, sql=sql) as deployment:
        yield deployment, sql


def entries_in(sql):
    """The ledger's entries of the database, by task and key."""
    rows = re.findall(
        r"INSERT INTO \"?task_state_store\"? VALUES\(\d+,\d+,'(\w+)',-1,'(\w+)',.*?'(\{.*\})'", sql
    )
    return {(task, key): json.loads(value) for task, key, value in rows}


def test_an_upgrade_keeps_every_entry_and_a_clear_texts_nobody_again(upgraded):
    deployment, sql = upgraded
    rest, before = deployment.rest, entries_in(sql)
    run_id = re.search(r"'(manual__[^']*)'", sql)[1]
    assert {task for task, _ in before} == set(TASKS)

    def entries():
        return {
            (task, key): value
            for task in TASKS
            for key, value in rest.task_state(DAG_ID, run_id, task).items()
        }

    assert entries() == before
    rest.request("PATCH", f"/dags/{DAG_ID}", json={"is_paused": False})
    rest.clear(DAG_ID, run_id, *TASKS)
    wait_until(
        lambda: all(task["try_number"] == 2 for task in rest.task_instances(DAG_ID, run_id)),
        "every task has started again",
        timeout=120,
    )
    rest.wait_for_run(DAG_ID, run_id)
    assert {task["task_id"]: task["state"] for task in rest.task_instances(DAG_ID, run_id)} == TASKS
    assert deployment.sandbox.messages() == []
    after = entries()
    # A new generation continues the bulk send, and its header says so. All else is as it was.
    for key in ("last_generation", "check"):
        after["everybody", "pindo_bulk"][key] = before["everybody", "pindo_bulk"][key]
    assert after == before

    # What a person settles as not sent goes out, and nothing else does.
    rest.patch_task_state(
        DAG_ID, run_id, "unknown", "pindo_sms", {**before["unknown", "pindo_sms"], "status": "not_sent"}
    )
    rest.clear(DAG_ID, run_id, "unknown")
    rest.wait_for_task(DAG_ID, run_id, "unknown", state="success")
    assert [message["to"] for message in deployment.sandbox.messages()] == ["+250781234502"]
