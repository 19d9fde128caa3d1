"""Response bodies: each becomes a value, and a malformed one is named."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

import pendulum
import pytest

from airflow_provider_pindo.api import calls, values
from airflow_provider_pindo.api.errors import (
    PindoError,
    PindoUnknownOutcomeError,
)
from airflow_provider_pindo.api.fields import MalformedResponse, read_time
from airflow_provider_pindo.api.parsers import read_inbound_event
from airflow_provider_pindo.api.responses import (
    parse_response,
)
from tests.api.responses import BALANCE, EVERY_CALL, RECEIPT, SEND, response

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
            lambda: calls.list_inbound_sms(1, 20, "UTC"),
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
            lambda: calls.list_inbound_sms(1, 20, "UTC"),
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
def test_each_response_is_parsed_and_kept_whole(make, body, value):
    assert parse_response(make(), response(200, body)) == value


def test_unknown_keys_are_kept():
    receipt = parse_response(SEND, response(201, {**RECEIPT, "carrier": {"name": "MTN"}}))
    assert receipt.raw["carrier"] == {"name": "MTN"}


@pytest.mark.parametrize("odd", [-0.006, -1, 10**30, 10**400, 1e300, "-1", "1e30"])
def test_an_odd_count_or_cost_is_none_where_it_may_be_missing(odd):
    body = {"sms_id": "one", "item_count": odd, "item_price": odd, "total_cost": odd}
    receipt = parse_response(SEND, response(201, body))
    assert (receipt.item_count, receipt.item_price, receipt.total_cost) == (None, None, None)
    totals = parse_response(EVERY_CALL[2], response(201, {"count": 1, "total": odd, "item_price": odd}))
    assert (totals.total, totals.item_price) == (None, None)
    with pytest.raises(PindoUnknownOutcomeError, match="'count'"):
        parse_response(EVERY_CALL[2], response(201, {"count": odd}))


def test_counts_and_costs_are_read_to_their_limits():
    most = 2**31
    body = {"sms_id": "one", "item_count": most, "item_price": 0, "total_cost": most}
    receipt = parse_response(SEND, response(201, body))
    assert (receipt.item_count, receipt.item_price, receipt.total_cost) == (most, 0.0, most)
    body = {"sms_id": "one", "item_count": 0, "total_cost": most + 1}
    receipt = parse_response(SEND, response(201, body))
    assert (receipt.item_count, receipt.total_cost) == (0, None)


def test_a_receipt_shows_no_number_in_a_log():
    assert "781234567" not in repr(parse_response(SEND, response(201, RECEIPT)))


def test_a_wallet_may_owe():
    assert parse_response(BALANCE, response(200, {"amount": -0.5})).amount == -0.5
    assert (
        parse_response(SEND, response(201, {"sms_id": "one", "remaining_balance": -0.5})).remaining_balance
        == -0.5
    )


def test_an_id_of_more_than_64_bits_is_none_unless_it_is_a_text():
    for number in (2**63 - 1, -(2**63)):
        assert (
            parse_response(
                calls.verify("+250781234567", "P"), response(201, {"request_id": number})
            ).request_id
            == number
        )
    for number in (2**63, -(2**63) - 1):
        with pytest.raises(PindoUnknownOutcomeError, match="'request_id'"):
            parse_response(calls.verify("+250781234567", "P"), response(201, {"request_id": number}))
    assert parse_response(SEND, response(201, {"sms_id": 10**30})).sms_id == str(10**30)


def test_what_no_database_stores_is_taken_out_of_a_response():
    body = (
        b'{"sms_id": "out_sms_1", "cost": 0.5, "note": "half \\ud83d", "rate": NaN, "price": 1e999, '
        b'"whole": "\\ud83d\\ude00"}'
    )
    receipt = parse_response(SEND, response(201, body))
    assert receipt.raw == {
        "sms_id": "out_sms_1",
        "cost": 0.5,
        "note": "half ?",
        "rate": None,
        "price": None,
        "whole": "😀",
    }


def test_one_odd_inbound_message_does_not_hold_up_the_others():
    rows = [
        {"id": 5, "text": "five", "created_at": "2026-11-22T15:05:00"},
        {"id": 4, "text": None, "created_at": "2026-11-22 15:04:00 o'clock"},
        {"id": 3, "text": "three"},
        {"id": 2, "text": "two", "created_at": "2026-11-22T15:02:00"},
        {"id": 1, "text": 7, "created_at": None},
    ]
    page = parse_response(calls.list_inbound_sms(1, 20, "UTC"), response(200, {"inbound_sms": rows}))
    assert [(message.id, message.text, message.created_at.minute) for message in page.messages] == [
        (5, "five", 5),
        (4, "", 5),
        (3, "three", 5),
        (2, "two", 2),
        (1, "7", 2),
    ]
    assert page.messages[1].raw == rows[1]


@pytest.mark.parametrize(("text", "shown"), [(7, "7"), (7.0, "7"), (7.5, "7.5"), (True, ""), (["YES"], "")])
def test_a_text_that_is_a_number_becomes_its_digits_and_any_other_one_is_empty(text, shown):
    rows = [{**INBOUND, "text": text}]
    page = parse_response(calls.list_inbound_sms(1, 20, "UTC"), response(200, {"inbound_sms": rows}))
    assert page.messages[0].text == shown


def test_an_inbound_message_names_its_sender_where_pindo_does():
    rows = [{**INBOUND, "from": sender} for sender in ("+250781234567", 7878, "", True, ["+250"])]
    for number, row in enumerate(rows):
        row["id"] = number
    page = parse_response(calls.list_inbound_sms(1, 20, "UTC"), response(200, {"inbound_sms": rows}))
    assert [message.from_number for message in page.messages] == ["+250781234567", "7878", None, None, None]


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
        (calls.list_inbound_sms(1, 20, "UTC"), {}, "its 'inbound_sms' is missing, not a list"),
        (
            calls.list_inbound_sms(1, 20, "UTC"),
            {"inbound_sms": [7]},
            "none of its messages has a numeric 'id'",
        ),
        (calls.list_sender_ids(), [7], "it is a number, not a JSON object"),
        (
            calls.list_inbound_sms(1, 20, "UTC"),
            {"inbound_sms": [{"id": 1}, {"id": 2, "created_at": "now"}]},
            "none of its messages has a 'created_at'",
        ),
        (calls.list_sender_ids(), {"sender_ids": "P"}, "its 'sender_ids' is a string, not a list"),
    ],
)
def test_a_malformed_body_is_named(call, body, missing):
    with pytest.raises(
        PindoError, match=re.escape(f"{call.name}: Pindo returned 200, but its body cannot be read: ")
    ) as raised:
        parse_response(call, response(200, body))
    assert missing in str(raised.value)
    assert raised.value.status == 200


@pytest.mark.parametrize(
    ("created_at", "timezone", "utc"),
    [
        ("2022-08-05T12:32:42.196907", "UTC", "2022-08-05T12:32:42.196907+00:00"),
        ("2022-08-05T12:32:42", "Africa/Kigali", "2022-08-05T10:32:42+00:00"),
        ("2022-08-05T12:32:42+02:00", "UTC", "2022-08-05T10:32:42+00:00"),
        ("24-07-2020, 23:35:32", "UTC", "2020-07-24T23:35:32+00:00"),
        ("2022-08-05 12:32:42 UTC", "Africa/Kigali", "2022-08-05T12:32:42+00:00"),
        (" 2022-08-05T12:32:42\n", "Africa/Kigali", "2022-08-05T10:32:42+00:00"),
        ("2022-08-05 12:32:42 utc", "Africa/Kigali", "2022-08-05T12:32:42+00:00"),
        ("Fri, 05 Aug 2022 12:32:42 -0000", "Africa/Kigali", "2022-08-05T12:32:42+00:00"),
        ("2022-08-05T12:32:42 GMT", "Africa/Kigali", "2022-08-05T12:32:42+00:00"),
        ("Fri, 05 Aug 2022 12:32:42 +0200", "UTC", "2022-08-05T10:32:42+00:00"),
        ("Fri, 05 Aug 2022 12:32:42 GMT", "Africa/Kigali", "2022-08-05T12:32:42+00:00"),
        (1659702762, "Africa/Kigali", "2022-08-05T12:32:42+00:00"),
        (1659702762.5, "UTC", "2022-08-05T12:32:42.5+00:00"),
        ("1659702762", "Africa/Kigali", "2022-08-05T12:32:42+00:00"),
        (1659702762250, "UTC", "2022-08-05T12:32:42.25+00:00"),
    ],
)
def test_times_become_aware_utc(created_at, timezone, utc):
    message = {"id": 20, "text": "Hello", "created_at": created_at}
    page = parse_response(calls.list_inbound_sms(1, 20, timezone), response(200, {"inbound_sms": [message]}))
    assert page.messages[0].created_at == datetime.fromisoformat(utc)
    assert page.messages[0].created_at.utcoffset().total_seconds() == 0


def test_a_long_time_blocks_nobody():
    started = time.monotonic()
    with pytest.raises(MalformedResponse):
        read_time("a" + " " * 20_000 + "b", "UTC")
    assert time.monotonic() - started < 1


def test_times_are_utc_in_any_time_zone_of_the_machine():
    rows = [{"id": 1, "created_at": "2022-08-05T12:32:42"}]
    with pendulum.test_local_timezone(pendulum.timezone("Africa/Kigali")):
        page = parse_response(calls.list_inbound_sms(1, 20, "UTC"), response(200, {"inbound_sms": rows}))
    assert page.messages[0].created_at.isoformat() == "2022-08-05T12:32:42+00:00"


def test_the_newest_message_without_a_time_is_as_new_as_can_be():
    """Nobody who waits since a moment ago may miss it."""
    rows = [{"id": 2, "text": "YES"}, {"id": 1, "text": "old", "created_at": "2020-01-01T00:00:00"}]
    before = datetime.now(UTC)
    page = parse_response(calls.list_inbound_sms(1, 20, "UTC"), response(200, {"inbound_sms": rows}))
    assert before <= page.messages[0].created_at <= datetime.now(UTC)


@pytest.mark.parametrize("row", [{"id": 1}, {"id": 1, "created_at": "now"}])
def test_a_message_without_a_time_that_is_alone_on_its_page_does_not_hold_up_the_others(row):
    before = datetime.now(UTC)
    page = parse_response(calls.list_inbound_sms(1, 20, "UTC"), response(200, {"inbound_sms": [row]}))
    assert before <= page.messages[0].created_at <= datetime.now(UTC)


@pytest.mark.parametrize("given", [2**53 + 1, str(2**53 + 1), 1541815603606036481])
def test_a_large_id_is_an_id(given):
    rows = [{"id": given, "text": "YES", "created_at": "2026-11-22T15:05:00"}]
    page = parse_response(calls.list_inbound_sms(1, 20, "UTC"), response(200, {"inbound_sms": rows}))
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
        parse_response(calls.check_verification(4, "752623"), response(200, body))
    assert parse_response(calls.check_verification(4, "752623"), response(200, {"message": "Success"}))


@pytest.mark.parametrize("status", ["failed", " Rejected", "ERROR"])
@pytest.mark.parametrize(("call", "body"), [(0, RECEIPT), (2, {"count": 1, "total": 1})])
def test_a_receipt_that_says_it_failed_leaves_the_outcome_unknown(status, call, body):
    with pytest.raises(PindoUnknownOutcomeError, match="it is a receipt, but its 'status' is"):
        parse_response(EVERY_CALL[call], response(201, {**body, "status": status}))


def test_none_taken_and_failed_is_no_contradiction():
    taken = parse_response(EVERY_CALL[2], response(201, {"count": 0, "total": 1, "status": "failed"}))
    assert (taken.count, taken.status) == (0, "failed")


@pytest.mark.parametrize("verified", [False, "false", 0, "no"])
def test_a_code_that_is_called_right_and_wrong_is_unknown(verified):
    with pytest.raises(PindoUnknownOutcomeError, match="that the code is right, and its 'verified'"):
        parse_response(
            calls.check_verification(4, "752623"), response(200, {"message": "success", "verified": verified})
        )


@pytest.mark.parametrize("text", [{}, {"text": None}, {"text": ""}])
def test_an_inbound_message_without_a_text_has_an_empty_one_and_keeps_its_body(text):
    body = {"from": "+250781234567", "to": 7878, **text}
    received_at = datetime(2026, 6, 10, 9, 5, tzinfo=UTC)
    assert read_inbound_event(body, 9, received_at) == values.InboundSms(
        9, "", received_at, inbound_sms_number="7878", from_number="+250781234567", raw=body
    )
