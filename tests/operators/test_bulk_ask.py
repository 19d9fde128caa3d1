"""A bulk send that asks a person about its unknown recipients, and what each answer does."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_3_PLUS

from airflow_provider_pindo._bulk.batch_entry import settle_rows
from airflow_provider_pindo._ledger.entry import Settlement
from airflow_provider_pindo.api.errors import PindoInsufficientBalanceError
from airflow_provider_pindo.operators.sms import PindoSendBulkSmsOperator
from tests.operators.bulk import (
    COLUMNS,
    PERSONAL,
    Store,
    answer,
    at,
    columns_in,
    context,
    people,
    report,
    send,
    times_texted,
)

if not AIRFLOW_V_3_3_PLUS:
    pytest.skip("a task can park itself from Airflow 3.3 on", allow_module_level=True)

from airflow.sdk.exceptions import TaskAwaitingInput

pytestmark = pytest.mark.usefixtures("an_entry_for_each_chunk")
ARGUMENTS = {"recipients": people(6), "chunk_size": 2, "concurrency": 1, "on_unknown": "ask"}
EVERYBODY = Counter({each["phonenumber"]: 1 for each in people(6)})
LEAVE = "Leave it failed"


@pytest.fixture(autouse=True)
def forms(monkeypatch):
    """The forms that Airflow was asked to show."""
    shown = []
    monkeypatch.setattr(
        "airflow.sdk.execution_time.hitl.upsert_hitl_detail", lambda **form: shown.append(form)
    )
    return shown


def event(option, arrived="", who="Aline"):
    """Return what Airflow resumes the task with."""
    return {
        "chosen_options": [option],
        "params_input": {"arrived": arrived},
        "responded_at": datetime(2026, 11, 30, 8, tzinfo=UTC),
        "responded_by_user": {"id": "7", "name": who},
        "timedout": False,
    }


def park(store, generation=0, **arguments):
    with pytest.raises(TaskAwaitingInput) as parked:
        send(store, generation, **{**ARGUMENTS, **arguments})
    return parked.value


def parked_send(sandbox, fault="drop_after", skip=1, **arguments):
    """Return the store of a send that asks about the rows 3 and 4."""
    store = Store()
    sandbox.add_fault(fault, call="send_bulk_sms", skip=skip)
    park(store, **arguments)
    return store


def test_it_sends_to_the_others_then_asks_and_parks(sandbox, forms, caplog):
    with caplog.at_level(logging.INFO):
        parked_send(sandbox)
    assert set(times_texted(sandbox).values()) == {1}
    assert len(sandbox.messages()) == 6
    (form,) = forms
    assert form["options"] == ["All arrived", "None arrived: send to them", "Some arrived", LEAVE]
    assert form["params"]["arrived"]["value"] == ""
    lines = [record.getMessage() for record in caplog.records]
    assert any(line.startswith("row 3 (+25078****003): ") for line in lines)
    assert any(line.startswith("row 4 (+25078****004): ") for line in lines)
    assert "Sent to all others: 4 accepted, 0 rejected, 2 unknown, 0 not sent" in caplog.text
    assert "http://airflow/dags/d/runs/r/tasks/t/required_actions" in caplog.text
    assert "+250780000003" not in caplog.text


def test_it_parks_for_as_long_as_ask_timeout_says_and_tells_the_notifiers(sandbox):
    told = []
    sandbox.add_fault("drop_after", call="send_bulk_sms")
    parked = park(Store(), ask_timeout=timedelta(hours=1), ask_notifiers=[told.append])
    assert (parked.method_name, parked.timeout) == ("execute_answer", timedelta(hours=1))
    assert told[0]["question_url"].endswith("/required_actions")


def test_the_form_names_no_row_number_time_or_reason(sandbox, forms):
    parked_send(sandbox)
    parked_send(sandbox, skip=0, recipients=people(2))
    assert forms[0] == forms[1]
    assert "connection" not in forms[0]["body"]
    assert "+250" not in forms[0]["body"]


def test_all_arrived_counts_them_as_accepted_and_sends_to_nobody(sandbox):
    store = parked_send(sandbox)
    result = answer(store, event("All arrived"), **ARGUMENTS)
    assert (result["accepted"], result["unknown"]) == (6, 0)
    assert times_texted(sandbox) == EVERYBODY
    assert store.get("pindo_bulk_00002")["settled"] == [
        {"by": "person", "who": "Aline", "at": "2026-11-30T08:00:00+00:00", "arrived": "3-4"}
    ]
    assert send(store, generation=1, **ARGUMENTS) == result, "a clear returns the first result"


def test_none_arrived_sends_to_them_once(sandbox):
    store = parked_send(sandbox, "drop_before")
    assert len(sandbox.messages()) == 4
    assert answer(store, event("None arrived: send to them"), **ARGUMENTS)["accepted"] == 6
    assert times_texted(sandbox) == EVERYBODY
    assert store.get("pindo_bulk_00002")["settled"][0]["not_arrived"] == "3-4"


def test_some_arrived_sends_to_the_others(sandbox, monkeypatch):
    counted = []
    monkeypatch.setattr(
        "airflow_provider_pindo.operators.bulk.count_settled", lambda *what: counted.append(what)
    )
    store = parked_send(sandbox, "drop_before")
    result = answer(store, event("Some arrived", "4"), **ARGUMENTS)
    assert result["accepted"] == 6
    assert times_texted(sandbox) == EVERYBODY - Counter(["+250780000004"])
    settled = store.get("pindo_bulk_00002")["settled"][0]
    assert (settled["arrived"], settled["not_arrived"]) == ("4", "3")
    assert counted == [("person", 2)], "the metrics count who was settled"


def test_leave_it_failed_fails_and_a_clear_asks_again(sandbox):
    store = parked_send(sandbox)
    before = store.all()
    with pytest.raises(AirflowFailException, match="Aline answered 'Leave it failed'") as failed:
        answer(store, event(LEAVE), **ARGUMENTS)
    what, next_step = str(failed.value).split("\n")
    assert "Outcome unknown for 2 of 6 recipients: row 3 (+25078****003), row 4 (+25078****004), " in what
    assert next_step.startswith(
        "To be asked again, clear the task. Or choose Arrived or Did not arrive in the Pindo tab"
    )
    assert "pindo_bulk_00002" in next_step
    assert store.all() == before
    park(store, generation=1)
    assert len(sandbox.messages()) == 6


def test_no_answer_in_time_fails_as_fail_does(sandbox):
    store = parked_send(sandbox)
    with pytest.raises(
        AirflowFailException, match=r"Nobody answered within 7 days, 0:00:00\. Outcome unknown for 2"
    ):
        answer(store, {"error": "the time has passed", "error_type": "timeout"}, **ARGUMENTS)


@pytest.mark.parametrize(
    ("option", "arrived", "problem"),
    [
        ("Some arrived", "", "arrived is empty"),
        ("Some arrived", "the first", "'the' in arrived is not a row"),
        ("Some arrived", "3-5", "row 5, whose outcome is not unknown. The unknown rows are 3-4"),
        ("None arrived: send to them", "3", "arrived names rows"),
    ],
)
def test_an_answer_that_is_not_clear_sends_nothing_and_the_question_is_asked_again(
    sandbox, forms, caplog, option, arrived, problem
):
    store = parked_send(sandbox, "drop_before")
    before, requests = store.get("pindo_bulk_00002"), len(sandbox.requests())
    with pytest.raises(TaskAwaitingInput), caplog.at_level(logging.WARNING):
        answer(store, event(option, arrived), **ARGUMENTS)
    assert "The answer of Aline was not applied, and nothing was sent: " in caplog.text
    assert problem in caplog.text
    assert (store.get("pindo_bulk_00002"), len(sandbox.requests())) == (before, requests)
    assert forms[0] == forms[1]
    assert answer(store, event("None arrived: send to them"), **ARGUMENTS)["accepted"] == 6
    assert times_texted(sandbox) == EVERYBODY


@pytest.mark.parametrize("option", ["Some arrived", "Leave it failed"])
def test_an_answer_about_nobody_lets_the_send_go_on(sandbox, option):
    store = parked_send(sandbox, "drop_before")
    store.settle("not_sent")
    assert answer(store, event(option, "3"), **ARGUMENTS)["accepted"] == 6
    assert times_texted(sandbox) == EVERYBODY


def test_a_second_unknown_asks_again(sandbox):
    store = parked_send(sandbox, "drop_before")
    sandbox.add_fault("drop_after", call="send_bulk_sms")
    with pytest.raises(TaskAwaitingInput):
        answer(store, event("Some arrived", "3"), **ARGUMENTS)
    result = answer(store, event("All arrived", who="Keza"), **ARGUMENTS)
    assert result["accepted"] == 6
    assert times_texted(sandbox) == EVERYBODY - Counter(["+250780000003"])
    settled = store.get("pindo_bulk_00002")["settled"]
    assert [(each["who"], each.get("arrived"), each.get("not_arrived")) for each in settled] == [
        ("Aline", "3", None),
        ("Keza", "4", None),
    ]


def test_an_answer_that_airflow_delivers_twice_counts_once(sandbox, caplog):
    """The first delivery sends to row 3, and its response is lost. The second is not about that request."""
    store = parked_send(sandbox, "drop_before")
    question = store.get("pindo_bulk")["question"]
    sandbox.add_fault("drop_after", call="send_bulk_sms")
    with pytest.raises(TaskAwaitingInput):
        answer(store, event("Some arrived", "4"), **ARGUMENTS)
    operator = PindoSendBulkSmsOperator(task_id="text_all", text="Muraho @contact.name", **ARGUMENTS)
    with pytest.raises(TaskAwaitingInput), caplog.at_level(logging.WARNING):
        operator.execute_answer(context(store), event("None arrived: send to them"), question)
    assert "The answer is not used: the send has gone on since the question" in caplog.text
    assert answer(store, event("All arrived"), **ARGUMENTS)["accepted"] == 6
    assert times_texted(sandbox) == EVERYBODY - Counter(["+250780000004"])


def test_an_answer_from_before_a_retry_is_not_used(sandbox):
    store = parked_send(sandbox, "drop_before")
    question = store.get("pindo_bulk")["question"]
    park(store)
    requests = len(sandbox.requests())
    operator = PindoSendBulkSmsOperator(task_id="text_all", text="Muraho @contact.name", **ARGUMENTS)
    with pytest.raises(TaskAwaitingInput):
        operator.execute_answer(context(store), event("None arrived: send to them"), question)
    assert len(sandbox.requests()) == requests


def test_the_answer_is_in_the_ledger_before_anybody_is_sent_to(sandbox):
    """The wallet is empty when the send goes on: the next try needs no further answer."""
    store = parked_send(sandbox, "drop_before")
    sandbox.add_fault("status", call="send_bulk_sms", status=402)
    with pytest.raises(PindoInsufficientBalanceError):
        answer(store, event("Some arrived", "3"), **ARGUMENTS)
    assert store.get("pindo_bulk_00002")["settled"][0]["who"] == "Aline"
    assert send(store, **ARGUMENTS)["accepted"] == 6
    assert times_texted(sandbox) == EVERYBODY - Counter(["+250780000003"])


def test_an_answer_that_is_not_stored_sends_nothing(sandbox, monkeypatch):
    store = parked_send(sandbox, "drop_before")
    requests = len(sandbox.requests())

    def fail(*_, **__):
        raise ConnectionError("Airflow does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(store, "set", fail)
        with pytest.raises(ConnectionError):
            answer(store, event("None arrived: send to them"), **ARGUMENTS)
    assert len(sandbox.requests()) == requests
    park(store)


def test_what_was_settled_while_it_waited_counts(sandbox):
    """The page settled row 3. The answer is about row 4 alone."""
    store = parked_send(sandbox, "drop_before")
    entry = store.get("pindo_bulk_00002")
    store.set("pindo_bulk_00002", settle_rows(entry, {3}, (), Settlement("page", "Keza", "2026-11-30")))
    with pytest.raises(TaskAwaitingInput):
        answer(store, event("Some arrived", "3"), **ARGUMENTS)
    assert answer(store, event("None arrived: send to them"), **ARGUMENTS)["accepted"] == 6
    assert times_texted(sandbox) == EVERYBODY - Counter(["+250780000003"])


@pytest.mark.parametrize(
    "late", [event("None arrived: send to them"), {"error": "the time has passed", "error_type": "timeout"}]
)
def test_it_goes_on_when_all_were_settled_while_it_waited(sandbox, late):
    store = parked_send(sandbox)
    store.settle("sent")
    assert answer(store, late, **ARGUMENTS)["accepted"] == 6
    assert times_texted(sandbox) == EVERYBODY


def test_what_was_settled_after_it_counted_as_accepted_is_taken_up(sandbox):
    """A send that ended with on_unknown='accept' goes on when somebody settles one of its rows on the page."""
    store, arguments = Store(), {**ARGUMENTS, "on_unknown": "accept"}
    sandbox.add_fault("drop_before", call="send_bulk_sms", skip=1)
    first = send(store, **arguments)
    assert send(store, generation=1, **arguments) == first
    entry = store.get("pindo_bulk_00002")
    store.set("pindo_bulk_00002", settle_rows(entry, (), {3}, Settlement("page", "Keza", "2026-11-30")))
    result = send(store, generation=2, **arguments)
    assert (result["accepted"], result["unknown"]) == (5, 1)
    assert send(store, generation=3, **arguments) == result
    assert times_texted(sandbox) == EVERYBODY - Counter(["+250780000004"])


def test_an_entry_that_was_changed_is_not_asked_about(sandbox, forms):
    store = parked_send(sandbox)
    store.set("pindo_bulk_00002", {**store.get("pindo_bulk_00002"), "accepted": 1})
    with pytest.raises(AirflowFailException, match="First restore an entry"):
        send(store, generation=1, **ARGUMENTS)
    assert len(forms) == 1


@pytest.mark.parametrize("change", [{"accepted": 1}, {"of": "0123456789abcdef/7"}])
def test_an_entry_that_was_changed_while_it_waited_takes_no_answer(sandbox, change):
    store = parked_send(sandbox, "drop_before")
    store.set("pindo_bulk_00002", {**store.get("pindo_bulk_00002"), **change})
    before, requests = store.all(), len(sandbox.requests())
    with pytest.raises(
        AirflowFailException, match="'pindo_bulk_00002' is not as the task wrote it, so no answer"
    ):
        answer(store, event("None arrived: send to them"), **ARGUMENTS)
    assert (store.all(), len(sandbox.requests())) == (before, requests)


def test_a_header_that_was_changed_while_it_waited_takes_no_answer(sandbox):
    store = parked_send(sandbox)
    store.set("pindo_bulk", {**store.get("pindo_bulk"), "given": 4})
    with pytest.raises(AirflowFailException, match="Restore its value if you have it"):
        answer(store, event("All arrived"), **ARGUMENTS)


def test_another_list_after_the_answer_sends_nothing_as_at_a_retry(sandbox):
    store = parked_send(sandbox, "drop_before")
    requests = len(sandbox.requests())
    with pytest.raises(AirflowFailException, match="Its recipients, text or sender have changed since"):
        answer(store, event("None arrived: send to them"), **{**ARGUMENTS, "recipients": people(7)})
    assert len(sandbox.requests()) == requests
    assert answer(store, event("All arrived"), **ARGUMENTS)["accepted"] == 6, "the first answer is kept"
    assert times_texted(sandbox) == EVERYBODY


def test_a_stop_fails_first_and_the_next_try_sends_to_the_rest_and_asks(sandbox):
    store = Store()
    sandbox.add_fault("drop_after", call="send_bulk_sms")
    sandbox.add_fault("status", call="send_bulk_sms", status=402, skip=1)
    with pytest.raises(PindoInsufficientBalanceError, match="a person is asked about the unknown") as stopped:
        send(store, **ARGUMENTS)
    assert columns_in(stopped.value) == dict(zip(COLUMNS, (2, 0, 2, 2, 0, 0), strict=True))
    park(store)
    assert answer(store, event("All arrived"), **ARGUMENTS)["accepted"] == 6
    assert times_texted(sandbox) == EVERYBODY


def test_who_is_excluded_since_the_question_is_not_sent_to(sandbox):
    store = parked_send(sandbox, "drop_before")
    arguments = {**ARGUMENTS, "exclude": ["+250780000003"]}
    result = answer(store, event("None arrived: send to them"), **arguments)
    assert (result["accepted"], result["excluded"]) == (5, 1)
    assert times_texted(sandbox) == EVERYBODY - Counter(["+250780000003"])


def test_texts_that_go_out_one_by_one_are_settled_in_the_same_way_and_the_report_has_everybody(
    sandbox, tmp_path
):
    path, store = tmp_path / "report.csv", Store()
    arguments = {
        "recipients": people(5, time=at),
        "text": PERSONAL,
        "report_path": str(path),
        "on_unknown": "ask",
    }
    for row in (2, 4):
        sandbox.add_fault("drop_after", to=f"+25078{row:07}")
    with pytest.raises(TaskAwaitingInput):
        send(store, **arguments)
    assert [each["outcome"] for each in report(path)] == ["accepted", "unknown"] * 2 + ["accepted"]
    result = answer(store, event("Some arrived", "2, 4"), **arguments)
    assert result["accepted"] == 5
    assert [each["outcome"] for each in report(path)] == ["accepted"] * 5
    assert set(times_texted(sandbox).values()) == {1}
