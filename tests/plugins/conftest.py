"""The app in a test client, with its table in SQLite. Airflow 2.11 has no apps of plugins: it runs test_plugin.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_pindo.api.webhooks import posting_token, reading_token
from demo.deployment import AIRFLOW_VERSION
from tests.databases import airflow_on, new_database

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from tests.plugins.metadata import Metadata

if AIRFLOW_VERSION < 3:
    collect_ignore_glob = ["test_[!p]*.py"]

SECRET = "0123-a-secret-for-the-webhooks-4567"
POSTING = posting_token(SECRET, "pindo_default")
READING = reading_token(SECRET, "pindo_default")


@pytest.fixture
def webhooks_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Webhooks are on, and the connection ``pindo_default`` has a secret."""
    monkeypatch.setenv("AIRFLOW__PINDO__WEBHOOKS", "True")
    extra = {"webhook_secret": SECRET}
    monkeypatch.setenv(
        "AIRFLOW_CONN_PINDO_DEFAULT",
        json.dumps({"conn_type": "pindo", "password": "the-api-token", "extra": extra}),
    )


@pytest.fixture
def client(airflow_database: None, webhooks_on: None) -> Iterator[TestClient]:
    """A client of the app, with an empty table."""
    from airflow import settings
    from fastapi.testclient import TestClient

    from airflow_provider_pindo.plugins._app import create_app
    from airflow_provider_pindo.plugins._event_table import TABLE

    with TestClient(create_app()) as running:
        with settings.engine.begin() as connection:
            connection.execute(TABLE.delete())
        yield running


def post(client: TestClient, content: Any, conn_id: str = "pindo_default", **kwargs: Any) -> Any:
    """POST a webhook: bytes or a string as they are, anything else as JSON. The secret is in its header by default."""
    body = {"content": content} if isinstance(content, bytes | str) else {"json": content}
    kwargs.setdefault("headers", {"X-Webhook-Secret": SECRET})
    return client.post(f"/webhooks/{conn_id}", **body, **kwargs)


def ask(client: TestClient, **asked: Any) -> Any:
    """Return the response to a request for events."""
    return client.post("/events/pindo_default", json=asked, headers={"Authorization": f"Bearer {READING}"})


def events(client: TestClient, **asked: Any) -> list[dict[str, Any]]:
    """Return the events that a task would read."""
    response = ask(client, **asked)
    assert response.status_code == 200, response.text
    return response.json()["events"]


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a Postgres database with Airflow's tables."""
    with new_database("postgresql") as url:
        environment = {**os.environ, "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url}
        migrate = [sys.executable, "-m", "airflow", "db", "migrate"]
        subprocess.run(migrate, check=True, capture_output=True, env=environment)
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.databases)])
def metadata(
    request: pytest.FixtureRequest, airflow_database: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Metadata]:
    """An empty metadata database, and the page's routes over it."""
    if request.param == "sqlite":
        yield from empty_metadata()
    else:
        with airflow_on(request.getfixturevalue("postgres"), monkeypatch):
            yield from empty_metadata()


def empty_metadata() -> Iterator[Metadata]:
    from airflow.api_fastapi.app import init_auth_manager

    from airflow_provider_pindo.plugins._app import create_app
    from tests.plugins.metadata import Metadata

    init_auth_manager()
    Metadata.clear()
    yield Metadata(create_app())
    Metadata.clear()
