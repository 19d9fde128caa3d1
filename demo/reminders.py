"""Run the appointment reminders once, and check that the right phones received them.

The expected messages are computed here from the CSV, without the provider. They are compared with the messages on
the sandbox's phones. The rule is simple, because the file is known. A number with a plus is international. A
number with a leading zero is Rwandan. A number that is too short gets nothing.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from demo.deployment import EXAMPLE_DAGS, Deployment
from demo.rest import FINISHED_RUN, wait_until

DAG_ID = "pindo_appointment_reminders"
APPOINTMENTS = EXAMPLE_DAGS / "appointments.csv"


class DemoError(RuntimeError):
    """The run failed, or the phones did not receive the expected messages."""


class Reminder(NamedTuple):
    """The expected message of one appointment: its phone, and words in its text."""

    phone: str
    time: str
    name: str


def expected_reminders() -> tuple[set[Reminder], set[str]]:
    """Return the reminders of tomorrow's rows, and the names of the patients with an invalid number."""
    reminders, unreachable = set(), set()
    with APPOINTMENTS.open(newline="", encoding="utf-8") as rows:
        for row in csv.DictReader(rows):
            if row["date"] != "tomorrow":
                continue
            digits = re.sub(r"\D", "", row["phone"])
            international = digits if row["phone"].startswith("+") else re.sub("^0", "250", digits)
            if len(international) == 12:
                reminders.add(Reminder("+" + international, row["time"], row["name"]))
            else:
                unreachable.add(row["name"])
    return reminders, unreachable


def lose_a_response(deployment: Deployment) -> str:
    """Run the DAG once, with one response of Pindo lost on the way, and return the run's ID.

    The message reaches its phone, and the task cannot know that. So it asks a person, and waits. Before Airflow 3.3
    the run fails instead.

    A DAG that is switched on also starts the run that was due last, if it has a schedule. From 17:00 to midnight that
    run texts the same patients. So only the run that comes first is kept.
    """
    rest = deployment.rest
    deployment.sandbox.add_fault("drop_after", call="texts", times=1)
    # With the webhook "sent" Pindo would say that it arrived, and nobody would be asked.
    deployment.sandbox.add_fault("receiver_down", call="sent", times=None)
    earlier = set(rest.run_ids(DAG_ID))
    rest.request("PATCH", f"/dags/{DAG_ID}", json={"is_paused": False})
    rest.trigger(DAG_ID)
    states = {"awaiting_input", "failed", "success"}

    def first_run() -> str | None:
        new = [run_id for run_id in rest.run_ids(DAG_ID) if run_id not in earlier]
        texted = (
            run_id for run_id in new if rest.task_instance(DAG_ID, run_id, "text_patients")["state"] in states
        )
        return next(texted, None)

    first = wait_until(first_run, "the reminders ask what arrived", timeout=150)
    for run_id in set(rest.run_ids(DAG_ID)) - {first, *earlier}:
        rest.delete_run(DAG_ID, run_id)
    return first


def run_once(deployment: Deployment, say: Callable[[str], None]) -> None:
    """Run the DAG once, print the messages, and compare them with the expected ones.

    :raises DemoError: the run failed, or a phone received too few, too many or wrong messages.
    """
    rest = deployment.rest
    rest.wait_for_dag(DAG_ID)
    run_id = rest.trigger(DAG_ID)
    say(f"Triggered {DAG_ID}")
    seen: Counter[str] = Counter()

    def final_state() -> str | None:
        deployment.check()
        nonlocal seen
        states = Counter(_state(task) for task in rest.task_instances(DAG_ID, run_id))
        if states != seen:
            seen = states
            say("  tasks: " + ", ".join(f"{count} {state}" for state, count in sorted(states.items())))
        state = rest.run_state(DAG_ID, run_id)
        return state if state in FINISHED_RUN else None

    state = wait_until(final_state, "the run has ended", timeout=150, interval=1)
    if state != "success":
        raise DemoError(f"the run ended as {state}\n{_failed_logs(deployment, run_id)}")

    messages = deployment.sandbox.messages()
    report = rest.xcom(DAG_ID, run_id, "report")
    say("The run has ended. Messages on the phones:\n")
    print(phones_table(messages))
    print(f"\n{len(messages)} messages to {len({message['to'] for message in messages})} phones")
    cost = sum(message["total_cost"] for message in messages)
    print(f"Cost {cost:.3f} USD; {deployment.sandbox.state()['balance']:.3f} USD left in the wallet")
    for patient in report["not_texted"]:
        print(f"Not texted: {patient['name']}, {patient['time']}: {patient['reason']}")
    print()
    if differences := compare(messages, report):
        raise DemoError("\n".join([*differences, _failed_logs(deployment, run_id)]))
    say("The phones have exactly the expected messages")


def compare(messages: Iterable[dict[str, Any]], report: dict[str, Any]) -> list[str]:
    """Return the differences between the phones, the report and the expected messages."""
    missing, unreachable = expected_reminders()
    differences = []
    for message in messages:
        matches = [reminder for reminder in missing if _is_about(message, reminder)]
        if len(matches) == 1:
            missing.remove(matches[0])
        else:
            differences.append(f"{message['to']} received a message of no appointment")
    differences += [
        f"{phone} did not receive {name}'s reminder for {time}" for phone, time, name in sorted(missing)
    ]
    reported = {patient["name"] for patient in report["not_texted"]}
    if reported != unreachable:
        differences.append(
            f"the report names {sorted(reported)} as not texted, but expected are {sorted(unreachable)}"
        )
    return differences


def _is_about(message: dict[str, Any], reminder: Reminder) -> bool:
    text = message["text"]
    return bool(message["to"] == reminder.phone and reminder.name in text and reminder.time in text)


def phones_table(messages: list[dict[str, Any]], width: int = 66) -> str:
    """Return a table of the messages: phone, text, segments (the unit that Pindo bills) and cost."""
    lines = [f"  {'phone':<14} {'text':<{width}} {'segments':>8} {'USD':>6}"]
    lines.append(f"  {'-' * 14} {'-' * width} {'-' * 8} {'-' * 6}")
    for message in sorted(messages, key=lambda message: (message["to"], message["text"])):
        phone, segments, cost = message["to"], message["item_count"], f"{message['total_cost']:.3f}"
        for text in _wrapped(message["text"], width):
            lines.append(f"  {phone:<14} {text:<{width}} {segments:>8} {cost:>6}".rstrip())
            phone = segments = cost = ""
    return "\n".join(lines)


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _state(task_instance: dict[str, Any]) -> str:
    return task_instance["state"] or "waiting"


def _failed_logs(deployment: Deployment, run_id: str) -> str:
    """Return the last 30 lines of each failed task's log."""
    logs = []
    for task in deployment.rest.task_instances(DAG_ID, run_id):
        if task["state"] in ("failed", "up_for_retry", "upstream_failed"):
            log = deployment.task_log(
                DAG_ID,
                run_id,
                task["task_id"],
                map_index=task["map_index"],
                try_number=max(1, task["try_number"]),
            )
            logs.append(f"--- {task['task_id']} [{task['map_index']}] {task['state']}")
            logs += log.splitlines()[-30:]
    return "\n".join(logs)
