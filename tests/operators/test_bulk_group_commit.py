"""Group commit: one write of the ledger records what came of recipients and admits the next ones."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
import time

import pytest

from airflow_provider_pindo._bulk.bulk_ledger import BulkLedger
from airflow_provider_pindo._bulk.outcome import IN_FLIGHT
from airflow_provider_pindo._bulk.row_numbers import parse_rows
from airflow_provider_pindo.hooks.pindo import PindoAsyncHook
from tests.operators.bulk import PERSONAL, Store, at, people, report, send, times_texted


def of_entries(store):
    return {key: entry for key, entry in store.all().items() if key != "pindo_bulk"}


def in_flight(store):
    """Return how many recipients a kill would leave unknown now."""
    return sum(len(parse_rows(entry["unknown"].get(IN_FLIGHT, ""))) for entry in of_entries(store).values())


class WatchedStore(Store):
    """Notes what each write admits, how many it leaves in flight, and whether writes overlap."""

    def __init__(self, seconds=0.0):
        super().__init__()
        self.seconds = seconds
        self.admitted = set()
        self.most_in_flight = 0
        self.threads = set()
        self._writing = threading.Lock()

    def set(self, key, value, *, retention=None):
        assert self._writing.acquire(blocking=False), "two writes at a time"
        self.threads.add(threading.current_thread().name)
        time.sleep(self.seconds)
        super().set(key, value, retention=retention)
        if key != "pindo_bulk":
            self.admitted |= set(parse_rows(value["rows"])) - set(parse_rows(value["not_sent"]))
            self.most_in_flight = max(self.most_in_flight, in_flight(self))
        self._writing.release()


CASES = [
    ({"text": PERSONAL}, 60),
    ({"text": PERSONAL, "concurrency": 5}, 15),
    ({"text": PERSONAL, "chunk_size": 7, "concurrency": 1}, 3),
    ({"text": "Muraho"}, 200),
    ({"text": "Muraho", "chunk_size": 1000}, 2000),
    ({"text": "Muraho", "chunk_size": 10, "concurrency": 3}, 20),
    ({"text": "At @contact.hour"}, 60),
    ({"text": "At @contact.hour", "chunk_size": 1000}, 252),
    ({"text": PERSONAL, "chunk_size": 1000}, 60),
]


@pytest.mark.parametrize(("arguments", "bound"), CASES)
def test_a_request_leaves_only_when_a_completed_write_has_admitted_it(sandbox, monkeypatch, arguments, bound):
    store, rows = WatchedStore(0.002), people(2500, time=at, hour=lambda row: str(row % 8))
    by_number = {person["phonenumber"]: row for row, person in enumerate(rows, start=1)}
    before = PindoAsyncHook.send

    async def watched(hook, call, attempt):
        numbers = [each["phonenumber"] for each in call.json.get("recipients", [])] or [call.json["to"]]
        assert store.admitted.issuperset(by_number[number] for number in numbers)
        return await before(hook, call, attempt)

    monkeypatch.setattr(PindoAsyncHook, "send", watched)
    count = 300 if arguments.get("concurrency") == 1 else 2500
    assert send(store, recipients=rows[:count], **arguments)["accepted"] == count
    assert 0 < store.most_in_flight <= bound
    assert in_flight(store) == 0
    assert "pindo-bulk-send" not in store.threads  # that of the event loop
    assert set(times_texted(sandbox).values()) == {1}


def test_1000_recipients_take_at_most_32_writes_where_pindo_takes_100_ms(sandbox):
    sandbox.settings(latency=0.1)
    store = WatchedStore(0.014)
    assert send(store, recipients=people(1000, time=at), text=PERSONAL)["accepted"] == 1000
    assert store.writes <= 32


def test_few_workers_are_busy_at_the_same_time(sandbox):
    sandbox.settings(latency=0.3)
    assert send(Store(), recipients=people(4000), chunk_size=1000, concurrency=2)["accepted"] == 4000
    assert sandbox.state()["most_in_flight"] == 2


def wait_until_quiet(sandbox):
    """Wait until the sandbox has processed the requests that a killed task had sent."""
    before = None
    while (messages := sandbox.state()["messages"]) != before:
        before = messages
        time.sleep(0.3)


def run_until_killed(connection, path, arguments, moment, delay):
    """Send, and kill this process ``delay`` seconds after it has begun to send to ``moment`` recipients.

    It never comes to its end: once everybody was processed, it waits for the kill.
    """
    os.environ["AIRFLOW_CONN_PINDO_DEFAULT"] = connection
    kill = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL))
    before, begun = PindoAsyncHook.send, 0

    async def counted(hook, call, attempt):
        nonlocal begun
        begun += len(call.json.get("recipients", [call]))
        if begun >= moment and not kill.is_alive():
            kill.start()
        return await before(hook, call, attempt)

    PindoAsyncHook.send = counted
    BulkLedger.finish = lambda *_: kill.join()
    send(Store(path), **arguments)


@pytest.fixture(scope="module")
def processes():
    """Processes that start at once, from a server that has loaded Airflow already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.operators.bulk", "airflow_provider_pindo._bulk.run", __name__])
    return context


@pytest.mark.parametrize("on_unknown", ["accept", "resend"])
@pytest.mark.parametrize("seed", range(20))
def test_kill_9_at_a_random_moment_leaves_only_what_was_in_flight_unknown(
    sandbox, tmp_path, processes, seed, on_unknown
):
    chance = random.Random(seed)
    arguments, bound = chance.choice(CASES[:2] + CASES[3:4] + CASES[5:7])
    arguments = {
        **arguments,
        "recipients": people(600, time=at, hour=lambda row: str(row % 8)),
        "on_unknown": on_unknown,
    }
    sandbox.settings(latency=chance.choice([0.0, 0.005, 0.02]))
    path, moment, delay = tmp_path / "store", chance.randrange(1, 600), 0.02 * chance.random()
    task = processes.Process(
        target=run_until_killed, args=(sandbox.connection_json(), path, arguments, moment, delay)
    )
    task.start()
    task.join()
    assert task.exitcode == -signal.SIGKILL
    wait_until_quiet(sandbox)
    sandbox.settings(latency=0)
    store, before = Store(path), times_texted(sandbox)
    unknown = in_flight(store)
    assert unknown <= bound
    result = send(store, **arguments, report_path=str(tmp_path / "report.csv"))
    texted = times_texted(sandbox)
    assert sum(result[column] for column in ("accepted", "unknown")) == result["given"] == 600
    if on_unknown == "resend":
        assert result["accepted"] == len(texted) == 600
        twice = {number for number, times in texted.items() if times > 1}
        assert set(texted.values()) <= {1, 2}
        assert len(twice) <= unknown
        assert twice <= set(before)
    else:
        assert set(texted.values()) == {1}
        assert result["unknown"] == unknown
        left = {
            each["phonenumber"] for each in report(tmp_path / "report.csv") if each["outcome"] == "unknown"
        }
        assert {person["phonenumber"] for person in arguments["recipients"]} - set(texted) <= left
