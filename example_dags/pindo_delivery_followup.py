"""Text a list of people, wait for delivery, and write a call list of those whose phone did not get the text.

Pindo *accepts* a message first. Later its webhook says whether the phone has it. Airflow's API server receives that
report, so this DAG needs Airflow 3.1 and ``[pindo] webhooks = True``. ``make up`` has it.

- A person whose phone has the message needs nothing more.
- A person whose message was not delivered is put on the call list, with Pindo's reason.
- A person of whom Pindo reported nothing within an hour is put on it too, as "no report": the message may still
  have arrived.
- A person whose send was skipped or failed is put on it as "no receipt". The task of that person says why. The run
  does not fail.
- Of the messages that were not delivered, the list has the first 100. The log says how many more there are.

All messages are waited for in one task in the triggerer, so no worker is occupied. In the sandbox, some numbers always
behave in one way; its page lists them. The numbers here are invented, but they may belong to real people: replace them.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import Param, dag, task
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_1_PLUS

from airflow_provider_pindo.operators.sms import PindoSendSmsOperator
from airflow_provider_pindo.sensors.delivery import PindoDeliverySensor

WAIT = timedelta(hours=1)
POLL_INTERVAL = timedelta(seconds=10)

PEOPLE = [
    {"name": "Aline", "to": "+250780000301"},
    {"name": "Eric", "to": "+250780000302"},
    {"name": "Chantal", "to": "+250780000303"},
]


def pindo_delivery_followup():
    # Without show_return_value_in_logs=False, Airflow logs the return value.
    @task(task_display_name="List the numbers", show_return_value_in_logs=False)
    def list_numbers(params=None) -> list[str]:
        """Return the number of each person."""
        return [person["to"] for person in params["people"]]

    # [START howto_sensor_pindo_delivery]
    # The name is a value of the template. Within expand_kwargs, Airflow would render it as a template.
    send = PindoSendSmsOperator.partial(
        task_id="text_person",
        task_display_name="Text the person",
        text="Hello {{ params.people[ti.map_index].name }}, the clinic is closed tomorrow. Kigali Family Clinic",
        retries=2,
    ).expand(to=list_numbers())

    wait = PindoDeliverySensor(
        task_id="wait_for_delivery",
        task_display_name="Wait for delivery",
        sms_ids=send.output,
        on_no_report="report",  # after the timeout, count those without a report
        timeout=WAIT,
        poke_interval=POLL_INTERVAL,
        retries=2,
        deferrable=True,
        trigger_rule="all_done",  # a send that is skipped or fails does not skip what follows
    )
    # [END howto_sensor_pindo_delivery]

    @task(task_display_name="Write the call list", show_return_value_in_logs=False)
    def write_call_list(delivery: dict[str, Any], params=None, ti=None) -> list[dict[str, str]]:
        """Return whom to call, and why."""
        people = params["people"]
        # With the indexes, the list has None where a send was skipped or failed. ``send.output`` leaves that out.
        receipts = ti.xcom_pull("text_person", map_indexes=range(len(people)))
        reasons = {
            message["sms_id"]: message["status"] or "no report" for message in delivery["not_delivered"]
        }
        calls = []
        for person, receipt in zip(people, receipts, strict=True):
            if receipt is None:
                reason = "no receipt"
            elif not receipt.get("sms_id"):  # a person chose *Arrived*
                reason = "no report"
            else:
                reason = reasons.get(str(receipt["sms_id"]))
            if reason:
                calls.append({**person, "reason": reason})
        rest = len(people) - delivery["delivered"] - len(calls)
        print(
            f"{delivery['delivered']} of {len(people)} delivered, {len(calls)} to call, {rest} more not listed"
        )
        return calls

    write_call_list(wait.output)


if AIRFLOW_V_3_1_PLUS:
    dag(
        schedule=None,
        start_date=pendulum.datetime(2026, 1, 1, tz="Africa/Kigali"),
        tags=["pindo", "sms", "example"],
        params={
            "people": Param(
                PEOPLE,
                type="array",
                items={"type": "object", "required": ["name", "to"]},
                title="People",
                description="The people to text, each with name and to (such as +250781234567).",
            )
        },
        description="Texts a list of people, waits for delivery, and lists whom to call instead.",
        doc_md=__doc__,
        dag_display_name="Pindo: follow up on delivery",
    )(pindo_delivery_followup)()
else:
    logging.getLogger(__name__).warning(
        "This Airflow cannot run the DAG pindo_delivery_followup: its API server receives no webhooks, which needs "
        "Airflow 3.1 or later"
    )
