"""The example that waits in the triggerer, in a real Airflow, and what the database then holds of the reply."""

from __future__ import annotations

import re

from tests.e2e.test_verification import tables_with

DAG_ID = "pindo_low_balance"
TREASURER = "+250780000301"


def test_the_treasurer_is_asked_once_and_the_reply_is_stored_nowhere(examples, sandbox):
    sandbox.set_balance(8.2)
    examples.rest.wait_for_dag(DAG_ID)
    run_id = examples.rest.trigger(DAG_ID)
    examples.rest.wait_for_task(DAG_ID, run_id, "wait", state="deferred")
    (asked,) = sandbox.messages()
    assert asked["to"] == TREASURER
    sandbox.top_up(50)
    code = re.search(r"reply DONE ([0-9]{4})$", asked["text"])[1]
    reply = sandbox.reply(TREASURER, f"Done {code}, murakoze cyane")
    assert examples.rest.wait_for_run(DAG_ID, run_id) == "success"
    assert examples.rest.xcom(DAG_ID, run_id, "wait") == [reply["id"]]
    assert tables_with(examples, "murakoze") == set()
    assert len(sandbox.messages()) == 1
