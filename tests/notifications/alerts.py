"""Helpers of the notifier's tests: DAGs with a callback, contexts, and the texts on the phones."""

from __future__ import annotations

import asyncio
import os
import runpy

import pytest

PHONE, OTHER, THIRD = "+250781234567", "+250781234568", "+250781234569"

DAG = """
from datetime import datetime, timedelta
from airflow.providers.common.compat.sdk import DAG, AirflowSkipException, task
from airflow_provider_pindo.notifications.sms import PindoNotifier

tries = []

def work():
    END

with DAG("DAG_ID", schedule=None, start_date=datetime(2026, 1, 1), DAG_ARGUMENTS) as dag:
    task(retry_delay=timedelta(0), TASK_ARGUMENTS)(work)()
"""


def source(end="pass", dag="", task=""):
    return DAG.replace("END", end).replace("DAG_ARGUMENTS", dag).replace("TASK_ARGUMENTS", task)


def phones(sandbox):
    return [(message["to"], message["text"]) for message in sandbox.messages()]


def texts(sandbox):
    return [message["text"] for message in sandbox.messages()]


def either_way(notifier, context=None, *, awaited):
    """Notify in the synchronous or the asynchronous way. Both must behave the same."""
    if awaited:
        notifier.context = context or {}

        async def wait():
            await notifier

        asyncio.run(wait())
    else:
        notifier(context or {})


awaited = pytest.mark.parametrize("awaited", [False, True], ids=["sync", "async"])


def assert_nothing_is_told(log):
    assert "Muraho" not in log.text
    assert "781234567" not in log.text
    assert "sandbox-token" not in log.text


def deadline(name):
    """The context of a deadline's callback."""
    return {
        "deadline": {"id": name, "deadline_time": "2026-11-22T10:30:00Z"},
        "dag_run": {"dag_id": "etl", "run_id": "r", "state": "running"},
    }


def run_file(file, environment, prepare=None):
    """Run a DAG file as a program, in this process. The output goes to a log file beside it.

    ``prepare`` is called first.
    """
    with file.with_suffix(".log").open("wb") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    # The process that this one is forked from read the folder's setting, and has the environment of another test.
    from airflow import settings

    os.environ.update(environment, AIRFLOW__CORE__DAGS_FOLDER=str(file.parent))
    settings.DAGS_FOLDER = str(file.parent)
    if prepare is not None:
        prepare()
    runpy.run_path(str(file), run_name="__main__")
