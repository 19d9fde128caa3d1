"""The webhook receiver: what is kept, and what is refused, in an app of its own on SQLite."""

from __future__ import annotations

import hmac
import json
import logging
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from fastapi.testclient import TestClient

from airflow_provider_pindo.plugins import _auth, _event_table, _receiver
from airflow_provider_pindo.plugins._app import create_app
from airflow_provider_pindo.plugins._receiver import MAX_BODY
from tests.plugins.conftest import POSTING, READING, SECRET, events, post
from tests.test_house_rules import loaded_by

REPORT = {
    "sms_id": "out_sms_01H7",
    "modified_at": "2026-06-10T09:04:31",
    "retries_count": 0,
    "status": "DELIVRD",
}
OLDER_REPORT = {
    "status": "DELIVRD",
    "sms_id": 1058918,
    "modified_at": "24-07-2020, 23:35:32",
    "retries_count": 0,
}
SENT = {
    "id": "out_sms_01H7",
    "text": "Reba 4821 😀",
    "sender": "PindoTest",
    "created_at": "2026-06-10T09:04:12",
    "to": "+250781234567",
}
DEEP = b'{"a":' * 101 + b"1" + b"}" * 101
INBOUND = {"from": "+250781234567", "to": "7878", "sms_id": 1058918, "text": "Yego", "telco": "MTN"}


@pytest.mark.parametrize(
    ("body", "kind", "sms_id", "status"),
    [
        (REPORT, "delivery_report", "out_sms_01H7", "DELIVRD"),
        (OLDER_REPORT, "delivery_report", "1058918", "DELIVRD"),
        (SENT, "sent", "out_sms_01H7", None),
        (INBOUND, "inbound", "1058918", None),
        ({"hello": [1, {"a": None}]}, "unknown", None, None),
        ({}, "unknown", None, None),
    ],
    ids=["report", "older report", "sent", "inbound", "unknown", "empty"],
)
def test_every_readable_webhook_is_kept_as_it_came(client, body, kind, sms_id, status):
    before = datetime.now(UTC)
    response = post(client, body)
    assert (response.status_code, response.json()) == (200, {"kind": kind})
    (event,) = events(client)
    assert (event["kind"], event["sms_id"], event["body"]) == (kind, sms_id, body)
    assert _event_table.read_reports({sms_id} - {None}, before) == ({(sms_id, status)} if status else set())
    assert before <= datetime.fromisoformat(event["received_at"]) <= datetime.now(UTC)


def test_an_inbound_message_that_comes_again_with_its_keys_in_another_order_is_not_read_again(client):
    post(client, INBOUND)
    first = events(client, kinds=["inbound"])
    post(client, dict(reversed(INBOUND.items())))
    post(client, json.dumps(INBOUND, indent=1))
    client.get("/webhooks/pindo_default", params={**INBOUND, "token": POSTING})  # its number is a text
    after = events(client, kinds=["inbound"], after=first[0]["id"])
    assert [event["body"] for event in after] == [{**INBOUND, "sms_id": "1058918"}]


def test_a_body_with_what_no_column_can_hold_is_kept_too(client):
    bodies = [
        '{"sms_id": "a\\u0000b", "status": "DELIVRD"}',
        '{"sms_id": "' + "9" * 500 + '", "status": "DELIVRD"}',
        '{"sms_id": ' + "9" * 5000 + "}",
        '{"text": "\\ud83d", "from": "+250781234567", "amount": 1e999}',
        b"\xef\xbb\xbf" + b'  {"byte order mark": true}\n',
    ]
    for body in bodies:
        assert post(client, body).status_code == 200
    kept = events(client)
    assert [event["sms_id"] for event in kept] == [None] * len(bodies)
    assert [event["kind"] for event in kept] == ["unknown", "unknown", "unknown", "inbound", "unknown"]
    assert kept[0]["body"]["sms_id"] == "a\0b"
    assert kept[2]["body"]["sms_id"] == "9" * 5000
    assert kept[3]["body"]["amount"] == "1e999"


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Webhook-Secret": SECRET},
        {"Authorization": f"Bearer {SECRET}"},
        {"authorization": f"bearer {SECRET}"},
        {"X-Webhook-Secret": "another", "Authorization": f"Bearer {SECRET}"},
    ],
)
def test_the_secret_is_taken_from_either_header(client, headers):
    assert post(client, REPORT, headers=headers).status_code == 200
    assert client.get("/webhooks/pindo_default?status=DELIVRD&sms_id=7", headers=headers).status_code == 200
    assert len(events(client)) == 2


def test_the_token_in_the_address_allows_to_post_and_nothing_else(client):
    assert post(client, REPORT, headers={}, params={"token": POSTING}).status_code == 200
    assert POSTING != SECRET
    assert POSTING != READING
    for headers in ({"Authorization": f"Bearer {POSTING}"}, {"X-Webhook-Secret": POSTING}):
        assert client.post("/events/pindo_default", json={}, headers=headers).status_code == 401
        assert post(client, REPORT, headers=headers).status_code == 401
    assert client.post("/events/pindo_default", json={}, params={"token": POSTING}).status_code == 401


@pytest.mark.parametrize(
    "given",
    [
        {"headers": {}},
        {"headers": {"X-Webhook-Secret": ""}},
        {"headers": {"Authorization": "Bearer "}},
        {"headers": {"Authorization": f"Basic {SECRET}"}},
        {"headers": {"X-Webhook-Secret": f"{SECRET}4"}},
        {"headers": {"X-Webhook-Secret": "é".encode()}},
        {"headers": {"X-Webhook-Secret": READING}},
        {"headers": {}, "params": {"token": ""}},
        {"headers": {}, "params": {"token": SECRET}},
        {"headers": {}, "params": {"token": READING}},
    ],
)
def test_whoever_has_no_secret_is_refused_and_nothing_is_kept(client, given):
    for response in (post(client, REPORT, **given), client.get("/webhooks/pindo_default", **given)):
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"
    assert events(client) == []


@pytest.mark.parametrize("secret", ["", "   ", None, 12345, "né"])
def test_a_connection_without_a_usable_secret_accepts_nobody(client, monkeypatch, caplog, secret):
    extra = {"webhook_secret": secret}
    monkeypatch.setenv("AIRFLOW_CONN_PINDO_OTHER", json.dumps({"conn_type": "pindo", "extra": extra}))
    for value in (b"", b"   ", b"None", b"12345", "né".encode()):
        assert post(client, REPORT, "pindo_other", headers={"X-Webhook-Secret": value}).status_code == 401
    assert "12345" not in caplog.text


def test_every_comparison_with_a_secret_or_token_takes_constant_time(client, monkeypatch):
    """Of text, ``==`` ends at the first character that differs. So the tokens forbid it here."""
    compared = []

    class Token(str):
        __hash__ = str.__hash__

        def __eq__(self, other):
            raise AssertionError("compared with ==")

    def compare(given, expected):
        compared.append(expected)
        return hmac.compare_digest(given, expected)

    tokens = _auth._Tokens(Token(SECRET), Token(POSTING), Token(READING))
    monkeypatch.setattr(_auth, "_read_tokens", lambda conn_id: tokens)
    monkeypatch.setattr(_auth, "hmac", SimpleNamespace(compare_digest=compare))
    assert post(client, REPORT).status_code == 200
    assert post(client, REPORT, headers={}, params={"token": POSTING}).status_code == 200
    assert post(client, REPORT, headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert len(events(client)) == 2
    assert set(compared) == {SECRET.encode(), POSTING.encode(), READING.encode()}


def test_what_is_no_pindo_connection_is_not_there_and_without_credentials_nothing_is_said(
    client, monkeypatch
):
    extra = {"webhook_secret": SECRET}
    monkeypatch.setenv("AIRFLOW_CONN_SOME_HTTP", json.dumps({"conn_type": "http", "extra": extra}))
    for conn_id in ("no_such", "some_http"):
        assert post(client, REPORT, conn_id).status_code == 404
        assert post(client, REPORT, conn_id, headers={}).status_code == 401


def test_a_secret_of_one_connection_is_worth_nothing_for_another(client, monkeypatch):
    extra = {"webhook_secret": "another secret"}
    monkeypatch.setenv("AIRFLOW_CONN_PINDO_OTHER", json.dumps({"conn_type": "pindo", "extra": extra}))
    assert post(client, REPORT, "pindo_other").status_code == 401
    assert (
        post(client, REPORT, "pindo_other", headers={"X-Webhook-Secret": "another secret"}).status_code == 200
    )
    assert events(client) == []


def test_a_new_secret_is_valid_at_once_and_the_backend_is_not_asked_for_each_webhook(client, monkeypatch):
    reads = []
    read = _auth._read_tokens
    monkeypatch.setattr(_auth, "_read_tokens", lambda conn_id: reads.append(conn_id) or read(conn_id))
    for _ in range(20):
        assert post(client, REPORT).status_code == 200
    assert len(reads) == 1
    monkeypatch.setattr(_auth, "_MAX_AGE_AFTER_MISMATCH", 0.0)
    extra = {"webhook_secret": "the new one"}
    monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", json.dumps({"conn_type": "pindo", "extra": extra}))
    assert post(client, REPORT, headers={"X-Webhook-Secret": "the new one"}).status_code == 200
    assert post(client, REPORT).status_code == 401


def test_names_that_a_stranger_makes_up_do_not_fill_the_memory(client, monkeypatch):
    callers = _auth.Callers()
    monkeypatch.setattr(_auth, "_MAX_REMEMBERED", 3)
    monkeypatch.setattr(_auth, "_read_tokens", lambda conn_id: _auth._Tokens())
    for number in range(10):
        client.portal.call(callers._tokens, f"made-up-{number}", 10.0)
    assert len(callers._remembered) <= 3


def pieces_of(size: int, piece: int = 1000):
    """A body without Content-Length, of ``size`` bytes."""
    start, end = b'{"text": "', b'"}'
    yield start
    for at in range(0, size - len(start) - len(end), piece):
        yield b"x" * min(piece, size - len(start) - len(end) - at)
    yield end


def test_a_body_of_64_kib_is_kept_and_a_byte_more_is_refused_with_and_without_its_length(client, monkeypatch):
    for body in (b"".join(pieces_of(MAX_BODY)), pieces_of(MAX_BODY)):
        response = client.post("/webhooks/pindo_default", content=body, headers={"X-Webhook-Secret": SECRET})
        assert response.status_code == 200
    for body in (b"".join(pieces_of(MAX_BODY + 1)), pieces_of(MAX_BODY + 1)):
        response = client.post("/webhooks/pindo_default", content=body, headers={"X-Webhook-Secret": SECRET})
        assert response.status_code == 413
    assert [len(event["body"]["text"]) for event in events(client)] == [MAX_BODY - 12] * 2
    monkeypatch.setattr(_receiver, "MAX_BODY", 1000)
    address = f"/webhooks/pindo_default?token={POSTING}&text="
    assert client.get(address + "x" * 988).status_code == 200
    assert client.get(address + "x" * 989).status_code == 413


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"1",
        b'"text"',
        b"null",
        b"{",
        b"{} {}",
        b'{"a": NaN}',
        b"\xff{}",
        b"[" * 60_000,
        b"a=b",
        DEEP,
    ],
)
def test_a_body_that_is_no_json_object_is_refused_without_repeating_it(client, body):
    response = post(client, body)
    assert response.status_code == 400
    assert response.json() == {"detail": "The body is not a JSON object in UTF-8 of at most 100 levels"}
    assert events(client) == []


def test_get_takes_the_bodys_keys_as_parameters_and_keeps_no_token(client):
    parameters = {"token": POSTING, **SENT, "odd": "a\0b"}
    assert client.get("/webhooks/pindo_default", params=parameters).json() == {"kind": "sent"}
    (event,) = events(client)
    assert event["body"] == {**SENT, "odd": "a\0b"}
    assert event["sms_id"] == "out_sms_01H7"
    assert client.get("/webhooks/pindo_default", params={"token": POSTING}).status_code == 400


def test_no_success_is_returned_for_what_was_not_committed(client, monkeypatch, caplog):
    monkeypatch.setattr(_event_table, "_PAUSE", 0.0)

    def fail(*_):
        raise _event_table.DatabaseError("OperationalError")

    monkeypatch.setattr(_event_table, "_run", fail)
    with caplog.at_level(logging.ERROR):
        assert post(client, SENT).status_code == 503
    assert "could not be kept, and is lost: OperationalError" in caplog.text
    assert "4821" not in caplog.text


def test_other_methods_and_paths_are_not_there(client):
    headers = {"X-Webhook-Secret": SECRET}
    assert client.put("/webhooks/pindo_default", json={}, headers=headers).status_code == 405
    assert client.delete("/webhooks/pindo_default", headers=headers).status_code == 405
    assert client.post("/webhooks/", json={}, headers=headers).status_code == 404
    assert client.get("/events/pindo_default", headers=headers).status_code == 405


def test_while_webhooks_are_off_there_is_no_receiver_and_none_of_its_code(sandbox):
    with TestClient(create_app()) as off:
        assert post(off, REPORT).status_code == 404
        assert off.get("/webhooks/pindo_default").status_code == 404
    loaded = loaded_by(
        "from airflow_provider_pindo.plugins.pindo import PindoPlugin; print(PindoPlugin().fastapi_apps)"
    )
    ours = {name.removeprefix("airflow_provider_pindo.plugins.") for name in loaded}
    assert {"pindo", "_app", "_pages"} <= ours
    assert not ours & {"_auth", "_events", "_receiver", "_event_table", "_webhooks"}


def test_events_that_are_too_old_go_and_the_others_stay(client):
    for _ in range(3):
        post(client, REPORT)
    from airflow import settings

    old = datetime.now(UTC) - timedelta(days=31)
    with settings.engine.begin() as connection:
        connection.execute(
            _event_table.TABLE.update()
            .where(_event_table.TABLE.c.id < events(client)[2]["id"])
            .values(received_at=old)
        )
    pauses = []
    assert _event_table.delete_old(30, pause=lambda: pauses.append(1)) == 2
    assert len(events(client)) == 1
    assert len(pauses) == 1
