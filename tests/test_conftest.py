"""What all tests rely on: a timeout that holds, a SIGTERM that is heard, a private Airflow, and reports that arrive."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import execnet
import pytest

ROOT = Path(__file__).resolve().parent.parent
DAG = """
from datetime import datetime
from airflow.providers.common.compat.sdk import DAG, task

with DAG("DAG_ID", schedule=None, start_date=datetime(2026, 1, 1)) as dag:
    task(task_id="work")(lambda: None)()
"""
ENVIRONMENT = "import json, os, tests.conftest; print(json.dumps(dict(os.environ)))"


@pytest.mark.timeout(600)
def test_a_dag_that_ran_leaves_the_bound_of_its_test_and_the_request_to_end(run_dag):
    on_sigterm = signal.getsignal(signal.SIGTERM)
    assert run_dag(DAG).state == "success"
    assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
    assert signal.getsignal(signal.SIGTERM) is on_sigterm


def test_the_users_own_airflow_is_out_of_reach():
    theirs = {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql://theirs",
        "AIRFLOW_CONN_PINDO_DEFAULT": "{}",
    }
    printed = subprocess.run(
        [sys.executable, "-c", ENVIRONMENT],
        cwd=ROOT,
        env={**os.environ, **theirs},
        check=True,
        capture_output=True,
        timeout=120,
    ).stdout
    environment = json.loads(printed)
    assert (
        environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
        == f"sqlite:///{environment['AIRFLOW_HOME']}/airflow.db?timeout=60"
    )
    assert "AIRFLOW_CONN_PINDO_DEFAULT" not in environment


def test_a_report_with_half_a_surrogate_pair_reaches_the_main_process(pytestconfig):
    report = pytest.TestReport(
        "tests/test_x.py::test_x",
        ("tests/test_x.py", 0, "test_x"),
        {},
        "passed",
        None,
        "call",
        sections=[("Captured log call", "half \ud83d, whole \U0001f600")],
    )
    data = pytestconfig.hook.pytest_report_to_serializable(config=pytestconfig, report=report)
    assert execnet.loads(execnet.dumps(data))["sections"] == [
        ("Captured log call", "half \\ud83d, whole \U0001f600")
    ]
