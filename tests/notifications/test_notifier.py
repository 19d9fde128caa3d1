"""PindoNotifier as Airflow calls it; what the phones got is what counts."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from airflow_provider_pindo.api.errors import (
    PindoConfigurationError,
    PindoRateLimitError,
    PindoUnknownOutcomeError,
)
from airflow_provider_pindo.notifications import throttle
from airflow_provider_pindo.notifications.sms import Alert, PindoNotifier, send_pindo_notification

PHONE, OTHER, THIRD = "+250781234567", "+250781234568", "+250781234569"

DAG = """
from datetime import datetime, timedelta
from airflow.providers.common.compat.sdk import DAG, AirflowSkipException, task
from airflow_provider_pindo.notifications.sms import PindoNotifier

tries = []

def work():
    END

with DAG("DAG_ID", schedule=None, start_date=datetime(2026, 1, 1), DAG_ARGUMENTS) as dag:
    task(retry_delay=timedelta(0), TASK_ARGUMENTS)(work)()
"""


def source(end="pass", dag="", task=""):
    return DAG.replace("END", end).replace("DAG_ARGUMENTS", dag).replace("TASK_ARGUMENTS", task)


def phones(sandbox):
    return [(message["to"], message["text"]) for message in sandbox.messages()]


def texts(sandbox):
    return [message["text"] for message in sandbox.messages()]


FAIL = "raise ValueError('no header')"
FAIL_ONCE = "tries.append(1); assert len(tries) > 1"


@pytest.mark.parametrize(
    ("callback", "end", "start"),
    [
        ("on_failure_callback", FAIL, "Failed: DAG DAG_ID, task work, run 20"),
        ("on_success_callback", "pass", "Succeeded: DAG DAG_ID, task work, run 20"),
        ("on_execute_callback", "pass", "Started: DAG DAG_ID, task work, run 20"),
        ("on_skipped_callback", "raise AirflowSkipException", "Skipped: DAG DAG_ID, task work, run 20"),
        ("on_retry_callback", FAIL_ONCE, "Will retry: DAG DAG_ID, task work, run 20"),
    ],
)
@pytest.mark.parametrize("place", ["task", "default_args"])
def test_every_callback_of_a_task_sends_one_text(run_dag, sandbox, callback, end, start, place):
    notifier = f"PindoNotifier('{PHONE}')"
    retries = "retries=1" if callback == "on_retry_callback" else "retries=0"
    if place == "task":
        run = run_dag(source(end, task=f"{retries}, {callback}={notifier}"))
    else:
        run = run_dag(source(end, dag=f"default_args={{{callback!r}: {notifier}}}", task=retries))
    assert len(texts(sandbox)) == 1
    assert texts(sandbox)[0].startswith(start.replace("DAG_ID", run.dag_id)[:100])


def test_a_failure_says_what_one_asks_first(run_dag, sandbox):
    run = run_dag(source(FAIL, task=f"on_failure_callback=PindoNotifier('{PHONE}', max_segments=2)"))
    said = rf"Failed: DAG {run.dag_id}, task work, run \S+ \S+ UTC, try 1\. ValueError: no header"
    assert re.match(said, texts(sandbox)[0])


def test_one_notifier_serves_many_callbacks_and_each_gets_its_own_text(run_dag, sandbox):
    callbacks = "dict.fromkeys(['on_retry_callback', 'on_failure_callback'], NOTIFIER)"
    notifier = f"PindoNotifier('{PHONE}', '{{{{ ti.try_number }}}}')"
    run_dag(source(FAIL, dag="default_args=" + callbacks.replace("NOTIFIER", notifier), task="retries=1"))
    assert texts(sandbox) == ["1", "2"]


def test_to_can_come_from_a_template(run_dag, sandbox):
    numbers = "{{ params.a }}, {{ params.b }}"
    run_dag(
        source(
            FAIL,
            dag=f"params={{'a': '{PHONE}', 'b': '0781234568'}}",
            task=f"on_failure_callback=PindoNotifier('{numbers}', 'x')",
        )
    )
    assert sorted(phones(sandbox)) == [(PHONE, "x"), (OTHER, "x")]


def test_a_secret_of_airflow_is_masked(run_dag, sandbox):
    end = (
        "from airflow.providers.common.compat.sdk import mask_secret\n"
        "    mask_secret('topsecret')\n    raise ValueError('password topsecret')"
    )
    run_dag(source(end, task=f"on_failure_callback=PindoNotifier('{PHONE}', '{{{{ exception }}}}')"))
    assert texts(sandbox) == ["password ***"]


# -- without a DAG: any context will do


def test_it_has_the_other_name_too():
    assert send_pindo_notification is PindoNotifier


@pytest.mark.parametrize(
    "to",
    [
        [PHONE, OTHER],
        (PHONE, OTHER, PHONE),
        f"{PHONE}; {OTHER}",
        f"['{PHONE}', '{OTHER}']",
        [PHONE, "0781234568", "078 123 4567"],
        [PHONE, "not a number", OTHER, "", None, 250781234567],
    ],
)
def test_each_number_gets_one_text(sandbox, to):
    PindoNotifier(to, "Muraho")({})
    assert sorted(phones(sandbox)) == [(PHONE, "Muraho"), (OTHER, "Muraho")]


@pytest.mark.parametrize("action", ["drop_before", "drop_after", "status_after"])
def test_one_number_that_fails_does_not_stop_the_others(sandbox, action):
    sandbox.add_fault(action, call="send_sms", to=OTHER, status=500, times=None)
    PindoNotifier([PHONE, OTHER, THIRD], "Muraho")({})
    assert {PHONE, THIRD} <= {message["to"] for message in sandbox.messages()}


@pytest.mark.parametrize("action", ["drop_after", "status_after", "truncate", "empty_body"])
def test_a_message_that_may_have_gone_out_is_not_sent_again(sandbox, action):
    sandbox.add_fault(action, call="send_sms", status=500, times=None)
    PindoNotifier(PHONE, "Muraho")({})
    assert len(sandbox.requests(call="send_sms")) == 1


def test_the_sender_of_the_notifier_is_used(sandbox):
    sandbox.settings(approved_senders=["PindoTest", "OnCall"])
    PindoNotifier(PHONE, "Muraho", sender="{{ who }}")({"who": "OnCall"})
    assert sandbox.messages()[0]["sender"] == "OnCall"


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("{{ ti.task_id }} of {{ dag_id }}", "? of etl"),
        ("{{ ti.xcom_pull('a')['b'].c(1) }} {{ missing | default('d') }}", "? d"),
        ("{{ missing + 1 }}", "Failed: DAG etl."),
        ("{{ 1 / 0 }}", "Failed: DAG etl."),
        ("{{ never closed", "Failed: DAG etl."),
        ("", "Failed: DAG etl."),
        ("  ", "Failed: DAG etl."),
    ],
)
def test_no_template_loses_the_alert(sandbox, text, sent):
    PindoNotifier(PHONE, text)({"dag_id": "etl", "dag_run": {"dag_id": "etl"}})
    assert texts(sandbox) == [sent]


@pytest.mark.parametrize("wrong", ["{{ missing }}", "{{ 1 / 0 }}", "{{ never closed"])
def test_a_sender_or_a_key_that_cannot_be_rendered_gives_way_to_the_default(sandbox, wrong):
    PindoNotifier(PHONE, "Muraho", sender=wrong, throttle_key=wrong)({})
    assert [(each["text"], each["sender"]) for each in sandbox.messages()] == [("Muraho", "PindoTest")]


def test_a_text_that_cannot_be_encoded_is_sent_all_the_same(sandbox):
    PindoNotifier(PHONE, "a\ud83db")({})
    assert texts(sandbox) == ["a?b"]


@pytest.mark.parametrize("segments", [1, 2])
def test_a_long_text_costs_no_more_than_allowed(sandbox, segments):
    PindoNotifier(PHONE, "a word " * 200, max_segments=segments)({})
    assert sandbox.messages()[0]["item_count"] == segments


def test_an_sla_miss_of_airflow_2_is_told(sandbox):
    PindoNotifier(PHONE)(None, "load on 2026-11-22", "", [], [])
    assert texts(sandbox) == ["SLA missed: DAG ?. load on 2026-11-22"]


async def test_a_deadline_callback_is_awaited_with_its_context(sandbox):
    context = {
        "dag_run": {"dag_id": "etl", "run_after": "2026-11-22T10:00:00Z", "state": "running"},
        "deadline": {"id": "1", "deadline_time": "2026-11-22T10:30:00Z"},
    }
    await PindoNotifier(to=[PHONE, OTHER], context=context)
    late = "Late: DAG etl, run 2026-11-22 10:00 UTC, due 2026-11-22 10:30 UTC. The run's state: running"
    assert sorted(phones(sandbox)) == [(PHONE, late), (OTHER, late)]


def test_a_deadline_alert_can_be_stored_with_the_dag(run_dag):
    sdk = pytest.importorskip("airflow.sdk", reason="Airflow 2 has no deadlines")
    from airflow.serialization.serialized_objects import DagSerialization

    kwargs = {"to": [PHONE], "throttle": timedelta(minutes=5), "timeout": 5}
    callback = sdk.AsyncCallback(PindoNotifier, kwargs=kwargs)
    reference = sdk.DeadlineReference.DAGRUN_QUEUED_AT
    alert = sdk.DeadlineAlert(reference=reference, interval=timedelta(minutes=1), callback=callback)
    dag = sdk.DAG("with_deadline", schedule=None, deadline=alert)
    assert DagSerialization.from_dict(DagSerialization.to_dict(dag)).dag_id == "with_deadline"
    assert PindoNotifier(**kwargs, context={}).throttle == 300


# -- never raises, never takes long, never tells


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.DEBUG)
    return caplog


def either_way(notifier, context=None, *, awaited):
    """Notify in the one way or the other; the code under test must not care."""
    if awaited:
        notifier.context = context or {}

        async def wait():
            await notifier

        asyncio.run(wait())
    else:
        notifier(context or {})


awaited = pytest.mark.parametrize("awaited", [False, True], ids=["sync", "async"])


def assert_nothing_is_told(log):
    assert "Muraho" not in log.text
    assert "781234567" not in log.text
    assert "sandbox-token" not in log.text


@awaited
@pytest.mark.parametrize("status", [401, 402, 409, 429, 500])
def test_a_refusal_is_logged_and_not_raised(sandbox, log, status, awaited):
    body = {"message": f"Muraho to {PHONE} with sandbox-token"}
    sandbox.add_fault("status", call="send_sms", status=status, body=body, times=None)
    either_way(PindoNotifier(PHONE, "Muraho"), awaited=awaited)
    assert f"Pindo answered {status}" in log.text
    assert_nothing_is_told(log)


@awaited
@pytest.mark.parametrize(
    "conn",
    ["", '{"conn_type": "pindo"}', '{"conn_type": "pindo", "host": "http://127.0.0.1:1", "password": "x"}'],
)
def test_a_connection_that_cannot_be_used_is_logged_and_not_raised(monkeypatch, log, conn, awaited):
    if conn:
        monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", conn)
    either_way(PindoNotifier(PHONE, "Muraho", sender="OnCall"), awaited=awaited)
    assert "No alert was sent: " in log.text or "Nothing was sent" in log.text
    assert_nothing_is_told(log)


@awaited
@pytest.mark.parametrize("to", ["{{ 1 / 0 }}", "{{ nobody }}", "", [], "0"])
def test_a_recipient_that_is_none_is_logged_and_not_raised(sandbox, log, to, awaited):
    either_way(PindoNotifier(to, "Muraho"), awaited=awaited)
    assert sandbox.messages() == []
    assert "No alert was sent" in log.text


@awaited
def test_a_pindo_that_hangs_is_given_up_and_the_others_get_theirs(sandbox, log, awaited):
    sandbox.add_fault("latency", call="send_sms", to=OTHER, seconds=600, times=None)
    either_way(PindoNotifier([OTHER, PHONE], "Muraho", timeout=5), awaited=awaited)
    assert phones(sandbox) == [(PHONE, "Muraho")]
    assert "Pindo did not answer in time. The message may have been sent" in log.text
    assert_nothing_is_told(log)


@pytest.fixture
def dripping(monkeypatch):
    """A server that sends its answer one byte at a time, for ever: no timeout of a socket ever ends that."""
    over = threading.Event()

    def serve(connection):
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            while not over.wait(0.05):
                try:
                    connection.sendall(b" ")
                except OSError:
                    return

    def accept():
        while not over.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=[connection], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        threading.Thread(target=accept, daemon=True).start()
        extra = '{"sender": "PindoTest"}'
        conn = (
            f'{{"conn_type": "pindo", "host": "http://127.0.0.1:{port}", "password": "x", "extra": {extra}}}'
        )
        monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", conn)
        yield
        over.set()


@awaited
@pytest.mark.parametrize(
    "fault",
    [
        {"action": "rate_limit", "retry_after": 30},  # it waits for its next try when its time is up
        {"action": "latency", "seconds": 600},
    ],
)
def test_what_has_not_left_when_its_time_is_up_never_leaves_and_holds_back_nothing(
    sandbox, log, monkeypatch, awaited, fault
):
    """No connection is had in time, or Pindo asks to wait longer than there is time."""
    settled = []
    monkeypatch.setattr(Alert, "settle", lambda alert, results, limit: settled.extend(results))
    stands = fault["action"] == "latency"
    sandbox.add_fault(call="send_sms", times=None if stands else 1, **fault)
    either_way(PindoNotifier(PHONE, "Muraho", timeout=2), awaited=awaited)
    [result] = settled
    assert isinstance(result, PindoUnknownOutcomeError if stands else PindoRateLimitError)
    assert ("may have been sent" in log.text) is stands
    assert ("Pindo answered 429" in log.text) is not stands
    if not stands:
        time.sleep(3)  # longer than a second try would have waited, had it not been given up
        assert sandbox.messages() == []


@awaited
def test_a_pindo_that_drips_is_given_up(dripping, log, awaited):
    either_way(PindoNotifier(PHONE, "Muraho", timeout=3), awaited=awaited)
    assert "Pindo did not answer in time" in log.text


async def test_the_event_loop_goes_on_while_pindo_hangs(sandbox):
    sandbox.add_fault("latency", call="send_sms", seconds=600, times=None)
    beats = 0

    async def beat():
        nonlocal beats
        while True:
            await asyncio.sleep(0.01)
            beats += 1

    heart = asyncio.create_task(beat())
    await PindoNotifier(PHONE, "Muraho", timeout=1)
    heart.cancel()
    assert beats > 10


# -- the throttle


def refuse(*args):
    raise RuntimeError(f"Muraho {PHONE}")


def hang(*args):
    threading.Event().wait()


@awaited
@pytest.mark.parametrize("behaviour", [refuse, hang])
@pytest.mark.parametrize("operation", ["names", "write"])
def test_without_variables_it_sends_unthrottled_and_says_so(
    sandbox, log, monkeypatch, operation, behaviour, awaited
):
    monkeypatch.setattr(throttle.VariableStore, "names", lambda self, prefix: [])
    monkeypatch.setattr(throttle.VariableStore, "write", lambda self, name, value: None)
    monkeypatch.setattr(throttle.VariableStore, operation, behaviour)
    for _ in range(2):
        either_way(PindoNotifier(PHONE, "Muraho", throttle=60, timeout=6), awaited=awaited)
    assert texts(sandbox) == ["Muraho", "Muraho"]
    assert log.text.count("sent unthrottled, since Variables cannot be used") == 2
    assert_nothing_is_told(log)


def test_where_variables_cannot_be_listed_it_sends_unthrottled(sandbox, log, monkeypatch):
    """As on Airflow 3.0 to 3.2."""
    sdk = pytest.importorskip("airflow.sdk", reason="Airflow 2.11 can list them")
    if hasattr(sdk.Variable, "keys"):
        monkeypatch.delattr(sdk.Variable, "keys")
    monkeypatch.setattr(throttle.VariableStore, "write", lambda self, name, value: None)
    PindoNotifier(PHONE, "Muraho", throttle=60)({})
    assert texts(sandbox) == ["Muraho"]
    assert "sent unthrottled, since Variables cannot be used" in log.text


class Names(dict):
    """A store in memory."""

    def names(self, prefix):
        return [name for name in self if name.startswith(prefix)]

    write = dict.__setitem__
    delete = dict.pop


@pytest.fixture
def names(monkeypatch):
    """The names that the throttle writes."""
    found = Names()
    monkeypatch.setattr("airflow_provider_pindo.notifications.sms.VariableStore", lambda: found)
    monkeypatch.setattr(throttle, "SETTLE", 0.05)
    return found


@awaited
@pytest.mark.parametrize("field", ["verify", "cert"])
def test_an_alert_whose_certificate_cannot_be_used_holds_back_nothing(
    sandbox, names, log, monkeypatch, tmp_path, field, awaited
):
    (tmp_path / "bad.pem").write_text("no certificate")
    connection = json.loads(sandbox.connection_json())
    connection["extra"][field] = str(tmp_path / "bad.pem")
    with monkeypatch.context() as patched:
        patched.setenv("AIRFLOW_CONN_PINDO_DEFAULT", json.dumps(connection))
        either_way(PindoNotifier(PHONE, "Muraho", throttle=60), awaited=awaited)
    assert sandbox.messages() == []
    assert field in log.text
    assert "sent" not in kinds(names)
    monkeypatch.setattr(throttle, "CONTENTION", 0.0)
    either_way(PindoNotifier(PHONE, "Muraho", throttle=60), awaited=awaited)
    assert len(sandbox.messages()) == 1


def deadline(name):
    """The context of a deadline's callback."""
    return {
        "deadline": {"id": name, "deadline_time": "2026-11-22T10:30:00Z"},
        "dag_run": {"dag_id": "etl", "run_id": "r", "state": "running"},
    }


@pytest.mark.parametrize(("arguments", "received"), [({"throttle": 60}, 1), ({}, 2)])
async def test_an_alert_that_a_triggerer_stops_in_the_middle_of_goes_out_once_only_with_throttle(
    sandbox, names, arguments, received
):
    """Airflow cancels the callback then, and another triggerer starts it anew."""
    sandbox.add_fault("slow_answer", call="send_sms", seconds=30)

    async def alert():
        await PindoNotifier(PHONE, "Late", context=deadline("1"), **arguments)

    first = asyncio.create_task(alert())
    while not (sandbox.messages() or first.done()):
        await asyncio.wait([first], timeout=0.05)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await alert()
    assert texts(sandbox) == ["Late"] * received


THROTTLED = source(
    "raise ValueError('x')",
    task=f"on_failure_callback=PindoNotifier('{PHONE}', throttle=timedelta(hours=1), throttle_key='KEY', timeout=60)",
)


def variables(prefix=throttle.PREFIX):
    from airflow.models import Variable
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        return sorted(session.scalars(select(Variable.key).where(Variable.key.startswith(prefix))))


def kinds(names):
    return Counter(name.split(".")[2] for name in names)


def test_a_second_failure_is_held_back_and_noted_in_airflows_database(run_dag, sandbox):
    before = set(variables())
    for _ in range(3):
        assert run_dag(THROTTLED.replace("KEY", "three failures")).state == "failed"
    assert len(texts(sandbox)) == 1
    assert kinds(set(variables()) - before) == {"sent": 1, "told": 1, "note": 3}


@pytest.mark.parametrize(
    ("fault", "requests"), [({"action": "status", "status": 401}, 2), ({"action": "drop_after"}, 1)]
)
def test_only_a_text_that_was_certainly_not_sent_holds_back_nothing(
    run_dag, sandbox, monkeypatch, fault, requests
):
    monkeypatch.setattr(throttle, "CONTENTION", 0.0)
    sandbox.add_fault(call="send_sms", **fault)
    for _ in range(2):
        run_dag(THROTTLED.replace("KEY", fault["action"]))
    assert len(sandbox.requests(call="send_sms")) == requests
    assert len(texts(sandbox)) == 1


MAIN = """
if __name__ == "__main__":
    from airflow_provider_pindo.notifications import throttle

    throttle.SETTLE = 5.0  # a loaded machine writes slowly, and the race that remains is not the matter here
    dag.test()
"""


@pytest.fixture
def run_processes(run_dag, tmp_path):
    """Run each DAG in a process of its own, all at once; return what they printed."""
    # Airflow 3's dag.test() writes the bundle and every DAG of its folder to the database, and fails if another
    # process writes the same row. So the bundle is there before, and each process has a folder of its own.
    run_dag(source())

    started = []

    def run(*dags):
        processes = []
        for dag in dags:
            name = f"process_{os.urandom(4).hex()}"
            file = tmp_path / name / f"{name}.py"
            file.parent.mkdir()
            file.write_text(dag.replace("DAG_ID", name) + MAIN)
            processes.append(
                subprocess.Popen(
                    [sys.executable, file],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    cwd=Path.cwd(),
                    env=os.environ | {"AIRFLOW__CORE__DAGS_FOLDER": str(file.parent)},
                )
            )
        started.extend(processes)
        deadline = time.monotonic() + 240  # for all of them, and twice within the test's own bound
        return [process.communicate(timeout=deadline - time.monotonic())[0].decode() for process in processes]

    yield run
    for process in started:
        process.kill()
        process.communicate(timeout=60)


def test_processes_that_share_only_the_database_send_one_text(run_processes, sandbox):
    before = set(variables())
    printed = run_processes(*[THROTTLED.replace("KEY", "processes")] * 3)
    assert len(texts(sandbox)) == 1, printed
    assert kinds(set(variables()) - before) == {"sent": 1, "told": 1, "note": 3}, printed


FAILURE = """
import asyncio
import datetime as dt
from types import SimpleNamespace
from airflow_provider_pindo.notifications.sms import PindoNotifier

def call_back(number, awaited):
    run = SimpleNamespace(dag_id="etl", run_id="r", clear_number=0, start_date=dt.datetime(2026, 11, 22))
    ti = SimpleNamespace(dag_id="etl", task_id="load", map_index=number, try_number=1, state="failed")
    context = {"dag_run": run, "ti": ti}
    notifier = PindoNotifier("PHONE", "Muraho", throttle=3600, timeout=60, throttle_key="KEY", context=context)

    async def wait():
        await notifier

    asyncio.run(wait()) if awaited else notifier(context)
""".replace("PHONE", PHONE)


def failure(key, *calls):
    """Return a DAG whose callback is that of these failures, each with its number and whether it is awaited."""
    body = "; ".join(f"call_back({number}, {awaited})" for number, awaited in calls)
    return FAILURE.replace("KEY", key) + source(body)


def let_hours_pass():
    from airflow.models import Variable
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        for each in session.scalars(select(Variable).where(Variable.key.startswith(throttle.PREFIX))):
            each.key = re.sub(r"\d{13}", lambda moment: str(int(moment[0]) - 7_200_000), each.key)


@awaited
def test_a_failure_that_is_called_back_twice_is_told_once(run_dag, sandbox, awaited):
    key = f"twice {awaited}"
    run_dag(failure(key, (1, awaited), (1, awaited), (2, awaited), (3, awaited), (2, awaited)))
    assert texts(sandbox) == ["Muraho"]
    let_hours_pass()
    run_dag(failure(key, (3, awaited), (1, awaited), (4, awaited), (4, awaited)))
    assert texts(sandbox) == ["Muraho", "Muraho (2 more held back)"]


def test_a_failure_that_is_called_back_by_two_processes_is_told_once(run_processes, sandbox):
    before = set(variables())
    calls = [(1, False), (1, True), (2, False)]
    printed = run_processes(*[failure("twice by processes", each) for each in calls])
    assert kinds(set(variables()) - before) == {"sent": 1, "told": 1, "note": 3}, printed
    assert texts(sandbox) == ["Muraho"], printed
    let_hours_pass()
    printed = run_processes(failure("twice by processes", (3, False)))
    assert texts(sandbox) == ["Muraho", "Muraho (1 more held back)"], printed


# -- how it is made


@pytest.mark.parametrize(
    "wrong",
    [
        {"throttle": 0},
        {"throttle": "15"},
        {"throttle": timedelta(seconds=-1)},
        {"timeout": 0},
        {"timeout": float("inf")},
        {"timeout": True},
        {"max_segments": 0},
        {"max_segments": 1.5},
        {"max_segments": True},
    ],
)
def test_a_number_that_makes_no_sense_is_refused_when_the_dag_is_read(wrong):
    (name,) = wrong
    with pytest.raises(PindoConfigurationError, match=f"^{name} is "):
        PindoNotifier(PHONE, **wrong)


async def fire(**kwargs):
    """Have Airflow make and await a deadline's notifier, as its triggerer does; return what came of it."""
    callback = pytest.importorskip("airflow.triggers.callback", reason="Airflow 2 has no deadlines")
    path = f"{PindoNotifier.__module__}.{PindoNotifier.__qualname__}"
    trigger = callback.CallbackTrigger(path, {"context": deadline("mistaken"), **kwargs})
    return [event.payload["state"] async for event in trigger.run()][-1]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"throttle": 0}, "throttle is 0: give more than no time"),
        ({"timeout": "10"}, "timeout is '10': give seconds"),
        ({"max_segments": PHONE}, "max_segments is '+25078****567': give a whole number from 1"),
        ({"txet": "Muraho"}, "there is no argument 'txet'"),
    ],
)
async def test_a_mistake_in_a_deadline_is_logged_masked_and_the_alert_goes_out(sandbox, log, wrong, said):
    assert await fire(to=PHONE, text="Muraho", **wrong) == "success"
    assert texts(sandbox) == ["Muraho"]
    assert said in log.text
    assert_nothing_is_told(log)


async def test_a_deadline_that_names_nobody_is_logged_without_the_number_that_it_has(sandbox, log):
    assert await fire(number=PHONE, text="Muraho") == "success"
    assert sandbox.messages() == []
    assert "there is no argument 'number'" in log.text
    assert "'to' has no usable phone number" in log.text
    assert_nothing_is_told(log)


def test_an_argument_that_there_is_not_is_refused_when_the_dag_is_read():
    with pytest.raises(TypeError, match="unexpected keyword argument 'txet'"):
        PindoNotifier(PHONE, txet="Muraho")


def test_a_notifier_for_nobody_is_refused_when_the_dag_is_read():
    with pytest.raises(TypeError, match="misses the argument 'to'"):
        PindoNotifier(text="Muraho")


def test_airflow_is_told_of_the_notifier():
    from importlib import import_module

    from airflow_provider_pindo.get_provider_info import get_provider_info

    for path in get_provider_info()["notifications"]:
        module, name = path.rsplit(".", 1)
        assert getattr(import_module(module), name) is PindoNotifier
