"""A task that asks a person, in a real Airflow: the answers, the kills and the races, and what the phones got."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from urllib.parse import unquote

import pytest
import requests

from demo.deployment import AIRFLOW_VERSION, VIEWER, Deployment
from demo.rest import AirflowRest, wait_until

pytestmark = pytest.mark.skipif(AIRFLOW_VERSION < 3, reason="a task can park itself from Airflow 3.3 on")

PHONE = "+250781234567"
ARRIVED, NOT_ARRIVED, LEFT = "It arrived", "It did not: send it", "Leave it failed"
DAG = """
import time
from datetime import datetime, timedelta
from airflow.providers.common.compat.sdk import DAG
from airflow_provider_pindo.operators.sms import PindoSendSmsOperator
from airflow_provider_pindo.operators.verify import PindoVerifyOperator


class SlowToSend(PindoSendSmsOperator):
    def _send(self, context, *args, **kwargs):
        if context["params"]["slow"] and kwargs["before"] is not None and context["ti"].try_number == 1:
            print("The answer is in the ledger")
            time.sleep(60)
        return super()._send(context, *args, **kwargs)


with DAG("DAG_ID", schedule=None, start_date=datetime(2026, 1, 1), params={"slow": False}) as dag:
    OPERATOR
"""
TEXT = f"""SlowToSend(
        task_id="text", to="{PHONE}", text="Muraho", on_unknown="ask", retries=2, retry_delay=timedelta(seconds=1),
    )"""
PIN = f'PindoVerifyOperator(task_id="text", number="{PHONE}", on_unknown="ask")'


class Send:
    """A run of a DAG with one task, and what people do to it."""

    def __init__(self, deployment: Deployment, dag_id: str) -> None:
        self.deployment = deployment
        self.rest = deployment.rest
        self.dag_id = dag_id
        self.questions = 0

    def start(self, **params):
        self.run_id = self.rest.trigger(self.dag_id, conf=params)
        return self

    def wait_for_question(self, *, is_noticed=True):
        """Wait until the task has parked itself, and until the scheduler has noticed that its process ended.

        An answer before that moment meets a race in Airflow, which a person is too slow for.
        """
        self.rest.wait_for_task(self.dag_id, self.run_id, "text", state="awaiting_input")
        self.questions += 1
        ended = re.compile(rf"TaskInstance Finished:.*{re.escape(self.run_id)}.* state=awaiting_input")
        log = self.deployment.component_log("scheduler")
        if is_noticed:
            wait_until(
                lambda: (
                    len(ended.findall(log.read_text(encoding="utf-8", errors="replace"))) >= self.questions
                ),
                "the scheduler has noticed that the task waits",
                timeout=60,
            )
        return self

    def answer(self, option):
        self.rest.answer(self.dag_id, self.run_id, "text", option)

    def answer_twice_at_once(self, option):
        """Let two people press the same button right after the task parks; return the state in which the task ends.

        Airflow may take the task for dead then, so that the next try asks again. This answers again too.

        Either answer may be lost. Airflow 3.3.2 commits its audit log on the event loop. On SQLite, that commit may
        wait for the other request, which needs the event loop to commit. SQLite gives up after 60 s.
        """

        def answer(_=None):
            with suppress(requests.RequestException):
                self.answer(option)

        def end_or_answer_again():
            if self.task["state"] == "awaiting_input":
                time.sleep(10)  # the next answer comes after the race, as a person's does
                answer()
            return self.task["state"] in ("success", "failed") and self.task["state"]

        with ThreadPoolExecutor(2) as people:
            list(people.map(answer, range(2)))
        return wait_until(end_or_answer_again, "the task has ended", timeout=180, interval=2)

    def wait_for_end(self):
        return self.rest.wait_for_run(self.dag_id, self.run_id)

    def clear(self):
        self.rest.clear(self.dag_id, self.run_id, "text")

    def pause(self, is_paused):
        self.rest.request("PATCH", f"/dags/{self.dag_id}", json={"is_paused": is_paused})

    @property
    def task(self):
        return self.rest.task_instance(self.dag_id, self.run_id, "text")

    @property
    def result(self):
        return self.rest.xcom(self.dag_id, self.run_id, "text")

    @property
    def entry(self):
        (entry,) = self.rest.task_state(self.dag_id, self.run_id, "text").values()
        return entry

    def log(self, *, after, try_number=1):
        """Return the log of a try, once ``after`` is in it."""

        def read():
            log = self.deployment.task_log(self.dag_id, self.run_id, "text", try_number=try_number)
            return log if after in log else ""

        return wait_until(read, f"the log says {after!r}", timeout=60)


@pytest.fixture
def add(deployment, sandbox):
    """Add a DAG with this operator, and return its first run, which is not started."""

    def add(dag_id, operator):
        deployment.add_dag(dag_id, DAG.replace("DAG_ID", dag_id).replace("OPERATOR", operator))
        return Send(deployment, dag_id)

    return add


@pytest.fixture
def send(add):
    return add("asks", TEXT)


def lose(sandbox, action="drop_before", **fault):
    sandbox.add_fault(call="send_sms", action=action, **fault)


def test_it_arrived_ends_the_run_and_a_viewer_cannot_say_so(send, sandbox, deployment):
    lose(sandbox, "drop_after")
    send.start().wait_for_question()
    viewer = AirflowRest(deployment.url, VIEWER, deployment.viewer_password, airflow_version=AIRFLOW_VERSION)
    with pytest.raises(requests.HTTPError, match="403"):
        viewer.answer(send.dag_id, send.run_id, "text", ARRIVED)
    viewer.close()
    assert send.task["state"] == "awaiting_input"

    send.answer(ARRIVED)
    assert send.wait_for_end() == "success"
    assert send.task["try_number"] == 1
    assert send.result == {"status": "sent", "to": PHONE}
    assert len(sandbox.messages()) == 1
    assert send.entry["status"] == "sent"
    assert {**send.entry["settled"], "at": ""} == {"by": "person", "who": "admin", "at": ""}
    events = send.rest.request("GET", "/eventLogs", params={"dag_id": send.dag_id, "run_id": send.run_id})
    (answered,) = [event for event in events["event_logs"] if "hitl" in event["event"]]
    assert answered["owner"] == "admin"
    assert ARRIVED in answered["extra"]


def test_it_did_not_sends_it_once_in_the_same_try(send, sandbox):
    lose(sandbox)
    send.start().wait_for_question().answer(NOT_ARRIVED)
    assert send.wait_for_end() == "success"
    assert send.task["try_number"] == 1
    (message,) = sandbox.messages()
    assert send.result["sms_id"] == message["sms_id"]


def test_left_failed_fails_and_a_clear_asks_again(send, sandbox):
    lose(sandbox, "drop_after")
    send.start().wait_for_question().answer(LEFT)
    assert send.wait_for_end() == "failed"
    assert send.task["try_number"] == 1
    send.clear()
    send.wait_for_question().answer(ARRIVED)
    assert send.wait_for_end() == "success"
    assert len(sandbox.messages()) == 1


def kill_while_it_sends(send, sandbox):
    lose(sandbox, "slow_answer", seconds=15)
    running = send.rest.wait_for_task(send.dag_id, send.run_id, "text")
    wait_until(lambda: sandbox.messages(), "the message has arrived", timeout=30)
    send.deployment.task_process(running).kill()


def test_the_retry_of_a_killed_task_asks(send, sandbox):
    send.start()
    kill_while_it_sends(send, sandbox)
    send.wait_for_question().answer(ARRIVED)
    assert send.wait_for_end() == "success"
    assert send.task["try_number"] == 2
    assert len(sandbox.messages()) == 1


def test_a_killed_task_without_a_retry_fails_and_asks_after_a_clear(add, sandbox):
    send = add("asks_once", TEXT.replace("retries=2", "retries=0")).start()
    kill_while_it_sends(send, sandbox)
    assert send.wait_for_end() == "failed"
    assert send.questions == 0
    send.clear()
    send.wait_for_question().answer(ARRIVED)
    assert send.wait_for_end() == "success"
    assert len(sandbox.messages()) == 1


def test_a_kill_between_the_answer_and_the_request_sends_once_and_asks_nobody_again(send, sandbox):
    lose(sandbox)
    send.start(slow=True).wait_for_question().answer(NOT_ARRIVED)
    send.log(after="The answer is in the ledger")
    send.deployment.task_process(send.task).kill()
    assert send.wait_for_end() == "success"
    assert send.task["try_number"] == 2
    assert len(sandbox.messages()) == 1
    assert len(sandbox.requests(call="send_sms")) == 2  # the lost one, and the one after the answer


def test_an_answer_after_the_run_was_cleared_is_not_applied(send, sandbox):
    lose(sandbox, "drop_after")
    send.start().wait_for_question()
    send.pause(True)
    try:
        send.clear()
        send.answer(NOT_ARRIVED)
    finally:
        send.pause(False)
    send.wait_for_question()
    assert len(sandbox.messages()) == 1
    send.answer(ARRIVED)
    assert send.wait_for_end() == "success"
    assert len(sandbox.messages()) == 1


def test_two_answers_at_once_right_after_the_task_parks_send_once(send, sandbox):
    lose(sandbox)
    send.start().wait_for_question(is_noticed=False)
    assert send.answer_twice_at_once(NOT_ARRIVED) == "success"
    assert len(sandbox.messages()) == 1


def test_a_second_unknown_asks_again(send, sandbox):
    lose(sandbox, "drop_after", times=2)
    send.start().wait_for_question().answer(NOT_ARRIVED)
    send.wait_for_question()
    assert len(sandbox.messages()) == 2  # the person was wrong
    send.answer(ARRIVED)
    assert send.wait_for_end() == "success"
    assert len(sandbox.messages()) == 2


def test_without_an_answer_in_time_it_fails_as_with_fail(add, sandbox):
    send = add("asks_briefly", TEXT.replace("retries=2", "retries=2, ask_timeout=timedelta(seconds=1)"))
    lose(sandbox)
    send.start()
    assert send.wait_for_end() == "failed"
    assert send.task["try_number"] == 1
    log = send.log(after="change the status of the entry 'pindo_sms' from 'unknown' to 'sent' or 'not_sent'")
    assert "Nobody answered within 0:00:01" in log
    assert sandbox.messages() == []


def test_a_pin_that_arrived_has_no_request_id(add, sandbox):
    send = add("asks_about_a_pin", PIN)
    sandbox.add_fault(call="verify", action="drop_after")
    send.start().wait_for_question().answer(ARRIVED)
    assert send.wait_for_end() == "success"
    assert send.result == {"status": "sent", "number": PHONE, "request_id": None}
    assert len(sandbox.messages()) == 1


@pytest.mark.browser
def test_a_person_presses_each_button(add, sandbox, page, picture):
    send = add("clinic", TEXT.replace("SlowToSend", "PindoSendSmsOperator"))
    lose(sandbox)
    send.start().wait_for_question()
    (url,) = set(re.findall(r"http://\S+/required_actions", send.log(after="/required_actions")))
    page.set_viewport_size({"width": 1100, "height": 560})
    page.goto(url)
    page.get_by_text("Did the message arrive?").first.wait_for()

    def button(option):
        return page.get_by_role("button", name=option, exact=True)

    button(LEFT).wait_for()
    picture(page, "ask")
    button(LEFT).click()
    assert send.wait_for_end() == "failed"
    send.clear()
    send.wait_for_question()
    page.goto(url)
    lose(sandbox, "drop_after")
    button(NOT_ARRIVED).click()
    send.wait_for_question()
    page.goto(url)
    button(ARRIVED).click()
    assert send.wait_for_end() == "success"
    assert [message["text"] for message in sandbox.messages()] == ["Muraho"]
    assert unquote(url) == f"{send.deployment.url}/dags/clinic/runs/{send.run_id}/tasks/text/required_actions"
