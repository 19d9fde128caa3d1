"""Never twice, shown by the phones: what a real scheduler and executor do to a send that is interrupted.

The tests drop the response, kill the worker or clear the task. A phone gets a second message only if a person
asked for it.
"""

from __future__ import annotations

from urllib.parse import quote

import pytest

from demo.deployment import AIRFLOW_VERSION, Deployment
from demo.rest import wait_until

PHONE = "+250781234567"
TASK = "text"
DAG = """
from datetime import datetime, timedelta
from airflow.providers.common.compat.sdk import DAG
from airflow_provider_pindo.operators.sms import PindoSendSmsOperator


def fail_the_first_try(context, result=None):
    if context["params"]["fail_after_sending"] and context["ti"].try_number == 1:
        raise RuntimeError("something after the send went wrong")


with DAG(
    "never_twice",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    params={"to": "+250781234567", "on_unknown": "fail", "resend": "False", "fail_after_sending": False},
) as dag:
    PindoSendSmsOperator(
        task_id="text",
        to="{{ params.to }}",
        text="{{ var.value.get('text', 'Ejo saa tatu') }}",
        on_unknown="{{ params.on_unknown }}",
        resend="{{ params.resend }}",
        post_execute=fail_the_first_try,
        retries=2,
        retry_delay=timedelta(seconds=1),
    )
"""
ledger = pytest.mark.skipif(AIRFLOW_VERSION < 3, reason="the task state store came with Airflow 3.3")


class Send:
    """Runs of the DAG, and what a person does to them."""

    dag_id = "never_twice"

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.rest = deployment.rest
        self.run_id = ""

    def start(self, **params):
        self.run_id = self.rest.trigger(self.dag_id, conf=params)
        return self

    def wait(self, state, **kwargs):
        return self.rest.wait_for_task(self.dag_id, self.run_id, TASK, state=state, **kwargs)

    def wait_for_end(self):
        return self.rest.wait_for_run(self.dag_id, self.run_id)

    def clear(self):
        """Clear the task and wait until it has ended again; returns its state."""
        tries = self.task["try_number"]
        self.rest.clear(self.dag_id, self.run_id, TASK)
        wait_until(
            lambda: self.task["try_number"] > tries and self.task["state"] in ("success", "failed"),
            "the cleared task has ended",
            timeout=90,
        )
        self.wait_for_end()  # a clear before the end of the run leaves the task cleared forever
        return self.task["state"]

    @property
    def task(self):
        return self.rest.task_instance(self.dag_id, self.run_id, TASK)

    @property
    def result(self):
        return self.rest.xcom(self.dag_id, self.run_id, TASK)

    @property
    def entry(self):
        return self.rest.task_state(self.dag_id, self.run_id, TASK)["pindo_sms"]

    def settle(self, word):
        """Change the entry's word and nothing else, as a person does in the Task State Store tab."""
        self.rest.patch_task_state(
            self.dag_id, self.run_id, TASK, "pindo_sms", {**self.entry, "status": word}
        )

    def log(self, try_number=None):
        number = try_number or self.task["try_number"]
        return self.deployment.task_log(self.dag_id, self.run_id, TASK, try_number=number)


@pytest.fixture
def send(deployment, sandbox):
    deployment.add_dag("never_twice", DAG)
    return Send(deployment)


@pytest.fixture
def change_text(deployment):
    """Change the message's text for every run, as an author who edits the DAG does."""
    deployment.airflow("variables", "set", "text", "Ejo saa kumi")
    yield
    deployment.airflow("variables", "delete", "text")


@ledger
@pytest.mark.parametrize(("word", "arrived", "in_all"), [("sent", True, 1), ("not_sent", False, 1)])
def test_an_unknown_outcome_waits_for_a_person_and_goes_on_from_what_they_say(
    send, sandbox, word, arrived, in_all
):
    sandbox.add_fault(call="send_sms", action="drop_after" if arrived else "drop_before")
    send.start()
    assert send.wait_for_end() == "failed"
    assert send.task["try_number"] == 1
    assert len(sandbox.messages()) == arrived
    assert send.entry["status"] == "unknown"
    assert send.entry["to"] == "+25078****567"
    assert "choose Arrived or Did not arrive in the Pindo tab of this task instance" in send.log()

    assert send.clear() == "failed"  # nobody has settled it yet
    assert len(sandbox.messages()) == arrived

    send.settle(word)
    assert send.clear() == "success"
    assert len(sandbox.messages()) == in_all
    assert send.result["status"] == "sent"
    assert ("sms_id" in send.result) is (word == "not_sent")


@ledger
@pytest.mark.browser
def test_a_person_settles_it_in_the_ui(send, sandbox, page, picture):
    sandbox.add_fault(call="send_sms", action="drop_before")
    send.start()
    assert send.wait_for_end() == "failed"

    page.goto(f"{send.deployment.url}/dags/{send.dag_id}/runs/{quote(send.run_id)}/tasks/{TASK}")
    page.get_by_role("link", name="Storage").click()
    page.get_by_role("link", name="Task State Store").wait_for()
    page.get_by_label("Edit Task State Store").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text('"unknown"', exact=True).dblclick()  # once it is coloured as a value
    page.keyboard.insert_text("not_sent")  # in one step: the editor loses letters that are typed fast
    picture(dialog, "settle")
    dialog.get_by_role("button", name="Save").click()
    wait_until(lambda: send.entry["status"] == "not_sent", "the entry is saved", timeout=30)

    assert send.clear() == "success"
    assert len(sandbox.messages()) == 1


@ledger
@pytest.mark.parametrize("moment", ["before Pindo accepted it", "after Pindo accepted it"])
@pytest.mark.parametrize("victim", ["task", "supervisor"])
def test_a_task_killed_between_request_and_answer_does_not_text_anyone_twice(send, sandbox, moment, victim):
    action = "slow_answer" if moment.startswith("after") else "latency"
    sandbox.add_fault(call="send_sms", action=action, seconds=15)
    send.start()
    running = send.wait("running")
    wait_until(lambda: sandbox.requests(call="send_sms"), "the request has arrived", timeout=30)
    process = send.deployment.task_process(running)
    if victim == "supervisor":
        send.deployment.supervisor_process(running).kill()
    process.kill()

    assert send.wait_for_end() == "failed"
    assert send.task["try_number"] == 2
    assert (
        "an earlier request of this task got no certain response: the message to +25078****567 may have been sent"
        in send.log()
    )
    wait_until(sandbox.messages, "the message has arrived", timeout=60)
    assert len(sandbox.messages()) == 1
    assert len(sandbox.requests(call="send_sms")) == 1
    assert send.entry["status"] == "unknown"


@ledger
def test_a_retry_after_the_send_returns_the_first_receipt(send, sandbox):
    send.start(fail_after_sending=True, resend="True")
    assert send.wait_for_end() == "success"
    assert send.task["try_number"] == 2
    (message,) = sandbox.messages()
    assert send.result["sms_id"] == message["sms_id"]


@ledger
def test_a_cleared_task_returns_its_receipt_and_sends_nothing(send, sandbox):
    send.start()
    assert send.wait_for_end() == "success"
    receipt = send.result
    assert send.clear() == "success"
    assert send.result == receipt
    assert len(sandbox.messages()) == 1
    assert "was sent before: nothing is sent now" in send.log()


@ledger
def test_a_cleared_task_whose_text_changed_fails_and_says_what_to_do(send, sandbox, change_text, deployment):
    deployment.airflow("variables", "delete", "text")
    send.start()
    assert send.wait_for_end() == "success"
    deployment.airflow("variables", "set", "text", "Ejo saa kumi")
    assert send.clear() == "failed"
    assert "its input has changed since" in send.log()
    assert len(sandbox.messages()) == 1


@ledger
def test_a_person_who_clears_with_resend_sends_again(send, sandbox):
    send.start(resend="True")
    assert send.wait_for_end() == "success"
    assert len(sandbox.messages()) == 1
    assert send.clear() == "success"
    assert len(sandbox.messages()) == 2


@ledger
def test_at_least_once_is_there_for_those_who_choose_it(send, sandbox):
    sandbox.add_fault(call="send_sms", action="drop_before")
    send.start(on_unknown="resend")
    assert send.wait_for_end() == "success"
    assert send.task["try_number"] == 2
    assert len(sandbox.messages()) == 1


def test_a_refused_connection_is_retried_and_sends_once(send, deployment, sandbox):
    deployment.kill("sandbox")
    try:
        send.start()
        send.wait("up_for_retry")
        assert "the connection was refused. Nothing was sent" in send.log(try_number=1)
    finally:
        deployment.start("sandbox")
    assert send.wait_for_end() == "success"
    assert len(sandbox.messages()) == 1


@pytest.mark.skipif(AIRFLOW_VERSION >= 3, reason="Airflow 3.3 has the task state store")
def test_before_the_task_state_store_a_task_says_what_it_cannot_promise(send, sandbox):
    send.start()
    assert send.wait_for_end() == "success"
    assert len(sandbox.messages()) == 1
    assert "no task state store" in send.log()


def test_no_log_of_any_process_has_a_token_a_text_or_a_whole_number(send, deployment, sandbox):
    send.start()
    assert send.wait_for_end() == "success"
    logs = [file for folder in ("logs", "components") for file in (deployment.home / folder).rglob("*.log")]
    logs.remove(deployment.component_log("sandbox"))  # the sandbox prints its token for the user
    assert any(f"task_id={TASK}" in str(file) for file in logs)
    for file in logs:
        written = file.read_text(encoding="utf-8", errors="replace")
        for secret in (sandbox.token, "Ejo saa tatu", PHONE):
            assert secret not in written, f"{secret} is in {file}"
