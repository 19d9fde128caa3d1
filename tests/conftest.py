"""
What every test needs: an Airflow home of its own, a sandbox over a real socket, and DAGs that really run.

The Airflow home is set before any test imports Airflow, so that nothing reads or writes the user's own.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

_home = tempfile.TemporaryDirectory(prefix="pindo-tests-")
os.environ.update(
    {
        "AIRFLOW_HOME": _home.name,
        "AIRFLOW__CORE__DAGS_FOLDER": f"{_home.name}/dags",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
    }
)

from airflow_provider_pindo.sandbox import Sandbox  # noqa: E402


@pytest.fixture(autouse=True)
def loopback_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test of ours ever reaches Pindo, or any other host: names resolve on this machine alone."""
    resolve = socket.getaddrinfo

    def resolve_loopback(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name not in (None, "", "localhost", "127.0.0.1", "::1", "0.0.0.0", socket.gethostname()):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_loopback)


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A sandbox of this test's own, which the connection ``pindo_default`` points to."""
    with Sandbox() as running:
        monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", running.connection_json())
        yield running


@pytest.fixture(scope="session")
def airflow_home() -> Path:
    """Airflow's folder, with its database (``airflow.db``) and its logs."""
    return Path(_home.name)


@pytest.fixture(scope="session")
def airflow_database() -> None:
    """Airflow's metadata database, in SQLite, made once for all tests that need it."""
    Path(f"{_home.name}/dags").mkdir()
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True)


@pytest.fixture
def run_dag(airflow_database: None, request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Write a DAG file with one ``dag`` in it, run it by ``dag.test()`` and return the DAG run."""

    def run(source: str, **kwargs: Any) -> Any:
        name = f"{request.node.originalname}_{os.urandom(4).hex()}"
        file = Path(f"{_home.name}/dags/{name}.py")
        file.write_text(source.replace("DAG_ID", name), encoding="utf-8")
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module.dag.test(**kwargs)

    return run
