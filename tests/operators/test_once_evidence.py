"""Evidence of an unknown outcome: Pindo's `sent` webhook settles it, and nobody is asked or texted twice."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from airflow.exceptions import AirflowException
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred

from airflow_provider_pindo.hooks import _evidence
from airflow_provider_pindo.operators.sms import PindoSendSmsOperator
from airflow_provider_pindo.operators.verify import PindoVerifyOperator
from tests.versions import HAS_STORE, NO_STORE

if not HAS_STORE:
    pytest.skip(NO_STORE, allow_module_level=True)

from airflow_provider_pindo.triggers._evidence import EvidenceTrigger
from tests.operators.once import Store
from tests.plugins.metadata import Metadata

PHONE = "+250781234567"
FOUND = {"sms_id": "out_sms_1", "status": "sent", "to": PHONE}
#: Age of an entry that is written while the tests run; ages count from their start.
_YOUNGER = timedelta(hours=-1)


class Task:
    """A task that sends one message; each try is a new process, and a deferral really waits."""

    def __init__(self, operator=PindoSendSmsOperator, **arguments):
        self.operator = operator
        self.arguments = {"to": PHONE, "text": "Muraho", **arguments}
        self.store = Store()
        self.deferrals = 0
        self.timers = []

    def later(self, webhooks, *events, seconds=0.5):
        """Post events this long after the deferral; on a busy machine an earlier start would come before it."""

        def post():
            for event in events:
                webhooks.webhook(event)

        self.timers.append(threading.Timer(seconds, post))

    @property
    def entry(self):
        [entry] = self.store.values()
        return entry

    def run(self):
        context = {"ti": SimpleNamespace(max_tries=0), "task_state_store": self.store}
        operator = self.operator(task_id="text", **self.arguments)
        try:
            return operator.execute(context)
        except TaskDeferred as deferral:
            self.deferrals += 1
            while self.timers:
                self.timers.pop(0).start()
            _, arguments = deferral.trigger.serialize()
            event = asyncio.run(first_event(EvidenceTrigger(**arguments)))
            operator = self.operator(task_id="text", **self.arguments)
            return getattr(operator, deferral.method_name)(context, event, **deferral.kwargs)


async def first_event(trigger):
    async for event in trigger.run():
        return event.payload


@pytest.fixture(autouse=True)
def claims_at_once(webhooks, monkeypatch):
    """An entry of the ledger is there right after the response."""
    monkeypatch.setattr("airflow_provider_pindo.plugins._events._CLAIMING", timedelta(0))


@pytest.fixture
def lost(sandbox):
    """The answer to the next send is lost."""
    sandbox.add_fault(call="send_sms", action="drop_after")


@pytest.fixture
def short_wait(monkeypatch):
    monkeypatch.setattr(_evidence, "WAIT", timedelta(seconds=1))


def sent_event(text="Muraho", to=PHONE, sender="PindoTest", sms_id="out_sms_1", created_at=None):
    # A test may call this before its request begins, which takes a while on a busy machine.
    created_at = created_at or datetime.now(UTC) + timedelta(seconds=5)
    return {
        "id": sms_id,
        "text": text,
        "sender": sender,
        "created_at": created_at.strftime("%Y-%m-%dT%H:%M:%S"),
        "to": to,
    }


@pytest.fixture
def questions(monkeypatch):
    """The titles of the questions that were put to a person."""
    titles = []

    class Parked(Exception):
        pass

    def park(operator, context, form, **kwargs):
        titles.append(form.subject)
        raise Parked

    monkeypatch.setattr(PindoSendSmsOperator, "_park", park)
    return SimpleNamespace(titles=titles, parked=Parked)


@pytest.mark.parametrize("on_unknown", ["fail", "ask"])
def test_a_message_that_the_webhook_names_was_sent(webhooks, sandbox, lost, questions, on_unknown):
    task = Task(on_unknown=on_unknown)
    task.later(webhooks, sent_event())
    assert task.run() == FOUND
    assert task.deferrals == 1
    assert task.entry["status"] == "sent"
    settled = task.entry["settled"]
    assert (settled["by"], settled["sms_id"]) == ("evidence", "out_sms_1")
    assert task.run() == FOUND
    assert len(sandbox.messages()) == 1
    assert questions.titles == []


def test_evidence_that_comes_before_the_loss_is_noticed_is_not_waited_for(webhooks, sandbox, lost):
    webhooks.webhook(sent_event())
    task = Task()
    assert task.run() == FOUND
    assert (task.deferrals, task.entry["settled"]["by"]) == (0, "evidence")
    assert len(sandbox.messages()) == 1


def test_evidence_that_is_there_is_not_waited_for(webhooks, sandbox, lost, monkeypatch):
    task = Task()
    with pytest.raises(TaskDeferred):
        PindoSendSmsOperator(task_id="text", **task.arguments).execute(
            {"ti": SimpleNamespace(max_tries=0), "task_state_store": task.store}
        )
    webhooks.webhook(sent_event())
    counted = []
    monkeypatch.setattr("airflow_provider_pindo.operators._once.count_settled", counted.append)
    assert task.run() == FOUND  # the retry of a task that was killed while it waited
    assert counted == ["evidence"]
    assert task.deferrals == 0
    assert len(sandbox.messages()) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"text": "Murabeho"},
        {"to": "+250781234568"},
        {"sender": "Another"},
        {"created_at": datetime(2026, 1, 1, tzinfo=UTC)},
        {"sms_id": ""},
    ],
)
def test_another_message_is_no_evidence(webhooks, sandbox, lost, short_wait, other):
    task = Task()
    task.later(webhooks, sent_event(**other), seconds=0.2)
    with pytest.raises(AirflowFailException, match="may have been sent"):
        task.run()
    assert task.entry["status"] == "unknown"


def test_a_number_without_its_plus_is_the_same_number(webhooks, sandbox, lost):
    task = Task()
    task.later(webhooks, sent_event(to=PHONE[1:]))
    assert task.run() == FOUND


def test_without_evidence_it_does_what_on_unknown_says(webhooks, sandbox, short_wait, questions):
    for on_unknown, error in (("fail", AirflowFailException), ("resend", AirflowException)):
        sandbox.add_fault(call="send_sms", action="drop_after")
        task = Task(on_unknown=on_unknown)
        with pytest.raises(error, match="may have been sent"):
            task.run()
    assert task.run()["status"] == "sent"  # the next try sends again, as it says
    sandbox.add_fault(call="send_sms", action="drop_after")
    assert Task(on_unknown="accept").run() == {"status": "unknown", "to": PHONE}
    sandbox.add_fault(call="send_sms", action="drop_after")
    with pytest.raises(questions.parked):
        Task(on_unknown="ask").run()
    assert questions.titles == ["Did the message arrive?"]


def test_a_retry_that_would_send_again_looks_for_evidence_first(webhooks, sandbox, lost, short_wait):
    task = Task(on_unknown="resend")
    with pytest.raises(AirflowException):
        task.run()
    webhooks.webhook(sent_event())
    assert task.run() == FOUND
    assert len(sandbox.messages()) == 1


def test_a_clear_with_resend_sends_nothing_when_evidence_settles_the_unknown(
    webhooks, sandbox, lost, short_wait
):
    task = Task()
    with pytest.raises(AirflowFailException):
        task.run()
    webhooks.webhook(sent_event())
    cleared = {"ti": SimpleNamespace(max_tries=1), "task_state_store": task.store}
    operator = PindoSendSmsOperator(task_id="text", resend=True, **task.arguments)
    assert operator.execute(cleared) == FOUND
    assert len(sandbox.messages()) == 1


def test_an_answer_that_it_did_not_arrive_sends_nothing_when_evidence_came_meanwhile(
    webhooks, sandbox, lost, short_wait
):
    task = Task()
    with pytest.raises(AirflowFailException):
        task.run()
    webhooks.webhook(sent_event())
    answer = {
        "chosen_options": ["It did not: send it"],
        "params_input": {},
        "responded_at": datetime.now(UTC),
        "responded_by_user": {"id": "7", "name": "Aline"},
        "timedout": False,
    }
    context = {"ti": SimpleNamespace(max_tries=0), "task_state_store": task.store}
    operator = PindoSendSmsOperator(task_id="text", on_unknown="ask", **task.arguments)
    assert operator.execute_answer(context, answer, task.entry["began"]) == FOUND
    assert len(sandbox.messages()) == 1


def test_evidence_is_waited_for_after_a_long_timeout_too(webhooks, sandbox, monkeypatch):
    monkeypatch.setattr(_evidence, "WAIT", timedelta(seconds=4))
    connection = json.loads(os.environ["AIRFLOW_CONN_PINDO_DEFAULT"])
    connection["extra"]["timeout"] = 3
    monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", json.dumps(connection))
    sandbox.add_fault("slow_answer", call="send_sms", seconds=10)
    task = Task()
    task.later(webhooks, sent_event(), seconds=1.5)  # more than four seconds after the request began
    assert task.run() == FOUND


def test_evidence_that_cannot_be_read_proves_nothing(webhooks, sandbox, lost, short_wait, caplog):
    webhooks.faults = [503] * 100
    with pytest.raises(AirflowFailException, match="may have been sent"):
        Task().run()


@pytest.mark.parametrize("missing", ["webhooks", "secret"])
def test_without_webhooks_nothing_is_waited_for(webhooks, sandbox, lost, monkeypatch, missing):
    if missing == "webhooks":
        monkeypatch.setenv("AIRFLOW__PINDO__WEBHOOKS", "False")
    else:
        monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", sandbox.connection_json())
    task = Task()
    with pytest.raises(AirflowFailException, match="may have been sent"):
        task.run()
    assert (task.deferrals, webhooks.requests) == (0, [])


def test_there_is_no_evidence_of_a_pin(webhooks, sandbox):
    sandbox.add_fault(call="verify", action="drop_after")
    task = Task(PindoVerifyOperator)
    task.arguments = {"number": PHONE}
    with pytest.raises(AirflowFailException, match="may have been sent"):
        task.run()
    assert (task.deferrals, webhooks.requests) == (0, [])


@pytest.fixture
def ledgers(webhooks):
    """Airflow's own store of tasks' entries, empty."""
    Metadata.clear()
    yield Metadata(None)
    Metadata.clear()


@pytest.mark.parametrize(
    ("key", "entry"),
    [
        ("pindo_sms", {"status": "sent", "result": {"sms_id": "out_sms_1"}}),
        ("pindo_bulk_00001", {"status": "sent", "sms_ids": "out_sms_0 out_sms_1 -"}),
    ],
)
def test_the_message_of_another_entry_is_no_evidence(
    webhooks, sandbox, lost, short_wait, ledgers, key, entry
):
    ledgers.add_task({key: entry}, age=_YOUNGER)
    webhooks.webhook(sent_event())
    task = Task()
    with pytest.raises(AirflowFailException, match="may have been sent"):
        task.run()
    assert task.entry["status"] == "unknown"
    webhooks.webhook(sent_event(sms_id="out_sms_2"))
    assert task.run()["sms_id"] == "out_sms_2"


def test_an_event_that_came_a_moment_ago_may_be_of_another_request_which_is_being_recorded(
    webhooks, sandbox, lost, ledgers, monkeypatch
):
    monkeypatch.setattr("airflow_provider_pindo.plugins._events._CLAIMING", timedelta(seconds=2))
    monkeypatch.setattr(_evidence, "WAIT", timedelta(seconds=4))
    webhooks.webhook(sent_event())
    threading.Timer(
        1.0,
        lambda: ledgers.add_task(
            {"pindo_sms": {"status": "sent", "result": {"sms_id": "out_sms_1"}}}, age=_YOUNGER
        ),
    ).start()
    task = Task()
    with pytest.raises(AirflowFailException, match="may have been sent"):
        task.run()


def test_the_task_resumes_two_seconds_after_the_deferral_at_the_earliest(webhooks, sandbox, lost):
    task = Task()
    started = time.monotonic()
    task.later(webhooks, sent_event(), seconds=0.1)
    assert task.run() == FOUND
    assert task.deferrals == 1
    assert 2.0 <= time.monotonic() - started < 10.0


def test_the_trigger_waits_on_when_the_message_that_is_named_proves_nothing(webhooks, sandbox, lost):
    task = Task()
    task.later(webhooks, sent_event(sender="Another", sms_id="out_sms_0"), seconds=0.1)
    task.later(webhooks, sent_event(), seconds=3.0)
    assert task.run() == FOUND
    assert task.deferrals == 1


def test_the_trigger_stores_no_number_and_no_text(webhooks, sandbox, lost):
    task = Task()
    with pytest.raises(TaskDeferred) as deferral:
        PindoSendSmsOperator(task_id="text", **task.arguments).execute(
            {"ti": SimpleNamespace(max_tries=0), "task_state_store": task.store}
        )
    stored = str(deferral.value.trigger.serialize())
    assert "781234567" not in stored
    assert "Muraho" not in stored


def test_evidence_is_waited_for_at_most_thirty_seconds_from_the_loss_on(webhooks, sandbox, lost):
    before = datetime.now(UTC)
    with pytest.raises(TaskDeferred) as deferral:
        PindoSendSmsOperator(task_id="text", **Task().arguments).execute(
            {"ti": SimpleNamespace(max_tries=0), "task_state_store": Store()}
        )
    _, arguments = deferral.value.trigger.serialize()
    until = datetime.fromisoformat(arguments["until"])
    half_a_minute = timedelta(seconds=30)
    assert before + half_a_minute <= until <= datetime.now(UTC) + half_a_minute
    # Airflow ends the wait when no triggerer does, a minute later.
    assert half_a_minute < deferral.value.timeout <= half_a_minute + timedelta(minutes=1)
