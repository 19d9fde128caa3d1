"""Answers that are no decent HTTP: one message never gets another's, and every failure is a PindoError."""

from __future__ import annotations

import gzip

import pytest

from airflow_provider_pindo.api.errors import (
    PindoConfigurationError,
    PindoRejectedError,
    PindoServerError,
    PindoUnknownOutcomeError,
)
from airflow_provider_pindo.hooks.pindo import MAX_ANSWER, PindoHook
from tests.hooks.wire import PAUSE, Wire, answer, receipt

PHONE = "+250781234567"
EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"


@pytest.fixture
def wire(monkeypatch):
    """Make a server of scripts, to which the connection points."""
    running = []

    def start(*scripts):
        running.append(Wire(*scripts).__enter__())
        monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", running[-1].connection())

    yield start
    for each in running:
        each.__exit__()


def test_an_interim_answer_is_not_taken_for_the_answer(wire, make_pindo):
    wire([EARLY_HINTS, receipt("one")], [receipt("two")])
    pindo = make_pindo()
    assert [pindo.send_sms(PHONE, text).sms_id for text in ("one", "two")] == ["one", "two"]


def test_a_second_answer_to_one_message_is_not_taken_for_the_next_ones(wire, make_pindo):
    wire([receipt("one"), receipt("one, again")], [answer(409, b'{"message": "unsupported telco"}')])
    pindo = make_pindo()
    assert pindo.send_sms(PHONE, "one").sms_id == "one"
    pindo.pause(2 * PAUSE)
    with pytest.raises(PindoRejectedError, match="unsupported telco"):
        pindo.send_sms(PHONE, "two")


@pytest.mark.parametrize("location", ["http://[::1", "http://[bad]/v1/sms/", "http://\xff\xfe/"])
@pytest.mark.parametrize(("status", "error"), [(302, PindoUnknownOutcomeError), (307, None)])
def test_a_redirect_to_no_address_has_the_outcome_of_any_other(wire, make_pindo, location, status, error):
    wire([answer(status, b"", f"Location: {location}")])
    with pytest.raises(error or (PindoConfigurationError, PindoUnknownOutcomeError)):
        make_pindo().send_sms(PHONE, "Muraho")


@pytest.mark.parametrize("host", ["https://api..pindo.io", f"https://{'a' * 64}.pindo.io"])
def test_a_host_that_can_be_no_name_is_refused(make_pindo, monkeypatch, host):
    monkeypatch.setenv(
        "AIRFLOW_CONN_PINDO_DEFAULT",
        f'{{"conn_type": "pindo", "password": "token-of-nobody", "host": "{host}"}}',
    )
    ok, said = make_pindo().test_connection()
    assert not ok
    assert "is not an address" in said


def test_an_answer_without_end_is_not_read_to_it(wire, make_pindo):
    bomb = gzip.compress(b" " * (MAX_ANSWER + 1))
    wire([answer(201, bomb, "Content-Encoding: gzip")])
    with pytest.raises(PindoUnknownOutcomeError, match=r"larger than any of Pindo's.* may have been sent"):
        make_pindo().send_sms(PHONE, "Muraho")


@pytest.mark.parametrize(
    ("method", "path", "error"),
    [("POST", "/v1/sms/", PindoUnknownOutcomeError), ("GET", "/wallets/self", PindoServerError)],
)
def test_what_run_says_of_a_failure_depends_on_the_method(sandbox, method, path, error):
    sandbox.add_fault("status", status=503)
    with PindoHook() as hook:
        hook.method = method
        with pytest.raises(error):
            hook.run(path)
