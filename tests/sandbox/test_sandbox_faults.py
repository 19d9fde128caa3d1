"""Faults: what the client sees, and whether the phone got the message."""

from __future__ import annotations

import contextlib
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime

import pytest
import requests

from airflow_provider_pindo.sandbox import SandboxError

PHONE, OTHER = "+250781234567", "+250781230142"


@pytest.mark.parametrize("reset", [True, False])
def test_a_dropped_answer_still_reaches_the_phone(api, sandbox, reset):
    sandbox.add_fault("drop_after", call="send_sms", reset=reset)
    with pytest.raises(requests.ConnectionError):
        api.send()
    assert len(sandbox.messages(to=PHONE)) == 1
    (request,) = sandbox.requests()
    assert (request["status"], request["faults"]) == ("dropped", ["drop_after"])


@pytest.mark.parametrize("reset", [True, False])
def test_a_connection_dropped_before_reaches_no_phone(api, sandbox, reset):
    sandbox.add_fault("drop_before", call="send_sms", reset=reset)
    with pytest.raises(requests.ConnectionError):
        api.send()
    assert sandbox.messages() == []
    assert sandbox.requests()[0]["status"] == "dropped"


def test_a_status_means_that_it_was_not_accepted(api, sandbox):
    sandbox.add_fault("status", status=503, body={"message": "maintenance"})
    answer = api.send()
    assert (answer.status_code, answer.json()) == (503, {"message": "maintenance"})
    assert sandbox.messages() == []


def test_a_status_after_hides_that_it_was_accepted(api, sandbox):
    sandbox.add_fault("status_after", status=502, body=[])
    answer = api.send()
    assert (answer.status_code, answer.json()) == (502, [])
    assert len(sandbox.messages()) == 1


@pytest.mark.parametrize("retry_after", [None, 7, "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_a_rate_limit_says_when_in_the_requested_form(api, sandbox, retry_after):
    sandbox.add_fault("rate_limit", retry_after=retry_after)
    answer = api.send()
    assert answer.status_code == 429
    assert answer.headers.get("Retry-After") == (None if retry_after is None else str(retry_after))
    assert sandbox.messages() == []


def test_latency_delays_and_continues_although_the_client_has_left(api, sandbox):
    sandbox.add_fault("latency", seconds=0.3)
    with pytest.raises(requests.ReadTimeout):
        api.send(timeout=0.1)
    assert sandbox.messages() == []
    time.sleep(0.5)
    assert len(sandbox.messages()) == 1


def test_a_reset_drops_a_request_that_waits_out_its_latency(api, sandbox):
    """A test that gave up on a request must not find its message in the next test."""
    sandbox.add_fault("latency", seconds=1)
    with ThreadPoolExecutor(1) as threads:
        sent = threads.submit(api.send)
        while not sandbox.requests():
            time.sleep(0.01)
        sandbox.reset()
        with pytest.raises(requests.ConnectionError):
            sent.result()
    assert sandbox.messages() == []


def test_a_slow_answer_is_on_the_phone_before_the_client_has_it(api, sandbox):
    sandbox.add_fault("slow_answer", seconds=5)
    with pytest.raises(requests.ReadTimeout):
        api.send(timeout=0.1)
    assert len(sandbox.messages()) == 1


def test_a_truncated_body_ends_before_its_length(api, sandbox):
    sandbox.add_fault("truncate")
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        api.send()
    assert len(sandbox.messages()) == 1


def test_a_body_can_be_invalid_json_or_empty(api, sandbox):
    sandbox.add_fault("not_json")
    sandbox.add_fault("empty_body")
    answer = api.send()
    assert (answer.status_code, answer.headers["Content-Type"]) == (201, "text/html; charset=utf-8")
    answer = api.send()
    assert (answer.status_code, answer.content) == (201, b"")
    assert len(sandbox.messages()) == 2


def test_extra_keys_are_added(api, sandbox):
    plain = set(api.send().json())
    sandbox.add_fault("extra_keys")
    assert set(api.send().json()) > plain
    sandbox.settings(extra_keys=True)
    assert set(api.ask("GET", "/wallets/self").json()) > {"amount"}


@pytest.mark.parametrize(
    "fault",
    [{"action": ["x"]}, {"action": {}}, {"action": "status", "call": []}, {"action": "status", "call": {}}],
)
def test_a_fault_of_an_unknown_kind_is_refused(sandbox, fault):
    refused = requests.post(f"{sandbox.url}/sandbox/faults", json=fault, timeout=10)
    assert refused.status_code == 400


def test_wrong_types_change_every_value(api, sandbox):
    plain = api.send().json()
    sandbox.reply(PHONE, "x")
    sandbox.add_fault("wrong_types", times=2)
    wrong = api.send().json()
    assert set(wrong) == set(plain)
    assert not [key for key in plain if type(plain[key]) is type(wrong[key])]
    assert isinstance(api.inbound()["inbound_sms"], dict)


@pytest.mark.parametrize("action", ["extra_keys", "wrong_types"])
def test_a_list_has_its_extra_keys_and_wrong_types_in_each_row(api, sandbox, action):
    sandbox.settings(approved_senders=["PindoTest", "Ubuzima"])
    plain = api.ask("GET", "/sender_ids/").json()
    sandbox.add_fault(action)
    answer = api.ask("GET", "/sender_ids/")
    assert (answer.status_code, len(answer.json())) == (200, 2)
    for row, wrong in zip(plain, answer.json(), strict=True):
        if action == "extra_keys":
            assert row.items() < wrong.items()
        else:
            assert [key for key in row if type(row[key]) is type(wrong[key])] == []


def test_a_list_has_extra_keys_in_each_row_by_the_setting_too(api, sandbox):
    sandbox.settings(extra_keys=True)
    answer = api.ask("GET", "/sender_ids/")
    assert (answer.status_code, "sandbox_extra" in answer.json()[0]) == (200, True)


def test_a_redirect_points_to_its_location(api, sandbox):
    sandbox.add_fault("redirect", location="http://other.example/v1/sms/")
    answer = api.send()
    assert (answer.status_code, answer.headers["Location"]) == (308, "http://other.example/v1/sms/")
    assert sandbox.messages() == []


def is_closed_within(url: str, seconds: float, to: str = PHONE) -> bool:
    """Send once over a bare socket; return whether the server closes the connection in time."""
    host, port = url.removeprefix("http://").split(":")
    body = b'{"to": "%s", "text": "x", "sender": "PindoTest"}' % to.encode()
    head = "POST /v1/sms/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sandbox-token\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=5) as wire:
        wire.sendall(head.encode() + body)
        answer = wire.recv(65536)
        assert answer.startswith(b"HTTP/1.1 201")
        assert b"connection: close" not in answer.lower()
        wire.settimeout(seconds)
        with contextlib.suppress(TimeoutError):
            while answer:
                answer = wire.recv(65536)
            return True
    return False


def test_an_idle_connection_can_be_closed_unannounced(sandbox):
    assert not is_closed_within(sandbox.url, 0.3)
    sandbox.add_fault("close_idle", seconds=0.05)
    assert is_closed_within(sandbox.url, 2)
    sandbox.settings(keepalive_timeout=0.1)
    assert is_closed_within(sandbox.url, 2)


def test_a_client_that_leaves_while_connections_are_short_lived_causes_no_error(api, sandbox, caplog):
    sandbox.settings(keepalive_timeout=0.05)
    sandbox.add_fault("latency", seconds=0.3)
    with pytest.raises(requests.ReadTimeout):
        api.send(timeout=0.1)
    time.sleep(0.4)
    assert len(sandbox.messages()) == 1
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


def test_a_connection_in_use_is_not_idle(api, sandbox):
    sandbox.settings(keepalive_timeout=0.3)
    sandbox.add_fault("latency", seconds=0.5, skip=1)
    assert api.send().status_code == 201
    assert api.send().status_code == 201  # in progress when the first response's time is up


# -- aiming


def test_a_fault_strikes_only_its_call_and_its_number(api, sandbox):
    sandbox.add_fault("status", call="send_sms", to=PHONE, status=500, times=None)
    assert api.send(OTHER).status_code == 201
    assert api.ask("GET", "/wallets/self").status_code == 200
    assert api.send_bulk([{"phonenumber": PHONE}]).status_code == 201
    assert [api.send(PHONE).status_code for _ in range(2)] == [500, 500]


def test_a_fault_of_texts_strikes_only_the_calls_that_text_somebody(api, sandbox):
    sandbox.add_fault("status", call="texts", status=503, times=None)
    assert api.send().status_code == 503
    assert api.send_bulk([{"phonenumber": PHONE}], "Muraho").status_code == 503
    assert api.verify(PHONE, "PindoTest").status_code == 503
    assert api.check("unknown", "123456").status_code != 503
    assert api.balance() > 0
    assert api.inbound()["inbound_sms"] == []
    assert sandbox.messages() == []


def test_a_fault_finds_its_number_inside_a_bulk_body_and_in_a_verification(api, sandbox):
    sandbox.add_fault("status", to=OTHER, status=500, times=2)
    assert api.send_bulk([{"phonenumber": PHONE}, {"phonenumber": OTHER}]).status_code == 500
    assert api.verify(OTHER).status_code == 500
    assert api.verify(OTHER).status_code == 201


def test_a_fault_can_skip_some_and_strike_a_few(api, sandbox):
    sandbox.add_fault("status", status=500, skip=2, times=2)
    assert [api.send().status_code for _ in range(6)] == [201, 201, 500, 500, 201, 201]
    assert sandbox.faults() == []


def test_a_fault_can_strike_by_chance(api, sandbox):
    sandbox.add_fault("status", status=500, times=None, probability=0.5)
    assert {api.send().status_code for _ in range(60)} == {201, 500}


def test_latency_combines_with_another_fault(api, sandbox):
    sandbox.add_fault("status", status=500)
    sandbox.add_fault("latency", seconds=0.2)
    answer = api.send()
    assert answer.status_code == 500
    assert answer.elapsed.total_seconds() >= 0.2
    assert sandbox.requests()[0]["faults"] == ["latency", "status"]


def test_faults_are_listed_and_removed(api, sandbox):
    first = sandbox.add_fault("not_json", times=None)
    sandbox.add_fault("empty_body", call="verify", times=3)
    assert [(fault["id"], fault["action"], fault["times"]) for fault in sandbox.faults()] == [
        (first, "not_json", None),
        (first + 1, "empty_body", 3),
    ]
    sandbox.clear_faults(first)
    assert [fault["action"] for fault in sandbox.faults()] == ["empty_body"]
    sandbox.clear_faults()
    assert sandbox.faults() == []


@pytest.mark.parametrize(
    ("definition", "word"),
    [
        ({"action": "explode"}, "drop_after"),
        ({"action": "drop_after", "call": "send"}, "send_bulk_sms"),
        ({"action": "drop_after", "call": "send"}, r"must be one of \*, texts, webhooks, send_sms"),
        ({"action": "drop_after", "often": 3}, "probability"),
        ({"action": "status"}, "fault 'status' needs 'status'"),
        ({"action": "status", "status": 99}, "200 to 599"),
        ({"action": "redirect"}, "needs 'location'"),
        ({"action": "redirect", "location": "x\r\nSet-Cookie: y"}, "location"),
        ({"action": "rate_limit", "retry_after": -1}, "retry_after"),
        ({"action": "latency", "seconds": "3"}, "seconds"),
        ({"action": "drop_after", "times": 0}, "times"),
        ({"action": "drop_after", "probability": 2}, "probability"),
        ({"action": "drop_after", "to": 7}, "'to' must be a phone number, as a text"),
    ],
)
def test_an_invalid_fault_is_refused_and_the_message_says_what_is_valid(sandbox, definition, word):
    with pytest.raises(SandboxError, match=word):
        sandbox.add_fault(**definition)
    assert sandbox.faults() == []


# -- the rate limit as a setting


def test_requests_beyond_the_rate_get_429(api, sandbox):
    sandbox.settings(requests_per_second=0.05)
    answers = [api.send() for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201, 429, 429]
    assert all(10 <= int(answer.headers["Retry-After"]) <= 20 for answer in answers[1:])
    assert len(sandbox.messages()) == 1


def test_the_wait_can_be_a_date_or_missing(api, sandbox):
    sandbox.settings(requests_per_second=0.1, retry_after="http_date")
    api.send()
    moment = parsedate_to_datetime(api.send().headers["Retry-After"])
    assert 5 <= moment.timestamp() - time.time() <= 11
    sandbox.settings(retry_after="none")
    assert "Retry-After" not in api.send().headers
