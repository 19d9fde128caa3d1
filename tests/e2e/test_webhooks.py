"""Webhooks in a real API server: nothing that was answered 2xx is lost, and no log has a secret, a text or a number."""

from __future__ import annotations

import json
import re
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta

import pytest
import requests

from airflow_provider_pindo.api.webhooks import posting_token, reading_token
from demo.api_server import ApiServer
from demo.deployment import AIRFLOW_VERSION
from demo.rest import wait_until
from tests.databases import new_database

pytestmark = pytest.mark.skipif(AIRFLOW_VERSION < 3, reason="Airflow 2.11 has no apps of plugins")


#: Of a connection in Airflow's database.
STORED_SECRET, STORED_TOKEN = "a-secret-in-the-database-0123456789", "a-token-in-the-database-0123456789"


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.databases)])
def server(
    request: pytest.FixtureRequest, sigterm_is_heard: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ApiServer]:
    """An API server with webhooks off."""
    settings = {"AIRFLOW__PINDO__WEBHOOKS": "False"}
    with ExitStack() as stack:
        database = None if request.param == "sqlite" else stack.enter_context(new_database(request.param))
        folder = tmp_path_factory.mktemp("dags")
        yield stack.enter_context(ApiServer(folder, database=database, settings=settings))


@pytest.fixture(scope="module")
def off(server: ApiServer) -> dict[str, object]:
    """What the API server says and has while webhooks are off."""
    headers = {"X-Webhook-Secret": server.webhook_secret}
    methods = {
        method: call(method, server.webhook_url, headers=headers, json={}).status_code
        for method in ("POST", "GET", "PUT")
    }
    token = {"Authorization": f"Bearer {reading_token(server.webhook_secret, 'pindo_default')}"}
    reading = call("POST", f"{server.url}/pindo/events/pindo_default", headers=token, json={}).status_code
    return {**methods, "reading": reading, "tables": tables(server)}


@pytest.fixture(scope="module")
def on(server: ApiServer, off: dict[str, object]) -> ApiServer:
    """The same API server with webhooks on."""
    server.settings["AIRFLOW__PINDO__WEBHOOKS"] = "True"
    server.restart()
    return server


def call(method: str, url: str, **kwargs: object) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.request(method, url, timeout=60, **kwargs)


def tables(server: ApiServer) -> set[str]:
    if (database := server.settings.get("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN")) is not None:
        from sqlalchemy import create_engine, inspect

        engine = create_engine(database)
        try:
            return set(inspect(engine).get_table_names())
        finally:
            engine.dispose()
    with closing(sqlite3.connect(server.home / "airflow.db")) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}


def test_while_webhooks_are_off_there_is_no_receiver_and_no_table(off):
    assert "pindo_webhook_event" not in off.pop("tables")
    assert off == {"POST": 404, "GET": 404, "PUT": 404, "reading": 404}


def test_the_table_does_not_disturb_airflows_own_checks(on):
    assert "pindo_webhook_event" in tables(on)
    on.airflow("db", "check-migrations", "--migration-wait-timeout", "10")
    on.airflow("db", "migrate")
    assert "pindo_webhook_event" in tables(on)


def test_what_the_sandbox_tells_reaches_the_table_by_header_and_by_address(on):
    on.sandbox.reset()
    on.sandbox.set_webhooks(
        on.webhook_address, on.webhook_url, headers={"X-Webhook-Secret": on.webhook_secret}
    )
    send(on, "+250781234567", "Muraho")
    on.sandbox.set_webhooks(on.webhook_address, on.webhook_address, method="GET")
    send(on, "+250781234568", "Muraho!")
    wait_until(lambda: len(on.events(kinds=["delivery_report"])) >= 2, "both reports came", timeout=30)
    sent = on.events(kinds=["sent"])
    assert [event["body"]["to"] for event in sent] == ["+250781234567", "+250781234568"]
    reported = on.events(sms_ids=[event["sms_id"] for event in sent], kinds=["delivery_report"])
    assert {event["sms_id"] for event in reported} == {event["sms_id"] for event in sent}
    on.sandbox.set_webhooks()


def send(server: ApiServer, to: str, text: str) -> None:
    call(
        "POST",
        f"{server.sandbox.url}/v1/sms/",
        json={"to": to, "text": text, "sender": "PindoTest"},
        headers={"Authorization": f"Bearer {server.sandbox.token}"},
    ).raise_for_status()


def test_a_connection_in_airflows_database_serves_too_and_its_secret_is_not_shown(on):
    secret = STORED_SECRET
    connection = {
        "connection_id": "pindo_stored",
        "conn_type": "pindo",
        "password": STORED_TOKEN,
        "extra": json.dumps({"webhook_secret": secret}),
    }
    on.rest.request("POST", "/connections", json=connection)
    shown = on.rest.request("GET", "/connections/pindo_stored")
    assert secret not in json.dumps(shown)
    assert STORED_TOKEN not in json.dumps(shown)
    url = f"{on.url}/pindo/webhooks/pindo_stored"
    assert call("POST", url, json={}, headers={"Authorization": f"Bearer {secret}"}).status_code == 200
    printed = on.run("airflow_provider_pindo.plugins", "url", "--conn-id", "pindo_stored")
    address = printed.splitlines()[-1].split()[-1]
    assert address == f"{url}?token={posting_token(secret, 'pindo_stored')}"
    assert call("POST", address, json={}).status_code == 200


def test_what_is_too_large_or_for_no_connection_is_refused(on):
    headers = {"X-Webhook-Secret": on.webhook_secret}
    before = len(on.events())
    for size, status in ((64 * 1024, 200), (64 * 1024 + 1, 413)):
        body = b'{"text": "' + b"x" * (size - 12) + b'"}'
        assert call("POST", on.webhook_url, data=body, headers=headers).status_code == status
    for method in ("POST", "GET"):
        url = f"{on.url}/pindo/webhooks/no_such"
        assert call(method, url, json={}, headers=headers).status_code == 404
        assert call(method, url, json={}).status_code == 401
    assert len(on.events()) == before + 1


def test_old_events_are_deleted_when_the_api_server_starts(on):
    age = {f"aged-{days}": datetime.now(UTC) - timedelta(days=days) for days in (29, 31, 400)}
    add_events(on, age)
    assert set(age) <= {event["sms_id"] for event in on.events()}
    on.restart()
    wait_until(
        lambda: {event["sms_id"] for event in on.events()} & set(age) == {"aged-29"},
        "the two that are older than 30 days are gone",
        timeout=60,
    )


def add_events(server: ApiServer, received_at: dict[str, datetime]) -> None:
    """Write events of the past into the table, by their ids."""
    from sqlalchemy import create_engine

    from airflow_provider_pindo.plugins._event_table import TABLE

    url = server.settings.get("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", f"sqlite:///{server.home}/airflow.db")
    values = {"conn_id": "pindo_default", "kind": "delivery_report", "status": "DELIVRD", "body": "{}"}
    rows = [{**values, "sms_id": sms_id, "received_at": moment} for sms_id, moment in received_at.items()]
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            connection.execute(TABLE.insert(), rows)
    finally:
        engine.dispose()


def test_a_burst_of_a_thousand_with_the_api_server_killed_loses_nothing_that_was_answered_2xx(on):
    """Eight clients post a thousand reports. What got no 2xx is posted again, as Pindo would not."""
    accepted: set[str] = set()
    killed = threading.Event()

    def post(sms_id: str) -> None:
        try:
            answer = call("POST", on.webhook_address, json={"sms_id": sms_id, "status": "DELIVRD"})
        except requests.RequestException:
            return
        if answer.ok:
            accepted.add(sms_id)
            if len(accepted) >= 300:
                killed.set()

    ids = [f"burst-{number}" for number in range(1000)]
    with ThreadPoolExecutor(8) as clients:
        futures = [clients.submit(post, sms_id) for sms_id in ids]
        killed.wait(timeout=120)
        on.kill("api-server")
        for future in futures:
            future.result()
    before = set(accepted)
    assert 300 <= len(before) < 1000
    on.start("api-server")
    on.wait_until_ready()
    assert before <= {event["sms_id"] for event in on.events(kinds=["delivery_report"])}
    with ThreadPoolExecutor(8) as clients:
        list(clients.map(post, [sms_id for sms_id in ids if sms_id not in before]))
    assert accepted == set(ids)
    kept = [event["sms_id"] for event in on.events(kinds=["delivery_report"])]
    assert set(ids) <= set(kept)


def test_no_log_has_a_secret_a_text_or_a_number(on):
    number, text = "+250781239999", "Umubare wawe ni 90210"
    body = {"from": number, "to": "7878", "text": text}
    headers = {"Authorization": f"Bearer {on.webhook_secret}"}
    assert call("POST", on.webhook_url, json=body, headers=headers).status_code == 200
    assert (
        call("POST", on.webhook_url, json=body, headers={"X-Webhook-Secret": "wrong-secret"}).status_code
        == 401
    )
    assert call("POST", on.webhook_address, json=body).status_code == 200
    assert call("POST", on.webhook_url, data=f"{text} {number}", headers=headers).status_code == 400
    assert [event["body"]["from"] for event in on.events(kinds=["inbound"])].count(number) == 2
    assert call("POST", f"{on.url}/pindo/events/pindo_default", json={"to": number}).status_code == 401
    # Earlier tests, too: the sandbox has told of these by POST and by GET, whose parameters are in the address.
    private = [number[4:], "90210", "Umubare", "781234567", "781234568", "Muraho"]
    private += [on.webhook_secret, "wrong-secret", reading_token(on.webhook_secret, "pindo_default")]
    private += [on.sandbox.token, STORED_SECRET, STORED_TOKEN]
    log = on.component_log("api-server").read_text(encoding="utf-8", errors="replace")
    for method in ("POST", "GET"):
        assert re.search(rf"{method}\b.*/pindo/webhooks/pindo_default", log), "the access log has them"
    files = [
        file for folder in ("components", "logs") for file in (on.home / folder).rglob("*") if file.is_file()
    ]
    assert on.component_log("api-server") in files
    for file in files:
        content = file.read_text(encoding="utf-8", errors="replace")
        if file.name == "sandbox.log":  # it begins with the connection
            content = content.replace(on.sandbox.token, "", 1)
        for each in private:
            assert each not in content, (file.name, each)
