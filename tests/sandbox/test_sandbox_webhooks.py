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
from urllib.parse import parse_qsl, urlsplit

import pytest

from airflow_provider_pindo.sandbox import Sandbox, SandboxError
from airflow_provider_pindo.sandbox.events import Event
from airflow_provider_pindo.sandbox.faults import FaultBook
from airflow_provider_pindo.sandbox.settings import Settings
from airflow_provider_pindo.sandbox.webhooks import Webhooks
from tests.sandbox.conftest import Api

PHONE = "+250781234567"


class Receiver:
    """An HTTP server that keeps what it gets."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.status = 200
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self._keep(json.loads(body))

            def do_GET(self) -> None:
                self._keep(dict(parse_qsl(urlsplit(self.path).query)))

            def _keep(self, event: dict[str, Any]) -> None:
                receiver.paths.append(self.path)
                receiver.headers.append(dict(self.headers))
                receiver.events.append(event)
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
def sandbox() -> Iterator[Sandbox]:
    """A sandbox in which a delivery report comes at once."""
    with Sandbox(delivery_seconds=0) as running:
        yield running


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
    sandbox.set_webhooks(receiver.url, receiver.url, headers={"X-Secret": "between us"})
    sms_id = api.send(PHONE, "Muraho").json()["sms_id"]
    sent, report = receiver.wait_for(2)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", sent.pop("created_at"))
    assert sent == {"id": sms_id, "text": "Muraho", "sender": "PindoTest", "to": PHONE}
    assert report.pop("modified_at")
    assert report == {"sms_id": sms_id, "retries_count": 0, "status": "DELIVRD"}
    # Pindo documents headers for the webhook of a sender ID only.
    assert [headers.get("X-Secret") for headers in receiver.headers] == ["between us", None]


def test_what_becomes_of_a_message_is_a_setting(api, sandbox, receiver):
    sandbox.settings(webhook_url=receiver.url, delivery_outcome="undelivered")
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
    webhooks = Webhooks(lambda: settings, FaultBook(), lambda: None)
    webhooks.announce(Event("sent", "PindoTest", PHONE, {"text": "waits"}))
    settings = Settings()
    webhooks.start()
    async with asyncio.timeout(10):
        while not webhooks._queue.empty():  # noqa: ASYNC110 - the queue tells nobody
            await asyncio.sleep(0.01)
    settings = with_address
    webhooks.announce(Event("sent", "PindoTest", PHONE, {"text": "comes after it"}))
    await asyncio.to_thread(receiver.wait_for, 1)
    await webhooks.stop()
    assert receiver.events == [{"text": "comes after it"}]


async def test_events_that_wait_at_a_reset_are_forgotten(receiver):
    webhooks = Webhooks(lambda: Settings(webhook_url=receiver.url), FaultBook(), lambda: None)
    webhooks.announce(Event("sent", "PindoTest", PHONE, {"text": "waits"}))
    webhooks.clear()
    webhooks.start()
    webhooks.announce(Event("sent", "PindoTest", PHONE, {"text": "comes after it"}))
    await asyncio.to_thread(receiver.wait_for, 1)
    await webhooks.stop()
    assert receiver.events == [{"text": "comes after it"}]


def test_a_full_queue_drops_events_with_one_warning_and_sends_continue(monkeypatch, caplog):
    monkeypatch.setattr("airflow_provider_pindo.sandbox.webhooks.QUEUE_LIMIT", 100)
    with Sandbox(webhook_url="http://127.0.0.1:9/nobody") as sandbox:
        answer = Api(sandbox).send_bulk([{"phonenumber": f"+25078{n:07d}"} for n in range(300)])
        assert answer.json()["count"] == 300
    assert len([record for record in caplog.records if record.message.startswith("webhooks dropped")]) == 1


def test_events_of_a_sender_go_to_its_address_by_get_with_the_keys_of_the_body(api, sandbox, receiver):
    url = f"{receiver.url}?token=1"
    sandbox.set_webhooks(None, url, sender="PindoTest", method="GET", headers={"X-Secret": "between us"})
    sms_id = api.send(PHONE, "Ejo saa tatu & nigice").json()["sms_id"]
    (sent,) = receiver.wait_for(1)
    assert sent.pop("created_at")
    assert sent == {
        "token": "1",
        "id": sms_id,
        "text": "Ejo saa tatu & nigice",
        "sender": "PindoTest",
        "to": PHONE,
    }
    assert receiver.headers[0]["X-Secret"] == "between us"


def test_each_event_goes_to_its_own_address_and_another_sender_ids_to_the_one_for_all(api, sandbox, receiver):
    sandbox.settings(
        approved_senders="any",
        delivery_webhook_url=f"{receiver.url}/reports",
        sender_webhooks={
            "PindoTest": {"url": f"{receiver.url}/test"},
            "7878": {"url": f"{receiver.url}/short"},
            "*": {"url": f"{receiver.url}/others"},
        },
    )
    api.send()
    api.send(sender="Ubuzima")
    sandbox.reply(PHONE, "YES", to="7878")
    receiver.wait_for(5)
    assert sorted(path.rpartition("/")[2] for path in receiver.paths) == [
        "others",
        "reports",
        "reports",
        "short",
        "test",
    ]


def test_what_has_no_address_is_not_called_and_is_not_in_the_log(api, sandbox, receiver):
    sandbox.set_webhooks(receiver.url)
    api.send()
    receiver.wait_for(1)
    sandbox.wait_for_webhooks()
    assert [call["event"] for call in sandbox.webhooks()] == ["delivery_report"]
    sandbox.set_webhooks()
    api.send()
    sandbox.wait_for_webhooks()
    assert len(receiver.events) == len(sandbox.webhooks()) == 1


def test_the_older_form_has_a_number_as_the_id_and_a_time_with_the_day_first(api, sandbox, receiver):
    sandbox.settings(older_forms=True)
    sandbox.set_webhooks(receiver.url)
    sms_id = api.send().json()["sms_id"]
    bulk = api.send_bulk([{"phonenumber": PHONE}, {"phonenumber": "+250781234568"}])
    assert bulk.status_code == 201
    reports = receiver.wait_for(3)
    assert re.fullmatch(r"\d\d-\d\d-\d{4}, \d\d:\d\d:\d\d", reports[0].pop("modified_at"))
    assert reports[0] == {"status": "DELIVRD", "sms_id": int(sms_id), "retries_count": 0}
    assert len({report["sms_id"] for report in reports}) == 3


def test_the_log_has_each_call_with_its_body_and_status_and_no_header(api, sandbox, receiver):
    receiver.status = 204
    sandbox.set_webhooks(None, receiver.url, headers={"X-Secret": "between us"})
    sms_id = api.send(text="Muraho").json()["sms_id"]
    sandbox.wait_for_webhooks()
    (call,) = sandbox.webhooks("sent")
    assert (call["number"], call["event"], call["phone"], call["status"]) == (1, "sent", PHONE, 204)
    assert (call["method"], call["url"], call["again"]) == ("POST", receiver.url, None)
    assert (call["body"]["id"], call["body"]["text"]) == (sms_id, "Muraho")
    assert "between us" not in json.dumps(sandbox.webhooks())
    assert sandbox.webhooks("inbound") == []
    sandbox.reset()
    assert sandbox.webhooks() == []


def test_an_event_is_sent_again_only_when_a_person_asks(api, sandbox, receiver):
    receiver.status = 500
    sandbox.set_webhooks(receiver.url)
    api.send()
    receiver.wait_for(1)
    sandbox.wait_for_webhooks()
    receiver.status = 200
    sandbox.resend_webhook(1)
    first, second = receiver.wait_for(2)
    assert first == second
    sandbox.wait_for_webhooks()
    assert [(call["status"], call["again"]) for call in sandbox.webhooks()] == [(500, None), (200, 1)]
    with pytest.raises(SandboxError, match="no webhook call 77"):
        sandbox.resend_webhook(77)


@pytest.mark.parametrize(
    ("action", "details", "status", "arrive"),
    [
        ("receiver_down", {}, "refused", 1),
        ("receiver_error", {}, 500, 1),
        ("receiver_error", {"status": 503}, 503, 1),
        ("receiver_slow", {"seconds": 0.1}, 200, 2),
    ],
)
def test_a_fault_strikes_one_webhook(api, sandbox, receiver, action, details, status, arrive):
    sandbox.set_webhooks(receiver.url)
    sandbox.add_fault(action, call="delivery_report", to=PHONE, **details)
    begin = time.monotonic()
    api.send(PHONE)
    api.send(PHONE)
    receiver.wait_for(arrive)
    sandbox.wait_for_webhooks()
    calls = sandbox.webhooks()
    assert [call["status"] for call in calls] == [status, 200]
    assert calls[0]["faults"] == [action]
    assert time.monotonic() - begin >= details.get("seconds", 0)
    assert sandbox.faults() == []


@pytest.mark.parametrize(("action", "call"), [("receiver_down", "send_sms"), ("drop_after", "webhooks")])
def test_a_fault_of_a_receiver_is_for_webhooks_alone(sandbox, action, call):
    with pytest.raises(SandboxError, match=r"receiver_… is for webhooks, sent, delivery_report, inbound"):
        sandbox.add_fault(action, call=call)


def test_waiting_for_webhooks_ends(api, sandbox, receiver):
    sandbox.add_fault("receiver_slow", call="webhooks", seconds=5)
    sandbox.set_webhooks(None, receiver.url)
    api.send()
    with pytest.raises(TimeoutError, match="1 webhooks still wait"):
        sandbox.wait_for_webhooks(timeout=0.5)


async def test_a_receiver_that_says_nothing_is_a_timeout_and_one_that_speaks_no_http_an_error(monkeypatch):
    monkeypatch.setattr("airflow_provider_pindo.sandbox.webhooks.TIMEOUT_SECONDS", 2.0)
    waiting: list[asyncio.StreamWriter] = []

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (await reader.readline()).startswith(b"POST /silent"):
            waiting.append(writer)
        else:
            writer.write(b"no http\r\n\r\n")
            writer.close()

    server = await asyncio.start_server(respond, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    settings = Settings(webhook_url=f"{url}/silent")
    webhooks = Webhooks(lambda: settings, FaultBook(), lambda: None)
    webhooks.start()
    for path in ("silent", "noise"):
        settings = Settings(webhook_url=f"{url}/{path}")
        webhooks.announce(Event("sent", "PindoTest", PHONE, {"text": path}))
        async with asyncio.timeout(10):
            while webhooks.pending or len(webhooks.as_json()) == 0:  # noqa: ASYNC110 - the queue tells nobody
                await asyncio.sleep(0.01)
    await webhooks.stop()
    for writer in waiting:
        writer.close()
    server.close()
    assert [call["status"] for call in webhooks.as_json()] == ["timeout", "ClientResponseError"]
