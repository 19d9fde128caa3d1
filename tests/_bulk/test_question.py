"""What an answer about the unknown recipients means, and what the log says of the question."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pindo._bulk.batch_entry import RowOutcome
from airflow_provider_pindo._bulk.question import (
    ALL_ARRIVED,
    NONE_ARRIVED,
    OPTIONS,
    SOME_ARRIVED,
    describe_unknown,
    read_arrived,
)

UNKNOWN = [*range(58, 78), 80, 1001]


def test_the_buttons_are_these():
    assert OPTIONS == ("All arrived", "None arrived: send to them", "Some arrived", "Leave it failed")


@pytest.mark.parametrize("typed", [None, "", "  "])
def test_all_or_none_need_no_rows(typed):
    assert read_arrived(ALL_ARRIVED, typed, UNKNOWN) == set(UNKNOWN)
    assert read_arrived(NONE_ARRIVED, typed, UNKNOWN) == set()


@pytest.mark.parametrize(
    ("typed", "rows"),
    [
        ("58", {58}),
        ("58-77,80", {*range(58, 78), 80}),
        (" 58 - 60, 62 ;80\n1001, ", {58, 59, 60, 62, 80, 1001}),
        ("58\N{EN DASH}60", {58, 59, 60}),
        ("58-60,59", {58, 59, 60}),
        (80, {80}),
    ],
)
def test_some_are_named_by_their_rows(typed, rows):
    assert read_arrived(SOME_ARRIVED, typed, UNKNOWN) == rows


@pytest.mark.parametrize(
    ("option", "typed", "problem"),
    [
        (SOME_ARRIVED, "", "arrived is empty: give the rows that arrived, such as 58-77,80"),
        (SOME_ARRIVED, None, "arrived is empty"),
        (SOME_ARRIVED, " , ", "'' in arrived is not a row"),
        (SOME_ARRIVED, "all", "'all' in arrived is not a row number or a range such as 58-77"),
        (SOME_ARRIVED, "60-58", "'60-58' in arrived is not a row"),
        (SOME_ARRIVED, "-58", "'-58' in arrived is not a row"),
        (SOME_ARRIVED, "58.0", "'58.0' in arrived is not a row"),
        (SOME_ARRIVED, "\u0665\u0668", "in arrived is not a row"),
        (SOME_ARRIVED, "58,79,81-99999999", r"names row 79, 81, .* The unknown rows are 58-77,80,1001"),
        (SOME_ARRIVED, "77-80", "names row 78, whose outcome is not unknown"),
        (SOME_ARRIVED, "0781234567", r"'078\*\*\*\*567' in arrived is not a row"),
        (SOME_ARRIVED, ["58"], "in arrived is not a row"),
        (ALL_ARRIVED, "58", "arrived names rows, and the option is 'All arrived': choose 'Some arrived'"),
        (NONE_ARRIVED, "58", "the option is 'None arrived: send to them'"),
        ("Approve", "58", "'Approve' is not one of the options"),
    ],
)
def test_an_answer_that_is_not_clear_is_refused_with_the_reason(option, typed, problem):
    with pytest.raises(ValueError, match=problem) as refused:
        read_arrived(option, typed, UNKNOWN)
    assert "781234567" not in str(refused.value)


def test_the_unknown_rows_of_a_refusal_are_cut():
    with pytest.raises(ValueError, match=r"The unknown rows are 1,3,.*…$") as refused:
        read_arrived(SOME_ARRIVED, "2", range(1, 9999, 2))
    assert len(str(refused.value)) < 400
    with pytest.raises(ValueError, match="The unknown rows are none"):
        read_arrived(SOME_ARRIVED, "2", [])


@given(st.text("0123456789-,; \nx", max_size=12))
def test_whatever_is_typed_only_unknown_rows_count(typed):
    rows = set()
    with suppress(ValueError):
        rows = read_arrived(SOME_ARRIVED, typed, UNKNOWN)
        assert rows
    assert rows.issubset(UNKNOWN)


def unknown_rows(count):
    return [
        RowOutcome(row, "+25078****001", "unknown", "the connection was reset") for row in range(1, count + 1)
    ]


def test_the_log_names_the_unknown_rows():
    assert list(describe_unknown(unknown_rows(2), None)) == [
        "Outcome unknown for 2 recipients. Find out who of them got the message (Pindo's dashboard shows it), then "
        "answer the question under Required Actions:",
        "row 1 (+25078****001): the connection was reset",
        "row 2 (+25078****001): the connection was reset",
    ]


@pytest.mark.parametrize(
    ("report", "where"),
    [
        (
            "ftp://user:s3cret@host/today.csv?sig=s1gned",
            "the report ftp://host/today.csv and the Pindo tab of this task instance list all",
        ),
        (
            "s3://reports/today.csv",
            "the report s3://reports/today.csv and the Pindo tab of this task instance list all",
        ),
        (None, "the Pindo tab of this task instance lists all"),
    ],
)
def test_beyond_a_hundred_the_log_says_where_the_others_are(report, where):
    lines = list(describe_unknown(unknown_rows(1234), report))
    assert len(lines) == 102
    assert lines[-1] == f"and 1,134 more: {where}"
