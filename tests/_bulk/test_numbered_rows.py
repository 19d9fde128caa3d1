"""Rows whose numbers have gaps, as those of a sheet with a header and blank rows: each keeps its number."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from airflow_provider_pindo._bulk.batches import batches, batches_by_row
from airflow_provider_pindo._bulk.messages import Plan
from airflow_provider_pindo._bulk.preflight import (
    DUPLICATE,
    EXCLUDED,
    INVALID,
    MAX_LISTED,
    NO_ROW,
    SEND,
    preflight,
)
from airflow_provider_pindo._sources.blocks import Block
from airflow_provider_pindo.api.mentions import Template
from tests._bulk.blocks import rows

NAMES = ["A", "B", "C"]


def numbers(*last):
    return [f"+2507800000{digits:02}" for digits in last]


def sheet():
    """Return rows 2, 3 and 6, then 7 to 9, then 11, 13 and 14."""
    return [
        Block([2, 3, 6], [numbers(2, 3, 6), NAMES]),
        Block(range(7, 10), [["07", *numbers(2, 9)], NAMES]),
        Block([11, 13, 14], [numbers(11, 13, 14), NAMES]),
    ]


def check(blocks, **options):
    plan = Plan(Template("Muraho"), excluded=set(numbers(13)), on_invalid="skip", **options)
    return preflight(blocks, plan, lambda _: None)


def test_every_row_keeps_its_number():
    checked, left_out = check(sheet()), []
    assert list(checked.kinds) == [
        NO_ROW,
        SEND,
        SEND,
        NO_ROW,
        NO_ROW,
        SEND,
        INVALID,
        DUPLICATE,
        SEND,
        NO_ROW,
        SEND,
        NO_ROW,
        EXCLUDED,
        SEND,
    ]
    assert (checked.given, checked.in_batches) == (9, 7)
    batched = list(batches(checked, 5, lambda *row: left_out.append(row[:4])))
    assert [(each.rows, each.numbers, each.excluded) for each in batched] == [
        ([2, 3, 6, 9, 11], numbers(2, 3, 6, 9, 11), set()),
        ([13, 14], numbers(13, 14), {13}),
    ]
    assert [(each.rows, each.excluded) for each in batches_by_row(checked, 5)] == [
        (each.rows, each.excluded) for each in batched
    ]
    assert left_out == [(7, "07", "A", INVALID), (8, *numbers(2), "B", DUPLICATE)]
    assert [rejection[:3] for rejection in checked.rejections] == [(7, "07", "A")]


def test_every_row_that_is_sent_to_keeps_its_expiry_or_has_that_of_its_last_repetition():
    blocks = sheet()
    for hour, block in enumerate(blocks):
        block.columns.append([datetime(2026, 12, 1, hour, minute, tzinfo=UTC) for minute in range(3)])
    checked = check(blocks, expires_field="until")
    times = {
        row: datetime(2026, 12, 1, hour, minute, tzinfo=UTC)
        for hour, of_block in enumerate([(2, 3, 6), (7, 8, 9), (11, 13, 14)])
        for minute, row in enumerate(of_block)
    }
    assert checked.kinds[8 - 1] == DUPLICATE
    times[2] = times[8]
    assert {
        row: datetime.fromtimestamp(at, UTC) for row, at in enumerate(checked.expires, 1) if at > -math.inf
    } == {row: time for row, time in times.items() if checked.kinds[row - 1] == SEND}
    assert len(checked.expires) == len(checked.kinds) == 14


def test_a_blank_row_more_changes_the_fingerprint():
    """The entries of the ledger name rows by their numbers."""
    people = [numbers(1, 2), NAMES[:2]]
    fingerprints = {check([Block(rows, people)]).fingerprint() for rows in ([2, 3], [2, 4], [2, 5])}
    assert len(fingerprints) == 3


def test_the_first_hundred_bad_rows_are_kept_for_the_result():
    checked = check(rows(*[("07", "A")] * (MAX_LISTED + 1)))
    assert [row for row, *_ in checked.rejections] == list(range(1, MAX_LISTED + 1))
