"""Answers: what each one means, and that whatever comes is a value or a PindoError."""

from __future__ import annotations

import contextlib
import json
import re
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pendulum
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pindo.api import calls, values
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
    return Response(status, headers, content, "https://api.pindo.io/v1/sms/")


BULK_RECEIPT = {
    "count": 2,
    "total": 3,
    "status": "sent",
    "item_price": 0.006,
    "remaining_balance": 487.49,
    "network": "MTN",
}
INBOUND = {
    "account_id": 11783,
    "conversation_id": None,
    "created_at": "2022-08-05T12:32:42.196907",
    "id": 20,
    "inbound_sms_number": "+250781113333",
    "text": "Hello world !",
}
INBOX = {"inbound_sms": [INBOUND], "pages": {"page": 1, "pages": 2, "per_page": 20, "total": 21}}
PIN_SENT = {"message": "success", "network": "63510", "remaining_balance": 487.49, "request_id": 4}
SENDER_ID = {"sender_id": "PindoTest", "status": "approved", "countries": ["RW"]}


@pytest.mark.parametrize(
    ("make", "body", "value"),
    [
        (
            lambda: calls.send_sms("+250781234567", "a private text", "PindoTest"),
            RECEIPT,
            values.SmsReceipt(
                "out_sms_01H7DJEJ1YZKTNT8EDXY2C7YG9",
                to="+250781234567",
                status="sent",
                item_count=1,
                item_price=0.006,
                total_cost=0.006,
                remaining_balance=71421.953,
                raw=RECEIPT,
            ),
        ),
        (
            lambda: calls.send_bulk_sms(["+250781234567"], "a private text", "PindoTest"),
            BULK_RECEIPT,
            values.BulkReceipt(
                2, total=3, status="sent", item_price=0.006, remaining_balance=487.49, raw=BULK_RECEIPT
            ),
        ),
        (
            lambda: calls.verify("+250781234567", "PindoTest"),
            PIN_SENT,
            values.Verification(4, network="63510", remaining_balance=487.49, raw=PIN_SENT),
        ),
        (
            lambda: calls.check_verification(4, "752623"),
            PIN_SENT,
            values.VerificationCheck(4, message="success", remaining_balance=487.49, raw=PIN_SENT),
        ),
        (
            lambda: calls.get_verification(4),
            {"request_id": "4", "status": "pending"},
            values.VerificationState(4, "pending", raw={"request_id": "4", "status": "pending"}),
        ),
        (lambda: calls.cancel_verification(4), None, values.VerificationState()),
        (
            lambda: calls.list_inbound_sms(),
            INBOX,
            values.InboundPage(
                (
                    values.InboundSms(
                        20,
                        "Hello world !",
                        datetime(2022, 8, 5, 12, 32, 42, 196907, tzinfo=UTC),
                        inbound_sms_number="+250781113333",
                        raw=INBOUND,
                    ),
                ),
                page=1,
                pages=2,
                per_page=20,
                total=21,
                raw=INBOX,
            ),
        ),
        (
            lambda: calls.list_inbound_sms(),
            {"inbound_sms": []},
            values.InboundPage((), raw={"inbound_sms": []}),
        ),
        (calls.get_balance, {"amount": "12.5"}, values.Balance(12.5, raw={"amount": "12.5"})),
        (
            lambda: calls.list_sender_ids(),
            {"sender_ids": [SENDER_ID]},
            (values.SenderId("PindoTest", "approved", raw=SENDER_ID),),
        ),
        (lambda: calls.list_sender_ids(), [{"name": "P"}], (values.SenderId("P", raw={"name": "P"}),)),
    ],
)
def test_each_answer_is_read_and_kept_whole(make, body, value):
    assert parse_response(make(), answer(200, body)) == value


def test_unknown_keys_are_kept():
    receipt = parse_response(SEND, answer(201, {**RECEIPT, "carrier": {"name": "MTN"}}))
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
            parse_response(call, answer(status, body))
        assert type(raised.value) is error
        assert raised.value.status == status


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 100])
def test_anything_else_is_an_unknown_outcome_for_a_call_that_sends(status):
    for call in EVERY_CALL:
        with pytest.raises(PindoServerError if call.safe_to_repeat else PindoUnknownOutcomeError):
            parse_response(call, answer(status, {}))


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"sms_id": "out', b"[]", b"null", b"7", b'{"sms_id": null}']
)
def test_a_receipt_that_cannot_be_read_is_an_unknown_outcome(body):
    with pytest.raises(PindoUnknownOutcomeError, match="may have been sent"):
        parse_response(SEND, answer(201, body))


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"amount": "lots"}', b'{"amount": NaN}', b"[" * 100_000]
)
def test_a_balance_that_cannot_be_read_is_a_server_error(body):
    with pytest.raises(PindoServerError):
        parse_response(BALANCE, answer(200, body))


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
        value = parse_response(call, answer(status, body))
    assert value is None or 200 <= status < 300


def test_what_pindo_says_is_repeated_without_secrets():
    message = 'no route for +250781234567\nwith "a private text" and token s3cr3t-token ' + "x" * 500
    with pytest.raises(PindoRejectedError) as raised:
        parse_response(SEND, answer(409, {"message": message}), "s3cr3t-token")
    shown = str(raised.value)
    assert "+25078****567" in shown
    assert "\n" not in shown
    assert len(shown) < 400
    assert not any(secret in shown for secret in ("1234567", "a private text", "s3cr3t-token"))


def test_a_redirect_says_what_was_asked_and_where_it_points():
    with pytest.raises(PindoConfigurationError) as raised:
        parse_response(SEND, answer(308, location="https://elsewhere.example/v1/sms?key=1?more=2"))
    assert "POST https://api.pindo.io/v1/sms/" in str(raised.value)
    assert "https://elsewhere.example/v1/sms" in str(raised.value)
    assert "key=1" not in str(raised.value)
    with pytest.raises(PindoConfigurationError, match=r"was redirected \(308\) to nowhere;"):
        parse_response(SEND, answer(308))
    with pytest.raises(PindoUnknownOutcomeError, match=r"was redirected \(300\)"):
        parse_response(SEND, answer(300))


@pytest.mark.parametrize("status", [301, 302])
def test_a_redirect_to_the_same_path_did_nothing(status):
    for location in (
        "/v1/sms",
        "https://elsewhere.example/v1/sms",
        "https://api.pindo.io:8443/v1/sms/",
        "http://api.pindo.io/v1/sms/",
    ):
        with pytest.raises(PindoConfigurationError):
            parse_response(SEND, answer(status, location=location))
    with pytest.raises(PindoUnknownOutcomeError, match="out_sms_1"):
        parse_response(SEND, answer(status, location="/v1/sms/out_sms_1"))


@pytest.mark.parametrize(
    "location",
    ["/v1/sms/", "/v1/sms/?sent=1", "https://api.pindo.io/v1/sms/", "https://API.pindo.io:443/v1/sms/", ""],
)
@pytest.mark.parametrize("status", [301, 302])
def test_a_redirect_to_the_very_same_place_may_follow_what_was_carried_out(status, location):
    with pytest.raises(PindoUnknownOutcomeError, match="may have been sent"):
        parse_response(SEND, answer(status, location=location))


@pytest.mark.parametrize("location", ["http://api.pindo.io/v1/sms/", "http://api.pindo.io:80/v1/sms/"])
def test_a_place_without_encryption_is_the_same_with_its_port_and_without(location):
    unencrypted = replace(answer(302, location=location), url="http://api.pindo.io/v1/sms/")
    with pytest.raises(PindoUnknownOutcomeError, match="may have been sent"):
        parse_response(SEND, unencrypted)


@pytest.mark.parametrize("key", ["Message", "MESSAGE", "Error", "Detail"])
def test_what_pindo_says_is_found_whatever_the_case_of_its_key(key):
    with pytest.raises(PindoInsufficientBalanceError, match="Insufficient balance"):
        parse_response(SEND, answer(409, {key: "Insufficient balance"}))


@pytest.mark.parametrize("odd", [-0.006, -1, 10**30, 10**400, 1e300, "-1", "1e30"])
def test_a_count_or_a_cost_that_can_be_none_is_none(odd):
    body = {"sms_id": "one", "item_count": odd, "item_price": odd, "total_cost": odd}
    receipt = parse_response(SEND, answer(201, body))
    assert (receipt.item_count, receipt.item_price, receipt.total_cost) == (None, None, None)
    totals = parse_response(EVERY_CALL[2], answer(201, {"count": 1, "total": odd, "item_price": odd}))
    assert (totals.total, totals.item_price) == (None, None)
    with pytest.raises(PindoUnknownOutcomeError, match="'count'"):
        parse_response(EVERY_CALL[2], answer(201, {"count": odd}))


def test_counts_and_costs_are_read_to_their_limits():
    most = 2**31
    body = {"sms_id": "one", "item_count": most, "item_price": 0, "total_cost": most}
    receipt = parse_response(SEND, answer(201, body))
    assert (receipt.item_count, receipt.item_price, receipt.total_cost) == (most, 0.0, most)
    body = {"sms_id": "one", "item_count": 0, "total_cost": most + 1}
    receipt = parse_response(SEND, answer(201, body))
    assert (receipt.item_count, receipt.total_cost) == (0, None)


def test_a_receipt_shows_no_number_in_a_log():
    assert "781234567" not in repr(parse_response(SEND, answer(201, RECEIPT)))


def test_a_wallet_may_owe():
    assert parse_response(BALANCE, answer(200, {"amount": -0.5})).amount == -0.5
    assert (
        parse_response(SEND, answer(201, {"sms_id": "one", "remaining_balance": -0.5})).remaining_balance
        == -0.5
    )


def test_an_id_of_more_than_64_bits_is_none_unless_it_is_a_text():
    for number in (2**63 - 1, -(2**63)):
        assert (
            parse_response(calls.verify("+250781234567", "P"), answer(201, {"request_id": number})).request_id
            == number
        )
    for number in (2**63, -(2**63) - 1):
        with pytest.raises(PindoUnknownOutcomeError, match="'request_id'"):
            parse_response(calls.verify("+250781234567", "P"), answer(201, {"request_id": number}))
    assert parse_response(SEND, answer(201, {"sms_id": 10**30})).sms_id == str(10**30)


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
        parse_response(call, answer(400, {"message": echo}))
    assert "HIV" not in str(raised.value)
    assert "Remy" not in str(raised.value)


def test_what_no_database_stores_is_taken_out_of_an_answer():
    body = (
        b'{"sms_id": "out_sms_1", "cost": 0.5, "note": "half \\ud83d", "rate": NaN, "price": 1e999, '
        b'"whole": "\\ud83d\\ude00"}'
    )
    receipt = parse_response(SEND, answer(201, body))
    assert receipt.raw == {
        "sms_id": "out_sms_1",
        "cost": 0.5,
        "note": "half ?",
        "rate": None,
        "price": None,
        "whole": "😀",
    }


def test_no_connection_is_certain_and_no_response_is_not():
    certain = no_connection(SEND, "https://x", "refused")
    assert type(certain) is PindoConnectionError
    assert str(certain) == "cannot connect to https://x for send_sms: refused. Nothing was sent"
    unknown = no_response(SEND, "https://x", "reset")
    assert type(unknown) is PindoUnknownOutcomeError
    assert str(unknown) == "POST https://x got no response: reset. The message may have been sent"
    assert unknown.summary == "POST https://x got no response: reset"
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
    for outcome in (answer(500), answer(200, b"<html>"), answer(303, location="/done")):
        with pytest.raises(PindoUnknownOutcomeError, match=maybe) as raised:
            parse_response(call, outcome)
        assert raised.value.status == outcome.status


def test_a_lost_response_of_a_call_of_ones_own_is_an_unknown_outcome():
    call = calls.Call("run", "POST", "/v1/new", lambda body: body)
    for error in (no_response(call, "https://x", "reset"), raised_for(call, answer(500))):
        assert type(error) is PindoUnknownOutcomeError
        assert str(error) == f"{error.summary}. It may have been carried out"


def raised_for(call, response):
    with pytest.raises(PindoError) as raised:
        parse_response(call, response)
    return raised.value


def test_a_failure_that_did_nothing_says_that_asking_again_does_no_harm():
    with pytest.raises(
        PindoServerError, match=r"^get_balance: Pindo answered 503 \(down\); this call is safe"
    ) as raised:
        parse_response(BALANCE, answer(503, {"message": "down"}))
    assert (raised.value.status, raised.value.reason) == (503, "down")


def test_a_429_says_how_long_to_wait_and_what_to_set():
    with pytest.raises(
        PindoRateLimitError, match=r"Pindo answered 429 \(slow down\).*requests_per_second"
    ) as raised:
        parse_response(SEND, Response(429, {"retry-after": "7"}, b'{"message": "slow down"}'))
    limit = raised.value
    assert (limit.retry_after, limit.status, limit.reason) == (7.0, 429, "slow down")
    assert (PindoRateLimitError("no more").status, str(PindoRateLimitError("no more"))) == (429, "no more")


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
        parse_response(SEND, answer(400, body))
    assert raised.value.reason == reason
    shown = f" ({reason})" if reason else ""
    assert str(raised.value).startswith(f"send_sms: Pindo answered 400{shown}: it refused")


def test_a_refusal_that_a_person_can_mend_says_how():
    for status, advice in (
        (401, "Security page"),
        (402, "top it up"),
        (404, "at https://api.pindo.io/v1/sms/"),
    ):
        with pytest.raises(PindoError, match=advice) as raised:
            parse_response(SEND, answer(status, {"message": "no"}))
        assert raised.value.reason == "no"


@pytest.mark.parametrize("private", ["752623", 'say "é" now'])
def test_a_text_is_hidden_in_whatever_form_it_comes_back(private):
    call = calls.send_sms("+250781234567", private, "PindoTest")
    for echo in (private, json.dumps(private)[1:-1], json.dumps(private, ensure_ascii=False)[1:-1]):
        with pytest.raises(PindoRejectedError) as raised:
            parse_response(call, answer(400, {"message": f"refused: {echo}!"}))
        assert raised.value.reason == "refused: ***!"


@pytest.mark.parametrize(("private", "hidden"), [("1-2-3-4", True), ("1-2-3", False)])
def test_a_pin_of_four_digits_is_known_by_its_digits(private, hidden):
    call = calls.check_verification(4, private)
    with pytest.raises(PindoError) as raised:
        parse_response(call, answer(422, {"message": f"wrong: {private.replace('-', '.')}"}))
    assert (raised.value.reason == "a reason that repeats what was sent") is hidden


@pytest.mark.parametrize(
    ("piece", "hidden"), [(slice(13), True), (slice(-12, None), True), (slice(-11, None), False)]
)
def test_a_piece_of_the_text_is_hidden_from_twelve_characters_on(piece, hidden):
    text = "Hello Remy, your result is ready"
    with pytest.raises(PindoRejectedError) as raised:
        parse_response(
            calls.send_sms("+250781234567", text, "P"), answer(400, {"message": f"bad: {text[piece]}"})
        )
    assert (raised.value.reason == "a reason that repeats what was sent") is hidden


@pytest.mark.parametrize(
    ("private", "echo"),
    [
        ("752623", "752 623"),
        ("752623", "7-5-2-6-2-3"),
        ("752623", "752\u200b623"),
        ("PIN 9317", "pin 9317"),
        ("PIN 9317", "pin_9317"),
        ("Hello Remy, your result is ready", "HELLO REMY, YOUR RESULT"),
        ("Hello Remy, your result is ready", "Hello-Remy-your-result"),
        ("Hello Remy, your result is ready", "He\u200bllo Re\u200bmy, yo\u200bur re\u200bsult"),
    ],
)
def test_a_text_that_comes_back_in_another_dress_is_hidden(private, echo):
    with pytest.raises(PindoRejectedError) as raised:
        parse_response(
            calls.send_sms("+250781234567", private, "P"), answer(400, {"message": f"refused {echo} here"})
        )
    assert raised.value.reason in ("a reason that repeats what was sent", "refused *** here")


def test_three_characters_are_in_any_reason_by_chance():
    with pytest.raises(PindoRejectedError) as raised:
        parse_response(
            calls.send_sms("+250781234567", "O.K.!", "P"), answer(400, {"message": "broken okapi"})
        )
    assert raised.value.reason == "broken okapi"


@pytest.mark.parametrize("echo", ["+250781\u200b234567", "+250\u2060781\u00ad234567"])
def test_a_number_that_something_invisible_cuts_is_masked(echo):
    with pytest.raises(PindoRejectedError) as raised:
        parse_response(SEND, answer(400, {"message": f"bad number {echo}"}))
    assert raised.value.reason == "bad number +25078****567"


def test_a_word_that_the_text_shares_with_the_reason_is_not_hidden():
    call = calls.send_sms("+250781234567", "your balance of 5 USD", "PindoTest")
    with pytest.raises(PindoRejectedError) as raised:
        parse_response(call, answer(400, {"message": "unsupported: your balance"}))
    assert raised.value.reason == "a reason that repeats what was sent"
    with pytest.raises(PindoRejectedError) as raised:
        parse_response(call, answer(400, {"message": "unsupported: your country"}))
    assert raised.value.reason == "unsupported: your country"


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
    ],
)
def test_retry_after_is_read_in_seconds_and_as_a_date(value, seconds):
    now = datetime(2026, 11, 22, 17, 0, 0, tzinfo=UTC)
    assert retry_after({"retry-after": value}, now) == seconds
    assert retry_after({}, now) is None


def test_a_date_counts_from_now():
    assert 0 < retry_after({"retry-after": format_datetime(datetime.now(UTC) + timedelta(minutes=1))}) <= 60


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
    page = parse_response(calls.list_inbound_sms(), answer(200, {"inbound_sms": rows}))
    assert [(each.id, each.text, each.created_at.minute) for each in page.messages] == [
        (5, "five", 5),
        (4, "", 5),
        (3, "three", 5),
        (2, "two", 2),
        (1, "7", 2),
    ]
    assert page.messages[1].raw == rows[1]


def test_an_inbound_message_names_its_sender_where_pindo_does():
    rows = [{**INBOUND, "from": sender} for sender in ("+250781234567", 7878, "", True, ["+250"])]
    for number, row in enumerate(rows):
        row["id"] = number
    page = parse_response(calls.list_inbound_sms(), answer(200, {"inbound_sms": rows}))
    assert [each.from_number for each in page.messages] == ["+250781234567", "7878", None, None, None]


@pytest.mark.parametrize(
    ("call", "body", "missing"),
    [
        (SEND, None, "it is missing, not a JSON object"),
        (SEND, [], "it is a list, not a JSON object"),
        (SEND, "sent", "it is a string, not a JSON object"),
        (SEND, b"{", "it is not JSON"),
        (SEND, {}, "it has no 'sms_id'"),
        (SEND, {"sms_id": ""}, "its 'sms_id' is a string that makes no sense there"),
        (SEND, {"sms_id": True}, "its 'sms_id' is a boolean that makes no sense there"),
        (BALANCE, {"amount": {}}, "its 'amount' is an object that makes no sense there"),
        (BALANCE, {"amount": "nan"}, "its 'amount' is a string that makes no sense there"),
        (BALANCE, {"amount": True}, "its 'amount' is a boolean that makes no sense there"),
        (calls.verify("+250781234567", "P"), {"request_id": 4.5}, "its 'request_id' is a number that"),
        (calls.verify("+250781234567", "P"), {"request_id": True}, "its 'request_id' is a boolean that"),
        (calls.verify("+250781234567", "P"), {"request_id": [4]}, "its 'request_id' is a list that"),
        (calls.verify("+250781234567", "P"), {"request_id": "1e999"}, "its 'request_id' is a string that"),
        (calls.list_inbound_sms(), {}, "its 'inbound_sms' is missing, not a list"),
        (calls.list_inbound_sms(), {"inbound_sms": [7]}, "none of its messages has an 'id'"),
        (calls.list_sender_ids(), [7], "it is a number, not a JSON object"),
        (
            calls.list_inbound_sms(),
            {"inbound_sms": [{"id": 1}, {"id": 2, "created_at": "now"}]},
            "none of its messages has a 'created_at'",
        ),
        (calls.list_sender_ids(), {"sender_ids": "P"}, "its 'sender_ids' is a string, not a list"),
    ],
)
def test_what_cannot_be_read_is_named(call, body, missing):
    with pytest.raises(
        PindoError, match=re.escape(f"{call.name}: Pindo answered 200, but its body cannot be read: ")
    ) as raised:
        parse_response(call, answer(200, body))
    assert missing in str(raised.value)
    assert raised.value.status == 200


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
    page = parse_response(calls.list_inbound_sms(timezone=timezone), answer(200, {"inbound_sms": [message]}))
    assert page.messages[0].created_at == datetime.fromisoformat(utc)
    assert page.messages[0].created_at.utcoffset().total_seconds() == 0


def test_times_are_utc_wherever_the_machine_stands():
    rows = [{"id": 1, "created_at": "2022-08-05T12:32:42"}]
    with pendulum.test_local_timezone(pendulum.timezone("Africa/Kigali")):
        page = parse_response(calls.list_inbound_sms(), answer(200, {"inbound_sms": rows}))
    assert page.messages[0].created_at.isoformat() == "2022-08-05T12:32:42+00:00"


def test_the_newest_message_without_a_time_is_as_new_as_can_be():
    """Nobody who waits since a moment ago may miss it."""
    rows = [{"id": 2, "text": "YES"}, {"id": 1, "text": "old", "created_at": "2020-01-01T00:00:00"}]
    before = datetime.now(UTC)
    page = parse_response(calls.list_inbound_sms(), answer(200, {"inbound_sms": rows}))
    assert before <= page.messages[0].created_at <= datetime.now(UTC)


@pytest.mark.parametrize("row", [{"id": 1}, {"id": 1, "created_at": "now"}])
def test_a_message_without_a_time_that_is_alone_on_its_page_does_not_hold_up_the_others(row):
    before = datetime.now(UTC)
    page = parse_response(calls.list_inbound_sms(), answer(200, {"inbound_sms": [row]}))
    assert before <= page.messages[0].created_at <= datetime.now(UTC)


@pytest.mark.parametrize("given", [2**53 + 1, str(2**53 + 1), 1541815603606036481])
def test_a_large_id_is_an_id(given):
    rows = [{"id": given, "text": "YES", "created_at": "2026-11-22T15:05:00"}]
    page = parse_response(calls.list_inbound_sms(), answer(200, {"inbound_sms": rows}))
    assert page.messages[0].id == int(given)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"message": "wrong pin"},
        {"message": "failed", "request_id": 4},
        {"message": 1},
        {"message": "success", "verified": False},
    ],
)
def test_only_success_says_that_a_code_was_right(body):
    with pytest.raises(PindoUnknownOutcomeError):
        parse_response(calls.check_verification(4, "752623"), answer(200, body))
    assert parse_response(calls.check_verification(4, "752623"), answer(200, {"message": "Success"}))


def test_an_empty_wallet_is_told_from_a_refused_token():
    def error(status, message):
        with pytest.raises(PindoError) as raised:
            parse_response(calls.get_balance(), answer(status, {"message": message}))
        return type(raised.value)

    assert error(403, "insufficient balance") is PindoInsufficientBalanceError
    assert error(403, "forbidden") is error(401, "insufficient balance") is PindoAuthError
    assert error(429, "balance requests exceeds the limit") is PindoRateLimitError


@pytest.mark.parametrize("status", [408, 460, 499])
def test_a_proxy_that_gave_up_waiting_leaves_the_outcome_unknown(status):
    with pytest.raises(PindoUnknownOutcomeError):
        parse_response(calls.send_sms("+250781234567", "Muraho", "PindoTest"), answer(status, {}))


def test_a_huge_reason_is_looked_at_in_no_time():
    text = "Muraho " * 200
    started = time.perf_counter()
    with pytest.raises(PindoRejectedError) as raised:
        parse_response(
            calls.send_sms("+250781234567", text, "PindoTest"), answer(400, {"message": "x" * 20_000_000})
        )
    assert time.perf_counter() - started < 5  # it was half a minute
    assert len(raised.value.reason) == 201


@pytest.mark.parametrize("status", [500, 503])
def test_a_server_error_that_speaks_of_money_leaves_the_outcome_unknown(status):
    with pytest.raises(PindoUnknownOutcomeError):
        parse_response(SEND, answer(status, {"message": "insufficient balance"}))


def test_a_redirect_to_no_address_may_follow_what_was_carried_out():
    moved = Response(302, {"location": "http://[::1"}, b"", "https://api.pindo.io/v1/sms/")
    with pytest.raises(PindoUnknownOutcomeError):
        parse_response(SEND, moved)


def test_a_wallet_that_is_too_low_is_known_by_what_pindo_says_and_not_by_the_text():
    text = "Pindo wallet: insufficient balance, top it up"
    call = calls.send_sms("+250781234567", text, "PindoTest")
    with pytest.raises(PindoInsufficientBalanceError):
        parse_response(call, answer(409, {"message": "insufficient balance"}))
    with pytest.raises(PindoRejectedError) as raised:
        parse_response(call, answer(409, {"message": f"blocked content: {text}"}))
    assert raised.value.reason == "blocked content: ***"


@pytest.mark.parametrize("echo", [str, str.upper, lambda text: text[:60], lambda text: text[-70:]])
def test_a_text_that_speaks_of_a_wallet_and_comes_back_is_no_wallet_that_is_too_low(echo):
    text = (
        "Your child's school wallet has an insufficient balance: please bring 500 RWF to the office tomorrow"
    )
    call = calls.send_sms("+250781234567", text, "PindoTest")
    with pytest.raises(PindoRejectedError):
        parse_response(call, answer(409, {"message": f"blocked content: {echo(text)}"}))


@pytest.mark.parametrize("name", ["Jean-Baptiste Uwimana", "Jo"])
def test_a_text_that_pindo_filled_is_not_shown(name):
    recipients = [{"phonenumber": "+250781234567", "name": name}, "+250781234568"]
    call = calls.send_bulk_sms(recipients, "Habari @contact.name", "PindoTest")
    with pytest.raises(PindoRejectedError) as raised:
        parse_response(call, answer(409, {"message": f"blocked content: Habari {name}"}))
    assert raised.value.reason in ("blocked content: ***", "a reason that repeats what was sent")
    with pytest.raises(PindoUnknownOutcomeError) as redirected:
        parse_response(call, answer(302, None, location=f"/denied/Habari%20{name.replace(' ', '%20')}"))
    assert f"Habari {name}" not in str(redirected.value)


def test_what_goes_to_somebody_without_a_name_hides_no_word_of_the_reason():
    call = calls.send_bulk_sms(["+250781234567"], "Hi @contact.name", "PindoTest")
    with pytest.raises(PindoRejectedError) as raised:
        parse_response(call, answer(409, {"message": "Hidden fees"}))
    assert raised.value.reason == "Hidden fees"


def test_a_place_is_shown_without_the_text_in_it_however_it_is_written():
    place = "/denied/a%20private%20text/%2B250781234567"
    with pytest.raises(PindoUnknownOutcomeError, match=re.escape("to /denied/***/+25078****567;")):
        parse_response(SEND, answer(302, None, location=place))


@pytest.mark.parametrize("written", ["250,781,234,567", "+250*781*234*567", "250'781'234'567"])
def test_a_number_is_masked_whatever_stands_between_its_digits(written):
    with pytest.raises(PindoRejectedError) as raised:
        parse_response(SEND, answer(400, {"message": f"wrong number {written}"}))
    assert "****567" in raised.value.reason
    assert written not in raised.value.reason


@pytest.mark.parametrize("status", ["failed", " Rejected", "ERROR"])
@pytest.mark.parametrize(("call", "body"), [(0, RECEIPT), (2, {"count": 1, "total": 1})])
def test_a_receipt_that_says_it_is_none_leaves_the_outcome_unknown(status, call, body):
    with pytest.raises(PindoUnknownOutcomeError, match="it is a receipt, and says"):
        parse_response(EVERY_CALL[call], answer(201, {**body, "status": status}))


def test_none_taken_and_failed_is_no_contradiction():
    taken = parse_response(EVERY_CALL[2], answer(201, {"count": 0, "total": 1, "status": "failed"}))
    assert (taken.count, taken.status) == (0, "failed")


@pytest.mark.parametrize("verified", [False, "false", 0, "no"])
def test_a_code_that_is_called_right_and_wrong_is_unknown(verified):
    with pytest.raises(PindoUnknownOutcomeError, match="that the code is right and that it is not"):
        parse_response(
            calls.check_verification(4, "752623"), answer(200, {"message": "success", "verified": verified})
        )
