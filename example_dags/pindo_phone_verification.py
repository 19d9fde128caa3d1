"""Check that a phone belongs to a person, before an important change is made in their name.

1. The DAG texts a PIN to the phone in the run's form.
2. It waits until a person types the PIN into Airflow's form (the *Required Actions* of the run).
3. It checks the PIN, and continues with ``verified`` or ``not_verified``. Put your own work there, such as
   changing the phone number of a payout.
4. The last task cancels the PIN in every case, also if nobody replies in time. The PIN is then worthless.

The PIN is not in any log, and not in the fields of the check. But Airflow stores what a person types into a form:
with the form (``hitl_detail``), and as an XCom of ``ask_code``. At the end of the run that PIN is used or
cancelled. On Airflow 3.1 and 3.2 the triggerer also logs it, because it waits for the form there.

Forms need Airflow 3.1 or later. On an older Airflow this file has no DAG, and says so in the log. The form's time
limit needs apache-airflow-providers-standard 1.12.2 or later.
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

TIME_TO_REPLY = timedelta(minutes=5)


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
    description="Texts a PIN, asks for it with a form, and checks it.",
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
        subject="Which code did the phone that ends in {{ params.phone[-3:] }} receive?",
        # Airflow keeps a field with "secret" in its name out of its audit log.
        params={"secret_code": Param("", type="string", title="Code", description="The digits of the PIN.")},
        options=["OK"],  # without options of our own, no reply in time would count as "OK"
        response_timeout=TIME_TO_REPLY,
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

    @task.branch(task_display_name="Was the code correct?")
    def decide(answer: dict) -> str:
        return "verified" if answer["verified"] else "not_verified"

    @task(task_display_name="Verified")
    def verified() -> None:
        print("The phone belongs to this person: put your work here")

    @task(task_display_name="Not verified")
    def not_verified() -> None:
        print("The code was wrong: nothing was changed")

    # [START howto_operator_pindo_verify_cancel]
    cancel_pin = PindoVerifyCancelOperator(
        task_id="cancel_pin",
        task_display_name="Cancel the PIN",
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
        "This Airflow cannot run the DAG pindo_phone_verification: it asks a person with Airflow's form, which needs "
        "Airflow 3.1 or later and apache-airflow-providers-standard 1.12.2 or later"
    )
