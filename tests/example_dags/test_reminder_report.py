"""The last task of the appointment reminders: whom it lists, and what its log counts."""

from __future__ import annotations

import pytest

from airflow_provider_pindo.operators.sms import PindoSendBulkSmsOperator
from demo.deployment import EXAMPLE_DAGS
from tests.operators.bulk import Store, context

try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:  # Airflow 2.11
    from airflow.models.dagbag import DagBag


@pytest.mark.parametrize("invalid", [1, 150])
def test_the_log_counts_everybody_and_the_list_has_the_first_hundred_rejections(sandbox, capsys, invalid):
    dag = DagBag(dag_folder=EXAMPLE_DAGS / "pindo_appointment_reminders.py").dags[
        "pindo_appointment_reminders"
    ]
    numbers = [*["078000"] * invalid, "+250780000001", "+250780000002", "+250780000003"]
    appointments = [{"time": "09:00", "phone": number, "expires": "2099-01-01 00:00"} for number in numbers]
    appointments[-1]["expires"] = "2026-01-01 00:00"
    text_patients = PindoSendBulkSmsOperator(
        task_id="text_patients",
        recipients=appointments,
        text="Muraho",
        columns={"phonenumber": "phone"},
        on_invalid="skip",
        exclude=["+250780000001"],
        expires_field="expires",
    )
    sent = text_patients.execute.__wrapped__(text_patients, context(Store()))
    capsys.readouterr()
    report = dag.get_task("report").python_callable(appointments, sent)
    counts, *lines = capsys.readouterr().out.splitlines()
    assert counts == f"1 texted, {invalid} rejected, 1 opted out, 1 too late"
    assert (report["texted"], len(report["not_texted"]), len(lines)) == (1, *[min(invalid, 100)] * 2)
