"""The sandbox from the command line, and the names under which it answers."""

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

import pytest
import requests

from airflow_provider_pindo.api.webhooks import posting_token
from airflow_provider_pindo.sandbox import SandboxClient, __main__
from airflow_provider_pindo.sandbox.__main__ import main
from airflow_provider_pindo.sandbox.settings import Settings

PHONE = "+250781234567"


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

    def greet(url, lines, host, greet=__main__._greet):
        greet(url, lines, host)
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


@pytest.mark.parametrize("arguments", [(), ("--airflow", "http://localhost:8080")])
def test_the_page_shows_the_lines_that_the_command_prints(serve, capsys, arguments):
    shown = []
    serve(
        *arguments,
        then=lambda url: shown.extend(requests.get(f"{url}/sandbox/state", timeout=5).json()["exports"]),
    )
    printed = re.findall(r"^  (export .+)$", capsys.readouterr().out, re.MULTILINE)
    assert len(printed) == 1 + bool(arguments)
    assert shown == printed


def test_an_airflow_without_a_scheme_is_refused_with_an_example(capsys):
    with pytest.raises(SystemExit):
        main(["--airflow", "localhost:8080"])
    assert "argument --airflow: 'localhost:8080' is not an address" in capsys.readouterr().err


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
