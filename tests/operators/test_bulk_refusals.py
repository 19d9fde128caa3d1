"""A refusal that concerns everybody stops a bulk send; one about a number never does."""

from __future__ import annotations

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_pindo.api.errors import PindoRejectedError
from tests.operators.bulk import PERSONAL, Store, at, columns_in, people, send, times_texted

SUSPENDED = {"status": 409, "body": {"message": "account suspended"}, "times": None}


def arguments_for(count, personal):
    return {"recipients": people(count, time=at), "text": PERSONAL if personal else "Muraho @contact.name"}


@pytest.mark.parametrize("concurrency", [20, 100])
@pytest.mark.parametrize("personal", [False, True])
def test_an_unknown_sender_is_asked_about_at_most_twenty_times_more_than_are_in_flight(
    sandbox, personal, concurrency
):
    sandbox.settings(approved_senders=[])
    store, arguments = Store(), {**arguments_for(300, personal), "concurrency": concurrency}
    with pytest.raises(
        AirflowFailException, match=r"Pindo refuses the sender ID 'PindoTest' \(409 Unknown"
    ) as failed:
        send(store, **arguments)
    assert isinstance(failed.value.__context__, PindoRejectedError)
    assert failed.value.__context__.status == 409
    assert "clear the task: it sends to everybody who was not accepted" in str(failed.value).split("\n")[1]
    columns = columns_in(failed.value)
    assert columns["accepted"] == columns["unknown"] == 0
    assert columns["rejected"] <= 20 + concurrency
    assert columns["rejected"] + columns["not_sent"] == 300
    assert len(sandbox.requests()) <= 20 + concurrency
    sandbox.settings(approved_senders="any")
    assert send(store, generation=1, **arguments)["accepted"] == 300
    assert set(times_texted(sandbox).values()) == {1}
    assert len(sandbox.messages()) == 300


@pytest.mark.parametrize("personal", [False, True])
@pytest.mark.parametrize(
    "reason",
    [
        "Unknown sender id PindoTest for {number}",
        "Unknown sender id PindoTest ({masked})",
        "Request {row} failed: unknown sender id PindoTest",
        "Unknown sender id PindoTest [req_01H7{row}XYZ]",
    ],
)
def test_a_reason_that_names_the_number_or_the_request_stops_it_all_the_same(sandbox, personal, reason):
    call = "send_sms" if personal else "send_bulk_sms"
    for row, each in enumerate(people(300), 100):
        number = each["phonenumber"]
        masked = f"{number[:6]}****{number[-3:]}"
        body = {"message": reason.format(number=number, masked=masked, row=row)}
        sandbox.add_fault("status", call=call, to=number, status=409, body=body, times=None)
    with pytest.raises(AirflowFailException, match="refuses the sender ID 'PindoTest'") as failed:
        send(Store(), **arguments_for(300, personal))
    assert columns_in(failed.value)["rejected"] <= 40
    assert len(sandbox.requests()) <= 40


@pytest.mark.parametrize("status", [400, 409, 422])
def test_a_number_that_is_refused_with_its_bulk_request_holds_back_nobody_else(sandbox, status):
    body = {"message": "invalid phone number in recipients"}
    sandbox.add_fault(
        "status", call="send_bulk_sms", to="+250780000003", status=status, body=body, times=None
    )
    result = send(Store(), recipients=people(100))
    assert (result["accepted"], result["rejected"]) == (99, 1)
    assert result["rejections"][0]["row"] == 3
    assert len(sandbox.messages()) == len(times_texted(sandbox)) == 99


@pytest.mark.parametrize("first", range(1, 87, 5))
def test_numbers_that_stand_together_are_refused_and_stop_nobody_for_an_unknown_reason(sandbox, first):
    """A group that is split counts no more once others of its request were accepted."""
    refused = [each["phonenumber"] for each in people(100)[first - 1 :][:15]]
    for number in refused:
        body = {"message": "blacklisted"}
        sandbox.add_fault("status", call="send_bulk_sms", to=number, status=409, body=body, times=None)
    result = send(Store(), recipients=people(100), concurrency=1)
    assert (result["accepted"], result["rejected"]) == (85, 15)
    assert set(times_texted(sandbox).values()) == {1}


@pytest.mark.parametrize("status", [400, 422])
def test_a_bulk_request_that_is_refused_as_such_stops_it(sandbox, status):
    body = {"message": "recipients must be given as a string"}
    sandbox.add_fault("status", call="send_bulk_sms", status=status, body=body, times=None)
    with pytest.raises(AirflowFailException, match=f"Pindo refuses every message .{status} recip") as failed:
        send(Store(), recipients=people(300))
    columns = columns_in(failed.value)
    assert columns["rejected"] <= 40
    assert columns["rejected"] + columns["not_sent"] == 300
    assert len(sandbox.requests()) <= 40


@pytest.mark.parametrize("key", ["error", "message"])
def test_the_reason_may_stand_under_either_key(sandbox, key):
    body = {key: "Unknown sender id PindoTest", "status": 409}
    sandbox.add_fault("status", call="send_sms", status=409, body=body, times=None)
    with pytest.raises(AirflowFailException, match="refuses the sender ID 'PindoTest'"):
        send(Store(), **arguments_for(100, True))


@pytest.mark.parametrize("reason", ["unsupported country", "Unsupported telco", "wrong number format"])
@pytest.mark.parametrize("personal", [False, True])
def test_a_reason_about_numbers_never_stops_it(sandbox, reason, personal):
    refused = [each["phonenumber"] for each in people(40)]
    sandbox.settings(rejected_numbers=refused)
    for number in refused if personal else ():
        sandbox.add_fault("status", call="send_sms", to=number, status=409, body={"message": reason})
    result = send(Store(), **arguments_for(100, personal), chunk_size=10)
    assert (result["accepted"], result["rejected"]) == (60, 40)


@pytest.mark.parametrize(
    "reason",
    [
        "UNSUPPORTED_COUNTRY",
        "unsupportedTelco",
        "The country is not supported.",
        "Telco not supported: 63514",
        "Wrong phone number format",
        "Invalid phoneNumber",
        "The format of this number is wrong",
    ],
)
def test_a_documented_reason_in_another_spelling_is_about_a_number(sandbox, reason):
    body = {"message": reason}
    for each in people(40):
        sandbox.add_fault("status", call="send_sms", to=each["phonenumber"], status=409, body=body)
    result = send(Store(), **arguments_for(60, True))
    assert (result["accepted"], result["rejected"]) == (20, 40)


def test_a_reason_about_a_number_may_repeat_it(sandbox):
    for each in people(40):
        body = {"message": f"wrong number format: {each['phonenumber']}"}
        sandbox.add_fault("status", call="send_sms", to=each["phonenumber"], status=409, body=body)
    result = send(Store(), **arguments_for(60, True))
    assert (result["accepted"], result["rejected"]) == (20, 40)


@pytest.mark.parametrize(
    "reason",
    [
        "Sender ID not allowed in this country",
        "Unsupported country for this sender",
        "sender_id has the wrong number format",
        "Account number blocked",
        "Invalid account number",
        "Country not supported by your account",
        "Brand unsupported by telco",
        "The text has an invalid number format",
        "Too many recipients today",
        "Invalid number of recipients",
    ],
)
@pytest.mark.parametrize("personal", [False, True])
def test_a_reason_about_the_send_stops_it_whatever_words_it_has(sandbox, reason, personal):
    call, body = "send_sms" if personal else "send_bulk_sms", {"error": reason}
    sandbox.add_fault("status", call=call, status=409, body=body, times=None)
    what = "the sender ID 'PindoTest'" if "sender" in reason.lower() else "every message"
    with pytest.raises(AirflowFailException, match=f"Pindo refuses {what} .409 {reason}") as failed:
        send(Store(), **arguments_for(300, personal))
    columns = columns_in(failed.value)
    assert columns["rejected"] <= 40
    assert columns["rejected"] + columns["not_sent"] == 300
    assert len(sandbox.requests()) <= 40


def test_a_409_for_single_bad_numbers_among_good_ones_is_about_them(sandbox):
    sandbox.settings(rejected_numbers=["+250780000003", "+250780000077", "+250780000278"])
    result = send(Store(), **arguments_for(300, False))
    assert (result["accepted"], result["rejected"]) == (297, 3)


@pytest.mark.parametrize("resend", [False, True])
@pytest.mark.parametrize("personal", [False, True])
def test_an_account_suspended_half_way_stops_it_and_a_clear_reaches_everybody(sandbox, personal, resend):
    store, arguments = Store(), {**arguments_for(300, personal), "chunk_size": 10, "resend": resend}
    sandbox.add_fault("status", call="send_sms" if personal else "send_bulk_sms", skip=15, **SUSPENDED)
    with pytest.raises(
        AirflowFailException, match=r"Pindo refuses every message \(409 account suspended\)"
    ) as failed:
        send(store, **arguments)
    columns = columns_in(failed.value)
    assert columns["accepted"] == len(sandbox.messages()) == (15 if personal else 150)
    assert columns["rejected"] <= 40
    sandbox.clear_faults()
    assert send(store, generation=1, **arguments)["accepted"] == 300
    assert set(times_texted(sandbox).values()) == {1}


def test_refusals_with_an_accepted_one_in_between_are_no_run(sandbox):
    fault = {"call": "send_sms", "status": 409, "body": {"message": "blocked"}}
    sandbox.add_fault("status", times=19, **fault)
    sandbox.add_fault("status", times=19, skip=1, **fault)
    result = send(Store(), **arguments_for(60, True), concurrency=1)
    assert (result["accepted"], result["rejected"]) == (22, 38)


def test_refusals_for_different_reasons_are_no_run(sandbox):
    for number in range(1, 41):
        body = {"message": "blocked" if number % 20 < 10 else "spam"}
        sandbox.add_fault("status", call="send_sms", to=f"+25078{number:07}", status=409, body=body)
    result = send(Store(), **arguments_for(60, True), concurrency=1)
    assert (result["accepted"], result["rejected"]) == (20, 40)
