"""Airflow's API server without scheduler and triggerer, to test and measure the webhook receiver."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from airflow_provider_pindo.api.webhooks import reading_token
from demo.deployment import Deployment, python
from demo.rest import wait_until


class ApiServer(Deployment):
    """An API server with the sandbox, its database, and nothing else of Airflow.

    :param folder: the DAGs folder; it stays empty.
    :param database: address of an empty database for Airflow; SQLite when None.
    :param settings: more environment variables.
    """

    def __init__(
        self, folder: Path, *, database: str | None = None, settings: dict[str, str] | None = None
    ) -> None:
        super().__init__(folder, settings=settings, webhooks=True)
        self.settings = self._settings  # of every process that starts from now on
        self._has_own_database = database is None
        if database is not None:
            self.settings["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = database

    @property
    def components(self) -> dict[str, list[str]]:
        """The commands of the sandbox and of the API server, with one worker."""
        port = str(urlsplit(self.url).port)
        server = ["api-server", "--host", "127.0.0.1", "--port", port, "--workers", "1"]
        return {"sandbox": super().components["sandbox"], "api-server": python("airflow", *server)}

    @property
    def webhook_url(self) -> str:
        """The address of the receiver."""
        return f"{self.url}/pindo/webhooks/pindo_default"

    def restart(self) -> None:
        """Kill the API server like a machine that crashes, and start it again."""
        self.kill("api-server")
        self.start("api-server")
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Wait until the API server responds."""
        wait_until(self._is_healthy, "it responds", timeout=120)

    def events(self, **query: Any) -> list[dict[str, Any]]:
        """Return the events that a task would read."""
        token = reading_token(self.webhook_secret, "pindo_default")
        events: list[dict[str, Any]] = []
        more, after = True, 0
        with requests.Session() as session:
            session.trust_env = False
            while more:
                response = session.post(
                    f"{self.url}/pindo/events/pindo_default",
                    json={**query, "after": after},
                    headers={"Authorization": f"Bearer {token}"},
                    timeout=60,
                )
                response.raise_for_status()
                page = response.json()
                events += page["events"]
                more, after = page["more"], page["last_id"]
        return events

    def _is_healthy(self) -> bool:
        return self._responds(f"{self.url}/api/v2/monitor/health")

    def _create_database(self) -> None:
        if self._has_own_database:
            super()._create_database()
        else:
            self.airflow("db", "migrate")
