"""Who is let in while connections cannot be looked up, and what the access log shows of an address."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest
from airflow import settings
from airflow.exceptions import AirflowException
from airflow.utils.session import create_session
from fastapi import FastAPI, HTTPException
from fastapi.testclient import TestClient
from sqlalchemy import create_engine, delete
from sqlalchemy.exc import OperationalError

from airflow_provider_pindo._inbox.events import EventFilter, list_events
from airflow_provider_pindo.api.webhooks import reading_token
from airflow_provider_pindo.plugins import _auth, _connections, _event_table, _receiver
from airflow_provider_pindo.plugins._app import create_app
from tests.plugins.conftest import POSTING, SECRET, ask, events, post
from tests.versions import needs_teams

REPORT = {"sms_id": "out_sms_01H7", "status": "DELIVRD"}
ADDRESS = "/pindo/webhooks/pindo_default"
SENT = {"text": "Reba 4821", "to": "+250781234567", "sender": "PindoTest"}
SHOWN = ("4821", "Reba", "250781234567", "token", POSTING)


@pytest.fixture
def clock(monkeypatch):
    """The seconds that have passed for what is remembered."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(_auth, "time", clock)
    return clock


@pytest.fixture
def no_database(monkeypatch):
    """Airflow's database is away: its folder does not exist."""
    engine = create_engine("sqlite:////no/such/folder/airflow.db")
    monkeypatch.setattr(settings, "engine", engine)
    monkeypatch.setattr(_event_table, "_PAUSE", 0.0)
    yield
    engine.dispose()


@pytest.fixture
def team_connection(client, monkeypatch):
    """A connection of a team, in Airflow's database."""
    from airflow.models.connection import Connection
    from airflow.models.team import Team

    monkeypatch.setenv("AIRFLOW__CORE__MULTI_TEAM", "True")
    extra = json.dumps({"webhook_secret": SECRET})
    with create_session() as session:
        session.add(Team(name="clinic"))
        session.flush()
        session.add(Connection("clinic_sms", "pindo", extra=extra, team_name="clinic"))
    yield
    with create_session() as session:
        session.execute(delete(Connection))
        session.execute(delete(Team))


@needs_teams
def test_an_error_of_the_database_of_teams_shows_no_query(team_connection, monkeypatch):
    def fail(conn_id):
        raise OperationalError("SELECT", {"id": "clinic_sms"}, Exception("server closed"))

    monkeypatch.setattr(_connections.StoredConnection, "get_team_name", fail)
    with pytest.raises(AirflowException, match=r"^OperationalError$"):
        _connections.team_of("clinic_sms")


@needs_teams
def test_a_connection_of_a_team_receives_webhooks(client, team_connection):
    assert post(client, REPORT, conn_id="clinic_sms").status_code == 200
    assert post(client, REPORT, conn_id="clinic_sms", headers={"X-Webhook-Secret": "no"}).status_code == 401
    assert post(client, REPORT).status_code == 200
    assert post(client, REPORT, conn_id="no_such").status_code == 404


def test_a_known_connection_that_is_not_found_keeps_its_tokens_for_a_minute(
    client, clock, monkeypatch, caplog
):
    assert post(client, REPORT).status_code == 200
    connection = json.dumps({"conn_type": "pindo", "extra": {"webhook_secret": SECRET}})
    clock.now += 3600
    monkeypatch.delenv("AIRFLOW_CONN_PINDO_DEFAULT")
    assert post(client, REPORT).status_code == 200
    clock.now += 59
    assert ask(client).status_code == 200
    assert "Connection 'pindo_default' is not found now" in caplog.text
    assert post(client, REPORT, headers={"X-Webhook-Secret": "wrong"}).status_code == 401
    monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", connection)
    clock.now += 11
    assert post(client, REPORT).status_code == 200
    clock.now += 3600
    monkeypatch.delenv("AIRFLOW_CONN_PINDO_DEFAULT")
    assert post(client, REPORT).status_code == 200
    clock.now += 61
    assert [post(client, REPORT).status_code, post(client, REPORT).status_code] == [404, 404]
    monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", connection)
    assert len(events(client)) == 4


def test_a_known_connection_that_becomes_another_type_is_refused_at_once(client, clock, monkeypatch):
    assert post(client, REPORT).status_code == 200
    clock.now += 11
    extra = {"webhook_secret": SECRET}
    monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", json.dumps({"conn_type": "http", "extra": extra}))
    assert post(client, REPORT).status_code == 404


def test_without_its_database_airflow_finds_no_connection_and_nobody_is_told_that_there_is_none(
    client, no_database, caplog
):
    assert post(client, REPORT, "no_such").status_code == 503
    assert (
        "Connection 'no_such' cannot be looked up, since the database is away: OperationalError"
        in caplog.text
    )
    assert post(client, REPORT, "no_such", headers={}).status_code == 401


class Log:
    """Records an address after the response, as Airflow's access log does, and when it starts, as uvicorn's does."""

    def __init__(self, app):
        self.app = app
        self.seen: list[str] = []

    async def __call__(self, scope, receive, send):
        async def note(message):
            self.seen.append(str(scope["query_string"]))
            await send(message)

        try:
            await self.app(scope, receive, note)
        finally:
            self.seen.append(str(scope["query_string"]))


@pytest.fixture
def outer(client) -> tuple[TestClient, Log]:
    """The app where Airflow mounts it, and a log around it."""
    airflow = FastAPI()
    airflow.mount("/pindo", create_app())
    log = Log(airflow)
    return TestClient(log, raise_server_exceptions=False), log


@pytest.mark.parametrize(
    ("path", "parameters", "status"),
    [
        (ADDRESS, {**SENT, "token": POSTING}, 200),
        (ADDRESS, {**SENT, "token": "wrong"}, 401),
        (ADDRESS, SENT, 401),
        (ADDRESS, {"token": POSTING}, 400),
        (f"{ADDRESS}/", {**SENT, "token": POSTING}, 200),
        ("/pindo/webhooks/no_such", {**SENT, "token": POSTING}, 404),
        ("/pindo/webhooks/a/b", SENT, 401),
        ("/pindo/no_such/a/b", SENT, 404),
    ],
)
def test_no_access_log_sees_a_text_a_number_or_a_token(outer, path, parameters, status):
    client, log = outer
    assert client.get(path, params=parameters, follow_redirects=False).status_code == status
    assert set(log.seen) == {"b''"}
    assert client.head(path, params=parameters).status_code >= 400
    assert set(log.seen) == {"b''"}


def test_no_access_log_sees_them_while_webhooks_are_off(client, monkeypatch):
    monkeypatch.setenv("AIRFLOW__PINDO__WEBHOOKS", "False")
    airflow = FastAPI()
    airflow.mount("/pindo", create_app())
    log = Log(airflow)
    assert TestClient(log).get(ADDRESS, params={**SENT, "token": POSTING}).status_code == 404
    assert set(log.seen) == {"b''"}


def test_an_error_of_the_receiver_itself_leaves_nothing_in_the_log_either(outer, monkeypatch):
    client, log = outer

    def fail(_):
        raise ZeroDivisionError

    monkeypatch.setattr(_receiver, "read_webhook", fail)
    assert client.get(ADDRESS, params={**SENT, "token": POSTING}).status_code == 500
    assert set(log.seen) == {"b''"}


def test_airflows_own_access_log_shows_the_webhook_without_its_parameters(client, monkeypatch):
    access = pytest.importorskip("airflow.api_fastapi.common.http_access_log")
    lines = []

    class Logger:
        def info(self, _, **fields):
            lines.append(fields)

    monkeypatch.setattr(access, "logger", Logger())
    airflow = FastAPI()
    airflow.mount("/pindo", create_app())
    airflow.add_middleware(access.HttpAccessLogMiddleware)
    response = TestClient(airflow).get(ADDRESS, params={**SENT, "token": POSTING})
    assert response.json() == {"kind": "sent"}
    (line,) = lines
    assert (line["path"], line["query"], line["status_code"]) == (ADDRESS, "", 200)
    assert not [shown for shown in SHOWN if shown in str(line)]


async def test_names_that_a_stranger_makes_up_do_not_delay_a_real_webhook(client, clock, monkeypatch):
    callers = _auth.Callers()
    assert (await callers._tokens("pindo_default", 0)).secret == SECRET
    slow, read_tokens = threading.Event(), _auth._read_tokens

    def read(conn_id):
        return read_tokens(conn_id) if conn_id == "pindo_default" else slow.wait(20) and None

    monkeypatch.setattr(_auth, "_read_tokens", read)
    flood = [asyncio.create_task(callers._tokens(f"made_up_{number}", 0)) for number in range(100)]
    try:
        await asyncio.sleep(0.5)
        async with asyncio.timeout(2):
            assert (await callers._tokens("pindo_default", 0)).secret == SECRET
        refused = [task.exception().status_code for task in flood if task.done()]
        assert refused == [503] * (100 - _auth._MAX_FIRST_LOOKUPS)
    finally:
        slow.set()
        await asyncio.gather(*flood, return_exceptions=True)


@pytest.fixture
def lookups(client, clock, monkeypatch):
    """The lookups of a secrets backend that takes a while."""
    names, read_tokens = [], _auth._read_tokens

    def read(conn_id):
        names.append(conn_id)
        threading.Event().wait(0.1)
        return read_tokens(conn_id)

    monkeypatch.setattr(_auth, "_read_tokens", read)
    return names


@pytest.mark.parametrize("age", [0, 10.5])
async def test_callers_of_one_connection_share_a_lookup(lookups, clock, age):
    callers = _auth.Callers()
    await callers._tokens("pindo_default", 0)
    lookups.clear()
    clock.now += age
    shared = await asyncio.gather(*(callers._tokens("pindo_default", 0) for _ in range(40)))
    assert ({tokens.secret for tokens in shared}, lookups) == ({SECRET}, ["pindo_default"])


async def test_a_caller_that_leaves_takes_no_lookup_from_the_others(lookups):
    callers = _auth.Callers()
    first = asyncio.create_task(callers._tokens("pindo_default", 0))
    second = asyncio.create_task(callers._tokens("pindo_default", 0))
    await asyncio.sleep(0.02)
    first.cancel()
    assert (await second).secret == SECRET
    assert lookups == ["pindo_default"]
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_callers_share_the_answer_that_there_is_no_connection(lookups):
    callers = _auth.Callers()
    answers = await asyncio.gather(
        *(callers._tokens("no_such", 0) for _ in range(20)), return_exceptions=True
    )
    assert ({answer.status_code for answer in answers}, lookups) == ({404}, ["no_such"])


async def test_while_a_connection_is_not_found_one_lookup_in_ten_seconds_serves_its_webhooks(
    lookups, clock, monkeypatch, caplog
):
    callers = _auth.Callers()
    await callers._tokens("pindo_default", 0)
    monkeypatch.delenv("AIRFLOW_CONN_PINDO_DEFAULT")
    clock.now += 11
    lookups.clear()
    for _ in range(4):  # within 40 s
        for _ in range(10):
            assert (await callers._tokens("pindo_default", 10)).secret == SECRET
        clock.now += 10
    assert lookups == ["pindo_default"] * 4
    assert caplog.text.count("is not found now") == 1
    clock.now += 20.5
    with pytest.raises(HTTPException):
        await callers._tokens("pindo_default", 10)


def test_wrong_requests_cost_one_lookup_a_second(client, lookups, clock):
    assert post(client, REPORT).status_code == 200
    lookups.clear()
    clock.now += 1.5
    wrong = {"X-Webhook-Secret": "wrong"}
    assert {post(client, REPORT, headers=wrong).status_code for _ in range(10)} == {401}
    assert lookups == ["pindo_default"]


def test_a_connection_with_a_slash_in_its_name_receives_and_is_read(client, monkeypatch):
    value = {"conn_type": "pindo", "extra": {"webhook_secret": SECRET}}
    monkeypatch.setenv("AIRFLOW_CONN_CLINIC/PINDO", json.dumps(value))
    assert post(client, REPORT, "clinic%2Fpindo").status_code == 200
    call = list_events("clinic/pindo", EventFilter())
    token = reading_token(SECRET, "clinic/pindo")
    response = client.post(
        call.path.removeprefix("/pindo"), json=call.json, headers={"Authorization": f"Bearer {token}"}
    )
    assert [event["sms_id"] for event in response.json()["events"]] == ["out_sms_01H7"]
