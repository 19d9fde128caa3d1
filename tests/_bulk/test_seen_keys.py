"""Which keys repeat an earlier one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pindo._bulk.seen_keys import SeenKeys


@given(st.lists(st.sampled_from("abcdefgh")), st.integers(1, 10), st.sets(st.integers(0, 9)))
def test_repeats_are_all_but_the_first_of_each(keys, size, skip):
    seen, repeats, before = SeenKeys(), [], set()
    for start in range(0, len(keys), size):
        repeats += [start + position for position in seen.duplicates(keys[start : start + size], skip)]
    for position, key in enumerate(keys):
        if position % size in skip:
            assert position not in repeats
        else:
            assert (position in repeats) is (key in before)
            before.add(key)


def test_repeats_are_found_while_the_table_grows():
    seen = SeenKeys()
    assert [seen.duplicates(range(start, start + 1000)) for start in range(0, 60_000, 1000)] == [[]] * 60
    assert seen.duplicates(range(59_000, 61_000)) == list(range(1000))


def test_keys_that_want_the_same_slot_are_told_apart_also_when_the_table_has_grown():
    """The hash of a small number is the number; these differ only in bits above those that choose the slot."""
    seen, same_slot = SeenKeys(), [number << 30 for number in range(1, 6)]
    assert seen.duplicates(same_slot) == []
    assert seen.duplicates(same_slot) == [0, 1, 2, 3, 4]
    assert seen.duplicates([*range(10_000, 15_000), 10_000]) == [5000]
    assert seen.duplicates([*same_slot, 6 << 30]) == [0, 1, 2, 3, 4]
