"""The compared clients: the provider, and plain Python that sends the same bodies. Each returns seconds."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import requests

from airflow_provider_pindo.hooks.pindo import PindoHook
from airflow_provider_pindo.operators.sms import PindoSendBulkSmsOperator
from benchmarks import peak_memory_of_this_process

SENDER = "PindoTest"
TEXT = "Hello @contact.name, we expect you tomorrow at @contact.time, with Dr Mugisha. Kigali Family Clinic"
ONE_TEXT = "Hello @contact.name, free eye checks this Saturday. Kigali Family Clinic"
HEADERS = {"Authorization": "Bearer token-of-the-benchmark", "Content-Type": "application/json"}


def patients(count: int) -> list[dict[str, str]]:
    """Return recipients, each with a different time."""
    return [
        {
            "phonenumber": f"+25078{row:07}",
            "name": f"Aline Uwimana {row}",
            "time": f"{row // 3600:02}:{row // 60 % 60:02}:{row % 60:02}",
        }
        for row in range(count)
    ]


class FreeStore:
    """A task state store without any cost."""

    def get(self, key: str) -> None:
        return None

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        return None


class TaskInstance:
    max_tries = 0


def operator(recipients: Any, *, has_ledger: bool = True, **arguments: Any) -> float:
    """Run the bulk operator, with a ledger without cost or with none."""
    arguments = {"pindo_conn_id": "bench", **arguments}
    task = PindoSendBulkSmsOperator(task_id="text", recipients=recipients, **arguments)
    ledger = {"task_state_store": FreeStore()} if has_ledger else {}
    started = time.perf_counter()
    execute: Any = task.execute
    execute.__wrapped__(task, {**ledger, "ti": TaskInstance()})
    return time.perf_counter() - started


def bare_aiohttp(url: str, recipients: list[dict[str, str]], concurrency: int) -> float:
    """Fill in the texts, and post them with plain aiohttp."""

    async def send() -> None:
        people = iter(recipients)

        async def work(session: aiohttp.ClientSession) -> None:
            for person in people:
                text = TEXT.replace("@contact.name", person["name"]).replace("@contact.time", person["time"])
                body = {"to": person["phonenumber"], "text": text, "sender": SENDER}
                async with session.post(f"{url}/v1/sms/", json=body) as response:
                    receipt = await response.json()
                    assert receipt["sms_id"]

        connector = aiohttp.TCPConnector(limit=concurrency)
        async with aiohttp.ClientSession(headers=HEADERS, connector=connector) as session:
            await asyncio.gather(*(work(session) for _ in range(concurrency)))

    started = time.perf_counter()
    asyncio.run(send())
    return time.perf_counter() - started


def bare_bulk(url: str, recipients: list[dict[str, str]], chunk_size: int) -> float:
    """Encode chunks with the standard library, and post them."""
    started = time.perf_counter()
    with requests.Session() as session:
        session.headers.update(HEADERS)
        for start in range(0, len(recipients), chunk_size):
            people = [
                {"phonenumber": recipient["phonenumber"], "name": recipient["name"]}
                for recipient in recipients[start : start + chunk_size]
            ]
            body = json.dumps({"recipients": people, "text": ONE_TEXT, "sender": SENDER})
            response = session.post(f"{url}/v1/sms/bulk", data=body.encode())
            assert response.json()["count"] == len(people)
    return time.perf_counter() - started


def session_loop(url: str, recipients: list[dict[str, str]]) -> float:
    """Send messages sequentially with ``requests.Session``."""
    started = time.perf_counter()
    with requests.Session() as session:
        session.headers.update(HEADERS)
        for person in recipients:
            body = {"to": person["phonenumber"], "text": "Muraho", "sender": SENDER}
            response = session.post(f"{url}/v1/sms/", json=body, timeout=30)
            response.raise_for_status()
            assert response.json()["sms_id"]
    return time.perf_counter() - started


def hook_loop(url: str, recipients: list[dict[str, str]]) -> float:
    """Send messages sequentially with one ``PindoHook``."""
    started = time.perf_counter()
    with PindoHook("bench") as hook:
        for person in recipients:
            assert hook.send_sms(person["phonenumber"], "Muraho").sms_id
    return time.perf_counter() - started


def http_provider_loop(url: str, recipients: list[dict[str, str]]) -> float:
    """Send messages sequentially with the HTTP provider's ``HttpHook.run``, which opens a session for each."""
    from airflow.providers.http.hooks.http import HttpHook

    hook = HttpHook(method="POST", http_conn_id="bench_http")
    started = time.perf_counter()
    for person in recipients:
        body = json.dumps({"to": person["phonenumber"], "text": "Muraho", "sender": SENDER})
        assert hook.run("/v1/sms/", data=body, headers=HEADERS).json()["sms_id"]
    return time.perf_counter() - started


def write_csv(path: Path, rows: int) -> None:
    """Write a file with ``rows`` recipients."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["phonenumber", "name"])
        writer.writerows((f"+250{700000000 + row}", f"Aline Uwimana {row}") for row in range(rows))


def read_csv(path: Path) -> float:
    """Read a file with ``csv.reader`` alone."""
    started = time.perf_counter()
    with path.open(newline="", encoding="utf-8") as file:
        for _ in csv.reader(file):
            pass
    return time.perf_counter() - started


def preflight_csv(path: Path) -> float:
    """Read, check and spool a file, as a bulk send does before the first message."""
    from airflow_provider_pindo._bulk.messages import Plan
    from airflow_provider_pindo._bulk.preflight import preflight
    from airflow_provider_pindo._sources.rows import open_source
    from airflow_provider_pindo.api.mentions import Template

    started = time.perf_counter()
    blocks = open_source(str(path)).blocks(("phonenumber", "name"))
    preflight(blocks, Plan(Template(ONE_TEXT)), print).spool.close()
    return time.perf_counter() - started


def peak_memory(path: Path) -> float:
    """Return the peak memory, in MB, of a process that texts everybody in the file."""
    command = [sys.executable, "-m", "benchmarks.clients", str(path)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def import_time() -> float:
    """Return the seconds that the import of the operators adds to Airflow's own, once its bytecode is cached."""
    code = (
        "import time; from airflow.sdk import BaseOperator; started = time.perf_counter(); "
        "import airflow_provider_pindo.operators.sms; print(time.perf_counter() - started)"
    )
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    printed = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=env
    )
    return float(printed.stdout.split()[-1])


if __name__ == "__main__":
    operator(sys.argv[1], text=ONE_TEXT, chunk_size=1000)
    print(peak_memory_of_this_process())
