"""The demo: run the appointment reminders once, and see for oneself that the right phones got them.

What must arrive is worked out here from the CSV alone, without the provider, and compared with what the
sandbox's phones show. The rule is short because the file is known: a number with a plus is international, one
with a leading zero is Rwandan, and a number too short to be either gets nothing.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from demo.deployment import EXAMPLE_DAGS, Deployment
from demo.rest import FINISHED_RUN, wait_until

DAG_ID = "pindo_appointment_reminders"
APPOINTMENTS = EXAMPLE_DAGS / "appointments.csv"


class DemoError(RuntimeError):
    """The run failed, or the phones did not receive what they should have."""


class Reminder(NamedTuple):
    """What one appointment asks for: which phone, and what its message must say."""

    phone: str
    time: str
    name: str


def expected_reminders(file: Path = APPOINTMENTS) -> tuple[set[Reminder], set[str]]:
    """Return the reminders that tomorrow's rows ask for, and the names of those with an unusable number."""
    reminders, unreachable = set(), set()
    with file.open(newline="", encoding="utf-8") as rows:
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


def run_once(deployment: Deployment, say: Callable[[str], None]) -> None:
    """Run the DAG once, print what came of it, and compare it with what was expected.

    :raises DemoError: the run failed, or a phone got too little, too much or the wrong thing.
    """
    rest = deployment.rest
    rest.wait_for_dag(DAG_ID)
    run_id = rest.trigger(DAG_ID)
    say(f"Triggered {DAG_ID}")
    seen: Counter[str] = Counter()

    def ended() -> str | None:
        deployment.check()
        nonlocal seen
        states = Counter(_state(each) for each in rest.task_instances(DAG_ID, run_id))
        if states != seen:
            seen = states
            say("  tasks: " + ", ".join(f"{count} {state}" for state, count in sorted(states.items())))
        state = rest.run_state(DAG_ID, run_id)
        return state if state in FINISHED_RUN else None

    state = wait_until(ended, "the run has ended", timeout=150, interval=1)
    if state != "success":
        raise DemoError(f"the run ended as {state}\n{_failed_logs(deployment, run_id)}")

    messages = deployment.sandbox.messages()
    report = rest.xcom(DAG_ID, run_id, "report")
    say("The run has ended. On the phones:\n")
    print(phones_table(messages))
    print(f"\n{len(messages)} messages to {len({each['to'] for each in messages})} phones")
    cost = sum(each["total_cost"] for each in messages)
    print(f"Cost {cost:.3f} USD; {deployment.sandbox.state()['balance']:.3f} USD are left in the wallet")
    for each in report["not_texted"]:
        print(f"Not texted: {each['name']}, {each['time']}: {each['reason']}")
    print()
    if differences := compare(messages, report):
        raise DemoError("\n".join([*differences, _failed_logs(deployment, run_id)]))
    say("The phones have exactly what the appointments ask for")


def compare(messages: Iterable[dict[str, Any]], report: dict[str, Any]) -> list[str]:
    """Return in what the phones and the report differ from what ``appointments.csv`` asks for."""
    missing, unreachable = expected_reminders()
    differences = []
    for message in messages:
        found = [each for each in missing if _is_about(message, each)]
        if len(found) == 1:
            missing.remove(found[0])
        else:
            differences.append(f"{message['to']} got a message that no appointment asks for")
    differences += [f"{each.phone} did not get {each.name}'s {each.time}" for each in sorted(missing)]
    reported = {each["name"] for each in report["not_texted"]}
    if reported != unreachable:
        differences.append(f"the report names {sorted(reported)} as not texted, not {sorted(unreachable)}")
    return differences


def _is_about(message: dict[str, Any], reminder: Reminder) -> bool:
    said = message["text"]
    return bool(message["to"] == reminder.phone and reminder.name in said and reminder.time in said)


def phones_table(messages: list[dict[str, Any]], width: int = 66) -> str:
    """Return the messages as a table: phone, text, segments (the parts that Pindo bills), cost."""
    lines = [f"  {'phone':<14} {'text':<{width}} {'segments':>8} {'USD':>6}"]
    lines.append(f"  {'-' * 14} {'-' * width} {'-' * 8} {'-' * 6}")
    for each in sorted(messages, key=lambda message: (message["to"], message["text"])):
        phone, segments, cost = each["to"], each["item_count"], f"{each['total_cost']:.3f}"
        for text in _wrapped(each["text"], width):
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


def _failed_logs(deployment: Deployment, run_id: str, lines: int = 30) -> str:
    """Return the end of each failed task's log."""
    logs = []
    for each in deployment.rest.task_instances(DAG_ID, run_id):
        if each["state"] in ("failed", "up_for_retry", "upstream_failed"):
            log = deployment.task_log(
                DAG_ID,
                run_id,
                each["task_id"],
                map_index=each["map_index"],
                try_number=max(1, each["try_number"]),
            )
            logs.append(f"--- {each['task_id']} [{each['map_index']}] {each['state']}")
            logs += log.splitlines()[-lines:]
    return "\n".join(logs)
