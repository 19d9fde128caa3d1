"""How many webhooks one worker of Airflow's API server takes: ``make bench-webhooks`` (two minutes).

Four clients post delivery reports, each over a connection of its own, as fast as they are answered. The answer comes
after the commit. For comparison, they post to a plugin's route that does nothing, in the same API server. The two
alternate. Meanwhile another client asks for Airflow's health five times a second.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import NamedTuple
from urllib.parse import urlsplit

from demo.api_server import ApiServer

CLIENTS = 4
REQUESTS = 200  # of each client, in each round
ROUNDS = 5

BARE_PLUGIN = """
from airflow.plugins_manager import AirflowPlugin
from fastapi import FastAPI

app = FastAPI()


@app.post("/")
async def nothing():
    return {}


class BarePlugin(AirflowPlugin):
    name = "bare"
    fastapi_apps = [{"app": app, "url_prefix": "/bare", "name": "bare"}]
"""


class Result(NamedTuple):
    """A round: requests a second, and the longest seconds to an answer, of the clients and of Airflow's health."""

    per_second: float
    longest: float
    health: float


def one_round(url: str, path: str, headers: dict[str, str]) -> Result:
    """Post from all clients at a time."""
    done = threading.Event()
    started = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS + 1) as threads:
        health = threads.submit(_ask_for_health, url, done)
        clients = [threads.submit(_post, url, path, headers, client) for client in range(CLIENTS)]
        longest = max(client.result() for client in clients)
        took = time.perf_counter() - started
        done.set()
        return Result(CLIENTS * REQUESTS / took, longest, health.result())


def _post(url: str, path: str, headers: dict[str, str], client: int) -> float:
    bodies = (
        json.dumps({"sms_id": f"out_sms_{client}_{number}", "status": "DELIVRD"})
        for number in range(REQUESTS)
    )
    return _longest(
        url, lambda connection: _request(connection, "POST", path, next(bodies), headers), REQUESTS
    )


def _ask_for_health(url: str, done: threading.Event) -> float:
    def ask(connection: HTTPConnection) -> None:
        _request(connection, "GET", "/api/v2/monitor/health", None, {})

    longest = 0.0
    while not done.wait(0.2):
        longest = max(longest, _longest(url, ask, 1))
    return longest


def _longest(url: str, request: Callable[[HTTPConnection], None], times: int) -> float:
    connection = HTTPConnection(str(urlsplit(url).netloc), timeout=60)
    longest = 0.0
    for _ in range(times):
        started = time.perf_counter()
        request(connection)
        longest = max(longest, time.perf_counter() - started)
    connection.close()
    return longest


def _request(
    connection: HTTPConnection, method: str, path: str, body: str | None, headers: dict[str, str]
) -> None:
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    response.read()
    if response.status != 200:
        raise RuntimeError(f"{method} {path}: {response.status}")


def measure() -> tuple[Result, Result]:
    """Return the requests a second of the median round, and the longest seconds of all: ours, and the bare route's."""
    with tempfile.TemporaryDirectory() as folder:
        plugins = Path(folder, "plugins")
        plugins.mkdir()
        (plugins / "bare.py").write_text(BARE_PLUGIN, encoding="utf-8")
        settings = {
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(plugins),
            "PYTHONPATH": str(Path(__file__).parent.parent),
        }
        with ApiServer(Path(folder), settings=settings) as server:
            headers = {"X-Webhook-Secret": server.webhook_secret}
            pairs = [
                (
                    one_round(server.url, "/pindo/webhooks/pindo_default", headers),
                    one_round(server.url, "/bare/", {}),
                )
                for _ in range(ROUNDS + 1)
            ][1:]  # the first round has the one-time costs
            kept = len(server.events())
    if kept != CLIENTS * REQUESTS * (ROUNDS + 1):
        raise RuntimeError(f"{kept} webhooks were kept")
    ours, bare = zip(*pairs, strict=True)
    return summary(ours), summary(bare)


def summary(rounds: Sequence[Result]) -> Result:
    """Return the median of the rounds' requests a second, and the longest seconds of all rounds."""
    per_second, longest, health = zip(*rounds, strict=True)
    return Result(median(per_second), max(longest), max(health))


def row(ours: Result, bare: Result) -> str:
    """Return the row of the table."""
    return (
        f"| webhooks in one API worker, four clients | {ours.per_second:.0f}/s, longest {ours.longest:.2f} s, "
        f"health {ours.health:.2f} s | bare route: {bare.per_second:.0f}/s, health {bare.health:.2f} s | "
        f"{ours.per_second / bare.per_second:.2f} | 70/s, below 1 s |"
    )


def main() -> None:
    """Print the row."""
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores; load {os.getloadavg()[0]:.1f}\n")
    print("| | time | beside | ratio | target |\n|---|---|---|---|---|")
    print(row(*measure()))


if __name__ == "__main__":
    main()
