"""What people write as arguments: read, or refused by its name with what to write."""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta

import pytest

from airflow_provider_pindo.api.arguments import (
    check_choice,
    check_whole_number,
    masked_repr,
    read_flag,
    read_optional,
    read_seconds,
    read_since,
)
from airflow_provider_pindo.api.errors import PindoConfigurationError


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("+250781234567", "'+25078****567'"),
        (["0781234567"], "['078****567']"),
        (250781234567, "25078****567"),
        ("0788-12-34-56", "'078****456'"),
        (4821, "4821"),
        ("2026-11-24", "'2026-11-24'"),
        ("2026-11-24 +250781234567", "'2****124 +25078****567'"),
        (" 2026-11-24T08:00", "' 2026-11-24T08:00'"),
        (datetime(2026, 11, 24), "datetime.datetime(2026, 11, 24, 0, 0)"),
    ],
)
def test_an_error_masks_a_phone_number_and_shows_a_date(value, shown):
    assert masked_repr(value) == shown
    with pytest.raises(PindoConfigurationError, match=f"^since is {re.escape(shown)}: give an aware time"):
        read_since(value)


@pytest.mark.parametrize(
    "read",
    [
        read_flag,
        read_seconds,
        check_whole_number,
        lambda name, value: check_choice(name, value, ("fail", "skip")),
    ],
)
def test_every_argument_is_shown_so(read):
    with pytest.raises(PindoConfigurationError, match=re.escape("x is '+25078****567': give ")):
        read("x", "+250781234567")


@pytest.mark.parametrize(
    ("given", "flag"),
    [
        *((each, True) for each in (True, 1, "1", "true", " True ", "YES")),
        *((each, False) for each in (False, 0, "0", "false", "no", "False", "", " ", None, "None")),
    ],
)
def test_a_flag_may_come_as_text(given, flag):
    assert read_flag("resend", given) is flag


@pytest.mark.parametrize(("given", "text"), [("None", None), (None, None), ("", ""), ("none", "none")])
def test_the_none_of_a_template_is_none(given, text):
    assert read_optional(given) == text


@pytest.mark.parametrize("given", ["perhaps", 2, "wahr"])
def test_what_is_no_flag_is_refused(given):
    with pytest.raises(PindoConfigurationError, match=re.escape(f"resend is {given!r}: give true or false")):
        read_flag("resend", given)


@pytest.mark.parametrize(
    "given", ["yesterday", "2026-11-24", 7, None, "0001-01-01T00:00:00+02:00", "9999-12-31T23:59:59-12:00"]
)
def test_what_is_no_moment_is_refused(given):
    with pytest.raises(PindoConfigurationError, match=re.escape(f"since is {given!r}: give an aware time")):
        read_since(given)


@pytest.mark.parametrize("given", ["0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59+00:00"])
def test_the_first_and_the_last_moment_are_moments(given):
    assert read_since(given).isoformat() == given


def test_a_choice_is_one_of_those_there_are():
    assert check_choice("on_invalid", "skip", ("fail", "skip")) == "skip"
    with pytest.raises(PindoConfigurationError, match=r"^on_invalid is 'x': give one of fail, skip$"):
        check_choice("on_invalid", "x", ("fail", "skip"))


@pytest.mark.parametrize("most", [None, 1000])
def test_a_whole_number_is_from_1_to_a_bound(most):
    for given in (1, 999, 1000):
        assert check_whole_number("chunk_size", given, most=most) == given
    bound = "" if most is None else " to 1,000"
    for given in (0, -1, True, 1.0, "2", None, *(() if most is None else (1001,))):
        said = f"^chunk_size is {given!r}: give a whole number from 1{bound}$"
        with pytest.raises(PindoConfigurationError, match=said):
            check_whole_number("chunk_size", given, most=most)


def test_a_time_is_seconds_or_a_timedelta():
    assert [read_seconds("timeout", each) for each in (0, 2, 1.5, timedelta(minutes=1))] == [0, 2, 1.5, 60]
    assert type(read_seconds("timeout", 2)) is float
    for given in (-1, timedelta(seconds=-1), math.inf, math.nan, True, "10", None):
        said = re.escape(f"timeout is {given!r}: give seconds, such as 30.0, or a timedelta")
        with pytest.raises(PindoConfigurationError, match=f"^{said}$"):
            read_seconds("timeout", given)
