"""Requests: what they carry, and what is refused before it is sent."""

from __future__ import annotations

import json

import pytest

from airflow_provider_pindo.api import calls
from airflow_provider_pindo.api.errors import PindoConfigurationError


def test_a_send_goes_to_the_address_with_the_slash():
    call = calls.send_sms("0781234567", "Muraho é", "PindoTest", country="RW")
    assert (call.method, call.path) == ("POST", "/v1/sms/")
    assert json.loads(call.content()) == {"to": "+250781234567", "text": "Muraho é", "sender": "PindoTest"}


def test_a_bulk_send_goes_to_the_address_without_it_and_always_names_the_sender():
    call = calls.send_bulk_sms(
        ["+250781234567", {"phonenumber": "0781234568", "name": "Rémy", "age": 40}],
        "Hi @contact.name",
        "PindoTest",
        country="RW",
    )
    assert (call.method, call.path) == ("POST", "/v1/sms/bulk")
    assert call.json == {
        "recipients": [
            {"phonenumber": "+250781234567", "name": ""},
            {"phonenumber": "+250781234568", "name": "Rémy"},
        ],
        "text": "Hi @contact.name",
        "sender": "PindoTest",
    }


def test_a_check_sends_the_code_as_text_and_the_id_as_a_number():
    assert calls.check_verification("4", "007123").json == {"code": "007123", "request_id": 4}


@pytest.mark.parametrize(
    ("call", "safe"),
    [
        (calls.send_sms("+250781234567", "x", "P"), False),
        (calls.send_bulk_sms(["+250781234567"], "x", "P"), False),
        (calls.verify("+250781234567", "P"), False),
        (calls.check_verification(4, "123456"), False),
        (calls.get_verification(4), True),
        (calls.cancel_verification(4), True),
        (calls.list_inbound_sms(), True),
        (calls.get_balance(), True),
        (calls.list_sender_ids("PindoTest"), True),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_only_what_sends_or_uses_up_an_attempt_is_not_safe_to_repeat(call, safe):
    assert call.safe_to_repeat is safe


def test_a_call_shows_no_text_no_code_and_no_number():
    secret = [calls.send_sms("+250781234567", "secret", "P"), calls.check_verification(4, "752623")]
    assert not any(word in repr(secret) for word in ("secret", "752623", "781234567"))


@pytest.mark.parametrize("text", ["", "  \n", None, 7, "half \ud83d"])
def test_a_text_that_no_phone_can_show_is_refused(text):
    with pytest.raises(PindoConfigurationError, match="text"):
        calls.send_sms("+250781234567", text, "PindoTest")


@pytest.mark.parametrize(
    ("sender", "message"),
    [
        ("PindoTestCompany", "'PindoTestCompany' has 16 characters; Pindo takes at most 11"),
        (None, "no sender was given"),
        ("", "no sender was given"),
        ("  ", "not a sender ID"),
        (7878, "not a sender ID"),
    ],
)
def test_a_sender_that_pindo_would_not_take_is_refused(sender, message):
    with pytest.raises(PindoConfigurationError, match=message):
        calls.send_sms("+250781234567", "x", sender)


def test_a_bad_recipient_is_named_by_its_row():
    with pytest.raises(PindoConfigurationError, match=r"recipient 2: phone number 078\*\*\*\*567"):
        calls.send_bulk_sms(["+250781234567", "0781234567"], "x", "PindoTest")


def test_a_bulk_send_to_nobody_is_refused():
    with pytest.raises(PindoConfigurationError, match="recipients is empty"):
        calls.send_bulk_sms([], "x", "PindoTest")


@pytest.mark.parametrize("request_id", [None, "", "four", 4.0, True, "-1", "٤"])
def test_a_request_id_that_is_no_whole_number_is_refused(request_id):
    with pytest.raises(PindoConfigurationError, match="request_id"):
        calls.get_verification(request_id)


@pytest.mark.parametrize("code", [None, "", " ", 752623])
def test_a_code_that_is_no_text_is_refused_without_being_shown(code):
    with pytest.raises(PindoConfigurationError, match="code is") as refused:
        calls.check_verification(4, code)
    assert "752623" not in str(refused.value)


@pytest.mark.parametrize("page", [0, -1, "1", None])
def test_a_page_that_is_none_is_refused(page):
    with pytest.raises(PindoConfigurationError, match="page is"):
        calls.list_inbound_sms(page)
