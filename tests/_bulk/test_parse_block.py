"""What the cells of a block become: numbers, texts and expiries, or the reason why a row is bad."""

from __future__ import annotations

import math
from collections import defaultdict
from copy import copy
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from airflow_provider_pindo._bulk.messages import Plan, parse_block
from airflow_provider_pindo._sources.blocks import BadCell, Block
from airflow_provider_pindo.api.mentions import Template

NUMBER = "+250780000001"


def parse(*row, text="Muraho", **options):
    """Return one row as it is parsed."""
    return parse_block(Block([1], [[cell] for cell in row]), Plan(Template(text), **options))


def test_one_text_for_all_is_in_every_request_of_its_own():
    assert parse(NUMBER, "A", text="100% off", one_by_one=True).texts == ["100% off"]
    assert parse(NUMBER, "A").texts is None


@pytest.mark.parametrize("cell", [BadCell("it is too long"), [], True, "#N/A"])
@pytest.mark.parametrize("field", ["name", "time"])
def test_a_cell_that_is_no_text_makes_its_row_bad_and_names_its_field(field, cell):
    text = "@contact.name, at @contact.time"
    parsed = parse(NUMBER, *((cell, "8:00") if field == "name" else ("A", cell)), text=text)
    assert list(parsed.problems) == [0]
    assert parsed.problems[0].startswith(f"{field!r}: ")
    if isinstance(cell, BadCell):
        assert parsed.problems[0].endswith(cell.reason)
    assert parsed.values[field] == ["#N/A" if cell == "#N/A" else ""]


def test_a_failed_formula_says_so_and_the_rows_beside_it_are_good():
    parsed = parse_block(
        Block([1, 2, 3], [[NUMBER] * 3, ["A", "#REF!", "C"]]), Plan(Template("@contact.name"))
    )
    assert parsed.problems == {1: "'name': the formula of the cell has failed (#REF!): correct it"}


NO_TEXTS = [BadCell("it is a date"), {"first": "A"}, False, " #N/A", b"A", "half \ud83d"]


@pytest.mark.parametrize("text", ["Muraho", "Muraho @contact.phone"])
@pytest.mark.parametrize("cell", NO_TEXTS)
def test_a_name_that_is_no_text_is_empty_where_the_text_does_not_mention_it(text, cell):
    rows = Block([1, 2, 3], [[NUMBER, "07", NUMBER], ["A", cell, cell]])
    parsed = parse_block(rows, Plan(Template(text)))
    assert list(parsed.problems) == [1]
    assert parsed.problems[1].startswith("phone number ")
    assert parsed.names == ["A", "", ""]
    assert list(parse_block(rows, Plan(Template("Muraho @contact.name"))).problems) == [1, 2]


def test_letters_and_their_accents_are_one_character():
    """A letter with a separate accent would not be in the GSM alphabet: the message would cost more."""
    parsed = parse(NUMBER, "Ame\u0301lie", "cafe\u0301", text="@contact.name: @contact.place")
    assert (parsed.names, parsed.texts) == (["Am\u00e9lie"], ["Am\u00e9lie: caf\u00e9"])


class From312(dict):
    """A dict as Python 3.12 has it, where a slice is a key like any other."""

    def __getitem__(self, key):
        return super().__getitem__(str(key))


@pytest.mark.parametrize("other", [From312(mobile=NUMBER), defaultdict(list), [NUMBER], b"+250780000002", 7])
@pytest.mark.parametrize("first", [0, 1])
def test_a_number_that_is_an_object_is_bad_and_stays_as_it_is(other, first):
    before = copy(other)
    cells = [NUMBER, other] if first == 0 else [other, NUMBER]
    parsed = parse_block(Block([1, 2], [cells, ["A", "B"]]), Plan(Template("Muraho")))
    assert list(parsed.problems) == [1 - first]
    assert f"is of type {type(other).__name__}, not a string" in parsed.problems[1 - first]
    assert other == before


@pytest.mark.parametrize(
    ("cell", "shown"), [(" 07812 ", " 07812 "), (7812.0, "7812"), ([], ""), (BadCell("it is a date"), "")]
)
def test_a_bad_number_is_shown_as_its_cell_holds_it(cell, shown):
    parsed = parse(cell, "A", country="RW")
    assert (parsed.numbers, list(parsed.problems)) == ([shown], [0])
    if isinstance(cell, BadCell):
        assert parsed.problems == {0: cell.reason}


@pytest.mark.parametrize(
    ("cell", "moment"),
    [
        ("2026-12-01T08:00:00", datetime(2026, 12, 1, 6, tzinfo=UTC)),
        ("2026-12-01T08:00:00+00:00", datetime(2026, 12, 1, 8, tzinfo=UTC)),
        (datetime(2026, 12, 1, 8), datetime(2026, 12, 1, 6, tzinfo=UTC)),
        (
            BadCell("its display format is unknown", datetime(2026, 12, 1, 8)),
            datetime(2026, 12, 1, 6, tzinfo=UTC),
        ),
    ],
)
def test_a_row_expires_in_the_zone_of_the_plan_unless_its_time_names_one(cell, moment):
    options = {"text": "at @contact.time", "expires_field": "until", "zone": ZoneInfo("Africa/Kigali")}
    parsed = parse(NUMBER, "A", "8:00", cell, **options)
    assert (list(parsed.expires), parsed.problems) == ([moment.timestamp()], {})
    assert parsed.texts == ["at 8:00"]


def test_a_row_whose_expiry_is_no_time_is_bad_and_keeps_an_earlier_reason():
    parsed = parse_block(
        Block([1, 2], [[NUMBER, "07"], ["A", "B"], ["soon", "soon"]]),
        Plan(Template("Muraho"), expires_field="until"),
    )
    assert list(parsed.expires) == [-math.inf, -math.inf]
    assert parsed.problems[0].startswith("'until' ")
    assert parsed.problems[1].startswith("phone number ")


def test_a_cell_that_holds_no_time_says_what_its_reader_says():
    assert parse(NUMBER, "A", BadCell("it is broken"), expires_field="until").problems == {
        0: "'until': it is broken"
    }
    (reason,) = parse(
        NUMBER, "A", BadCell("its display format is unknown", date(2026, 12, 1)), expires_field="until"
    ).problems.values()
    assert reason.startswith("'until' is not a date with a time of day: write one such as")
