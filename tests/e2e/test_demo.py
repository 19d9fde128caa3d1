"""The commands that a newcomer types first: they do what they say, and leave nothing behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest
import requests

from airflow_provider_pindo.sandbox import SandboxClient
from demo.__main__ import ROUTER_ID, ROUTER_NAME
from demo.deployment import AIRFLOW_VERSION
from demo.rest import wait_until

ROOT = Path(__file__).resolve().parents[2]
STOP = 120  # seconds to stop everything, on a busy machine


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for temporary files, with a short path: Airflow 2.11 makes Unix sockets in it."""
    with tempfile.TemporaryDirectory(prefix="demo-") as name:
        yield Path(name)


@pytest.fixture
def run_demo(folder: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start ``python -m demo`` with a folder for temporary files of its own."""
    started = []

    def run(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "demo", *arguments],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"},
            # A shell that runs the tests in the background ignores Ctrl-C, and the demo would inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield run
    try:
        for process in started:
            process.send_signal(signal.SIGINT)  # does nothing to a process that has ended
            process.communicate(timeout=STOP)
    finally:
        kill_all_of(folder)


def kill_all_of(folder: Path) -> None:
    """Kill the processes of a demo that did not end. Usually all have ended."""
    while remaining := [process for process in psutil.process_iter() if belongs_to(process, folder)]:
        for process in remaining:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(remaining, timeout=1)


def read_until(process: subprocess.Popen[str], word: str) -> str:
    """Return what the process prints up to the line with ``word``."""
    printed = ""
    assert process.stdout is not None
    for line in process.stdout:
        printed += line
        if word in line:
            return printed
    raise AssertionError(f"{word!r} was never printed:\n{printed}")


def assert_nothing_is_left(folder: Path) -> None:
    remaining = [process for process in psutil.process_iter() if belongs_to(process, folder)]
    assert remaining == []
    assert list(folder.iterdir()) == []


def belongs_to(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.environ().get("TMPDIR", "").startswith(str(folder))
    except (psutil.Error, OSError):
        return False


def test_the_demo_texts_the_patients_and_leaves_nothing(run_demo, folder):
    process = run_demo()
    printed, _ = process.communicate(timeout=500)
    assert process.returncode == 0, printed
    assert "The phones have exactly the expected messages" in printed
    assert "+250780000101" in printed
    assert "Not texted: Emmanuel Nshuti" in printed
    assert_nothing_is_left(folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["Starting the sandbox", "Starting Airflow", "Triggered"])
def test_a_demo_that_is_interrupted_leaves_nothing(run_demo, folder, moment, number):
    process = run_demo()
    read_until(process, moment)
    process.send_signal(number)
    printed, _ = process.communicate(timeout=STOP)
    assert process.returncode == 130, printed
    assert_nothing_is_left(folder)


@pytest.fixture
def usual_ports_are_taken() -> Iterator[None]:
    """The ports 8080 and 8025 are taken, so that two test runs on one machine do not compete for them."""
    with ExitStack() as held:
        for port in (8080, 8025):
            with suppress(OSError):  # another process has it
                held.enter_context(socket.create_server(("127.0.0.1", port)))
        yield


def assert_that_ticks_come_back(sandbox: SandboxClient, airflow: str) -> None:
    """Airflow has answered the reports on the demo's messages with 200, and so kept them."""

    def answered():
        return [report for report in sandbox.webhooks("delivery_report") if report["status"] is not None]

    reports = wait_until(answered, "the first report is answered", timeout=60)
    assert {report["status"] for report in reports} == {200}
    assert all(report["url"].startswith(f"{airflow}pindo/webhooks/pindo_default") for report in reports)


def test_up_says_where_everything_is_and_stops_on_ctrl_c(run_demo, folder, usual_ports_are_taken):
    process = run_demo("up")
    printed = read_until(process, "Ctrl-C stops")
    airflow, *_, phones = re.findall(r"http://127\.0\.0\.1:\d+/", printed)
    assert (f"{airflow}plugin/pindo" in printed) is (AIRFLOW_VERSION >= 3)
    assert requests.get(airflow, timeout=30).ok
    assert requests.get(phones, timeout=30).ok
    assert re.search(r"user admin, password \S+", printed)
    assert f'"{ROUTER_NAME}" ({ROUTER_ID}' in printed
    if AIRFLOW_VERSION >= 3:
        assert_that_ticks_come_back(SandboxClient(phones), airflow)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=STOP)
    assert process.returncode == 130, printed
    assert_nothing_is_left(folder)
