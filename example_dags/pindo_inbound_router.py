"""Reply to every incoming message, and keep the list of those who said STOP (Airflow 3.3).

Airflow watches the asset ``pindo_inbox``, and runs this DAG when messages arrive. Each message is a STOP, a START, a
question about the balance, or anything else, and gets a reply.

A number that says STOP is added to the Variable ``pindo_stop_list``, and START removes it. Write
``variable:pindo_stop_list`` into the connection's ``suppression_list``, and no task texts these numbers any more. The
Variable ``pindo_opt_outs`` is the audit trail: who said which word when, in which message. A STOP is confirmed once. A
second STOP of the same number gets no reply. Only the confirmations have ``respect_suppression=False``, since the list
would hold back that of a STOP. Any other reply to a number on the list is skipped.

A run may receive several events of the asset, and the same message may arrive twice. This happens after a
triggerer is killed, or when a second asset watches the same inbox. So ``take_new_messages`` remembers message IDs.
It drops the IDs that it knows, and IDs older than the oldest one that it remembers. Only one run at a time takes
messages, and only one updates the list. The replies of several runs are sent in parallel.

Pindo's inbound list names the sender of a message only for some accounts. Without the sender, people write their
number into the text ("STOP 0781234567"). A message without a number gets no reply. Anyone who texts you can
then choose the number that gets a reply, at your cost, and can add a number to the list. But START counts only from a
sender whom Pindo names, since nobody may undo the STOP of another person.
"""

from __future__ import annotations

import logging
import re
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import Variable, dag, task
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_3_PLUS

from airflow_provider_pindo.operators.sms import PindoSendSmsOperator

STOP_LIST = "pindo_stop_list"  # the connection's suppression_list: variable:pindo_stop_list
OPT_OUTS = "pindo_opt_outs"  # the audit trail; move it into a table of your own when it grows large
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
    def classify_messages(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return for each message that names a number: the number, the kind of message, and when it came."""
        from airflow_provider_pindo.api.opt_out import classify
        from airflow_provider_pindo.api.phone import parse_phone_number

        classified = []
        for message in messages:
            text, sender = message["text"], message["raw"].get("from")
            written = None if sender else re.search(r"\+?\d{10,15}", text)
            try:
                number = parse_phone_number(sender or (written and written[0]), "RW")
            except ValueError:
                print(f"Message {message['id']} names no number: read it in Pindo's inbox")
                continue
            words = text.replace(written[0], "") if written else text
            kind = classify(words)
            if kind == "start" and not sender:
                kind = None
            if kind is None:
                kind = "balance" if re.search(r"(?i)\bbalance\b", text) else "other"
            classified.append(
                {
                    "number": number,
                    "kind": kind,
                    "word": words.strip()[:20] if kind in ("stop", "start") else "",
                    "when": message["created_at"],
                    "message_id": message["id"],
                }
            )
        return classified

    # [START howto_stop_list]
    @task(max_active_tis_per_dag=1, task_display_name="Update the stop list", show_return_value_in_logs=False)
    def update_stop_list(messages: list[dict[str, Any]]) -> list[int]:
        """Write each STOP and START into the audit trail, and keep the list that no task texts.

        Return the IDs of those that are confirmed: they changed the list. The trail remembers them, so a retry
        confirms the same messages.
        """
        trail = {entry["message_id"]: entry for entry in Variable.get(OPT_OUTS, [], deserialize_json=True)}
        stopped = set(Variable.get(STOP_LIST, [], deserialize_json=True))
        opt_messages = [message for message in messages if message["kind"] in ("stop", "start")]
        for message in opt_messages:
            message_id, number, is_stop = message["message_id"], message["number"], message["kind"] == "stop"
            is_latest = not any(
                entry["number"] == number and message_id < other for other, entry in trail.items()
            )
            if message_id not in trail:
                trail[message_id] = {**message, "confirmed": is_latest and is_stop != (number in stopped)}
            if is_latest:
                (stopped.add if is_stop else stopped.discard)(number)
        Variable.set(OPT_OUTS, list(trail.values()), serialize_json=True)
        Variable.set(STOP_LIST, sorted(stopped), serialize_json=True)
        return [
            message["message_id"] for message in opt_messages if trail[message["message_id"]]["confirmed"]
        ]

    # [END howto_stop_list]

    @task(task_display_name="Write the replies", show_return_value_in_logs=False)
    def write_replies(messages: list[dict[str, Any]], confirmed: list[int]) -> list[dict[str, Any]]:
        """Return the messages to send: a STOP or a START that changed nothing gets none."""
        texts = {
            "stop": "You will get no more messages from us. Text START to get them again.",
            "start": "You will get our messages again. Text STOP to end them.",
            "balance": "Your balance is 12,500 RWF.",  # put your own look-up here
            "other": "Thank you. Somebody will call you back.",
        }
        return [
            {
                "to": message["number"],
                "text": texts[message["kind"]],
                # Anybody can write a number into a message. So only its confirmation may reach a number on the list.
                "respect_suppression": message["message_id"] not in confirmed,
            }
            for message in messages
            if message["kind"] not in ("stop", "start") or message["message_id"] in confirmed
        ]

    messages = classify_messages(take_new_messages())
    PindoSendSmsOperator.partial(
        task_id="answer",
        task_display_name="Text the replies",
        send_window="",  # the answer to a message just received
    ).expand_kwargs(write_replies(messages, update_stop_list(messages)))


if AIRFLOW_V_3_3_PLUS:
    dag(
        schedule=[INBOX],
        start_date=pendulum.datetime(2026, 1, 1, tz="Africa/Kigali"),
        catchup=True,  # messages from before the DAG's first run count too
        tags=["pindo", "sms", "example"],
        description="Replies to every incoming message, and keeps the list of those who said STOP.",
        default_args={"retries": 2},  # after a kill, a retry replies to the same messages
        doc_md=__doc__,
        dag_display_name="Pindo: answer incoming messages",
    )(pindo_inbound_router)()
else:
    logging.getLogger(__name__).warning(
        "This Airflow cannot run the DAG pindo_inbound_router: it starts on incoming messages and remembers them, "
        "which needs Airflow 3.3 or later"
    )
