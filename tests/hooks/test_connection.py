"""``test_connection`` says the balance, or exactly what is wrong with the connection."""

from __future__ import annotations

import json
import re

import pytest

from airflow_provider_pindo.hooks.pindo import PindoHook
from tests.hooks.test_hooks import connect
from tests.versions import needs_broken_connections


def test_a_good_connection_says_the_balance(pindo):
    assert pindo.test_connection() == (True, "Connected to Pindo; the wallet holds 500.00 USD")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"password": ""}, "has no API token"),
        ({"password": "two words"}, "characters that no token has"),
        (
            {"host": "http://127.0.0.1:9", "port": 8025},
            "has the port 9, but the connection's port is 8025: remove one",
        ),
        ({"password": "another-token"}, r"returned 401 .*Security page"),
        (
            {"host": "http://no-such-host.invalid", "extra": {"allow_http": True}},
            "the host name cannot be resolved",
        ),
        ({"host": "http://127.0.0.1:9"}, "the connection was refused"),
        ({"host": "http://api.example"}, "would send the token unencrypted"),
        ({"host": "ftp://127.0.0.1"}, "not an http"),
        ({"host": "http://user:secret@127.0.0.1"}, "more than an address"),
        ({"host": "ftp://user:secret@127.0.0.1:port"}, "more than an address"),
        ({"extra": {"timeout": "soon"}}, "extra 'timeout' of this connection is 'soon'"),
        ({"extra": {"timezone": "Mars"}}, "extra 'timezone' .* is 'Mars': write a time zone"),
        ({"extra": {"timezone": "+250781234567"}}, r"is '\+25078\*{4}567': write a time zone"),
        ({"extra": {"country": "+250781234567"}}, r"is '\+25078\*{4}567': write an ISO 3166"),
        ({"extra": {"timeout": "+250781234567"}}, r"is '\+25078\*{4}567': write at most"),
        ({"extra": {"timeout": "0781234567/8"}}, r"is '0781\*{4}678': write a number above 0"),
        (
            {"extra": {"send_window": "8-20"}},
            "extra 'send_window' of this connection is '8-20': write one such as '08:00-20:00 Africa/Kigali'",
        ),
        ({"extra": {"send_window": 8}}, "extra 'send_window' .* is 8: write a string"),
        ({"host": "http://127.0.0.1:port"}, "is not an address .*write https://api.pindo.io"),
        ({"extra": {"timeout": True}}, "extra 'timeout' .* is True: write a number above 0"),
        ({"extra": {"timeout": 1e10}}, "extra 'timeout' .* is 1000\\*{4}000.0: write at most 86400"),
        ({"extra": {"timeout": 10**400}}, "extra 'timeout' .* is 100000\\*{4}000: write a number above 0"),
        (
            {"extra": {"requests_per_second": 1e-300}},
            "extra 'requests_per_second' .* is 1e-300: write at least 0.0001$",
        ),
        ({"extra": {"sender": 7878}}, "extra 'sender' .* is 7878: write a string"),
        (
            {"extra": {"sender": "PindoTestCompany"}},
            "extra 'sender' of this connection: sender 'Pi…' has 16 characters; Pindo takes at most 11",
        ),
        ({"extra": {"sender": " "}}, "extra 'sender' of this connection: sender is empty"),
        (
            {"extra": {"country": "Rwanda"}},
            "extra 'country' of this connection is 'Rwanda': write an ISO 3166 two-letter code",
        ),
        ({"extra": {"country": "٤٤"}}, "extra 'country' .* is '٤٤': write an ISO 3166 two-letter code"),
        ({"extra": {"allow_http": "perhaps"}}, "extra 'allow_http' .* is 'perhaps': give true or false"),
        (
            {"extra": {"suppression_list": ["+250780000201"]}},
            r"extra 'suppression_list' .* is \['\+25078\*\*\*\*201'\]: write a string",
        ),
        (
            {"extra": {"suppression_list": "pindo_stop_list"}},
            "extra 'suppression_list' .* is 'pindo_stop_list': write the path or URL .*, or variable:NAME for",
        ),
        (
            {"extra": {"suppression_list": "variable: "}},
            "extra 'suppression_list' .* is 'variable: ': write the path",
        ),
        ({"extra": {"suppression_list": '["a.b"]'}}, "extra 'suppression_list' .*: write the path"),
        ({"extra": {"cert": ["one.pem"]}}, "extra 'cert' .* is not a path"),
        ({"extra": {"proxies": ["http://127.0.0.1:9"]}}, "extra 'proxies' .* is not an object"),
        ({"extra": {"proxies": {"http": "http://["}}}, "invalid host or proxy address"),
    ],
)
def test_a_bad_connection_says_what_is_wrong(make_pindo, sandbox, monkeypatch, changes, message):
    connect(monkeypatch, sandbox, **changes)
    ok, said = make_pindo().test_connection()
    assert not ok
    assert re.search(message, said), said
    assert "pindo_default" not in said  # Airflow tests a form under a random ID
    assert "secret" not in said
    assert "another-token" not in said


@pytest.mark.parametrize(
    "address",
    ["https://api.pindo.io", "api.pindo.io", "api.pindo.io/", "http://127.0.0.1:8080", "pindo.test:8080"],
)
@pytest.mark.parametrize(
    "token", ["eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx.SflKxwRJSMeKKF2QT4", "a?b@c#d", "x" * 70]
)
def test_swapped_host_and_token_show_neither(make_pindo, sandbox, monkeypatch, address, token):
    connect(monkeypatch, sandbox, host=token, password=address)
    ok, said = make_pindo().test_connection()
    assert not ok
    assert "seem to be swapped" in said
    assert token not in said
    assert address not in said


@pytest.mark.parametrize("token", ["eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx.sig", "a.B", "a-token.7", "3f.9c"])
def test_a_token_with_dots_is_a_token(make_pindo, sandbox, monkeypatch, token):
    connect(monkeypatch, sandbox, password=token)
    assert "returned 401" in make_pindo().test_connection()[1]


@pytest.mark.parametrize(
    "host", ["c2VjcmV0" * 9, "c2VjcmV0+c2V=", "c2VjcmV0:c2VjcmV0=", f"c2Vj:{'c2Vj' * 12}"]
)
def test_a_host_that_may_be_a_token_is_not_shown(make_pindo, sandbox, monkeypatch, host):
    connect(monkeypatch, sandbox, host=f"{host}/[")
    ok, said = make_pindo().test_connection()
    assert not ok
    assert "host 'c2Vj…' of" in said
    assert "cmV0" not in said
    assert "c2Vjc2Vj" not in said


@pytest.mark.parametrize(
    ("connection", "url"),
    [
        ({"host": "::1", "schema": "http", "port": 8080}, "http://[::1]:8080"),
        ({"host": "[::1]", "schema": "http", "port": 8080}, "http://[::1]:8080"),
        ({"host": "::1", "schema": "http"}, "http://[::1]"),
        ({"host": "2001:db8::7"}, "https://[2001:db8::7]"),
        ("pindo://:token-of-a-test@[::1]:8080/http", "http://[::1]:8080"),
    ],
)
def test_an_address_of_ipv6_is_taken_as_airflow_writes_it(monkeypatch, connection, url):
    if isinstance(connection, dict):
        connection = json.dumps({"conn_type": "pindo", "password": "t-o-k-e-n", **connection})
    monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", connection)
    with PindoHook() as hook:
        assert hook.settings.base_url == url


@needs_broken_connections
@pytest.mark.parametrize(("extra", "message"), [("{", "is not JSON"), ("[1]", "is not a JSON object")])
def test_an_extra_that_is_no_object_is_told(make_pindo, sandbox, monkeypatch, extra, message):
    connection = {**json.loads(sandbox.connection_json()), "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", json.dumps(connection))
    ok, said = make_pindo().test_connection()
    assert (ok, message in said) == (False, True), said


def test_a_bare_host_means_https(make_pindo, sandbox, monkeypatch):
    connect(monkeypatch, sandbox, host=sandbox.url.removeprefix("http://"))
    assert "TLS failed" in make_pindo().test_connection()[1]
    connect(monkeypatch, sandbox, host=sandbox.url.removeprefix("http://"), schema="http")
    assert make_pindo().test_connection()[0]


def test_a_host_that_speaks_no_tls_is_told(make_pindo, sandbox, monkeypatch):
    connect(monkeypatch, sandbox, host=sandbox.url.replace("http://", "https://"))
    ok, said = make_pindo().test_connection()
    assert (ok, "TLS failed" in said) == (False, True), said


def test_a_host_that_is_not_pindo_is_told(pindo, sandbox):
    sandbox.add_fault(call="get_balance", action="not_json")
    ok, said = pindo.test_connection()
    assert (ok, "it is not JSON" in said) == (False, True), said
    assert said.startswith("This does not look like Pindo: check the connection's host.")
