"""PindoHook is the HTTP provider's hook too: what it inherits keeps the same promises."""

from __future__ import annotations

import json
import time

import pytest
from airflow.providers.http.hooks.http import HttpHook

from airflow_provider_pindo.api.errors import (
    PindoAuthError,
    PindoConfigurationError,
    PindoConnectionError,
    PindoNotFoundError,
    PindoRejectedError,
    PindoServerError,
    PindoUnknownOutcomeError,
)
from airflow_provider_pindo.hooks.pindo import PindoHook
from airflow_provider_pindo.sandbox import Sandbox
from tests.hooks.test_hooks import PHONE, connect


@pytest.fixture
def hook(sandbox):
    with PindoHook() as hook:
        yield hook


def test_it_is_an_http_hook(hook, sandbox):
    assert isinstance(hook, HttpHook)
    assert PindoHook().url_from_endpoint("/wallets/self") == f"{sandbox.url}/wallets/self"
    assert hook.run("/wallets/self").json() == {"amount": 500.0}
    assert hook.get_conn({"X-Trace": "1"}) is hook.get_conn()
    hook.run("/wallets/self")
    assert sandbox.requests()[-1]["headers"]["X-Trace"] == "1"
    assert hook.url_from_endpoint("/wallets/self") == f"{sandbox.url}/wallets/self"


def test_run_follows_no_redirect_and_sends_no_extra_as_a_header(hook, sandbox, monkeypatch):
    connect(monkeypatch, sandbox, extra={"X-Private": "from the extra"})
    with Sandbox() as elsewhere:
        sandbox.add_fault(call="get_balance", action="redirect", location=f"{elsewhere.url}/wallets/self")
        with pytest.raises(PindoConfigurationError, match="was redirected"):
            hook.run("/wallets/self")
        assert elsewhere.requests() == []
    assert "x-private" not in {name.lower() for name in sandbox.requests()[0]["headers"]}


@pytest.mark.parametrize(("status", "error"), [(401, PindoAuthError), (500, PindoServerError)])
def test_run_raises_our_errors_and_logs_no_body(hook, sandbox, status, error, caplog, capfd):
    body = {"message": f"no route to {PHONE}", "detail": "a private text"}
    sandbox.add_fault(call="get_balance", action="status", status=status, body=body)
    with pytest.raises(error):
        hook.run("/wallets/self")
    logged = caplog.text + "".join(capfd.readouterr())
    assert PHONE not in logged
    assert "a private text" not in logged


SENT = {"to": PHONE, "sender": "a", "texts": ["Your result is ready", {"short": "OK 7"}], "number": 7}


@pytest.mark.parametrize(
    "request_kwargs",
    [
        {"json": SENT},
        {"data": json.dumps(SENT)},
        {"data": {"to": PHONE, "sender": "a", "text": "Your result is ready", "short": "OK 7"}},
        {"data": "Your result is ready: OK 7"},
        {"files": {"text": "Your result is ready: OK 7"}},
    ],
    ids=["json", "JSON as text", "form", "text", "file"],
)
@pytest.mark.parametrize("said", ["no: {}", "no: {} and more"])
def test_run_shows_nothing_of_what_was_sent_and_is_repeated(hook, sandbox, request_kwargs, said):
    for text in ("Your result is ready", "Your result is ready: OK 7"):
        body = {"message": said.format(text)}
        sandbox.add_fault(call="*", action="status", status=400, body=body)
        hook.method = "POST"
        with pytest.raises(PindoRejectedError) as raised:
            hook.run("/v1/sms/", **request_kwargs)
        assert not any(piece in str(raised.value) for piece in ("result", "OK 7"))


@pytest.mark.parametrize(
    "request_kwargs",
    [
        {"json": {"code": 752623, "request_id": 4}},
        {"json": [{"code": 752623.0}]},
        {"data": {"code": 752623, "tries": 4}},
        {"data": "752623"},
    ],
    ids=["json", "fraction", "form", "text"],
)
def test_run_does_not_show_a_pin_that_was_sent_as_a_number(hook, sandbox, request_kwargs):
    sandbox.add_fault(
        call="*", action="status", status=400, body={"message": "code 752623 is wrong or has expired"}
    )
    hook.method = "POST"
    with pytest.raises(PindoRejectedError) as raised:
        hook.run("/v1/sms/verify/check", **request_kwargs)
    assert "752623" not in str(raised.value)


def test_run_shows_a_reason_with_a_short_number_that_was_sent(hook, sandbox):
    sandbox.add_fault(call="*", action="status", status=400, body={"message": "4 tries are left"})
    hook.method = "POST"
    with pytest.raises(PindoRejectedError, match="4 tries are left"):
        hook.run("/v1/sms/verify/check", json={"code": 752623, "request_id": 4, "is_new": True})


def test_run_tells_why_when_nothing_is_repeated(hook, sandbox):
    hook.method = "POST"
    sandbox.add_fault(call="*", action="status", status=400, times=None, body={"message": "no such route"})
    for data in (None, iter([b"Your result"]), {"text": "Muraho"}):
        with pytest.raises(PindoRejectedError, match="no such route"):
            hook.run("/v1/sms/", data=data)


def test_run_returns_a_refusal_to_whoever_asks_for_it(hook, sandbox):
    sandbox.add_fault(call="*", action="status", status=404, times=2, body={"message": "no such resource"})
    given = {"check_response": False, "allow_redirects": True, "timeout": 0.0001, "stream": True}
    answer = hook.run("/wallets/self", extra_options=given)
    assert (answer.status_code, answer.json()) == (404, {"message": "no such resource"})
    with pytest.raises(PindoNotFoundError):
        hook.run("/wallets/self")


def test_what_run_returns_is_a_whole_answer(hook):
    answer = hook.run("/wallets/self")
    assert answer.json() == json.loads(answer.content) == json.loads(answer.text) == {"amount": 500.0}
    assert b"".join(answer.iter_content(4)) == answer.content
    assert list(answer.iter_lines()) == answer.content.splitlines()


def test_run_makes_no_more_requests_a_second_than_the_connection_allows(sandbox, monkeypatch):
    connect(monkeypatch, sandbox, extra={"requests_per_second": 20})
    with PindoHook() as hook:
        started = time.monotonic()
        for _ in range(6):
            hook.run("/wallets/self")
    assert time.monotonic() - started >= 5 / 20


def test_the_address_of_an_endpoint_is_read_as_for_every_other_call(sandbox, monkeypatch):
    connect(monkeypatch, sandbox, host="api.example")
    assert PindoHook().url_from_endpoint("wallets/self") == "https://api.example/wallets/self"


@pytest.mark.parametrize(
    ("request_kwargs", "kind"),
    [
        ({"json": {"a": 1}}, "application/json"),
        ({"data": {"a": 1}}, "application/x-www-form-urlencoded"),
        ({"files": {"a": "1"}}, "multipart/form-data; boundary="),
        ({"data": '{"a": 1}'}, "application/json"),
        ({"data": "a", "headers": {"Content-Type": "text/csv"}}, "text/csv"),
    ],
    ids=["json", "form", "file", "text", "own"],
)
def test_run_names_the_kind_of_its_body(hook, sandbox, request_kwargs, kind):
    def content_type():
        headers = sandbox.requests()[-1]["headers"]
        return {name.lower(): value for name, value in headers.items()}["content-type"]

    hook.method, unchecked = "POST", {"check_response": False}
    hook.run(
        "/v1/sms/", "a", {"Content-Type": "text/plain"}, unchecked
    )  # the next request is not of this kind
    hook.run("/v1/sms/", extra_options=unchecked, **request_kwargs)
    assert content_type().startswith(kind)
    hook.send_sms(PHONE, "Muraho")
    assert content_type() == "application/json"


def test_run_raises_our_errors_when_pindo_cannot_be_reached(sandbox, monkeypatch):
    connect(monkeypatch, sandbox, host="http://127.0.0.1:9")
    with PindoHook() as hook, pytest.raises(PindoConnectionError, match="was refused"):
        hook.run("/wallets/self")


@pytest.mark.parametrize("action", ["drop_after", "truncate"])
@pytest.mark.parametrize(("method", "error"), [("GET", PindoServerError), ("POST", PindoUnknownOutcomeError)])
def test_an_answer_to_run_that_is_lost_is_our_error(sandbox, hook, action, method, error):
    sandbox.add_fault(call="*", action=action)
    hook.method = method
    with pytest.raises(error, match="got no response"):
        hook.run("/wallets/self" if method == "GET" else "/v1/sms/verify/check")


def test_a_hook_can_be_used_again_after_it_was_closed(hook, sandbox):
    hook.send_sms(PHONE, "one")
    hook.close()
    hook.send_sms(PHONE, "two")
    assert [message["text"] for message in sandbox.messages()] == ["one", "two"]


def test_a_hook_says_nothing_of_what_another_sent_before(hook, sandbox):
    hook.send_sms(PHONE, "Muraho")
    assert hook.request_sent()
    with PindoHook() as other:
        assert not other.request_sent()


def test_whoever_interrupts_it_knows_whether_a_request_is_out(hook, sandbox):
    hook.get_balance()
    sandbox.add_fault(call="send_sms", action="drop_after")
    with pytest.raises(Exception, match="may have been sent"):
        hook.send_sms(PHONE, "Muraho")
    assert hook.request_sent()
    sandbox.add_fault(call="send_sms", action="status", status=409)
    with pytest.raises(Exception, match="refused"):
        hook.send_sms(PHONE, "Muraho")
    assert not hook.request_sent()
