"""PindoHook is the HTTP provider's hook too: what it inherits keeps the same promises."""

from __future__ import annotations

import pytest
from airflow.providers.http.hooks.http import HttpHook

from airflow_provider_pindo.api.errors import PindoAuthError, PindoConfigurationError, PindoServerError
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


def test_a_hook_can_be_used_again_after_it_was_closed(hook, sandbox):
    hook.send_sms(PHONE, "one")
    hook.close()
    hook.send_sms(PHONE, "two")
    assert [message["text"] for message in sandbox.messages()] == ["one", "two"]


def test_whoever_interrupts_it_knows_whether_a_request_is_out(hook, sandbox):
    hook.get_balance()
    sandbox.add_fault(call="send_sms", action="drop_after")
    with pytest.raises(Exception, match="may have been sent"):
        hook.send_sms(PHONE, "Muraho")
    assert hook.request_left()
    sandbox.add_fault(call="send_sms", action="status", status=409)
    with pytest.raises(Exception, match="refused"):
        hook.send_sms(PHONE, "Muraho")
    assert not hook.request_left()
