"""The entries of a bulk send: small, readable, and of one version."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pindo._bulk.batch_entry import KEY, entry_key, mask_all
from airflow_provider_pindo._bulk.batches import Batch
from airflow_provider_pindo._bulk.bulk_ledger import BulkLedger, rows_per_entry
from airflow_provider_pindo._bulk.outcome import IN_FLIGHT, Outcome
from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.phone import mask_phone_number
from tests.operators.bulk import Store, context

FIRST = entry_key(1)
OPTIONS = {"input": "0123456789abcdef", "given": 3000, "chunk_size": 100, "resend": False}


def begun(store):
    ledger = BulkLedger(context(store))
    ledger.begin(**OPTIONS)
    return ledger


def batch_of(rows):
    rows = list(rows)
    return Batch(1, rows, [f"+250{780000000 + row}" for row in rows], ["A"] * len(rows))


@pytest.mark.parametrize(
    ("chunk_size", "rows"), [(1, 1000), (100, 1000), (300, 900), (501, 501), (1000, 1000)]
)
def test_an_entry_covers_a_whole_number_of_chunks(chunk_size, rows):
    assert rows_per_entry(chunk_size) == rows


@pytest.mark.parametrize("reason", ["x" * 200, "é" * 200])
def test_an_entry_of_1000_rows_stays_below_what_the_ui_can_edit(reason):
    """The worst case: large row numbers with gaps, ids, and for every second row a long reason of its own."""
    store = Store()
    batch = batch_of(range(9_000_001, 9_002_001, 2))
    rejected, unknown = batch.rows[::4], batch.rows[2::4]
    outcome = Outcome(
        rejected={f"{row} {reason}": [row] for row in rejected},
        unknown={f"{row} {reason}": [row] for row in unknown},
        sms_ids=dict.fromkeys(batch.rows, "01J" + "X" * 23),
    )
    begun(store).write([(batch, outcome)])
    entry = store.get(FIRST)
    assert len(json.dumps(entry)) < 64_000
    assert len(entry["rejected"]) == len(entry["unknown"]) == 11
    found = begun(store).take(batch)
    assert sorted(row for rows in found.rejected.values() for row in rows) == rejected
    assert sorted(row for rows in found.unknown.values() for row in rows) == unknown
    assert found.sms_ids == outcome.sms_ids


@pytest.mark.parametrize("length", [20, 36, 44])
def test_an_entry_of_1000_rows_keeps_ids_as_long_as_a_uuid_with_a_prefix(length):
    store, batch = Store(), batch_of(range(1_000_001, 1_001_001))
    ids = {row: f"{row:0{length}}" for row in batch.rows}
    begun(store).write([(batch, Outcome(sms_ids=ids))])
    assert len(json.dumps(store.get(FIRST))) <= 64_000
    assert begun(store).take(batch).sms_ids == ids


@pytest.mark.parametrize("length", [64, 300, 100_000])
def test_an_entry_keeps_as_many_long_ids_as_fit(length):
    store, batch = Store(), batch_of(range(1, 1001))
    ids = {row: f"{row:0{length}}" for row in batch.rows}
    begun(store).write([(batch, Outcome(sms_ids={**ids, 1000: "short"}))])
    assert len(json.dumps(store.get(FIRST))) <= 64_000
    kept = begun(store).take(batch).sms_ids
    assert kept.pop(1000, "short") == "short"
    assert len(kept) == min(1000, len(kept)) >= {64: 600, 300: 140, 100_000: 0}[length]
    assert kept.items() <= ids.items()


def test_ids_that_json_makes_longer_count_by_their_bytes():
    store, batch = Store(), batch_of(range(1, 1001))
    ids = {row: f"{row:04}" + "\u00e9" * 20 for row in batch.rows}
    begun(store).write([(batch, Outcome(sms_ids=ids))])
    assert len(json.dumps(store.get(FIRST))) <= 64_000
    assert 350 < len(begun(store).take(batch).sms_ids) < 400


def test_an_entry_reads_as_what_a_person_looks_for():
    store = Store()
    outcome = Outcome(not_sent=[4], rejected={"409 unsupported telco": [2]}).if_killed([3], 0.006)
    outcome.sms_ids[1] = "one"
    begun(store).write([(batch_of([1, 2, 3, 4]), outcome)])
    assert store.get(FIRST) == {
        "v": 1,
        "status": "unknown",
        "recipients": 4,
        "rows": "1-4",
        "accepted": 1,
        "rejected": {"409 unsupported telco": "2"},
        "unknown": {IN_FLIGHT: "3"},
        "not_sent": "4",
        "requests": 0,
        "segments": 0,
        "cost": 0.0,
        "unknown_cost": 0.006,
        "of": "0123456789abcdef/0",
        "numbers": "+25078****001 +25078****002 +25078****003 +25078****004",
        "sms_ids": "one - - -",
    }


@pytest.mark.parametrize("key", [KEY, FIRST])
@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_an_entry_of_another_version_is_never_guessed_at(key, version):
    store = Store()
    begun(store).write([(batch_of([1, 2]), Outcome())])
    store.set(key, {**store.get(key), "v": version})
    before = store.all()
    with pytest.raises(PindoConfigurationError, match=f"entry '{key}' .* has version .*\n.*Upgrade"):
        begun(store)
    assert store.all() == before


def test_an_entry_without_a_version_is_not_as_a_task_wrote_it():
    store = Store()
    begun(store).write([(batch_of([1, 2]), Outcome())])
    entry = store.get(FIRST)
    del entry["v"]
    store.set(FIRST, entry)
    assert begun(store).take(batch_of([1, 2])).count_unknown() == 2


def test_the_unknown_of_an_earlier_generation_are_not_asked_about():
    store = Store()
    ledger = begun(store)
    ledger.write([(batch_of([1, 2]), Outcome(unknown={"the connection was reset": [1]}))])
    ledger.finish(None)
    again = BulkLedger(context(store, generation=1))
    again.begin(**{**OPTIONS, "resend": True})
    assert again.read_unknown().rows == []
    again.write([(batch_of([1, 2]), Outcome(unknown={"the connection was reset": [2]}))])
    assert [each.row for each in again.read_unknown().rows] == [2]


OF_ONE_LENGTH = st.integers(7, 14).flatmap(
    lambda power: st.lists(st.integers(10**power, 10 ** (power + 1) - 1))
)


@given(OF_ONE_LENGTH | st.lists(st.integers(10_000_000, 999_999_999_999_999)))
def test_numbers_are_masked_as_everywhere(digits):
    numbers = [f"+{number}" for number in digits]
    assert mask_all(numbers).split() == list(map(mask_phone_number, numbers))
