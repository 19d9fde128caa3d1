"""The cost of waiting for messages: ``make bench-waiting`` (twenty minutes; ``--help`` lists the sizes).

* **Many waiting tasks.** A thousand deferred ``PindoInboundSmsSensor`` wait on one triggerer of a real Airflow.
  Each waits for a reply with its own code. Then, in another Airflow, a thousand deferred ``HttpSensor`` do the same.
  Measured: requests per interval, the triggerer's CPU, and the time from a reply's arrival to the task's end.
* **The capacity of a triggerer.** More and more sensors wait on it. Measured: requests per interval, CPU, memory.
* **A backlog.** A sensor starts before many old messages. Measured: the pages that it reads, and its peak memory.
* **A hostile text.** A text of 100 kB meets patterns with nested quantifiers. Measured: milliseconds.

Half of the replies arrive at random times within a hundred seconds. Then the other half arrive at once. Every
twentieth task resumes on a worker and has its own row, because its time includes a worker's start. All others end
in the triggerer (see :mod:`benchmarks.sensors`). One run is completed before the measurement: at its first event
Airflow's triggerer loads an API server, which takes seconds.

Only loopback is used. CPU is measured only for the triggerer's processes. The times depend on the machine, so it
should be idle otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import requests

from airflow_provider_pindo.sandbox import Sandbox
from benchmarks import peak_memory_of_this_process
from demo.deployment import Deployment, free_port
from demo.rest import wait_until

PHONE = "+250781234567"
TASKS_OF_A_RUN = 20
SPREAD = 100.0
INTERVALS = 6

DAG = """
from datetime import datetime
from airflow.providers.common.compat.sdk import DAG
from benchmarks.sensors import {sensor}

with DAG("waiting", schedule=None, start_date=datetime(2026, 1, 1), max_active_runs=1000) as dag:
    for number in range({tasks}):
        code = "{{{{ dag_run.conf['run'] }}}}" + f"{{number:02}}"
        {sensor}(f"wait_{{number:02}}", code, {interval}, on_worker=number == {tasks} - 1)
"""


@dataclass(frozen=True)
class Side:
    """One side of the comparison.

    :param sensor: the function of :mod:`benchmarks.sensors`.
    :param arrive: makes replies with these codes arrive.
    :param count_requests: returns the number of the server's requests.
    """

    sensor: str
    arrive: Callable[[list[str]], object]
    count_requests: Callable[[], int]


class Results(NamedTuple):
    """The results: requests per interval, shares of one core, and seconds from arrival to end."""

    requests: float
    idle_cpu: float
    cpu: float
    spread: list[float]
    at_once: list[float]
    on_worker: list[float]


@contextmanager
def airflow_with(settings: dict[str, str], count: int, *, webhooks: bool = False) -> Iterator[Deployment]:
    """Start an Airflow with an empty DAGs folder, and a triggerer for ``count`` triggers."""
    settings = {
        "PYTHONPATH": str(Path(__file__).parent.parent),
        "AIRFLOW__TRIGGERER__CAPACITY": str(count),
        **settings,
    }
    with (
        tempfile.TemporaryDirectory() as dags,
        Deployment(
            Path(dags), settings=settings, webhooks=webhooks, keep_logs=True, progress=show_progress
        ) as airflow,
    ):
        yield airflow


def show_progress(line: str) -> None:
    """Print a progress line to stderr, apart from the tables."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def reply_server() -> Iterator[str]:
    """Run :mod:`benchmarks.replies` and yield its URL."""
    url = f"http://127.0.0.1:{free_port()}"
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.replies", url.rpartition(":")[2]])
    try:
        wait_until(lambda: _responds(f"{url}/asked"), "the server of the replies responds", timeout=30)
        yield url
    finally:
        process.terminate()
        process.wait()


def _responds(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.ConnectionError:
        return False


def wait_by_pindo(count: int, interval: float) -> Results:
    """Measure sensors of this provider, which wait for messages of the sandbox."""
    with airflow_with({}, count) as airflow:

        def arrive(codes: list[str]) -> None:
            airflow.sandbox.reply_all([{"from": PHONE, "text": f"YES {code}"} for code in codes])

        side = Side("pindo", arrive, lambda: airflow.sandbox.state()["requests"])
        return wait(airflow, side, count, interval)


def wait_for_delivery(count: int, interval: float) -> Results:
    """Measure sensors of this provider, which wait for delivery reports."""
    with airflow_with({}, count, webhooks=True) as airflow:

        def report(sms_id: str) -> None:
            body = {"sms_id": sms_id, "status": "DELIVRD", "modified_at": "2026-06-10T09:04:31"}
            requests.post(str(airflow.webhook_address), json=body, timeout=30).raise_for_status()

        def arrive(codes: list[str]) -> None:
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(report, codes))

        def count_requests() -> int:
            return airflow.component_log("api-server").read_text().count("/pindo/events/")

        return wait(airflow, Side("delivery", arrive, count_requests), count, interval)


def wait_by_http(count: int, interval: float) -> Results:
    """Measure sensors of the HTTP provider, which wait for pages."""
    with reply_server() as url:
        connection = json.dumps({"conn_type": "http", "host": url})
        side = Side(
            "http",
            lambda codes: requests.post(f"{url}/arrive", json=codes, timeout=30).raise_for_status(),
            lambda: int(requests.get(f"{url}/asked", timeout=30).json()),
        )
        with airflow_with({"AIRFLOW_CONN_REPLIES": connection}, count) as airflow:
            return wait(airflow, side, count, interval)


def wait(airflow: Deployment, side: Side, count: int, interval: float) -> Results:
    """Start the tasks, measure while all wait, let the replies arrive, and read the end of each task."""
    source = DAG.format(sensor=side.sensor, tasks=TASKS_OF_A_RUN, interval=interval)
    airflow.add_dag("waiting", source)
    warm_up(airflow, side)
    idle_cpu = triggerer_cpu(airflow, 2 * interval)
    runs = start(airflow, range(1, count // TASKS_OF_A_RUN + 1))
    time.sleep(2 * interval)
    before = side.count_requests()
    cpu = triggerer_cpu(airflow, INTERVALS * interval)
    requests_made = side.count_requests() - before
    codes = codes_of(runs)
    random.Random(1).shuffle(codes)
    spread, at_once = codes[: len(codes) // 2], codes[len(codes) // 2 :]
    arrived = arrive_spread(side, spread)
    arrived |= dict.fromkeys(at_once, time.time())
    side.arrive(at_once)
    seconds = {code: end - arrived[code] for code, end in ends(airflow, runs).items()}

    def times(group: list[str], *, on_worker: bool) -> list[float]:
        last = f"{TASKS_OF_A_RUN - 1:02}"
        return [seconds[code] for code in group if code.endswith(last) == on_worker]

    return Results(
        requests_made / INTERVALS,
        idle_cpu,
        cpu,
        times(spread, on_worker=False),
        times(at_once, on_worker=False),
        times(spread, on_worker=True),
    )


def warm_up(airflow: Deployment, side: Side) -> None:
    """Complete one run, so that Airflow has loaded everything that its first event needs."""
    runs = start(airflow, [0])
    side.arrive(codes_of(runs))
    ends(airflow, runs)


def codes_of(runs: Iterable[int]) -> list[str]:
    """Return the codes that the tasks of the runs wait for."""
    return [f"{run:03}{number:02}" for run in runs for number in range(TASKS_OF_A_RUN)]


def start(airflow: Deployment, runs: Iterable[int]) -> dict[int, str]:
    """Start runs, wait until the triggers of all their tasks run, and return the run IDs."""
    since = datetime.now(UTC).isoformat()
    before = started_triggers(airflow)
    ids = {run: airflow.rest.trigger("waiting", conf={"run": f"{run:03}", "since": since}) for run in runs}
    wait_until(
        lambda: started_triggers(airflow) == before + len(ids) * TASKS_OF_A_RUN,
        "all triggers run",
        timeout=600,
        interval=1,
    )
    return ids


def started_triggers(airflow: Deployment) -> int:
    """Return the number of triggers that ever started: each has a log."""
    return sum(1 for _ in (airflow.home / "logs").rglob("*.trigger.*.log"))


def triggerer_cpu(airflow: Deployment, seconds: float) -> float:
    """Return the CPU use of the triggerer's processes, as a share of one core."""
    before, started = cpu_seconds(airflow, "triggerer"), time.monotonic()
    time.sleep(seconds)
    return (cpu_seconds(airflow, "triggerer") - before) / (time.monotonic() - started)


def cpu_seconds(airflow: Deployment, component: str) -> float:
    """Return the CPU time of a component's processes, in seconds."""
    times = [process.cpu_times() for process in airflow.processes(component)]
    return sum(used.user + used.system for used in times)


def arrive_spread(side: Side, codes: list[str]) -> dict[str, float]:
    """Let replies arrive at random times, and return those times."""
    arrived = {}
    started = time.monotonic()
    for moment, code in zip(sorted(random.uniform(0, SPREAD) for _ in codes), codes, strict=True):
        time.sleep(max(0.0, started + moment - time.monotonic()))
        arrived[code] = time.time()
        side.arrive([code])
    return arrived


def ends(airflow: Deployment, runs: dict[int, str]) -> dict[str, float]:
    """Wait until all runs have succeeded, and return the end time of each task by its code."""
    end_times = {}
    for run, run_id in runs.items():
        if (state := airflow.rest.wait_for_run("waiting", run_id, timeout=900)) != "success":
            raise RuntimeError(f"run {run_id}: {state}")
        for task in airflow.rest.task_instances("waiting", run_id):
            end_times[f"{run:03}{task['task_id'][-2:]}"] = datetime.fromisoformat(
                task["end_date"]
            ).timestamp()
    return end_times


def many_waiting(count: int, interval: float) -> None:
    """Print the cost of ``count`` waiting tasks, and the time to their end, for both sides."""
    ours = wait_by_pindo(count, interval)
    theirs = wait_by_http(count, interval)
    print(f"| {count:,} tasks, a request every {interval:g} s | PindoInboundSmsSensor | HttpSensor | ratio |")
    print("|---|---|---|---|")

    def row(what: str, shown: str, a: float, b: float) -> None:
        print(f"| {what} | {shown.format(a)} | {shown.format(b)} | {b / a:.1f} |", flush=True)

    row("requests per interval", "{:,.1f}", ours.requests, theirs.requests)
    row(
        f"the triggerer's CPU, all waiting (none: {ours.idle_cpu:.0%}, {theirs.idle_cpu:.0%})",
        "{:.0%} of a core",
        ours.cpu,
        theirs.cpu,
    )
    for name, a, b in (
        (f"{len(ours.spread)} replies within {SPREAD:.0f} s", ours.spread, theirs.spread),
        (f"{len(ours.at_once)} replies at once", ours.at_once, theirs.at_once),
        (f"{len(ours.on_worker)} tasks that resume on a worker", ours.on_worker, theirs.on_worker),
    ):
        row(f"{name}: arrival to end, median", "{:.1f} s", statistics.median(a), statistics.median(b))
        last = "99th percentile" if min(len(a), len(b)) >= 100 else "longest"
        row(f"the same, {last}", "{:.1f} s", percentile_99(a), percentile_99(b))


def many_deliveries(count: int, interval: float) -> None:
    """Print the cost of ``count`` tasks that wait for delivery, and the time from a report to their end."""
    results = wait_for_delivery(count, interval)
    print(f"\n| {count:,} PindoDeliverySensors, a request every {interval:g} s | |\n|---|---|")
    print(f"| requests to the API server per interval | {results.requests:,.1f} |")
    print(f"| the triggerer's CPU, all waiting | {results.cpu:.0%} of a core |")
    for name, times in (
        (f"{len(results.spread)} reports within {SPREAD:.0f} s", results.spread),
        (f"{len(results.at_once)} reports at once", results.at_once),
        (f"{len(results.on_worker)} tasks that resume on a worker", results.on_worker),
    ):
        print(f"| {name}: report to end, median | {statistics.median(times):.1f} s |")
        print(f"| the same, 99th percentile or longest | {percentile_99(times):.1f} s |", flush=True)


def percentile_99(times: list[float]) -> float:
    """Return the 99th percentile, or the maximum of fewer than a hundred times."""
    return statistics.quantiles(times, n=100, method="inclusive")[98] if len(times) >= 100 else max(times)


def holding(counts: list[int], interval: float) -> None:
    """Print the cost of a triggerer with more and more of our sensors."""
    print("\n| sensors on one triggerer | requests per interval | CPU | memory |\n|---|---|---|---|")
    with airflow_with({}, max(counts)) as airflow:
        airflow.add_dag("waiting", DAG.format(sensor="pindo", tasks=TASKS_OF_A_RUN, interval=interval))
        started = 0
        for count in counts:
            start(airflow, range(started // TASKS_OF_A_RUN, count // TASKS_OF_A_RUN))
            started = count
            time.sleep(2 * interval)
            before = airflow.sandbox.state()["requests"]
            cpu = triggerer_cpu(airflow, INTERVALS * interval)
            requests_made = airflow.sandbox.state()["requests"] - before
            memory = sum(process.memory_info().rss for process in airflow.processes("triggerer")) / 1024**2
            print(
                f"| {count:,} | {requests_made / INTERVALS:.1f} | {cpu:.0%} of a core | {memory:,.0f} MB |",
                flush=True,
            )


def backlog(size: int) -> None:
    """Print the pages and the memory of a sensor that starts before old messages, in both orders of the list."""
    print("\n| a sensor that starts before old messages | pages read | peak memory |\n|---|---|---|")
    old = [{"from": PHONE, "text": "old", "created_at": "2026-01-01T00:00:00"}]
    for order in ("newest_first", "oldest_first"):
        with Sandbox() as running:
            running.settings(inbound_order=order)
            for add in (100, size - 100):
                for start_at in range(0, add, 5000):
                    running.reply_all(old * min(5000, add - start_at))
                before = running.state()["requests"]
                command = [sys.executable, "-m", "benchmarks.waiting", "--poll"]
                environment = {**os.environ, "AIRFLOW_CONN_PINDO_DEFAULT": running.connection_json()}
                memory = subprocess.run(
                    command, env=environment, check=True, stdout=subprocess.PIPE, text=True
                ).stdout
                pages, total = running.state()["requests"] - before, running.state()["inbound"]
                print(
                    f"| {total:,}, {order.replace('_', ' ')} | {pages} | {float(memory):.1f} MB |", flush=True
                )


def poll() -> None:
    """Poll once, like a sensor that starts now, and print this process's peak memory in MB."""
    from airflow_provider_pindo.sensors.sms import PindoInboundSmsSensor

    sensor = PindoInboundSmsSensor(task_id="wait", pattern="YES", since=datetime.now(UTC))
    context: Any = {"ti": SimpleNamespace(start_date=None)}
    sensor.poke(context)
    print(peak_memory_of_this_process())


def hostile_text() -> None:
    """Match a text that is designed to stall a matcher."""
    from airflow_provider_pindo._inbox.filter import compile_pattern

    print("\n| a text of 100 kB against | |\n|---|---|")
    for pattern in (r"(a+)+$", r"(\w*\s*)*$x", r"^(([a-z])+.)+[A-Z]([a-z])+$"):
        compiled = compile_pattern(pattern)
        started = time.perf_counter()
        compiled.search("a" * 100_000 + "!")
        print(f"| `{pattern}` | {(time.perf_counter() - started) * 1000:.2f} ms |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0].strip())
    parser.add_argument("--sensors", type=int, default=1000, help=f"a multiple of {TASKS_OF_A_RUN}")
    parser.add_argument("--interval", type=float, default=5.0, help="seconds between two requests")
    parser.add_argument(
        "--held",
        type=int,
        nargs="*",
        default=[1000, 2000, 4000],
        help="numbers of sensors for one triggerer, ascending",
    )
    parser.add_argument("--backlog", type=int, default=100_000)
    parser.add_argument(
        "--deliveries", type=int, default=1000, help="sensors that wait for delivery; 0 for none"
    )
    parser.add_argument("--poll", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.poll:
        poll()
        return
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores; load {os.getloadavg()[0]:.1f}\n")
    if arguments.sensors:
        many_waiting(arguments.sensors, arguments.interval)
    if arguments.deliveries:
        many_deliveries(arguments.deliveries, arguments.interval)
    if arguments.held:
        holding(arguments.held, arguments.interval)
    if arguments.backlog:
        backlog(arguments.backlog)
    hostile_text()
    print(f"\nload at the end: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="pindo-benchmark-") as home:
        os.environ |= {"AIRFLOW_HOME": home, "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"}
        main()
