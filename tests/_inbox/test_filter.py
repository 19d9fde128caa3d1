"""Which messages match, and that no text can stall the reader."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from airflow_provider_pindo._inbox.filter import InboundFilter, compile_pattern
from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.json_safe import json_safe
from airflow_provider_pindo.api.values import InboundSms

AT = datetime(2026, 1, 1, tzinfo=UTC)


def message(text: str, number: int = 1, **fields: str | None) -> InboundSms:
    return InboundSms(id=number, text=text, created_at=AT, raw={"id": number, "text": text}, **fields)


def test_a_match_has_all_that_a_task_returns():
    inbound_filter = InboundFilter(r"(?i)\b(?P<answer>yes|no)\W+4821(?P<rest>!)?")
    assert inbound_filter.match(message("Yes 4821", inbound_sms_number="+250781113333")) == {
        "id": 1,
        "text": "Yes 4821",
        "created_at": "2026-01-01T00:00:00+00:00",
        "inbound_sms_number": "+250781113333",
        "groups": {"answer": "Yes", "rest": None},
        "raw": {"id": 1, "text": "Yes 4821"},
    }


def test_a_match_can_be_stored_whatever_its_number_is():
    match = InboundFilter().match(message("Yes", inbound_sms_number="78\0 78\ud800"))
    assert match is not None
    assert match["inbound_sms_number"] == "78\ufffd 78\ufffd"


def test_another_persons_code_does_not_match():
    assert InboundFilter(r"\b4821\b").match(message("YES 48210")) is None


def test_matches_come_oldest_first():
    matches = InboundFilter("YES").matches([message("YES", 3), message("NO", 2), message("YES", 1)])
    assert [match["id"] for match in matches] == [1, 3]


def test_an_inbound_number_is_known_with_and_without_its_plus():
    inbound_filter = InboundFilter(inbound_number="+250 781 113 333")
    assert inbound_filter.match(message("Hi", inbound_sms_number="250781113333"))
    assert not inbound_filter.match(message("Hi", inbound_sms_number="7878"))
    assert not inbound_filter.match(message("Hi"))


def test_a_sender_is_matched_when_messages_name_one():
    inbound_filter = InboundFilter(from_number="+250781234567")
    assert inbound_filter.match(message("Hi", from_number="+250781234567"))
    assert not inbound_filter.match(message("Hi", from_number="+250781234568"))
    inbound_filter.check_senders(True)
    inbound_filter.check_senders(None)  # no message was read yet


def test_waiting_for_a_sender_where_messages_name_none_is_refused_with_the_way_out():
    with pytest.raises(PindoConfigurationError, match="Reply YES 4821"):
        InboundFilter(from_number="+250781234567").check_senders(False)
    InboundFilter("YES").check_senders(False)


@pytest.mark.parametrize(
    ("pattern", "named"),
    [
        ("(?=YES)", "invalid perl operator: (?="),
        ("(?<!NO )YES", "invalid perl operator: (?<!"),
        (r"(YES) \1", r"invalid escape sequence: \1"),
        ("(YES", "missing ): (YES"),
        ("+250781234567", "no argument for repetition operator: +"),
        ("a++", "bad repetition operator: ++"),
        ("\ud800", "'utf-8' codec can't encode"),
    ],
)
def test_what_re2_does_not_take_is_refused_by_name_and_printed_nowhere(pattern, named, capfd):
    with pytest.raises(PindoConfigurationError) as refused:
        compile_pattern(pattern)
    shown = repr(pattern).replace("1234", "****")
    assert f"pattern {shown} is not valid RE2: {named}" in str(refused.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("pattern", ["", None, 4821])
def test_an_empty_pattern_is_refused(pattern):
    with pytest.raises(PindoConfigurationError, match="pattern is"):
        compile_pattern(pattern)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("pattern", [r"(a+)+$", r"(\w*\s*)*$x", r"^(([a-z])+.)+[A-Z]([a-z])+$"])
@pytest.mark.parametrize("text", ["a" * 100_000 + "!", "é" * 100_000, "a " * 50_000])
def test_a_hostile_text_is_answered_within_milliseconds(pattern, text):
    """The benchmark has the milliseconds; a backtracking matcher would not end."""
    match = InboundFilter(pattern).match(message(text))
    assert match is None or match["text"] == text


def test_a_text_that_is_no_unicode_matches_and_can_be_stored():
    match = InboundFilter("YES").match(message("YES \ud800\0"))
    assert match is not None
    assert match["text"] == "YES \ufffd\ufffd"
    assert match == json_safe(match)


def test_a_sender_in_national_form_is_the_same_sender():
    inbound_filter = InboundFilter(from_number="078 123 4567", country="RW")
    for same in ("+250781234567", "250781234567", "0781234567", "078 123 4567", "00250781234567"):
        assert inbound_filter.match(message("hi", from_number=same)), same
    for other in ("0781234568", "01234567", "0981234567", "067", "Pindo", None):
        assert not inbound_filter.match(message("hi", from_number=other)), other


def test_a_stranger_whose_national_number_reads_the_same_is_another_sender():
    abroad = InboundFilter(from_number="+254781234567", country="RW")
    assert not abroad.match(message("hi", from_number="0781234567"))
    in_florida = InboundFilter(from_number="+16562345678", country="US")
    assert not in_florida.match(message("hi", from_number="+6562345678"))  # in Singapore
    of_no_country = InboundFilter(from_number="+250781234567")
    assert of_no_country.match(message("hi", from_number="00250781234567"))
    assert not of_no_country.match(message("hi", from_number="0781234567"))


def test_the_accounts_number_may_be_given_as_its_people_write_it():
    inbound_filter = InboundFilter(inbound_number="0781 113 333", country="RW")
    assert inbound_filter.match(message("hi", inbound_sms_number="250781113333"))
    assert inbound_filter.match(message("hi", inbound_sms_number="0781113333"))
    short_code = InboundFilter(inbound_number="04821", country="RW")
    assert short_code.match(message("hi", inbound_sms_number="04821"))


@pytest.mark.parametrize("nothing", ["", "None", "PINDO"])
@pytest.mark.parametrize("name", ["inbound_number", "from_number"])
def test_an_invalid_number_does_not_match_every_number(name, nothing):
    with pytest.raises(PindoConfigurationError, match="number"):
        InboundFilter("YES", **{name: nothing}, country="RW")


@pytest.mark.parametrize("number", [7878, 250781234567, 7878.0, True, b"7878", ["7878"]])
def test_an_inbound_number_that_is_no_string_is_refused(number):
    shown = re.escape(repr(number).replace("1234", "****"))
    problem = rf"inbound_number is {shown}, of type {type(number).__name__}: give a string"
    with pytest.raises(PindoConfigurationError, match=problem):
        InboundFilter(inbound_number=number)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"\b4821\b", "YES \u0664\u0668\u0662\u0661"),  # Arabic-Indic
        (r"\b4821\b", "\u06f4\u06f8\u06f2\u06f1"),  # extended Arabic-Indic, as in Persian
        (r"(?P<code>\d{4})", "\uff14\uff18\uff12\uff11"),  # full width
        ("(?i)^yego$", "YE\u200bGO"),
        ("(?i)^yego$", "\u202ayego\u202c"),
        ("(?i)^caf\u00e9$", "cafe\u0301"),
    ],
)
def test_a_text_matches_however_its_keyboard_wrote_it(pattern, text):
    match = InboundFilter(pattern).match(message(text))
    assert match is not None
    assert match["text"] == text
    assert match["raw"]["text"] == text
    assert match["groups"] in ({}, {"code": "4821"})


@pytest.mark.parametrize("pattern", ["cafe\u0301", "YE\u200bGO", "\u0664\u0668"])
def test_a_pattern_is_tried_on_the_text_as_it_came_first(pattern):
    assert InboundFilter(pattern).match(message(pattern)) is not None
