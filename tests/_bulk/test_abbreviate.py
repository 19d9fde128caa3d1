"""What an error lists of many things."""

from __future__ import annotations

import pytest

from airflow_provider_pindo._bulk.recipients import MAX_LISTED, abbreviate


@pytest.mark.parametrize(("count", "more"), [(0, ""), (1, ""), (MAX_LISTED, ""), (MAX_LISTED + 1, ", …")])
def test_the_first_are_listed_and_more_are_said_to_follow(count, more):
    rows = range(1, count + 1)
    assert abbreviate(rows) == ", ".join(map(str, rows[:MAX_LISTED])) + more
