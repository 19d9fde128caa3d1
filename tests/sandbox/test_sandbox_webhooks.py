"""Webhooks: what a receiver gets, and what it misses."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from airflow_provider_pindo.sandbox.settings import Settings
from airflow_provider_pindo.sandbox.webhooks import Webhooks

PHONE = "+250781234567"


class Receiver:
    """An HTTP server that keeps what it gets."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.status = 200
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.events.append(json.loads(body))
                receiver.headers.append(dict(self.headers))
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"

    def wait_for(self, count: int) -> list[dict[str, Any]]:
        deadline = time.monotonic() + 10
        while len(self.events) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(self.events) == count
        return self.events


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join(30)


def test_a_message_is_announced_as_sent_and_then_as_delivered(api, sandbox, receiver):
    sandbox.settings(webhook_url=receiver.url, webhook_headers={"X-Secret": "between us"})
    sms_id = api.send(PHONE, "Muraho").json()["sms_id"]
    sent, report = receiver.wait_for(2)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", sent.pop("created_at"))
    assert sent == {"id": sms_id, "text": "Muraho", "sender": "PindoTest", "to": PHONE}
    assert report.pop("modified_at")
    assert report == {"sms_id": sms_id, "retries_count": 0, "status": "DELIVRD"}
    assert [headers["X-Secret"] for headers in receiver.headers] == ["between us"] * 2


def test_the_delivery_status_is_a_setting(api, sandbox, receiver):
    sandbox.settings(webhook_url=receiver.url, delivery_status="UNDELIV")
    api.send()
    assert receiver.wait_for(2)[1]["status"] == "UNDELIV"


def test_each_of_many_is_announced(api, sandbox, receiver):
    sandbox.settings(webhook_url=receiver.url)
    api.send_bulk([{"phonenumber": f"+25078{n:07d}"} for n in range(20)])
    assert len({event.get("to") for event in receiver.wait_for(40)} - {None}) == 20


def test_an_inbound_message_has_the_webhook_form(api, sandbox, receiver):
    api.ask("PUT", "/orgs/self", json={"webhook_url": receiver.url})
    sandbox.reply(PHONE, "YES 4821", to="7878", created_at="2020-07-24T23:35:32")
    assert receiver.wait_for(1) == [
        {
            "from": PHONE,
            "to": "7878",
            "created_at": "24-07-2020, 23:35:32",
            "sms_id": 1,
            "text": "YES 4821",
            "telco": "MTN",
        }
    ]


def test_a_receiver_that_is_down_misses_the_event(api, sandbox, receiver):
    sandbox.settings(webhook_url="http://127.0.0.1:9/nobody")
    assert api.send().status_code == 201
    time.sleep(0.2)
    receiver.status = 500
    sandbox.settings(webhook_url=receiver.url)
    api.send(text="second")
    assert receiver.wait_for(2)[0]["text"] == "second"
    time.sleep(0.2)
    receiver.wait_for(2)


async def test_queued_events_are_dropped_when_the_webhook_address_is_removed(receiver):
    with_address = Settings(webhook_url=receiver.url)
    settings = with_address
    webhooks = Webhooks(lambda: settings)
    webhooks.announce({"text": "waits"})
    settings = Settings()
    webhooks.start()
    async with asyncio.timeout(10):
        while not webhooks._queue.empty():  # noqa: ASYNC110 - the queue tells nobody
            await asyncio.sleep(0.01)
    settings = with_address
    webhooks.announce({"text": "comes after it"})
    await asyncio.to_thread(receiver.wait_for, 1)
    await webhooks.stop()
    assert receiver.events == [{"text": "comes after it"}]


def test_a_full_queue_drops_events_with_one_warning_and_sends_continue(api, sandbox, caplog):
    sandbox.settings(webhook_url="http://127.0.0.1:9/nobody", bulk_limit=20_000)
    answer = api.send_bulk([{"phonenumber": f"+25078{n:07d}"} for n in range(6000)])
    assert answer.json()["count"] == 6000
    assert len([record for record in caplog.records if record.message.startswith("webhooks dropped")]) == 1
