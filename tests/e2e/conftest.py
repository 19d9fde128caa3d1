"""
A real Airflow for the end-to-end tests: started once, since that takes a quarter of a minute, and shared.

A test writes its own DAG with ``deployment.add_dag``, under a name of its own, and asserts on what the phones
of ``sandbox`` received.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_pindo.sandbox import SandboxClient
from demo.deployment import EXAMPLE_DAGS, Deployment


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder as ``e2e``."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """
    A running Airflow with an empty DAGs folder, and its sandbox.

    A test run that is asked to end (SIGTERM) ends as on Ctrl-C, so that it stops what it started.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Deployment(tmp_path_factory.mktemp("dags")) as running:
        yield running


@pytest.fixture
def sandbox(deployment: Deployment) -> SandboxClient:
    """The sandbox of ``deployment``, with no messages and no faults."""
    deployment.sandbox.reset()
    return deployment.sandbox


@pytest.fixture(scope="session")
def examples(deployment: Deployment) -> Deployment:
    """The same Airflow, with the example DAGs in its DAGs folder, but for those that answer every message."""
    for file in EXAMPLE_DAGS.iterdir():
        if file.suffix in (".py", ".csv") and b"AssetWatcher" not in file.read_bytes():
            (deployment.dags / file.name).write_bytes(file.read_bytes())
    return deployment
