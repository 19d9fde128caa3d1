"""A bulk send that asks a person, in a real Airflow: the answers, the kills and the races, and what the phones got."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from demo.deployment import AIRFLOW_VERSION
from demo.rest import wait_until
from tests.e2e.test_ask import Send

pytestmark = pytest.mark.skipif(AIRFLOW_VERSION < 3, reason="a task can park itself from Airflow 3.3 on")

ALL, NONE, SOME, LEFT = "All arrived", "None arrived: send to them", "Some arrived", "Leave it failed"
PHONES = [f"+25078000000{row}" for row in range(1, 7)]
COLUMNS = ("accepted", "rejected", "unknown", "not_sent", "duplicates", "excluded", "expired")
DAG = """
import time
from datetime import datetime, timedelta
from airflow.providers.common.compat.sdk import DAG
from airflow_provider_pindo.operators.sms import PindoSendBulkSmsOperator


class SlowToSend(PindoSendBulkSmsOperator):
    is_answered = False

    def execute_answer(self, context, event, question):
        self.is_answered = True
        return super().execute_answer(context, event, question)

    def _run(self, context):
        if self.is_answered and context["params"]["slow"] and context["ti"].try_number == 1:
            print("The answer is in the ledger")
            time.sleep(60)
        return super()._run(context)


with DAG("asks_in_bulk", schedule=None, start_date=datetime(2026, 1, 1), params={"slow": False}) as dag:
    SlowToSend(
        task_id="text",
        recipients=PHONES,
        text="Muraho",
        chunk_size=2,
        concurrency=1,
        on_unknown="ask",
        retries=2,
        retry_delay=timedelta(seconds=1),
    )
""".replace("PHONES", repr(PHONES))


class BulkSend(Send):
    """A run of the DAG, and what people do to it."""

    def answer(self, option, arrived=""):
        self.rest.answer(self.dag_id, self.run_id, "text", option, arrived=arrived)

    @property
    def settled(self):
        """Who settled which rows, as the ledger has it."""
        entry = self.rest.task_state(self.dag_id, self.run_id, "text")["pindo_bulk_00001"]
        return [{name: each[name] for name in each if name != "at"} for each in entry["settled"]]


@pytest.fixture
def send(deployment, sandbox):
    """A run that is not started."""
    deployment.add_dag("asks_in_bulk", DAG)
    return BulkSend(deployment, "asks_in_bulk")


def lose(sandbox, action="drop_before", **fault):
    """Lose the response of the request to the rows 3 and 4."""
    sandbox.add_fault(call="send_bulk_sms", action=action, skip=1, **fault)


def texted(sandbox):
    return Counter(message["to"] for message in sandbox.messages())


def ends_well(send, sandbox, phones=PHONES):
    """Wait for the end; these phones got one message each, and everybody is in the column accepted."""
    assert send.wait_for_end() == "success"
    assert texted(sandbox) == Counter(phones)
    result = send.result
    assert [result[name] for name in COLUMNS] == [6, 0, 0, 0, 0, 0, 0]
    return result["given"] == 6


def test_all_arrived_sends_to_nobody(send, sandbox):
    lose(sandbox, "drop_after")
    send.start().wait_for_question()
    log = send.log(after="row 3 (+25078****003): the connection was reset after the request was sent")
    assert PHONES[2] not in log
    send.answer(ALL)
    assert ends_well(send, sandbox)
    assert send.task["try_number"] == 1
    assert send.settled == [{"by": "person", "who": "admin", "arrived": "3-4"}]


def test_none_arrived_sends_to_them_once_in_the_same_try(send, sandbox):
    lose(sandbox)
    send.start().wait_for_question()
    assert texted(sandbox) == Counter(PHONES[:2] + PHONES[4:])
    send.answer(NONE)
    assert ends_well(send, sandbox)
    assert send.task["try_number"] == 1


def test_an_unclear_answer_and_a_second_unknown_ask_again_and_some_arrived_sends_to_the_others(send, sandbox):
    lose(sandbox)
    send.start().wait_for_question()
    send.answer(SOME, "3-5")
    send.wait_for_question()
    send.log(
        after="row 5, whose outcome is not unknown. The unknown rows are 3-4. The question is asked again"
    )
    assert texted(sandbox) == Counter(PHONES[:2] + PHONES[4:])
    sandbox.add_fault(call="send_bulk_sms", action="drop_after")
    send.answer(SOME, "4")
    send.wait_for_question()
    send.log(after="Outcome unknown for 1 recipients")
    send.answer(ALL)
    assert ends_well(send, sandbox, PHONES[:3] + PHONES[4:])
    assert send.task["try_number"] == 1
    assert send.settled == [
        {"by": "person", "who": "admin", "arrived": "4"},
        {"by": "person", "who": "admin", "arrived": "3"},
    ]


def test_left_failed_asks_again_after_a_clear_and_an_entry_that_is_edited_meanwhile_counts(send, sandbox):
    lose(sandbox)
    send.start().wait_for_question().answer(LEFT)
    assert send.wait_for_end() == "failed"
    assert send.task["try_number"] == 1
    send.log(after="admin answered 'Leave it failed'. Outcome unknown for 2 of 6 recipients: row 3")
    send.clear()
    send.wait_for_question()
    key, entry = (
        "pindo_bulk_00001",
        send.rest.task_state(send.dag_id, send.run_id, "text")["pindo_bulk_00001"],
    )
    send.rest.patch_task_state(send.dag_id, send.run_id, "text", key, {**entry, "status": "sent"})
    send.answer(NONE)
    assert ends_well(send, sandbox, PHONES[:2] + PHONES[4:])


def test_without_an_answer_in_time_it_fails_and_the_log_names_a_hundred_of_the_unknown(
    deployment, sandbox, tmp_path
):
    many, report = [f"+25078000{row:04}" for row in range(1, 124)], tmp_path / "report.csv"
    arguments = f"ask_timeout=timedelta(seconds=1), report_path={str(report)!r}, chunk_size=123"
    dag = DAG.replace(repr(PHONES), repr(many)).replace("chunk_size=2", arguments)
    deployment.add_dag("asks_in_bulk_briefly", dag.replace('"asks_in_bulk"', '"asks_in_bulk_briefly"'))
    sandbox.add_fault(call="send_bulk_sms", action="drop_before")
    send = BulkSend(deployment, "asks_in_bulk_briefly").start()
    assert send.wait_for_end() == "failed"
    assert send.task["try_number"] == 1
    log = send.log(after="Nobody answered within 0:00:01. Outcome unknown for 123 of 123 recipients: row 1")
    assert len(set(re.findall(r"row (\d+) \(\+25078\*{4}\d{3}\): the connection", log))) == 100
    assert f"and 23 more: the report {report} and the Pindo tab of this task instance list all" in log
    assert report.read_text(encoding="utf-8").count(",unknown,") == 123
    assert sandbox.messages() == []


def test_the_retry_of_a_killed_send_sends_to_the_rest_and_asks(send, sandbox):
    lose(sandbox, "slow_answer", seconds=15)
    send.start()
    running = send.rest.wait_for_task(send.dag_id, send.run_id, "text")
    wait_until(lambda: len(sandbox.messages()) == 4, "the second request has arrived", timeout=30)
    send.deployment.task_process(running).kill()
    send.wait_for_question()
    send.log(after="row 3 (+25078****003): the task ended while they were in flight", try_number=2)
    send.answer(ALL)
    assert ends_well(send, sandbox)
    assert send.task["try_number"] == 2


def test_a_kill_between_the_answer_and_the_requests_sends_once_and_asks_nobody_again(send, sandbox):
    lose(sandbox)
    send.start(slow=True).wait_for_question().answer(SOME, "4")
    send.log(after="The answer is in the ledger")
    send.deployment.task_process(send.task).kill()
    assert ends_well(send, sandbox, PHONES[:3] + PHONES[4:])
    assert send.task["try_number"] == 2
    assert send.questions == 1


def test_an_answer_after_the_run_was_cleared_is_not_applied(send, sandbox):
    lose(sandbox, "drop_after")
    send.start().wait_for_question()
    send.pause(True)
    try:
        send.clear()
        send.answer(NONE)
    finally:
        send.pause(False)
    send.wait_for_question()
    assert texted(sandbox) == Counter(PHONES)
    send.answer(ALL)
    assert ends_well(send, sandbox)


def test_two_answers_at_once_right_after_the_task_parks_send_once(send, sandbox):
    lose(sandbox)
    send.start().wait_for_question(is_noticed=False)
    assert send.answer_twice_at_once(NONE) == "success"
    assert ends_well(send, sandbox)


@pytest.mark.browser
def test_a_person_presses_each_button_and_types_the_rows_that_arrived(send, sandbox, page, picture):
    lose(sandbox)
    send.start().wait_for_question()
    (url,) = set(re.findall(r"http://\S+/required_actions", send.log(after="/required_actions")))

    def press(option):
        page.get_by_role("button", name=option, exact=True).click()

    page.goto(url)
    page.get_by_text("Which recipients got the message?").first.wait_for()
    page.locator("[name=element_arrived]").fill("3")
    picture(page, "ask-bulk")
    press(LEFT)
    assert send.wait_for_end() == "failed"
    send.clear()
    send.wait_for_question()
    page.goto(url)
    page.locator("[name=element_arrived]").fill("3")
    sandbox.add_fault(call="send_bulk_sms", action="drop_before")
    press(SOME)
    send.wait_for_question()
    page.goto(url)
    sandbox.add_fault(call="send_bulk_sms", action="drop_after")
    press(NONE)
    send.wait_for_question()
    assert texted(sandbox) == Counter(PHONES[:2] + PHONES[3:])
    page.goto(url)
    press(ALL)
    assert ends_well(send, sandbox, PHONES[:2] + PHONES[3:])
