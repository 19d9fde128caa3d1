"""Settling rows of one entry: what it says afterwards, and that a task reads it as its own."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pindo._bulk.batch_entry import RowOutcome, read_rows, settle_rows
from airflow_provider_pindo._bulk.outcome import IN_FLIGHT, Outcome
from airflow_provider_pindo._ledger.entry import Settlement
from airflow_provider_pindo.api.errors import PindoConfigurationError
from tests._bulk.test_bulk_ledger import FIRST, batch_of, begun
from tests.operators.bulk import Store

UWASE = Settlement(by="person", who="uwase", at="2026-11-30T08:00:00+00:00")
KEZA = Settlement(by="page", who="keza", at="2026-11-30T09:00:00+00:00")


def entry_of(rows, outcome):
    """Return a store whose first entry has ``outcome``, and that entry."""
    store = Store()
    begun(store).write([(batch_of(rows), outcome)])
    return store, store.get(FIRST)


def half_unknown():
    outcome = Outcome(
        rejected={"409 unsupported telco": [2]},
        unknown={"the connection was reset": [3, 4], IN_FLIGHT: [5, 6]},
        not_sent=[7],
        sms_ids={1: "one"},
        cost=0.006,
        unknown_cost=0.024,
    )
    return entry_of(range(1, 8), outcome)


def test_a_page_reads_what_an_entry_says_of_everybody():
    _, entry = half_unknown()
    assert list(read_rows(entry)) == [
        RowOutcome(1, "+25078****001", "accepted", sms_id="one"),
        RowOutcome(2, "+25078****002", "rejected", "409 unsupported telco"),
        RowOutcome(3, "+25078****003", "unknown", "the connection was reset"),
        RowOutcome(4, "+25078****004", "unknown", "the connection was reset"),
        RowOutcome(5, "+25078****005", "unknown", IN_FLIGHT),
        RowOutcome(6, "+25078****006", "unknown", IN_FLIGHT),
        RowOutcome(7, "+25078****007", "not_sent"),
    ]


def test_some_rows_are_settled_and_the_others_stay_unknown():
    _, entry = half_unknown()
    settled = settle_rows(entry, {3, 5}, {4}, UWASE)
    changes = {key: value for key, value in settled.items() if entry.get(key) != value}
    assert changes == {
        "accepted": 3,
        "unknown": {IN_FLIGHT: "6"},
        "not_sent": "4,7",
        "cost": 0.018,
        "unknown_cost": 0.006,
        "settled": [
            {
                "by": "person",
                "who": "uwase",
                "at": "2026-11-30T08:00:00+00:00",
                "arrived": "3,5",
                "not_arrived": "4",
            }
        ],
        "is_newly_settled": True,
    }
    assert settled["status"] == "unknown"
    assert entry == half_unknown()[1], "the entry that was handed in is unchanged"
    assert [(each.outcome, each.settlement) for each in read_rows(settled)][2:6] == [
        ("accepted", UWASE),
        ("not_sent", UWASE),
        ("accepted", UWASE),
        ("unknown", None),
    ]


@pytest.mark.parametrize(
    ("arrived", "not_arrived", "status", "cost"),
    [({3, 4, 5, 6}, (), "not_sent", 0.03), ((), {3, 4, 5, 6}, "not_sent", 0.006)],
)
def test_an_entry_whose_rows_are_all_settled_is_unknown_no_more(arrived, not_arrived, status, cost):
    _, entry = half_unknown()
    settled = settle_rows(entry, arrived, not_arrived, UWASE)
    assert (settled["status"], settled["cost"], settled["unknown_cost"]) == (status, cost, 0)
    _, entry = entry_of([1, 2], Outcome(unknown={IN_FLIGHT: [1, 2]}))
    assert settle_rows(entry, {1, 2}, (), UWASE)["status"] == "sent"


def test_the_task_takes_up_what_was_settled_and_keeps_the_record():
    store, entry = half_unknown()
    store.set(FIRST, settle_rows(entry, {3, 5}, {4}, UWASE))
    batch, ledger = batch_of(range(1, 8)), begun(store)
    outcome = ledger.take(batch)
    assert ledger.was_settled(batch)
    assert (outcome.unknown, outcome.not_sent, outcome.count_accepted(7)) == ({IN_FLIGHT: [6]}, [4, 7], 3)
    ledger.write([(batch, outcome)])
    written = store.get(FIRST)
    assert "is_newly_settled" not in written
    assert written["settled"] == settle_rows(entry, {3, 5}, {4}, UWASE)["settled"]
    again = begun(store)
    again.take(batch)
    assert not again.was_settled(batch)


def test_who_is_unknown_again_is_settled_again():
    """A recipient who is sent to after a first decision may become unknown a second time."""
    store, entry = half_unknown()
    store.set(FIRST, settle_rows(entry, {3}, {4, 5, 6}, UWASE))
    outcome, batch = begun(store).take(batch_of(range(1, 8))), batch_of(range(1, 8))
    outcome.take([4])
    begun(store).write([(batch, outcome.if_killed([4], 0.006))])
    settled = settle_rows(store.get(FIRST), {4}, (), KEZA)
    assert [(some["who"], some.get("arrived"), some.get("not_arrived")) for some in settled["settled"]] == [
        ("uwase", "3", "5-6"),
        ("keza", "4", None),
    ]


@pytest.mark.parametrize(
    ("arrived", "not_arrived", "message"),
    [
        ({1}, (), "row 1 is not unknown in this entry, and nothing was settled"),
        ({3}, {2}, "row 2 is not unknown"),
        ({3}, {7}, "row 7 is not unknown"),
        ({3, 8, 9}, (), "row 8-9 is not unknown"),
        ({3}, {3}, "row 3 is given as arrived and as not arrived"),
    ],
)
def test_a_row_that_is_not_unknown_settles_nothing(arrived, not_arrived, message):
    _, entry = half_unknown()
    with pytest.raises(PindoConfigurationError, match=message):
        settle_rows(entry, arrived, not_arrived, UWASE)


@pytest.mark.parametrize(("word", "outcome"), [("sent", "accepted"), ("not_sent", "not_sent")])
def test_the_word_that_a_person_wrote_has_settled_all_rows(word, outcome):
    _, entry = half_unknown()
    entry["status"] = word
    assert {each.outcome for each in list(read_rows(entry))[2:6]} == {outcome}
    with pytest.raises(PindoConfigurationError, match="row 3 is not unknown"):
        settle_rows(entry, {3}, (), UWASE)


def test_evidence_brings_the_id_of_the_message():
    store, entry = half_unknown()
    found = Settlement(by="evidence", who="sent event", at=KEZA.at, sms_id="a b")
    settled = settle_rows(entry, {4}, (), found)
    assert settled["sms_ids"] == "one - - a_b - - -"
    assert settled["settled"] == [{"by": "evidence", "who": "sent event", "at": KEZA.at, "arrived": "4"}]
    store.set(FIRST, settled)
    assert begun(store).take(batch_of(range(1, 8))).sms_ids == {1: "one", 4: "a_b"}


def test_settling_nobody_records_nothing():
    _, entry = half_unknown()
    assert "settled" not in settle_rows(entry, (), (), UWASE)


@pytest.mark.parametrize(
    "change",
    [
        {"accepted": 2},
        {"unknown": {"why": "8"}},
        {"unknown": None},
        {"rows": "1-6"},
        {"rows": 7},
        {"settled": [{"by": "page"}]},
        {"settled": "uwase"},
    ],
)
def test_an_entry_that_no_task_wrote_is_not_settled(change):
    store, entry = half_unknown()
    for act in (lambda value: settle_rows(value, {3}, (), UWASE), lambda value: list(read_rows(value))):
        with pytest.raises(PindoConfigurationError, match="not as the task wrote it"):
            act({**entry, **change})
    store.set(FIRST, {**entry, "status": "sent", **change})
    if "rows" not in change:
        assert begun(store).take(batch_of(range(1, 8))).count_unknown() == 7


@pytest.mark.parametrize("value", [None, "sent", {}, []])
def test_what_is_no_entry_is_not_settled(value):
    with pytest.raises(PindoConfigurationError, match="not as the task wrote it"):
        settle_rows(value, {3}, (), UWASE)


def test_an_entry_of_another_version_is_not_settled():
    _, entry = half_unknown()
    with pytest.raises(PindoConfigurationError, match="has version 2"):
        settle_rows({**entry, "v": 2}, {3}, (), UWASE)


def test_numbers_that_somebody_changed_are_not_shown():
    _, entry = half_unknown()
    assert [each.number for each in read_rows({**entry, "numbers": "+250"})] == [""] * 7


@pytest.mark.parametrize("kind", ["arrived with an id", "arrived", "not arrived"])
def test_an_entry_that_many_settle_stays_below_what_the_ui_can_edit(kind):
    """The worst case: large row numbers with gaps, and another person with a long name for every second row."""
    batch, store = batch_of(range(9_000_001, 9_002_001, 2)), Store()
    begun(store).write([(batch, Outcome().if_killed(batch.rows, 6.0))])
    entry = store.get(FIRST)
    for person in range(40):
        rows = batch.rows[person::40]
        arrived, not_arrived = ((), rows) if kind == "not arrived" else (rows, ())
        sms_id = "01J" + "X" * 23 if "id" in kind else None
        who = Settlement("page", f"{person} {'é' * 200}", KEZA.at, sms_id)
        entry = settle_rows(entry, arrived, not_arrived, who)
    assert len(json.dumps(entry)) < 64_000
    assert len(entry["settled"]) == 10
    first, last = entry["settled"][0], entry["settled"][-1]
    assert (first["by"], first["who"], last["who"]) == ("page", "several", f"39 {'é' * 37}")
    assert all(each.settlement is not None for each in read_rows(entry))
    store.set(FIRST, entry)
    found = begun(store).take(batch)
    assert (found.count_accepted(1000), len(found.not_sent)) == ((0, 1000) if arrived == () else (1000, 0))
    assert found.cost == pytest.approx(6.0 if arrived else 0.0, abs=0.001)


@given(st.lists(st.sampled_from(["arrived", "not_arrived", "unknown"]), min_size=1, max_size=30))
def test_whatever_is_settled_the_task_reads_the_entry_as_its_own(decisions):
    rows = {kind: {row for row, each in enumerate(decisions, 1) if each == kind} for kind in decisions}
    store, entry = entry_of(
        range(1, len(decisions) + 1), Outcome().if_killed(range(1, len(decisions) + 1), 1.0)
    )
    store.set(FIRST, settle_rows(entry, rows.get("arrived", ()), rows.get("not_arrived", ()), UWASE))
    outcome = begun(store).take(batch_of(range(1, len(decisions) + 1)))
    assert {row for some in outcome.unknown.values() for row in some} == rows.get("unknown", set())
    assert set(outcome.not_sent) == rows.get("not_arrived", set())
    assert outcome.cost + outcome.unknown_cost <= 1.0 + 1e-5
