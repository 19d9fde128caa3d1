"""The control API and the two ways to run a sandbox: inside a test and from the command line."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import requests

from airflow_provider_pindo.sandbox import Sandbox, SandboxClient, SandboxError

PHONE = "+250781234567"


def test_the_request_log_tells_everything_but_the_token(api, sandbox):
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


def test_old_bodies_leave_the_log_before_it_grows_too_large(api, sandbox, monkeypatch):
    monkeypatch.setattr("airflow_provider_pindo.sandbox.request_log.MAX_BODY_BYTES", 200)
    for number in range(5):
        api.send(text=f"number {number}")
    bodies = [request["json"] for request in sandbox.requests()]
    assert bodies[0] is None
    assert bodies[-1]["text"] == "number 4"


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
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_and_nothing_changes(sandbox, changes, word):
    before = sandbox.settings()
    with pytest.raises(SandboxError, match=word):
        sandbox.settings(**{"latency": 3, **changes})
    assert sandbox.settings() == before


def test_the_balance_as_a_setting_is_what_the_wallet_then_holds(api, sandbox):
    sandbox.settings(balance=0.5)
    assert api.balance() == 0.5


@pytest.mark.parametrize("amount", ["1", None, True, float("nan"), float("inf"), 1e300])
def test_an_amount_that_is_none_is_refused(sandbox, amount):
    with pytest.raises(SandboxError, match="USD"):
        sandbox.top_up(amount)
    assert sandbox.state()["balance"] == 500


def test_half_a_character_in_a_setting_is_shown_as_it_was_given(sandbox):
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


def test_the_control_api_takes_json_only_so_that_no_web_page_can_use_it(sandbox):
    answer = requests.post(sandbox.url + "/sandbox/reset", data="{}", timeout=5)
    assert answer.status_code == 415
    assert requests.get(sandbox.url + "/sandbox/nowhere", timeout=5).status_code == 404


def test_events_come_when_something_is_new_and_not_for_each_of_many(api, sandbox):
    with requests.get(sandbox.url + "/sandbox/events", stream=True, timeout=10) as events:
        lines = events.iter_lines()
        assert next(lines).startswith(b"data: ")
        for _ in range(50):
            api.send()
        started, seen = time.monotonic(), 0
        for line in lines:
            seen += line.startswith(b"data: ")
            if line == b"data: 50":
                break
        assert seen <= 6 + 6 * (time.monotonic() - started)


def test_a_client_in_another_place_sees_the_same(api, sandbox):
    api.send()
    assert SandboxClient(sandbox.url + "/").messages() == sandbox.messages()


def test_state_in_a_file_survives_a_restart(tmp_path):
    path = tmp_path / "pindo.sqlite"
    with Sandbox(state=path, pin="752623") as sandbox:
        headers = {"Authorization": f"Bearer {sandbox.token}"}
        body = {"to": PHONE, "text": "Muraho", "sender": "PindoTest"}
        assert (
            requests.post(sandbox.url + "/v1/sms/", json=body, headers=headers, timeout=5).status_code == 201
        )
        body = {"number": PHONE, "brand": "Ubuzima"}
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


@pytest.mark.parametrize("token", ["sandbox-token", 'it\'s / "odd" @:?#%'])
def test_the_connection_is_what_airflow_reads(token):
    from airflow.models.connection import Connection

    client = SandboxClient("http://127.0.0.1:8025", token)
    for connection in (
        Connection.from_json(client.connection_json()),
        Connection(uri=client.connection_uri()),
    ):
        host = f"{connection.host}:{connection.port}" if connection.port else connection.host
        assert (connection.conn_type, host, connection.password) == ("pindo", "http://127.0.0.1:8025", token)
        assert connection.extra_dejson == {"sender": "PindoTest", "country": "RW"}


# -- the command


def start(*arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "airflow_provider_pindo.sandbox", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_the_command_prints_its_address_and_the_connection_and_ends_on_a_signal(name):
    process = start("--port", "0", "--token", "my-token", "--set", "bulk_limit=7")
    try:
        printed = ""
        while "Ctrl-C" not in printed:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            printed += line
        url = printed.split("The phones are at ")[1].split("/\n")[0]
        exported = printed.split("export AIRFLOW_CONN_PINDO_DEFAULT='")[1].split("'\n")[0]
        assert json.loads(exported) == {
            "conn_type": "pindo",
            "host": url,
            "password": "my-token",
            "extra": {"sender": "PindoTest", "country": "RW"},
        }
        assert SandboxClient(url).settings()["bulk_limit"] == 7
        answer = requests.get(url + "/wallets/self", headers={"Authorization": "Bearer my-token"}, timeout=5)
        assert answer.json() == {"amount": 500.0}
        process.send_signal(name)
        _, errors = process.communicate(timeout=10)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "Traceback" not in errors
    assert "Warning" not in printed


def test_a_port_that_is_taken_is_one_clear_sentence(sandbox):
    process = start("--port", sandbox.url.rsplit(":", 1)[1])
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert errors.startswith("Error: port ")
    assert "--port" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    "arguments", [["--set", "colour=green"], ["--state", "/nowhere/at/all.sqlite"], ["--balance", "-1"]]
)
def test_what_cannot_be_is_one_clear_sentence(arguments):
    process = start("--port", "0", *arguments)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert errors.startswith("Error: ")
    assert "Traceback" not in errors


def test_the_verbose_log_shows_no_token_no_text_and_no_whole_number():
    process = start("--port", "0", "--verbose")
    try:
        url = process.stdout.readline().split("at ")[1].strip().rstrip("/")
        headers = {"Authorization": "Bearer sandbox-token"}
        body = {"to": PHONE, "text": "A secret text", "sender": "PindoTest"}
        requests.post(url + "/v1/sms/", json=body, headers=headers, timeout=5)
        body = {"request_id": 1, "code": "752623"}
        requests.post(url + "/v1/sms/verify/check", json=body, headers=headers, timeout=5)
        process.terminate()
        _, errors = process.communicate(timeout=10)
    finally:
        process.kill()
    assert "POST /v1/sms/ 201 +25078****567" in errors
    for secret in ("sandbox-token", "secret", PHONE, "752623"):
        assert secret not in errors


def test_the_sandbox_imports_no_airflow():
    script = (
        "import sys, airflow_provider_pindo.sandbox.server, airflow_provider_pindo.sandbox.__main__;"
        "sys.exit([name for name in sys.modules if name.split('.')[0] == 'airflow'] != [])"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
