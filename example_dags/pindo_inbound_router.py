"""Answer every message that comes in (Airflow 3.3).

The asset ``pindo_inbox`` is watched: whenever messages come, Airflow runs this DAG with them. Each one is
classified (STOP, a question about the balance, anything else) and answered, and a number that says STOP lands
in the Variable ``pindo_stop_list``, which sends to many leave out (``exclude`` takes a callable that reads it).

A run may bring several events of the asset, and messages may come a second time, with the same ids: after a
triggerer was killed, or when a second asset with the same trigger is watched that has not got as far. So
``take_new_messages`` goes through all events and drops the ids that it has seen, and all that are older than the
oldest it remembers. One run at a time does that, while the answers of several runs go out side by side.

Pindo's inbound list does not say who sent a message unless your account's does. Where it does not, people write
their number into the text ("BALANCE 0781234567"), and a message without any number is only counted. Mind that
whoever texts in then chooses who is answered, at your cost.
"""

from __future__ import annotations

import logging
import re
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import Variable, dag, task
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_3_PLUS

from airflow_provider_pindo.operators.sms import PindoSendSmsOperator

STOP_LIST = "pindo_stop_list"
REMEMBERED = 2000  # message ids; what is older than these was taken long ago

if AIRFLOW_V_3_3_PLUS:
    # [START howto_trigger_pindo_inbound_sms_event]
    from airflow.sdk import Asset, AssetWatcher

    from airflow_provider_pindo.triggers.sms import PindoInboundSmsEventTrigger

    INBOX = Asset(
        "pindo_inbox",
        watchers=[AssetWatcher(name="pindo_inbox", trigger=PindoInboundSmsEventTrigger(poll_interval=10))],
    )
    # [END howto_trigger_pindo_inbound_sms_event]


def pindo_inbound_router():
    # [START howto_trigger_pindo_inbound_sms_event_messages]
    # Airflow logs what such a task returns, unless it is told not to.
    @task(
        inlets=[INBOX],
        max_active_tis_per_dag=1,
        show_return_value_in_logs=False,
        task_display_name="Take the new messages",
    )
    def take_new_messages(
        triggering_asset_events=None, asset_state_store=None, run_id=None
    ) -> list[dict[str, Any]]:
        """Return the messages that no run has taken before.

        Which run took which message is kept in the asset's state store, so that a retry of this task returns
        the same messages as the try that was cut off.
        """
        store = asset_state_store[INBOX]
        taken_by = store.get("taken_by") or {}
        oldest = min(map(int, taken_by)) if len(taken_by) >= REMEMBERED else 0
        new = {}
        for event in triggering_asset_events[INBOX]:
            for message in event.extra["payload"]["messages"]:
                if message["id"] >= oldest and taken_by.setdefault(str(message["id"]), run_id) == run_id:
                    new[message["id"]] = message
        store.set("taken_by", dict(list(taken_by.items())[-max(REMEMBERED, len(new)) :]))
        return [new[each] for each in sorted(new)]

    # [END howto_trigger_pindo_inbound_sms_event_messages]

    @task(task_display_name="Tell what they ask for", show_return_value_in_logs=False)
    def classify(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return what to answer to whom."""
        from airflow_provider_pindo.api.phone import parse_phone_number

        answers = []
        for message in messages:
            text = message["text"]
            number = message["raw"].get("from") or next(iter(re.findall(r"\+?\d{10,15}", text)), None)
            try:
                to = parse_phone_number(number, "RW")
            except ValueError:
                print(f"Message {message['id']} names no number to answer")
                continue
            if re.search(r"(?i)^\s*stop\b", text):
                answer = {"kind": "stop", "text": "You will get no more messages from us."}
            elif re.search(r"(?i)\bbalance\b", text):
                answer = {"kind": "balance", "text": "Your balance is 12,500 RWF."}  # look yours up here
            else:
                answer = {"kind": "other", "text": "Thank you. Somebody will call you back."}
            answers.append({"to": to, **answer})
        return answers

    # [START howto_stop_list]
    @task(max_active_tis_per_dag=1, task_display_name="Note who said STOP")
    def update_stop_list(answers: list[dict[str, Any]]) -> None:
        """Add the numbers that said STOP to the list that sends to many leave out."""
        stopped = Variable.get(STOP_LIST, default=[], deserialize_json=True)
        added = [answer["to"] for answer in answers if answer["kind"] == "stop"]
        if added:
            Variable.set(STOP_LIST, sorted({*stopped, *added}), serialize_json=True)

    # [END howto_stop_list]

    @task(task_display_name="Write the answers", show_return_value_in_logs=False)
    def write_answers(answers: list[dict[str, Any]]) -> list[dict[str, str]]:
        """Return the messages to send."""
        return [{"to": answer["to"], "text": answer["text"]} for answer in answers]

    answers = classify(take_new_messages())
    stopped = update_stop_list(answers)
    texted = PindoSendSmsOperator.partial(task_id="answer", task_display_name="Text the answers")
    stopped >> texted.expand_kwargs(write_answers(answers))


if AIRFLOW_V_3_3_PLUS:
    dag(
        schedule=[INBOX],
        start_date=pendulum.datetime(2026, 1, 1, tz="Africa/Kigali"),
        catchup=True,  # messages that come before the DAG's first run count, too
        tags=["pindo", "sms", "example"],
        description="Answers every message that comes in, and notes who says STOP.",
        default_args={"retries": 2},  # no message is lost with a task that was killed
        doc_md=__doc__,
        dag_display_name="Pindo: answer incoming messages",
    )(pindo_inbound_router)()
else:
    logging.getLogger(__name__).warning(
        "No DAG pindo_inbound_router here: it runs when messages come and remembers which, which needs "
        "Airflow 3.3 or later"
    )
