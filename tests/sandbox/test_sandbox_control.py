"""The control API, and the sandbox inside a test."""

from __future__ import annotations

import json
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from multidict import CIMultiDict

from airflow_provider_pindo.sandbox import Sandbox, SandboxClient, SandboxError, page
from airflow_provider_pindo.sandbox.pindo import Pindo
from airflow_provider_pindo.sandbox.request_log import RequestLog

PHONE = "+250781234567"


def test_the_request_log_has_everything_but_the_token(api, sandbox):
    api.send(PHONE, "Muraho")
    api.ask("POST", "/nowhere")
    (first,) = sandbox.requests(path="/v1/sms/")
    assert (first["method"], first["call"], first["status"], first["authorized"]) == (
        "POST",
        "send_sms",
        201,
        True,
    )
    assert first["json"] == {"to": PHONE, "text": "Muraho", "sender": "PindoTest"}
    assert first["headers"]["Content-Type"] == "application/json"
    assert "sandbox-token" not in json.dumps(sandbox.requests())
    assert [request["status"] for request in sandbox.requests()] == [201, 404]
    assert len(sandbox.requests(call="send_sms")) == 1


def test_the_request_log_keeps_no_secret_header_in_memory_either():
    headers = CIMultiDict({"AUTHORIZATION": "Bearer my-token", "Cookie": "session=1", "Accept": "*/*"})
    entry = RequestLog().add("GET", "/wallets/self", "", "get_balance", True, headers, b"")
    headers["X-Later"] = "not of this request"
    assert entry.headers == {"Accept": "*/*"}


def test_old_bodies_leave_the_log_before_it_grows_too_large(api, sandbox, monkeypatch):
    monkeypatch.setattr("airflow_provider_pindo.sandbox.request_log.MAX_BODY_BYTES", 200)
    for number in range(5):
        api.send(text=f"number {number}")
    bodies = [request["json"] for request in sandbox.requests()]
    assert bodies[0] is None
    assert bodies[-1]["text"] == "number 4"


def test_a_body_that_is_not_json_is_logged_as_none(api, sandbox):
    api.ask("POST", "/v1/sms/", data=b"{", headers={"Content-Type": "application/json"})
    assert sandbox.requests()[0]["json"] is None


@pytest.mark.parametrize(
    ("method", "path", "sentence"),
    [("PATCH", "settings", "an object of settings"), ("POST", "faults", "a fault is a JSON object")],
)
def test_a_body_that_is_not_an_object_is_refused(api, method, path, sentence):
    answer = api.ask(method, f"/sandbox/{path}", json=[1])
    assert (answer.status_code, sentence in answer.text) == (400, True)


def test_a_bug_of_the_sandbox_is_reported_as_its_own(api, sandbox, monkeypatch, caplog):
    monkeypatch.setattr(Pindo, "respond", lambda *_: 1 / 0)
    assert "the sandbox itself failed" in api.send().json()["message"]
    assert "ZeroDivisionError" in caplog.text


def test_an_idle_event_stream_is_kept_alive_by_comments(api, sandbox, monkeypatch):
    monkeypatch.setattr(page, "_KEEPALIVE_SECONDS", 0.05)
    with api.ask("GET", "/sandbox/events", stream=True) as events:
        lines = events.iter_lines()
        assert any(line == b": still here" for line in lines)


def test_phones_are_listed_newest_first_each_with_its_thread(api, sandbox):
    api.send(PHONE, "one")
    api.send("+250781234568", "two")
    sandbox.reply(PHONE, "YES")
    phones = api.ask("GET", "/sandbox/phones").json()
    assert [phone["number"] for phone in phones] == [PHONE, "+250781234568"]
    assert [[message["text"] for message in phone["messages"]] for phone in phones] == [
        ["one", "YES"],
        ["two"],
    ]
    assert len(api.ask("GET", "/sandbox/phones?find=4568").json()) == 1


def test_the_page_is_served_and_its_data_is_json(api, sandbox):
    page = api.ask("GET", "/")
    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    policy = page.headers["Content-Security-Policy"].split("; ")
    assert {"default-src 'none'", "form-action 'none'", "frame-ancestors 'none'"} <= set(policy)
    assert api.ask("GET", "/sandbox/nowhere").json() == {"message": "not found"}
    sandbox.stop()
    sandbox.stop()  # a second time has no effect


def test_settings_are_read_and_changed(sandbox):
    assert sandbox.settings()["bulk_limit"] == 1000
    assert sandbox.settings(bulk_limit=10, latency=0)["bulk_limit"] == 10
    assert sandbox.settings()["bulk_limit"] == 10


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"colour": "green"}, "bulk_limit"),
        ({"inbound_order": "random"}, "oldest_first"),
        ({"bulk_limit": 0}, "1 or more"),
        ({"bulk_limit": True}, "1 or more"),
        ({"item_price": -1}, "0 or more"),
        ({"supported_countries": ["Rwanda"]}, "two-letter"),
        ({"webhook_url": "file:///etc/passwd"}, "http://"),
        ({"inject_between_pages": [{"text": "x"}]}, "from"),
        ({"pin": 752623}, "digits"),
        ({"inbound_number": 7878}, "a phone number, as a text"),
        ({"rejected_numbers": [7878]}, "a list of phone numbers, as texts"),
        ({"first_id": 2**53}, "below 2"),
    ],
)
def test_an_invalid_setting_is_refused_and_nothing_changes(sandbox, changes, word):
    before = sandbox.settings()
    with pytest.raises(SandboxError, match=word):
        sandbox.settings(**{"latency": 3, **changes})
    assert sandbox.settings() == before


def test_the_setting_balance_sets_the_wallet(api, sandbox):
    sandbox.settings(balance=0.5)
    assert api.balance() == 0.5


@pytest.mark.parametrize("amount", ["1", None, True, float("nan"), float("inf"), 1e300])
def test_an_invalid_amount_is_refused(sandbox, amount):
    with pytest.raises(SandboxError, match="USD"):
        sandbox.top_up(amount)
    assert sandbox.state()["balance"] == 500


def test_half_a_character_in_a_setting_is_shown_unchanged(sandbox):
    assert sandbox.settings(webhook_url="http://a\ud83d")["webhook_url"] == "http://a\ud83d"


def test_an_unknown_setting_stops_the_sandbox_at_the_start():
    with pytest.raises(ValueError, match="no setting 'colour'"), Sandbox(colour="green"):
        pass


def test_reset_goes_back_to_the_start(api):
    with Sandbox(bulk_limit=7, balance=3) as sandbox:
        sandbox.settings(bulk_limit=9)
        sandbox.add_fault("not_json")
        sandbox.reply(PHONE, "x")
        sandbox.set_balance(1)
        sandbox.reset()
        state = sandbox.state()
        assert (state["messages"], state["inbound"], state["requests"], state["balance"]) == (0, 0, 0, 3)
        assert (state["settings"]["bulk_limit"], state["faults"]) == (7, [])


def test_the_state_has_the_most_requests_that_were_in_flight_at_a_time(api, sandbox):
    sandbox.settings(latency=0.3)
    with ThreadPoolExecutor(5) as threads:
        assert all(threads.map(lambda _: api.balance(), range(5)))
    most = sandbox.state()["most_in_flight"]
    assert 2 <= most <= 5
    api.balance()
    assert sandbox.state()["most_in_flight"] == most
    sandbox.reset()
    assert sandbox.state()["most_in_flight"] == 0


def test_the_control_api_takes_json_only_so_that_no_web_page_can_use_it(sandbox):
    answer = requests.post(sandbox.url + "/sandbox/reset", data="{}", timeout=5)
    assert answer.status_code == 415
    assert requests.get(sandbox.url + "/sandbox/nowhere", timeout=5).status_code == 404


def test_events_follow_changes_and_a_burst_shares_them(api, sandbox):
    with requests.get(sandbox.url + "/sandbox/events", stream=True, timeout=10) as events:
        lines = events.iter_lines()
        assert next(lines).startswith(b"data: ")
        started, seen = time.monotonic(), 0
        for _ in range(50):
            api.send()
        for line in lines:
            seen += line.startswith(b"data: ")
            # More than 50 on a slow machine: the messages of the burst are sent and delivered meanwhile.
            if line.startswith(b"data: ") and int(line.removeprefix(b"data: ")) >= 50:
                break
        assert seen <= 6 + 6 * (time.monotonic() - started)


def test_a_second_client_sees_the_same(api, sandbox):
    api.send()
    assert SandboxClient(sandbox.url + "/").messages() == sandbox.messages()


def test_a_client_of_an_https_address_asks_nothing_in_clear_text(sandbox):
    before = len(sandbox.requests())
    with pytest.raises(ssl.SSLError):
        SandboxClient(sandbox.url.replace("http:", "https:")).messages()
    assert len(sandbox.requests()) == before


def test_state_in_a_file_survives_a_restart(tmp_path):
    path = tmp_path / "pindo.sqlite"
    with Sandbox(state=path, pin="752623") as sandbox:
        headers = {"Authorization": f"Bearer {sandbox.token}"}
        body = {"to": PHONE, "text": "Muraho", "sender": "PindoTest"}
        assert (
            requests.post(sandbox.url + "/v1/sms/", json=body, headers=headers, timeout=5).status_code == 201
        )
        body = {"number": PHONE, "brand": "PindoTest"}
        requests.post(sandbox.url + "/v1/sms/verify", json=body, headers=headers, timeout=5)
        sandbox.reply(PHONE, "YES 4821")
    with Sandbox(state=path, balance=77) as sandbox:
        assert sandbox.messages()[0]["text"] == "Muraho"
        assert sandbox.state()["balance"] == 499.994
        assert sandbox.reply(PHONE, "again")["id"] == 2
        body = {"request_id": 1, "code": "752623"}
        answer = requests.post(sandbox.url + "/v1/sms/verify/check", json=body, headers=headers, timeout=5)
        assert answer.status_code == 200


def test_a_stopped_sandbox_refuses_connections_and_starts_again_on_its_port(api, sandbox):
    url = sandbox.url
    sandbox.stop()
    with pytest.raises(requests.ConnectionError):
        api.send()
    sandbox.start()
    assert sandbox.url == url
    assert api.send().status_code == 201


def test_a_sandbox_ends_at_once_although_a_page_is_open_and_a_call_hangs():
    running = Sandbox(latency=60)
    running.start()
    with (
        requests.get(running.url + "/sandbox/events", stream=True, timeout=10) as events,
        socket.create_connection(tuple(running.url.removeprefix("http://").split(":")), timeout=5) as wire,
    ):
        next(events.iter_lines())
        wire.sendall(b"GET /wallets/self HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sandbox-token\r\n\r\n")
        time.sleep(0.1)
        started = time.monotonic()
        running.stop()
        assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:8025", "http://[::1]:8025", "http://sandbox.localhost", "https://[::1]"],
)
@pytest.mark.parametrize("token", ["sandbox-token", 'it\'s / "odd" @:?#%'])
def test_the_connection_is_what_airflow_reads(url, token):
    from airflow.models.connection import Connection

    client = SandboxClient(url, token)
    for connection in (
        Connection.from_json(client.connection_json()),
        Connection(uri=client.connection_uri()),
    ):
        host = f"{connection.host}:{connection.port}" if connection.port else connection.host
        assert (connection.conn_type, host, connection.password) == ("pindo", url, token)
        assert connection.extra_dejson == {"sender": "PindoTest", "country": "RW"}


# -- the command
