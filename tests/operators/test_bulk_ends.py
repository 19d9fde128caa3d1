"""How a bulk send ends before its end: killed, told to end, timed out, without a ledger, by what nobody foresaw."""

from __future__ import annotations

import csv
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_pindo._bulk import run as bulk
from airflow_provider_pindo._bulk.bulk_ledger import BulkLedger
from airflow_provider_pindo._bulk.sender import BulkSender
from airflow_provider_pindo._bulk.totals import Report
from airflow_provider_pindo.api.errors import (
    PindoError,
    PindoInsufficientBalanceError,
    PindoStoppedError,
)
from airflow_provider_pindo.hooks.pindo import PindoAsyncHook
from airflow_provider_pindo.operators.sms import PindoSendBulkSmsOperator
from airflow_provider_pindo.sandbox.faults import AFTER, BEFORE
from demo.deployment import AIRFLOW_VERSION
from tests.operators.bulk import (
    COLUMNS,
    HALVES,
    PERSONAL,
    Store,
    at,
    columns_in,
    columns_of,
    context,
    people,
    report,
    send,
    times_texted,
)
from tests.versions import HAS_STORE, needs_local_scheme, needs_store

pytestmark = pytest.mark.usefixtures("an_entry_for_each_chunk")
ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("has_left", [False, True])
@pytest.mark.parametrize("personal", [False, True])
def test_an_error_that_is_none_of_pindos_stops_it_and_leaves_everybody_in_one_column(
    sandbox, monkeypatch, has_left, personal
):
    async def fail(hook, call, attempt, send=PindoAsyncHook.send):
        if has_left:
            await send(hook, call, attempt)
        raise ZeroDivisionError(f"cannot send {call.json}")

    store, arguments = Store(), {"recipients": people(300, time=at), "concurrency": 1}
    arguments["text"] = PERSONAL if personal else "Muraho"
    with monkeypatch.context() as patch:
        patch.setattr(PindoAsyncHook, "send", fail)
        with pytest.raises(PindoStoppedError, match=r"^ZeroDivisionError in fail \(") as failed:
            send(store, **arguments)
    shown = "".join(traceback.format_exception(failed.value))
    assert "Muraho" not in shown
    assert "+250780000001" not in shown
    columns = columns_in(failed.value)
    assert columns["unknown"] == len(sandbox.messages()) == (0, 1 if personal else 100)[has_left]
    assert columns["not_sent"] == 300 - columns["unknown"]
    assert ("ZeroDivisionError was raised before" in str(failed.value)) is has_left
    result = send(store, **arguments, on_unknown="accept")
    assert (result["accepted"], result["unknown"]) == (columns["not_sent"], columns["unknown"])
    assert times_texted(sandbox) == Counter({each["phonenumber"]: 1 for each in people(300)})


def test_a_mistake_while_a_chunk_is_begun_stops_it(sandbox, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(BulkLedger, "take", fail)
    with pytest.raises(AirflowException, match="Sending stopped: ZeroDivisionError") as failed:
        send(Store(), recipients=people(500))
    assert columns_in(failed.value)["not_sent"] == 500
    assert sandbox.messages() == []


def test_a_send_that_does_not_end_in_time_still_says_what_earlier_tries_did(sandbox, monkeypatch, caplog):
    """The task is ended while the ledger hangs, and is not waited for."""
    hangs = threading.Event()

    class Hangs(Store):
        ready = False

        def set(self, key, value, *, retention=None):
            if self.ready and key != "pindo_bulk":
                operator.on_kill()
                hangs.wait(30)
            super().set(key, value, retention=retention)

    store = Hangs()
    sandbox.add_fault("drop_before", call="send_bulk_sms", skip=1)
    with pytest.raises(AirflowFailException):
        send(store, **HALVES)
    store.settle("not_sent")
    store.ready = True
    operator = PindoSendBulkSmsOperator(task_id="text_all", **HALVES)

    def end_first(sending, *args, run_in_thread=bulk.run_in_thread):
        threading.Thread(target=run_in_thread, args=(sending, *args), daemon=True).start()
        while sending.stopped is None:
            time.sleep(0.01)
        raise TimeoutError("the grace is over")

    monkeypatch.setattr(bulk, "run_in_thread", end_first)
    try:
        with pytest.raises(TimeoutError, match=r"^the grace is over$"):
            operator.execute.__wrapped__(operator, context(store))
    finally:
        hangs.set()
    ended = next(line for line in caplog.messages if line.startswith("Ended early: "))
    assert columns_of(ended) == dict(zip(COLUMNS, (4, 0, 0, 2, 0, 0), strict=True))


def test_what_fails_before_the_first_request_fails_the_task(sandbox, monkeypatch, caplog):
    def no_loop():
        raise OSError("too many open files")

    monkeypatch.setattr("airflow_provider_pindo._bulk.own_loop._fast_loop", lambda: no_loop)
    with pytest.raises(OSError, match="too many open files"):
        send(Store(), recipients=people(3))
    assert "Ended early: 0 accepted, 0 rejected, 0 unknown, 3 not sent, " in caplog.text


def test_it_needs_no_faster_event_loop(sandbox, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert send(Store(), recipients=people(3))["accepted"] == 3


def test_without_a_ledger_it_still_sends_each_once(sandbox):
    assert send(None, recipients=people(250))["accepted"] == 250
    assert set(times_texted(sandbox).values()) == {1}


class TaskTimeout(BaseException):
    """As Airflow's AirflowTaskTimeout: no Exception."""


def too_many_requests(sandbox, _):
    sandbox.add_fault("rate_limit", call="send_sms", retry_after=3600, times=None, skip=20)


def an_empty_wallet(sandbox, _):
    sandbox.add_fault("status", call="send_sms", status=402, skip=20)


def lost_answers(sandbox, _):
    sandbox.add_fault("drop_after", call="send_sms", times=None, skip=20)


def a_timeout(sandbox, monkeypatch):
    def time_out(*arguments, run_in_thread=bulk.run_in_thread):
        run_in_thread(*arguments)
        raise TaskTimeout("Timeout, PID: 7")

    too_many_requests(sandbox, monkeypatch)
    monkeypatch.setattr(bulk, "run_in_thread", time_out)


def a_report_that_is_not_uploaded(_, monkeypatch):
    def fail(*_):
        raise OSError("upload failed")

    monkeypatch.setattr(Report, "close", fail)


def a_timeout_while_the_report_is_uploaded(_, monkeypatch):
    def time_out(*_):
        raise TaskTimeout

    monkeypatch.setattr(Report, "close", time_out)


ENDS = [
    too_many_requests,
    an_empty_wallet,
    lost_answers,
    a_timeout,
    a_report_that_is_not_uploaded,
    a_timeout_while_the_report_is_uploaded,
]


@pytest.mark.parametrize("end", ENDS)
def test_without_a_ledger_a_try_that_has_texted_somebody_does_not_retry(sandbox, tmp_path, monkeypatch, end):
    end(sandbox, monkeypatch)
    arguments = {"recipients": people(50, time=at), "text": PERSONAL, "concurrency": 1, "chunk_size": 10}
    with pytest.raises(AirflowFailException, match="keeps no ledger") as failed:
        send(None, report_path=str(tmp_path / "report.csv"), **arguments)
    columns = columns_in(failed.value)
    assert columns["accepted"] + columns["unknown"] == len(sandbox.messages()) >= 20
    assert str(failed.value).count(" accepted, ") == 1
    assert "Task State Store" not in str(failed.value)
    texted = times_texted(sandbox)
    monkeypatch.undo()
    monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", sandbox.connection_json())
    sandbox.clear_faults()
    send(None, exclude=[*texted], **arguments)
    assert set(times_texted(sandbox).values()) == {1}


def test_without_a_ledger_a_try_that_has_texted_nobody_retries(sandbox):
    sandbox.add_fault("rate_limit", call="send_bulk_sms", retry_after=3600, times=None)
    with pytest.raises(PindoError, match="429") as stopped:
        send(None, recipients=people(50))
    assert stopped.value.retry_helps


@pytest.mark.parametrize(("skip", "retries"), [(0, True), (1, False)])
def test_without_a_ledger_resend_repeats_those_who_are_unknown_as_long_as_they_are_all(
    sandbox, skip, retries
):
    sandbox.add_fault("drop_after", call="send_bulk_sms", skip=skip, times=None)
    with pytest.raises(AirflowException) as failed:
        send(None, recipients=people(20), chunk_size=10, concurrency=1, on_unknown="resend")
    assert isinstance(failed.value, AirflowFailException) is not retries


def test_every_fault_at_random_and_the_columns_still_tell_the_truth(sandbox, tmp_path, monkeypatch):
    connection = json.loads(sandbox.connection_json())
    connection["extra"]["timeout"] = 0.5
    monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", json.dumps(connection))
    monkeypatch.setattr("airflow_provider_pindo._bulk.breaker.UNKNOWN_IN_A_ROW", 50)
    details = {
        "latency": {"seconds": 0.05},
        "slow_answer": {"seconds": 1.0},
        "status": {"status": 409},
        "status_after": {"status": 502},
        "rate_limit": {"retry_after": 0},
        "redirect": {"location": "/elsewhere", "probability": 0.0005},
    }
    for action in {**BEFORE, **AFTER}:
        sandbox.add_fault(
            action, call="send_sms", **{"times": None, "probability": 0.004, **details.get(action, {})}
        )
    sandbox.add_fault("status", call="send_sms", status=401, times=2, skip=1500)
    store, path = Store(), tmp_path / "report.csv"
    arguments = {"recipients": people(5000, time=at), "text": PERSONAL, "report_path": str(path)}
    for _ in range(30):
        try:
            result = send(store, on_unknown="accept", **arguments)
            break
        except (AirflowException, PindoError) as error:
            columns_in(error)
    outcomes = {each["phonenumber"]: each["outcome"] for each in report(path)}
    texted = times_texted(sandbox)
    assert len(outcomes) == 5000
    assert set(texted.values()) == {1}
    assert {number for number, outcome in outcomes.items() if outcome == "accepted"} <= set(texted)
    assert not {number for number, outcome in outcomes.items() if outcome == "rejected"} & set(texted)
    counts = Counter(outcomes.values())
    assert (counts["accepted"], counts["rejected"], counts["unknown"]) == (
        result["accepted"],
        result["rejected"],
        result["unknown"],
    )
    assert counts["unknown"] > 20
    assert counts["rejected"] > 5


def test_a_task_that_is_told_to_end_while_its_requests_wait_has_not_sent_them(sandbox):
    sandbox.add_fault("rate_limit", call="send_sms", retry_after=30, times=None, skip=20)
    store, arguments = Store(), {"recipients": people(50, time=at), "text": PERSONAL}
    operator = PindoSendBulkSmsOperator(task_id="text_all", **arguments)

    def end_it():
        while len(sandbox.requests(call="send_sms")) < 21:
            time.sleep(0.02)
        operator.on_kill()

    ending = threading.Thread(target=end_it)
    ending.start()
    with pytest.raises(PindoError, match="asked to end") as ended:
        operator.execute.__wrapped__(operator, context(store))
    ending.join()
    columns = columns_in(ended.value)
    assert (columns["accepted"], columns["not_sent"], len(sandbox.messages())) == (20, 30, 20)
    sandbox.clear_faults()
    assert send(store, **arguments)["accepted"] == 50
    assert set(times_texted(sandbox).values()) == {1}


def test_a_task_that_is_told_to_end_before_it_began_sends_nothing(sandbox, monkeypatch):
    operator = PindoSendBulkSmsOperator(task_id="text_all", recipients=people(50), text="Muraho")
    operator.on_kill()  # not even begun

    def end_first(sending, *args, run_in_thread=bulk.run_in_thread):
        operator.on_kill()
        run_in_thread(sending, *args)

    monkeypatch.setattr(bulk, "run_in_thread", end_first)
    with pytest.raises(PindoError, match="asked to end") as ended:
        operator.execute.__wrapped__(operator, context(Store()))
    assert columns_in(ended.value)["not_sent"] == 50
    assert sandbox.messages() == []


@pytest.mark.parametrize("ended_by", ["on_kill", "a timeout"])
def test_a_try_that_is_interrupted_says_where_its_report_ends(
    sandbox, tmp_path, monkeypatch, caplog, ended_by
):
    """A try has named everybody, and the next one is interrupted before it has read them all."""
    store, path = Store(), tmp_path / "report.csv"
    arguments = {
        "recipients": ["1", *people(50)],
        "text": "Muraho",
        "chunk_size": 10,
        "report_path": str(path),
    }
    arguments |= {"on_invalid": "skip", "concurrency": 1}
    sandbox.add_fault("status", call="send_bulk_sms", status=402, skip=4)
    with pytest.raises(PindoInsufficientBalanceError) as stopped:
        send(store, **arguments)
    assert len(report(path)) == 51
    assert "The report" not in str(stopped.value)
    operator = PindoSendBulkSmsOperator(task_id="text_all", **arguments)
    with monkeypatch.context() as patched:

        def end_at_the_third(sender, batch, begin=BulkSender._begin):
            if batch.index == 3:
                operator.on_kill()
            return begin(sender, batch)

        def time_out(*run_arguments, run_in_thread=bulk.run_in_thread):
            run_in_thread(*run_arguments)
            raise TaskTimeout("Timeout, PID: 7")

        patched.setattr(BulkSender, "_begin", end_at_the_third)
        if ended_by == "a timeout":
            patched.setattr(bulk, "run_in_thread", time_out)
        with pytest.raises((PindoError, TaskTimeout)) as ended:
            operator.execute.__wrapped__(operator, context(store))
    lines = report(path)
    assert Counter(each["outcome"] for each in lines) == {"accepted": 30, "rejected": 1}
    where = caplog.messages[-1] if ended_by == "a timeout" else str(ended.value)
    assert where.endswith(" The report names 31 of 51 rows; the next try writes it anew.")
    assert send(store, **arguments)["accepted"] == 50
    assert len(report(path)) == 51
    assert set(times_texted(sandbox).values()) == {1}


@pytest.mark.parametrize("entry", ["pindo_bulk", "pindo_bulk_00001"])
def test_a_task_that_is_told_to_end_while_it_reads_the_ledger_sends_nothing(sandbox, entry):
    class Told(Store):
        told = False

        def get(self, key):
            if self.told and key == entry:
                operator.on_kill()
            return super().get(key)

    store, arguments = Told(), {"recipients": people(50), "chunk_size": 10, "concurrency": 1}
    sandbox.add_fault("status", call="send_bulk_sms", status=402, skip=1)
    with pytest.raises(PindoInsufficientBalanceError):
        send(store, **arguments)
    store.told = True
    operator = PindoSendBulkSmsOperator(task_id="text_all", text="Muraho @contact.name", **arguments)
    with pytest.raises(PindoError, match="asked to end") as ended:
        operator.execute.__wrapped__(operator, context(store))
    assert columns_in(ended.value) == dict(zip(COLUMNS, (10, 0, 0, 40, 0, 0), strict=True))
    assert len(sandbox.messages()) == 10


def test_a_task_that_is_to_end_starts_nothing_new_and_knows_what_is_unknown(sandbox, tmp_path):
    sandbox.add_fault("slow_answer", call="send_sms", seconds=30, to="+250780000060")
    store, arguments = Store(), {"recipients": people(400, time=at), "text": PERSONAL}
    sandbox.settings(latency=0.05)
    operator = PindoSendBulkSmsOperator(task_id="text_all", **arguments)

    def end_it():
        while len(sandbox.messages()) < 70:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, lambda *_: operator.on_kill())  # as Airflow's task runner does
    ending = threading.Thread(target=end_it)
    ending.start()
    started = time.monotonic()
    try:
        with pytest.raises(PindoError, match="asked to end") as ended:
            operator.execute.__wrapped__(operator, context(store))
    finally:
        signal.signal(signal.SIGTERM, before)
        ending.join()
    assert time.monotonic() - started < 20
    columns = columns_in(ended.value)
    assert columns["unknown"] == 1
    assert columns["accepted"] + 1 == len(sandbox.messages()) < 200
    result = send(store, **arguments, on_unknown="accept")
    assert (result["accepted"], result["unknown"]) == (399, 1)
    assert set(times_texted(sandbox).values()) == {1}


DAG = """
from datetime import datetime, timedelta
from airflow.providers.common.compat.sdk import DAG, task
from airflow_provider_pindo.operators.sms import PindoSendBulkSmsOperator
from tests.operators.bulk import people

with DAG("DAG_ID", schedule=None, start_date=datetime(2026, 1, 1)) as dag:
    @task
    def part(number):
        return [{**each, "time": "8:00"} for each in people(30)[number * 10 : number * 10 + 10]]

    PindoSendBulkSmsOperator(
        task_id="text_all", recipients=part.expand(number=[0, 1, 2]), retries=2, retry_delay=timedelta(0), **ARGUMENTS
    )
"""


def test_the_xcom_of_a_mapped_task_is_texted_by_a_dag(run_dag, sandbox):
    run = run_dag(DAG.replace("ARGUMENTS", repr({"text": PERSONAL})))
    assert run.state == "success"
    assert times_texted(sandbox) == Counter({each["phonenumber"]: 1 for each in people(30)})


@pytest.mark.skipif(AIRFLOW_VERSION < 3, reason="Airflow 2.11 logs each exception several times")
def test_the_log_of_a_failed_task_says_each_thing_once(run_dag, sandbox, capfd, caplog):
    caplog.set_level("INFO")
    sandbox.add_fault("drop_after", call="send_bulk_sms", skip=1)
    run = run_dag(DAG.replace("ARGUMENTS", repr({"text": "Muraho", "chunk_size": 10})))
    assert run.state == "failed"
    logged = "".join((*capfd.readouterr(), caplog.text))  # the exception, and the provider's own lines
    says = (
        "Outcome unknown for 10 of 30 recipients: row ",
        "20 accepted, 0 rejected, 10 unknown",
        "Find out whether" if HAS_STORE else "This Airflow keeps no ledger",
    )
    assert [logged.count(each) for each in says] == [1, 1, 1]


@needs_store
def test_execution_timeout_ends_it_and_the_retry_sends_the_rest(run_dag, sandbox):
    sandbox.add_fault("slow_answer", call="send_bulk_sms", seconds=30, skip=1)
    source = DAG.replace(
        "ARGUMENTS", repr({"text": "Muraho", "chunk_size": 10, "on_unknown": "accept"})
    ).replace("retries=2", "retries=2, execution_timeout=timedelta(seconds=8)")
    run = run_dag(source)
    assert run.state == "success"
    assert set(times_texted(sandbox).values()) == {1}
    assert len(sandbox.messages()) == 30


@pytest.mark.skipif(HAS_STORE, reason="Airflow 3.3 has the task state store")
def test_without_a_ledger_execution_timeout_ends_it_for_good(run_dag, sandbox):
    sandbox.add_fault("slow_answer", call="send_bulk_sms", seconds=30, skip=1)
    source = DAG.replace("ARGUMENTS", repr({"text": "Muraho", "chunk_size": 10})).replace(
        "retries=2", "retries=2, execution_timeout=timedelta(seconds=8)"
    )
    run = run_dag(source)
    assert run.state == "failed"
    assert set(times_texted(sandbox).values()) == {1}
    assert len(sandbox.messages()) == 30


@pytest.mark.parametrize("scheme", ["", "file://", pytest.param("local://", marks=needs_local_scheme)])
def test_a_try_that_is_taken_for_dead_does_not_write_into_the_report_of_the_next(tmp_path, scheme):
    path = tmp_path / "report.csv"
    earlier = Report(f"{scheme}{path}")
    earlier.write([(1, "+250781234567", "Aline", "accepted", "", "one")])
    later = Report(f"{scheme}{path}")
    earlier.write([(2, "+250781234567", "Eric", "accepted", "", "two")])
    later.write([(1, "+250781234567", "Aline", "accepted", "", "one")])
    later.close()
    earlier.close()
    assert [row["row"] for row in csv.DictReader(path.open(newline=""))] == ["1"]
