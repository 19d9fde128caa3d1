"""Numbers: what is taken, what is refused and why, and that none is shown whole."""

from __future__ import annotations

import re
import time
from decimal import Decimal

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pindo.api.errors import PindoConfigurationError, PindoError
from airflow_provider_pindo.api.phone import (
    are_e164,
    is_e164,
    mask_numbers_in,
    mask_phone_number,
    parse_phone_number,
)
from tests.api.float32 import Float32

REGIONS = ["RW", "KE", "UG", "TZ", "BI", "CD", "ZM", "FR", "US"]


@pytest.mark.parametrize(
    "number",
    [
        "+250781234567",
        "+12025550123",
        "+8613812345678",
        "+4915112345678",
        # Of no country: satellites, and a range without mobile numbers.
        "+881612345678",
        "+883510012345",
        # Perhaps a new range, in a country whose numbers begin with a zero.
        "+242071234567",
        "+2250912345678",
        "+2290112345678",
        "+24109123456",
    ],
)
def test_e164_is_taken_as_it_is(number):
    assert parse_phone_number(number) == number
    assert parse_phone_number(number, "RW") == number
    assert parse_phone_number(f"  {number}\n") == number


@pytest.mark.parametrize(
    "written",
    [
        "0781234567",
        "078 123 4567",
        "078-123-4567",
        "250781234567",
        "250 781-234-567",
        "00250781234567",
        "781234567",
    ],
)
def test_a_national_number_is_read_when_a_country_is_named(written):
    assert parse_phone_number(written, "RW") == "+250781234567"
    assert parse_phone_number(written, " rw ") == "+250781234567"


def test_a_number_of_another_country_keeps_its_country():
    assert parse_phone_number("+254 712 345 678", "RW") == "+254712345678"


@pytest.mark.parametrize(
    ("number", "country", "reason"),
    [
        ("", None, "empty"),
        ("   ", "RW", "empty"),
        ("0788654321", None, "not in E.164"),
        ("+0788654321", None, "no country has this code"),
        ("+2507886543211234567", None, "16 digits after"),
        ("0788654321", "Rwanda", "two-letter code"),
        ("0788654321", "", "country '' is not"),
        ("0788654321", "+250781234567", r"country '\+25078\*\*\*\*567' is not"),
        ("078865432", "RW", "not a valid number of RW"),
        ("0000", "RW", "not a valid number of RW"),
        ("07886543218901234567", "RW", "too long"),
        ("0788654321 ext 12", "RW", "letters"),
        ("0788654321 # 12", "RW", r"07886\*\*\*\*112 has an extension"),
        ("+999 886543210", "RW", "no country has this code"),
        ("001", "RW", "too short after the international prefix"),
        ("1", "RW", "not a number"),
        ("+25012", "RW", "digits after"),
        ("CALLMENOW", "RW", "letters"),
        ("?", "RW", "QUESTION MARK"),
        ("()", "RW", "not a number"),
        (250788654321, None, r"25078\*\*\*\*321 is of type int"),
        (None, "RW", "empty"),
        (788654321.5, "RW", "type float"),
        (["+250788654321"], None, "type list"),
    ],
)
def test_what_is_no_number_is_refused_with_the_reason_and_what_to_write(number, country, reason):
    with pytest.raises(PindoConfigurationError, match=reason) as refused:
        parse_phone_number(number, country)
    assert "886543" not in str(refused.value)
    assert "+2507XXXXXXXX" in str(refused.value) or "RW or KE" in str(refused.value)


@given(st.sampled_from(REGIONS))
def test_every_way_to_write_an_example_number_gives_its_e164(region):
    example = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
    e164 = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
    for form in (phonenumbers.PhoneNumberFormat.NATIONAL, phonenumbers.PhoneNumberFormat.INTERNATIONAL):
        assert parse_phone_number(phonenumbers.format_number(example, form), region) == e164


@given(
    st.one_of(st.text(), st.from_regex(r"[+0-9 ()-]{0,20}", fullmatch=True)),
    st.sampled_from([None, *REGIONS]),
)
def test_whatever_is_written_gives_e164_or_a_refusal_that_hides_it(written, country):
    try:
        number = parse_phone_number(written, country)
    except PindoError as refused:
        shown, number = str(refused), "+250781234567"
    else:
        shown = ""
    assert re.fullmatch(r"\+[1-9][0-9]{7,14}", number)
    whole = re.sub(r"[^0-9]", "", written)
    assert len(whole) < 7 or whole not in shown


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("+250781234567", "+25078****567"),
        ("+123456789012345", "+12345****345"),
        ("0781234567", "078****567"),
        ("078 123 4567", "078****567"),
        ("1234567", "****567"),
        ("Remy Muhire", "Re****"),
        ("Aline", "Al****"),
        ("Remy", "****"),
        ("12", "****"),
        ("\ud83dremy", "?r****"),  # logs and files are UTF-8, which has no half characters
        (None, "****"),
    ],
)
def test_a_number_is_shown_masked(number, shown):
    assert mask_phone_number(number) == shown


@given(st.from_regex(r"\+?[0-9]{7,15}", fullmatch=True))
def test_at_least_four_digits_are_hidden(number):
    shown = mask_phone_number(number)
    assert sum(character.isdigit() for character in shown) <= sum(map(str.isdigit, number)) - 4


def test_numbers_inside_a_text_are_masked():
    assert mask_numbers_in("no route to +250781234567, or 078 123 4567, code 63510") == (
        "no route to +25078****567, or 078****567, code 63510"
    )


@pytest.mark.parametrize(
    "number",
    [
        "+250 (781) 234567",
        "+250 - 781 - 234 - 567",
        "+250/781/234567",
        "+250\u2013781\u2013234\u2013567",
        "+250\u00a0781\u2011234\u2011567",
        "+250_781_234567",
        "+250 781 234 567",
    ],
)
def test_a_number_inside_a_text_is_masked_however_it_is_written(number):
    assert mask_numbers_in(f"no route to {number}.") == "no route to +25078****567."


def test_of_numbers_that_run_into_each_other_no_whole_one_is_left():
    shown = mask_numbers_in("+250781234567 (0781234568) 0781234569/0781234560")
    assert not re.search("[0-9]{6}", shown)


@pytest.mark.parametrize("text", ["1 (2) " * 20_000, "1 - " * 30_000, "12345x" * 20_000, "1(((( " * 20_000])
def test_numbers_are_found_fast(text):
    started = time.process_time()
    mask_numbers_in(text)
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    "bad", ["0781234567", "+250781234567\n+250781234568", "+250781234567\n", "", "+25078123456\u0667"]
)
def test_one_check_for_many_numbers_refuses_what_the_check_of_one_does(bad):
    good = ["+250781234567", "+250781234568"]
    assert are_e164(good)
    assert all(map(is_e164, good))
    assert are_e164([])
    assert are_e164([*good, "+254712345678"])
    assert not is_e164(bad)
    assert not any(map(are_e164, ([bad], [bad, *good], [*good, bad])))


@pytest.mark.parametrize(
    ("number", "country"),
    [
        ("+250 781 234 567", None),
        ("+250-781-234-567", None),
        ("+250.781.234.567", None),
        ("+250 (0)781234567", None),
        ("+2500781234567", None),
        ("+250\u00a00781234567", None),
        ("tel:+250781234567", None),
        ("TEL: +250781234567", None),
        ("\u202a+250\u202f781\u2009234\u200b567\u202c", None),
        ("\ufeff+250781234567", None),
        ("+250781234567\x07", None),
        ("+250\t781 234 567", None),
        ("'+250781234567'", None),
        ("+250\u2013781\u2013234\u2013567", None),
        ("+250781234567\ufe0d", None),
        ("\uff0b250781234567", None),
        ("+25078123456\u0667", None),
        ("'0781234567", "RW"),
        ("781234567.0", "RW"),
        ("250781234567.00", "RW"),
        ("250781234567,0", "RW"),
        (781234567, "RW"),
        (250781234567, "RW"),
        (781234567.0, "RW"),
        (Decimal("781234567"), "RW"),
        ("(+250) 781234567", None),
        ("( +250 )781 234 567", "RW"),
        ("(+250 781234567)", None),
        ("tel: (+250)781234567", None),
    ],
)
def test_a_number_is_read_however_people_and_spreadsheets_write_it(number, country):
    assert parse_phone_number(number, country) == "+250781234567"


@pytest.mark.parametrize(
    ("number", "country", "e164"),
    [
        ("+2540712345678", None, "+254712345678"),
        ("+44 (0)7911 123456", None, "+447911123456"),
        ("+4407911123456", None, "+447911123456"),
        ("+39 06 698 12345", None, "+390669812345"),
        ("+2250707123456", None, "+2250707123456"),
        ("+12025550123", None, "+12025550123"),
        ("812345678.0", "ID", "+62812345678"),
        (812345678.0, "ID", "+62812345678"),
    ],
)
def test_a_zero_after_the_country_code_is_dropped_where_it_is_no_part_of_the_number(number, country, e164):
    assert parse_phone_number(number, country) == e164


@pytest.mark.parametrize(
    ("number", "country", "reason"),
    [
        ("+25078123456", None, r"has 8 digits after \+250, and mobile numbers there have 9"),
        ("+2507812345678", None, r"has 10 digits after \+250"),
        ("+254712345", "RW", r"has 6 digits after \+254"),
        ("+2540012345", None, r"has 7 digits after \+254, and mobile numbers there have 9:"),
        ("+883051000123", None, r"is not a valid number of \+883:"),
        ("+25707956123", None, r"is not a valid number of \+257:"),
        ("+999781234567", None, r"cannot be read as a number \(no country has this code\)"),
        ("+49151123456", None, r"has 9 digits after \+49, and mobile numbers there have 10 or 11:"),
        ("2.50781E+11", "RW", r"2\.\*\*\*\*E\+11 was rounded by a spreadsheet"),
        ("2,50781E+11", None, "was rounded by a spreadsheet"),
        ("2.50781234567e+11", "RW", "was rounded by a spreadsheet"),
        ("781234567.5", "RW", r"781\*\*\*\*675 has a fraction"),
        ("812345678.5", "ID", "has a fraction"),  # as punctuation, the point would make another valid number
        ("812345678,25", "ID", "has a fraction"),
        ("+6281234567.8", None, "has a fraction"),
        (
            "62812345678",
            "ID",
            r"may begin with the country code \+62, or be a national number that begins with the same",
        ),
        ("62 812-345-678", "ID", r"number 6281\*\*\*\*678 may begin with the country code \+62"),
        (62812345678.0, "ID", r"may begin with the country code \+62"),
        ("812345678.0", None, r"phone number 81\*\*\*\*678\.0 is not in E\.164"),
        ("0781234567 / 0781234568", "RW", "two numbers in one cell"),
        ("0781234567;0781234568", "RW", "two numbers in one cell"),
        ("0781234567 / 1234567", "RW", r"number 078123\*\*\*\*567 is two numbers in one cell"),
        ("0781234567 / 12 - 3456", "RW", "not a valid number of RW"),  # a part of six digits is no number
        ("0+250781234567", "RW", "two numbers in one cell"),
        ("+250781234567+250781234568", None, "two numbers in one cell"),
        ("0781234567\n0781234568", "RW", "two numbers in one cell"),
        ("0781234567 or 0781234568", "RW", "two numbers in one cell"),
        ("+250 781\u00d7234 567", None, r"\(MULTIPLICATION SIGN\)"),
        ("+250 781\ue000234 567", None, r"\(U\+E000\)"),
        (float("nan"), "RW", "empty"),
        (True, "RW", "type bool"),
        (781234567, None, "type int"),
        (Float32(781234567), "RW", r"is of type Float32, which may have lost its last digits"),
        (b"0781234567", "RW", "type bytes"),
    ],
)
def test_a_number_that_would_reach_a_stranger_is_refused(number, country, reason):
    with pytest.raises(PindoConfigurationError, match=reason) as refused:
        parse_phone_number(number, country)
    assert not re.search("[0-9]{7}", str(refused.value))


@given(st.sampled_from(REGIONS), st.sampled_from(["", "0", "00"]), st.integers(-2, 2))
def test_an_international_number_is_valid_repaired_or_refused(region, zeros, longer):
    """Nothing but the person's own number comes out of it, whatever was typed around its digits."""
    example = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
    national = str(example.national_number)
    typed = f"+{example.country_code}{zeros}{(national + '12')[: len(national) + longer]}"
    try:
        number = parse_phone_number(typed)
    except PindoConfigurationError:
        return
    assert is_e164(number) or phonenumbers.is_valid_number(phonenumbers.parse(number))
    assert number.removeprefix("+") in (
        typed.removeprefix("+"),
        typed.removeprefix("+").replace(zeros, "", 1),
    ) or (number == f"+{example.country_code}{typed.removeprefix(f'+{example.country_code}').lstrip('0')}")
