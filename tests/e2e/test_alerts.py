"""Alerts where Airflow really runs them: in the DAG processor, in tasks and in the triggerer."""

from __future__ import annotations

import os
import re
import time
from collections import Counter

import pytest

from airflow_provider_pindo.sandbox import SandboxClient
from demo.deployment import AIRFLOW_VERSION, Deployment
from demo.rest import wait_until

EXAMPLE = "pindo_pipeline_alerts"
ON_CALL = ["+250780000201", "+250780000202"]
ANALYST = "+250780000203"
#: Tasks that really run and fail. With 500 it takes a quarter of an hour: `make test-many-alerts`.
FAILURES = int(os.environ.get("PINDO_FAILURES", "16"))

FAILING = """
from datetime import datetime, timedelta
from airflow.providers.common.compat.sdk import DAG, task
from airflow_provider_pindo.notifications.sms import PindoNotifier

alert = PindoNotifier("+250781234567", throttle=timedelta(hours=1), timeout=30)

with DAG("DAG_ID", schedule=None, start_date=datetime(2026, 1, 1), params={"failures": 1},
         default_args={"on_failure_callback": alert}, max_active_tasks=1000,
         on_failure_callback=PindoNotifier("+250781234568", throttle=timedelta(hours=1), timeout=30)) as dag:

    @task
    def numbers(params=None):
        return list(range(params["failures"]))

    @task
    def fail(number):
        raise ValueError(f"number {number}")

    fail.expand(number=numbers())
"""

HANGING = """
from datetime import datetime
from airflow.providers.common.compat.sdk import DAG, task
from airflow_provider_pindo.notifications.sms import PindoNotifier

with DAG("DAG_ID", schedule=None, start_date=datetime(2026, 1, 1)) as dag:

    @task(on_execute_callback=PindoNotifier(["+250781234567", "+250781234568"], throttle=60, timeout=3))
    def work():
        pass

    work()
"""


LATE = """
import time
from datetime import datetime, timedelta
from airflow.sdk import DAG, AsyncCallback, DeadlineAlert, DeadlineReference, SyncCallback, task
from airflow_provider_pindo.notifications.sms import PindoNotifier

def alert(callback, to):
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(seconds=1),
        callback=callback(PindoNotifier, kwargs={"to": to, "throttle": timedelta(hours=1), "timeout": 30}),
    )

with DAG("DAG_ID", schedule=None, start_date=datetime(2026, 1, 1),
         deadline=[alert(AsyncCallback, "+250781234567"), alert(SyncCallback, "+250781234568")]) as dag:

    @task
    def work():
        time.sleep(5)

    work()
"""


def texts(sandbox: SandboxClient, to: str = "+250781234567") -> list[str]:
    return [message["text"] for message in sandbox.messages(to=to)]


def test_a_broken_check_lost_rows_and_a_late_run_text_their_people_once(examples: Deployment, sandbox):
    examples.rest.wait_for_dag(EXAMPLE)
    scenarios = {
        "a row has no amount": "failed",
        "most rows are missing": "success",
        "it runs late": "success",
    }
    runs = {what: examples.rest.trigger(EXAMPLE, conf={"what_happens": what}) for what in scenarios}
    for what, run_id in runs.items():
        assert examples.rest.wait_for_run(EXAMPLE, run_id) == scenarios[what]

    # A failed run misses its deadline too, like the late one.
    states = ["failed", "running"] if AIRFLOW_VERSION >= 3 else []
    events = ["Failed", *(f"Late, {state}" for state in states)]
    expected = Counter([*((to, event) for to in ON_CALL for event in events), (ANALYST, "Sales")])
    wait_until(lambda: len(sandbox.messages()) >= expected.total(), "the texts are there", timeout=60)

    messages = sandbox.messages()
    assert Counter((message["to"], event(message["text"])) for message in messages) == expected
    by_event = {event(message["text"]): message["text"] for message in messages}
    task = ", task check" if AIRFLOW_VERSION >= 3 else ""  # Airflow 2 does not say which it was
    assert by_event["Failed"].startswith(f"Failed: DAG {EXAMPLE}{task}, run 20")
    assert by_event["Sales"] == "Sales: 3 rows, 8 the day before. Is a shop missing?"
    for state in states:
        run = rf"Late: DAG {EXAMPLE}, run 20\S+ \S+ UTC, due 20\S+ \S+ UTC\."
        assert re.match(run, by_event[f"Late, {state}"])
    assert {message["item_count"] for message in messages} == {1}


def event(text: str) -> str:
    """Return which event a text reports, and for a late run its state."""
    state = re.search(r"state: (\w+)", text)
    return text.partition(":")[0] + (f", {state.group(1)}" if state else "")


def fail(deployment: Deployment, dag_id: str, failures: int) -> None:
    """Run the DAG with so many failing tasks, and wait until all of them have called back."""
    run_id = deployment.rest.trigger(dag_id, conf={"failures": failures})
    timeout = 120 + 10 * failures
    assert deployment.rest.wait_for_run(dag_id, run_id, timeout=timeout) == "failed"
    # The state is set before the callback runs; the callback ends with one of these lines.
    said = ("Pindo accepted the alert", "held back and counted")

    def all_called_back() -> bool:
        logs = (deployment.task_log(dag_id, run_id, "fail", map_index=index) for index in range(failures))
        return all(any(words in log for words in said) for log in logs)

    wait_until(all_called_back, "every failed task has called back", timeout=60)


def let_hours_pass(deployment: Deployment) -> None:
    """Move every time that the throttle stored two hours back: its window and its failure records."""
    for name in throttle_names(deployment):
        moved = re.sub(r"\d{13}", lambda moment: str(int(moment[0]) - 7_200_000), name)
        deployment.rest.request("POST", "/variables", json={"key": moved, "value": "moved"})
        deployment.rest.request("DELETE", f"/variables/{name}")


def throttle_names(deployment: Deployment) -> list[str]:
    names: list[str] = []
    while True:
        params = {"limit": 100, "offset": len(names), "order_by": "key"}
        page = deployment.rest.request("GET", "/variables", params=params)["variables"]
        if not page:
            return [name for name in names if name.startswith("pindo_alert.")]
        names += [variable["key"] for variable in page]


def forget_all(deployment: Deployment) -> None:
    for name in throttle_names(deployment):
        deployment.rest.request("DELETE", f"/variables/{name}")


def kinds(deployment: Deployment) -> Counter[str]:
    return Counter(name.split(".")[2] for name in throttle_names(deployment))


def old_names(deployment: Deployment) -> list[str]:
    """Return the names of the throttle's Variables that are over an hour old."""
    hour_ago = (time.time() - 3600) * 1000
    return [name for name in throttle_names(deployment) if int(name.split(".")[3]) < hour_ago]


def held_back(text: str) -> int:
    said = re.search(r"\((\d+) more held back\)$", text)
    return int(said.group(1)) if said else 0


def test_many_failing_tasks_make_one_text_and_the_next_says_how_many_there_were(deployment, sandbox):
    forget_all(deployment)
    dag_id = "alerts_of_many_tasks"
    deployment.add_dag(dag_id, FAILING.replace("DAG_ID", dag_id))
    fail(deployment, dag_id, FAILURES)
    first = texts(sandbox)
    assert 1 <= len(first) <= 2, first  # two is the race that _throttle.py documents
    of_run = wait_until(lambda: texts(sandbox, to="+250781234568"), "the DAG's callback was run", timeout=60)
    assert len(of_run) == 1

    let_hours_pass(deployment)
    fail(deployment, dag_id, 1)
    all_texts = texts(sandbox)
    assert len(all_texts) == len(first) + 1
    assert re.match(rf"Failed: DAG {dag_id}, task fail \[0\], run .*, try 1\.", all_texts[-1])
    # Under load Airflow calls back twice for some failures. Each still counts as one failure.
    assert sum(1 + held_back(text) for text in all_texts) == FAILURES + 1

    def second_of_run() -> bool:
        return len(texts(sandbox, to="+250781234568")) == 2

    wait_until(second_of_run, "the DAG's callback was run again", timeout=60)
    # Each text removes as many old Variables as its time allows. The next text removes more.
    remaining = max(0, FAILURES - 100)
    wait_until(lambda: len(old_names(deployment)) <= remaining, "the Variables are cleaned up", timeout=60)


@pytest.mark.skipif(AIRFLOW_VERSION < 3, reason="Airflow 2 has no deadlines")
def test_a_late_run_is_told_by_the_triggerer_and_by_the_executor(deployment, sandbox):
    forget_all(deployment)
    dag_id = "alerts_of_a_late_run"
    deployment.add_dag(dag_id, LATE.replace("DAG_ID", dag_id))

    def run() -> None:
        run_id = deployment.rest.trigger(dag_id)
        assert deployment.rest.wait_for_run(dag_id, run_id) == "success"

    def received() -> Counter[str]:
        return Counter(message["to"] for message in sandbox.messages())

    run()
    wait_until(lambda: len(received()) == 2, "both callbacks have run", timeout=60)
    wait_until(lambda: throttle_names(deployment), "the triggerer has written a Variable", timeout=120)
    # The first use of Variables may take the triggerer too long, the second does not. But a notifier that gave up
    # looks as if it had died, and would hold back the second text.
    forget_all(deployment)
    run()
    wait_until(lambda: kinds(deployment)["sent"] == 1, "an alert went out under the throttle", timeout=60)
    wait_until(lambda: received()["+250781234568"] == 2, "the executor's alert was sent", timeout=60)

    before, failures = received(), kinds(deployment)["failure"]
    run()
    wait_until(lambda: kinds(deployment)["failure"] == failures + 1, "the next is held back", timeout=60)
    # The process that runs a SyncCallback cannot write Variables. It still sends.
    wait_until(
        lambda: received() == before + Counter(["+250781234568"]), "the executor's alert was sent", timeout=60
    )


def test_a_pindo_that_hangs_delays_a_task_by_no_more_than_the_bound(deployment, sandbox):
    sandbox.add_fault("latency", call="send_sms", seconds=120, times=None)
    dag_id = "alert_that_hangs"
    deployment.add_dag(dag_id, HANGING.replace("DAG_ID", dag_id))
    run_id = deployment.rest.trigger(dag_id)
    assert deployment.rest.wait_for_run(dag_id, run_id, timeout=60) == "success"
    wait_until(
        lambda: deployment.task_log(dag_id, run_id, "work").count("Pindo did not respond in time") == 2,
        "the log names both alerts",
        timeout=60,
    )
    assert "+250781234567" not in deployment.task_log(dag_id, run_id, "work")
    assert deployment.rest.task_instance(dag_id, run_id, "work")["duration"] < 60
