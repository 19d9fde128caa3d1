"""Tasks that wait for their send window in a real Airflow, while its triggerer is killed."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

from demo.deployment import AIRFLOW_VERSION, Deployment
from tests.e2e.test_inbound import restart_triggerer

#: People of the send whose window closes half way. It needs a ledger, and longer than the two minutes until then.
HALF_WAY = [f"+25078111{row:04}" for row in range(260)] if AIRFLOW_VERSION >= 3 else []

DAG_ID = "waits_for_its_window"
DAG = """
from datetime import UTC, datetime, timedelta
from airflow.providers.common.compat.sdk import DAG, task
from airflow_provider_pindo.operators.sms import PindoSendBulkSmsOperator, PindoSendSmsOperator

with DAG("waits_for_its_window", schedule=None, start_date=datetime(2026, 1, 1)) as dag:

    @task
    def next_minute():
        opens = datetime.now(UTC) + timedelta(minutes=2)
        return f"{opens:%H:%M}-{opens - timedelta(minutes=5):%H:%M} UTC"

    @task
    def closed_for_a_minute(window):
        closes = datetime.strptime(window[:5], "%H:%M")
        return f"{closes + timedelta(minutes=1):%H:%M}-{closes:%H:%M} UTC"

    window = next_minute()
    PindoSendSmsOperator(task_id="one", to="+250781234567", text="Muraho", send_window=window)
    PindoSendBulkSmsOperator(
        task_id="many",
        recipients=[f"+25078000{row:04}" for row in range(20)],
        text="Muraho",
        send_window=window,
    )
    PindoSendSmsOperator(
        task_id="stale",
        to="+250781234568",
        text="Muraho",
        send_window=window,
        expires_at="2026-01-01T00:00:00+00:00",
    )
    if HALF_WAY:
        PindoSendBulkSmsOperator(
            task_id="half_way",
            recipients=[{"phonenumber": number, "time": "8:00"} for number in HALF_WAY],
            text="Ejo @contact.time",
            send_window=closed_for_a_minute(window),
            track_delivery=True,
            concurrency=1,
        )
""".replace("HALF_WAY", repr(HALF_WAY))


def test_tasks_wait_for_a_window_that_opens_in_a_minute_through_a_kill_of_the_triggerer(
    deployment: Deployment, sandbox
):
    deployment.add_dag(DAG_ID, DAG)
    rest = deployment.rest
    sandbox.add_fault(call="send_sms", action="latency", seconds=0.5, times=None)
    run_id = rest.trigger(DAG_ID)
    for task in ("one", "many"):
        rest.wait_for_task(DAG_ID, run_id, task, state="deferred")
    rest.wait_for_task(DAG_ID, run_id, "stale", state="skipped")
    restart_triggerer(deployment)
    assert {message["to"] for message in sandbox.messages()} <= set(HALF_WAY)
    if HALF_WAY:
        rest.wait_for_task(DAG_ID, run_id, "half_way", state="deferred", timeout=180)
        sent = [message["to"] for message in sandbox.messages() if message["to"] in HALF_WAY]
        assert 0 < len(sent) < len(HALF_WAY)
        sandbox.clear_faults()
        log = deployment.task_log(DAG_ID, run_id, "half_way")
        assert f"Until now: {len(sent)} accepted" in log
    assert rest.wait_for_run(DAG_ID, run_id, timeout=300) == "success"
    opens, _, _ = rest.xcom(DAG_ID, run_id, "next_minute").partition("-")
    hour, minute = map(int, opens.split(":"))
    assert (datetime.now(UTC) - timedelta(hours=hour, minutes=minute)).hour == 0  # it is open, not closed
    phones = Counter(message["to"] for message in sandbox.messages())
    everybody = ["+250781234567", *(f"+25078000{row:04}" for row in range(20)), *HALF_WAY]
    assert phones == dict.fromkeys(everybody, 1)
    if HALF_WAY:
        assert rest.task_instance(DAG_ID, run_id, "half_way")["try_number"] == 1
        assert rest.xcom(DAG_ID, run_id, "half_way")["accepted"] == len(HALF_WAY)
        log = deployment.task_log(DAG_ID, run_id, "half_way")
        assert f"{len(HALF_WAY) - len(sent)} recipients take about" in log
        assert "a second, as measured before" in log
    assert "The send window opens at" in deployment.task_log(DAG_ID, run_id, "many")
