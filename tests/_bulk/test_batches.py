"""The batches of a list, and the requests of a batch."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pindo._bulk.batches import Batch, batches, batches_by_row, chunks_of
from airflow_provider_pindo._bulk.messages import Plan
from airflow_provider_pindo._bulk.preflight import DUPLICATE, EXCLUDED, SEND, preflight
from airflow_provider_pindo.api.mentions import Template
from tests._bulk.blocks import PERSONAL, blocks


def test_the_source_is_read_once():
    plan = Plan(Template("Muraho"))
    numbers = [f"+2507800000{number:02}" for number in range(20)]
    checked = preflight(iter(blocks(numbers)), plan, print)
    assert [number for chunk in batches(checked, 6) for number in chunk.numbers] == numbers


@given(st.lists(st.integers(0, 30), max_size=60), st.integers(1, 9), st.integers(1, 9))
def test_chunks_hold_everybody_who_is_sent_to_once_and_in_order(people, size, block):
    numbers = [f"+2507800000{number:02}" for number in people]
    plan = Plan(Template("Muraho"))
    found = preflight(blocks(numbers, size=block), plan, print)
    sent = list(batches(found, size))
    assert [len(each) for each in sent[:-1]] == [size] * (len(sent) - 1)
    assert all(1 <= len(each) <= size for each in sent)
    assert all(len(each) == len(each.numbers) == len(each.names) for each in sent)
    assert [each.index for each in sent] == list(range(1, len(sent) + 1))
    assert [number for each in sent for number in each.numbers] == list(dict.fromkeys(numbers))
    assert [row for each in sent for row in each.rows] == [
        row for row, kind in enumerate(found.kinds, start=1) if kind == SEND
    ]
    assert found.count(DUPLICATE) == len(numbers) - len(set(numbers))


people_of_one_digit = st.lists(st.sampled_from([*(f"+25078000000{digit}" for digit in range(8)), "07", ""]))


some_of_them = st.sets(st.sampled_from([f"+25078000000{digit}" for digit in range(8)]))


@given(people_of_one_digit, some_of_them, st.sampled_from(["drop", "send"]), st.integers(1, 4))
def test_who_is_excluded_changes_neither_the_chunks_nor_the_fingerprint(numbers, excluded, duplicates, size):
    by_exclusion = {}
    for out in (frozenset(), excluded):
        plan = Plan(Template("Muraho"), excluded=out, on_invalid="skip", on_duplicate=duplicates)
        checked = preflight(blocks(numbers), plan, lambda _: None)
        made = list(batches(checked, size))
        assert [(each.index, each.rows, each.excluded) for each in made] == [
            (each.index, each.rows, each.excluded) for each in batches_by_row(checked, size)
        ]
        by_exclusion[bool(out)] = (
            checked.fingerprint("Muraho"),
            [(each.index, each.rows, each.numbers) for each in made],
        )
        left_out = {row for each in made for row in each.excluded}
        assert left_out == {row for each in made for row in each.rows if numbers[row - 1] in out}
        assert len(left_out) == checked.count(EXCLUDED)
    assert len(set(map(str, by_exclusion.values()))) == 1


def test_the_requests_of_a_chunk_are_its_different_texts():
    batch = Batch(1, [4, 5, 6], ["+250780000001"] * 3, ["A", "B", "C"], ["x", "y", "x"])
    assert list(chunks_of(batch, [0, 1, 2], 3)) == [[("x", [0, 2]), ("y", [1])]]
    assert list(chunks_of(batch, [0, 1, 2], 2)) == [[("x", [0]), ("y", [1])], [("x", [2])]]
    assert list(chunks_of(batch, [1, 2], 3)) == [[("y", [1]), ("x", [2])]]
    assert [batch.segments(positions, Template(PERSONAL)) for positions in ([0, 1, 2], [1], [])] == [3, 1, 0]
    assert list(chunks_of(batch, [0, 1, 2], 2, one_by_one=True)) == [[("x", [0]), ("y", [1])], [("x", [2])]]
    batch.texts = None
    assert list(chunks_of(batch, [0, 2], 3)) == [[(None, [0, 2])]]
    assert list(chunks_of(batch, range(3), 2)) == [[(None, range(2))], [(None, range(2, 3))]]
    assert list(chunks_of(batch, [], 3)) == []
    assert list(batch.positions([6, 4])) == [0, 2]
    assert list(batch.positions([4, 5, 6])) == [0, 1, 2]


def test_a_chunk_counts_the_segments_of_those_it_is_asked_about():
    long = "x" * 161
    filled = Batch(1, [4, 5, 6], ["+250780000001"] * 3, ["A", "B", "C"], [long, "y", long])
    assert [filled.segments(places, Template("@contact.time")) for places in ([0, 1], [1], [])] == [3, 1, 0]
    by_name = Batch(1, [4, 5, 6], ["+250780000001"] * 3, [long, "B", long])
    assert [by_name.segments(places, Template("@contact.name")) for places in ([0, 1, 2], [1])] == [5, 1]
