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
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import requests

from airflow_provider_pindo.sandbox import SandboxClient
from demo.__main__ import ROUTER_ID, ROUTER_NAME
from demo.deployment import AIRFLOW_VERSION
from demo.reminders import DAG_ID
from demo.rest import AirflowRest, wait_until
from tests.e2e.pindo_page import PHONE_WIDTH, assert_everybody_can_use, open_pindo, tab_to

ROOT = Path(__file__).resolve().parents[2]
STOP = 120  # seconds to stop everything, on a busy machine


@pytest.fixture
def folder() -> Iterator[Path]:
    with temporary_folder() as folder:
        yield folder


@pytest.fixture
def run_demo(folder: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    with demos(folder) as run:
        yield run


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for temporary files, with a short path: Airflow 2.11 makes Unix sockets in it."""
    with tempfile.TemporaryDirectory(prefix="demo-") as name:
        yield Path(name)


@contextmanager
def demos(folder: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
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

    try:
        yield run
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


@contextmanager
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


@dataclass(frozen=True)
class Up:
    """A demo that was started by ``make up``: its process, and what it printed."""

    process: subprocess.Popen[str]
    folder: Path
    printed: str

    @property
    def url(self) -> str:
        """Airflow's address."""
        return re.findall(r"http://127\.0\.0\.1:\d+", self.printed)[0]

    @property
    def username(self) -> str:
        """The user who may do everything."""
        return "admin"

    @property
    def password(self) -> str:
        """The password of that user."""
        return re.findall(r"user admin, password (\S+)", self.printed)[0]


@pytest.fixture(scope="module")
def deployment() -> Iterator[Up]:
    with temporary_folder() as folder, demos(folder) as run, usual_ports_are_taken():
        process = run("up")
        yield Up(process, folder, read_until(process, "Ctrl-C stops"))


def test_up_says_where_everything_is(deployment):
    airflow, *_, phones = re.findall(r"http://127\.0\.0\.1:\d+/", deployment.printed)
    assert (f"{airflow}plugin/pindo" in deployment.printed) is (AIRFLOW_VERSION >= 3)
    assert requests.get(airflow, timeout=30).ok
    assert requests.get(phones, timeout=30).ok
    assert deployment.password
    assert (f'"{ROUTER_NAME}" ({ROUTER_ID})' in deployment.printed) is (AIRFLOW_VERSION >= 3)
    if AIRFLOW_VERSION >= 3:
        assert_that_ticks_come_back(SandboxClient(phones), airflow)


@pytest.mark.browser
@pytest.mark.skipif(AIRFLOW_VERSION < 3, reason="Airflow 2.11 has no pages of plugins")
def test_up_has_one_thing_to_settle_and_settling_it_makes_the_run_green(deployment, page):
    rest = AirflowRest(
        deployment.url, deployment.username, deployment.password, airflow_version=AIRFLOW_VERSION
    )
    [run_id] = rest.run_ids(DAG_ID)
    frame = open_pindo(page, deployment.url)
    frame.get_by_role("link", name="1 task needs a person").click()
    waiting = frame.get_by_role("region", name="Needs a person").locator(".panel")
    assert waiting.count() == 1
    assert frame.get_by_role("button", name="Settle").count() == 0
    waiting.get_by_text("Open the question and choose an answer: then the run goes on.").wait_for()
    assert_everybody_can_use(page)
    waiting.get_by_role("link", name="Answer the question").click()
    page.get_by_role("button", name="All arrived").click()
    assert rest.wait_for_run(DAG_ID, run_id) == "success"
    frame = open_pindo(page, deployment.url)
    frame.get_by_text("Nothing needs a person.").wait_for()
    assert frame.locator(".notice").count() == 0


@pytest.mark.browser
@pytest.mark.skipif(AIRFLOW_VERSION < 3, reason="Airflow 2.11 has no pages of plugins")
def test_up_shows_the_address_of_the_webhooks_to_copy_and_when_the_last_one_came(deployment, page):
    frame = open_pindo(page, deployment.url)
    corner = frame.get_by_role("group", name="Webhook addresses")
    corner.wait_for()
    for_all, with_header = corner.get_by_label("Webhook address of pindo_default").all()
    tab_to(page, for_all)
    copied = for_all.evaluate("field => field.value.slice(field.selectionStart, field.selectionEnd)")
    assert copied.startswith(f"{deployment.url}/pindo/webhooks/pindo_default?token=")
    assert with_header.input_value() == f"{deployment.url}/pindo/webhooks/pindo_default"
    assert requests.post(copied, json={"sms_id": "1", "status": "DELIVRD"}, timeout=30).ok
    frame.get_by_role("button", name="Refresh").click()
    corner.get_by_text(re.compile(r"^\d+ \w{3,4} \d{4}, \d\d:\d\d:\d\d$")).wait_for()
    assert_everybody_can_use(page)
    page.set_viewport_size(PHONE_WIDTH)
    assert_everybody_can_use(page)


def test_up_stops_on_ctrl_c_and_leaves_nothing(deployment):
    deployment.process.send_signal(signal.SIGINT)
    printed, _ = deployment.process.communicate(timeout=STOP)
    assert deployment.process.returncode == 130, printed
    assert_nothing_is_left(deployment.folder)
