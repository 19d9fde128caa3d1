"""Never twice: what retries, clears, settled entries and changed lists do to a bulk send with a ledger."""

from __future__ import annotations

from collections import Counter

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_pindo._bulk.bulk_ledger import BulkLedger
from airflow_provider_pindo._bulk.outcome import IN_FLIGHT
from airflow_provider_pindo.api.errors import (
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

    monkeypatch.setattr("airflow_provider_pindo._bulk.spool.Spool.blocks", fail)
    arguments["exclude"] += more
    with pytest.raises(AirflowException, match="the spool cannot be read") as failed:
        send(store, **arguments)
    assert columns_in(failed.value) == earlier
    assert len(sandbox.messages()) == 1249


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


@pytest.mark.parametrize("generation", [0, 1])
def test_a_first_write_that_fails_says_that_nothing_is_sent_and_the_next_try_sends(sandbox, generation):
    class Gone(Store):
        gone = False

        def set(self, key, value, *, retention=None):
            if self.gone:
                raise ConnectionError("no answer about +250781234567")
            super().set(key, value, retention=retention)

    store, arguments = Gone(), {"recipients": people(4), "chunk_size": 2, "concurrency": 1}
    if generation:  # the header is written again, since a clear goes on
        sandbox.add_fault("status", call="send_bulk_sms", status=402, skip=1)
        with pytest.raises(PindoInsufficientBalanceError):
            send(store, **arguments)
    store.gone, texted = True, times_texted(sandbox)
    with pytest.raises(AirflowException) as failed:
        send(store, generation, **arguments)
    assert type(failed.value) is AirflowException
    assert str(failed.value) == (
        "The ledger cannot be written (no answer about +25078****567), so nothing is sent now.\nThe next try sends, "
        "unless Airflow stored the entry after all. Then a single request counts as unknown."
    )
    assert times_texted(sandbox) == texted
    store.gone = False
    assert send(store, generation, **arguments)["accepted"] == 4
    assert set(times_texted(sandbox).values()) == {1}


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
            AirflowFailException, match=r"Pindo refused 2 of 6 recipients .*\n.*sends only to them"
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


@pytest.mark.parametrize("bad", [1, 150])
def test_on_rejected_fails_for_those_whom_pindo_refused_and_names_their_reason_alone(sandbox, bad):
    sandbox.settings(rejected_numbers=["+250780000002"])
    arguments = {"recipients": [*map(str, range(bad)), *people(2)], "text": "Muraho", "on_invalid": "skip"}
    with pytest.raises(AirflowFailException) as failed:
        send(Store(), on_rejected="fail", **arguments)
    what = f"Pindo refused 1 of {bad + 2} recipients (409 unsupported telco), and on_rejected is 'fail'. "
    assert str(failed.value).startswith(what)
    assert columns_in(failed.value) == dict(zip(COLUMNS, (1, bad + 1, 0, 0, 0, 0), strict=True))
    result = send(Store(), **arguments)
    assert [each["row"] for each in result["rejections"]][:2] == ([1, 3] if bad == 1 else [1, 2])
    assert len(result["rejections"]) == min(bad + 1, 100)


def test_what_an_earlier_send_wrote_of_its_chunks_is_not_taken_for_this_ones(sandbox):
    store = Store()
    send(store, recipients=people(300))
    sandbox.add_fault("status", call="send_bulk_sms", status=401)
    with pytest.raises(AirflowFailException):
        send(store, generation=1, resend=True, recipients=people(300))
    assert send(store, generation=1, resend=True, recipients=people(300))["accepted"] == 300
    assert set(times_texted(sandbox).values()) == {2}


def test_a_send_that_starts_over_goes_on_where_it_was_after_retries_were_lowered(sandbox):
    """Airflow numbers a generation by `max_tries`, which is then less than it was."""
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
