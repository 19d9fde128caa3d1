"""Requests: what they carry, and what is refused before it is sent."""

from __future__ import annotations

import json

import pytest

from airflow_provider_pindo.api import calls
from airflow_provider_pindo.api.errors import PindoConfigurationError

PHONE = "+250781234567"


@pytest.mark.parametrize(
    ("make", "name", "request_line", "content", "params"),
    [
        (
            lambda: calls.send_sms("0781234567", "Muraho é", "PindoTest", country="RW"),
            "send_sms",
            "POST /v1/sms/",  # with the slash: without it Pindo redirects for ever
            {"to": PHONE, "text": "Muraho é", "sender": "PindoTest"},
            None,
        ),
        (
            lambda: calls.send_bulk_sms(
                [
                    {"phonenumber": PHONE, "name": "Aline"},
                    {"phonenumber": "0781234568", "name": "Rémy", "age": 40},
                ],
                "Hi @contact.name",
                "PindoTest",
                country="RW",
            ),
            "send_bulk_sms",
            "POST /v1/sms/bulk",
            {
                "recipients": [
                    {"phonenumber": PHONE, "name": "Aline"},
                    {"phonenumber": "+250781234568", "name": "Rémy"},
                ],
                "text": "Hi @contact.name",
                "sender": "PindoTest",
            },
            None,
        ),
        (
            lambda: calls.verify("0781234567", "PindoTest", country="RW"),
            "verify",
            "POST /v1/sms/verify",
            {"brand": "PindoTest", "number": PHONE},
            None,
        ),
        (
            lambda: calls.check_verification("4", " 007123 "),
            "check_verification",
            "POST /v1/sms/verify/check",
            {"code": "007123", "request_id": 4},
            None,
        ),
        (
            lambda: calls.get_verification(" 4 "),
            "get_verification",
            "GET /v1/sms/verify/status/4",
            None,
            None,
        ),
        (
            lambda: calls.cancel_verification(4),
            "cancel_verification",
            "PUT /v1/sms/verify/cancel/4",
            None,
            None,
        ),
        (
            lambda: calls.list_inbound_sms(1, 20, "UTC"),
            "list_inbound_sms",
            "GET /v1/sms/inbounds",
            None,
            {"page": 1, "per_page": 20},
        ),
        (
            lambda: calls.list_inbound_sms(3, 1, "UTC"),
            "list_inbound_sms",
            "GET /v1/sms/inbounds",
            None,
            {"page": 3, "per_page": 1},
        ),
        (lambda: calls.get_balance(), "get_balance", "GET /wallets/self", None, None),
        (lambda: calls.list_sender_ids(), "list_sender_ids", "GET /sender_ids/", None, None),
        (lambda: calls.list_sender_ids("P"), "list_sender_ids", "GET /sender_ids/", None, {"name": "P"}),
    ],
)
def test_each_call_is_the_request_that_pindo_documents(make, name, request_line, content, params):
    call = make()
    assert (call.name, f"{call.method} {call.path}", call.params) == (name, request_line, params)
    assert json.loads(call.content() or b"null") == content


@pytest.mark.parametrize(
    ("make", "safe"),
    [
        (lambda: calls.send_sms("+250781234567", "x", "P"), False),
        (lambda: calls.send_bulk_sms(["+250781234567"], "x", "P"), False),
        (lambda: calls.verify("+250781234567", "P"), False),
        (lambda: calls.check_verification(4, "123456"), False),
        (lambda: calls.get_verification(4), True),
        (lambda: calls.cancel_verification(4), True),
        (lambda: calls.list_inbound_sms(1, 20, "UTC"), True),
        (lambda: calls.get_balance(), True),
        (lambda: calls.list_sender_ids("PindoTest"), True),
    ],
)
def test_only_what_sends_or_uses_up_an_attempt_is_not_safe_to_repeat(make, safe):
    assert make().safe_to_repeat is safe


def test_a_call_shows_no_text_no_code_and_no_number():
    secret = [
        calls.send_sms(PHONE, "secret", "P"),
        calls.send_bulk_sms([PHONE], "secret", "P"),
        calls.check_verification(4, "752623"),
    ]
    assert not any(word in repr(secret) for word in ("secret", "752623", "781234567"))
    assert [call.private("") for call in secret] == [("secret",), ("secret",), ("752623",)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "text is empty"),
        ("  \n", "text is empty"),
        (None, "text is of type NoneType"),
        (7, "text is of type int"),
        ("half \ud83d", "text has half a surrogate pair at character 6,"),
    ],
)
def test_a_text_that_no_phone_can_show_is_refused(text, message):
    with pytest.raises(PindoConfigurationError, match=message):
        calls.send_sms(PHONE, text, "PindoTest")
    with pytest.raises(PindoConfigurationError, match=message):
        calls.send_bulk_sms([PHONE], text, "PindoTest")


@pytest.mark.parametrize("recipients", [None, 7, "+250781234567", b"+250781234567", {"phonenumber": PHONE}])
def test_recipients_that_are_no_list_are_refused_by_their_type(recipients):
    with pytest.raises(
        PindoConfigurationError, match=f"recipients is of type {type(recipients).__name__}: give"
    ):
        calls.send_bulk_sms(recipients, "Muraho", "PindoTest")


def test_a_name_of_sender_ids_that_is_no_string_is_refused():
    with pytest.raises(PindoConfigurationError, match="name is of type int: give a string"):
        calls.list_sender_ids(5)


@pytest.mark.parametrize(
    ("sender", "message"),
    [
        ("PindoTestCompany", "'Pi…' has 16 characters; Pindo takes at most 11"),
        (None, "no sender was given"),
        ("", "no sender was given"),
        ("  ", "sender is empty: give a sender ID such as PindoTest"),
        (7878, "sender is of type int: give a sender ID"),
        ("a\ud800", "sender has half a surrogate pair at character 2,"),
    ],
)
def test_a_sender_that_pindo_would_not_take_is_refused(sender, message):
    with pytest.raises(PindoConfigurationError, match=message):
        calls.send_sms("+250781234567", "x", sender)


def test_a_sender_of_eleven_characters_is_taken_and_a_brand_is_one():
    assert calls.send_sms(PHONE, "x", "ClinicKigal").json["sender"] == "ClinicKigal"
    assert calls.verify(PHONE, "ClinicKigal").json["brand"] == "ClinicKigal"
    with pytest.raises(PindoConfigurationError, match="no brand was given: set the argument 'brand'"):
        calls.verify(PHONE, None)
    with pytest.raises(PindoConfigurationError, match="brand 'Cl…' has 12 characters"):
        calls.verify(PHONE, "ClinicKigali")


@pytest.mark.parametrize("swapped", [PHONE, 250781234567, "Your result is ready", ["Your result is ready"]])
def test_a_swapped_argument_for_a_sender_is_not_shown(swapped):
    with pytest.raises(PindoConfigurationError) as raised:
        calls.send_sms(PHONE, "x", swapped)
    assert not any(piece in str(raised.value) for piece in ("2507", "781", "result"))


def test_half_a_character_in_a_name_is_refused_where_it_stands():
    with pytest.raises(
        PindoConfigurationError, match="recipient 2: the name has half a surrogate pair at character 3"
    ):
        calls.send_bulk_sms([PHONE, {"phonenumber": PHONE, "name": "Re\ud83d"}], "x", "PindoTest")
    with pytest.raises(PindoConfigurationError, match="name has half a surrogate pair at character 1"):
        calls.list_sender_ids("\ud83d")


def test_a_bad_recipient_is_named_by_its_row():
    with pytest.raises(PindoConfigurationError, match=r"recipient 2: phone number 078\*\*\*\*567"):
        calls.send_bulk_sms(["+250781234567", "0781234567"], "x", "PindoTest")


def test_a_bare_number_is_a_recipient_without_a_name():
    call = calls.send_bulk_sms([PHONE], "Muraho", "PindoTest")
    assert call.json["recipients"] == [{"phonenumber": PHONE, "name": ""}]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("Come at @contact.time", "time"),
        ("@contact.name, come at @contact.time", "time"),
        ("Call @contact.phone", "phone"),
        ("Muraho @contact.Name", "Name"),
    ],
)
def test_a_mention_that_pindo_does_not_fill_is_refused_in_a_bulk_request(text, field):
    with pytest.raises(
        PindoConfigurationError, match=rf"the text mentions @contact\.{field}, and Pindo fills only"
    ):
        calls.send_bulk_sms([{"phonenumber": PHONE, "name": "A", field: "B"}], text, "PindoTest")


@pytest.mark.parametrize(
    "nameless", [PHONE, *({"phonenumber": PHONE, "name": name} for name in (None, "", " ", float("nan")))]
)
def test_a_name_that_is_mentioned_and_missing_is_refused(nameless):
    recipients = [{"phonenumber": PHONE, "name": "Aline"}, nameless]
    with pytest.raises(
        PindoConfigurationError, match=r"mentions @contact\.name, and recipient 2 has no 'name'"
    ):
        calls.send_bulk_sms(recipients, "Muraho @contact.name", "PindoTest")
    assert calls.send_bulk_sms(recipients, "Muraho", "PindoTest").json["recipients"][1]["name"] == ""


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Muraho @contact.name", "@contact.name"),
        ("Muraho @contact.name", "A @contact.time"),
        ("Muraho @contact.name.name", "a@contact"),
    ],
)
def test_a_name_that_makes_a_mention_is_refused(text, name):
    with pytest.raises(PindoConfigurationError, match="recipient 1: the name makes a mention of its own"):
        calls.send_bulk_sms([{"phonenumber": PHONE, "name": name}], text, "PindoTest")


def test_an_address_that_looks_like_a_mention_needs_no_name():
    text = "Write to help@contact.name.rw"
    assert calls.send_bulk_sms([PHONE], text, "PindoTest").json["text"] == text
    named = calls.send_bulk_sms([{"phonenumber": PHONE, "name": "A"}], f"@contact.name: {text}", "PindoTest")
    assert named.json["recipients"][0]["name"] == "A"


@pytest.mark.parametrize("text", ["Muraho", "Muraho @contact.name"])
def test_a_name_whose_formula_has_failed_is_refused(text):
    with pytest.raises(
        PindoConfigurationError, match=r"recipient 1: 'name': the formula .* \(#N/A\): correct"
    ):
        calls.send_bulk_sms([{"phonenumber": PHONE, "name": " #N/A"}], text, "PindoTest")


def test_a_recipient_whose_number_has_another_key_is_refused_by_its_keys():
    with pytest.raises(PindoConfigurationError) as refused:
        calls.send_bulk_sms([PHONE, {"PhoneNumber": PHONE, "name": "A"}], "Muraho", "PindoTest")
    assert "recipient 2 has no 'phonenumber' (its keys: 'PhoneNumber', 'name'): give" in str(refused.value)
    with pytest.raises(PindoConfigurationError, match=r"its keys: '\+25078\*\*\*\*567'\)"):
        calls.send_bulk_sms([{PHONE: "Aline"}], "Muraho", "PindoTest")
    with pytest.raises(PindoConfigurationError, match=r"its keys: none\)"):
        calls.send_bulk_sms([{}], "Muraho", "PindoTest")


def test_a_bulk_send_to_nobody_is_refused():
    with pytest.raises(PindoConfigurationError, match="recipients is empty"):
        calls.send_bulk_sms([], "x", "PindoTest")


@pytest.mark.parametrize(
    ("request_id", "problem"),
    [
        (None, r"\(of type NoneType\) is not a whole number"),
        ("", r"\(a string of 0 characters\) is not a whole number"),
        ("four", r"\(a string of 4 characters\) is not a whole number"),
        (4.0, r"\(of type float\) is not a whole number"),
        (True, r"\(of type bool\) is not a whole number"),
        ("-1", r"\(a string of 2 characters\) is not a whole number"),
        ("٤", r"\(a string of 1 characters\) is not a whole number"),
        (-1, "is below 0"),
        (2**63, "is above 9223372036854775807"),
        (str(2**63), "is above 9223372036854775807"),
        ("9" * 5000, "is above 9223372036854775807"),  # Python reads no number of so many digits
    ],
)
def test_a_malformed_request_id_is_refused(request_id, problem):
    with pytest.raises(PindoConfigurationError, match=f"^request_id {problem}: give the request_id that"):
        calls.get_verification(request_id)


@pytest.mark.parametrize("request_id", [0, "000", "0004", 2**63 - 1, f"{'0' * 5000}4"])
def test_every_request_id_of_64_bits_is_taken(request_id):
    assert calls.get_verification(request_id).path.endswith(f"/{str(request_id).lstrip('0') or 0}")


@pytest.mark.parametrize("swapped", [PHONE, "075 26", "7526-23", 752623.5, ["752623"]])
def test_a_swapped_argument_for_a_request_id_is_not_shown(swapped):
    with pytest.raises(PindoConfigurationError) as raised:
        calls.check_verification(swapped, "1234")
    assert not any(piece in str(raised.value) for piece in ("2507", "781", "075", "7526", "26"))


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        (None, "of type NoneType"),
        ("", "empty"),
        (" ", "empty"),
        ("\u200b \ufeff", "empty"),
        (752623, "of type int"),
    ],
)
def test_a_code_that_is_not_text_is_refused_without_being_shown(code, problem):
    with pytest.raises(PindoConfigurationError, match=f"code is {problem}:") as refused:
        calls.check_verification(4, code)
    assert "752623" not in str(refused.value)


def test_half_a_character_in_a_code_is_refused_without_the_code():
    with pytest.raises(
        PindoConfigurationError, match="code has half a surrogate pair at character 7"
    ) as refused:
        calls.check_verification(4, "752623\ud83d")
    assert "752623" not in str(refused.value)


@pytest.mark.parametrize(
    "typed",
    [
        "\u200b075260\ufeff",
        "0752\u200d60",
        "075 260",
        "0 7 5 2 6 0",
        "\u00a0075\u00a0260\n",
        "075-260",
        "075 \u2013 260",
        "07\u201152\u201160",
        "\uff10\uff17\uff15\uff12\uff16\uff10",
        "\u0660\u0667\u0665 \u0662\u0666\u0660",
        "\u06f0\u06f7\u06f5\u06f2\u06f6\u06f0",
    ],
)
def test_a_code_is_read_as_the_person_meant_it(typed):
    call = calls.check_verification(4, typed)
    assert call.json["code"] == "075260"
    assert call.private("") == ("075260",)


@pytest.mark.parametrize("code", ["aB12", "AB-12", "12 ab 34", "{{ conn.pindo_default.password }}"])
def test_letters_of_a_code_and_what_stands_beside_them_are_not_changed(code):
    assert calls.check_verification(4, f" {code}\u200b").json["code"] == code


@pytest.mark.parametrize("page", [0, -1, "1", None])
def test_a_page_that_is_not_a_number_from_1_is_refused(page):
    with pytest.raises(PindoConfigurationError, match=f"^page is {page!r}: give a whole number from 1"):
        calls.list_inbound_sms(page, 20, "UTC")
    with pytest.raises(PindoConfigurationError, match=f"^per_page is {page!r}"):
        calls.list_inbound_sms(1, page, "UTC")


@pytest.mark.parametrize(
    ("name", "text"), [(" Aline ", "Aline"), (float("nan"), ""), (7.0, "7"), ("Rene\u0301", "Ren\u00e9")]
)
def test_a_name_in_a_bulk_request_is_a_text_as_people_write_it(name, text):
    call = calls.send_bulk_sms([{"phonenumber": "+250781234567", "name": name}], "Muraho", "PindoTest")
    assert call.json["recipients"] == [{"phonenumber": "+250781234567", "name": text}]


@pytest.mark.parametrize("name", [b"Aline", True, ["Aline"], {"first": "Aline"}])
def test_a_name_that_is_not_a_text_is_refused_and_not_shown(name):
    with pytest.raises(PindoConfigurationError, match="recipient 1: 'name': a value of type") as refused:
        calls.send_bulk_sms([{"phonenumber": "+250781234567", "name": name}], "Muraho", "PindoTest")
    assert "Aline" not in str(refused.value)
