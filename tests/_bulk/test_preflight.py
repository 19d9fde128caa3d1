"""Whom a bulk send reaches: bad rows, duplicates, exclusions and the fingerprint."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from airflow_provider_pindo._bulk.batches import batches, batches_by_row
from airflow_provider_pindo._bulk.messages import Plan
from airflow_provider_pindo._bulk.preflight import DUPLICATE, EXCLUDED, INVALID, SEND, preflight
from airflow_provider_pindo._sources.rows import open_source
from airflow_provider_pindo.api import phone
from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.mentions import Template, has_mention
from tests import upgrade
from tests._bulk.blocks import PERSONAL, rows
from tests.upgrade.dag import dag as upgrade_dag


def test_what_pindo_could_find_in_an_address_is_a_mention_when_a_value_makes_it():
    """Pindo may know no boundary: the guard against its filling a second time is wider than what is filled here."""
    assert has_mention("help@contact.name.rw")
    plan = Plan(Template("ask info@contact.example.com, @contact.time"), on_invalid="skip")
    given = rows(("+250780000001", "A", "8:00"), ("+250780000002", "B", "or help@contact.name.rw"))
    assert list(preflight(given, plan, lambda _: None).kinds) == [SEND, INVALID]
    (chunk,) = batches(preflight(given, plan, lambda _: None), 5)
    assert chunk.texts == ["ask info@contact.example.com, 8:00"]


def test_each_row_is_read_sorted_and_told_with_its_reason():
    given = rows(
        ("+250780000001", "A", "8:00"),
        ("0780000002", None, 9),
        ("07812", "C", "8:00"),
        (None, "D", "8:00"),
        ("+250780000005", "E", "8:00"),
        ("+250780000001", "A", "8:00"),
        ("+250780000001", "A", "15:00"),
        ("+250780000008", "@contact.phone", "8:00"),
        ("+250780000009", "I", "\ud83d half"),
        ("+250780000010", "J", "half \ud83d"),
    )
    plan = Plan(
        Template("@contact.time: Muraho @contact.phone"),
        country="RW",
        excluded={"+250780000005", "+250780000008"},
        on_invalid="skip",
    )
    noted, told = [], []
    found = preflight(given, plan, noted.append)
    assert list(found.kinds) == [
        SEND,
        SEND,
        INVALID,
        INVALID,
        EXCLUDED,
        DUPLICATE,
        SEND,
        EXCLUDED,
        INVALID,
        INVALID,
    ]
    assert [found.count(kind) for kind in (SEND, INVALID, DUPLICATE, EXCLUDED)] == [3, 4, 1, 2]
    sent = list(batches(found, 2, lambda *row: told.append(row)))
    assert [(each.index, each.rows, each.numbers, each.names, each.texts) for each in sent[:1]] == [
        (
            1,
            [1, 2],
            ["+250780000001", "+250780000002"],
            ["A", ""],
            ["8:00: Muraho +250780000001", "9: Muraho +250780000002"],
        ),
    ]
    assert [(each.index, each.rows, each.excluded) for each in sent] == [
        (1, [1, 2], set()),
        (2, [5, 7], {5}),
        (3, [8], {8}),
    ]
    assert sent[1].texts == ["8:00: Muraho +250780000005", "15:00: Muraho +250780000001"]
    by_row = [(each.index, each.rows, each.excluded) for each in batches_by_row(found, 2)]
    assert by_row == [(each.index, each.rows, each.excluded) for each in sent]
    assert [row[:4] for row in told] == [
        (3, "07812", "C", INVALID),
        (4, "", "D", INVALID),
        (6, "+250780000001", "A", DUPLICATE),
        (9, "+250780000009", "I", INVALID),
        (10, "+250780000010", "J", INVALID),
    ]
    reasons = [row[4] for row in told]
    assert reasons[0].startswith("phone number 07****")
    assert reasons[1].startswith("the phone number is empty")
    assert reasons[2] == ""
    assert all("half a surrogate pair" in reason for reason in reasons[3:])
    assert len(reasons) == 5
    assert [note.split(" (")[0] for note in noted] == [
        f"Cannot be texted: row {row}" for row in (3, 4, 9, 10)
    ]
    assert "row 9 (+25078****009: its values have half a surrogate pair" in noted[2]


def test_an_invalid_row_stays_invalid_when_it_is_excluded_too():
    plan = Plan(Template(PERSONAL), excluded={"+250780000008"}, on_invalid="skip")
    given = rows(("+250780000008", "@contact.phone", "8:00"), ("+250780000009", "B", "@contact.x"))
    noted = []
    assert list(preflight(given, plan, noted.append).kinds) == [INVALID, INVALID]
    assert all("make a mention of their own" in note for note in noted)


def test_a_name_that_pindo_would_fill_again_is_bad_and_its_neighbours_are_not():
    plan = Plan(Template("Muraho @contact.name"), on_invalid="skip")
    given = rows(("+250780000001", "a@b"), ("07", "@contact.name"), ("+250780000003", "@contact.x"))
    noted = []
    assert list(preflight(given, plan, noted.append).kinds) == [SEND, INVALID, INVALID]
    assert ["mention of their own" in note for note in noted] == [False, True]


@pytest.mark.parametrize(("bad", "more"), [(2, ""), (100, ""), (101, "; and 1 more, which the log lists")])
def test_bad_rows_stop_it_and_the_first_hundred_are_listed(bad, more):
    given = rows(*[("+250780000001", "A")] * 3, *[("0799912", "B")] * bad)
    noted = []
    with pytest.raises(PindoConfigurationError) as refused:
        preflight(given, Plan(Template("Muraho"), country="RW"), noted.append)
    said = str(refused.value)
    assert said.startswith(
        f"{bad} of {bad + 3} recipients cannot be texted, and nothing was sent: row 4 (phone number ****912 is not"
    )
    assert f"row {min(bad, 100) + 3} (" in said
    assert f"); row {min(bad, 100) + 3} (" in said
    assert (f"row {bad + 3} (" in said) is not bool(more)
    assert f"){more}. Fix them" in said
    assert [note.split(" (")[0] for note in noted] == [
        f"Cannot be texted: row {row}" for row in range(4, bad + 4)
    ]


@pytest.mark.parametrize(("count", "more"), [(1, ""), (100, ""), (101, ", …")])
def test_repeated_rows_stop_it_when_they_are_to(count, more):
    given = rows(("+250780000001", "A"), *[("+250780000002", "B")] * (count + 1))
    plan = Plan(Template("Muraho"), on_duplicate="fail")
    with pytest.raises(PindoConfigurationError) as refused:
        preflight(given, plan, print)
    assert f"{count} of {count + 2} rows repeat an earlier one" in str(refused.value)
    listed = ", ".join(str(row) for row in range(3, min(count, 100) + 3))
    assert f"nothing was sent: rows {listed}{more}. Remove them" in str(refused.value)


def test_a_message_of_several_rows_expires_at_the_latest_of_their_times():
    first, other, excluded = "+250780000001", "+250780000002", "+250780000003"
    given = [
        (excluded, "A", "2026-11-24 09:00"),
        (first, "A", "soon"),
        (first, "A", "2026-11-24 09:00"),
        (other, "B", "2026-11-24 20:00"),
        (first, "A", "2026-11-24 20:00"),
        (other, "B", "2026-11-24 09:00"),
        (excluded, "A", "2026-11-24 20:00"),
        (first, "A", "2026-11-24 10:00"),
    ]
    eight = datetime(2026, 11, 24, 20, tzinfo=UTC).timestamp()
    plan = Plan(Template("Muraho"), excluded={excluded}, on_invalid="skip", expires_field="until")
    for size in range(1, 9):
        found = preflight(rows(*given, size=size), plan, lambda _: None)
        assert list(found.kinds) == [
            EXCLUDED,
            INVALID,
            SEND,
            SEND,
            DUPLICATE,
            DUPLICATE,
            DUPLICATE,
            DUPLICATE,
        ]
        assert list(found.expires) == [-math.inf, -math.inf, eight, eight, *[-math.inf] * 4]


def test_repeated_rows_are_sent_to_when_they_are_to():
    given = rows(("+250780000001", "A"), ("+250780000001", "A"))
    assert list(preflight(given, Plan(Template("Muraho"), on_duplicate="send"), print).kinds) == [SEND, SEND]


@pytest.mark.parametrize("text", ["Muraho", "Muraho @contact.name", "Muraho @contact.time"])
def test_the_same_message_to_another_number_is_no_repetition(text):
    fields = ["8:00"] if "time" in text else []
    given = rows(("+250780000001", "A", *fields), ("+250780000002", "A", *fields))
    assert list(preflight(given, Plan(Template(text)), print).kinds) == [SEND, SEND]


def test_the_name_makes_another_message_only_where_it_is_mentioned():
    given = rows(("+250780000001", "A"), ("+250780000001", "B"))
    assert list(preflight(given, Plan(Template("Muraho")), print).kinds) == [SEND, DUPLICATE]
    assert list(preflight(given, Plan(Template("Muraho @contact.name")), print).kinds) == [SEND, SEND]


@pytest.mark.parametrize(("missing", "more"), [(1, ""), (100, ""), (101, ", …")])
def test_a_mention_without_a_value_names_the_field_and_the_rows(missing, more):
    given = rows(("+250780000001", "A", "8:00"), *[("+250780000002", "B", " ")] * missing, size=200)
    with pytest.raises(PindoConfigurationError) as refused:
        preflight(given, Plan(Template("@contact.phone @contact.time")), print)
    listed = ", ".join(str(row) for row in range(2, min(missing, 100) + 2))
    assert str(refused.value).startswith(
        f"the text mentions @contact.time, and these rows have no 'time': {listed}{more}. Give each a value, name the "
        "field that has it (columns={'time': …}), or leave the mention out"
    )


def test_a_message_is_too_long_from_one_segment_more_on():
    plan = Plan(Template(PERSONAL), max_segments=1)
    fitting = "x" * (160 - len("Muraho A, at "))
    given = rows(*[("+250780000001", "A", fitting)] * 4, ("+250780000002", "AB", fitting))
    assert preflight(given[:1], plan, print).given == 3
    with pytest.raises(
        PindoConfigurationError, match="the message of row 5 takes 2 segments, more than max_segments=1,"
    ):
        preflight(given, plan, print)
    named = Plan(Template("Muraho @contact.name"), max_segments=1)
    with pytest.raises(PindoConfigurationError, match="row 2 takes 2 segments"):
        preflight(rows(("+250780000001", "A"), ("+250780000002", "x" * 160)), named, print)


@pytest.mark.parametrize("text", ["Muraho @contact.name", PERSONAL])
@pytest.mark.parametrize("name", [None, " ", "x" * 200])
def test_who_is_not_texted_needs_no_values_and_may_have_a_message_of_any_length(text, name):
    """Who is excluded may be others at every try: neither the chunks nor the fingerprint change with it."""
    numbers = ("+250780000001", "+250780000002", "0780", "+250780000002")
    time = ["8:00"] if "time" in text else []
    given = rows(*[(number, "A" if number.endswith("1") else name, *time) for number in numbers])
    plan = Plan(Template(text), excluded={"+250780000002"}, on_invalid="skip", max_segments=1)
    found = preflight(given, plan, lambda _: None)
    assert list(found.kinds) == [SEND, EXCLUDED, INVALID, DUPLICATE]
    assert [(each.rows, each.excluded) for each in batches(found, 5)] == [([1, 2], {2})]
    with pytest.raises(PindoConfigurationError, match=r"no 'name': 2|row 2 takes 2 segments"):
        preflight(given, replace(plan, excluded=()), lambda _: None)
    if name == "x" * 200:
        all_of_them = preflight(given, replace(plan, excluded=(), max_segments=None), lambda _: None)
        assert all_of_them.fingerprint() == found.fingerprint()


def test_the_fingerprint_is_of_all_that_decides_who_gets_what():
    def fingerprint(number="+250780000001", *options, excluded=()):
        plan = Plan(Template("Muraho"), excluded=excluded)
        return preflight(rows((number, "A"), ("+250780000002", "B")), plan, print).fingerprint(*options)

    first = fingerprint()
    assert first == fingerprint()
    assert len(first) == 16
    others = [
        fingerprint("+250780000003"),
        fingerprint("+250780000001", "Muraho"),
        fingerprint("+250780000001", "Muraho", "PindoTest"),
    ]
    assert len({first, *others}) == 4


def test_the_fingerprint_does_not_depend_on_the_wording_of_a_reason(monkeypatch):
    """A later version of this package, or of phonenumbers, may word it in another way."""
    plan = Plan(Template("Muraho"), on_invalid="skip")

    def fingerprint(*numbers):
        return preflight(rows(*[(number, "A") for number in numbers]), plan, lambda _: None).fingerprint()

    good, bad, worse = "+250780000001", "0780000002", "07800"
    first = fingerprint(good, bad, worse)
    monkeypatch.setattr(phone, "_WRITE_E164", "give it in E.164")
    assert fingerprint(good, bad, worse) == first
    assert (
        len({first, fingerprint(good, worse, bad), fingerprint(good, bad), fingerprint(bad, good, worse)})
        == 4
    )


def test_the_fingerprint_of_a_list_is_that_of_an_entry_which_an_earlier_version_wrote():
    """Else an upgrade between a try and its clear would leave the rest of the list unsent."""
    (everybody,) = [task for task in upgrade_dag.tasks if task.task_id == "everybody"]
    source = open_source(everybody.recipients).blocks(("phonenumber", "name"))
    checked = preflight(source, Plan(Template(everybody.text)), print)
    kept = Path(upgrade.__file__).with_name("entries_v1.sql").read_text(encoding="utf-8")
    header = re.search(r"'everybody',-1,'pindo_bulk',.*?'(\{.*?\})'", kept)[1]
    assert checked.fingerprint(everybody.text, "PindoTest") == json.loads(header)["input"]


def test_a_bad_row_is_repeated_by_none_and_repeats_none():
    half = "half \ud83d"
    for text in (PERSONAL, "Muraho @contact.name"):
        fields = ["8:00"] if "time" in text else []
        given = rows(*[("+250780000001", name, *fields) for name in (half, "A", half, "A")], size=2)
        kinds = preflight(given, Plan(Template(text), on_invalid="skip"), lambda _: None).kinds
        assert list(kinds) == [INVALID, SEND, INVALID, DUPLICATE]
    with pytest.raises(PindoConfigurationError, match=r"1 of 4 rows repeat an earlier one.*: rows 4"):
        preflight(given, Plan(Template(text), on_invalid="skip", on_duplicate="fail"), lambda _: None)


def test_a_row_that_repeats_an_excluded_one_repeats_it_all_the_same():
    given = rows(*[("+250780000001", "A")] * 3)
    excluded = {"+250780000001"}
    kinds = preflight(given, Plan(Template("Muraho"), excluded=excluded), print).kinds
    assert list(kinds) == [EXCLUDED, DUPLICATE, DUPLICATE]
    kinds = preflight(given, Plan(Template("Muraho"), excluded=excluded, on_duplicate="send"), print).kinds
    assert list(kinds) == [EXCLUDED] * 3
    with pytest.raises(PindoConfigurationError, match="2 of 3 rows repeat"):
        preflight(given, Plan(Template("Muraho"), excluded=excluded, on_duplicate="fail"), print)
