"""Which keys repeat an earlier one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pindo._bulk import seen_keys
from airflow_provider_pindo._bulk.seen_keys import SeenKeys


@pytest.fixture(scope="module", autouse=True)
def small_table():
    """A table that grows often."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seen_keys, "_FIRST_SLOTS", 4)
        yield


@given(st.lists(st.integers(0, 30)), st.integers(1, 10), st.sets(st.integers(0, 9)))
def test_duplicates_are_all_but_the_first_of_each_and_name_the_first(keys, size, skip):
    seen, duplicates, first = SeenKeys(), {}, {}
    for start in range(0, len(keys), size):
        found = seen.duplicates(keys[start : start + size], skip)
        duplicates |= {start + position: index for position, index in found.items()}
    for position, key in enumerate(keys):
        if position % size in skip:
            assert position not in duplicates
        else:
            assert duplicates.get(position, position) == first.setdefault(key, position)


def test_repeats_are_found_while_the_table_grows():
    seen = SeenKeys()
    assert [seen.duplicates(range(start, start + 1000)) for start in range(0, 600_000, 1000)] == [{}] * 600
    assert seen.duplicates(range(599_000, 601_000)) == {key - 599_000: key for key in range(599_000, 600_000)}


def test_keys_that_want_the_same_slot_are_told_apart_also_when_the_table_has_grown():
    """The hash of a small number is the number; these differ only in bits above those that choose the slot."""
    seen, same_slot = SeenKeys(), [number << 30 for number in range(1, 6)]
    each_itself = {index: index for index in range(5)}
    assert seen.duplicates(same_slot) == {}
    assert seen.duplicates(same_slot) == each_itself
    assert seen.duplicates([*range(10_000, 200_000), 10_000]) == {190_000: 10}
    assert seen.duplicates([*same_slot, 6 << 30]) == each_itself
