"""PindoNotifier when Pindo or a connection fails: it never raises, never takes long, and logs no secret."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time

import pytest

from airflow_provider_pindo.api.errors import PindoRateLimitError, PindoUnknownOutcomeError
from airflow_provider_pindo.notifications import _sending
from airflow_provider_pindo.notifications.sms import PindoNotifier
from tests.notifications.alerts import OTHER, PHONE, assert_nothing_is_told, awaited, either_way, phones


@awaited
@pytest.mark.parametrize("status", [401, 402, 409, 429, 500])
def test_a_refusal_is_logged_and_not_raised(sandbox, log, status, awaited):
    body = {"message": f"Muraho to {PHONE} with sandbox-token"}
    sandbox.add_fault("status", call="send_sms", status=status, body=body, times=None)
    either_way(PindoNotifier(PHONE, "Muraho"), awaited=awaited)
    assert f"Pindo returned {status}" in log.text
    assert_nothing_is_told(log)


@awaited
@pytest.mark.parametrize(
    "conn",
    [
        "",
        '{"conn_type": "pindo"}',
        '{"conn_type": "pindo", "host": "http://127.0.0.1:1", "password": "unused-token"}',
    ],
)
def test_a_connection_that_cannot_be_used_is_logged_and_not_raised(monkeypatch, log, conn, awaited):
    if conn:
        monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", conn)
    either_way(PindoNotifier(PHONE, "Muraho", sender="OnCall"), awaited=awaited)
    assert "No alert was sent: " in log.text or "Nothing was sent" in log.text
    assert_nothing_is_told(log)


@awaited
@pytest.mark.parametrize("to", ["{{ 1 / 0 }}", "{{ nobody }}", "", [], "0"])
def test_a_recipient_that_is_none_is_logged_and_not_raised(sandbox, log, to, awaited):
    either_way(PindoNotifier(to, "Muraho"), awaited=awaited)
    assert sandbox.messages() == []
    assert "No alert was sent" in log.text


@awaited
def test_a_pindo_that_hangs_is_given_up_and_the_others_get_theirs(sandbox, log, awaited):
    sandbox.add_fault("latency", call="send_sms", to=OTHER, seconds=600, times=None)
    either_way(PindoNotifier([OTHER, PHONE], "Muraho", timeout=5), awaited=awaited)
    assert phones(sandbox) == [(PHONE, "Muraho")]
    assert "Pindo did not respond in time. The message may have been sent" in log.text
    assert_nothing_is_told(log)


@pytest.fixture
def dripping(monkeypatch):
    """A server that sends its response one byte at a time, without end. No socket timeout ends that."""
    over = threading.Event()

    def serve(connection):
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            while not over.wait(0.05):
                try:
                    connection.sendall(b" ")
                except OSError:
                    return

    def accept():
        while not over.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=[connection], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        threading.Thread(target=accept, daemon=True).start()
        connection = {
            "conn_type": "pindo",
            "host": f"http://127.0.0.1:{port}",
            "password": "unused-token",
            "extra": {"sender": "PindoTest"},
        }
        monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", json.dumps(connection))
        yield
        over.set()


@awaited
@pytest.mark.parametrize(
    "fault",
    [
        {"action": "rate_limit", "retry_after": 30},  # the time limit passes during the wait for the next try
        {"action": "latency", "seconds": 600},
    ],
)
def test_what_has_not_left_when_its_time_is_up_never_leaves_and_holds_back_nothing(
    sandbox, log, monkeypatch, awaited, fault
):
    """Pindo does not respond in time, or it asks for a wait beyond the time limit."""
    outcomes = []
    log_outcomes = _sending._log_outcomes
    monkeypatch.setattr(_sending, "_log_outcomes", lambda sends: outcomes.extend(log_outcomes(sends)))
    stands = fault["action"] == "latency"
    sandbox.add_fault(call="send_sms", times=None if stands else 1, **fault)
    either_way(PindoNotifier(PHONE, "Muraho", timeout=2), awaited=awaited)
    [outcome] = outcomes
    assert isinstance(outcome, PindoUnknownOutcomeError if stands else PindoRateLimitError)
    assert ("may have been sent" in log.text) is stands
    assert ("Pindo returned 429" in log.text) is not stands
    if not stands:
        time.sleep(3)  # longer than the wait of a second try that was not aborted
        assert sandbox.messages() == []


@awaited
def test_a_pindo_that_drips_is_given_up(dripping, log, awaited):
    either_way(PindoNotifier(PHONE, "Muraho", timeout=3), awaited=awaited)
    assert "Pindo did not respond in time" in log.text


async def test_the_event_loop_goes_on_while_pindo_hangs(sandbox):
    sandbox.add_fault("latency", call="send_sms", seconds=600, times=None)
    beats = 0

    async def beat():
        nonlocal beats
        while True:
            await asyncio.sleep(0.01)
            beats += 1

    heart = asyncio.create_task(beat())
    await PindoNotifier(PHONE, "Muraho", timeout=1)
    heart.cancel()
    assert beats > 10
