"""The control API and the two ways to run a sandbox: inside a test and from the command line."""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from multidict import CIMultiDict

from airflow_provider_pindo.api.webhooks import posting_token
from airflow_provider_pindo.sandbox import Sandbox, SandboxClient, SandboxError, __main__, page
from airflow_provider_pindo.sandbox.__main__ import main
from airflow_provider_pindo.sandbox.pindo import Pindo
from airflow_provider_pindo.sandbox.request_log import RequestLog
from airflow_provider_pindo.sandbox.settings import Settings

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
            if line == b"data: 50":
                break
        assert seen <= 6 + 6 * (time.monotonic() - started)


def test_a_second_client_sees_the_same(api, sandbox):
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


@pytest.mark.parametrize("url", ["http://127.0.0.1:8025", "http://[::1]:8025"])
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


def test_a_port_in_use_is_one_clear_sentence(sandbox, capsys):
    assert main(["--port", sandbox.url.rsplit(":", 1)[1]]) == 1
    errors = capsys.readouterr().err
    assert errors.startswith("Error: port ")
    assert "--port" in errors


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--set", "colour=green"], "no setting 'colour'"),
        (["--state", "/nowhere/at/all.sqlite"], "cannot keep state in /nowhere/at/all.sqlite"),
        (["--balance", "-1"], "0 or more"),
        (["--set", "bulk_limit=0"], "setting 'bulk_limit' must be an integer of 1 or more, not 0"),
        (["--set", "bulk_limit=many"], "setting 'bulk_limit' must be an integer of 1 or more, not 'many'"),
        (["--set", "pin"], "4 to 10 digits"),
        (["--host", "192.0.2.1"], "cannot listen on 192.0.2.1:0"),
    ],
)
def test_an_invalid_command_line_is_one_clear_sentence(capsys, arguments, sentence):
    assert main(["--port", "0", *arguments]) == 1
    errors = capsys.readouterr().err
    assert errors.startswith("Error: ")
    assert sentence in errors
    assert errors.count("\n") == 1


@pytest.fixture
def serve(monkeypatch):
    """Run the command in this process, do something to it, and end it by a signal."""
    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}
    greeted = threading.Event()
    urls = []

    def greet(url, token, options, greet=__main__._greet):
        greet(url, token, options)
        urls.append(url)
        greeted.set()

    monkeypatch.setattr(__main__, "_greet", greet)

    def run(*arguments, then=lambda url: None):
        ended = threading.Event()

        def end():
            try:
                assert greeted.wait(20)
                greeted.clear()
                then(urls.pop())
            finally:
                if not ended.is_set():  # the signal would end the tests
                    os.kill(os.getpid(), signal.SIGTERM)

        ending = threading.Thread(target=end, daemon=True)
        ending.start()
        try:
            assert main(["--port", "0", *arguments]) == 0
        finally:
            ended.set()
        ending.join(60)

    yield run
    for name, handler in before.items():
        signal.signal(name, handler)


def test_the_verbose_log_shows_no_token_no_text_and_no_whole_number(serve, caplog):
    def send(url):
        headers = {"Authorization": "Bearer sandbox-token"}
        body = {"to": PHONE, "text": "A secret text", "sender": "PindoTest"}
        requests.post(url + "/v1/sms/", json=body, headers=headers, timeout=5)
        body = {"request_id": 1, "code": "752623"}
        requests.post(url + "/v1/sms/verify/check", json=body, headers=headers, timeout=5)

    with caplog.at_level(logging.INFO):
        serve("--verbose", then=send)
    logged = "\n".join(record.getMessage() for record in caplog.records)
    assert "POST /v1/sms/ 201 +25078****567" in logged
    for secret in ("sandbox-token", "secret", PHONE, "752623"):
        assert secret not in logged


def test_the_verbose_log_hides_at_least_four_digits_and_nearly_all_of_any_other_text(serve, caplog):
    def send(url):
        headers = {"Authorization": "Bearer sandbox-token"}
        for to in ("+2507812345", "A secret text"):
            body = {"to": to, "text": "x", "sender": "PindoTest"}
            requests.post(url + "/v1/sms/", json=body, headers=headers, timeout=5)

    with caplog.at_level(logging.INFO):
        serve("--verbose", then=send)
    logged = [record.getMessage() for record in caplog.records]
    assert [line for line in logged if "/v1/sms/" in line] == [
        "POST /v1/sms/ 409 +250****345",
        "POST /v1/sms/ 409 A ****",
    ]


def test_ids_keep_growing_when_the_command_is_run_again(serve):
    inbound, verifications = [], []

    def use(url):
        client = SandboxClient(url)
        inbound.extend(message["id"] for message in client.reply_all([{"from": PHONE, "text": "x"}] * 500))
        headers = {"Authorization": "Bearer sandbox-token"}
        for _ in range(2):
            body = {"number": PHONE, "brand": "PindoTest"}
            answer = requests.post(url + "/v1/sms/verify", json=body, headers=headers, timeout=5)
            verifications.append(answer.json()["request_id"])
            client.reset()

    serve(then=use)
    serve(then=use)
    assert inbound == sorted(set(inbound))
    assert verifications == sorted(set(verifications))
    assert (len(inbound), len(verifications)) == (1000, 4)


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        ("inbound_number=7878", "7878"),
        ("inbound_number=+250781113333", "+250781113333"),
        ("pin=123456", "123456"),
        ("pin=007123", "007123"),
        ("pin=null", None),
        ('pin="123456"', "123456"),
        ("approved_senders=any", "any"),
        ('approved_senders=["Ubuzima"]', ["Ubuzima"]),
        ("item_price=0.01", 0.01),
        ("webhook_url=http://127.0.0.1:9/a=b", "http://127.0.0.1:9/a=b"),
    ],
)
def test_a_setting_on_the_command_line_is_json_or_else_plain_text(serve, pair, expected):
    settings = {}
    serve("--set", pair, then=lambda url: settings.update(SandboxClient(url).settings()))
    assert settings[pair.partition("=")[0]] == expected


def test_airflow_knows_the_secret_behind_the_token_of_the_webhooks(serve, capsys):
    settings = {}
    serve(
        "--airflow", "http://localhost:8080/", then=lambda url: settings.update(SandboxClient(url).settings())
    )
    exports = dict(re.findall(r"export (\w+)=(.+)", capsys.readouterr().out))
    connection = json.loads(shlex.split(exports["AIRFLOW_CONN_PINDO_DEFAULT"])[0])
    token = posting_token(connection["extra"]["webhook_secret"], "pindo_default")
    assert settings["webhook_url"] == f"http://localhost:8080/pindo/webhooks/pindo_default?token={token}"
    assert exports["AIRFLOW__PINDO__WEBHOOKS"] == "True"


def test_an_airflow_without_a_scheme_is_refused_with_an_example(capsys):
    with pytest.raises(SystemExit):
        main(["--airflow", "localhost:8080"])
    assert "argument --airflow: 'localhost:8080' is no address" in capsys.readouterr().err


def test_help_names_every_setting(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    printed = capsys.readouterr().out
    assert [name for name in Settings.__struct_fields__ if name not in printed] == []
    assert ".py" not in printed


@pytest.mark.parametrize(("host", "warns"), [("localhost", False), ("my-machine", True)])
def test_an_address_beyond_loopback_is_warned_about(serve, monkeypatch, capsys, host, warns):
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda name, *args, **kwargs: resolve(
            "127.0.0.1" if name in ("my-machine", "localhost") else name, *args, **kwargs
        ),
    )
    serve("--host", host, "--set", "delivery_outcome=undelivered")
    assert (f"Warning: {host} is not a loopback address" in capsys.readouterr().out) is warns


def test_the_sandbox_imports_no_airflow():
    script = (
        "import sys, airflow_provider_pindo.sandbox.server, airflow_provider_pindo.sandbox.__main__;"
        "sys.exit([name for name in sys.modules if name.split('.')[0] == 'airflow'] != [])"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def host_response(sandbox, host, method="GET", path="/sandbox/state", body=None):
    """Return status and body of the response to a request that names this host."""
    headers = {"Host": host, "Content-Type": "application/json"}
    answer = requests.request(method, sandbox.url + path, headers=headers, json=body, timeout=5)
    return answer.status_code, answer.text


@pytest.mark.parametrize(
    "host",
    ["evil.example:8025", "127.0.0.1.evil.example", "evil.example.", "a:b:c", "localhost.evil.example", ""],
)
def test_a_name_that_a_stranger_can_point_at_the_sandbox_is_refused(sandbox, host):
    """Otherwise a web page of that name could read and control it: DNS rebinding."""
    status, shown = host_response(sandbox, host)
    assert status == 403
    assert "--allow-host" in shown
    assert "sandbox-token" not in shown
    body = {"webhook_url": "http://127.0.0.1:9/x"}
    assert host_response(sandbox, host, "PATCH", "/sandbox/settings", body)[0] == 403
    assert sandbox.settings()["webhook_url"] != body["webhook_url"]
    assert host_response(sandbox, host, path="/sandbox/events")[0] == 403
    assert host_response(sandbox, host, path="/")[0] == 403


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "192.0.2.7:8025",
        "[::1]:8025",
        "[fe80::1%25eth0]:8025",
        "localhost:8025",
        "LOCALHOST",
        "pindo.localhost",
        "pindo-sandbox:8025",
        "host.docker.internal:8025",
        "sandbox.pindo.svc.cluster.local",
    ],
)
def test_an_address_and_a_name_that_no_stranger_can_register_are_answered(sandbox, host):
    assert host_response(sandbox, host)[0] == 200
    assert host_response(sandbox, host, path="/")[0] == 200


def test_the_api_of_pindo_needs_its_token_under_any_name(sandbox):
    assert host_response(sandbox, "sandbox.example", path="/wallets/self")[0] == 401


def test_a_name_that_the_command_gets_is_answered(serve, monkeypatch):
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda name, *args, **kwargs: resolve(
            "127.0.0.1" if "example" in str(name) else name, *args, **kwargs
        ),
    )
    answers = []

    def ask(url):
        port = url.rpartition(":")[2]
        for host in ("vm.example", "Phones.Example", "evil.example"):
            answer = requests.get(
                f"http://127.0.0.1:{port}/sandbox/state", headers={"Host": f"{host}:80"}, timeout=5
            )
            answers.append(answer.status_code)

    serve("--host", "vm.example", "--allow-host", "phones.example", then=ask)
    assert answers == [200, 200, 403]
