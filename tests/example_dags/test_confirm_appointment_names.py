"""The example that asks patients: its mapped tasks show names, not numbers."""

from __future__ import annotations

import re
import threading

from demo.deployment import EXAMPLE_DAGS
from demo.rest import wait_until

NAMES = ["Aline", "Eric", "{{ 6 * 7 }}"]  # the last looks like a template, and stays a name
SOURCE = (
    (EXAMPLE_DAGS / "pindo_confirm_appointment.py").read_text(encoding="utf-8").replace("Chantal", NAMES[-1])
)


def test_each_task_of_a_patient_that_ran_shows_the_patients_name(run_dag, sandbox):
    def reply():
        try:
            asked = wait_until(
                lambda: len(sandbox.messages()) == len(NAMES) and sandbox.messages(),
                "everybody is asked",
                timeout=300,  # a bound for a run that hangs; the DAG itself decides when it is done
            )
            for each in asked:
                sandbox.reply(each["to"], re.search(r"YES \d+", each["text"])[0])
        except Exception:  # without a reply, dag.test() would wait without end
            sandbox.add_fault("status", call="list_inbound_sms", status=401, times=None)
            raise

    threading.Thread(target=reply, daemon=True).start()
    head, call, tail = SOURCE.rpartition("pindo_confirm_appointment()")
    soon = head.replace("POLL_INTERVAL = timedelta(seconds=30)", "POLL_INTERVAL = timedelta(seconds=1)")
    run = run_dag(f"{soon}dag = {call}{tail}")
    # On Airflow 2.11 a task that is skipped keeps its number.
    ran = [each for each in run.get_task_instances() if each.map_index >= 0 and each.state == "success"]
    assert {each.task_id for each in ran} == {
        "ask.text_patient",
        "ask.wait_for_reply",
        "ask.read_reply",
        "ask.confirm",
    }
    for each in ran:
        assert each.rendered_map_index == NAMES[each.map_index], each.task_id
    greetings = {message["text"].partition(",")[0] for message in sandbox.messages()}
    assert greetings == {f"Hello {name}" for name in NAMES}
