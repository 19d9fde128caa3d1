"""PindoSendSmsOperator in ``dag.test()``, against the sandbox: the tests assert on what the phones got."""

from __future__ import annotations

import pytest

from airflow_provider_pindo.operators.sms import _DASHBOARD, PindoMessageLink, PindoSendSmsOperator
from demo.deployment import AIRFLOW_VERSION
from tests.versions import HAS_STORE

PHONE = "+250781234567"
DAG = """
from datetime import datetime, timedelta
from airflow.providers.common.compat.sdk import DAG
from airflow_provider_pindo.operators.sms import PindoSendSmsOperator

with DAG("DAG_ID", schedule=None, start_date=datetime(2026, 1, 1), params=PARAMS) as dag:
    PindoSendSmsOperator(task_id="text", retries=2, retry_delay=timedelta(0), **ARGUMENTS)
"""
MAPPED = """
from datetime import datetime
from airflow.providers.common.compat.sdk import DAG, task
from airflow_provider_pindo.operators.sms import PindoSendSmsOperator

with DAG("DAG_ID", schedule=None, start_date=datetime(2026, 1, 1)) as dag:
    @task
    def patients():
        return [{"to": f"+25078123456{each}", "text": f"Muraho {each}"} for each in range(3)]

    PindoSendSmsOperator.partial(task_id="text", sender="PindoTest").expand_kwargs(patients())
"""


def source(params=None, **arguments):
    arguments = {"to": PHONE, "text": "Muraho", **arguments}
    return DAG.replace("ARGUMENTS", repr(arguments)).replace("PARAMS", repr(params or {}))


def task(run, task_id="text"):
    return next(each for each in run.get_task_instances() if each.task_id == task_id)


def test_a_message_reaches_the_phone_and_its_receipt_is_the_result(run_dag, sandbox):
    run = run_dag(source(to="078 123 4567"))
    (message,) = sandbox.messages()
    assert (message["to"], message["text"]) == (PHONE, "Muraho")
    receipt = task(run).xcom_pull("text")
    assert receipt["sms_id"] == message["sms_id"]
    assert {"bonus", "discount", "item_count", "item_price", "remaining_balance", "self_url", "status", "to",
            "total_cost"} <= set(receipt)  # fmt: skip


def test_fields_are_templates(run_dag, sandbox):
    run_dag(
        source(
            params={"phone": "0781234568"},
            to="{{ params.phone }}",
            text="Run {{ dag_run.dag_id[:4] }}",
            sender="{{ 'Pindo' ~ 'Test' }}",
            on_unknown="{{ 'fail' }}",
            resend="{{ False }}",
            pindo_conn_id="{{ 'pindo_default' }}",
        )
    )
    assert [(each["to"], each["text"]) for each in sandbox.messages()] == [("+250781234568", "Run test")]


def test_it_maps_over_what_a_task_found(run_dag, sandbox):
    assert run_dag(MAPPED).state == "success"
    assert {each["to"]: each["text"] for each in sandbox.messages()} == {
        f"+25078123456{each}": f"Muraho {each}" for each in range(3)
    }


def test_a_dropped_answer_fails_without_retry_and_says_what_to_do(run_dag, sandbox, capfd):
    sandbox.add_fault(call="send_sms", action="drop_after", times=None)
    text = "a private text"  # not in the call below, which logging shows when its stream was closed by another test
    run = run_dag(source(text=text))
    assert (run.state, task(run).try_number) == ("failed", 1)
    assert len(sandbox.messages()) == 1
    logged = "".join(capfd.readouterr())
    with_a_ledger = "change the status of the entry 'pindo_sms' from 'unknown' to 'sent' or 'not_sent'"
    without_one = "if so, mark the task as success; if not, clear it, which sends again"
    assert (with_a_ledger if HAS_STORE else without_one) in logged
    assert "+25078****567" in logged
    if AIRFLOW_VERSION >= 3:  # Airflow 2.11 logs each exception several times
        assert [logged.count(line) for line in ("The message may have been sent", "Find out whether")] == [
            1,
            1,
        ]
    assert sandbox.token not in logged
    assert text not in logged.replace(f"'text': '{text}'", "")


def test_an_unknown_outcome_may_be_accepted(run_dag, sandbox):
    sandbox.add_fault(call="send_sms", action="drop_after")
    run = run_dag(source(on_unknown="accept"))
    assert run.state == "success"
    assert task(run).xcom_pull("text") == {"status": "unknown", "to": PHONE}
    assert len(sandbox.messages()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"to": "0781"}, "not a valid number of RW"),
        ({"text": " "}, "text is empty"),
        ({"sender": "PindoTestCompany"}, "has 16 characters; Pindo takes at most 11"),
        ({"on_unknown": "guess"}, "on_unknown is 'guess': give one of fail, ask, resend, accept"),
        ({"resend": "perhaps"}, "resend is 'perhaps': give true or false"),
        ({"to": "+12025550123"}, "returned 409"),
    ],
)
def test_what_a_retry_cannot_help_is_not_retried(run_dag, sandbox, capfd, arguments, said):
    run = run_dag(source(**arguments))
    assert (run.state, task(run).try_number) == ("failed", 1)
    assert said in "".join(capfd.readouterr())
    assert sandbox.messages() == []


def test_the_button_leads_to_the_message_on_the_sandboxs_page_or_to_the_dashboard():
    operator = PindoSendSmsOperator(task_id="text", to=PHONE, text="Muraho")
    link = PindoMessageLink()
    assert link.get_link(operator, ti_key=None) == _DASHBOARD
    operator.result = {"self_url": "http://api.pindo.io/v1/sms/out_sms_1", "to": PHONE}
    assert link.get_link(operator, ti_key=None) == _DASHBOARD
    operator.result = {"self_url": "http://127.0.0.1:8025/v1/sms/out_sms_1", "to": PHONE}
    assert link.get_link(operator, ti_key=None) == "http://127.0.0.1:8025/?find=%2B250781234567"
