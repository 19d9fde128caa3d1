"""One cluster for the tests of this folder: three Celery workers, two triggerers, Postgres and Redis.

Every test asserts on what the phones received, and on what the tasks report. The tests need a Postgres and a Redis
server, see :mod:`demo.cluster`. ``make test-cluster`` runs them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_pindo.sandbox import SandboxClient
from demo.cluster import Cluster, missing_services
from demo.deployment import AIRFLOW_VERSION, EXAMPLE_DAGS
from tests.e2e.cluster.campaign import CAMPAIGN, Campaign


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder as ``cluster``."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cluster)
            item.add_marker(
                pytest.mark.skipif(
                    AIRFLOW_VERSION < 3, reason="Airflow keeps state for a killed task from 3.3 on"
                )
            )


def need(missing: list[str]) -> None:
    """Skip the test if anything is missing; where the servers are required, fail it."""
    if missing:
        fail_or_skip = pytest.fail if os.environ.get("PINDO_REQUIRE_SERVICES") == "1" else pytest.skip
        fail_or_skip("\n".join(missing))


@pytest.fixture(scope="session")
def services() -> None:
    """The servers and packages that a cluster needs are here."""
    need(missing_services())


@pytest.fixture(scope="session")
def cluster(
    services: None, sigterm_is_heard: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """A running cluster with an empty DAGs folder, and with a private Redis server if one is installed."""
    dags = tmp_path_factory.mktemp("dags")
    redis_server = shutil.which("redis-server") is not None
    settings = {
        "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "True",  # events start DAGs
        "AIRFLOW__TRIGGERER__CAPACITY": "200",  # so that three hundred waiting tasks need both triggerers
    }
    with Cluster(dags, settings=settings, own_redis=redis_server, keep_logs=True) as running:
        yield running


@pytest.fixture
def own_redis(cluster: Cluster) -> str:
    """The name of the cluster's own Redis server, which a test may kill."""
    if "redis" not in cluster.components:
        need(["no redis-server on the PATH: the Redis at PINDO_TEST_REDIS is not ours to kill"])
    return "redis"


@pytest.fixture
def sandbox(cluster: Cluster) -> SandboxClient:
    """The sandbox of ``cluster``, with no messages and no faults."""
    cluster.sandbox.reset()
    return cluster.sandbox


@pytest.fixture
def start_campaign(cluster: Cluster, sandbox: SandboxClient, tmp_path: Path):
    """Start a campaign; requests take about as long as at Pindo."""
    example = f"{CAMPAIGN}.py"
    (cluster.dags / example).write_bytes((EXAMPLE_DAGS / example).read_bytes())
    cluster.rest.wait_for_dag(CAMPAIGN)

    def start(*, recipients: int, partitions: int, latency: float = 0.05, **settings: Any) -> Campaign:
        sandbox.settings(latency=latency, **settings)
        return Campaign(cluster, tmp_path, recipients=recipients, partitions=partitions)

    return start


@pytest.fixture
def pool(cluster: Cluster):
    """Change the slots of the pool, as a person does in the UI."""

    def change(slots: int) -> None:
        body = {"pool": "pindo", "slots": slots, "include_deferred": False}
        cluster.rest.request("PATCH", "/pools/pindo", json=body)

    yield change
    change(40)
