"""What an error or a log may repeat: no token, PIN, text or whole phone number."""

from __future__ import annotations

import json
import re
import time

import pytest
from airflow.providers.common.compat.sdk import AirflowException

from airflow_provider_pindo.api import calls
from airflow_provider_pindo.api.errors import (
    PindoError,
    PindoRejectedError,
    PindoUnknownOutcomeError,
)
from airflow_provider_pindo.api.redaction import mask_error, safe_message
from airflow_provider_pindo.api.responses import (
    parse_response,
)
from tests.api.responses import SEND, response


def test_what_pindo_says_is_repeated_without_secrets():
    message = 'no route for +250781234567\nwith "a private text" and token s3cr3t-token ' + "x" * 500
    with pytest.raises(PindoRejectedError) as raised:
        parse_response(SEND, response(409, {"message": message}), "s3cr3t-token")
    shown = str(raised.value)
    assert "+25078****567" in shown
    assert "\n" not in shown
    assert len(shown) < 400
    assert not any(secret in shown for secret in ("1234567", "a private text", "s3cr3t-token"))


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
        parse_response(call, response(400, {"message": echo}))
    assert "HIV" not in str(raised.value)
    assert "Remy" not in str(raised.value)


@pytest.mark.parametrize("private", ["752623", 'say "é" now'])
def test_a_text_is_hidden_in_whatever_form_it_comes_back(private):
    call = calls.send_sms("+250781234567", private, "PindoTest")
    for echo in (private, json.dumps(private)[1:-1], json.dumps(private, ensure_ascii=False)[1:-1]):
        with pytest.raises(PindoRejectedError) as raised:
            parse_response(call, response(400, {"message": f"refused: {echo}!"}))
        assert raised.value.reason == "refused: ***!"


@pytest.mark.parametrize(("private", "hidden"), [("1-2-3-4", True), ("1-2-3", False)])
def test_a_pin_of_four_digits_is_known_by_its_digits(private, hidden):
    call = calls.check_verification(4, private)
    with pytest.raises(PindoError) as raised:
        parse_response(call, response(422, {"message": f"wrong: {private.replace('-', '.')}"}))
    assert (raised.value.reason == "a reason that repeats what was sent") is hidden


@pytest.mark.parametrize(
    ("piece", "hidden"), [(slice(13), True), (slice(-12, None), True), (slice(-11, None), False)]
)
def test_a_piece_of_the_text_is_hidden_from_twelve_characters_on(piece, hidden):
    text = "Hello Remy, your result is ready"
    with pytest.raises(PindoRejectedError) as raised:
        parse_response(
            calls.send_sms("+250781234567", text, "P"), response(400, {"message": f"bad: {text[piece]}"})
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
def test_a_text_that_comes_back_in_another_form_is_hidden(private, echo):
    with pytest.raises(PindoRejectedError) as raised:
        parse_response(
            calls.send_sms("+250781234567", private, "P"), response(400, {"message": f"refused {echo} here"})
        )
    assert raised.value.reason in ("a reason that repeats what was sent", "refused *** here")


def test_three_characters_are_in_any_reason_by_chance():
    with pytest.raises(PindoRejectedError) as raised:
        parse_response(
            calls.send_sms("+250781234567", "O.K.!", "P"), response(400, {"message": "broken okapi"})
        )
    assert raised.value.reason == "broken okapi"


@pytest.mark.parametrize("echo", ["+250781\u200b234567", "+250\u2060781\u00ad234567"])
def test_a_number_that_something_invisible_cuts_is_masked(echo):
    with pytest.raises(PindoRejectedError) as raised:
        parse_response(SEND, response(400, {"message": f"bad number {echo}"}))
    assert raised.value.reason == "bad number +25078****567"


def test_a_word_that_the_text_shares_with_the_reason_is_not_hidden():
    call = calls.send_sms("+250781234567", "your balance of 5 USD", "PindoTest")
    with pytest.raises(PindoRejectedError) as raised:
        parse_response(call, response(400, {"message": "unsupported: your balance"}))
    assert raised.value.reason == "a reason that repeats what was sent"
    with pytest.raises(PindoRejectedError) as raised:
        parse_response(call, response(400, {"message": "unsupported: your country"}))
    assert raised.value.reason == "unsupported: your country"


def test_a_huge_reason_is_read_fast():
    text = "Muraho " * 200
    started = time.process_time()
    with pytest.raises(PindoRejectedError) as raised:
        parse_response(
            calls.send_sms("+250781234567", text, "PindoTest"), response(400, {"message": "x" * 20_000_000})
        )
    assert time.process_time() - started < 5  # it was half a minute
    assert len(raised.value.reason) == 201


@pytest.mark.parametrize("name", ["Jean-Baptiste Uwimana", "Jo"])
def test_a_text_that_pindo_filled_is_not_shown(name):
    recipients = [
        {"phonenumber": "+250781234567", "name": name},
        {"phonenumber": "+250781234568", "name": "Aline"},
    ]
    call = calls.send_bulk_sms(recipients, "Habari @contact.name", "PindoTest")
    with pytest.raises(PindoRejectedError) as raised:
        parse_response(call, response(409, {"message": f"blocked content: Habari {name}"}))
    assert raised.value.reason in ("blocked content: ***", "a reason that repeats what was sent")
    with pytest.raises(PindoUnknownOutcomeError) as redirected:
        parse_response(call, response(302, None, location=f"/denied/Habari%20{name.replace(' ', '%20')}"))
    assert f"Habari {name}" not in str(redirected.value)


def test_what_goes_to_somebody_without_a_name_hides_no_word_of_the_reason():
    call = calls.send_checked_bulk_sms(
        [{"phonenumber": "+250781234567", "name": ""}], "Hi @contact.name", "PindoTest"
    )
    with pytest.raises(PindoRejectedError) as raised:
        parse_response(call, response(409, {"message": "Hidden fees"}))
    assert raised.value.reason == "Hidden fees"


def test_a_redirect_target_is_shown_without_the_text_in_it():
    place = "/denied/a%20private%20text/%2B250781234567"
    with pytest.raises(PindoUnknownOutcomeError, match=re.escape("to /denied/***/+25078****567;")):
        parse_response(SEND, response(302, None, location=place))


@pytest.mark.parametrize("written", ["250,781,234,567", "+250*781*234*567", "250'781'234'567"])
def test_a_number_is_masked_whatever_stands_between_its_digits(written):
    with pytest.raises(PindoRejectedError) as raised:
        parse_response(SEND, response(400, {"message": f"wrong number {written}"}))
    assert "****567" in raised.value.reason
    assert written not in raised.value.reason


def raised(error: BaseException) -> BaseException:
    """The error, as it is after it was raised."""
    try:
        raise error
    except BaseException as caught:
        return caught


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (PindoRejectedError("refused"), "refused"),
        (AirflowException("no answer about +250781234567"), "no answer about +25078****567"),
    ],
)
def test_errors_of_pindo_and_of_airflow_keep_their_message(error, shown):
    assert safe_message(error) == shown


def test_any_other_error_shows_only_its_type_and_place_since_it_may_repeat_what_was_sent():
    shown = safe_message(raised(LookupError("Your result for +250781234567 is ready")))
    assert shown.startswith("LookupError in raised (test_redaction.py:")
    assert "result" not in shown


def test_an_error_that_was_never_raised_shows_its_type():
    assert safe_message(LookupError("Your result")) == "LookupError"
    assert safe_message(PindoError("")) == "PindoError"


def test_a_timeout_is_named_as_one():
    assert safe_message(raised(TimeoutError())) == "it took too long"


def test_a_masked_error_keeps_its_words_and_hides_its_numbers():
    assert mask_error(OSError("no file +250781234567.csv")) == "no file +25078****567.csv"
    assert mask_error(OSError()) == "OSError"
