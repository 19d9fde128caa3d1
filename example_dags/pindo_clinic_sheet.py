"""Text the patients in a clinic's Excel sheet the time of tomorrow's appointment.

Trigger the DAG by hand. It reads ``clinic.xlsx``, which is in the same folder as the DAG. The sheet is typical
of a reception. It has a merged title above the header and blank rows between the doctors. The phone numbers are typed
as numbers.

- The report names each row by its number in the sheet, so that the reception finds it.
- A number that is not valid does not stop the other messages. The last task lists the first 100 of these
  rows. Set ``report_path`` to get all of them in a file.
- The column with the time is formatted as text. A date cell would be refused, since the file does not store
  how it looks.

The worker needs ``airflow-provider-pindo[excel]``. A number without a country code, such as 0780000201, belongs to the
country in the connection's extra ``country``.

The phone numbers in the sheet are invented, but they may belong to real people. Replace them before you use the real
Pindo.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import Param, dag, task

from airflow_provider_pindo.operators.sms import PindoSendBulkSmsOperator


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="Africa/Kigali"),
    catchup=False,
    max_active_runs=1,
    tags=["pindo", "sms", "example"],
    params={
        "workbook": Param(
            str(Path(__file__).with_name("clinic.xlsx")),
            type="string",
            title="Workbook",
            description="The Excel workbook with the appointments. The machine that runs the tasks must have it.",
        ),
        "sheet": Param(
            "Tomorrow",
            type="string",
            title="Sheet",
            description="The name of the sheet with the appointments.",
        ),
    },
    description="Texts the patients in a clinic's Excel sheet the time of their appointment.",
    doc_md=__doc__,
    dag_display_name="Pindo: appointments from Excel",
)
def pindo_clinic_sheet():
    # [START howto_operator_pindo_send_bulk_sms_excel]
    texted = PindoSendBulkSmsOperator(
        task_id="text_patients",
        task_display_name="Text the patients in the sheet",
        recipients="{{ params.workbook }}",
        sheet="{{ params.sheet }}",
        columns={"phonenumber": "Phone", "name": "Patient"},
        text="Hello @contact.name, we expect you tomorrow at @contact.time, with @contact.doctor. "
        "Kigali Family Clinic",
        on_invalid="skip",
        retries=2,
    )
    # [END howto_operator_pindo_send_bulk_sms_excel]

    # Without show_return_value_in_logs=False, Airflow logs the return value.
    @task(task_display_name="Report the rows that were not texted", show_return_value_in_logs=False)
    def report(sent: dict[str, Any]) -> list[dict[str, Any]]:
        """Return and log the first 100 rows whose number is invalid or was refused, with the reason."""
        not_texted = [
            {"row": rejection["row"], "reason": rejection["reason"]} for rejection in sent["rejections"]
        ]
        for row in not_texted:
            print(f"Row {row['row']} of the sheet was not texted: {row['reason']}")
        return not_texted

    report(texted.output)


pindo_clinic_sheet()
