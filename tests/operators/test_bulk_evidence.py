"""Evidence of the unknown recipients of a bulk send: Pindo's `sent` webhooks settle them, row by row."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta

import pytest
from airflow.exceptions import AirflowException
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred

from airflow_provider_pindo._bulk import bulk_ledger
from airflow_provider_pindo.api.errors import PindoInsufficientBalanceError
from airflow_provider_pindo.hooks import _evidence
from airflow_provider_pindo.operators.sms import PindoSendBulkSmsOperator
from tests.operators.bulk import PERSONAL, Store, at, context, people, post_sent, report, times_texted
from tests.versions import HAS_STORE, NO_STORE

if not HAS_STORE:
    pytest.skip(NO_STORE, allow_module_level=True)

from airflow.sdk.exceptions import TaskAwaitingInput

from airflow_provider_pindo.triggers._evidence import EvidenceTrigger

EACH = {"recipients": people(4, time=at), "text": PERSONAL, "concurrency": 1}
TRACKED = {"recipients": people(4), "text": "Muraho @contact.name", "track_delivery": True, "concurrency": 1}
TOGETHER = {"recipients": people(4), "text": "Muraho @contact.name", "chunk_size": 2, "concurrency": 1}
KINDS = {"personal": EACH, "tracked": TRACKED, "together": TOGETHER}


@pytest.fixture(autouse=True)
def quick(webhooks, monkeypatch):
    """An entry of the ledger is there right after the response, and the wait is short."""
    monkeypatch.setattr("airflow_provider_pindo.plugins._events._CLAIMING", timedelta(0))
    monkeypatch.setattr(_evidence, "WAIT", timedelta(seconds=1.5))


class Task:
    """A task that sends to a list; each try is a new process, and a deferral really waits."""

    def __init__(self, **arguments):
        self.arguments = arguments
        self.store = Store()
        self.deferrals = 0
        self.timers = []

    def later(self, webhooks, sandbox, positions, seconds=0.5, **changes):
        """Post events this long after the deferral; on a busy machine an earlier start would come before it."""

        def post():
            for position in positions:
                post_sent(webhooks, sandbox.messages()[position], **changes)

        self.timers.append(threading.Timer(seconds, post))

    @property
    def entries(self):
        return [value for key, value in self.store.all().items() if key != "pindo_bulk"]

    def unknown(self):
        return [rows for entry in self.entries for rows in entry["unknown"].values()]

    def operator(self):
        return PindoSendBulkSmsOperator(task_id="text_all", **self.arguments)

    def run(self, generation=0):
        operator = self.operator()
        there = context(self.store, generation)
        try:
            return operator.execute.__wrapped__(operator, there)
        except TaskDeferred as deferral:
            self.deferrals += 1
            while self.timers:
                self.timers.pop(0).start()
            _, arguments = deferral.trigger.serialize()
            assert "Muraho" not in str(arguments)
            event = asyncio.run(first_event(EvidenceTrigger(**arguments)))
            return getattr(self.operator(), deferral.method_name)(there, event, **deferral.kwargs)


async def first_event(trigger):
    async for event in trigger.run():
        return event.payload


def lose(sandbox, times=1, action="drop_after"):
    sandbox.add_fault(action, call="texts", times=times)


@pytest.mark.parametrize("kind", KINDS)
def test_the_webhook_settles_the_unknown_with_their_ids_and_nobody_is_asked(
    webhooks, sandbox, tmp_path, kind, monkeypatch
):
    counted = []
    monkeypatch.setattr(
        "airflow_provider_pindo._bulk.evidence.count_settled", lambda *what: counted.append(what)
    )
    lose(sandbox)
    path = str(tmp_path / "report.csv")
    task = Task(**KINDS[kind], on_unknown="ask", report_path=path)
    lost = 2 if kind == "together" else 1
    task.later(webhooks, sandbox, range(lost))
    result = task.run()
    assert (result["accepted"], result["unknown"], task.deferrals) == (4, 0, 1)
    assert counted == [("evidence", lost)]
    [settled] = task.entries[0]["settled"]
    assert (settled["by"], settled["arrived"]) == ("evidence", "1-2" if lost == 2 else "1")
    ids = [message["to"][-3:] for message in sandbox.messages()[:lost]]
    assert [row["sms_id"] for row in report(path)][:lost] == [f"out_{digits}" for digits in ids]
    assert task.run() == result
    assert set(times_texted(sandbox).values()) == {1}


def test_what_no_webhook_names_stays_unknown_and_a_person_is_asked_about_it(webhooks, sandbox, monkeypatch):
    monkeypatch.setattr("airflow.sdk.execution_time.hitl.upsert_hitl_detail", lambda **_: None)
    lose(sandbox)
    task = Task(**TOGETHER, on_unknown="ask")
    task.later(webhooks, sandbox, [1])
    with pytest.raises(TaskAwaitingInput):
        task.run()
    assert task.unknown() == ["1"]
    assert task.entries[0]["status"] == "unknown"


@pytest.mark.parametrize(
    ("on_unknown", "error"), [("fail", AirflowFailException), ("resend", AirflowException), ("accept", None)]
)
def test_without_evidence_it_does_what_on_unknown_says(webhooks, sandbox, on_unknown, error):
    lose(sandbox, action="drop_before")
    task = Task(**EACH, on_unknown=on_unknown)
    if error is None:
        assert task.run()["unknown"] == 1
    else:
        with pytest.raises(error, match="Outcome unknown for 1 of 4"):
            task.run()
    assert task.deferrals == 1
    assert len(sandbox.messages()) == 3
    if on_unknown == "resend":  # the next try sends to them again
        assert task.run()["accepted"] == 4
        assert set(times_texted(sandbox).values()) == {1}


def test_a_later_try_looks_before_it_sends_again(webhooks, sandbox):
    lose(sandbox)
    task = Task(**EACH, on_unknown="resend")
    with pytest.raises(AirflowException, match="The next try sends"):
        task.run()
    post_sent(webhooks, sandbox.messages()[0])
    assert task.run()["accepted"] == 4
    assert set(times_texted(sandbox).values()) == {1}


def test_a_try_that_would_send_again_soon_after_the_request_waits_first(webhooks, sandbox, monkeypatch):
    monkeypatch.setattr(_evidence, "WAIT", timedelta(seconds=30))
    lose(sandbox)
    task = Task(**EACH, on_unknown="resend")
    killed = task.operator()
    with pytest.raises(TaskDeferred):  # the task is killed while it waits
        killed.execute.__wrapped__(killed, context(task.store))
    task.later(webhooks, sandbox, [0])
    assert task.run()["accepted"] == 4
    assert task.deferrals == 1
    assert set(times_texted(sandbox).values()) == {1}


@pytest.mark.parametrize(
    "other",
    [
        {"text": "Murabeho"},
        {"to": "+250789999999"},
        {"sender": "Another"},
        {"created_at": "2026-01-01T00:00:00"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_another_message_is_no_evidence(webhooks, sandbox, other):
    lose(sandbox)
    task = Task(**EACH)
    task.later(webhooks, sandbox, [0], **other)
    with pytest.raises(AirflowFailException):
        task.run()
    assert task.unknown() == ["1"]


def test_an_event_counts_for_one_row_only(webhooks, sandbox):
    """Two rows have the same number and text, and nobody knows which of them arrived."""
    lose(sandbox)
    task = Task(
        recipients=people(1) * 2 + people(2)[1:],
        text="Muraho",
        on_duplicate="send",
        chunk_size=3,
        concurrency=1,
    )
    task.later(webhooks, sandbox, [0, 2])
    with pytest.raises(AirflowFailException):
        task.run()
    assert task.unknown() == ["2"]


@pytest.mark.parametrize("rows_per_entry", [1000, 1])
def test_an_event_of_an_accepted_row_with_the_same_message_is_ambiguous(
    webhooks, sandbox, monkeypatch, rows_per_entry
):
    monkeypatch.setattr(bulk_ledger, "ROWS_PER_ENTRY", rows_per_entry)
    lose(sandbox, action="drop_before")
    task = Task(recipients=people(1) * 2, text="Muraho", on_duplicate="send", chunk_size=1, concurrency=1)
    for _ in range(2):
        with pytest.raises(AirflowFailException):
            task.run()
        post_sent(webhooks, sandbox.messages()[0])
    assert len(task.unknown()) == 1


@pytest.mark.usefixtures("an_entry_for_each_chunk")
def test_an_entry_without_evidence_stays_as_it_is(webhooks, sandbox):
    lose(sandbox, times=2)
    task = Task(**EACH, chunk_size=1)
    task.later(webhooks, sandbox, [0])
    with pytest.raises(AirflowFailException, match="unknown for 1 of 4"):
        task.run()
    assert len(task.unknown()) == 1
    assert sum("settled" in entry for entry in task.entries) == 1


@pytest.mark.usefixtures("an_entry_for_each_chunk")
def test_entries_in_which_nobody_is_unknown_are_left_as_they_are(webhooks, sandbox):
    lose(sandbox)
    task = Task(**EACH, chunk_size=1)
    task.later(webhooks, sandbox, [0])
    assert task.run()["accepted"] == 4
    assert (len(task.entries), task.unknown()) == (4, [])


def test_without_webhooks_nothing_is_waited_for(webhooks, sandbox, monkeypatch):
    monkeypatch.setenv("AIRFLOW__PINDO__WEBHOOKS", "False")
    lose(sandbox)
    task = Task(**EACH)
    with pytest.raises(AirflowFailException):
        task.run()
    assert (task.deferrals, webhooks.requests) == (0, [])


def test_nobody_unknown_waits_for_nothing(webhooks, sandbox):
    task = Task(**EACH)
    assert task.run()["accepted"] == 4
    assert (task.deferrals, webhooks.requests) == (0, [])
    assert all("began" not in entry for entry in task.entries)


def leave_two_unknown_and_two_not_sent(sandbox, task):
    """The response to the first two is lost, and the wallet has nothing for the others."""
    sandbox.set_balance(0.012)
    lose(sandbox)
    with pytest.raises(PindoInsufficientBalanceError):
        task.run()
    assert (task.unknown(), task.entries[0]["not_sent"]) == (["1-2"], "3-4")
    sandbox.top_up(1)


def change(task, **changes):
    """Change the entry, as time or a person would."""
    (key,) = (key for key in task.store.all() if key != "pindo_bulk")
    task.store.set(key, {**task.store.get(key), **changes})


def test_an_event_from_the_time_of_a_later_try_is_no_evidence_for_an_earlier_one(webhooks, sandbox):
    task = Task(**TOGETHER, on_unknown="accept")
    leave_two_unknown_and_two_not_sent(sandbox, task)
    days_ago = (datetime.now(UTC) - timedelta(days=2)).isoformat()
    change(task, began=f"{days_ago}/{days_ago}")
    for message in sandbox.messages():  # another task texts them the same today
        post_sent(webhooks, message)
    result = task.run()
    assert (result["accepted"], result["unknown"], task.deferrals) == (2, 2, 0)
    assert "began" not in task.entries[0]


def test_a_request_of_long_ago_is_left_to_a_person_without_a_look_at_all_events(webhooks, sandbox):
    lose(sandbox)
    task = Task(**EACH, on_unknown="accept")
    assert task.run()["unknown"] == 1
    sent = webhooks.requests.copy()
    hours_ago = (datetime.now(UTC) - timedelta(hours=7)).isoformat()
    change(task, began=f"{hours_ago}/{hours_ago}")
    task.store.set("pindo_bulk", {**task.store.get("pindo_bulk"), "status": "started"})
    task.run()
    assert webhooks.requests == sent


def test_an_entry_that_a_person_changed_stops_nobody_else(webhooks, sandbox):
    task = Task(**TOGETHER, on_unknown="accept")
    leave_two_unknown_and_two_not_sent(sandbox, task)
    change(task, rows="1-9")
    result = task.run()
    assert (result["accepted"], result["unknown"]) == (2, 2)
    assert set(times_texted(sandbox).values()) == {1}


def test_what_a_callable_returned_is_not_asked_for_again_where_the_unknown_count_as_sent(webhooks, sandbox):
    lists = [people(4, time=at), []]
    lose(sandbox)
    task = Task(**{**EACH, "recipients": lambda: lists.pop(0)}, on_unknown="accept")
    assert task.run()["unknown"] == 1
    assert task.deferrals == 0


def test_a_lookup_that_fails_in_the_triggerer_is_tried_again(webhooks, sandbox, monkeypatch):
    from airflow_provider_pindo.hooks._events import AsyncEventReader

    read, failures = AsyncEventReader.read_sent, [RuntimeError("the database is away")]

    async def fail_once(self, *args):
        if failures:
            raise failures.pop()
        return await read(self, *args)

    monkeypatch.setattr(AsyncEventReader, "read_sent", fail_once)
    monkeypatch.setattr(_evidence, "WAIT", timedelta(seconds=10))
    lose(sandbox)
    task = Task(**EACH)
    task.later(webhooks, sandbox, [0])
    assert task.run()["accepted"] == 4
    assert failures == []
