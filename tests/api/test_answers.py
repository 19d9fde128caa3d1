"""Answers: what each one means, and that whatever comes is a value or a PindoError."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pindo.api import calls
from airflow_provider_pindo.api.answers import Answer, no_answer, no_connection, read_answer, retry_after
from airflow_provider_pindo.api.errors import (
    PindoAuthError,
    PindoConfigurationError,
    PindoConnectionError,
    PindoError,
    PindoInsufficientBalanceError,
    PindoNotFoundError,
    PindoRateLimitError,
    PindoRejectedError,
    PindoServerError,
    PindoUnknownOutcomeError,
)

SEND = calls.send_sms("+250781234567", "a private text", "PindoTest")
BALANCE = calls.get_balance()
EVERY_CALL = [
    SEND,
    BALANCE,
    calls.send_bulk_sms(["+250781234567"], "a private text", "PindoTest"),
    calls.verify("+250781234567", "PindoTest"),
    calls.check_verification(4, "752623"),
    calls.get_verification(4),
    calls.cancel_verification(4),
    calls.list_inbound_sms(),
    calls.list_sender_ids(),
]
RECEIPT = {
    "bonus": 0.0,
    "discount": 0.4,
    "item_count": 1,
    "item_price": 0.006,
    "remaining_balance": 71421.953,
    "self_url": "http://api.pindo.io/v1/sms/out_sms_01H7DJEJ1YZKTNT8EDXY2C7YG9",
    "sms_id": "out_sms_01H7DJEJ1YZKTNT8EDXY2C7YG9",
    "status": "sent",
    "to": "+250781234567",
    "total_cost": 0.006,
}


def answer(status, body=None, **headers):
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return Answer(status, headers, content, "https://api.pindo.io/v1/sms/")


def test_the_published_receipt_is_read_and_kept_whole():
    receipt = read_answer(SEND, answer(201, RECEIPT))
    assert (receipt.sms_id, receipt.item_count, receipt.total_cost) == (RECEIPT["sms_id"], 1, 0.006)
    assert receipt.raw == RECEIPT


def test_unknown_keys_are_kept():
    receipt = read_answer(SEND, answer(201, {**RECEIPT, "carrier": {"name": "MTN"}}))
    assert receipt.raw["carrier"] == {"name": "MTN"}


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, {"message": "text is missing"}, PindoRejectedError),
        (401, {"message": "unauthorized"}, PindoAuthError),
        (403, None, PindoAuthError),
        (402, {"message": "insufficient balance"}, PindoInsufficientBalanceError),
        (409, {"message": "Insufficient balance"}, PindoInsufficientBalanceError),
        (400, {"message": "Not enough credit"}, PindoInsufficientBalanceError),
        (400, {"message": "your balance is too low"}, PindoInsufficientBalanceError),
        (404, {"message": "not found"}, PindoNotFoundError),
        (409, {"message": "unsupported country"}, PindoRejectedError),
        (413, None, PindoRejectedError),
        (422, {"message": ["odd"]}, PindoRejectedError),
        (429, None, PindoRateLimitError),
        (307, None, PindoConfigurationError),
        (308, None, PindoConfigurationError),
        (409, {"error": "unsupported network"}, PindoRejectedError),
    ],
)
def test_a_refusal_is_certain_whatever_the_call(status, body, error):
    for call in EVERY_CALL:
        with pytest.raises(error) as raised:
            read_answer(call, answer(status, body))
        assert type(raised.value) is error
        assert raised.value.status == status


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 100])
def test_anything_else_is_an_unknown_outcome_for_a_call_that_sends(status):
    for call in EVERY_CALL:
        with pytest.raises(PindoServerError if call.safe_to_repeat else PindoUnknownOutcomeError):
            read_answer(call, answer(status, {}))


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"sms_id": "out', b"[]", b"null", b"7", b'{"sms_id": null}']
)
def test_a_receipt_that_cannot_be_read_is_an_unknown_outcome(body):
    with pytest.raises(PindoUnknownOutcomeError, match="may have been sent"):
        read_answer(SEND, answer(201, body))


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"amount": "lots"}', b'{"amount": NaN}', b"[" * 100_000]
)
def test_a_balance_that_cannot_be_read_is_a_server_error(body):
    with pytest.raises(PindoServerError):
        read_answer(BALANCE, answer(200, body))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
bodies = st.one_of(
    st.binary(max_size=200),
    json_values.map(lambda value: json.dumps(value).encode()),
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys([*RECEIPT, "count", "request_id", "amount", "id"], json_values)
    ).map(lambda value: json.dumps(value).encode()),
    st.builds(
        lambda messages, pages: json.dumps({"inbound_sms": messages, "pages": pages}).encode(),
        st.lists(
            st.fixed_dictionaries(
                {}, optional=dict.fromkeys(["id", "text", "created_at", "from"], json_values)
            ),
            max_size=3,
        ),
        json_values,
    ),
    st.integers(0, len(json.dumps(RECEIPT))).map(lambda cut: json.dumps(RECEIPT).encode()[:cut]),
)


@given(st.sampled_from(EVERY_CALL), st.integers(100, 599), bodies)
def test_whatever_comes_is_a_value_or_a_pindo_error(call, status, body):
    value = None
    with contextlib.suppress(PindoError):
        value = read_answer(call, answer(status, body))
    assert value is None or 200 <= status < 300


def test_what_pindo_says_is_repeated_without_secrets():
    message = 'no route for +250781234567\nwith "a private text" and token s3cr3t-token ' + "x" * 500
    with pytest.raises(PindoRejectedError) as raised:
        read_answer(SEND, answer(409, {"message": message}), "s3cr3t-token")
    shown = str(raised.value)
    assert "+25078****567" in shown
    assert "\n" not in shown
    assert len(shown) < 400
    assert not any(secret in shown for secret in ("1234567", "a private text", "s3cr3t-token"))


def test_a_redirect_says_what_was_asked_and_where_it_points():
    with pytest.raises(PindoConfigurationError) as raised:
        read_answer(SEND, answer(308, location="https://elsewhere.example/v1/sms?key=1"))
    assert "POST https://api.pindo.io/v1/sms/" in str(raised.value)
    assert "https://elsewhere.example/v1/sms" in str(raised.value)
    assert "key=1" not in str(raised.value)


@pytest.mark.parametrize("status", [301, 302])
def test_a_redirect_to_the_same_path_did_nothing(status):
    for location in ("https://api.pindo.io/v1/sms/", "/v1/sms", "https://elsewhere.example/v1/sms"):
        with pytest.raises(PindoConfigurationError):
            read_answer(SEND, answer(status, location=location))
    with pytest.raises(PindoUnknownOutcomeError, match="out_sms_1"):
        read_answer(SEND, answer(status, location="/v1/sms/out_sms_1"))


@pytest.mark.parametrize(
    "echo",
    [
        "text 'Hello Remy, your HIV result is ready' refused",
        "text 'Hello Remy, your HIV res…' is too long",
        "bad: Hello  Remy,\n your HIV result is ready",
    ],
)
def test_a_reason_that_repeats_a_piece_of_the_text_is_not_shown(echo):
    call = calls.send_sms("+250781234567", "Hello Remy,\nyour HIV result is ready", "PindoTest")
    with pytest.raises(PindoRejectedError) as raised:
        read_answer(call, answer(400, {"message": echo}))
    assert "HIV" not in str(raised.value)
    assert "Remy" not in str(raised.value)


def test_what_no_database_stores_is_taken_out_of_an_answer():
    body = b'{"sms_id": "out_sms_1", "note": "half \\ud83d", "rate": NaN, "price": 1e999, "whole": "\\ud83d\\ude00"}'
    receipt = read_answer(SEND, answer(201, body))
    assert receipt.raw == {
        "sms_id": "out_sms_1",
        "note": "half ?",
        "rate": None,
        "price": None,
        "whole": "😀",
    }


def test_no_connection_is_certain_and_no_answer_is_not():
    assert type(no_connection(SEND, "https://x", "refused")) is PindoConnectionError
    assert type(no_answer(SEND, "https://x", "reset")) is PindoUnknownOutcomeError
    assert type(no_answer(BALANCE, "https://x", "reset")) is PindoServerError


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("Sun, 22 Nov 2026 17:00:30 GMT", 30.0),
        ("Sun, 22 Nov 2026 16:00:00 GMT", 0.0),
        ("-3", None),
        ("soon", None),
        ("", None),
        ("1e3", None),
    ],
)
def test_retry_after_is_read_in_seconds_and_as_a_date(value, seconds):
    now = datetime(2026, 11, 22, 17, 0, 0, tzinfo=UTC)
    assert retry_after({"retry-after": value}, now) == seconds
    assert retry_after({}, now) is None


@given(st.text(max_size=40))
def test_no_retry_after_breaks_the_reading(value):
    seconds = retry_after({"retry-after": value})
    assert seconds is None or seconds >= 0


def test_one_odd_inbound_message_does_not_hold_up_the_others():
    rows = [
        {"id": 5, "text": "five", "created_at": "2026-11-22T15:05:00"},
        {"id": 4, "text": None, "created_at": "2026-11-22 15:04:00 o'clock"},
        {"id": 3, "text": "three"},
        {"id": 2, "text": "two", "created_at": "2026-11-22T15:02:00"},
        {"id": 1, "text": 7, "created_at": None},
    ]
    page = read_answer(calls.list_inbound_sms(), answer(200, {"inbound_sms": rows}))
    assert [(each.id, each.text, each.created_at.minute) for each in page.messages] == [
        (5, "five", 5),
        (4, "", 2),
        (3, "three", 2),
        (2, "two", 2),
        (1, "", 2),
    ]
    assert page.messages[1].raw == rows[1]


@pytest.mark.parametrize(
    ("created_at", "timezone", "utc"),
    [
        ("2022-08-05T12:32:42.196907", "UTC", "2022-08-05T12:32:42.196907+00:00"),
        ("2022-08-05T12:32:42", "Africa/Kigali", "2022-08-05T10:32:42+00:00"),
        ("2022-08-05T12:32:42+02:00", "UTC", "2022-08-05T10:32:42+00:00"),
        ("24-07-2020, 23:35:32", "UTC", "2020-07-24T23:35:32+00:00"),
    ],
)
def test_times_become_aware_utc(created_at, timezone, utc):
    message = {"id": 20, "text": "Hello", "created_at": created_at}
    page = read_answer(calls.list_inbound_sms(timezone=timezone), answer(200, {"inbound_sms": [message]}))
    assert page.messages[0].created_at == datetime.fromisoformat(utc)
    assert page.messages[0].created_at.utcoffset().total_seconds() == 0
