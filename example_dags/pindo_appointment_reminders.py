"""Text every patient of a clinic the time of tomorrow's appointment.

Every day at 17:00 in Kigali, the DAG reads tomorrow's appointments from ``appointments.csv``. The file is in the
same folder as the DAG. Each patient gets one message with their own time.

- A phone number that is invalid, or that Pindo rejects, does not stop the other messages.
- A row that is in the file twice is texted once.
- The last task lists the patients whose number is invalid or was refused, with the reason, so that the reception
  can call them. It lists the first 100. It only counts the patients who opted out, and those whose reminder expired.
  Set ``report_path`` to get all of them in a file.
- Messages go out from 8:00 to 20:00 in Kigali. The Variable ``pindo_send_window`` sets other hours. A task that starts
  at night waits, but never until the day of the appointment: then its reminders have expired.
- When Pindo's answer is lost, a reminder may have arrived or not. The task then asks, in Airflow's UI under
  *Required Actions*, and texts the reception that it does. It goes on with the answer (Airflow 3.3 and later).
- A late run texts nobody, because its appointments are today or in the past. This happens when an old run is
  cleared. It also happens when the DAG is switched on before 17:00: Airflow then starts yesterday's run. From 17:00 on
  it starts today's run, which texts.

The CSV has one appointment per row: ``date, time, name, phone, doctor``. The date is ``2026-11-24``, or the word
``tomorrow``. The example file uses ``tomorrow``, so that it works on any day. A number without a country code,
such as 0781234567, belongs to the country in the connection's extra ``country``.

The phone numbers in the example file are invented, but they may belong to real people. Replace them before you
use the real Pindo.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import AirflowSkipException, Param, dag, task
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_3_PLUS
from airflow.timetables.trigger import CronTriggerTimetable

from airflow_provider_pindo.notifications.sms import PindoNotifier
from airflow_provider_pindo.operators.sms import PindoSendBulkSmsOperator

KIGALI = "Africa/Kigali"
RECEPTION = "+250780000200"


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
            description="The CSV file with the appointments. The machine that runs the tasks must have it.",
        ),
        "sender": Param(
            None,
            type=["null", "string"],
            maxLength=11,
            title="Sender ID",
            description="The name that the message comes from. Empty: the connection's sender ID.",
        ),
    },
    description="Texts each patient the time of tomorrow's appointment, every day at 17:00.",
    doc_md=__doc__,
    dag_display_name="Pindo: appointment reminders",
)
def pindo_appointment_reminders():
    # Without show_return_value_in_logs=False, Airflow logs the return value.
    @task(task_display_name="Read tomorrow's appointments", show_return_value_in_logs=False)
    def read_appointments(dag_run=None, params=None) -> list[dict[str, Any]]:
        """Return the next day's appointments, each with its ``day`` in words and the time when its reminder expires.

        The next day is relative to the run's date, and the rows are sorted. So a retry returns the same list.

        :raises AirflowSkipException: that day is today or in the past, so a reminder is too late. All later
            tasks are skipped too.
        """
        run_time = dag_run.logical_date or dag_run.run_after
        day = pendulum.instance(run_time).in_timezone(KIGALI).date().add(days=1)
        today = pendulum.now(KIGALI).date()
        if day <= today:
            raise AirflowSkipException(
                f"nobody is reminded: this run is for the appointments of {day}, and today is {today}"
            )
        with Path(params["csv"]).open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.DictReader(file) if row["date"] in ("tomorrow", day.isoformat())]
        of_the_day = {
            "date": day.isoformat(),
            "day": f"{day:%A %d %B}",
            "expires": f"{day.isoformat()} 00:00",
        }
        appointments = [{**row, **of_the_day} for row in rows]
        return sorted(appointments, key=lambda row: (row["time"], row["name"], row["phone"]))

    @task(task_display_name="Report who was not texted", show_return_value_in_logs=False)
    def report(appointments: list[dict[str, Any]], sent: dict[str, Any]) -> dict[str, Any]:
        """Return how many patients were texted, and the first 100 rejected ones. The log has no names."""
        not_texted = [
            {**appointments[rejection["row"] - 1], "reason": rejection["reason"]}
            for rejection in sent["rejections"]
        ]
        print(
            f"{sent['accepted']} texted, {sent['rejected']} rejected, {sent['excluded']} opted out, "
            f"{sent['expired']} too late"
        )
        for patient in not_texted:
            print(f"Not texted, for {patient['time']}: {patient['reason']}")
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
        send_window="{{ var.value.get('pindo_send_window', '08:00-20:00 Africa/Kigali') }}",
        expires_field="expires",  # in the DAG's time zone
        on_unknown="ask" if AIRFLOW_V_3_3_PLUS else "fail",
        ask_notifiers=[
            PindoNotifier(RECEPTION, "Did the reminders arrive? {{ question_url }}", max_segments=2)
        ],
        retries=2,
    )
    # [END howto_operator_pindo_send_bulk_sms]
    report(appointments, texted.output)


pindo_appointment_reminders()
