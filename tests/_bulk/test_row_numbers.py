"""How rows are listed: as ranges, and the first of many."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pindo._bulk.row_numbers import MAX_LISTED, abbreviate, format_rows, parse_rows
from airflow_provider_pindo._ledger.entry import MAX_RECIPIENTS


@pytest.mark.parametrize("ranges", ["x", "-1", "-", "2-1", "1-2-3", "1,,x", "1-1001", "1-999999999999"])
def test_what_is_no_range_of_a_chunk_is_refused(ranges):
    with pytest.raises(ValueError):  # noqa: PT011 - the caller takes any
        parse_rows(ranges)


def test_a_range_may_have_as_many_rows_as_a_chunk():
    assert parse_rows(f"1-{MAX_RECIPIENTS}") == list(range(1, MAX_RECIPIENTS + 1))


@given(st.sets(st.integers(1, 60)))
def test_rows_are_written_as_ranges_and_read_back(rows):
    assert parse_rows(format_rows(rows)) == sorted(rows)


@pytest.mark.parametrize(("count", "more"), [(0, ""), (1, ""), (MAX_LISTED, ""), (MAX_LISTED + 1, ", …")])
def test_the_first_are_listed_and_more_are_said_to_follow(count, more):
    rows = range(1, count + 1)
    assert abbreviate(rows) == ", ".join(map(str, rows[:MAX_LISTED])) + more
