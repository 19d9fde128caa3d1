"""What came of everybody: the columns, the report, and the requests that a bulk send makes."""

from __future__ import annotations

import gc
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_pindo._bulk.totals import Report
from airflow_provider_pindo.api.errors import (
    PindoError,
    PindoInsufficientBalanceError,
)
from airflow_provider_pindo.api.values import BulkReceipt
from airflow_provider_pindo.hooks.pindo import PindoAsyncHook
from tests.operators.bulk import (
    COLUMNS,
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


def test_a_409_is_split_until_the_bad_ones_are_alone(sandbox):
    sandbox.settings(rejected_numbers=["+250780000003", "+250780000077", "+250780000078"])
    result = send(Store(), recipients=people(120))
    assert (result["accepted"], result["rejected"]) == (117, 3)
    assert [(each["row"], each["reason"]) for each in result["rejections"]] == [
        (3, "409 unsupported telco"),
        (77, "409 unsupported telco"),
        (78, "409 unsupported telco"),
    ]
    assert len(sandbox.messages()) == len(times_texted(sandbox)) == 117


@pytest.mark.parametrize(
    "said", [{"count": 999}, {"count": 10, "total": 4}, {"count": 10, "total": 11}, {"count": 4, "total": 4}]
)
def test_a_receipt_that_does_not_fit_the_request_leaves_its_recipients_unknown(sandbox, monkeypatch, said):
    async def answer(hook, call, attempt):
        attempt.sent = True
        return BulkReceipt(**said)

    monkeypatch.setattr(PindoAsyncHook, "send", answer)
    with pytest.raises(AirflowFailException, match="and the request had 10") as failed:
        send(Store(), recipients=people(10))
    assert columns_in(failed.value)["unknown"] == 10


@pytest.mark.parametrize("path", ["", "/no/such/folder/\0"])
def test_a_report_that_cannot_be_opened_sends_nothing_and_names_its_path(sandbox, tmp_path, path):
    with pytest.raises(AirflowException, match=r"report_path .* cannot be written, and nothing was sent"):
        send(Store(), recipients=people(2), report_path=f"{tmp_path}{path}")
    assert sandbox.requests() == []


def test_a_report_that_cannot_be_opened_shows_no_password(sandbox):
    path = "nowhere://user:s3cret@host/report.csv?sig=s1gned"
    with pytest.raises(AirflowException, match=r"report_path 'nowhere://host/report\.csv' cannot") as failed:
        send(Store(), recipients=people(2), report_path=path)
    assert not any(secret in str(failed.value) for secret in ("s3cret", "s1gned"))


def test_a_request_that_is_too_large_is_split(sandbox):
    sandbox.settings(bulk_limit=30)
    assert send(Store(), recipients=people(100))["accepted"] == 100
    assert set(times_texted(sandbox).values()) == {1}


def test_fewer_than_asked_for_makes_the_whole_request_unknown(sandbox):
    sandbox.settings(bulk_bad_number="partial", rejected_numbers=["+250780000003"])
    with pytest.raises(AirflowFailException) as failed:
        send(Store(), recipients=people(150))
    assert "Pindo accepted 99 of 100 and does not say which" in str(failed.value)
    assert "pindo_bulk_00001" in str(failed.value)
    assert "+250780000001" not in str(failed.value)
    assert columns_in(failed.value) == dict(zip(COLUMNS, (50, 0, 100, 0, 0, 0), strict=True))


def test_none_of_those_asked_for_are_all_rejected(sandbox):
    sandbox.add_fault("status", call="send_bulk_sms", status=201, body={"count": 0, "total": 2})
    result = send(Store(), recipients=people(3), chunk_size=2, concurrency=1)
    assert (result["accepted"], result["rejected"]) == (1, 2)
    assert result["rejections"][1]["reason"] == "Pindo accepted none of 2"
    assert len(sandbox.messages()) == 1


def test_answers_for_some_stop_nothing_where_the_unknown_are_accepted(sandbox):
    to_be = people(30)
    sandbox.settings(bulk_bad_number="partial", rejected_numbers=[each["phonenumber"] for each in to_be[::2]])
    result = send(Store(), recipients=to_be, chunk_size=2, on_unknown="accept")
    assert (result["unknown"], result["not_sent"]) == (30, 0)
    assert len(sandbox.messages()) == 15


@pytest.mark.parametrize("said", [{"count": 3, "total": 10}, {"count": 20, "total": 20}])
def test_receipts_that_do_not_say_who_was_accepted_stop_it(sandbox, said):
    sandbox.add_fault("status", call="send_bulk_sms", status=201, body=said, times=None)
    with pytest.raises(AirflowFailException, match="10 requests in a row got no receipt that says") as failed:
        send(Store(), recipients=people(300), chunk_size=10, concurrency=1)
    columns = columns_in(failed.value)
    assert (columns["unknown"], columns["not_sent"]) == (100, 200)


def test_an_answer_for_none_is_no_sign_that_pindo_is_down(sandbox, monkeypatch):
    monkeypatch.setattr("airflow_provider_pindo._bulk.breaker.UNKNOWN_IN_A_ROW", 2)
    sandbox.add_fault("drop_after", call="send_bulk_sms")
    sandbox.add_fault("status", call="send_bulk_sms", status=201, body={"count": 0})
    sandbox.add_fault("drop_after", call="send_bulk_sms")
    result = send(Store(), recipients=people(8), chunk_size=2, concurrency=1, on_unknown="accept")
    assert (result["accepted"], result["rejected"], result["unknown"]) == (2, 2, 4)


def test_a_rejection_does_not_fail_the_task_unless_it_is_to_or_all_are(sandbox):
    sandbox.settings(rejected_numbers=["+250780000003"])
    arguments = {"recipients": people(5, time=at), "text": PERSONAL}
    assert send(Store(), **arguments)["rejected"] == 1
    with pytest.raises(AirflowFailException, match="409 unsupported telco") as failed:
        send(Store(), on_rejected="fail", **arguments)
    assert columns_in(failed.value)["accepted"] == 4
    with pytest.raises(AirflowFailException, match="Everybody was rejected") as failed:
        send(Store(), sender="Nobody", **arguments)
    assert columns_in(failed.value)["rejected"] == 5


def test_an_empty_wallet_stops_it_and_a_top_up_goes_on(sandbox):
    store, arguments = Store(), {"recipients": people(300), "chunk_size": 50}
    sandbox.set_balance(1.0)
    with pytest.raises(PindoInsufficientBalanceError) as stopped:
        send(store, **arguments)
    assert columns_in(stopped.value)["accepted"] == 150
    sandbox.set_balance(10)
    assert send(store, **arguments)["accepted"] == 300
    assert set(times_texted(sandbox).values()) == {1}


def test_a_refused_token_stops_it_at_once(sandbox):
    sandbox.add_fault("status", call="send_sms", status=401, times=None, skip=30)
    with pytest.raises(AirflowFailException) as failed:
        send(Store(), recipients=people(500, time=at), text=PERSONAL, concurrency=5)
    columns = columns_in(failed.value)
    assert columns["accepted"] == 30
    assert columns["not_sent"] == 470
    assert len(sandbox.requests(call="send_sms")) < 50


def test_it_stops_when_pindo_seems_to_be_down(sandbox):
    sandbox.add_fault("status", call="send_sms", status=500, times=None, skip=10)
    with pytest.raises(PindoError, match="10 requests in a row") as stopped:
        send(Store(), recipients=people(500, time=at), text=PERSONAL, concurrency=4)
    columns = columns_in(stopped.value)
    assert columns["accepted"] == 10
    assert columns["unknown"] <= 14


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ({"action": "not_json"}, "Pindo returned 201 (its body cannot be read: it is not JSON)"),
        (
            {"action": "redirect", "location": "/login?to=1", "status": 302},
            "Pindo returned 302 (redirected to /login)",
        ),
    ],
)
def test_a_receipt_that_cannot_be_read_is_named_in_the_error_the_report_and_the_ledger(
    sandbox, tmp_path, fault, why
):
    sandbox.add_fault(**fault)
    store, path = Store(), tmp_path / "report.csv"
    with pytest.raises(AirflowFailException, match=re.escape(f"row 1 (+25078****001), {why}. ")):
        send(store, recipients=people(1), report_path=str(path))
    assert [each["reason"] for each in report(str(path))] == [why]
    assert why in repr(store.all())


def test_the_result_is_small_and_the_report_names_everybody(sandbox, tmp_path):
    path = tmp_path / "reports" / "tonight.csv"
    to_be = [*people(3000), {"phonenumber": "1", "name": 'Ann "A"\nB'}, people(1)[0]]
    sandbox.settings(rejected_numbers=[each["phonenumber"] for each in people(300)])
    result = send(
        Store(), recipients=to_be, exclude=["+250780000400"], on_invalid="skip", report_path=str(path)
    )
    assert len(json.dumps(result)) < 20_000
    assert [each["row"] for each in result["rejections"]] == list(range(1, 101))
    lines = report(result["report_path"])
    assert Counter(each["outcome"] for each in lines) == {
        "accepted": result["accepted"],
        "rejected": result["rejected"],
        "duplicate": 1,
        "excluded": 1,
    }
    assert sorted(int(each["row"]) for each in lines) == list(range(1, 3003))
    assert {each["phonenumber"] for each in lines if each["outcome"] == "accepted"} == set(
        times_texted(sandbox)
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is full is a device of Linux")
def test_a_report_that_cannot_be_written_stops_it_and_the_next_try_goes_on(sandbox):
    store, arguments = Store(), {"recipients": people(3000), "chunk_size": 100, "concurrency": 1}
    with pytest.raises(Exception, match="No space left on device"):
        send(store, report_path="/dev/full", **arguments)
    assert 0 < len(sandbox.messages()) < 3000
    assert send(store, **arguments)["accepted"] == 3000
    assert set(times_texted(sandbox).values()) == {1}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is full is a device of Linux")
def test_a_full_disk_hides_neither_the_columns_nor_who_is_unknown(sandbox):
    sandbox.add_fault("drop_after", call="send_bulk_sms")
    with pytest.raises(AirflowException, match="No space left on device") as failed:
        send(Store(), recipients=people(3000), concurrency=1, report_path="file:///dev/full")
    columns = columns_in(failed.value)
    assert columns["unknown"] == 100
    assert columns["accepted"] + columns["unknown"] == len(sandbox.messages())
    assert "recipients: row 1 (+25078****001), " in str(failed.value)
    assert "pindo_bulk_00001" in str(failed.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is full is a device of Linux")
def test_a_report_that_only_its_end_shows_to_be_cut_short_fails_the_task_with_the_columns(sandbox):
    store, arguments = Store(), {"recipients": ["1", "2"], "on_invalid": "skip", "text": "Muraho"}
    with pytest.raises(AirflowException, match="No space left on device") as failed:
        send(store, report_path="/dev/full", **arguments)
    assert columns_in(failed.value)["rejected"] == 2
    with pytest.raises(AirflowFailException, match="Everybody was rejected"):
        send(store, **arguments)


def test_a_report_that_cannot_be_closed_hides_no_other_error(sandbox, tmp_path, monkeypatch, caplog):
    def no_loop():
        raise OSError("too many open files")

    def close_and_fail(self, close=Report.close):
        close(self)
        raise OSError("no space for +250781234567")

    monkeypatch.setattr(Report, "close", close_and_fail)
    monkeypatch.setattr("airflow_provider_pindo._bulk.own_loop._fast_loop", lambda: no_loop)
    with pytest.raises(OSError, match="too many open files") as failed:
        send(Store(), recipients=people(3), report_path=str(tmp_path / "report.csv"))
    assert not str(failed.value).count("accepted")
    assert "Ended early: 0 accepted, 0 rejected, 0 unknown, 3 not sent" in caplog.text
    assert (
        "the report cannot be written (no space for +25078****567); the next try writes it again"
        in caplog.text
    )


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("gone")])
@pytest.mark.parametrize("lines", ["add", "write"])
def test_a_report_that_fails_once_stops_it_and_leaves_everybody_in_one_column(
    sandbox, tmp_path, monkeypatch, error, lines
):
    def fail_once(self, *args):
        monkeypatch.undo()
        monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", sandbox.connection_json())
        raise error

    monkeypatch.setattr(Report, lines, fail_once)
    store, arguments = Store(), {"recipients": ["1", *people(3000)], "on_invalid": "skip"}
    arguments |= {"report_path": str(tmp_path / "report.csv"), "text": "Muraho"}
    with pytest.raises(AirflowException, match="the report cannot be written") as failed:
        send(store, **arguments)
    columns = columns_in(failed.value)
    assert columns["accepted"] == len(sandbox.messages()) < 3000
    assert columns["unknown"] == 0
    assert send(store, **arguments)["accepted"] == 3000
    assert len(report(tmp_path / "report.csv")) == 3001
    assert set(times_texted(sandbox).values()) == {1}


def test_the_report_has_the_ids_of_single_sends_also_of_an_earlier_try(sandbox, tmp_path):
    store, path = Store(), tmp_path / "report.csv"
    arguments = {
        "recipients": people(100, time=at),
        "text": PERSONAL,
        "report_path": str(path),
        "chunk_size": 20,
    }
    sandbox.add_fault("status", call="send_sms", status=402, skip=50)
    with pytest.raises(PindoInsufficientBalanceError):
        send(store, **arguments)
    assert Counter(each["outcome"] for each in report(path)).total() == 100
    path.unlink()
    send(store, **arguments)
    assert {each["phonenumber"]: each["sms_id"] for each in report(path)} == {
        each["to"]: each["sms_id"] for each in sandbox.messages()
    }
    assert len(sandbox.messages()) == 100


recipients_of_any_kind = st.lists(
    st.builds(
        lambda number, name: {"phonenumber": number, "name": name},
        st.sampled_from(
            [*(f"+2507800000{row:02}" for row in range(40)), "0780000001", "12", "", None, 7, "+33612345678"]
        ),
        st.sampled_from(["A", "Béa", "“”", "\ud800", "@contact.phone"]),
    ),
    max_size=60,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(recipients=recipients_of_any_kind, duplicates=st.sampled_from(["drop", "send"]), data=st.data())
def test_the_columns_add_up_to_what_was_given(sandbox, recipients, duplicates, data):
    sandbox.reset()
    sandbox.settings(rejected_numbers=["+250780000011", "+250780000012"])
    if data.draw(st.booleans()):
        sandbox.add_fault(
            data.draw(st.sampled_from(["drop_after", "drop_before", "truncate"])), call="send_bulk_sms"
        )
    try:
        columns = send(
            Store(),
            recipients=recipients,
            chunk_size=data.draw(st.integers(1, 20)),
            on_invalid="skip",
            on_unknown="accept",
            on_duplicate=duplicates,
            exclude=["+250780000005"],
        )
    except AirflowException as error:  # everybody was rejected
        columns = columns_in(error)
    assert sum(columns[each] for each in COLUMNS) == len(recipients)
    assert columns["accepted"] <= len(sandbox.messages()) <= columns["accepted"] + columns["unknown"]


def test_progress_is_logged_while_it_sends(sandbox, monkeypatch, caplog):
    monkeypatch.setattr("airflow_provider_pindo._bulk.sender.PROGRESS", 0.05)
    sandbox.settings(latency=0.02, rejected_numbers=["+250780000001"])
    with caplog.at_level("INFO", logger="airflow_provider_pindo"):
        send(Store(), recipients=people(100, time=at), text=PERSONAL, chunk_size=10, concurrency=5)
    lines = [each.message for each in caplog.records if " done, " in each.message]
    assert len(lines) > 2
    assert re.fullmatch(r"\d+ of 100 done, 1 rejected, \d+/s, \d+ s left", lines[-1])


def test_the_garbage_collector_is_left_as_it_was_found(sandbox):
    send(Store(), recipients=people(1))
    assert gc.get_freeze_count() == 0
    gc.freeze()  # as Airflow does where it forks
    try:
        send(Store(), recipients=people(1))
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
