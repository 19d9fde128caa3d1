"""What the tests of the bulk send share: a task state store in a file, and the operator run as Airflow runs it.

The store has the interface and the promise of Airflow's: an entry is there when ``set`` has returned, also when
the process is killed right after.
"""

from __future__ import annotations

import csv
import json
import re
import sqlite3
import sys
import types
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow_provider_pindo.operators.sms import PindoSendBulkSmsOperator

# Airflow before 3.3 has no such store. With this one the promises can be tested there too.
try:
    import airflow.sdk.execution_time.context as airflow_context
except ImportError:  # Airflow 2.11
    sys.modules["airflow.sdk.execution_time.context"] = types.SimpleNamespace(NEVER_EXPIRE=None)
else:
    if not hasattr(airflow_context, "NEVER_EXPIRE"):
        airflow_context.NEVER_EXPIRE = None

PERSONAL = "Muraho @contact.name, at @contact.time"
COLUMNS = ("accepted", "rejected", "unknown", "not_sent", "duplicates", "excluded")


class Store:
    """A task state store in a file, or in memory."""

    def __init__(self, path: Path | str = ":memory:") -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("CREATE TABLE IF NOT EXISTS state (key TEXT PRIMARY KEY, value TEXT)")
        self.writes = 0

    def get(self, key: str) -> Any:
        row = self._db.execute("SELECT value FROM state WHERE key = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        self._db.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (key, json.dumps(value)))
        self.writes += 1

    def all(self) -> dict[str, Any]:
        return {key: json.loads(value) for key, value in self._db.execute("SELECT * FROM state ORDER BY key")}

    def delete(self, key: str) -> None:
        """Delete an entry, as a person does in the Task State Store."""
        self._db.execute("DELETE FROM state WHERE key = ?", (key,))

    def settle(self, status: str) -> None:
        """Change every ``unknown``, as a person does in the Task State Store."""
        for key, value in self.all().items():
            if value["status"] == "unknown":
                self.set(key, {**value, "status": status})


class TaskInstance:
    """What the ledger asks of a task instance: clearing raises ``max_tries``."""

    id = "an id"
    log_url = "http://airflow/dags/d/runs/r/tasks/t?try_number=1"

    def __init__(self, generation: int = 0) -> None:
        self.max_tries = generation


def context(store: Store | None, generation: int = 0) -> Any:
    return {"task_state_store": store, "ti": TaskInstance(generation)}


def send(store: Store | None, generation: int = 0, **arguments: Any) -> dict[str, Any]:
    """Run the operator's ``execute``, as a try of one task instance."""
    arguments = {"text": "Muraho @contact.name", **arguments}
    operator = PindoSendBulkSmsOperator(task_id="text_all", **arguments)
    result: dict[str, Any] = operator.execute.__wrapped__(operator, context(store, generation))
    assert sum(result[each] for each in COLUMNS) == result["given"]
    return result


def answer(store: Store, event: dict[str, Any], generation: int = 0, **arguments: Any) -> dict[str, Any]:
    """Run the operator as Airflow resumes it with an answer to the question that is open."""
    asked = store.get("pindo_bulk").get("question")
    arguments = {"text": "Muraho @contact.name", "on_unknown": "ask", **arguments}
    operator = PindoSendBulkSmsOperator(task_id="text_all", **arguments)
    result: dict[str, Any] = operator.execute_answer(context(store, generation), event, asked)
    assert sum(result[each] for each in COLUMNS) == result["given"]
    return result


def people(count: int, **fields: Any) -> list[dict[str, Any]]:
    """Return recipients with different numbers; ``fields`` may be functions of the row."""
    return [
        {
            "phonenumber": f"+25078{row:07d}",
            "name": f"Name {row}",
            **{key: value(row) if callable(value) else value for key, value in fields.items()},
        }
        for row in range(1, count + 1)
    ]


def columns_in(error):
    """Return the columns that end the first line of an error's message, and check that they add up."""
    what, _, next_step = str(error).partition("\n")
    assert next_step
    assert "\n" not in next_step
    return columns_of(what)


def columns_of(line):
    """Return the columns that a line ends in, and check that they add up."""
    match = re.search(
        r"([\d,]+) accepted, ([\d,]+) rejected, ([\d,]+) unknown, ([\d,]+) not sent, ([\d,]+) duplicates, "
        r"([\d,]+) excluded of ([\d,]+)\.?$",
        line,
    )
    assert match, line
    *columns, given = [int(number.replace(",", "")) for number in match.groups()]
    assert sum(columns) == given
    return dict(zip(COLUMNS, columns, strict=True))


def report(path):
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def at(row):
    return f"{row // 60}:{row % 60:02}"


HALVES = {
    "recipients": people(6, time=lambda row: "8:00" if row in (1, 2) else "9:00"),
    "text": "Come at @contact.time",
    "chunk_size": 4,
    "concurrency": 1,
}


def times_texted(sandbox: Any) -> Counter[str]:
    """Return how many messages each phone has."""
    return Counter(message["to"] for message in sandbox.messages())


def post_sent(webhooks: Any, message: dict[str, Any], sms_id: Any = None, **changes: Any) -> None:
    """Post the `sent` event of a message that the sandbox has."""
    body = {
        "id": sms_id or f"out_{message['to'][-3:]}",
        "to": message["to"],
        "text": message["text"],
        "sender": "PindoTest",
        "created_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
    }
    webhooks.webhook({**body, **changes})
