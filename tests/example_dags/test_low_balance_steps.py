"""The example that reads the wallet with the hook, asks for a top-up, and waits with the trigger."""

from __future__ import annotations

import re
import threading

import pytest

from demo.deployment import EXAMPLE_DAGS
from demo.rest import wait_until

TREASURER = "+250780000301"
SOURCE = (EXAMPLE_DAGS / "pindo_low_balance.py").read_text(encoding="utf-8")


@pytest.fixture
def run(run_dag):
    """Run the DAG once; return the run and its tasks' states by ID."""

    def run_once(**params):
        head, call, tail = SOURCE.rpartition("pindo_low_balance()")
        dag_run = run_dag(f"{head}dag = {call}{tail}", run_conf=params)
        return dag_run, {each.task_id: each.state for each in dag_run.get_task_instances()}

    return run_once


def answer(sandbox, top_up, word="done"):
    """When the treasurer is asked, top up the wallet and reply with the code of the message."""

    def act():
        try:
            asked = wait_until(lambda: sandbox.messages(to=TREASURER), "the treasurer is asked", timeout=60)
            sandbox.top_up(top_up)
            sandbox.reply(TREASURER, f"{word} {re.search(r'DONE ([0-9]{4})', asked[0]['text'])[1]}, merci")
        except Exception:  # without a reply, dag.test() would wait without end
            sandbox.add_fault("status", call="list_inbound_sms", status=401, times=None)
            raise

    threading.Thread(target=act, daemon=True).start()


def test_nobody_is_asked_while_the_wallet_holds_enough(run, sandbox):
    sandbox.set_balance(20)
    _, states = run()
    assert sandbox.messages() == []
    assert states == {"read_wallet": "success", "ask": "skipped", "wait": "skipped", "look_again": "skipped"}


def test_a_low_wallet_is_asked_for_and_looked_at_again_after_the_reply(run, sandbox):
    sandbox.set_balance(8.2)
    answer(sandbox, top_up=50)
    dag_run, states = run()
    assert set(states.values()) == {"success"}
    (asked,) = sandbox.messages()
    assert asked["to"] == TREASURER
    assert asked["text"].startswith("The Pindo wallet holds 8.20 USD. Top it up and reply DONE ")
    results = {each.task_id: each.xcom_pull(each.task_id) for each in dag_run.get_task_instances()}
    assert results["wait"] == [1]  # the id of the reply, and not its text
    assert 58 < results["look_again"] < 58.2


def test_a_reply_is_no_money(run, sandbox):
    sandbox.set_balance(8.2)
    answer(sandbox, top_up=1)
    _, states = run()
    assert states == {"read_wallet": "success", "ask": "success", "wait": "success", "look_again": "failed"}


def test_a_full_sandbox_is_tried_with_what_the_documentation_says(run, sandbox):
    least = int(re.search(r"\*Least\* above the\s+balance, such as (\d+)", SOURCE)[1])
    answer(sandbox, top_up=100)
    _, states = run(least=least)
    assert set(states.values()) == {"success"}
    assert "wallet holds 500.00 USD" in sandbox.messages()[0]["text"]
