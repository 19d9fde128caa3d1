"""Every sending operator and the connection's ``suppression_list``: who is texted, and what a retry or a clear does."""

from __future__ import annotations

import json
import os

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    TaskDeferred,
)

from airflow_provider_pindo.operators.sms import PindoSendSmsOperator
from airflow_provider_pindo.operators.verify import PindoVerifyOperator
from tests.operators.bulk import Store, people, report, send, times_texted
from tests.operators.clock import DAY, at, set_clock
from tests.operators.verification import Task
from tests.versions import needs_store

LISTED = "+250780000002"


@pytest.fixture
def stop_list(sandbox, monkeypatch, tmp_path):
    """The list that the connection names: a file with one number in each line."""
    file = tmp_path / "stop.txt"
    file.write_text(f"{LISTED}\n")
    connection = json.loads(os.environ["AIRFLOW_CONN_PINDO_DEFAULT"])
    connection["extra"]["suppression_list"] = str(file)
    monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", json.dumps(connection))
    return file


def sms(to=LISTED, **arguments):
    return Task(lambda: PindoSendSmsOperator(task_id="text", to=to, text="Muraho", **arguments))


def pin(number=LISTED, **arguments):
    return Task(lambda: PindoVerifyOperator(task_id="pin", number=number, **arguments))


single = pytest.mark.parametrize("task", [sms, pin])


@single
def test_a_listed_number_is_skipped_with_the_reason(sandbox, stop_list, task):
    with pytest.raises(AirflowSkipException, match=r"Nothing is sent to \+25078\*{4}002: .*suppression_list"):
        task().run()
    assert sandbox.messages() == []


@single
def test_another_spelling_of_a_listed_number_is_skipped_too(sandbox, stop_list, task):
    stop_list.write_text("+250 780 000 002\n")
    with pytest.raises(AirflowSkipException):
        task("0780000002").run()
    assert sandbox.messages() == []


@single
def test_a_number_that_is_not_listed_is_texted(sandbox, stop_list, task):
    task("+250780000003").run()
    assert list(times_texted(sandbox)) == ["+250780000003"]


@single
def test_an_answer_may_go_to_a_listed_number(sandbox, stop_list, task):
    task(respect_suppression=False).run()
    assert list(times_texted(sandbox)) == [LISTED]


@single
def test_a_list_that_cannot_be_read_stops_the_send_and_a_retry_may_find_it(sandbox, stop_list, task):
    stop_list.unlink()
    run = task("+250780000003")
    with pytest.raises(
        AirflowException, match=r"suppression_list '.*stop.txt' does not exist on this worker"
    ) as no:
        run.run()
    assert not isinstance(no.value, AirflowFailException)
    assert sandbox.messages() == []
    stop_list.write_text("")
    run.run()
    assert len(sandbox.messages()) == 1


@single
def test_a_line_that_is_no_number_fails_without_retry(sandbox, stop_list, task):
    stop_list.write_text("somebody\n")
    with pytest.raises(AirflowFailException, match="row 1 of suppression_list"):
        task("+250780000003").run()
    assert sandbox.messages() == []


@single
@needs_store
def test_who_was_added_since_is_not_texted_by_a_retry(sandbox, stop_list, task):
    stop_list.write_text("")
    sandbox.set_balance(0)
    run = task()
    with pytest.raises(Exception, match="402"):
        run.run()
    sandbox.set_balance(10)
    stop_list.write_text(f"{LISTED}\n")
    with pytest.raises(AirflowSkipException):
        run.run()
    assert sandbox.messages() == []


@single
@needs_store
def test_a_task_that_has_sent_returns_its_first_result_whatever_the_list_says(sandbox, stop_list, task):
    stop_list.write_text("")
    run = task()
    first = run.run()
    stop_list.write_text(f"{LISTED}\n")
    assert run.clear() == first
    stop_list.unlink()
    assert run.clear() == first
    assert len(sandbox.messages()) == 1


@needs_store
def test_a_clear_with_resend_does_not_text_who_was_added_since(sandbox, stop_list):
    stop_list.write_text("")
    run = sms(resend=True)
    run.run()
    stop_list.write_text(f"{LISTED}\n")
    with pytest.raises(AirflowSkipException):
        run.clear()
    assert len(sandbox.messages()) == 1


@needs_store
def test_a_skipped_task_that_is_cleared_texts_who_was_taken_off_the_list(sandbox, stop_list):
    run = sms()
    with pytest.raises(AirflowSkipException):
        run.run()
    stop_list.write_text("")
    assert run.clear()["to"] == LISTED


def test_the_argument_is_checked_when_the_dag_is_parsed():
    with pytest.raises(ValueError, match="respect_suppression is 'perhaps': give true or false"):
        PindoSendSmsOperator(task_id="text", to=LISTED, text="Muraho", respect_suppression="perhaps")


def test_a_bulk_send_counts_the_listed_as_excluded_together_with_exclude(sandbox, stop_list, tmp_path):
    result = send(
        Store(),
        recipients=people(5),
        exclude=["+250780000003", LISTED],
        report_path=str(tmp_path / "report.csv"),
    )
    assert (result["accepted"], result["excluded"]) == (3, 2)
    assert set(times_texted(sandbox)) == {"+250780000001", "+250780000004", "+250780000005"}
    outcomes = {line["phonenumber"]: line["outcome"] for line in report(tmp_path / "report.csv")}
    assert [number for number, outcome in outcomes.items() if outcome == "excluded"] == [
        LISTED,
        "+250780000003",
    ]


def test_a_dry_run_counts_the_listed(sandbox, stop_list):
    assert send(Store(), recipients=people(5), dry_run=True)["excluded"] == 1


@pytest.mark.parametrize("arguments", [{}, {"dry_run": True}])
def test_a_bulk_send_stops_before_the_first_message_when_the_list_cannot_be_read(
    sandbox, stop_list, arguments
):
    stop_list.unlink()
    with pytest.raises(
        AirflowException, match=r"suppression_list .* does not exist on this worker, and nothing was sent"
    ):
        send(Store(), recipients=people(5), **arguments)
    stop_list.write_text("nobody\n")
    with pytest.raises(AirflowFailException, match="row 1 of suppression_list"):
        send(Store(), recipients=people(5), **arguments)
    assert sandbox.messages() == []


@pytest.mark.usefixtures("an_entry_for_each_chunk")
def test_a_bulk_retry_does_not_text_who_was_added_since(sandbox, stop_list):
    stop_list.write_text("")
    sandbox.set_balance(0.006 * 2)
    arguments = {"recipients": people(4), "text": "Muraho", "chunk_size": 1, "concurrency": 1}
    store = Store()
    with pytest.raises(Exception, match="402"):
        send(store, **arguments)
    assert set(times_texted(sandbox)) == {"+250780000001", LISTED}
    sandbox.set_balance(10)
    stop_list.write_text(f"{LISTED}\n+250780000004\n")
    result = send(store, **arguments)
    assert (result["accepted"], result["excluded"]) == (3, 1)  # who was texted before stays accepted
    assert times_texted(sandbox) == {"+250780000001": 1, LISTED: 1, "+250780000003": 1}


def test_a_finished_bulk_send_returns_its_first_result_whatever_the_list_says(sandbox, stop_list):
    stop_list.write_text("")
    store = Store()
    first = send(store, recipients=people(4))
    stop_list.write_text(f"{LISTED}\n")
    assert send(store, generation=1, recipients=people(4)) == first
    assert len(sandbox.messages()) == 4


@pytest.mark.parametrize("exclude", [None, "gone.csv"])
def test_a_finished_bulk_send_returns_its_first_result_when_its_lists_cannot_be_read(
    sandbox, stop_list, tmp_path, exclude
):
    (tmp_path / "gone.csv").write_text(f"{LISTED}\n")
    path = exclude and str(tmp_path / exclude)
    recipients = [
        {"phonenumber": f"+25078000000{row}", "name": "" if row == 2 else "A"} for row in range(1, 5)
    ]
    arguments = {"recipients": recipients, "text": "Muraho @contact.name"}  # who is excluded needs no name
    store = Store()
    first = send(store, exclude=path, **arguments)
    stop_list.unlink()
    (tmp_path / "gone.csv").unlink()
    assert send(store, generation=1, exclude=path, **arguments) == first
    before = store.all()
    for changes in ({"resend": True}, {"text": "Mwiriwe"}):
        with pytest.raises(AirflowException, match=r"does not exist on this worker|changed since"):
            send(store, generation=1, exclude=path, **{**arguments, **changes})
        assert store.all() == before
    assert send(store, generation=2, exclude=path, **arguments) == first, (
        "a resend that failed changed nothing"
    )
    assert len(sandbox.messages()) == 3


@needs_store
def test_a_finished_bulk_send_needs_no_callable_of_its_excluded(sandbox):
    store, listed = Store(), [LISTED]

    def exclude():
        return [listed.pop()]

    first = send(store, recipients=people(4), exclude=exclude)
    assert send(store, generation=1, recipients=people(4), exclude=exclude) == first
    assert first["excluded"] == 1


@needs_store
def test_a_send_that_has_not_finished_stops_when_its_list_cannot_be_read(sandbox, stop_list):
    sandbox.set_balance(0.006 * 2)
    store, arguments = Store(), {"recipients": people(5), "chunk_size": 1, "concurrency": 1}
    with pytest.raises(Exception, match="402"):
        send(store, **arguments)
    stop_list.unlink()
    with pytest.raises(AirflowException, match="does not exist on this worker, and nothing was sent"):
        send(store, **arguments)
    assert len(sandbox.messages()) == 2


def test_who_says_stop_while_a_bulk_send_waits_half_way_is_not_texted(sandbox, stop_list, monkeypatch):
    stop_list.write_text("")
    set_clock(monkeypatch, lambda: at(20 if sandbox.messages() else 19))
    store = Store()
    arguments = {"recipients": people(4), "chunk_size": 1, "concurrency": 1, "send_window": DAY}
    with pytest.raises(TaskDeferred):
        send(store, **arguments)
    (texted,) = times_texted(sandbox)
    stop_list.write_text(f"{texted}\n+250780000004\n")
    set_clock(monkeypatch, at(8, day=25))
    result = send(store, **arguments)
    assert (result["accepted"], result["excluded"]) == (3, 1)  # who was texted before stays accepted
    assert "+250780000004" not in times_texted(sandbox)


def test_who_says_stop_while_a_task_waits_for_its_window_is_not_texted(sandbox, stop_list, monkeypatch):
    stop_list.write_text("")
    set_clock(monkeypatch, at(22))
    run = sms(send_window=DAY)
    store = Store()
    for waits in (run.run, lambda: send(store, recipients=people(3), send_window=DAY)):
        with pytest.raises(TaskDeferred):
            waits()
    stop_list.write_text(f"{LISTED}\n")
    set_clock(monkeypatch, at(8, day=25))
    with pytest.raises(AirflowSkipException, match="suppression_list"):
        run.run()
    assert send(store, recipients=people(3), send_window=DAY)["excluded"] == 1
    assert set(times_texted(sandbox)) == {"+250780000001", "+250780000003"}
