"""Text every patient of a clinic the time of tomorrow's appointment.

Each day at 17:00 in Kigali, the DAG reads the next day's appointments from ``appointments.csv`` beside this
file and sends each patient one message with their own time. A row whose phone number cannot be read, or that
Pindo rejects, never holds up the others, and a row that stands there twice is texted once. The last task lists
who was not texted and why, so that the reception can call them (the first 100: for a longer list give
``report_path``, and everybody is in a file).

The CSV has one appointment per row: ``date, time, name, phone, doctor``. The date is ``2026-11-24``, or the
word ``tomorrow``, which the shipped file uses so that there is something to send on whichever day you try it.
A run whose next day has come already texts nobody, such as one that is cleared days later, or the one of
yesterday evening that Airflow starts when the DAG is switched on.
Numbers without a country code, such as 0781234567, are read as those of the country in the connection's extra
``country``. The numbers in the shipped file are made up, and may be somebody's: put your own there before you
point this at the real Pindo.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import AirflowSkipException, Param, dag, task
from airflow.timetables.trigger import CronTriggerTimetable

from airflow_provider_pindo.operators.sms import PindoSendBulkSmsOperator

KIGALI = "Africa/Kigali"


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
    description="Texts each patient the time of tomorrow's appointment, every day at 17:00.",
    doc_md=__doc__,
    dag_display_name="Pindo: appointment reminders",
)
def pindo_appointment_reminders():
    # Airflow logs what such a task returns, unless it is told not to.
    @task(task_display_name="Read tomorrow's appointments", show_return_value_in_logs=False)
    def read_appointments(dag_run=None, params=None) -> list[dict[str, Any]]:
        """Return the next day's appointments, each with its ``day`` in words.

        "Next" is seen from the moment that the run stands for, not from now, and the rows are sorted: a
        retry gives the same list.

        :raises AirflowSkipException: that day has come, so that a reminder would be too late. All tasks after
            this one are skipped, too.
        """
        moment = dag_run.logical_date or dag_run.run_after
        day = pendulum.instance(moment).in_timezone(KIGALI).date().add(days=1)
        today = pendulum.now(KIGALI).date()
        if day <= today:
            raise AirflowSkipException(
                f"nobody is reminded: this run is for the appointments of {day}, and today is {today}"
            )
        with Path(params["csv"]).open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["date"] in ("tomorrow", day.isoformat())]
        appointments = [{**row, "date": day.isoformat(), "day": f"{day:%A %d %B}"} for row in rows]
        return sorted(appointments, key=lambda each: (each["time"], each["name"], each["phone"]))

    @task(task_display_name="Report who was not texted", show_return_value_in_logs=False)
    def report(appointments: list[dict[str, Any]], sent: dict[str, Any]) -> dict[str, Any]:
        """Return and log how many were texted, and who was not, with the reason."""
        not_texted = [
            {**appointments[each["row"] - 1], "reason": each["reason"]} for each in sent["rejections"]
        ]
        print(f"{sent['accepted']} texted, {len(not_texted)} not")
        for each in not_texted:
            print(f"Not texted: {each['name']}, {each['time']}: {each['reason']}")
        return {"texted": sent["accepted"], "not_texted": not_texted}

    appointments = read_appointments()
    # [START howto_operator_pindo_send_bulk_sms]
    texted = PindoSendBulkSmsOperator(
        task_id="text_patients",
        task_display_name="Text the patients",
        recipients=appointments,
        columns={"phonenumber": "phone"},
        text="Hello @contact.name, we expect you on @contact.day at @contact.time, with @contact.doctor. "
        "Kigali Family Clinic",
        sender="{{ params.sender or '' }}",
        on_invalid="skip",
        retries=2,
    )
    # [END howto_operator_pindo_send_bulk_sms]
    report(appointments, texted.output)


pindo_appointment_reminders()
