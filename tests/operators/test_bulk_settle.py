"""Unknown outcomes of a bulk send: how a person settles them, and what a changed entry does."""

from __future__ import annotations

from collections import Counter

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_pindo._bulk.bulk_ledger import BulkLedger
from airflow_provider_pindo.api.errors import (
    PindoError,
    PindoInsufficientBalanceError,
)
from tests.operators.bulk import (
    COLUMNS,
    HALVES,
    PERSONAL,
    Store,
    at,
    columns_in,
    people,
    report,
    send,
    times_texted,
)

pytestmark = pytest.mark.usefixtures("an_entry_for_each_chunk")


def test_a_lost_answer_leaves_its_chunk_unknown_and_sends_the_rest(sandbox):
    store, arguments = Store(), {"recipients": people(500), "concurrency": 1}
    sandbox.add_fault("drop_after", call="send_bulk_sms", skip=2)
    with pytest.raises(AirflowFailException, match="pindo_bulk_00003") as failed:
        send(store, **arguments)
    assert columns_in(failed.value) == dict(zip(COLUMNS, (400, 0, 100, 0, 0, 0), strict=True))
    with pytest.raises(AirflowFailException, match="pindo_bulk_00003"):
        send(store, **arguments)
    assert len(sandbox.messages()) == 500


@pytest.mark.parametrize(("word", "fault"), [("sent", "drop_after"), ("not_sent", "drop_before")])
def test_a_person_settles_an_unknown_chunk(sandbox, word, fault):
    store, arguments = Store(), {"recipients": people(300), "concurrency": 1}
    sandbox.add_fault(fault, call="send_bulk_sms", skip=1)
    with pytest.raises(AirflowFailException):
        send(store, **arguments)
    store.settle(word)
    assert send(store, generation=1, **arguments)["accepted"] == 300
    assert times_texted(sandbox) == Counter({each["phonenumber"]: 1 for each in people(300)})


def test_another_word_of_an_entry_than_its_status_settles_nothing(sandbox):
    """A chunk's entry names the rows that are unknown beside its status: renaming that name must not lose them."""
    store, arguments = Store(), {"recipients": people(300), "concurrency": 1}
    sandbox.add_fault("drop_before", call="send_bulk_sms", skip=1)
    with pytest.raises(AirflowFailException):
        send(store, **arguments)
    entry = store.get("pindo_bulk_00002")
    store.set("pindo_bulk_00002", {("sent" if key == "unknown" else key): entry[key] for key in entry})
    with pytest.raises(AirflowFailException, match="pindo_bulk_00002") as failed:
        send(store, generation=1, **arguments)
    assert columns_in(failed.value)["unknown"] == 100
    store.set("pindo_bulk_00002", {**entry, "status": "not_sent"})
    assert send(store, generation=2, **arguments)["accepted"] == 300
    assert times_texted(sandbox) == Counter({each["phonenumber"]: 1 for each in people(300)})


def a_send_that_is_half_unknown(sandbox):
    """Return the store of a send of two chunks, of which the first is half accepted and half unknown."""
    store = Store()
    sandbox.add_fault("drop_after", call="send_bulk_sms", skip=1)
    with pytest.raises(AirflowFailException):
        send(store, **HALVES)
    assert (store.get("pindo_bulk_00001")["accepted"], len(sandbox.messages())) == (2, 6)
    return store


@pytest.mark.parametrize(
    "change",
    [
        {"unknown": "sent"},
        {"unknown": ["3-4"]},
        {"unknown": {"why": 3}},
        {"unknown": {"why": "3-x"}},
        {"unknown": {"why": "4-3"}},
        {"unknown": {"why": "1-999999999999"}},
        {"unknown": {"why": "5-6"}},
        {"unknown": None},
        {"rejected": {"why": "3-4"}, "accepted": 0},
        {"not_sent": None},
        {"not_sent": 3},
        {"not_sent": "5", "accepted": 1},
        {"accepted": "2"},
        {"recipients": "many"},
        {"recipients": 5, "accepted": 3},
        {"sms_ids": []},
        {"segments": "some"},
        {"cost": "much"},
        {"cost": float("inf")},
        {"unknown_cost": -1},
        {"requests": float("inf")},
        {"of": None},
        {"of": 7},
        {"of": ""},
        {"of": "0123456789abcdef/0"},
        {"of": "0123456789abcdef/1"},
        {"of": "0123456789abcde/-1"},
    ],
)
@pytest.mark.parametrize("status", ["unknown", "not_sent"])
def test_an_entry_that_no_task_wrote_is_unknown_as_a_whole(sandbox, change, status):
    store = a_send_that_is_half_unknown(sandbox)
    store.set("pindo_bulk_00001", {**store.get("pindo_bulk_00001"), "status": status, **change})
    with pytest.raises(AirflowFailException, match="pindo_bulk_00001") as failed:
        send(store, generation=1, **HALVES)
    assert columns_in(failed.value) == dict(zip(COLUMNS, (2, 0, 4, 0, 0, 0), strict=True))
    assert set(times_texted(sandbox).values()) == {1}


@pytest.mark.parametrize("key", ["of", "status", "unknown", "cost", "recipients"])
def test_an_entry_that_misses_something_is_unknown_as_a_whole(sandbox, key):
    store = a_send_that_is_half_unknown(sandbox)
    entry = store.get("pindo_bulk_00001")
    del entry[key]
    store.set("pindo_bulk_00001", entry)
    with pytest.raises(AirflowFailException, match="pindo_bulk_00001") as failed:
        send(store, generation=1, **HALVES)
    assert columns_in(failed.value)["unknown"] == 4
    assert set(times_texted(sandbox).values()) == {1}


@pytest.mark.parametrize("value", ["sent", "not_sent", {"status": "sent"}, {"status": "not_sent"}])
def test_the_bare_word_in_place_of_a_chunks_entry_settles_nothing_and_the_error_says_what_does(
    sandbox, value
):
    store = a_send_that_is_half_unknown(sandbox)
    entry = store.get("pindo_bulk_00001")
    store.set("pindo_bulk_00001", value)
    with pytest.raises(AirflowFailException, match="First restore an entry") as failed:
        send(store, generation=1, **HALVES)
    assert columns_in(failed.value) == dict(zip(COLUMNS, (2, 0, 4, 0, 0, 0), strict=True))
    result = send(store, generation=2, on_unknown="accept", **HALVES)
    assert (result["accepted"], result["unknown"]) == (2, 4)
    store.set("pindo_bulk_00001", {**entry, "status": "sent"})
    assert send(store, generation=3, **HALVES)["accepted"] == 6
    assert len(sandbox.messages()) == 6


@pytest.mark.parametrize("change", [{"rows_per_entry": 1}, {"generation": 1}, {"input": "x"}, {"given": 2}])
def test_an_entry_of_the_whole_that_was_changed_has_nobody_texted_again(sandbox, change):
    store, arguments = Store(), {"recipients": people(20), "chunk_size": 2, "concurrency": 1}
    sandbox.add_fault("status", call="send_bulk_sms", status=402, skip=8)
    with pytest.raises(PindoInsufficientBalanceError):
        send(store, **arguments)
    header = store.get("pindo_bulk")
    store.set("pindo_bulk", {**header, **change})
    for generation in (0, 1, 2):
        with pytest.raises(AirflowFailException, match="Restore its value if you have it"):
            send(store, generation=generation, **arguments)
    store.set("pindo_bulk", header)
    assert send(store, generation=2, **arguments)["accepted"] == 20
    assert set(times_texted(sandbox).values()) == {1}


def test_entries_that_were_deleted_hide_no_later_ones(sandbox):
    store, arguments = Store(), {"recipients": people(40), "chunk_size": 2, "concurrency": 1}
    sandbox.add_fault("status", call="send_bulk_sms", status=402, skip=16)
    with pytest.raises(PindoInsufficientBalanceError):
        send(store, **arguments)
    for chunk in range(1, 10):
        store.delete(f"pindo_bulk_{chunk:05}")
    assert send(store, **arguments)["accepted"] == 40
    deleted = {each["phonenumber"] for each in people(18)}
    assert times_texted(sandbox) == {
        each["phonenumber"]: 2 if each["phonenumber"] in deleted else 1 for each in people(40)
    }


def test_what_a_send_left_that_texted_nobody_is_not_taken_for_another_of_the_same_generation(sandbox):
    store = Store()
    sandbox.add_fault("status", call="send_bulk_sms", status=402, times=2)
    for text in ("Muraho", "Mwaramutse"):
        with pytest.raises(PindoInsufficientBalanceError):
            send(store, recipients=people(300), text=text, concurrency=1)
    assert send(store, recipients=people(300), text="Mwaramutse")["accepted"] == 300
    assert set(times_texted(sandbox).values()) == {1}


HEADER = {"status": "finished", "input": "0123456789abcdef", "generation": 0, "given": 5, "rows_per_entry": 2}


@pytest.mark.parametrize(
    "value",
    [
        "sent",
        "not_sent",
        "",
        0,
        [],
        {},
        {"status": "sent"},
        {**HEADER, "input": None},
        {**HEADER, "generation": "0"},
        {**HEADER, "rows_per_entry": None},
        {**HEADER, "rows_per_entry": 0},
        {**HEADER, "rows_per_entry": 10_000},
    ],
)
def test_anything_else_in_place_of_the_entry_of_the_whole_has_nobody_texted_again(sandbox, value):
    store, arguments = Store(), {"recipients": people(5), "chunk_size": 2}
    send(store, **arguments)
    store.set("pindo_bulk", value)
    for generation, resend in ((0, False), (1, False), (1, True)):
        with pytest.raises(AirflowFailException, match="delete that entry and clear the task") as refused:
            send(store, generation=generation, resend=resend, **arguments)
        assert "'pindo_bulk'" in str(refused.value)
    assert set(times_texted(sandbox).values()) == {1}
    store.delete("pindo_bulk")
    assert send(store, generation=1, **arguments)["accepted"] == 5
    assert set(times_texted(sandbox).values()) == {2}


def test_unknown_recipients_can_be_sent_to_again_at_the_next_try(sandbox):
    store, arguments = Store(), {"recipients": people(30, time=at), "text": PERSONAL, "on_unknown": "resend"}
    sandbox.add_fault("drop_after", to="+250780000007")
    with pytest.raises(AirflowException, match="The next try sends to them again") as failed:
        send(store, **arguments)
    assert not isinstance(failed.value, AirflowFailException)
    assert send(store, **arguments)["accepted"] == 30
    assert times_texted(sandbox)["+250780000007"] == 2
    assert len(sandbox.messages()) == 31


@pytest.mark.parametrize("personal", [False, True])
def test_unknown_recipients_stay_so_until_they_are_sent_to_again(sandbox, tmp_path, personal):
    store, path = Store(), tmp_path / "report.csv"
    arguments = {"recipients": people(6, time=at), "chunk_size": 2, "concurrency": 1, "on_unknown": "resend"}
    arguments |= {"text": PERSONAL if personal else "Muraho", "report_path": str(path)}
    sandbox.add_fault("drop_after", to="+250780000001")
    with pytest.raises(AirflowException, match="The next try sends to them again"):
        send(store, **arguments)
    unknown = 1 if personal else 2
    entry = store.get("pindo_bulk_00001")
    sandbox.add_fault("rate_limit", retry_after=3600, times=None)
    with pytest.raises(PindoError, match="429") as stopped:
        send(store, **arguments)
    assert columns_in(stopped.value) == dict(zip(COLUMNS, (6 - unknown, 0, unknown, 0, 0, 0), strict=True))
    assert Counter(each["outcome"] for each in report(path)) == {"accepted": 6 - unknown, "unknown": unknown}
    assert store.get("pindo_bulk_00001")["unknown"] == entry["unknown"]
    sandbox.clear_faults()
    with pytest.raises(AirflowFailException, match="max_cost"):
        send(store, max_cost=0.0001, **arguments)
    assert store.get("pindo_bulk_00001")["unknown"] == entry["unknown"]
    assert send(store, **arguments)["accepted"] == 6
    assert len(sandbox.messages()) == 6 + unknown


def test_who_is_unknown_and_excluded_since_is_not_sent_to_again(sandbox):
    store, arguments = Store(), {"recipients": people(3), "on_unknown": "resend"}
    sandbox.add_fault("drop_after", call="send_bulk_sms")
    with pytest.raises(AirflowException, match="The next try sends to them again"):
        send(store, **arguments)
    result = send(store, exclude=["+250780000002"], **arguments)
    assert (result["accepted"], result["unknown"], result["excluded"]) == (2, 1, 0)
    assert times_texted(sandbox)["+250780000002"] == 1


@pytest.mark.parametrize("word", ["sent", "not_sent"])
def test_what_is_settled_after_it_was_accepted_as_unknown_is_taken_up(sandbox, word):
    store, arguments = Store(), {"recipients": people(6), "chunk_size": 2, "concurrency": 1}
    arguments["on_unknown"] = "accept"
    sandbox.add_fault("drop_after" if word == "sent" else "drop_before", call="send_bulk_sms", skip=1)
    first = send(store, **arguments)
    assert (first["accepted"], first["unknown"]) == (4, 2)
    assert send(store, generation=1, **arguments) == first
    store.settle(word)
    if word == "not_sent":
        sandbox.add_fault("status", call="send_bulk_sms", status=402)
        with pytest.raises(PindoInsufficientBalanceError):
            send(store, generation=2, **arguments)
    assert send(store, generation=2, **arguments)["accepted"] == 6
    assert times_texted(sandbox) == Counter({each["phonenumber"]: 1 for each in people(6)})


@pytest.mark.parametrize("unknown", [100, 101])
def test_the_entries_to_settle_are_named_also_where_this_try_does_not_come_to_them(
    sandbox, tmp_path, monkeypatch, unknown
):
    monkeypatch.setattr("airflow_provider_pindo._bulk.breaker.UNKNOWN_IN_A_ROW", 200)
    path = tmp_path / "patients.csv"
    path.write_text("phonenumber,name\n" + "".join(f"{each['phonenumber']},A\n" for each in people(110)))
    store, arguments = Store(), {"recipients": str(path), "chunk_size": 1, "concurrency": 1}
    sandbox.add_fault("drop_before", call="send_bulk_sms", times=unknown, skip=2)
    with pytest.raises(AirflowFailException):
        send(store, **arguments)

    def fail(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(BulkLedger, "write", fail)
    monkeypatch.setattr("airflow_provider_pindo._bulk.sender.BulkSender._begin", fail)
    with pytest.raises(AirflowException, match="ZeroDivisionError") as failed:
        send(store, **arguments)
    columns_in(failed.value)
    assert "recipients: row 4, row 5, " in str(failed.value)
    assert ("pindo_bulk_00102, … from" in str(failed.value)) is (unknown > 100)
    assert ("pindo_bulk_00102 from" in str(failed.value)) is (unknown == 100)
