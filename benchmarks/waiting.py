"""
What waiting for messages costs: ``python benchmarks/waiting.py`` (two minutes; ``--help`` for the sizes).

* Many triggers in one process, as they are in a triggerer, each waiting for a reply with a code of its own:
  requests per interval, CPU, and the time from a message's arrival until its trigger fires. Beside them as
  many ``HttpSensorTrigger`` of the HTTP provider, each asking for its reply in its deferrable way.
* A sensor that starts before a backlog of old messages: pages read, and memory.
* A hostile text of 100 kB against patterns with nested quantifiers: milliseconds.

Servers are processes of their own, so that the CPU is the triggers' alone. Loopback only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

_home = tempfile.TemporaryDirectory(prefix="pindo-benchmark-")
os.environ |= {"AIRFLOW_HOME": _home.name, "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"}

from airflow_provider_pindo.api.matching import compile_pattern  # noqa: E402
from airflow_provider_pindo.sandbox import SandboxClient  # noqa: E402
from demo.deployment import free_port  # noqa: E402

PHONE = "+250781234567"

# A server on which a reply is a page of its own: 404 until it has come, as HttpSensorTrigger wants it.
REPLY_SERVER = """
import sys
from aiohttp import web

come, asked = set(), 0

async def reply(request):
    global asked
    asked += 1
    return web.Response(status=200 if request.match_info["code"] in come else 404)

async def arrive(request):
    come.add(request.match_info["code"])
    return web.Response()

async def count(request):
    return web.Response(text=str(asked))

app = web.Application()
app.add_routes([web.get("/reply/{code}", reply), web.post("/arrive/{code}", arrive), web.get("/asked", count)])
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
"""


@contextmanager
def server(*command: str, url: str) -> Iterator[None]:
    """Run a server until the block ends."""
    import requests

    process = subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(200):
            try:
                requests.get(url, timeout=5)
                break
            except requests.ConnectionError:
                time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def sandbox() -> Iterator[SandboxClient]:
    """Run a sandbox, which the connection ``pindo_default`` points to."""
    port = free_port()
    client = SandboxClient(f"http://127.0.0.1:{port}")
    os.environ["AIRFLOW_CONN_PINDO_DEFAULT"] = client.connection_json()
    command = ["-m", "airflow_provider_pindo.sandbox", "--port", str(port), "--token", client.token]
    with server(*command, url=client.url):
        yield client


async def wait_for_replies(
    triggers: dict[str, Any], arrive: Callable[[str], Awaitable[None]], interval: float
) -> tuple[list[float], float]:
    """
    Run all triggers, and let the reply of every tenth arrive at a random moment of two intervals.

    :return: seconds from each arrival until its trigger fired, and seconds of CPU for each interval of mere
        waiting.
    """
    fired: dict[str, float] = {}

    async def run(code: str, trigger: Any) -> None:
        async for _ in trigger.run():
            fired[code] = time.monotonic()
            return

    tasks = {code: asyncio.create_task(run(code, trigger)) for code, trigger in triggers.items()}
    replied = list(triggers)[::10]
    await asyncio.sleep(2 * interval)  # all have started
    cpu = time.process_time()
    await asyncio.sleep(4 * interval)
    cpu = (time.process_time() - cpu) / 4
    arrived: dict[str, float] = {}

    async def deliver(code: str) -> None:
        await asyncio.sleep(random.uniform(0, 2 * interval))
        await arrive(code)
        arrived[code] = time.monotonic()

    await asyncio.gather(*map(deliver, replied), *(tasks[code] for code in replied))
    for task in tasks.values():
        task.cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)
    return [max(0.0, fired[code] - arrived[code]) for code in replied], cpu


def show(name: str, requests_each: float, cpu: float, interval: float, latencies: list[float]) -> None:
    """Print one row of the table."""
    cuts = statistics.quantiles(latencies, n=100)
    print(
        f"  {name:<22} {requests_each:>12,.1f} {cpu / interval:>8.1%} {cuts[49]:>10.2f} s {cuts[98]:>8.2f} s"
    )


def many_waiting(count: int, interval: float) -> None:
    """Compare ``count`` waiting triggers with as many of the HTTP provider."""
    print(f"{count:,} waiting triggers, one look every {interval:g} s")
    print(f"  {'':<22} {'requests per':>12} {'CPU':>8} {'fires after':>12} {'':>10}")
    print(f"  {'':<22} {'interval':>12} {'':>8} {'median':>12} {'99 %':>10}")
    codes = [f"{number:05}" for number in range(count)]
    with sandbox() as running:
        asyncio.run(_pindo(running, codes, interval))
    asyncio.run(_http(codes, interval))


async def _pindo(running: SandboxClient, codes: list[str], interval: float) -> None:
    from airflow_provider_pindo.triggers.sms import PindoInboundSmsTrigger

    since = datetime.now(UTC)
    triggers = {
        code: PindoInboundSmsTrigger(
            pattern=rf"(?i)\b(?P<answer>yes|no)\W*{code}\b", since=since, poke_interval=interval
        )
        for code in codes
    }
    passes: list[int] = []

    async def arrive(code: str) -> None:
        if not passes:
            passes.append(len(await asyncio.to_thread(running.requests, call="list_inbound_sms")))
        await asyncio.to_thread(running.reply, PHONE, f"YES {code}")

    latencies, cpu = await wait_for_replies(triggers, arrive, interval)
    show("PindoInboundSmsTrigger", passes[0] / 6, cpu, interval, latencies)


async def _http(codes: list[str], interval: float) -> None:
    import aiohttp
    from airflow.providers.http.triggers.http import HttpSensorTrigger

    url = f"http://127.0.0.1:{free_port()}"
    os.environ["AIRFLOW_CONN_REPLIES"] = json.dumps({"conn_type": "http", "host": url})
    with server("-c", REPLY_SERVER, url.rpartition(":")[2], url=f"{url}/asked"):
        triggers = {
            code: HttpSensorTrigger(endpoint=f"reply/{code}", http_conn_id="replies", poke_interval=interval)
            for code in codes
        }
        asked: list[int] = []
        async with aiohttp.ClientSession() as session:

            async def arrive(code: str) -> None:
                if not asked:
                    async with session.get(f"{url}/asked") as answer:
                        asked.append(int(await answer.text()))
                async with session.post(f"{url}/arrive/{code}"):
                    pass

            latencies, cpu = await wait_for_replies(triggers, arrive, interval)
        show("HttpSensorTrigger", asked[0] / 6, cpu, interval, latencies)


def backlog(size: int) -> None:
    """Start a sensor before a list of ``size`` old messages, in both orders."""
    from airflow_provider_pindo.sensors.sms import PindoInboundSmsSensor

    print(f"\nA sensor that starts before a backlog of {size:,} messages")
    with sandbox() as running:
        old = [{"from": PHONE, "text": "old", "created_at": "2026-01-01T00:00:00"}] * 5000
        for _ in range(size // len(old)):
            running.reply_all(old)
        for order in ("newest_first", "oldest_first"):
            running.settings(inbound_order=order)
            before = len(running.requests(call="list_inbound_sms"))
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            sensor = PindoInboundSmsSensor(task_id="wait", pattern="YES", since=datetime.now(UTC))
            sensor.poke({"ti": SimpleNamespace(start_date=None)})
            pages = len(running.requests(call="list_inbound_sms")) - before
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
            print(f"  {order:<14} {pages} pages read, {grown:.1f} MiB more memory")


def hostile_text(size: int = 100_000) -> None:
    """Match a text that was written to stall a matcher."""
    print(f"\nA text of {size // 1000} kB against")
    for pattern in (r"(a+)+$", r"(\w*\s*)*$x", r"^(([a-z])+.)+[A-Z]([a-z])+$"):
        compiled = compile_pattern(pattern)
        started = time.perf_counter()
        compiled.search("a" * size + "!")
        print(f"  {pattern:<28} {(time.perf_counter() - started) * 1000:8.2f} ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0].strip())
    parser.add_argument("--sensors", type=int, default=1000)
    parser.add_argument("--interval", type=float, default=5.0, help="seconds between two looks")
    parser.add_argument("--backlog", type=int, default=100_000)
    given = parser.parse_args()
    many_waiting(given.sensors, given.interval)
    backlog(given.backlog)
    hostile_text()
