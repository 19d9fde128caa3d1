"""Run every comparison and print the table: ``python -m benchmarks`` (``make bench``).

Each row has the median of its rounds, and the median of plain Python for the same work. The rounds alternate, so
that other load on the machine affects both. ``python -m benchmarks quick`` skips the real Airflow.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

ROUNDS = 7
CONCURRENCY = 50
LATENCY = 0.1

DAG = """
import time
from datetime import datetime
from airflow.providers.common.compat.sdk import DAG
from airflow_provider_pindo.operators.sms import PindoSendBulkSmsOperator
from benchmarks.clients import TEXT, patients


class Timed(PindoSendBulkSmsOperator):
    def execute(self, context):
        started = time.perf_counter()
        super().execute(context)
        return time.perf_counter() - started


def everybody():
    return patients(10_000)


with DAG("bench", schedule=None, start_date=datetime(2026, 1, 1)) as dag:
    for name in ("bench", "bench_slow"):
        Timed(task_id=name, recipients=everybody, text=TEXT, concurrency=CONCURRENCY, pindo_conn_id=name)
"""


@contextmanager
def server(latency: float = 0.0) -> Iterator[str]:
    """Run :mod:`benchmarks.server` and yield its URL."""
    command = [sys.executable, "-m", "benchmarks.server", str(latency)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.terminate()
        process.wait()


def connection(url: str) -> str:
    """Return an Airflow connection to a server, as JSON."""
    extra = {"sender": "PindoTest"}
    return json.dumps(
        {"conn_type": "pindo", "host": url, "password": "token-of-the-benchmark", "extra": extra}
    )


def line(what: str, seconds: float, beside: str = "", other: float | None = None, target: str = "") -> None:
    """Print a row of the table: the time, the compared time, the ratio of the speeds, and the target ratio."""
    ratio = f"{other / seconds:.2f}" if other else ""
    other_shown = f"{beside}: {other:.2f} s" if other else beside
    print(f"| {what} | {seconds:.2f} s | {other_shown} | {ratio} | {target} |", flush=True)


def medians(*runs: Callable[[], float], rounds: int = ROUNDS) -> list[float]:
    """Run all functions alternately, round by round, and return the median of each."""
    for run in runs:
        run()  # imports and other one-time costs
    return [median(times) for times in zip(*([run() for run in runs] for _ in range(rounds)), strict=True)]


def real_tasks(fast: str, slow: str) -> tuple[float, float]:
    """Text 10,000 people in a real Airflow task with a real ledger. Return the seconds without and with latency."""
    from demo.deployment import Deployment

    settings = {
        "AIRFLOW_CONN_BENCH": connection(fast),
        "AIRFLOW_CONN_BENCH_SLOW": connection(slow),
        "PYTHONPATH": str(Path(__file__).parent.parent),
        "AIRFLOW__CORE__PARALLELISM": "1",
    }
    with tempfile.TemporaryDirectory() as dags, Deployment(Path(dags), settings=settings) as airflow:
        airflow.add_dag("bench", DAG.replace("CONCURRENCY", str(CONCURRENCY)))
        run_id = airflow.rest.trigger("bench")
        airflow.rest.wait_for_run("bench", run_id, timeout=600)
        return airflow.rest.xcom("bench", run_id, "bench"), airflow.rest.xcom("bench", run_id, "bench_slow")


def main() -> None:
    """Print the table."""
    from benchmarks import clients, webhooks

    with server() as fast, server(LATENCY) as slow, tempfile.TemporaryDirectory() as folder:
        os.environ["AIRFLOW_CONN_BENCH"] = connection(fast)
        os.environ["AIRFLOW_CONN_BENCH_SLOW"] = connection(slow)
        os.environ["AIRFLOW_CONN_BENCH_HTTP"] = json.dumps({"conn_type": "http", "host": fast})
        few, many = clients.patients(10_000), clients.patients(100_000)
        personal: dict[str, Any] = {"text": clients.TEXT, "concurrency": CONCURRENCY}

        print(f"Python {platform.python_version()}, {os.cpu_count()} cores; load {os.getloadavg()[0]:.1f}\n")
        print("| | time | beside | ratio | target |\n|---|---|---|---|---|")
        bare, ours, free = medians(
            lambda: clients.bare_aiohttp(fast, few, CONCURRENCY),
            lambda: clients.operator(few, **personal, has_ledger=False),
            lambda: clients.operator(few, **personal),
        )
        line("10,000 personal texts, no ledger", ours, "bare aiohttp", bare, "0.85")
        line(
            "sequentially with HttpHook.run (ten times 1,000)",
            10 * clients.http_provider_loop(fast, few[:1000]),
            "bare aiohttp",
            bare,
        )
        if "quick" not in sys.argv:
            without = clients.operator(few, **personal, pindo_conn_id="bench_slow")
            at_once, late = real_tasks(fast, slow)
            line("as a real task, real ledger", at_once, "ledger without cost", free)
            line("the same at 100 ms latency", late, "ledger without cost", without, "0.98")
            print(webhooks.row(*webhooks.measure()), flush=True)
        bare, ours = medians(
            lambda: clients.bare_bulk(fast, many, 1000),
            lambda: clients.operator(many, text=clients.ONE_TEXT, chunk_size=1000),
        )
        line("one text, 100,000 recipients", ours, "json and requests", bare, "0.4")
        bare, ours, theirs = medians(
            lambda: clients.session_loop(fast, few[:1000]),
            lambda: clients.hook_loop(fast, few[:1000]),
            lambda: clients.http_provider_loop(fast, few[:1000]),
        )
        line("1,000 single sends in a loop", ours, "requests.Session", bare, "0.9")
        line("", ours, "HttpHook.run", theirs, "above 1")
        short, long = Path(folder, "short.csv"), Path(folder, "long.csv")
        clients.write_csv(short, 10_000)
        clients.write_csv(long, 1_000_000)
        hundred_thousand = Path(folder, "hundred_thousand.csv")
        clients.write_csv(hundred_thousand, 100_000)
        one_text: dict[str, Any] = {"text": clients.ONE_TEXT, "chunk_size": 1000}
        tenth, whole, dry, checked, read = medians(
            lambda: clients.operator(str(hundred_thousand), **one_text),
            lambda: clients.operator(str(long), **one_text),
            lambda: clients.operator(str(long), **one_text, dry_run=True),
            lambda: clients.preflight_csv(long),
            lambda: clients.read_csv(long),
            rounds=3,
        )
        rate = f"{1_000_000 / whole:,.0f} rows/s, target 120,000"
        line(f"a CSV of 1,000,000 rows ({rate})", whole, "ten of 100,000", 10 * tenth, "1")
        line("its dry_run", dry, "csv.reader alone", read)
        line("its preflight alone", checked, "csv.reader alone", read)
        small, large = clients.peak_memory(short), clients.peak_memory(long)
        print(
            f"| peak memory, a CSV of 1,000,000 rows | {large:.0f} MB | 10,000 rows: {small:.0f} MB | | 200 MB |"
        )
        added = median(clients.import_time() for _ in range(ROUNDS))
        print(
            f"| importing the operators adds | {1000 * added:.0f} ms | airflow.sdk with BaseOperator | | 30 ms |"
        )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home:
        os.environ.update({"AIRFLOW_HOME": home, "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"})
        main()
