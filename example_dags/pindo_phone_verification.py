"""Prove that a phone belongs to a person, before something that matters is done in their name.

The DAG texts a PIN to the phone of the run's form, waits for somebody to type it into Airflow's own form (the
*Required Actions* of the run), checks it, and goes on to ``verified`` or ``not_verified``: the place for what your
pipeline does, such as changing the number that a payout goes to. Whatever happens, the PIN is worth nothing
afterwards: the last task cancels it, also when nobody answers in time.

What is kept: the PIN stands in no log and in none of the check's fields. What a person types into the form stands
in Airflow's database, as every answer to a form: with the form (``hitl_detail``) and as an XCom of ``ask_code``;
by the end of the run it has been used or cancelled. On Airflow 3.1 and 3.2 the triggerer, which waits for the
answer there, logs it too.

Forms came with Airflow 3.1; on an older Airflow this file says so in the log and has no DAG. The form's time limit
needs apache-airflow-providers-standard 1.12.2 or later.
"""

from __future__ import annotations

import logging
from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import AirflowOptionalProviderFeatureException, Param, dag, task

from airflow_provider_pindo.operators.verify import (
    PindoVerifyCancelOperator,
    PindoVerifyCheckOperator,
    PindoVerifyOperator,
)

try:
    from airflow.providers.standard.operators.hitl import HITLEntryOperator
except (ImportError, AirflowOptionalProviderFeatureException):
    HITLEntryOperator = None

TIME_TO_ANSWER = timedelta(minutes=5)


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="Africa/Kigali"),
    tags=["pindo", "verification", "example"],
    params={
        "phone": Param(
            "+250780000101",
            type="string",
            title="Phone",
            description="The number to verify, such as +250781234567.",
        ),
    },
    description="Texts a PIN, asks for it by a form, and checks it.",
    doc_md=__doc__,
    dag_display_name="Pindo: phone verification",
)
def pindo_phone_verification():
    # [START howto_operator_pindo_verify]
    send_pin = PindoVerifyOperator(
        task_id="send_pin",
        task_display_name="Text a PIN",
        number="{{ params.phone }}",
        retries=2,
    )
    request_id = send_pin.output["request_id"]
    # [END howto_operator_pindo_verify]

    # [START howto_operator_pindo_verify_ask]
    ask_code = HITLEntryOperator(
        task_id="ask_code",
        task_display_name="Ask for the code",
        subject="Which code came to the phone that ends in {{ params.phone[-3:] }}?",
        # Of a field with "secret" in its name, Airflow keeps the value out of its audit log.
        params={"secret_code": Param("", type="string", title="Code", description="The digits of the PIN.")},
        options=["OK"],  # named, so that there are no defaults: with those, no answer would count as "OK"
        response_timeout=TIME_TO_ANSWER,
    )
    # [END howto_operator_pindo_verify_ask]

    # [START howto_operator_pindo_verify_check]
    check_code = PindoVerifyCheckOperator(
        task_id="check_code",
        task_display_name="Check the code",
        request_id=request_id,
        code="{{ ti.xcom_pull('ask_code')['params_input']['secret_code'] }}",
        on_wrong_code="return",
    )
    # [END howto_operator_pindo_verify_check]

    @task.branch(task_display_name="Was it right?")
    def decide(answer: dict) -> str:
        return "verified" if answer["verified"] else "not_verified"

    @task(task_display_name="Verified")
    def verified() -> None:
        print("The phone is theirs: do here what was waiting for it")

    @task(task_display_name="Not verified")
    def not_verified() -> None:
        print("The code was wrong: nothing is changed")

    # [START howto_operator_pindo_verify_cancel]
    cancel_pin = PindoVerifyCancelOperator(
        task_id="cancel_pin",
        task_display_name="Make the PIN worthless",
        request_id=request_id,
    )

    send_pin >> ask_code >> check_code
    decide(check_code.output) >> [verified(), not_verified()]
    check_code >> cancel_pin.as_teardown(setups=send_pin)
    # [END howto_operator_pindo_verify_cancel]


if HITLEntryOperator is not None:
    pindo_phone_verification()
else:
    logging.getLogger(__name__).warning(
        "No DAG pindo_phone_verification here: it asks a person by Airflow's human-in-the-loop form, which needs "
        "Airflow 3.1 or later and apache-airflow-providers-standard 1.12.2 or later"
    )
