"""
Text every patient of a clinic the time of tomorrow's appointment.

Each day at 17:00 in Kigali, the DAG reads the next day's appointments from ``appointments.csv`` beside this
file and sends each patient one message with their own time. A row whose phone number cannot be read is set
aside and never holds up the others; a message that Pindo refuses fails alone. The last task lists everybody:
who was texted, and who was not and why, so that the reception can call them.

The CSV has one appointment per row: ``date, time, name, phone, doctor``. The date is ``2026-11-24``, or the
word ``tomorrow``, which the shipped file uses so that there is something to send on whichever day you try it.

Mind that Airflow, when it first switches a DAG on, starts the run of the last 17:00 at once: switch it on
between 17:00 and midnight, or tomorrow's reminder goes out on the day itself.
"""

from __future__ import annotations

import csv
import datetime as dt
from pathlib import Path
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import Param, dag, task
from airflow.timetables.trigger import CronTriggerTimetable

from airflow_provider_pindo.operators.sms import PindoSendSmsOperator

KIGALI = "Africa/Kigali"
COUNTRY = "RW"  # where a number without a country code, such as 0781234567, is from


def keep_reason(context: Any) -> None:
    """Keep why a message was not sent, so that the report can say it."""
    context["ti"].xcom_push(key="reason", value=str(context["exception"]))


@dag(
    schedule=CronTriggerTimetable("0 17 * * *", timezone=KIGALI),
    start_date=pendulum.datetime(2026, 1, 1, tz=KIGALI),
    catchup=False,
    max_active_runs=1,
    tags=["pindo", "sms", "example"],
    params={
        "csv": Param(
            str(Path(__file__).with_name("appointments.csv")),
            type="string",
            title="Appointments",
            description="The CSV file with the appointments, on the machine that runs the tasks.",
        ),
        "sender": Param(
            None,
            type=["null", "string"],
            maxLength=11,
            title="Sender ID",
            description="Who the message is from. Empty: the sender ID of the connection.",
        ),
    },
    doc_md=__doc__,
    dag_display_name="Pindo: appointment reminders",
)
def pindo_appointment_reminders():
    @task(task_display_name="Read tomorrow's appointments")
    def read_appointments(dag_run=None, params=None) -> list[dict[str, Any]]:
        """
        Return the next day's appointments: each row of the CSV once, with ``to`` or with a ``problem``.

        "Next" is seen from the moment that the run stands for, not from now, and the rows are sorted: a
        retry gives the same list, and each message keeps its place in it.
        """
        from airflow_provider_pindo.api.phone import parse_phone_number

        moment = dag_run.logical_date or dag_run.run_after
        day = pendulum.instance(moment).in_timezone(KIGALI).date().add(days=1)
        with Path(params["csv"]).open(newline="", encoding="utf-8") as file:
            rows = {tuple(sorted(row.items())): row for row in csv.DictReader(file)}  # each row once

        appointments = []
        for row in rows.values():
            if row["date"] not in ("tomorrow", day.isoformat()):
                continue
            appointment = {**row, "date": day.isoformat()}
            try:
                appointment["to"] = parse_phone_number(row["phone"], COUNTRY)
            except ValueError as error:
                appointment["problem"] = str(error)
            appointments.append(appointment)
        return sorted(appointments, key=lambda each: (each["time"], each["name"], each["phone"]))

    @task(task_display_name="Write the messages")
    def write_messages(appointments: list[dict[str, Any]], params=None) -> list[dict[str, Any]]:
        """Return what to send: one message for each appointment with a phone number."""
        return [
            {
                "to": each["to"],
                "text": f"Hello {each['name']}, we expect you on "
                f"{dt.date.fromisoformat(each['date']):%A %d %B} at {each['time']}, with {each['doctor']}. "
                "Kigali Family Clinic",
                "sender": params["sender"],
                "params": {"patient": f"{each['time']} {each['name']}"},
            }
            for each in appointments
            if "to" in each
        ]

    @task(task_display_name="Report who was not texted", trigger_rule="all_done")
    def report(appointments: list[dict[str, Any]], ti=None) -> dict[str, list[dict[str, Any]]]:
        """Return and log everybody, in one of two lists: ``texted`` and ``not_texted``, with the reason."""
        everybody: dict[str, list[dict[str, Any]]] = {"texted": [], "not_texted": []}
        index = 0  # of the message, in the order in which write_messages wrote them
        for each in appointments:
            receipt, reason = None, each.get("problem")
            if reason is None:
                receipt = ti.xcom_pull(task_ids="text_patient", map_indexes=index)
                reason = ti.xcom_pull(task_ids="text_patient", map_indexes=index, key="reason")
                index += 1
            if receipt is not None:
                everybody["texted"].append({**each, "sms_id": receipt.get("sms_id")})
            else:
                reason = reason or f"no answer is known: see the log of text_patient [{index - 1}]"
                everybody["not_texted"].append({**each, "reason": reason})
        print(f"{len(everybody['texted'])} texted, {len(everybody['not_texted'])} not")
        for each in everybody["not_texted"]:
            print(f"Not texted: {each['name']}, {each['time']}: {each['reason']}")
        return everybody

    appointments = read_appointments()
    texted = PindoSendSmsOperator.partial(
        task_id="text_patient",
        task_display_name="Text the patient",
        map_index_template="{{ task.params['patient'] }}",
        on_failure_callback=keep_reason,
    ).expand_kwargs(write_messages(appointments))
    texted >> report(appointments)


pindo_appointment_reminders()
