"""A real Airflow for the end-to-end tests, started once and shared: a start takes a quarter of a minute.

A test writes its own DAG with ``deployment.add_dag``, under a name of its own, and asserts on what the phones
of ``sandbox`` received.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airflow_provider_pindo.sandbox import SandboxClient
from demo.deployment import EXAMPLE_DAGS, Deployment

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder as ``e2e``, but the one of the main job."""
    for item in items:
        if Path(__file__).parent in item.path.parents and not item.get_closest_marker("main_job"):
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def sigterm_is_heard() -> Iterator[None]:
    """SIGTERM ends a test run as Ctrl-C does, so that the run stops every process that it started.

    A worker of pytest-xdist gets SIGINT when the main process is gone. A shell that starts the tests in the
    background ignores SIGINT, so its handler is set here too.
    """
    before = {
        number: signal.signal(number, signal.default_int_handler)
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def deployment(sigterm_is_heard: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A running Airflow with an empty DAGs folder, and its sandbox."""
    with Deployment(tmp_path_factory.mktemp("dags")) as running:
        yield running


@pytest.fixture
def sandbox(deployment: Deployment) -> SandboxClient:
    """The sandbox of ``deployment``, with no messages and no faults."""
    deployment.sandbox.reset()
    return deployment.sandbox


@pytest.fixture(scope="session")
def examples(deployment: Deployment) -> Deployment:
    """The same Airflow with the example DAGs in its DAGs folder, except those that reply to every message."""
    return add_examples(deployment)


def add_examples(deployment: Deployment) -> Deployment:
    """Copy the example DAGs into the DAGs folder, except those that reply to every message."""
    for file in EXAMPLE_DAGS.iterdir():
        if file.suffix in (".py", ".csv", ".xlsx") and b"AssetWatcher" not in file.read_bytes():
            (deployment.dags / file.name).write_bytes(file.read_bytes())
    return deployment


@pytest.fixture(scope="module")
def logged_in(deployment: Deployment, browser: Browser) -> Iterator[BrowserContext]:
    """A browser that is logged in to Airflow's UI."""
    context = browser.new_context(viewport={"width": 1100, "height": 1200})
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.goto(deployment.url)
    page.locator("input[name=username]").fill(deployment.username)
    page.locator("input[name=password]").fill(deployment.password)
    page.locator("[type=submit]").click()
    page.wait_for_url(re.compile(rf"{deployment.url}/(home)?(\?.*)?$"))
    page.close()
    yield context
    context.close()


@pytest.fixture
def page(logged_in: BrowserContext) -> Iterator[Page]:
    """A new page of that browser."""
    page = logged_in.new_page()
    yield page
    page.close()
