"""The example that answers incoming messages: who is listed, what the audit trail says, and who is confirmed."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from airflow.providers.common.compat.sdk import AirflowSkipException
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_3_PLUS

from demo.deployment import EXAMPLE_DAGS
from tests.operators.bulk import Store, context

try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:  # Airflow 2.11
    from airflow.models.dagbag import DagBag

pytestmark = pytest.mark.skipif(not AIRFLOW_V_3_3_PLUS, reason="the example needs Airflow 3.3")

ALINE, ERIC = "+250780000201", "+250780000202"


class Variables(dict):
    """Airflow's Variables, in memory. ``failing`` is one that cannot be written."""

    failing = None

    def read(self, name, default=None, *, deserialize_json=False):
        value = self.get(name)
        if value is None:
            return default
        return json.loads(value) if deserialize_json else value

    def write(self, name, value, *, serialize_json=False):
        if name == self.failing:
            raise ConnectionError("no API server")
        self[name] = json.dumps(value)

    def trail(self):
        return [
            (entry["number"], entry["word"], entry["message_id"], entry["confirmed"])
            for entry in json.loads(self["pindo_opt_outs"])
        ]

    def stopped(self):
        return json.loads(self["pindo_stop_list"])


@pytest.fixture(scope="module")
def tasks():
    """The functions of the example's tasks, by their ids."""
    dag = DagBag(dag_folder=EXAMPLE_DAGS / "pindo_inbound_router.py").dags["pindo_inbound_router"]
    return {task.task_id: task for task in dag.tasks}


@pytest.fixture
def variables(tasks, monkeypatch):
    kept = Variables()
    variable = tasks["update_stop_list"].python_callable.__globals__["Variable"]
    monkeypatch.setattr(variable, "get", kept.read)
    monkeypatch.setattr(variable, "set", kept.write)
    return kept


@pytest.fixture
def replies(tasks, variables):
    """Run one DAG run's tasks on messages, and return the replies."""

    def run(*messages):
        classified = tasks["classify_messages"].python_callable(list(messages))
        confirmed = tasks["update_stop_list"].python_callable(classified)
        return tasks["write_replies"].python_callable(classified, confirmed)

    return run


@pytest.fixture
def route(replies):
    """Run one DAG run's tasks on messages, and return the texts that go out, by number."""
    return lambda *messages: [(reply["to"], reply["text"].split(".")[0]) for reply in replies(*messages)]


def message(id, text, sender=ALINE):
    raw = {"from": sender} if sender else {}
    return {
        "id": id,
        "text": text,
        "created_at": datetime(2026, 11, 2, 8, id, tzinfo=UTC).isoformat(),
        "raw": raw,
    }


STOPPED, STARTED = "You will get no more messages from us", "You will get our messages again"


def test_a_stop_is_listed_and_confirmed_with_an_entry_in_the_audit_trail(route, variables):
    assert route(message(1, " Stop! ")) == [(ALINE, STOPPED)]
    assert variables.stopped() == [ALINE]
    [entry] = json.loads(variables["pindo_opt_outs"])
    assert entry == {
        "number": ALINE,
        "kind": "stop",
        "word": "Stop!",
        "when": "2026-11-02T08:01:00+00:00",
        "message_id": 1,
        "confirmed": True,
    }


def test_start_takes_a_number_off_the_list(route, variables):
    route(message(1, "STOP"), message(2, "HAGARIKA", ERIC))
    assert route(message(3, "start")) == [(ALINE, STARTED)]
    assert variables.stopped() == [ERIC]
    assert [entry[1] for entry in variables.trail()] == ["STOP", "HAGARIKA", "start"]


def test_a_second_stop_is_kept_in_the_trail_and_not_confirmed_again(route, variables):
    assert route(message(1, "STOP"), message(2, "STOP!!")) == [(ALINE, STOPPED)]
    assert route(message(3, "Arrêt")) == []
    assert variables.trail() == [
        (ALINE, "STOP", 1, True),
        (ALINE, "STOP!!", 2, False),
        (ALINE, "Arrêt", 3, False),
    ]
    assert route(message(4, "START"), message(5, "START")) == [(ALINE, STARTED)]


def test_a_retry_confirms_the_same_messages(route, variables):
    first = route(message(1, "STOP"), message(2, "STOP"))
    assert route(message(1, "STOP"), message(2, "STOP")) == first
    assert len(variables.trail()) == 2


def test_a_retry_after_the_trail_was_written_still_writes_the_list(route, variables):
    variables.failing = "pindo_stop_list"
    with pytest.raises(ConnectionError):
        route(message(1, "STOP"))
    variables.failing = None
    assert route(message(1, "STOP")) == [(ALINE, STOPPED)]
    assert variables.stopped() == [ALINE]


def test_an_older_start_that_is_handled_late_does_not_undo_a_stop(route, variables):
    route(message(5, "STOP"))
    assert route(message(4, "START")) == []
    assert variables.stopped() == [ALINE]


def test_a_number_that_a_person_wrote_into_the_list_or_took_out_of_it_stays_so(route, variables):
    route(message(1, "STOP"))
    variables.write("pindo_stop_list", [ERIC])
    route(message(2, "STOP", "+250780000203"))
    assert variables.stopped() == [ERIC, "+250780000203"]


def test_without_a_named_sender_the_number_in_the_text_may_stop_but_not_start(route, variables, capsys):
    assert route(message(1, "STOP 0780000202", sender=None)) == [(ERIC, STOPPED)]
    assert route(message(2, "START 0780000202", sender=None)) == [(ERIC, "Thank you")]
    assert variables.stopped() == [ERIC]
    assert route(message(3, "STOP", sender=None)) == []
    assert "Message 3 names no number" in capsys.readouterr().out


def test_a_conversation_is_answered_and_changes_no_list(route, variables):
    assert route(message(1, "STOP 12345"), message(2, "What is my balance?"), message(3, "YES")) == [
        (ALINE, "Thank you"), (ALINE, "Your balance is 12,500 RWF"), (ALINE, "Thank you"),
    ]  # fmt: skip
    assert (variables.stopped(), variables.trail()) == ([], [])


def test_only_a_confirmation_goes_to_a_number_on_the_list(tasks, replies, variables, sandbox, monkeypatch):
    """Anybody can write the number of another person into a message."""
    connection = json.loads(os.environ["AIRFLOW_CONN_PINDO_DEFAULT"])
    connection["extra"]["suppression_list"] = "variable:pindo_stop_list"
    monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", json.dumps(connection))
    variables.write("pindo_stop_list", [ERIC])
    messages = [message(1, "hello 0780000202", sender=None), message(2, "What is my balance?", ERIC)]
    messages += [message(3, "STOP"), message(4, "What is my balance?", "+250780000203")]
    for reply in replies(*messages):
        task = tasks["answer"].unmap(reply)
        with suppress(AirflowSkipException):
            task.execute.__wrapped__(task, context(Store()))
    texted = [(sent["to"], sent["text"].partition(".")[0]) for sent in sandbox.messages()]
    assert texted == [(ALINE, STOPPED), ("+250780000203", "Your balance is 12,500 RWF")]
