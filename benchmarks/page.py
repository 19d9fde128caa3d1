"""Measure the Pindo page over 100,000 ledger entries on Postgres: ``make bench-page DATABASE=postgresql+psycopg2://…``.

The database must be empty; Airflow creates its tables in it. The entries are spread over 30 days. One in ten is a
batch of a bulk send to 1,000 people, and the others are single messages. Each window is measured beside a bare
``SELECT`` of the same rows. The rounds alternate, so that other load affects both. The peak of the process's memory is
taken for each window. Then all runs are moved into the last 24 hours. At the end the page is asked many times, and the
process must not have grown.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

from benchmarks import peak_memory_of_this_process

ENTRIES = 100_000
ENTRIES_OF_A_RUN = 50
DAYS = 30
ROUNDS = 7
#: Times that the page is asked to see whether memory grows.
REPEATS = 50
WINDOWS = ("1h", "24h", "7d", "30d")


def main(database: str) -> None:
    """Fill the database and print the table."""
    os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = database
    os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, stdout=subprocess.DEVNULL)
    fill()
    measure()


def fill() -> None:
    """Write the runs, their tasks and their entries."""
    from airflow.models.dag import DagModel
    from airflow.models.dagrun import DagRun
    from airflow.models.task_state_store import TaskStateStoreModel
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import insert, text

    now = datetime.now(UTC)
    runs = ENTRIES // ENTRIES_OF_A_RUN
    with create_session() as session:
        session.execute(insert(DagModel.metadata.tables["dag_bundle"]).values(name="bench"))
        session.add_all(DagModel(dag_id=f"dag_{number}", bundle_name="bench") for number in range(20))
        session.flush()
        for number in range(runs):
            at = now - timedelta(days=DAYS) * (number + 0.5) / runs
            run = DagRun(dag_id=f"dag_{number % 20}", run_id=f"run_{number}", run_after=at, run_type="manual")
            session.add(run)
            session.flush()
            places = [
                {"dag_id": run.dag_id, "run_id": run.run_id, "task_id": "text", "map_index": index}
                for index in range(ENTRIES_OF_A_RUN)
            ]
            task = {"state": "success", "pool": "default_pool", "pool_slots": 1, "span_status": "ended"}
            session.execute(
                insert(TaskInstance.__table__), [{**place, **task, "id": uuid4()} for place in places]
            )
            values = [entry(index) for index in range(ENTRIES_OF_A_RUN)]
            session.execute(
                insert(TaskStateStoreModel.__table__),
                [
                    {**place, "dag_run_id": run.id, "key": key, "value": json.dumps(value), "updated_at": at}
                    for place, (key, value) in zip(places, values, strict=True)
                ],
            )
    with create_session() as session:
        session.execute(text("ANALYZE"))


def entry(index: int) -> tuple[str, dict[str, Any]]:
    """Return the key and the value of an entry: of a batch, or of a single message."""
    if index % 10 == 0:
        return "pindo_bulk_00001", {
            "v": 1,
            "status": "sent",
            "recipients": 1000,
            "rows": "1-1000",
            "accepted": 998,
            "rejected": {"unsupported country": "7,9"},
            "unknown": {},
            "not_sent": "",
            "requests": 10,
            "segments": 998,
            "cost": 5.5,
            "unknown_cost": 0.0,
            "of": "0123456789abcdef/0",
            "numbers": " ".join(f"+25078****{row % 1000:03}" for row in range(1000)),
        }
    return "pindo_sms", {
        "v": 1,
        "status": "sent",
        "input": "0123456789abcdef",
        "generation": 0,
        "to": f"+25078****{index:03}",
        "result": {"status": "sent", "sms_id": index, "total_cost": 0.0055, "remaining_balance": 12.5},
    }


def measure() -> None:
    """Print how long the page's first data takes, and what memory it needs."""
    import warnings

    import psutil
    from airflow.api_fastapi.app import init_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from fastapi.testclient import TestClient

    from airflow_provider_pindo.plugins._app import create_app

    warnings.simplefilter("ignore")  # about the secret key of a configuration that nobody made
    manager = init_auth_manager()
    client = TestClient(create_app())
    client.cookies["_token"] = manager.generate_jwt(SimpleAuthManagerUser(username="ada", role="admin"))
    print("| window | entries | page | of it our CPU | bare SELECT | ratio | peak memory | load |")
    print("|---|---|---|---|---|---|---|---|")
    ask(client, "1h")  # loads what the first request loads
    peaks = [peak_memory(client, window) for window in WINDOWS]  # before a SELECT that keeps all rows
    for window, peak in zip(WINDOWS, peaks, strict=True):
        measure_window(client, window, window, peak)
    crowd()
    measure_window(client, "24h", f"24h, all {ENTRIES:,} in it", peak_memory(client, "24h"))
    process = psutil.Process()
    before = process.memory_info().rss
    for _ in range(REPEATS):
        ask(client, "30d")
    after = process.memory_info().rss
    print(
        f"Memory over {REPEATS} more requests for 30 days: {before / 1024**2:.1f} MB before, "
        f"{after / 1024**2:.1f} MB after"
    )


def measure_window(client: Any, window: str, label: str, peak: float) -> None:
    """Print a row of the table, with medians of the times."""
    pages, busy, selects = [], [], []
    for _ in range(ROUNDS):
        before_cpu = time.process_time()
        pages.append(seconds(partial(ask, client, window)))
        busy.append(time.process_time() - before_cpu)
        selects.append(seconds(partial(select_rows, window)))
    count = ask(client, window)["entries"]
    times = " | ".join(f"{median(times) * 1000:.0f} ms" for times in (pages, busy, selects))
    ratio = median(pages) / median(selects)
    print(f"| {label} | {count:,} | {times} | {ratio:.1f} | {peak:.0f} MB | {os.getloadavg()[0]:.1f} |")


def crowd() -> None:
    """Move all runs into the last 24 hours."""
    from airflow.utils.session import create_session
    from sqlalchemy import text

    with create_session() as session:
        session.execute(
            text("UPDATE dag_run SET run_after = now() - (now() - run_after) / :days"), {"days": DAYS + 1}
        )
        session.execute(text("ANALYZE"))


def peak_memory(client: Any, window: str) -> float:
    """Return the most memory that this process has while it answers, in MB. Linux measures it."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    ask(client, window)
    return peak_memory_of_this_process()


def ask(client: Any, window: str) -> Any:
    """Return the page's first data."""
    response = client.get(f"/ui/api/overview?window={window}")
    response.raise_for_status()
    return response.json()


def select_rows(window: str) -> int:
    """Read the rows that the page reads, and nothing more."""
    from airflow.utils.session import create_session
    from sqlalchemy import text

    from airflow_provider_pindo.plugins._models import HEAD
    from airflow_provider_pindo.plugins._overview import MAX_ENTRIES, WINDOWS

    query = text(
        "SELECT s.key, substr(s.value, 1, :head), s.updated_at FROM task_state_store s JOIN dag_run r "
        "ON r.id = s.dag_run_id WHERE r.run_after >= :since ORDER BY r.run_after DESC LIMIT :most"
    )
    since = datetime.now(UTC) - WINDOWS[window][0]
    with create_session() as session:
        return len(session.execute(query, {"since": since, "most": MAX_ENTRIES, "head": HEAD}).all())


def seconds(work: Callable[[], object]) -> float:
    """Return how long ``work`` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main(sys.argv[1])
