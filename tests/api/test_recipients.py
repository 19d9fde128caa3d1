"""Whom a bulk send reaches: mentions, duplicates and chunks, without any Airflow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pindo.api import digests
from airflow_provider_pindo.api.digests import Repeats
from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.mentions import Template, has_mention
from airflow_provider_pindo.api.recipients import (
    DUPLICATE,
    SEND,
    Block,
    Plan,
    chunks,
    segments_of,
    survey,
)
from airflow_provider_pindo.api.segments import segments
from airflow_provider_pindo.operators.chunk_ledger import format_rows, parse_rows


@pytest.mark.parametrize(
    ("text", "fields", "personal"),
    [
        ("Muraho", (), False),
        ("Muraho @contact.name, @contact.name", ("name",), False),
        ("@contact.time @contact.name", ("time", "name"), True),
        ("@contact.phone", ("phone",), True),
        ("ask clinic@contact.", (), False),
        ("100 % of @contact.names", ("names",), True),
    ],
)
def test_the_mentions_of_a_text(text, fields, personal):
    template = Template(text)
    assert template.fields == fields
    assert template.is_personal is personal
    assert has_mention(text) is bool(fields)
    filled = template.fill(["%s"] * len(template.mentioned))
    assert not has_mention(filled)
    assert filled.count("%s") == len(template.mentioned)


@given(st.lists(st.sampled_from("abcdefgh")), st.integers(1, 10))
def test_repeats_are_all_but_the_first_of_each(keys, part):
    before, digests._PART = digests._PART, part
    try:
        repeats = Repeats()
        repeats.add(keys)
        found = sorted(repeats.find())
    finally:
        digests._PART = before
    assert found == [place for place, key in enumerate(keys) if key in keys[:place]]


@given(st.sets(st.integers(1, 60)))
def test_rows_are_written_as_ranges_and_read_back(rows):
    assert parse_rows(format_rows(rows)) == sorted(rows)


@given(
    st.lists(st.text("ab€é”", max_size=200), min_size=1, max_size=8),
    st.sampled_from(["", "Muraho @contact.name"]),
)
def test_segments_are_those_of_every_filled_text(names, text):
    template = Template(text or "Muraho ”")
    filled = [template.fill([name] * len(template.mentioned)) for name in names]
    assert segments_of(names, None, template) == [segments(each).count for each in filled]


def blocks(numbers, names=None, size=7):
    names = names or ["A"] * len(numbers)
    return [
        Block(start + 1, [numbers[start : start + size], names[start : start + size]])
        for start in range(0, len(numbers), size)
    ]


@given(st.lists(st.integers(0, 30), max_size=60), st.integers(1, 9), st.integers(1, 9))
def test_chunks_hold_everybody_who_is_sent_to_once_and_in_order(people, size, block):
    numbers = [f"+2507800000{number:02}" for number in people]
    plan = Plan(Template("Muraho"))
    found = survey(blocks(numbers, size=block), plan, print)
    sent = list(chunks(blocks(numbers, size=block), plan, found, size))
    assert [len(each) for each in sent[:-1]] == [size] * (len(sent) - 1)
    assert [each.index for each in sent] == list(range(1, len(sent) + 1))
    assert [number for each in sent for number in each.numbers] == list(dict.fromkeys(numbers))
    assert [row for each in sent for row in each.rows] == [
        row for row, kind in enumerate(found.kinds, start=1) if kind == SEND
    ]
    assert found.count(DUPLICATE) == len(numbers) - len(set(numbers))


def test_rows_that_changed_since_they_were_checked_are_refused():
    numbers = [f"+2507800000{number:02}" for number in range(20)]
    plan = Plan(Template("Muraho"))
    found = survey(blocks(numbers), plan, print)
    for other in (numbers[:-1], [*numbers, numbers[0]], [*numbers[:-1], "+250780000099"]):
        with pytest.raises(PindoConfigurationError, match="changed while they were read"):
            list(chunks(blocks(other), plan, found, 5))
