"""``DAG(render_template_as_native_obj=True)``: what is text by nature reaches Pindo as the text that it is.

Jinja's native types make ``250781234567`` of ``"+250781234567"``, ``100000.0`` of ``"1e5"`` and ``(1, 500)`` of
``"1,500"``. Each DAG here really runs, with and without them.
"""

from __future__ import annotations

import pytest

PHONES = [f"+25078123456{digit}" for digit in range(10)]

SEND = """
from datetime import datetime
from airflow.providers.common.compat.sdk import DAG, task
from airflow_provider_pindo.operators.sms import PindoSendSmsOperator as Send

PARAMS = {"phone": "+250781234561", "amount": "1,500", "none": None}

with DAG(
    "DAG_ID", schedule=None, start_date=datetime(2026, 1, 1), params=PARAMS, render_template_as_native_obj=NATIVE
) as dag:

    @task
    def phone():
        return "+250781234562"

    @task
    def national_number():
        return 781234563

    @task
    def texts():
        return ["1e5", "{{ 1 }}"]

    @task
    def messages():
        return [{"to": "+250781234566", "text": "(1, 2)"}, {"to": "0781234567", "text": "{'a': 1}"}]

    Send(task_id="literal", to="+250781234560", text="1,500")
    Send(
        task_id="template",
        to="{{ params.phone }}",
        text="{{ params.amount }}",
        sender="{{ params.none }}",
        on_unknown="{{ 'fail' }}",
        resend="{{ 1 > 2 }}",
    )
    Send(task_id="xcom", to=phone(), text="True")
    Send(task_id="number", to=national_number(), text="None of it")
    Send.partial(task_id="mapped", to="{{ '+250781234564' }}").expand(text=texts())
    Send.partial(task_id="mapped_over_a_list", text="[1, 2]").expand(to=["+250781234565"])
    Send.partial(task_id="mapped_kwargs").expand_kwargs(messages())
"""

BULK = """
from datetime import datetime
from airflow.providers.common.compat.sdk import DAG, task
from airflow_provider_pindo.operators.sms import PindoSendBulkSmsOperator as Bulk

PARAMS = {"phone": "+250781234561", "name": "1e5", "none": None}

with DAG(
    "DAG_ID", schedule=None, start_date=datetime(2026, 1, 1), params=PARAMS, render_template_as_native_obj=NATIVE
) as dag:

    @task
    def people():
        return [{"phonenumber": "+250781234562", "name": "1,500"}]

    @task
    def opted_out():
        return ["+250781234569"]

    opted_out = opted_out()
    Bulk(
        task_id="rows",
        recipients=[
            {"phonenumber": "+250781234560", "name": "1,500"},
            {"phonenumber": "{{ params.phone }}", "name": "{{ params.name }}"},
            {"phonenumber": "+250781234569", "name": "Opted Out"},
        ],
        text="Muraho @contact.name",
        exclude=["+250781234569"],
        sender="{{ params.none }}",
        report_path="{{ params.none }}",
        dry_run="{{ 1 > 2 }}",
        resend="False",
    )
    Bulk(task_id="xcom", recipients=people(), text="1,500", exclude=opted_out)
    Bulk.partial(task_id="mapped", recipients=["+250781234563"]).expand(text=["1e5"])
    NATIVE and opted_out >> Bulk(
        task_id="a_list_from_a_template",
        recipients="{{ [{'phonenumber': '+250781234564', 'name': '1e5'}, '+250781234569'] }}",
        text="{{ '1,500' }}",
        exclude="{{ ti.xcom_pull('opted_out') }}",
    )
"""

either = pytest.mark.parametrize("native", [False, True], ids=["text", "native"])


def received(sandbox):
    return sorted((message["to"], message["text"]) for message in sandbox.messages())


@either
def test_numbers_and_texts_stay_text(run_dag, sandbox, native):
    assert run_dag(SEND.replace("NATIVE", str(native))).state == "success"
    assert received(sandbox) == [
        (PHONES[0], "1,500"),
        (PHONES[1], "1,500"),
        (PHONES[2], "True"),
        (PHONES[3], "None of it"),
        (PHONES[4], "1e5"),
        (PHONES[4], "{{ 1 }}"),
        (PHONES[5], "[1, 2]"),
        (PHONES[6], "(1, 2)"),
        (PHONES[7], "{'a': 1}"),
    ]
    assert {message["sender"] for message in sandbox.messages()} == {"PindoTest"}


@either
def test_the_rows_and_the_text_of_a_bulk_send_stay_text(run_dag, sandbox, native):
    assert run_dag(BULK.replace("NATIVE", str(native))).state == "success"
    rows = [
        (PHONES[0], "Muraho 1,500"),
        (PHONES[1], "Muraho 1e5"),
        (PHONES[2], "1,500"),
        (PHONES[3], "1e5"),
        (PHONES[4], "1,500"),
    ]
    assert received(sandbox) == rows[: 5 if native else 4]
