"""The examples with a schedule, when a run starts late.

Airflow starts the latest scheduled run when such a DAG is switched on, also with ``catchup=False``. So the first
press on *Trigger* starts two runs, and the message of yesterday's run is wrong today.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pendulum
import pytest
from airflow.providers.common.compat.sdk import AirflowSkipException, TaskDeferred

from demo.deployment import EXAMPLE_DAGS
from tests.operators.bulk import Store, context
from tests.operators.clock import set_clock

try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:  # Airflow 2.11
    from airflow.models.dagbag import DagBag

CSV = str(EXAMPLE_DAGS / "appointments.csv")


def function_of(dag_id: str, task_id: str) -> Callable[..., Any]:
    """Return the function of an example's task."""
    bag = DagBag(dag_folder=EXAMPLE_DAGS / f"{dag_id}.py")
    return bag.dags[dag_id].get_task(task_id).python_callable


@pytest.fixture
def appointments_of() -> Callable[..., list[dict[str, Any]]]:
    """Read the appointments like a run of the given date."""
    read = function_of("pindo_appointment_reminders", "read_appointments")

    def read_as_the_run_of(logical_date=None, run_after=None, csv=CSV):
        run = SimpleNamespace(logical_date=logical_date, run_after=run_after)
        return read(dag_run=run, params={"csv": csv})

    return read_as_the_run_of


def test_reminders_that_would_come_on_the_day_itself_are_not_sent(appointments_of):
    today = pendulum.today("Africa/Kigali")
    with pytest.raises(AirflowSkipException) as raised:
        appointments_of(today.subtract(minutes=1).in_timezone("UTC"))
    day = today.date().isoformat()
    assert (
        str(raised.value)
        == f"nobody is reminded: this run is for the appointments of {day}, and today is {day}"
    )


def test_a_run_that_is_cleared_days_later_texts_nobody(appointments_of):
    with pytest.raises(AirflowSkipException):
        appointments_of(pendulum.now("UTC").subtract(days=4))


def test_a_run_of_any_time_of_today_reminds_of_tomorrow(appointments_of):
    today = pendulum.today("Africa/Kigali")
    for moment in (today, today.add(hours=23, minutes=59)):
        days = {each["date"] for each in appointments_of(moment.in_timezone("UTC"))}
        assert days == {today.add(days=1).to_date_string()}


def test_a_manual_run_without_a_logical_date_goes_by_when_it_was_to_start(appointments_of):
    assert appointments_of(run_after=pendulum.now("UTC"))
    with pytest.raises(AirflowSkipException):
        appointments_of(run_after=pendulum.now("UTC").subtract(days=1))


def test_a_reminder_that_waits_for_the_morning_expires_before_the_day_of_the_appointment(
    appointments_of, sandbox, monkeypatch
):
    evening, midnight = (pendulum.today("Africa/Kigali").add(hours=hours) for hours in (22, 24))
    dag_id, store = "pindo_appointment_reminders", Store()
    task = DagBag(dag_folder=EXAMPLE_DAGS / f"{dag_id}.py").dags[dag_id].get_task("text_patients")
    task.recipients, task.sender = appointments_of(evening), None
    task.send_window = "08:00-20:00 Africa/Kigali"  # what the template gives without the Variable
    set_clock(monkeypatch, evening)
    with pytest.raises(TaskDeferred) as deferred:
        task.execute.__wrapped__(task, context(store))
    assert deferred.value.trigger.moment == midnight
    set_clock(monkeypatch, midnight)
    result = task.execute.__wrapped__(task, context(store))
    assert result["expired"] == result["given"] - result["rejected"] - result["duplicates"] > 0
    assert sandbox.requests() == []


@pytest.mark.parametrize(
    ("run_type", "ago", "is_asked"),
    [
        ("scheduled", timedelta(hours=7, minutes=59), True),
        ("scheduled", timedelta(hours=8, minutes=1), False),
        ("manual", timedelta(days=3), True),
    ],
)
def test_a_scheduled_look_into_the_wallet_that_comes_hours_late_asks_nobody(
    sandbox, capsys, run_type, ago, is_asked
):
    sandbox.set_balance(8.2)
    moment = pendulum.now("UTC") - ago
    # Airflow 3 has run_after. Airflow 2 has only the end of the data interval.
    for of_airflow in ({"run_after": moment}, {"data_interval_end": moment}):
        run = SimpleNamespace(run_type=run_type, logical_date=moment, **of_airflow)
        read_wallet = function_of("pindo_low_balance", "read_wallet")
        assert bool(read_wallet(params={"least": 20.0}, run_id="run", dag_run=run)) is is_asked
        assert ("Nobody is asked: this run should have started at" in capsys.readouterr().out) is not is_asked


def test_a_file_that_excel_saved_as_csv_utf_8_is_read(appointments_of, tmp_path):
    """Excel begins it with a byte order mark."""
    file = tmp_path / "appointments.csv"
    file.write_text(Path(CSV).read_text(encoding="utf-8"), encoding="utf-8-sig")
    now = pendulum.now("UTC")
    assert appointments_of(now, csv=str(file)) == appointments_of(now)
