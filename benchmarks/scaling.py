"""Scaling with the number of workers: ``make bench-cluster`` (half an hour; ``--help`` lists the sizes).

A cluster (Celery, Redis, Postgres) runs the example campaign with 1, 2 and 3 workers. The sandbox takes 100 ms for
each request. For comparison, 3 workers run a mapped ``HttpOperator`` with one task for each recipient, as written
without this provider. The measured time is the whole run: splitting the file, starting the tasks, the reports.

A worker runs 2 tasks at a time, and each task has 10 requests in flight. So a worker sends at most 200 texts per
second, with any CPU. The pool has a slot for each request of all workers. The table is printed, and the same
numbers are drawn as ``docs/images/scaling.svg``.

First, one task only writes ledger entries, and another task only reads them. Their time and the API server's CPU
time are measured.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.waiting import cpu_seconds, show_progress
from demo.cluster import Cluster, missing_services
from demo.deployment import EXAMPLE_DAGS

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "images" / "scaling.svg"
CAMPAIGN = "pindo_campaign"
WORKERS = 3
TASKS_OF_A_WORKER = 2
REQUESTS_OF_A_TASK = 10  # as in the example
POOL = WORKERS * TASKS_OF_A_WORKER * REQUESTS_OF_A_TASK
LATENCY = 0.1
#: Airflow's own defaults. The cluster's settings detect dead components earlier.
PATIENT = {
    "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "86400",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "600",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "300",
}

ONE_TASK_EACH = """
import json
from datetime import datetime
from airflow.providers.common.compat.sdk import DAG, task
from airflow.providers.http.operators.http import HttpOperator

with DAG("one_task_each", schedule=None, start_date=datetime(2026, 1, 1), params={"recipients": 0}) as dag:

    @task
    def bodies(params=None):
        people = range(params["recipients"])
        return [
            json.dumps({"to": f"+25078{row:07}", "text": f"Hello Remy {row}", "sender": "PindoTest"})
            for row in people
        ]

    HttpOperator.partial(task_id="text", http_conn_id="bare", endpoint="v1/sms/").expand(data=bodies())
"""

LEDGER = """
import time
from datetime import datetime
from airflow.providers.common.compat.sdk import DAG, task
from airflow_provider_pindo._ledger.store import Ledger

with DAG("ledger", schedule=None, start_date=datetime(2026, 1, 1), params={"writes": 0, "reads": 0}) as dag:

    @task
    def use(**context):
        ledger, params = Ledger(context), context["params"]
        started = time.perf_counter()
        for chunk in range(params["writes"]):
            ledger.set(f"pindo_bulk_{chunk:05}", {"status": "sent", "recipients": 100, "rows": "1-100"})
        for chunk in range(params["reads"]):
            ledger.get("pindo_bulk_00000")
        return time.perf_counter() - started

    use()
"""


@dataclass(frozen=True)
class Run:
    """A run that texted everybody, with its workers, task instances and seconds."""

    workers: int
    recipients: int
    tasks: dict[str, int]
    seconds: float

    @property
    def rate(self) -> float:
        """Recipients per second."""
        return self.recipients / self.seconds

    def row(self, what: str) -> str:
        """Return a row of the table."""
        shares = ", ".join(f"{count:,}" for _, count in sorted(self.tasks.items()))
        instances = f"{sum(self.tasks.values()):,}"
        return (
            f"| {what} | {self.workers} | {self.recipients:,} | {instances} ({shares}) | {self.seconds:.0f} s "
            f"| {self.rate:,.1f} |"
        )


def run(cluster: Cluster, dag_id: str, recipients: int, conf: dict[str, Any]) -> Run:
    """Run a DAG to its end, and check that it texted everybody."""
    cluster.sandbox.reset()
    cluster.sandbox.settings(latency=LATENCY, balance=10_000)
    run_id = cluster.rest.trigger(dag_id, conf=conf)
    state = cluster.rest.wait_for_run(dag_id, run_id, timeout=7200)
    reached = cluster.sandbox.state()["messages"]
    if (state, reached) != ("success", recipients):
        raise RuntimeError(f"{run_id} of {dag_id}: {state}, {reached:,} of {recipients:,} reached")
    ended = cluster.rest.request("GET", f"/dags/{dag_id}/dagRuns/{run_id}")
    return Run(
        len(cluster.workers), recipients, tasks_of_each_worker(cluster, dag_id, run_id), ended["duration"]
    )


def tasks_of_each_worker(cluster: Cluster, dag_id: str, run_id: str) -> dict[str, int]:
    """Return the number of task instances of each worker."""
    path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
    tasks: Counter[str] = Counter()
    while True:
        page = cluster.rest.request("GET", path, params={"limit": 100, "offset": tasks.total()})
        tasks.update(task["hostname"] for task in page["task_instances"])
        if tasks.total() >= page["total_entries"]:
            return dict(tasks)


def campaign(cluster: Cluster, recipients: int, partitions: int) -> Run:
    """Run the example campaign."""
    with tempfile.TemporaryDirectory() as folder:
        people = (f"Remy {row},+25078{row:07},Huye\n" for row in range(recipients))
        Path(folder, "everybody.csv").write_text("name,phone,district\n" + "".join(people))
        Path(folder, "nobody.csv").write_text("phonenumber\n")
        conf = {
            "recipients": f"{folder}/everybody.csv",
            "opted_out": f"{folder}/nobody.csv",
            "folder": folder,
            "partitions": partitions,
        }
        return run(cluster, CAMPAIGN, recipients, conf)


def prepare(cluster: Cluster) -> None:
    """Add the DAGs, the connection of ``HttpOperator`` and the pool's slots."""
    cluster.add_dag(CAMPAIGN, (EXAMPLE_DAGS / f"{CAMPAIGN}.py").read_text(encoding="utf-8"))
    cluster.add_dag("one_task_each", ONE_TASK_EACH)
    cluster.add_dag("ledger", LEDGER)
    headers = f'{{"Authorization": "Bearer {cluster.sandbox.token}", "Content-Type": "application/json"}}'
    connection = {"connection_id": "bare", "conn_type": "http", "host": cluster.sandbox.url, "extra": headers}
    cluster.rest.request("POST", "/connections", json=connection)
    pool = {"pool": "pindo", "slots": POOL, "include_deferred": False}
    cluster.rest.request("PATCH", "/pools/pindo", json=pool)


def compare(cluster: Cluster, recipients: int) -> Run:
    """Compare both ways for the same recipients, print the rows, and return the run of ``HttpOperator``."""
    ours = campaign(cluster, recipients, WORKERS * TASKS_OF_A_WORKER)
    print(ours.row("campaign"), flush=True)
    theirs = run(cluster, "one_task_each", recipients, {"recipients": recipients})
    print(theirs.row("`HttpOperator`, one task per recipient"), flush=True)
    fewer = sum(theirs.tasks.values()) / sum(ours.tasks.values())
    print(
        f"| ratio | | | {fewer:.0f} times fewer | | {ours.rate / theirs.rate:.0f} times the rate |",
        flush=True,
    )
    return theirs


def curve(cluster: Cluster, recipients: int) -> list[Run]:
    """Run the campaign with all workers and then with fewer; print and return the runs."""
    runs = []
    while cluster.workers:
        runs.append(campaign(cluster, recipients, 2 * WORKERS * TASKS_OF_A_WORKER))
        print(runs[-1].row("campaign"), flush=True)
        cluster.kill(cluster.workers.pop())
    return runs[::-1]


def ledger(cluster: Cluster, entries: int) -> None:
    """Print the time of a write into a task's ledger, and of a read."""

    def use(**params: int) -> tuple[float, float]:
        before = cpu_seconds(cluster, "api-server")
        run_id = cluster.rest.trigger("ledger", conf=params)
        if (state := cluster.rest.wait_for_run("ledger", run_id)) != "success":
            raise RuntimeError(f"{run_id} of ledger: {state}")
        return cluster.rest.xcom("ledger", run_id, "use"), cpu_seconds(cluster, "api-server") - before

    print("| ledger | time | CPU time of the API server |\n|---|---|---|")
    use()
    _, cpu_of_a_run = use()
    for what, params in (("a write", {"writes": entries}), ("a read", {"writes": 1, "reads": entries})):
        seconds, cpu = use(**params)
        print(
            f"| {what} | {1000 * seconds / entries:.1f} ms | {1000 * (cpu - cpu_of_a_run) / entries:.1f} ms |"
        )


def draw(runs: list[Run], beside: Run) -> str:
    """Return the curve as SVG. Its own background makes it readable on light and dark pages."""
    top = 100 * (int(max(run.rate for run in runs)) // 100 + 1)

    def position(workers: int, rate: float) -> tuple[float, float]:
        return 80 + 180 * (workers - 0.5), 300 - 240 * rate / top

    lines = []
    for rate in range(0, top + 1, 100):
        _, y = position(1, rate)
        lines.append(f'<path class="grid" d="M80 {y:.0f}H620"/>')
        lines.append(f'<text x="70" y="{y + 4:.0f}" class="end">{rate}</text>')
    for run in runs:
        x, y = position(run.workers, run.rate)
        workers = f"{run.workers} worker" + "s" * (run.workers > 1)
        lines += [
            f'<circle class="ours" cx="{x:.0f}" cy="{y:.1f}" r="5"/>',
            f'<text x="{x:.0f}" y="{y - 12:.0f}" class="bold">{run.rate:.0f}</text>',
            f'<text x="{x:.0f}" y="322">{workers}</text>',
        ]
    points = " ".join("{:.0f},{:.1f}".format(*position(run.workers, run.rate)) for run in runs)
    x, y = position(beside.workers, beside.rate)
    title = f"Recipients per second: a campaign of {runs[0].recipients:,}, {LATENCY * 1000:.0f} ms latency"
    limits = (
        f"{TASKS_OF_A_WORKER} tasks at a time on a worker, {REQUESTS_OF_A_TASK} requests in flight in each"
    )
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 360" font-family="sans-serif" font-size="13">
<title>Recipients per second with 1, 2 and 3 workers</title>
<style>
  .ground {{ fill: #fff }} text {{ fill: #24292f; text-anchor: middle }} .grid {{ stroke: #d0d7de }}
  .ours {{ stroke: #0f7b4f; fill: #0f7b4f; stroke-width: 2 }} .theirs {{ fill: #bc4c00 }}
  .bold {{ font-weight: bold }} .end {{ text-anchor: end }} .start {{ text-anchor: start }}
  @media (prefers-color-scheme: dark) {{
    .ground {{ fill: #161b22 }} text {{ fill: #e6edf3 }} .grid {{ stroke: #3d444d }}
    .ours {{ stroke: #3fb98a; fill: #3fb98a }} .theirs {{ fill: #f0883e }}
  }}
</style>
<rect class="ground" width="640" height="360" rx="8"/>
<text x="20" y="28" class="start bold">{title}</text>
{chr(10).join(lines)}
<polyline class="ours" style="fill: none" points="{points}"/>
<circle class="theirs" cx="{x:.0f}" cy="{y:.1f}" r="5"/>
<text x="{x - 12:.0f}" y="{y - 8:.0f}" class="end">HttpOperator, a task for each recipient: {beside.rate:.1f}</text>
<text x="20" y="348" class="start">{limits}</text>
</svg>
"""


def main() -> None:
    """Print the table and draw the curve."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0].strip())
    parser.add_argument("--recipients", type=int, default=18_000, help="recipients of the curve")
    parser.add_argument(
        "--beside", type=int, default=1000, help="recipients of the comparison with HttpOperator"
    )
    parser.add_argument("--entries", type=int, default=1000, help="ledger entries to write and to read")
    parser.add_argument("--picture", type=Path, default=PICTURE)
    arguments = parser.parse_args()
    if missing := missing_services():
        sys.exit("\n".join(missing))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores; load {os.getloadavg()[0]:.1f}\n")
    size: dict[str, Any] = {"workers": WORKERS, "worker_concurrency": TASKS_OF_A_WORKER, "triggerers": 1}
    with (
        tempfile.TemporaryDirectory() as dags,
        Cluster(Path(dags), **size, settings=PATIENT, keep_logs=True, progress=show_progress) as cluster,
    ):
        prepare(cluster)
        campaign(cluster, 100, WORKERS * TASKS_OF_A_WORKER)  # imports and other one-time costs
        ledger(cluster, arguments.entries)
        print(
            f"\nCeleryExecutor, {TASKS_OF_A_WORKER} tasks at a time on a worker. The campaign: {REQUESTS_OF_A_TASK} "
            f"requests in flight and pool slots for each task; the pool 'pindo' has {POOL} slots. HttpOperator: "
            "default_pool, 128 slots.\n"
        )
        print("| | workers | recipients | task instances (of each worker) | time | recipients per second |")
        print("|---|---|---|---|---|---|")
        beside = compare(cluster, arguments.beside)
        runs = curve(cluster, arguments.recipients)
    arguments.picture.write_text(draw(runs, beside), encoding="utf-8")
    print(f"\nload at the end: {os.getloadavg()[0]:.1f}; the curve is in {arguments.picture.name}")


if __name__ == "__main__":
    main()
