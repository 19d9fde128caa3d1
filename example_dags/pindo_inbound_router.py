"""Reply to every incoming message (Airflow 3.3).

Airflow watches the asset ``pindo_inbox``, and runs this DAG when messages arrive. Each message is classified
(STOP, a question about the balance, or anything else) and gets a reply. A number that says STOP is added to the
Variable ``pindo_stop_list``. A bulk send can exclude these numbers: ``exclude`` takes a callable that reads them.

A run may receive several events of the asset, and the same message may arrive twice. This happens after a
triggerer is killed, or when a second asset watches the same inbox. So ``take_new_messages`` remembers message IDs.
It drops the IDs that it knows, and IDs older than the oldest one that it remembers. Only one run at a time takes
messages. The replies of several runs are sent in parallel.

Pindo's inbound list names the sender of a message only for some accounts. Without the sender, people write their
number into the text ("BALANCE 0781234567"). A message without a number gets no reply. Anyone who texts you can
then choose the number that gets a reply, at your cost.
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
REMEMBERED = 2000  # message IDs; older messages were taken long ago

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
    # Without show_return_value_in_logs=False, Airflow logs the return value.
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

        The asset's state store records which run took which message. So a retry of this task returns the same
        messages as the try that was killed.
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
        return [message for _, message in sorted(new.items())]

    # [END howto_trigger_pindo_inbound_sms_event_messages]

    @task(task_display_name="Classify the messages", show_return_value_in_logs=False)
    def classify(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return a reply for each message that names a number."""
        from airflow_provider_pindo.api.phone import parse_phone_number

        replies = []
        for message in messages:
            text = message["text"]
            number = message["raw"].get("from") or next(iter(re.findall(r"\+?\d{10,15}", text)), None)
            try:
                to = parse_phone_number(number, "RW")
            except ValueError:
                print(f"Message {message['id']} names no number to reply to")
                continue
            if re.search(r"(?i)^\s*stop\b", text):
                reply = {"kind": "stop", "text": "You will get no more messages from us."}
            elif re.search(r"(?i)\bbalance\b", text):
                reply = {
                    "kind": "balance",
                    "text": "Your balance is 12,500 RWF.",
                }  # put your own look-up here
            else:
                reply = {"kind": "other", "text": "Thank you. Somebody will call you back."}
            replies.append({"to": to, **reply})
        return replies

    # [START howto_stop_list]
    @task(max_active_tis_per_dag=1, task_display_name="Update the stop list")
    def update_stop_list(replies: list[dict[str, Any]]) -> None:
        """Add the numbers that said STOP to the list that bulk sends exclude."""
        stopped = Variable.get(STOP_LIST, default=[], deserialize_json=True)
        added = [reply["to"] for reply in replies if reply["kind"] == "stop"]
        if added:
            Variable.set(STOP_LIST, sorted({*stopped, *added}), serialize_json=True)

    # [END howto_stop_list]

    @task(task_display_name="Write the replies", show_return_value_in_logs=False)
    def write_replies(replies: list[dict[str, Any]]) -> list[dict[str, str]]:
        """Return the messages to send."""
        return [{"to": reply["to"], "text": reply["text"]} for reply in replies]

    replies = classify(take_new_messages())
    stopped = update_stop_list(replies)
    # An answer does not wait for the connection's send window.
    texted = PindoSendSmsOperator.partial(
        task_id="answer", task_display_name="Text the replies", send_window=""
    )
    stopped >> texted.expand_kwargs(write_replies(replies))


if AIRFLOW_V_3_3_PLUS:
    dag(
        schedule=[INBOX],
        start_date=pendulum.datetime(2026, 1, 1, tz="Africa/Kigali"),
        catchup=True,  # messages from before the DAG's first run count too
        tags=["pindo", "sms", "example"],
        description="Replies to every incoming message, and lists the numbers that say STOP.",
        default_args={"retries": 2},  # after a kill, a retry replies to the same messages
        doc_md=__doc__,
        dag_display_name="Pindo: answer incoming messages",
    )(pindo_inbound_router)()
else:
    logging.getLogger(__name__).warning(
        "This Airflow cannot run the DAG pindo_inbound_router: it starts on incoming messages and remembers them, "
        "which needs Airflow 3.3 or later"
    )
