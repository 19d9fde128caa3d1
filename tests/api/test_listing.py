"""What an error lists of many things."""

from __future__ import annotations

import pytest

from airflow_provider_pindo.api.listing import LISTED, first_of


@pytest.mark.parametrize(("count", "more"), [(0, ""), (1, ""), (LISTED, ""), (LISTED + 1, ", …")])
def test_the_first_are_listed_and_more_are_said_to_follow(count, more):
    rows = range(1, count + 1)
    assert first_of(rows) == ", ".join(map(str, rows[:LISTED])) + more
