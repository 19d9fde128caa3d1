"""The clinic's workbook: a title, blank rows, and numbers typed as numbers."""

from __future__ import annotations

from demo.deployment import EXAMPLE_DAGS
from tests.operators.bulk import Store, send

COLUMNS = {"phonenumber": "Phone", "name": "Patient"}


def test_each_patient_gets_their_time_and_a_bad_number_is_named_by_its_row_in_the_sheet(sandbox):
    result = send(
        Store(),
        recipients=EXAMPLE_DAGS / "clinic.xlsx",
        sheet="Tomorrow",
        columns=COLUMNS,
        text="@contact.name: @contact.time, @contact.doctor",
        on_invalid="skip",
    )
    assert [message["text"] for message in sorted(sandbox.messages(), key=lambda each: each["to"])] == [
        "Aline Uwimana: 08:00, Dr Mugisha",
        "Jean-Pierre Habimana: 08:30, Dr Mugisha",
        "Zoë Kayitesi: 09:00, Dr Keza",
        "Béatrice Mukamana: 09:30, Dr Keza",
        "Eric Nshuti: 10:00, Dr Keza",
    ]
    assert [(each["row"], each["name"]) for each in result["rejections"]] == [(11, "Grace Ingabire")]
