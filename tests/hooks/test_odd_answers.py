"""Answers that are no decent HTTP: one message never gets another's, and every failure is a PindoError."""

from __future__ import annotations

import gzip
import json
import logging
import time
import traceback
import tracemalloc

import pytest

from airflow_provider_pindo.api import calls
from airflow_provider_pindo.api.errors import (
    PindoConfigurationError,
    PindoConnectionError,
    PindoRejectedError,
    PindoServerError,
    PindoUnknownOutcomeError,
)
from airflow_provider_pindo.hooks._transport.attempt import Attempt
from airflow_provider_pindo.hooks._transport.limits import MAX_RESPONSE
from airflow_provider_pindo.hooks.pindo import PindoHook
from tests.hooks.wire import PAUSE, Wire, answer, receipt

PHONE = "+250781234567"
EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"


@pytest.fixture
def wire(monkeypatch):
    """Make a server of scripts, to which the connection points."""
    running = []

    def start(*scripts, **extra):
        running.append(Wire(*scripts).__enter__())
        monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", running[-1].connection(**extra))
        return running[-1]

    yield start
    for each in running:
        each.__exit__()


def test_an_interim_answer_is_not_taken_for_the_answer(wire, make_pindo):
    wire([EARLY_HINTS, receipt("one")], [receipt("two")])
    pindo = make_pindo()
    assert [pindo.send_sms(PHONE, text).sms_id for text in ("one", "two")] == ["one", "two"]


def test_no_request_depends_on_an_earlier_response(wire, make_pindo):
    server = wire([answer(201, b'{"sms_id": "one"}', "Set-Cookie: session=1; Path=/")], [receipt("two")])
    pindo = make_pindo()
    assert [pindo.send_sms(PHONE, text).sms_id for text in ("one", "two")] == ["one", "two"]
    assert len([line for line in server.headers if line.startswith("host:")]) == 2
    assert not [line for line in server.headers if line.startswith("cookie:")]


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


def test_messages_without_an_id_are_left_out_and_told(wire, make_pindo, caplog, capsys):
    rows = [{"id": each, "text": "YES", "created_at": "2026-11-22T15:05:00"} for each in (1, "x", None)]
    page = [answer(200, json.dumps({"inbound_sms": rows}).encode())]
    shorter = [answer(200, json.dumps({"inbound_sms": rows[:2]}).encode())]
    wire(page, page, shorter, shorter)
    pindo = make_pindo()
    for number in (1, 1, 2, 2):
        assert [each.id for each in pindo.list_inbound_sms(number).messages] == [1]
    printed = capsys.readouterr().out
    for told in ("Page 1 of the inbound list: 2 messages", "Page 2 of the inbound list: 1 messages"):
        # Airflow 2.11 logs it in both places, 3.3 in one.
        assert max(caplog.text.count(told), printed.count(told)) == 1


def test_an_attempt_that_was_given_up_does_not_leave(pindo, sandbox):
    attempt = Attempt()
    assert attempt.abort_if_unsent() is False
    with pytest.raises(PindoConnectionError, match="Nothing was sent"):
        pindo.send(calls.send_sms(PHONE, "Muraho", "PindoTest"), attempt)
    assert sandbox.requests() == []


def test_an_attempt_whose_time_is_over_does_not_leave(pindo, sandbox):
    attempt = Attempt()
    attempt.expire_in(0)
    with pytest.raises(PindoConnectionError, match="Nothing was sent"):
        pindo.send(calls.send_sms(PHONE, "Muraho", "PindoTest"), attempt)
    assert (attempt.sent, attempt.is_late) == (False, True)
    assert sandbox.requests() == []


def test_a_long_header_line_is_read(wire, make_pindo):
    wire([answer(201, b'{"sms_id": "long"}', f"X-Big: {'a' * 60_000}")])
    assert make_pindo().send_sms(PHONE, "Muraho").sms_id == "long"


def test_an_answer_without_end_is_not_read_to_it(wire, make_pindo):
    bomb = gzip.compress(b" " * (MAX_RESPONSE + 1))
    wire([answer(201, bomb, "Content-Encoding: gzip")])
    with pytest.raises(PindoUnknownOutcomeError, match=r"larger than any of Pindo's.* may have been sent"):
        make_pindo().send_sms(PHONE, "Muraho")


@pytest.mark.parametrize("status", [302, 307])
def test_a_redirect_without_end_is_not_read_to_it(wire, make_pindo, status):
    bomb = gzip.compress(b" " * (8 * MAX_RESPONSE), 1)
    wire([answer(status, bomb, "Content-Encoding: gzip", "Location: /v1/sms/out_sms_1")])
    tracemalloc.start()
    try:
        with pytest.raises(PindoUnknownOutcomeError, match=r"larger than any of Pindo's"):
            make_pindo().send_sms(PHONE, "Muraho")
        assert tracemalloc.get_traced_memory()[1] < 4 * MAX_RESPONSE
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("check", [True, False])
def test_an_answer_to_run_without_end_is_not_read_to_it(wire, check):
    wire([answer(200, gzip.compress(b" " * (MAX_RESPONSE + 1)), "Content-Encoding: gzip")])
    with PindoHook() as hook, pytest.raises(PindoServerError, match="larger than any of Pindo's"):
        hook.run("/wallets/self", extra_options={"check_response": check})


def test_an_answer_to_run_that_comes_drop_by_drop_is_not_waited_for_to_its_end(wire):
    wire(ENDLESS["body"], timeout=4 * PAUSE)
    started = time.monotonic()
    with PindoHook() as hook, pytest.raises(PindoServerError, match=r"it took too long|was cut short"):
        hook.run("/wallets/self")
    assert time.monotonic() - started < 45 * PAUSE


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


# Answers that repeat what was sent, where an HTTP client quotes them in its error.

TEXT = "Your result is ready"
ECHO = json.dumps({"sms_id": "one", "to": PHONE, "text": TEXT}).encode()
CHUNKED = b"HTTP/1.1 201 Said\r\nTransfer-Encoding: chunked\r\n\r\n"
NO_HTTP = {
    "no status line": ECHO + b"\r\n\r\n",
    "no status": b"HTTP/1.1 2x1 " + ECHO + b"\r\n\r\n",
    "no size of a chunk": CHUNKED + ECHO + b"\r\n\r\n",
    "nothing after a chunk": CHUNKED + b"2\r\n{}\r\n" + ECHO + b"\r\n\r\n",
    "no gzip": answer(201, ECHO, "Content-Encoding: gzip"),
}
NOT_READ = r"the response was (?:not valid HTTP|cut short)"


def shown(error):
    """Return all that a log shows of an error: it and its causes, each with its traceback."""
    return "".join(traceback.format_exception(error))


def is_told(text):
    return any(piece in text for piece in (PHONE, "781234567", TEXT, "result is ready"))


@pytest.mark.parametrize("script", NO_HTTP.values(), ids=NO_HTTP)
def test_an_answer_that_is_no_http_shows_in_no_log(wire, make_pindo, caplog, script):
    wire([script])
    with caplog.at_level(logging.DEBUG), pytest.raises(PindoUnknownOutcomeError, match=NOT_READ) as raised:
        make_pindo().send_sms(PHONE, TEXT)
    assert not is_told(shown(raised.value))
    assert not is_told(caplog.text)


@pytest.mark.parametrize("script", NO_HTTP.values(), ids=NO_HTTP)
def test_an_answer_to_run_that_is_no_http_shows_in_no_log(wire, caplog, script):
    wire([script])
    with (
        PindoHook() as hook,
        caplog.at_level(logging.DEBUG),
        pytest.raises(PindoServerError, match=NOT_READ) as raised,
    ):
        hook.run("/v1/sms/out_sms_1")
    assert not is_told(shown(raised.value))
    assert not is_told(caplog.text)


def test_a_header_that_is_none_shows_in_no_log(wire, caplog, capfd):
    wire([b"HTTP/1.1 201 Said\r\nContent-Length: 17\r\n" + TEXT.encode() + b'\r\n\r\n{"sms_id": "one"}'])
    with PindoHook() as hook, caplog.at_level(logging.DEBUG):
        assert hook.send_sms(PHONE, TEXT).sms_id == "one"
    assert not is_told(caplog.text + "".join(capfd.readouterr()))


# Answers without end.


def drops(*whole):
    """Return pieces of a byte each."""
    return [bytes([byte]) for part in whole for byte in part]


ENDLESS = {
    "body": [answer(201, b" " * 50)[:-50], *drops(b" " * 50)],
    "head": drops(b"HTTP/1.1 201 Said\r\n" + b"X" * 40),
    "interim answers": [EARLY_HINTS] * 50,
}


@pytest.mark.parametrize("script", ENDLESS.values(), ids=ENDLESS)
def test_an_answer_that_comes_drop_by_drop_is_not_waited_for_to_its_end(wire, make_pindo, script):
    wire(script, timeout=4 * PAUSE)
    started = time.monotonic()
    with pytest.raises(PindoUnknownOutcomeError, match=r"it took too long|the response was cut short"):
        make_pindo().send_sms(PHONE, "Muraho")
    assert time.monotonic() - started < 45 * PAUSE


@pytest.mark.parametrize("end", [b"ZZZ\r\nfoo", b"5\r\n{}"], ids=["no size", "no end"])
def test_a_chunk_that_breaks_after_a_pause_is_not_waited_for_for_ever(wire, make_pindo, end):
    wire([CHUNKED + b'5\r\n{"sms\r\n', end], timeout=4 * PAUSE)
    started = time.monotonic()
    with pytest.raises(PindoUnknownOutcomeError, match=rf"it took too long|{NOT_READ}"):
        make_pindo().send_sms(PHONE, "Muraho")
    assert time.monotonic() - started < 45 * PAUSE


def test_an_answer_in_pieces_has_four_times_as_long_as_a_piece(wire, make_pindo):
    whole = receipt("one")
    wire([whole[start : start + 6] for start in range(0, len(whole), 6)], timeout=5 * PAUSE)
    assert make_pindo().send_sms(PHONE, "Muraho").sms_id == "one"


def test_after_a_slow_answer_the_next_has_all_its_time(wire, make_pindo):
    slow = answer(409, b'{"message": "unsupported telco"}')
    wire([slow[:20], slow[20:30], slow[30:]], [slow[:20], slow[20:30], slow[30:]], timeout=2.5 * PAUSE)
    pindo = make_pindo()
    for _ in range(2):
        with pytest.raises(PindoRejectedError):
            pindo.send_sms(PHONE, "Muraho")
