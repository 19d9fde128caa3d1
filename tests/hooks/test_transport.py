"""Certificates, proxies and kept connections, as they are for the HTTP provider."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import socket
import ssl
import time
from pathlib import Path

import aiohttp
import pytest
import requests
import urllib3
from cryptography import x509

from airflow_provider_pindo.api import calls
from airflow_provider_pindo.api.errors import (
    PindoConfigurationError,
    PindoConnectionError,
    PindoUnknownOutcomeError,
)
from airflow_provider_pindo.hooks._settings import PindoSettings
from airflow_provider_pindo.hooks._transport import aio
from airflow_provider_pindo.hooks._transport.attempt import Attempt, begin_attempt
from airflow_provider_pindo.hooks._transport.errors import describe
from airflow_provider_pindo.hooks._transport.retry import Pacer
from airflow_provider_pindo.hooks._transport.tls import ssl_context
from airflow_provider_pindo.hooks.pindo import PindoAsyncHook, PindoHook
from tests.hooks.relay import Relay
from tests.hooks.test_hooks import PHONE, connect
from tests.hooks.wire import Wire


def test_a_connection_is_used_again_while_it_is_busy(make_pindo, sandbox, monkeypatch):
    with Relay(sandbox.url) as relay:
        connect(monkeypatch, sandbox, host=relay.url)
        pindo = make_pindo()
        for _ in range(5):
            pindo.send_sms(PHONE, "Muraho")
        assert relay.connections == 1
    assert len(sandbox.messages()) == 5


async def test_a_request_counts_as_out_even_if_aiohttp_does_not_say_so(sandbox, monkeypatch):
    monkeypatch.setattr(aio.PindoConnector, "connect", aiohttp.TCPConnector.connect)
    sandbox.add_fault(call="send_sms", action="drop_after", times=None)
    async with PindoAsyncHook() as hook:
        with pytest.raises(PindoUnknownOutcomeError):
            await hook.send_sms(PHONE, "Muraho")
    assert len(sandbox.messages()) == 1


async def test_whoever_interrupts_it_knows_whether_a_request_is_out(sandbox):
    sandbox.add_fault(call="send_sms", action="slow_answer", seconds=1)
    async with PindoAsyncHook(concurrency=1) as hook:
        out, waiting = Attempt(), Attempt()
        sent = [
            asyncio.create_task(hook.send(calls.send_sms(PHONE, "Muraho", "PindoTest"), attempt))
            for attempt in (out, waiting)
        ]
        async with asyncio.timeout(30):
            while not out.sent:  # noqa: ASYNC110 - an attempt has no event to wait for
                await asyncio.sleep(0.01)
        assert not waiting.sent
        await asyncio.gather(*sent)


async def test_requests_that_start_together_share_one_session(sandbox):
    async with PindoAsyncHook() as hook:
        await asyncio.gather(*(hook.send_sms(PHONE, f"Muraho {number}") for number in range(5)))
        transport = hook._transport
        await hook.get_balance()
        assert hook._transport is transport
    assert len(sandbox.messages()) == 5


async def test_a_server_that_reads_nothing_is_not_waited_for_for_ever(sandbox, monkeypatch):
    rows = [{"phonenumber": f"+25078{number:07}", "name": "N" * 9000} for number in range(1000)]
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        connect(monkeypatch, sandbox, host=url, extra={"timeout": 0.2})
        async with PindoAsyncHook() as hook:
            with pytest.raises(PindoUnknownOutcomeError, match="it took too long"):
                await asyncio.wait_for(hook.send_bulk_sms(rows, "Muraho @contact.name"), 10)


async def test_a_large_request_that_waits_for_a_connection_is_not_ended_before_it_leaves(
    sandbox, monkeypatch
):
    connect(monkeypatch, sandbox, extra={"timeout": 1})  # 4 s for the whole response
    sandbox.add_fault(call="send_bulk_sms", action="slow_answer", seconds=0.6, times=None)
    rows = [{"phonenumber": PHONE, "name": "N" * 70_000}]
    async with PindoAsyncHook(concurrency=1) as hook:
        await asyncio.gather(*(hook.send_bulk_sms(rows, "Muraho @contact.name") for _ in range(8)))
    assert len(sandbox.messages()) == 8


def test_a_connection_that_idled_is_not_used_again(make_pindo, sandbox, monkeypatch):
    with Relay(sandbox.url) as relay:
        connect(monkeypatch, sandbox, host=relay.url)
        pindo = make_pindo()
        pindo.send_sms(PHONE, "Muraho")
        pindo.pause(1.2)
        pindo.send_sms(PHONE, "Muraho")
        assert relay.connections == 2


def test_an_unknown_certificate_is_refused_and_nothing_is_sent(make_pindo, sandbox, monkeypatch, tls):
    with Relay(sandbox.url, tls=tls) as relay:
        connect(monkeypatch, sandbox, host=relay.url)
        with pytest.raises(
            PindoConnectionError, match=r"TLS certificate was not accepted \(self-signed certificate\)"
        ):
            make_pindo(max_attempts=1).send_sms(PHONE, "Muraho")
    assert sandbox.requests() == []


@pytest.mark.parametrize("key", ["verify", "verify_ssl"])
def test_a_ca_bundle_of_ones_own_is_used(make_pindo, sandbox, monkeypatch, tls, certificate, key):
    with Relay(sandbox.url, tls=tls) as relay:
        connect(monkeypatch, sandbox, host=relay.url, extra={key: certificate[0]})
        make_pindo().send_sms(PHONE, "Muraho")
    assert len(sandbox.messages()) == 1


def test_a_folder_of_certificates_is_used(make_pindo, sandbox, monkeypatch, tls, certificate, tmp_path):
    made = x509.load_pem_x509_certificate(Path(certificate[0]).read_bytes())
    # OpenSSL looks for a file that is named by a digest of the subject, less the two bytes that say how long it is.
    digest = hashlib.sha1(made.subject.public_bytes()[2:]).digest()
    (tmp_path / f"{int.from_bytes(digest[:4], 'little'):08x}.0").symlink_to(certificate[0])
    with Relay(sandbox.url, tls=tls) as relay:
        connect(monkeypatch, sandbox, host=relay.url, extra={"verify": str(tmp_path)})
        make_pindo().send_sms(PHONE, "Muraho")
    assert len(sandbox.messages()) == 1


@pytest.mark.parametrize("value", [False, "false"])
def test_verification_can_be_switched_off(make_pindo, sandbox, monkeypatch, tls, value):
    with Relay(sandbox.url, tls=tls) as relay:
        connect(monkeypatch, sandbox, host=relay.url, extra={"verify": value})
        make_pindo().send_sms(PHONE, "Muraho")
    assert len(sandbox.messages()) == 1


@pytest.mark.parametrize("as_list", [True, False], ids=["certificate and key", "one file"])
def test_a_client_certificate_is_shown(make_pindo, sandbox, monkeypatch, tls, certificate, tmp_path, as_list):
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(certificate[0])
    both = tmp_path / "both.pem"
    both.write_text("".join(open(file).read() for file in certificate))  # noqa: SIM115, PTH123
    cert = list(certificate) if as_list else str(both)
    with Relay(sandbox.url, tls=tls) as relay:
        connect(monkeypatch, sandbox, host=relay.url, extra={"verify": certificate[0], "cert": cert})
        make_pindo().send_sms(PHONE, "Muraho")
    assert len(sandbox.messages()) == 1


@pytest.mark.parametrize("extra", ["verify", "cert"])
def test_a_certificate_file_that_is_not_there_is_told(make_pindo, sandbox, monkeypatch, extra):
    connect(monkeypatch, sandbox, host="https://localhost:1", extra={extra: "/no/such/file.pem"})
    ok, said = make_pindo().test_connection()
    assert (ok, said) == (
        False,
        f"extra '{extra}' of this connection names the file '/no/such/file.pem', which is not on "
        "this machine: put it there, or fix the path",
    )


def test_a_client_certificate_is_shown_to_whom_is_not_checked(
    make_pindo, sandbox, monkeypatch, tls, certificate
):
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(certificate[0])
    with Relay(sandbox.url, tls=tls) as relay:
        extra = {"verify": False, "cert": list(certificate)}
        connect(monkeypatch, sandbox, host=relay.url.replace("localhost", "127.0.0.1"), extra=extra)
        make_pindo().send_sms(PHONE, "Muraho")
    assert len(sandbox.messages()) == 1


@pytest.mark.parametrize("over_tls", [False, True])
def test_requests_go_through_the_connections_proxy(
    make_pindo, sandbox, monkeypatch, tls, certificate, over_tls
):
    with (
        Relay(sandbox.url, tls=tls if over_tls else None) as server,
        Relay(server.url, as_proxy=True) as proxy,
    ):
        scheme = "https" if over_tls else "http"
        extra = {"proxies": {scheme: proxy.url} if over_tls else proxy.url, "verify": certificate[0]}
        connect(monkeypatch, sandbox, host=server.url, extra=extra)
        make_pindo().send_sms(PHONE, "Muraho")
        assert len(proxy.asked) == 1
        if over_tls:
            assert sandbox.token.encode() not in proxy.asked[0]
    assert len(sandbox.messages()) == 1


def test_requests_go_through_the_environments_proxy_unless_told_otherwise(make_pindo, sandbox, monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    elsewhere = {"host": "http://pindo.example", "extra": {"allow_http": True}}
    with Relay(sandbox.url, as_proxy=True) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        connect(monkeypatch, sandbox, **elsewhere)
        make_pindo().send_sms(PHONE, "Muraho")
        assert len(proxy.asked) == len(sandbox.messages()) == 1
        connect(
            monkeypatch, sandbox, host="http://pindo.example", extra={"allow_http": True, "trust_env": False}
        )
        with pytest.raises(PindoConnectionError, match="cannot be resolved"):
            make_pindo(max_attempts=1).send_sms(PHONE, "Muraho")
        monkeypatch.setenv("no_proxy", "pindo.example")
        connect(monkeypatch, sandbox, **elsewhere)
        with pytest.raises(PindoConnectionError, match="cannot be resolved"):
            make_pindo(max_attempts=1).send_sms(PHONE, "Muraho")
        assert len(proxy.asked) == 1


@pytest.mark.parametrize("key", ["http://pindo.example", "http", "all://pindo.example", "all"])
def test_a_proxy_may_be_for_a_host_a_scheme_or_all(make_pindo, sandbox, monkeypatch, key):
    nobody = "http://127.0.0.1:9"
    with Relay(sandbox.url, as_proxy=True) as proxy:
        proxies = {key: proxy.url, "https": nobody, "http://other.example": nobody}
        extra = {"allow_http": True, "proxies": proxies}
        connect(monkeypatch, sandbox, host="http://pindo.example", extra=extra)
        make_pindo().send_sms(PHONE, "Muraho")
        assert len(proxy.asked) == len(sandbox.messages()) == 1


def test_a_host_may_be_exempt_from_the_proxy_for_all(make_pindo, sandbox, monkeypatch):
    connect(
        monkeypatch,
        sandbox,
        extra={"proxies": {sandbox.url.rpartition(":")[0]: "", "all": "http://127.0.0.1:9"}},
    )
    make_pindo().send_sms(PHONE, "Muraho")
    assert len(sandbox.messages()) == 1


def test_what_is_on_this_machine_needs_no_proxy_of_the_environment(make_pindo, sandbox, monkeypatch):
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with Relay(sandbox.url, as_proxy=True) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        make_pindo().send_sms(PHONE, "Muraho")
        assert proxy.asked == []
    assert len(sandbox.messages()) == 1


@pytest.mark.parametrize("extra", ["verify", "cert"])
def test_a_file_that_holds_no_certificate_is_told(make_pindo, sandbox, monkeypatch, tmp_path, extra):
    file = tmp_path / "no-certificate.pem"
    file.write_text("not a certificate")
    connect(monkeypatch, sandbox, host="https://localhost:1", extra={extra: str(file)})
    ok, said = make_pindo().test_connection()
    assert (ok, "the certificates cannot be used" in said) == (False, True), said


def test_a_missing_certificate_is_an_error_that_names_each_option_it_may_be_in():
    settings = PindoSettings("https://airflow.example", "token", cert=("no-certificate.pem", "no-key.pem"))
    with pytest.raises(PindoConfigurationError) as raised:
        ssl_context(settings)
    options = ("'verify'", "'cert'", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    of_webhooks = ("ssl_ca_file", " ssl_cert", "client_ssl_cert", "client_ssl_key", "section [api]")
    assert [name for name in options + of_webhooks if name not in str(raised.value)] == []


def test_a_proxy_that_is_not_there_is_certain_and_its_password_is_not_told(make_pindo, sandbox, monkeypatch):
    proxy = "http://somebody:proxy-secret@127.0.0.1:9"
    connect(monkeypatch, sandbox, extra={"proxies": {"http": proxy}})
    with pytest.raises(PindoConnectionError, match="Nothing was sent") as raised:
        make_pindo(max_attempts=1).send_sms(PHONE, "Muraho")
    assert "proxy-secret" not in str(raised.value)


@pytest.mark.parametrize("from_environment", [True, False])
def test_a_socks_proxy_is_refused(make_pindo, sandbox, monkeypatch, from_environment):
    proxy = "socks5h://127.0.0.1:1080"
    extra = {"allow_http": True}
    if from_environment:
        monkeypatch.setenv("http_proxy", proxy)
    else:
        extra["proxies"] = {"http": proxy}
    connect(monkeypatch, sandbox, host="http://pindo.example", extra=extra)
    with pytest.raises(PindoConfigurationError, match="'pindo_default' is a SOCKS proxy"):
        make_pindo().send_sms(PHONE, "Muraho")


def test_a_failure_of_another_kind_is_told_by_its_kind_alone():
    assert describe(OSError("somebody:proxy-secret")) == describe(OSError("a", "b")) == "OSError"


@pytest.mark.parametrize("number", [errno.ENETUNREACH, errno.EHOSTUNREACH])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda cause: cause,
        lambda cause: aiohttp.ClientConnectorError(None, cause),
        lambda cause: requests.ConnectionError(urllib3.exceptions.MaxRetryError(None, "/", cause)),
    ],
    ids=["bare", "aiohttp", "requests"],
)
def test_a_host_that_no_route_leads_to_is_told_without_its_address(number, wrap):
    assert describe(wrap(OSError(number, "Connect call failed ('192.0.2.1', 443)"))) == os.strerror(number)


def test_a_proxy_that_refuses_the_way_is_certain(make_pindo, sandbox, monkeypatch):
    # The sandbox is no proxy: it answers CONNECT with an error.
    connect(monkeypatch, sandbox, host="https://localhost:1", extra={"proxies": {"https": sandbox.url}})
    with pytest.raises(PindoConnectionError, match="Nothing was sent"):
        make_pindo(max_attempts=1).send_sms(PHONE, "Muraho")


@pytest.mark.parametrize("drips", [False, True])
def test_a_proxy_that_takes_a_connection_and_says_nothing_is_not_waited_for(
    make_pindo, sandbox, monkeypatch, drips
):
    drops = [b"HTTP/1.1 200 OK\r\n", *[b"X-Wait: 1\r\n"] * 60] if drips else [b""]
    with Wire(drops) as proxy:
        extra = {"proxies": {"https": proxy.url}, "timeout": 0.5}
        connect(monkeypatch, sandbox, host="https://localhost:1", extra=extra)
        started = time.monotonic()
        with pytest.raises(PindoConnectionError, match=r"took too long|closed without a response"):
            make_pindo(max_attempts=1).send_sms(PHONE, "Muraho")
        assert time.monotonic() - started < 10


def test_the_session_serves_code_that_has_no_call_of_ours(sandbox):
    with PindoHook() as hook:
        answer = hook.get_conn().get(f"{sandbox.url}/wallets/self")
    assert answer.json()["amount"] > 0


def test_a_moment_that_is_too_late_for_a_request_stays_free_for_the_next():
    pacer, late = Pacer(0.1), Attempt()
    late.expire_in(5)
    assert pacer.delay(late) == 0
    assert [round(pacer.delay(late)) for _ in range(3)] == [10, 10, 10]
    assert [round(pacer.delay(Attempt())) for _ in range(2)] == [10, 20]


async def test_what_ended_before_its_deadline_is_not_aborted(sandbox):
    connector = aio.PindoConnector(check_interval=60)
    async with aiohttp.ClientSession(connector=connector) as session:
        attempt = begin_attempt()
        async with session.get(f"{sandbox.url}/sandbox/state") as response:
            connection = connector.in_flight[attempt]
            while not response.content.is_eof():  # noqa: ASYNC110 - a stream has no event to wait for
                await asyncio.sleep(0.01)
            attempt.deadline = time.monotonic() - 1
            connector.in_flight = {attempt: response}
            connector._abort_late()
            assert (await response.json())["messages"] == 0
        assert connection.transport is None  # it is back in the pool
        connector.in_flight = {attempt: connection}
        connector._abort_late()
        async with session.get(f"{sandbox.url}/sandbox/state") as response:
            assert response.status == 200
