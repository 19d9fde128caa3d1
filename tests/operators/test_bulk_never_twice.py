"""Never twice: what retries, clears, settled entries and changed lists do to a bulk send with a ledger."""

from __future__ import annotations

from collections import Counter

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_pindo._bulk.bulk_ledger import IN_FLIGHT, BulkLedger
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


@pytest.mark.parametrize("personal", [False, True])
def test_a_cleared_task_returns_its_first_result_and_texts_nobody(sandbox, personal):
    store, arguments = (
        Store(),
        {"recipients": people(30, time=at), "text": PERSONAL if personal else "Muraho"},
    )
    first = send(store, **arguments)
    assert send(store, generation=1, **arguments) == first
    assert len(sandbox.messages()) == 30
    assert send(store, generation=2, resend="True", **arguments)["accepted"] == 30
    assert send(store, generation=2, resend="True", **arguments)["accepted"] == 30
    assert set(times_texted(sandbox).values()) == {2}


def test_another_input_is_refused_once_somebody_was_texted(sandbox):
    store = Store()
    send(store, recipients=people(30))
    for arguments in (
        {"recipients": people(31)},
        {"recipients": people(30), "text": "Other @contact.name"},
        {"recipients": people(30), "sender": "Other"},
    ):
        with pytest.raises(AirflowFailException, match="have changed since"):
            send(store, generation=1, **arguments)
    assert set(times_texted(sandbox).values()) == {1}


def test_another_input_is_refused_while_nobody_knows_who_was_texted(sandbox):
    store = Store()
    sandbox.add_fault("drop_after", call="send_bulk_sms")
    with pytest.raises(AirflowFailException, match="unknown"):
        send(store, recipients=people(2))
    with pytest.raises(AirflowFailException, match="may have texted, part of another list"):
        send(store, generation=1, recipients=people(3))
    assert len(sandbox.messages()) == 2


def test_another_input_is_taken_as_long_as_nobody_was_texted(sandbox):
    store = Store()
    sandbox.add_fault("status", call="send_bulk_sms", status=401, times=None)
    with pytest.raises(AirflowFailException):
        send(store, recipients=people(300), exclude=[each["phonenumber"] for each in people(250)])
    assert "pindo_bulk_00003" in store.all()
    sandbox.clear_faults()
    assert send(store, generation=1, recipients=people(200), text="Mended @contact.name")["accepted"] == 200
    assert set(times_texted(sandbox).values()) == {1}


def test_who_is_excluded_between_two_tries_is_texted_no_more_and_the_rest_goes_on(sandbox, tmp_path):
    store, path = Store(), tmp_path / "report.csv"
    arguments = {"recipients": people(40), "chunk_size": 10, "concurrency": 1, "report_path": str(path)}
    sandbox.add_fault("status", call="send_bulk_sms", status=402, skip=2)
    with pytest.raises(PindoInsufficientBalanceError) as stopped:
        send(store, exclude=["+250780000002"], **arguments)
    assert columns_in(stopped.value) == dict(zip(COLUMNS, (19, 0, 0, 20, 0, 1), strict=True))
    stop = ["+250780000002", "+250780000005", "+250780000025", "+250780000040"]
    result = send(store, exclude=lambda: stop, **arguments)
    assert [result[each] for each in COLUMNS] == [37, 0, 0, 0, 0, 3]
    texted = {each["phonenumber"] for each in people(40)} - {stop[0], *stop[2:]}
    assert times_texted(sandbox) == dict.fromkeys(texted, 1)
    assert {each["phonenumber"] for each in report(path) if each["outcome"] == "accepted"} == texted
    assert {each["row"] for each in report(path) if each["outcome"] == "excluded"} == {"2", "25", "40"}
    assert send(store, generation=1, **arguments) == result


def test_who_is_excluded_no_more_is_texted_and_shifts_nobody(sandbox):
    store, arguments = Store(), {"recipients": people(40), "chunk_size": 10, "concurrency": 1}
    sandbox.add_fault("status", call="send_bulk_sms", status=402, skip=2)
    with pytest.raises(PindoInsufficientBalanceError):
        send(store, exclude=["+250780000002", "+250780000025"], **arguments)
    assert send(store, **arguments)["accepted"] == 40
    assert times_texted(sandbox) == {each["phonenumber"]: 1 for each in people(40)}


@pytest.mark.parametrize("still", [True, False])
def test_a_long_stretch_of_excluded_hides_no_later_chunk_from_the_next_try(sandbox, still):
    store, arguments = Store(), {"recipients": people(100), "chunk_size": 10, "concurrency": 1}
    exclude = [each["phonenumber"] for each in people(70)]
    sandbox.add_fault("status", call="send_bulk_sms", status=402, skip=1)
    with pytest.raises(PindoInsufficientBalanceError) as stopped:
        send(store, exclude=exclude, **arguments)
    assert columns_in(stopped.value) == dict(zip(COLUMNS, (10, 0, 0, 20, 0, 70), strict=True))
    result = send(store, exclude=exclude if still else [], **arguments)
    assert (result["accepted"], result["excluded"]) == ((30, 70) if still else (100, 0))
    assert set(times_texted(sandbox).values()) == {1}
    assert len(sandbox.messages()) == result["accepted"]


def test_who_is_unknown_stays_so_when_excluded_and_is_texted_no_more_once_settled(sandbox):
    store, arguments = Store(), {"recipients": people(10), "exclude": ["+250780000003"]}
    sandbox.add_fault("drop_before", call="send_bulk_sms")
    with pytest.raises(AirflowFailException) as failed:
        send(store, recipients=people(10))
    assert columns_in(failed.value)["unknown"] == 10
    with pytest.raises(AirflowFailException) as failed:
        send(store, **arguments)
    assert columns_in(failed.value) == dict(zip(COLUMNS, (0, 0, 10, 0, 0, 0), strict=True))
    store.settle("not_sent")
    result = send(store, generation=1, **arguments)
    assert (result["accepted"], result["excluded"]) == (9, 1)
    assert "+250780000003" not in times_texted(sandbox)


def test_a_chunk_keeps_who_is_unknown_while_it_is_sent_to_those_that_are_excluded_no_more(
    sandbox, monkeypatch
):
    """Some of a chunk are unknown since an earlier try was cut off, and others are sent to now."""
    store = Store()
    sandbox.add_fault("drop_after", call="send_bulk_sms")
    with pytest.raises(AirflowException):
        send(store, recipients=people(10), exclude=["+250780000003"])
    entry = store.get("pindo_bulk_00001")
    rows = entry["unknown"].popitem()[1]
    store.set("pindo_bulk_00001", {**entry, "unknown": {IN_FLIGHT: rows}})
    sandbox.add_fault("drop_after", call="send_bulk_sms")
    about_to_send = []
    monkeypatch.setattr(BulkLedger, "write_last", lambda self, *_: about_to_send.append(store.all()))
    assert send(store, recipients=people(10), on_unknown="accept")["unknown"] == 10
    assert about_to_send[0]["pindo_bulk_00001"]["unknown"] == {IN_FLIGHT: "1-10"}


def test_a_repeated_row_of_an_excluded_number_is_a_duplicate(sandbox):
    result = send(Store(), recipients=[*people(2), *people(1)], exclude=["+250780000001"])
    assert (result["accepted"], result["excluded"], result["duplicates"]) == (1, 1, 1)


numbers_left_out = st.sets(st.sampled_from([each["phonenumber"] for each in people(12)]), max_size=8)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lists=st.tuples(*[numbers_left_out] * 3), size=st.integers(1, 3), data=st.data())
def test_whatever_the_exclusions_of_each_try_are_nobody_is_texted_twice_or_against_them(
    sandbox, lists, size, data
):
    sandbox.reset()
    store, before = Store(), Counter()
    for fails, exclude in zip((True, True, False), lists, strict=True):
        if data.draw(st.booleans()):
            sandbox.add_fault("drop_after", call="send_bulk_sms")
        if fails:
            sandbox.add_fault("status", call="send_bulk_sms", status=402, skip=data.draw(st.integers(0, 3)))
        arguments = {"recipients": people(12), "chunk_size": size, "concurrency": 1, "on_unknown": "accept"}
        try:
            columns = send(store, exclude=exclude, **arguments)
        except PindoInsufficientBalanceError as error:
            columns = columns_in(error)
        sandbox.clear_faults()
        texted = times_texted(sandbox)
        assert not (texted - before).keys() & exclude
        assert set(texted.values()) <= {1}
        assert columns["accepted"] <= len(texted) <= columns["accepted"] + columns["unknown"]
        if columns["not_sent"] == 0:
            break
        assert columns["excluded"] == len(exclude - texted.keys())
        before = texted


def test_a_file_that_changes_after_its_check_is_sent_as_it_was_checked(sandbox, tmp_path, monkeypatch):
    path, store = tmp_path / "patients.csv", Store()
    path.write_text("phonenumber,name\n" + "".join(f"{each['phonenumber']},A\n" for each in people(2000)))

    def change_and_begin(self, begin=BulkLedger.begin, **arguments):
        path.write_text("phonenumber,name\n+250781999999,B\n")
        return begin(self, **arguments)

    with monkeypatch.context() as patch:
        patch.setattr(BulkLedger, "begin", change_and_begin)
        assert send(store, recipients=str(path))["accepted"] == 2000
    assert times_texted(sandbox) == {each["phonenumber"]: 1 for each in people(2000)}
    with pytest.raises(AirflowFailException, match="have changed since"):
        send(store, generation=1, recipients=str(path))


@pytest.mark.parametrize("more", [[], ["+250780001249"]])
def test_what_earlier_tries_did_counts_also_where_this_one_does_not_come_to(sandbox, monkeypatch, more):
    store = Store()
    arguments = {"recipients": people(1250), "concurrency": 1, "exclude": ["+250780001250"]}
    sandbox.add_fault("drop_after", call="send_bulk_sms", skip=1)
    with pytest.raises(AirflowFailException) as failed:
        send(store, **arguments)
    earlier = columns_in(failed.value)
    assert (earlier["accepted"], earlier["unknown"], earlier["excluded"]) == (1149, 100, 1)

    def fail(*_):
        raise OSError("the spool cannot be read")

    monkeypatch.setattr("airflow_provider_pindo._bulk.recipients.Spool.blocks", fail)
    arguments["exclude"] += more
    with pytest.raises(AirflowException, match="the spool cannot be read") as failed:
        send(store, **arguments)
    assert columns_in(failed.value) == earlier
    assert len(sandbox.messages()) == 1249


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


def cut_off_in_the_middle(sandbox):
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
    store = cut_off_in_the_middle(sandbox)
    store.set("pindo_bulk_00001", {**store.get("pindo_bulk_00001"), "status": status, **change})
    with pytest.raises(AirflowFailException, match="pindo_bulk_00001") as failed:
        send(store, generation=1, **HALVES)
    assert columns_in(failed.value) == dict(zip(COLUMNS, (2, 0, 4, 0, 0, 0), strict=True))
    assert set(times_texted(sandbox).values()) == {1}


@pytest.mark.parametrize("key", ["of", "status", "unknown", "cost", "recipients"])
def test_an_entry_that_misses_something_is_unknown_as_a_whole(sandbox, key):
    store = cut_off_in_the_middle(sandbox)
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
    store = cut_off_in_the_middle(sandbox)
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


def test_what_a_send_left_that_texted_nobody_is_not_taken_for_another_of_the_same_go(sandbox):
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
    monkeypatch.setattr("airflow_provider_pindo._bulk.sender.UNKNOWN_IN_A_ROW", 200)
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


def test_nothing_is_sent_when_the_ledger_cannot_be_written(sandbox):
    class Gone(Store):
        def set(self, key, value, *, retention=None):
            if self.writes == 2:
                raise ConnectionError("404 task instance not found")
            super().set(key, value, retention=retention)

    store = Gone()
    with pytest.raises(AirflowException) as failed:
        send(store, recipients=people(300), chunk_size=100)
    assert columns_in(failed.value)["accepted"] == len(sandbox.messages()) <= 100


def test_what_earlier_tries_did_counts_when_the_chunk_cannot_be_opened_again(sandbox):
    class Gone(Store):
        gone = False

        def set(self, key, value, *, retention=None):
            if self.gone and key != "pindo_bulk":
                raise ConnectionError("503 of +250781234567")
            super().set(key, value, retention=retention)

    store = Gone()
    sandbox.add_fault("drop_before", call="send_bulk_sms", skip=1)
    with pytest.raises(AirflowFailException) as failed:
        send(store, **HALVES)
    assert columns_in(failed.value) == dict(zip(COLUMNS, (4, 0, 2, 0, 0, 0), strict=True))
    store.settle("not_sent")
    store.gone = True
    with pytest.raises(AirflowException, match=r"503 of \+25078\*\*\*\*567") as failed:
        send(store, generation=1, **HALVES)
    assert columns_in(failed.value) == dict(zip(COLUMNS, (4, 0, 0, 2, 0, 0), strict=True))
    store.gone = False
    assert send(store, generation=1, **HALVES)["accepted"] == 6
    assert set(times_texted(sandbox).values()) == {1}


@pytest.mark.parametrize(
    "stopped_by",
    [
        {"action": "status", "status": 402, "skip": 1},
        {"action": "drop_after", "skip": 1},
    ],
)
def test_resend_goes_on_with_what_has_not_finished_and_repeats_what_has(sandbox, stopped_by):
    store = Store()
    arguments = {"recipients": people(6), "chunk_size": 2, "concurrency": 1, "resend": True}
    sandbox.add_fault(call="send_bulk_sms", **stopped_by)
    with pytest.raises((AirflowFailException, PindoInsufficientBalanceError)):
        send(store, **arguments)
    store.settle("sent")
    for generation in (1, 1):  # a clear, and a retry of what came of it
        assert send(store, generation=generation, **arguments)["accepted"] == 6
    assert times_texted(sandbox) == Counter({each["phonenumber"]: 1 for each in people(6)})
    assert send(store, generation=2, **arguments)["accepted"] == 6
    assert set(times_texted(sandbox).values()) == {2}


def test_resend_does_not_repeat_whom_a_person_settled_as_sent(sandbox):
    store, arguments = Store(), {"recipients": people(2), "resend": True}
    sandbox.add_fault("drop_after", call="send_bulk_sms")
    with pytest.raises(AirflowFailException, match="from 'unknown' to 'sent' or 'not_sent'"):
        send(store, **arguments)
    store.settle("sent")
    assert send(store, generation=1, **arguments)["accepted"] == 2
    assert len(sandbox.messages()) == 2


def test_everybody_who_was_rejected_can_be_sent_to_again_once_that_is_mended(sandbox):
    store, arguments = Store(), {"recipients": people(2), "exclude": ["+250780000002"]}
    sandbox.settings(rejected_numbers=["+250780000001"])
    for generation, resend in ((0, False), (1, False), (2, True)):
        with pytest.raises(AirflowFailException, match=r"Everybody was rejected \(.*\n.*clear the task"):
            send(store, generation=generation, resend=resend, **arguments)
    sandbox.settings(rejected_numbers=[])
    assert send(store, generation=3, **arguments)["accepted"] == 1
    assert len(sandbox.messages()) == 1


@pytest.mark.parametrize("changed", [{}, {"text": "Mwiriwe @contact.name"}, {"sender": "Ubuzima"}])
def test_where_everybody_was_rejected_it_may_be_mended_by_another_text_or_sender(sandbox, changed):
    store, arguments = Store(), {"recipients": people(3)}
    sandbox.settings(approved_senders=[])
    with pytest.raises(AirflowFailException, match="409 Unknown sender id"):
        send(store, **arguments)
    sandbox.settings(approved_senders="any")
    assert send(store, generation=1, **arguments, **changed)["accepted"] == 3
    assert set(times_texted(sandbox).values()) == {1}


@pytest.mark.parametrize("personal", [False, True])
def test_a_task_that_failed_since_some_were_rejected_sends_to_them_alone_when_it_is_cleared(
    sandbox, personal
):
    store = Store()
    arguments = {"recipients": people(6, time=at), "chunk_size": 2, "on_rejected": "fail"}
    arguments["text"] = PERSONAL if personal else "Muraho"
    sandbox.settings(rejected_numbers=["+250780000002", "+250780000005"])
    for generation in (0, 1):
        with pytest.raises(
            AirflowFailException, match=r"2 of 6 recipients were rejected .*\n.*sends only to them"
        ) as failed:
            send(store, generation=generation, **arguments)
        assert columns_in(failed.value) == dict(zip(COLUMNS, (4, 2, 0, 0, 0, 0), strict=True))
    sandbox.settings(rejected_numbers=[])
    assert send(store, generation=2, **arguments)["accepted"] == 6
    assert set(times_texted(sandbox).values()) == {1}


def test_a_list_of_which_nobody_can_be_texted_fails_also_where_bad_rows_are_skipped(sandbox):
    arguments = {"recipients": ["1", "2"], "on_invalid": "skip", "text": "Muraho"}
    with pytest.raises(AirflowFailException, match=r"Everybody was rejected \(.*\n.*clear the task"):
        send(Store(), **arguments)
    assert sandbox.requests() == []


def test_what_an_earlier_send_wrote_of_its_chunks_is_not_taken_for_this_ones(sandbox):
    store = Store()
    send(store, recipients=people(300))
    sandbox.add_fault("status", call="send_bulk_sms", status=401)
    with pytest.raises(AirflowFailException):
        send(store, generation=1, resend=True, recipients=people(300))
    assert send(store, generation=1, resend=True, recipients=people(300))["accepted"] == 300
    assert set(times_texted(sandbox).values()) == {2}


def test_a_send_that_starts_over_goes_on_where_it_was_after_retries_were_lowered(sandbox):
    """Airflow numbers a go by `max_tries`, which is then less than it was."""
    store, arguments = Store(), {"recipients": people(6), "chunk_size": 2, "concurrency": 1, "resend": True}
    assert send(store, generation=10, **arguments)["accepted"] == 6
    sandbox.add_fault("status", call="send_bulk_sms", status=402, skip=1)
    with pytest.raises(PindoInsufficientBalanceError):
        send(store, generation=2, **arguments)
    assert send(store, generation=2, **arguments)["accepted"] == 6
    assert set(times_texted(sandbox).values()) == {2}


def test_what_an_input_left_that_texted_nobody_does_not_hold_back_the_next(sandbox):
    store = Store()
    sandbox.add_fault("status", call="send_bulk_sms", status=402)
    with pytest.raises(PindoInsufficientBalanceError):
        send(store, recipients=people(2))
    with pytest.raises(AirflowFailException, match="max_cost"):
        send(store, recipients=people(3), max_cost=0.0001)
    assert send(store, recipients=people(3))["accepted"] == 3
    assert set(times_texted(sandbox).values()) == {1}
