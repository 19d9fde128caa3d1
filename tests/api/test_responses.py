"""What each response means: any response is a value or a PindoError."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pindo.api import calls
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
from airflow_provider_pindo.api.responses import (
    Response,
    no_connection,
    no_response,
    parse_response,
    retry_after,
)
from tests.api.responses import BALANCE, EVERY_CALL, RECEIPT, SEND, response


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
            parse_response(call, response(status, body))
        assert type(raised.value) is error
        assert raised.value.status == status


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 100])
def test_anything_else_is_an_unknown_outcome_for_a_call_that_sends(status):
    for call in EVERY_CALL:
        with pytest.raises(PindoServerError if call.safe_to_repeat else PindoUnknownOutcomeError):
            parse_response(call, response(status, {}))


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"sms_id": "out', b"[]", b"null", b"7", b'{"sms_id": null}']
)
def test_a_receipt_that_cannot_be_read_is_an_unknown_outcome(body):
    with pytest.raises(PindoUnknownOutcomeError, match="may have been sent"):
        parse_response(SEND, response(201, body))


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"amount": "lots"}', b'{"amount": NaN}', b"[" * 100_000]
)
def test_a_balance_that_cannot_be_read_is_a_server_error(body):
    with pytest.raises(PindoServerError):
        parse_response(BALANCE, response(200, body))


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
        value = parse_response(call, response(status, body))
    assert value is None or 200 <= status < 300


def test_a_redirect_says_what_was_asked_and_where_it_points():
    with pytest.raises(PindoConfigurationError) as raised:
        parse_response(SEND, response(308, location="https://elsewhere.example/v1/sms?key=1?more=2"))
    assert "POST https://api.pindo.io/v1/sms/" in str(raised.value)
    assert "https://elsewhere.example/v1/sms" in str(raised.value)
    assert "key=1" not in str(raised.value)
    with pytest.raises(PindoConfigurationError, match=r"was redirected \(308\) to nowhere;"):
        parse_response(SEND, response(308))
    with pytest.raises(PindoUnknownOutcomeError, match=r"was redirected \(300\)"):
        parse_response(SEND, response(300))


@pytest.mark.parametrize("status", [301, 302])
def test_a_redirect_to_the_same_path_did_nothing(status):
    for location in (
        "/v1/sms",
        "https://elsewhere.example/v1/sms",
        "https://api.pindo.io:8443/v1/sms/",
        "http://api.pindo.io/v1/sms/",
    ):
        with pytest.raises(PindoConfigurationError):
            parse_response(SEND, response(status, location=location))
    with pytest.raises(PindoUnknownOutcomeError, match="out_sms_1"):
        parse_response(SEND, response(status, location="/v1/sms/out_sms_1"))


@pytest.mark.parametrize(
    "location",
    ["/v1/sms/", "/v1/sms/?sent=1", "https://api.pindo.io/v1/sms/", "https://API.pindo.io:443/v1/sms/", ""],
)
@pytest.mark.parametrize("status", [301, 302])
def test_a_redirect_to_the_same_address_may_follow_what_was_carried_out(status, location):
    with pytest.raises(PindoUnknownOutcomeError, match="may have been sent"):
        parse_response(SEND, response(status, location=location))


@pytest.mark.parametrize("location", ["http://api.pindo.io/v1/sms/", "http://api.pindo.io:80/v1/sms/"])
def test_an_http_address_is_the_same_with_its_port_and_without(location):
    unencrypted = replace(response(302, location=location), url="http://api.pindo.io/v1/sms/")
    with pytest.raises(PindoUnknownOutcomeError, match="may have been sent"):
        parse_response(SEND, unencrypted)


@pytest.mark.parametrize("key", ["Message", "MESSAGE", "Error", "Detail"])
def test_what_pindo_says_is_found_whatever_the_case_of_its_key(key):
    with pytest.raises(PindoInsufficientBalanceError, match="Insufficient balance"):
        parse_response(SEND, response(409, {key: "Insufficient balance"}))


def test_no_connection_is_certain_and_no_response_is_not():
    certain = no_connection(SEND, "https://x", "refused")
    assert type(certain) is PindoConnectionError
    assert str(certain) == "cannot connect to https://x for send_sms: refused. Nothing was sent"
    unknown = no_response(SEND, "https://x", "reset")
    assert type(unknown) is PindoUnknownOutcomeError
    assert str(unknown) == "POST https://x got no response: reset. The message may have been sent"
    assert unknown.summary == "POST https://x got no response: reset"
    assert unknown.reason == "reset after the request was sent"
    harmless = no_response(BALANCE, "https://x", "reset")
    assert type(harmless) is PindoServerError
    assert str(harmless) == "GET https://x got no response: reset"


@pytest.mark.parametrize(
    ("call", "maybe"),
    [
        (SEND, "The message may have been sent"),
        (EVERY_CALL[2], "The messages may have been sent"),
        (EVERY_CALL[3], "The PIN may have been sent"),
        (EVERY_CALL[4], "The check may have used up an attempt"),
    ],
)
def test_an_unknown_outcome_says_what_may_have_happened(call, maybe):
    for outcome in (response(500), response(200, b"<html>"), response(303, location="/done")):
        with pytest.raises(PindoUnknownOutcomeError, match=maybe) as raised:
            parse_response(call, outcome)
        assert raised.value.status == outcome.status


def test_a_lost_response_of_a_call_of_ones_own_is_an_unknown_outcome():
    call = calls.Call("run", "POST", "/v1/new", lambda body: body)
    for error in (no_response(call, "https://x", "reset"), raised_for(call, response(500))):
        assert type(error) is PindoUnknownOutcomeError
        assert str(error) == f"{error.summary}. It may have been carried out"


def raised_for(call, response):
    with pytest.raises(PindoError) as raised:
        parse_response(call, response)
    return raised.value


def test_a_failure_that_did_nothing_says_that_the_call_is_safe_to_repeat():
    with pytest.raises(
        PindoServerError, match=r"^get_balance: Pindo returned 503 \(down\); this call is safe"
    ) as raised:
        parse_response(BALANCE, response(503, {"message": "down"}))
    assert (raised.value.status, raised.value.reason) == (503, "down")


def test_a_429_says_how_long_to_wait_and_what_to_set():
    with pytest.raises(
        PindoRateLimitError, match=r"Pindo returned 429 \(slow down\).*requests_per_second"
    ) as raised:
        parse_response(SEND, response(429, {"message": "slow down"}, **{"retry-after": "7"}))
    limit = raised.value
    assert (limit.retry_after, limit.status, limit.reason) == (7.0, 429, "slow down")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"message": "one", "error": "two"}, "one; two"),
        (
            {"error": "Unknown sender id E****", "message": "Unknown sender id E****", "status": 409},
            "Unknown sender id E****",
        ),
        ({"errors": {"message": "too many requests", "status": 429}}, "too many requests"),
        ({"Error": {"Message": "one"}, "errors": {"status": 7}}, "one"),
        ({"errors": ["one"], "error": 7}, ""),
        ({"message": " ", "error": "two"}, "two"),
        ({"message": 7, "detail": "three"}, "three"),
        ({"message": ["one"]}, ""),
        (["one"], ""),
        (b"<html>", ""),
        (None, ""),
        ({"message": "line\n  by\tline\x00"}, "line by line"),
        ({"message": "x" * 200}, "x" * 200),
        ({"message": "x" * 201}, "x" * 200 + "…"),
    ],
)
def test_what_pindo_says_is_its_message_on_one_line(body, reason):
    with pytest.raises(PindoRejectedError) as raised:
        parse_response(SEND, response(400, body))
    assert raised.value.reason == reason
    shown = f" ({reason})" if reason else ""
    assert str(raised.value).startswith(f"send_sms: Pindo returned 400{shown}: it refused")


def test_a_refusal_that_a_person_can_fix_says_how():
    for status, advice in (
        (401, "Security page"),
        (402, "top it up"),
        (404, "at https://api.pindo.io/v1/sms/: check the connection's host$"),
    ):
        with pytest.raises(PindoError, match=advice) as raised:
            parse_response(SEND, response(status, {"message": "no"}))
        assert raised.value.reason == "no"


@pytest.mark.parametrize("call", EVERY_CALL, ids=lambda call: call.name)
def test_only_a_call_that_names_a_verification_asks_to_check_its_id(call):
    with pytest.raises(PindoNotFoundError) as raised:
        parse_response(call, response(404, {"message": "no"}))
    names_one = call.name in ("check_verification", "get_verification", "cancel_verification")
    assert ("check the id in the request" in str(raised.value)) == names_one
    assert str(raised.value).endswith("the connection's host")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        (" 7 ", 7.0),
        ("Sun, 22 Nov 2026 17:00:30 GMT", 30.0),
        ("Sun, 22 Nov 2026 17:00:30 -0000", 30.0),
        ("Sun, 22 Nov 2026 19:00:30 +0200", 30.0),
        ("Sun, 22 Nov 2026 16:00:00 GMT", 0.0),
        ("86400", 3600.0),
        ("9" * 400, 3600.0),
        ("Sun, 22 Nov 2026 21:00:00 GMT", 3600.0),
        ("-3", None),
        ("soon", None),
        ("", None),
        ("1e3", None),
        ("1.5", 1.5),
        ("2.", 2.0),
        (".5", None),
    ],
)
def test_retry_after_is_read_in_seconds_and_as_a_date(monkeypatch, value, seconds):
    class Clock(datetime):
        @classmethod
        def now(cls, tz):
            return cls(2026, 11, 22, 17, 0, 0, tzinfo=tz)

    monkeypatch.setattr("airflow_provider_pindo.api.responses.datetime", Clock)
    assert retry_after({"retry-after": value}) == seconds
    assert retry_after({}) is None


def test_a_date_counts_from_now():
    assert 0 < retry_after({"retry-after": format_datetime(datetime.now(UTC) + timedelta(minutes=1))}) <= 60


@given(st.text(max_size=40))
def test_no_retry_after_breaks_the_reading(value):
    seconds = retry_after({"retry-after": value})
    assert seconds is None or seconds >= 0


def test_an_empty_wallet_is_told_from_a_refused_token():
    def error(status, message):
        with pytest.raises(PindoError) as raised:
            parse_response(calls.get_balance(), response(status, {"message": message}))
        return type(raised.value)

    assert error(403, "insufficient balance") is PindoInsufficientBalanceError
    assert error(403, "forbidden") is error(401, "insufficient balance") is PindoAuthError
    assert error(429, "balance requests exceeds the limit") is PindoRateLimitError


@pytest.mark.parametrize("status", [408, 460, 499])
def test_a_proxy_that_gave_up_waiting_leaves_the_outcome_unknown(status):
    for body in ({}, {"message": "insufficient balance"}):
        with pytest.raises(PindoUnknownOutcomeError):
            parse_response(SEND, response(status, body))


@pytest.mark.parametrize("status", [500, 503])
def test_a_server_error_that_speaks_of_money_leaves_the_outcome_unknown(status):
    with pytest.raises(PindoUnknownOutcomeError):
        parse_response(SEND, response(status, {"message": "insufficient balance"}))


def test_a_redirect_to_no_address_may_follow_what_was_carried_out():
    moved = Response(302, {"location": "http://[::1"}, b"", "https://api.pindo.io/v1/sms/")
    with pytest.raises(PindoUnknownOutcomeError):
        parse_response(SEND, moved)


@pytest.mark.parametrize("status", [300, 308])
@pytest.mark.parametrize("hidden", ["?token=hidden", "#token=hidden"])
def test_the_summary_of_a_redirect_says_only_what_happened(status, hidden):
    address = "https://api.pindo.io/v1/sms/"
    moved = Response(status, {"location": f"{address}new{hidden}"}, b"", address)
    with pytest.raises(PindoError) as raised:
        parse_response(SEND, moved)
    assert raised.value.summary == f"send_sms: POST {address} was redirected ({status}) to {address}new"
    assert raised.value.reason == f"redirected to {address}new"


@pytest.mark.parametrize(
    ("status", "headers", "body", "why"),
    [
        (200, {}, b"<html>", "Pindo returned 200 (its body cannot be read: it is not JSON)"),
        (201, {}, b"", "Pindo returned 201 (its body cannot be read: it is missing, not a JSON object)"),
        (
            201,
            {},
            b'{"sms_id": "1", "status": "failed"}',
            "Pindo returned 201 (its body cannot be read: it is a receipt, but its 'status' is 'failed')",
        ),
        (
            302,
            {"location": "/v1/sms/?to=+250781234567"},
            b"",
            "Pindo returned 302 (redirected to /v1/sms/)",
        ),
        (
            302,
            {"location": "/there/+250781234567"},
            b"",
            "Pindo returned 302 (redirected to /there/+25078****567)",
        ),
        (302, {}, b"", "Pindo returned 302 (redirected to nowhere)"),
    ],
)
def test_an_unknown_outcome_names_its_cause_in_one_clause(status, headers, body, why):
    address = "https://api.pindo.io/v1/sms/"
    with pytest.raises(PindoUnknownOutcomeError) as raised:
        parse_response(SEND, Response(status, headers, body, address))
    assert raised.value.why == why


def test_the_cause_repeats_no_text_of_a_redirect_and_stays_short():
    call = calls.send_sms("+250781234567", "Muraho Remy, your code is 4821", "PindoTest")
    for target in ("/sorry/Muraho%20Remy,%20your%20code%20is%204821", "/" + "long/" * 2000):
        with pytest.raises(PindoUnknownOutcomeError) as raised:
            parse_response(call, Response(303, {"location": target}, b"", "https://api.pindo.io/v1/sms/"))
        assert "Remy" not in raised.value.why
        assert len(raised.value.why) < 300


def test_a_wallet_that_is_too_low_is_known_by_what_pindo_says_and_not_by_the_text():
    text = "Pindo wallet: insufficient balance, top it up"
    call = calls.send_sms("+250781234567", text, "PindoTest")
    with pytest.raises(PindoInsufficientBalanceError):
        parse_response(call, response(409, {"message": "insufficient balance"}))
    with pytest.raises(PindoRejectedError) as raised:
        parse_response(call, response(409, {"message": f"blocked content: {text}"}))
    assert raised.value.reason == "blocked content: ***"


@pytest.mark.parametrize("echo", [str, str.upper, lambda text: text[:60], lambda text: text[-70:]])
def test_a_text_that_speaks_of_a_wallet_and_comes_back_is_no_wallet_that_is_too_low(echo):
    text = (
        "Your child's school wallet has an insufficient balance: please bring 500 RWF to the office tomorrow"
    )
    call = calls.send_sms("+250781234567", text, "PindoTest")
    with pytest.raises(PindoRejectedError):
        parse_response(call, response(409, {"message": f"blocked content: {echo(text)}"}))
