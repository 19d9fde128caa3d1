"""Load a day's sales, check them, and text the right person when something is wrong.

- **The pipeline fails**: the DAG's failure callback texts everybody on call, once per run.
- **The data looks wrong, but nothing failed**: if half of the rows are missing, an analyst is texted. The
  pipeline continues.
- **The run is late**: a run that has not succeeded at its deadline texts the people on call, also while it still
  runs. This needs a deadline alert (Airflow 3.1 and later).

Trigger the DAG with ``What happens`` to see each case on the sandbox's phones.
"""

from __future__ import annotations

import csv
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import Param, dag, task

from airflow_provider_pindo.notifications.sms import PindoNotifier
from airflow_provider_pindo.operators.sms import PindoSendSmsOperator

ON_CALL = ["+250780000201", "+250780000202"]
ANALYST = "+250780000203"
SALES = Path(__file__).with_name("sales.csv")
DUE_AFTER = timedelta(seconds=40)  # short, so that you can watch it; use half an hour for a real pipeline

ALL_IS_WELL = "all is well"
NO_AMOUNT = "a row has no amount"
ROWS_MISSING = "most rows are missing"
LATE = "it runs late"

try:
    from airflow.sdk.definitions.deadline import AsyncCallback, DeadlineAlert, DeadlineReference
except ImportError:  # Airflow before 3.1 has no deadlines
    deadline: dict[str, Any] = {}
else:
    # [START howto_notifier_pindo_deadline]
    deadline = {
        "deadline": DeadlineAlert(
            reference=DeadlineReference.DAGRUN_QUEUED_AT,
            interval=DUE_AFTER,
            callback=AsyncCallback(PindoNotifier, kwargs={"to": ON_CALL}),
        )
    }
    # [END howto_notifier_pindo_deadline]


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="Africa/Kigali"),
    catchup=False,
    # [START howto_notifier_pindo]
    on_failure_callback=PindoNotifier(ON_CALL),
    # [END howto_notifier_pindo]
    tags=["pindo", "sms", "example"],
    params={
        "what_happens": Param(
            ALL_IS_WELL,
            type="string",
            enum=[ALL_IS_WELL, NO_AMOUNT, ROWS_MISSING, LATE],
            title="What happens",
            description="The problem of this run, so that you can see who is texted.",
        )
    },
    description="Loads a day's sales, and texts the right person when something is wrong.",
    doc_md=__doc__,
    dag_display_name="Pindo: pipeline alerts",
    **deadline,
)
def pindo_pipeline_alerts():
    @task(task_display_name="Load the sales")
    def load(params=None) -> list[dict[str, str]]:
        """Return the rows of the file, with the problem of this run."""
        with SALES.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        if params["what_happens"] == NO_AMOUNT:
            rows[-1]["amount"] = ""
        if params["what_happens"] == ROWS_MISSING:
            rows = rows[:-4]
        if params["what_happens"] == LATE:
            time.sleep(DUE_AFTER.total_seconds() + 10)
        return rows

    @task(task_display_name="Check the quality")
    def check(rows: list[dict[str, str]]) -> None:
        """Fail if a row has no amount."""
        lines = [str(line) for line, row in enumerate(rows, start=2) if not row["amount"].isdigit()]
        if lines:
            raise ValueError(f"{SALES.name}: no amount in line {', '.join(lines)}")

    @task.short_circuit(task_display_name="Did the rows drop by half?")
    def dropped_by_half(rows: list[dict[str, str]]) -> dict[str, int]:
        """Return both days' row counts if today has at most half as many; else nothing, which skips the text."""
        today, before = (sum(row["day"] == day for row in rows) for day in ("today", "before"))
        return {"today": today, "before": before} if today <= before / 2 else {}

    text_analyst = PindoSendSmsOperator(
        task_id="text_analyst",
        task_display_name="Text the analyst",
        to=ANALYST,
        text="Sales: {{ ti.xcom_pull('dropped_by_half')['today'] }} rows, "
        "{{ ti.xcom_pull('dropped_by_half')['before'] }} the day before. Is a shop missing?",
        retries=2,
    )

    rows = load()
    check(rows)
    dropped_by_half(rows) >> text_analyst


pindo_pipeline_alerts()
