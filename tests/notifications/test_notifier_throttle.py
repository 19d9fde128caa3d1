"""PindoNotifier with ``throttle``: in one process and over several, with Airflow's Variables and without."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import re
import threading
from collections import Counter
from functools import partial

import pytest

from airflow_provider_pindo.notifications import _throttle as throttle
from airflow_provider_pindo.notifications.sms import PindoNotifier
from tests.notifications.alerts import (
    PHONE,
    assert_nothing_is_told,
    awaited,
    deadline,
    either_way,
    run_file,
    source,
    texts,
)
from tests.notifications.race import Race
from tests.versions import needs_throttle


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
    assert log.text.count("Variables cannot be used, so the alert is sent unthrottled") == 2
    assert_nothing_is_told(log)


def test_where_variables_cannot_be_listed_it_sends_unthrottled(sandbox, log, monkeypatch):
    """As on Airflow 3.0 to 3.2."""
    sdk = pytest.importorskip("airflow.sdk", reason="Airflow 2.11 can list them")
    if hasattr(sdk.Variable, "keys"):
        monkeypatch.delattr(sdk.Variable, "keys")
    written = []
    monkeypatch.setattr(sdk.Variable, "set", lambda key, *args, **kwargs: written.append(key))
    PindoNotifier(PHONE, "Muraho", throttle=60)({})
    assert texts(sandbox) == ["Muraho"]
    assert "Variables cannot be used, so the alert is sent unthrottled: Airflow 3.0 to 3.2 cannot" in log.text
    assert written == []  # nobody could find and delete it


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
    monkeypatch.setattr("airflow_provider_pindo.notifications._sending.VariableStore", lambda: found)
    monkeypatch.setattr(throttle, "RECHECK_DELAY", 0.05)
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
    monkeypatch.setattr(throttle, "LEADER_TIMEOUT", 0.0)
    either_way(PindoNotifier(PHONE, "Muraho", throttle=60), awaited=awaited)
    assert len(sandbox.messages()) == 1


@pytest.mark.parametrize(("arguments", "received"), [({"throttle": 60}, 1), ({}, 2)])
async def test_an_alert_that_a_triggerer_stops_in_the_middle_of_goes_out_once_only_with_throttle(
    sandbox, names, arguments, received
):
    """Airflow then cancels the callback, and another triggerer restarts it."""
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


@needs_throttle
def test_a_second_failure_is_held_back_and_noted_in_airflows_database(run_dag, sandbox):
    before = set(variables())
    for _ in range(3):
        assert run_dag(THROTTLED.replace("KEY", "three failures")).state == "failed"
    assert len(texts(sandbox)) == 1
    assert kinds(set(variables()) - before) == {"sent": 1, "reported": 1, "failure": 3}


@needs_throttle
@pytest.mark.parametrize(
    ("fault", "requests"), [({"action": "status", "status": 401}, 2), ({"action": "drop_after"}, 1)]
)
def test_only_a_text_that_was_certainly_not_sent_holds_back_nothing(
    run_dag, sandbox, monkeypatch, fault, requests
):
    monkeypatch.setattr(throttle, "LEADER_TIMEOUT", 0.0)
    sandbox.add_fault(call="send_sms", **fault)
    for _ in range(2):
        run_dag(THROTTLED.replace("KEY", fault["action"]))
    assert len(sandbox.requests(call="send_sms")) == requests
    assert len(texts(sandbox)) == 1


MAIN = """
if __name__ == "__main__":
    from airflow_provider_pindo.notifications import _throttle as throttle

    throttle.RECHECK_DELAY = 5.0  # a loaded machine writes slowly; this test is not about the remaining race
    dag.test()
"""


@pytest.fixture
def run_processes(run_dag, tmp_path):
    """Run each DAG in its own process, all in parallel; return their outputs.

    The processes are forked from one that has loaded Airflow. They share the metadata database and nothing else.
    """
    # Airflow 3's dag.test() writes the bundle and every DAG of its folder to the database. It fails if another
    # process writes the same row. So the bundle is created first, and each process has its own folder.
    run_dag(source())

    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(["tests.notifications.warm", "tests.notifications.alerts"])
    started = []

    def run(*dags, race=False):
        files = []
        for dag in dags:
            name = f"process_{os.urandom(4).hex()}"
            file = tmp_path / name / f"{name}.py"
            file.parent.mkdir()
            file.write_text(dag.replace("DAG_ID", name) + MAIN)
            files.append(file)
        environment = dict(os.environ)
        shared = Race(forks, len(files)) if race else None
        processes = [
            forks.Process(
                target=run_file,
                args=(file, environment, shared and partial(shared.join, index)),
                daemon=True,
            )
            for index, file in enumerate(files)
        ]
        for process in processes:
            process.start()
            started.append(process)
        for process in processes:
            process.join()  # the test's own timeout bounds the wait
        return [file.with_suffix(".log").read_text() for file in files]

    yield run
    for process in started:
        process.kill()
        process.join(60)


@needs_throttle
def test_processes_that_share_only_the_database_send_one_text(run_processes, sandbox):
    before = set(variables())
    printed = run_processes(*[THROTTLED.replace("KEY", "processes")] * 3, race=True)
    assert len(texts(sandbox)) == 1, printed
    assert kinds(set(variables()) - before) == {"sent": 1, "reported": 1, "failure": 3}, printed


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
    """Return a DAG with the callbacks of these failures, each a number and whether it is awaited."""
    body = "; ".join(f"call_back({number}, {awaited})" for number, awaited in calls)
    return FAILURE.replace("KEY", key) + source(body)


def let_hours_pass():
    from airflow.models import Variable
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        for each in session.scalars(select(Variable).where(Variable.key.startswith(throttle.PREFIX))):
            each.key = re.sub(r"\d{13}", lambda moment: str(int(moment[0]) - 7_200_000), each.key)


@needs_throttle
@awaited
def test_a_failure_that_is_called_back_twice_is_told_once(run_dag, sandbox, awaited):
    key = f"twice {awaited}"
    run_dag(failure(key, (1, awaited), (1, awaited), (2, awaited), (3, awaited), (2, awaited)))
    assert texts(sandbox) == ["Muraho"]
    let_hours_pass()
    run_dag(failure(key, (3, awaited), (1, awaited), (4, awaited), (4, awaited)))
    assert texts(sandbox) == ["Muraho", "Muraho (2 more held back)"]


@needs_throttle
def test_a_failure_that_is_called_back_by_two_processes_is_told_once(run_processes, sandbox):
    before = set(variables())
    calls = [(1, False), (1, True), (2, False)]
    printed = run_processes(*[failure("twice by processes", each) for each in calls])
    assert kinds(set(variables()) - before) == {"sent": 1, "reported": 1, "failure": 3}, printed
    assert texts(sandbox) == ["Muraho"], printed
    let_hours_pass()
    printed = run_processes(failure("twice by processes", (3, False)))
    assert texts(sandbox) == ["Muraho", "Muraho (1 more held back)"], printed
