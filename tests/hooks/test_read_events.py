"""Reading webhook events through the API server, over a real socket."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_pindo._inbox.event_scan import EventCursor
from airflow_provider_pindo._inbox.events import EventFilter
from airflow_provider_pindo.api.errors import (
    PindoAuthError,
    PindoConfigurationError,
    PindoConnectionError,
    PindoNotFoundError,
    PindoServerError,
)
from airflow_provider_pindo.api.webhooks import DELIVERY_REPORT, reading_token
from airflow_provider_pindo.hooks import _events, _webhook_config
from airflow_provider_pindo.hooks._events import AsyncEventReader, EventReader
from airflow_provider_pindo.hooks._settings import read_webhook_secret
from airflow_provider_pindo.hooks._webhook_config import api_url, check_webhooks, retention_days
from demo.deployment import AIRFLOW_VERSION
from tests.hooks.relay import Relay

pytestmark = pytest.mark.skipif(AIRFLOW_VERSION < 3, reason="Airflow 2.11 has no apps of plugins")

SECRET = "a-secret-for-the-webhooks"


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Webhooks are on, and the connection ``pindo_default`` has a secret."""
    monkeypatch.setenv("AIRFLOW__PINDO__WEBHOOKS", "True")
    extra = {"webhook_secret": SECRET}
    value = {"conn_type": "pindo", "host": "http://127.0.0.1:1", "password": "token", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", json.dumps(value))


@pytest.fixture
def server(connection: None, airflow_database: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An API server with nothing but our app, and an empty table."""
    import uvicorn
    from airflow import settings
    from fastapi import FastAPI

    from airflow_provider_pindo.plugins import _event_table
    from airflow_provider_pindo.plugins._app import create_app

    _event_table.create_table()
    with settings.engine.begin() as database:
        database.execute(_event_table.TABLE.delete())
    outer = FastAPI()
    outer.mount("/pindo", create_app())
    listener = socket.create_server(("127.0.0.1", 0))
    running = uvicorn.Server(uvicorn.Config(outer, log_level="error", lifespan="off"))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    while not running.started:
        time.sleep(0.01)
    monkeypatch.setenv("AIRFLOW__PINDO__API_URL", f"http://127.0.0.1:{listener.getsockname()[1]}/")
    yield
    running.should_exit = True
    thread.join()
    listener.close()


def add(*sms_ids: str) -> None:
    from airflow_provider_pindo.api.webhooks import read_webhook
    from airflow_provider_pindo.plugins import _event_table

    for body in map(report, sms_ids):
        _event_table.add("pindo_default", read_webhook(body), json.dumps(body))


def report(sms_id: str) -> dict[str, str]:
    return {"sms_id": sms_id, "status": "DELIVRD", "modified_at": "2026-06-10T09:04:31"}


def test_a_task_reads_what_it_asks_for(server):
    add("a", "b")
    with EventReader("pindo_default") as reader:
        first, second = reader.read(EventFilter())
        assert (first.sms_id, first.kind) == ("a", "delivery_report")
        assert first.body == report("a")
        assert second.id > first.id
        (event,) = reader.read(EventFilter(sms_ids=["b"]))
        assert event == second


def test_what_is_new_comes_once_to_a_task_and_to_a_trigger(server):
    add("a")

    async def in_a_trigger():
        async with AsyncEventReader("pindo_default") as reader:
            cursor = EventCursor(DELIVERY_REPORT)
            cursor = await poll_once(reader, cursor, ["a"])
            add("b")
            cursor = await poll_once(reader, cursor, ["b"])
            await poll_once(reader, cursor, [])

    async def poll_once(reader, cursor, expected):
        result = await reader.poll([cursor])
        assert sorted(cursor.new_in(result).reports) == expected
        return cursor.advance_past(result)

    asyncio.run(in_a_trigger())
    with EventReader("pindo_default") as reader:
        cursor = EventCursor(DELIVERY_REPORT)
        result = reader.poll([cursor])
        assert sorted(cursor.new_in(result).reports) == ["a", "b"]
        after = cursor.advance_past(result)
        assert not after.new_in(reader.poll([after])).reports


def test_when_the_table_is_lost_what_comes_then_is_read_and_a_log_says_so(server, monkeypatch, caplog):
    from airflow import settings

    from airflow_provider_pindo.api.webhooks import Webhook
    from airflow_provider_pindo.plugins import _event_table
    from airflow_provider_pindo.plugins import _events as route

    monkeypatch.setattr(_event_table, "OVERLAP", 0.0)
    monkeypatch.setattr(route, "_CLAIMING", timedelta(0))
    began = datetime.now(UTC)
    sent = {"id": "out_7", "to": "+250781234567", "text": "Muraho", "created_at": began.isoformat()}
    add("a", "b", "c")
    with EventReader("pindo_default") as reader:
        cursor = EventCursor(DELIVERY_REPORT)
        cursor = cursor.advance_past(reader.poll([cursor]))
        _event_table.TABLE.drop(settings.engine)
        _event_table.create_table()
        add("d")
        _event_table.add("pindo_default", Webhook("sent", "out_7"), json.dumps(sent))
        assert [*cursor.new_in(reader.poll([cursor])).reports] == ["d"]
        for _ in range(2):
            [([event], page)] = reader.iter_new_sent(began, after=cursor.after_id)
            assert event.sms_id == "out_7"
            assert page.stable_id == event.event_id < cursor.after_id
    assert caplog.text.count("begin anew") == 3


def test_more_than_one_page_is_read(server, monkeypatch):
    from airflow_provider_pindo.plugins import _event_table

    monkeypatch.setattr(_event_table, "_MAX_PAGE_BYTES", 20)
    add("a", "b", "c")
    with EventReader("pindo_default") as reader:
        assert [event.sms_id for event in reader.read(EventFilter())] == ["a", "b", "c"]


async def both_errors(kind: type[Exception]) -> str:
    """Return the message that both readers raise."""
    with EventReader("pindo_default") as reader, pytest.raises(kind) as sync_error:
        reader.read(EventFilter())
    async with AsyncEventReader("pindo_default") as reader:
        with pytest.raises(kind) as async_error:
            await reader.poll([EventCursor(DELIVERY_REPORT)])
    assert str(sync_error.value) == str(async_error.value)
    message = str(sync_error.value)
    assert message.startswith(
        "cannot read the webhook events of connection 'pindo_default' from http://127.0.0.1:"
    )
    assert "Pindo returned" not in message + sync_error.value.summary
    assert reading_token(SECRET, "pindo_default") not in message
    return message


async def test_another_secret_is_said_to_be_another_secret(server, monkeypatch):
    from airflow_provider_pindo.plugins import _auth

    monkeypatch.setattr(_auth, "_read_tokens", lambda conn_id: _auth._Tokens())
    assert "webhook_secret must be the same" in await both_errors(PindoAuthError)


async def test_an_api_server_without_webhooks_is_said_to_have_none(server, monkeypatch):
    monkeypatch.setenv("AIRFLOW__PINDO__API_URL", f"{api_url()}/elsewhere")
    assert "[pindo] webhooks = True for the API server" in await both_errors(PindoNotFoundError)


def test_a_connection_that_the_api_server_does_not_find_may_be_found_later(server, monkeypatch):
    monkeypatch.setenv("AIRFLOW__PINDO__API_URL", f"{api_url()}/elsewhere")
    with EventReader("pindo_default") as reader, pytest.raises(PindoNotFoundError) as missing:
        reader.read(EventFilter())
    assert (missing.value.retry_helps, missing.value.status) == (True, 404)


@pytest.mark.parametrize("kind", [PindoNotFoundError, PindoServerError])
def test_an_error_of_the_api_server_keeps_its_facts(kind):
    facts = {"status": 404, "reason": "no such page"}
    error = _events._explain(kind("there is none", **facts), "pindo_default", "http://127.0.0.1")
    assert isinstance(error, kind)
    assert {name: getattr(error, name) for name in facts} == facts


async def test_a_failing_api_server_is_asked_again_and_then_named(server, monkeypatch):
    from airflow_provider_pindo.hooks import pindo
    from airflow_provider_pindo.plugins import _event_table

    reads = []

    def fail(*_):
        reads.append(1)
        raise _event_table.DatabaseError("OperationalError")

    monkeypatch.setattr(_event_table, "read", fail)
    monkeypatch.setattr(pindo, "retry_delay", lambda error, number, most: 0.0 if number < 3 else None)
    assert "it returned 503" in await both_errors(PindoServerError)
    assert len(reads) == 6


async def test_an_api_server_that_is_away_is_named(connection, monkeypatch):
    from airflow_provider_pindo.hooks import pindo

    monkeypatch.setattr(pindo, "retry_delay", lambda *_: None)
    monkeypatch.setenv("AIRFLOW__PINDO__API_URL", "http://127.0.0.1:1")
    assert "Check [pindo] api_url" in await both_errors(PindoConnectionError)


def test_without_a_secret_or_with_webhooks_off_nothing_is_asked(connection, monkeypatch):
    monkeypatch.setenv("AIRFLOW__PINDO__WEBHOOKS", "False")
    with pytest.raises(PindoConfigurationError, match="webhooks are off: set"):
        EventReader("pindo_default")
    monkeypatch.setenv("AIRFLOW__PINDO__WEBHOOKS", "True")
    monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", json.dumps({"conn_type": "pindo", "password": "token"}))
    with pytest.raises(PindoConfigurationError, match="has no webhook_secret: write a random text"):
        EventReader("pindo_default")


def test_an_older_airflow_is_refused_in_one_clear_error(connection, monkeypatch):
    monkeypatch.setattr(_webhook_config, "AIRFLOW_V_3_1_PLUS", False)
    with pytest.raises(PindoConfigurationError, match=r"\[pindo\] webhooks needs Airflow 3\.1 or later"):
        check_webhooks()


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({"PINDO__API_URL": "http://api:8080/"}, "http://api:8080"),
        ({"CORE__EXECUTION_API_SERVER_URL": "http://api:8080/execution/"}, "http://api:8080"),
        (
            {"CORE__EXECUTION_API_SERVER_URL": "https://a.example/airflow/execution"},
            "https://a.example/airflow",
        ),
        ({"API__BASE_URL": "https://a.example/airflow/"}, "https://a.example/airflow"),
        ({"API__BASE_URL": "/airflow"}, "http://localhost:8080/airflow"),
        ({}, "http://localhost:8080"),
    ],
)
def test_the_address_of_the_api_server_is_the_one_that_tasks_use(monkeypatch, environment, url):
    for name, value in environment.items():
        monkeypatch.setenv(f"AIRFLOW__{name}", value)
    assert api_url() == url


@pytest.mark.parametrize(("days", "kept"), [(None, 30), ("7", 7), ("0", 1), ("-3", 1), ("9" * 9, 36_500)])
def test_events_are_kept_for_at_least_a_day(monkeypatch, days, kept):
    if days is not None:
        monkeypatch.setenv("AIRFLOW__PINDO__WEBHOOK_RETENTION_DAYS", days)
    assert retention_days() == kept


@pytest.mark.parametrize("days", ["a month", "7.5", ""])
def test_a_retention_that_is_no_number_is_named(monkeypatch, days):
    monkeypatch.setenv("AIRFLOW__PINDO__WEBHOOK_RETENTION_DAYS", days)
    with pytest.raises(PindoConfigurationError, match=rf"webhook_retention_days is {days!r}: set it to"):
        retention_days()


@pytest.mark.parametrize("secret", ["né", "a\nb", 12345, ["x"]])
def test_an_error_about_the_secret_does_not_show_it(secret):
    class Given:
        conn_id = "pindo_default"
        extra = json.dumps({"webhook_secret": secret})

    with pytest.raises(PindoConfigurationError, match="cannot be sent in a header") as caught:
        read_webhook_secret(Given())
    assert str(secret) not in str(caught.value)


@pytest.mark.parametrize("option", ["SSL_CERT", "SSL_CA_FILE"])
@pytest.mark.parametrize("public", ["True", "False"])
def test_the_certificate_of_the_api_server_is_trusted_as_airflows_tasks_trust_it(
    server, monkeypatch, tls, certificate, option, public
):
    add("a")
    with Relay(api_url(), tls=tls) as relay:
        monkeypatch.setenv("AIRFLOW__PINDO__API_URL", relay.url)
        with EventReader("pindo_default") as reader, pytest.raises(PindoConnectionError, match="certificate"):
            reader.read(EventFilter())
        monkeypatch.setenv(f"AIRFLOW__API__{option}", certificate[0])
        monkeypatch.setenv("AIRFLOW__API__CLIENT_USE_PUBLIC_CERTS", public)
        with EventReader("pindo_default") as reader:
            assert len(reader.read(EventFilter())) == 1
        assert len(asyncio.run(poll()).reports) == 1


def test_a_client_certificate_is_shown_to_the_api_server(server, monkeypatch, tls, certificate):
    tls.load_verify_locations(certificate[0])
    tls.verify_mode = ssl.CERT_REQUIRED
    with Relay(api_url(), tls=tls) as relay:
        monkeypatch.setenv("AIRFLOW__PINDO__API_URL", relay.url)
        monkeypatch.setenv("AIRFLOW__API__SSL_CERT", certificate[0])
        monkeypatch.setenv("AIRFLOW__API__CLIENT_SSL_CERT", certificate[0])
        monkeypatch.setenv("AIRFLOW__API__CLIENT_SSL_KEY", certificate[1])
        with EventReader("pindo_default") as reader:
            assert reader.read(EventFilter()) == []


async def poll():
    async with AsyncEventReader("pindo_default") as reader:
        return await reader.poll([EventCursor(DELIVERY_REPORT)])
