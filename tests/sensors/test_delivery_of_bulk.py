"""The delivery of messages that went out together: a row takes the one `sent` event that can be of its message."""

from __future__ import annotations

import time
import tracemalloc
from datetime import UTC, datetime, timedelta

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSensorTimeout
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_3_PLUS

from airflow_provider_pindo._ledger.evidence import message_fingerprint
from airflow_provider_pindo.api.errors import PindoInsufficientBalanceError
from tests.operators.bulk import HALVES, Store, people, post_sent, report, send

if not AIRFLOW_V_3_3_PLUS:
    pytest.skip("only a send with a ledger names its messages", allow_module_level=True)

from airflow_provider_pindo._ledger import evidence
from airflow_provider_pindo.plugins import _event_table, _events
from airflow_provider_pindo.sensors.delivery import _read_report
from tests.sensors.delivery_task import Task, later

CLAIMING, OVERLAP = _events._CLAIMING, _event_table.OVERLAP
NOBODY = {"delivered": 0, "undelivered": 0, "no_report": 0, "of": 0, "not_delivered": []}


@pytest.fixture(autouse=True)
def quick(webhooks, monkeypatch):
    """An entry of the ledger is there right after the response, and an event is settled soon."""
    monkeypatch.setattr("airflow_provider_pindo.plugins._events._CLAIMING", timedelta(0))
    monkeypatch.setattr(_event_table, "OVERLAP", 0.3)
    monkeypatch.setattr("airflow_provider_pindo.triggers._sent.MIN_WAIT", 0.0)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "report.csv")


def wait(path, **arguments):
    return Task(sms_ids=None, report_path=path, **arguments).run()


def together(path, count=1, store=None, generation=0, **arguments):
    recipients = arguments.pop("recipients", people(count))
    return send(store or Store(), generation, recipients=recipients, report_path=path, **arguments)


def seconds_ago(seconds):
    return (datetime.now(UTC) - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")


def test_each_row_takes_the_event_of_its_message(webhooks, sandbox, mode, path):
    together(path, 4)
    assert [row["sms_id"] for row in report(path)] == [""] * 4
    for number, message in enumerate(sandbox.messages(), 1):
        post_sent(webhooks, message, sms_id=number, sender=None if number == 1 else "PindoTest")
    for number in (1, 2, 3):
        webhooks.report(number, "UNDELIV" if number == 2 else "DELIVRD")
    later(webhooks.report, 4)
    result = wait(path, **mode)
    assert result == {
        "delivered": 3,
        "undelivered": 1,
        "no_report": 0,
        "of": 4,
        "not_delivered": [{"sms_id": "2", "status": "UNDELIV", "modified_at": "2026-06-10T09:04:31+00:00"}],
    }
    sent = [request for request in webhooks.requests if request["kinds"] == ["sent"]]
    # A trigger only sees that there are events. The task reads those that no entry names.
    unclaimed = {request.get("unclaimed", False) for request in sent}
    assert {True} <= unclaimed <= ({True, False} if mode["deferrable"] else {True})


def test_an_event_and_its_report_may_come_late(webhooks, sandbox, mode, path):
    together(path, 2)
    webhooks.reports("out_001", "out_002")
    first, second = sandbox.messages()
    post_sent(webhooks, first)
    later(post_sent, webhooks, second, created_at=seconds_ago(1))
    assert wait(path, **mode) == {**NOBODY, "delivered": 2, "of": 2}


def test_equal_personal_texts_that_went_out_together_have_events_too(webhooks, sandbox, path):
    together(path, **HALVES)
    for message in sandbox.messages():
        post_sent(webhooks, message)
        webhooks.report(f"out_{message['to'][-3:]}")
    assert wait(path) == {**NOBODY, "delivered": 6, "of": 6}


@pytest.mark.parametrize(
    "events",
    [
        [],
        [{}, {"sms_id": "another"}],
        [{"created_at": seconds_ago(3600)}],
        [{"sender": "Another"}],
        [{"text": "Murabeho"}],
        [{"to": "+250789999999"}],
    ],
    ids=["none", "two", "early", "sender", "text", "number"],
)
def test_a_row_without_exactly_one_event_has_no_report_and_is_never_undelivered(
    webhooks, sandbox, mode, path, events
):
    together(path)
    for event in events:
        post_sent(webhooks, sandbox.messages()[0], **event)
    webhooks.reports("out_001", "another", status="UNDELIV")
    result = wait(path, timeout=0.7, on_no_report="report", **mode)
    assert result == {**NOBODY, "no_report": 1, "of": 1}
    with pytest.raises(AirflowSensorTimeout):
        wait(path, timeout=0.3, **mode)


def test_an_event_that_came_twice_is_one(webhooks, sandbox, path):
    together(path)
    for _ in range(2):
        post_sent(webhooks, sandbox.messages()[0])
    webhooks.report("out_001")
    assert wait(path) == {**NOBODY, "delivered": 1, "of": 1}


def test_a_row_keeps_its_event_when_another_one_comes_later(webhooks, sandbox, mode, path, monkeypatch):
    monkeypatch.setattr("airflow_provider_pindo._ledger.evidence._AMBIGUITY_WINDOW", timedelta(seconds=0.2))
    together(path)
    post_sent(webhooks, sandbox.messages()[0])
    time.sleep(0.4)
    post_sent(webhooks, sandbox.messages()[0], sms_id="another")
    webhooks.report("another", "UNDELIV")
    later(webhooks.report, "out_001")
    assert wait(path, **mode) == {**NOBODY, "delivered": 1, "of": 1}


def test_a_row_takes_no_event_while_another_one_may_follow(webhooks, sandbox, mode, path, monkeypatch):
    monkeypatch.setattr(_event_table, "OVERLAP", 1.5)
    together(path)
    post_sent(webhooks, sandbox.messages()[0])
    webhooks.report("out_001")
    later(post_sent, webhooks, sandbox.messages()[0], sms_id="another", seconds=0.7)
    assert wait(path, timeout=2.5, on_no_report="report", **mode) == {**NOBODY, "no_report": 1, "of": 1}


def test_a_deferrable_task_uses_a_worker_only_when_there_are_events(webhooks, sandbox, path):
    together(path, 3)
    first, *others = sandbox.messages()
    post_sent(webhooks, first)
    webhooks.reports("out_001", "out_002", "out_003")

    def post_others():
        for message in others:
            post_sent(webhooks, message)

    task = Task(sms_ids=None, report_path=path, deferrable=True)
    task.later(post_others)
    assert task.run() == {**NOBODY, "delivered": 3, "of": 3}
    assert len(task.deferrals) == 1


def test_a_deferrable_task_does_not_come_back_for_events_that_it_knows(webhooks, sandbox, path):
    together(path)
    for sms_id in ("one", "two"):
        post_sent(webhooks, sandbox.messages()[0], sms_id=sms_id)
    task = Task(sms_ids=None, report_path=path, deferrable=True, timeout=2.5, on_no_report="report")
    assert task.run() == {**NOBODY, "no_report": 1, "of": 1}
    assert len(task.deferrals) <= 2


def test_a_deferrable_task_does_not_come_back_while_the_ledgers_claims_are_unknown(
    webhooks, sandbox, path, monkeypatch
):
    monkeypatch.setattr("airflow_provider_pindo.plugins._claims.claimed_ids", lambda *_: None)
    together(path)
    post_sent(webhooks, sandbox.messages()[0])
    webhooks.report("out_001")
    time.sleep(_event_table.OVERLAP)
    task = Task(sms_ids=None, report_path=path, deferrable=True, timeout=1.5, on_no_report="report")
    assert task.run() == {**NOBODY, "no_report": 1, "of": 1}
    assert len(task.deferrals) == 1


def test_events_count_as_soon_as_the_ledgers_claims_are_known(webhooks, sandbox, mode, path, monkeypatch):
    together(path)
    post_sent(webhooks, sandbox.messages()[0])
    webhooks.report("out_001")
    time.sleep(_event_table.OVERLAP)
    with monkeypatch.context() as patch:
        patch.setattr("airflow_provider_pindo.plugins._claims.claimed_ids", lambda *_: None)
        later(patch.undo)
        assert wait(path, timeout=3, on_no_report="report", **mode) == {**NOBODY, "delivered": 1, "of": 1}


def test_no_event_is_passed_over_when_the_claims_of_the_second_page_are_unknown(
    webhooks, sandbox, path, monkeypatch
):
    together(path, 2)
    for message in sandbox.messages():
        post_sent(webhooks, message)
    webhooks.reports("out_001", "out_002")
    time.sleep(_event_table.OVERLAP)
    claims = [set(), None]
    monkeypatch.setattr(_event_table, "_MAX_PAGE_BYTES", 1)
    monkeypatch.setattr(
        "airflow_provider_pindo.plugins._claims.claimed_ids", lambda *_: claims.pop(0) if claims else set()
    )
    assert wait(path) == {**NOBODY, "delivered": 2, "of": 2}
    assert claims == []


def test_two_rows_with_the_same_message_take_no_event(webhooks, sandbox, mode, path):
    together(path, recipients=people(1) * 2 + people(2)[1:], text="Muraho", on_duplicate="send")
    for number, message in enumerate(sandbox.messages(), 1):
        post_sent(webhooks, message, sms_id=number)
        webhooks.report(number)
    with pytest.raises(AirflowFailException, match="no sms_id for 2 of 3 messages"):
        wait(path, **mode)
    result = wait(path, on_no_report="report", **mode)
    assert result == {**NOBODY, "delivered": 1, "no_report": 2, "of": 3}


def test_a_row_whose_message_may_be_that_of_an_unknown_row_takes_no_event(webhooks, sandbox, path):
    sandbox.add_fault("drop_before", call="texts", times=1)
    arguments = {"chunk_size": 1, "concurrency": 1, "on_duplicate": "send", "on_unknown": "accept"}
    # The task does not wait for evidence where a callable would have to return the list again.
    result = together(path, recipients=lambda: people(1) * 2, text="Muraho", **arguments)
    assert (result["accepted"], result["unknown"]) == (1, 1)
    post_sent(webhooks, sandbox.messages()[0])
    webhooks.report("out_001")
    assert wait(path, on_no_report="report") == {**NOBODY, "no_report": 1, "of": 1}


def test_a_message_that_was_sent_again_takes_the_event_of_the_second_send(webhooks, sandbox, path):
    store = Store()
    together(path, store=store)
    post_sent(webhooks, sandbox.messages()[0], sms_id="first", created_at=seconds_ago(30))
    together(path, store=store, generation=1, resend=True)
    post_sent(webhooks, sandbox.messages()[1], sms_id="second")
    webhooks.report("first", "UNDELIV")
    webhooks.report("second")
    assert wait(path) == {**NOBODY, "delivered": 1, "of": 1}


def test_a_later_try_writes_the_report_with_the_times_of_the_first(webhooks, sandbox, path):
    store = Store()
    sandbox.set_balance(0.012)
    with pytest.raises(PindoInsufficientBalanceError):
        together(path, 4, store, chunk_size=2, concurrency=1)
    written = [row["evidence"] for row in report(path)]
    assert [bool(evidence) for evidence in written] == [True, True, False, False]
    sandbox.top_up(1)
    together(path, 4, store, chunk_size=2, concurrency=1)
    rewritten = [row["evidence"] for row in report(path)]
    assert rewritten[:2] == written[:2]
    assert all(rewritten)


def test_a_second_look_reads_new_events_only(webhooks, sandbox, path):
    together(path, 2)
    first, second = sandbox.messages()
    post_sent(webhooks, first)
    later(post_sent, webhooks, second)
    webhooks.reports("out_001", "out_002")
    assert wait(path)["delivered"] == 2
    after = [request["after"] for request in webhooks.requests if request["kinds"] == ["sent"]]
    assert after[0] == 0
    assert after[-1] > 0


def test_the_report_lets_nobody_test_a_guess_of_the_text(webhooks, sandbox, path):
    together(path)
    [row], [message] = report(path), sandbox.messages()
    digest, moment, sender = row["evidence"].split(" ", 2)
    assert sender == "PindoTest"
    assert abs(datetime.fromisoformat(moment) - datetime.now(UTC)) < timedelta(seconds=30)
    assert digest != message_fingerprint(message["to"], message["text"])


def test_a_report_has_no_such_column_where_nothing_would_read_it(webhooks, path, monkeypatch):
    together(path, track_delivery=True)
    assert "evidence" not in report(path)[0]
    monkeypatch.setenv("AIRFLOW__PINDO__WEBHOOKS", "False")
    together(path)
    assert list(report(path)[0]) == ["row", "phonenumber", "name", "outcome", "reason", "sms_id"]


def test_a_deferrable_task_in_airflow_looks_again_until_the_events_are_there(
    webhooks, sandbox, run_dag, path
):
    def deliver():
        for message in sandbox.messages():
            post_sent(webhooks, message)
            webhooks.report(f"out_{message['to'][-3:]}")

    def deliver_once_it_looks():
        while not webhooks.requests:
            time.sleep(0.1)
        later(deliver)

    later(deliver_once_it_looks)
    run = run_dag(
        f"""
from datetime import datetime
from airflow.sdk import DAG
from airflow_provider_pindo.operators.sms import PindoSendBulkSmsOperator
from airflow_provider_pindo.sensors.delivery import PindoDeliverySensor

with DAG("DAG_ID", schedule=None, start_date=datetime(2026, 1, 1)) as dag:
    PindoSendBulkSmsOperator(
        task_id="send", recipients={people(2)}, text="Muraho @contact.name", report_path={path!r}
    ) >> PindoDeliverySensor(
        task_id="wait", report_path={path!r}, poke_interval=0.5, timeout=60, deferrable=True
    )
"""
    )
    assert run.state == "success"
    assert len([request for request in webhooks.requests if request["kinds"] == ["sent"]]) > 1


@pytest.mark.parametrize(
    "evidence", ["", "0123456789abcdef", "0123456789abcdef - PindoTest", "a 2026-11-30 b"]
)
def test_a_row_whose_time_is_not_known_is_not_waited_for(webhooks, path, tmp_path, evidence):
    (tmp_path / "report.csv").write_text(
        f"row,phonenumber,name,outcome,reason,sms_id,evidence\n1,+250780000001,A,accepted,,,{evidence}\n"
    )
    assert wait(path, on_no_report="report") == {**NOBODY, "no_report": 1, "of": 1}
    assert webhooks.requests == []


def test_an_event_is_settled_after_every_other_that_may_be_of_its_message_is_seen():
    assert evidence._AMBIGUITY_WINDOW + CLAIMING + timedelta(seconds=5) <= timedelta(seconds=OVERLAP)


def test_a_long_report_needs_little_memory(tmp_path):
    path, rows = tmp_path / "report.csv", 20_000
    began = "2026-11-30T08:00:00+00:00"
    with path.open("w") as file:
        file.write("row,outcome,sms_id,evidence\n")
        file.writelines(f"{row},accepted,,{row:016x} {began} PindoTest\n" for row in range(rows))
    _read_report(str(path))  # what is loaded once does not count
    tracemalloc.start()
    try:
        ids, messages, unnamed = _read_report(str(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (ids, len(messages), unnamed) == ([], rows, 0)
    assert peak / rows < 260
