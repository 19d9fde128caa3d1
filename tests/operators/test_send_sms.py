"""PindoSendSmsOperator inside ``dag.test()``, against the sandbox: what the phones got is what counts."""

from __future__ import annotations

DAG = """
from datetime import datetime, timedelta
from airflow.providers.common.compat.sdk import DAG
from airflow_provider_pindo.operators.sms import PindoSendSmsOperator

with DAG("DAG_ID", schedule=None, start_date=datetime(2026, 1, 1)) as dag:
    PindoSendSmsOperator(task_id="text", retries=2, retry_delay=timedelta(0), **ARGUMENTS)
"""


def source(**arguments):
    return DAG.replace("ARGUMENTS", repr({"to": "+250781234567", "text": "Muraho", **arguments}))


def test_a_message_reaches_the_phone_once(run_dag, sandbox):
    run = run_dag(source(to="0781234567"))
    assert run.state == "success"
    assert [(message["to"], message["text"]) for message in sandbox.messages()] == [
        ("+250781234567", "Muraho")
    ]


def test_a_dropped_answer_is_not_sent_again_by_a_retry(run_dag, sandbox):
    sandbox.add_fault(call="send_sms", action="drop_after", times=1)
    run = run_dag(source())
    assert run.state == "failed"
    assert len(sandbox.messages()) == 1
