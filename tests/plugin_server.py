"""The plugin's app on a real socket, as Airflow's API server mounts it, with its table in SQLite."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import requests

SECRET = "a-secret-for-the-webhooks-0123456789"


class PluginServer:
    """A running server of the app.

    :param url: its address.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[dict[str, Any]] = []
        #: Statuses that the next requests for events get instead of a response.
        self.faults: list[int] = []

    def webhook(self, body: dict[str, Any]) -> None:
        """Call the webhook, as Pindo does."""
        address = f"{self.url}/pindo/webhooks/pindo_default"
        requests.post(address, json=body, headers={"X-Webhook-Secret": SECRET}, timeout=30).raise_for_status()

    def report(self, sms_id: Any, status: str = "DELIVRD", modified_at: str = "2026-06-10T09:04:31") -> None:
        """Report on a message."""
        self.webhook({"sms_id": sms_id, "status": status, "modified_at": modified_at, "retries_count": 0})

    def reports(self, *sms_ids: str, status: str = "DELIVRD", received_at: datetime | None = None) -> None:
        """Store reports of many messages at once, also of the past."""
        from airflow import settings

        from airflow_provider_pindo.plugins._event_table import TABLE, _now

        rows = [
            {
                "conn_id": "pindo_default",
                "kind": "delivery_report",
                "sms_id": sms_id,
                "status": status,
                "body": json.dumps(
                    {"sms_id": sms_id, "status": status, "modified_at": "2026-06-10T09:04:31"}
                ),
                "received_at": received_at or _now(),
            }
            for sms_id in sms_ids
        ]
        with settings.engine.begin() as connection:
            connection.execute(TABLE.insert(), rows)


@contextmanager
def plugin_server() -> Iterator[PluginServer]:
    """Start the app, with an empty table."""
    import uvicorn
    from airflow import settings
    from fastapi import FastAPI, Request
    from starlette.responses import Response

    from airflow_provider_pindo.plugins._app import create_app
    from airflow_provider_pindo.plugins._event_table import TABLE, create_table

    create_table()
    with settings.engine.begin() as connection:
        connection.execute(TABLE.delete())
    app = FastAPI()
    app.mount("/pindo", create_app())
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off")
    server = uvicorn.Server(config)

    running = PluginServer("")

    @app.middleware("http")
    async def observe(request: Request, call_next: Any) -> Any:
        if request.url.path.startswith("/pindo/events/"):
            running.requests.append(json.loads(await request.body()))
            if running.faults:
                return Response(status_code=running.faults.pop(0))
        return await call_next(request)

    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    running.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield running
    finally:
        server.should_exit = True
        thread.join()
