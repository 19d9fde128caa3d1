"""Ask patients if they will come, wait for their replies, and sort the patients by reply.

Each patient is texted "Reply YES 4821 or NO 4821", with a code of their own. Pindo's inbound list does not name
the sender of a message, so the code identifies the patient. Replies from before the run are ignored.

- A patient who replies YES keeps the appointment.
- A patient who replies NO needs another time.
- A patient who does not reply is put on the reception's call list.

Each case is one task. Put your own work there, such as an entry in the clinic's calendar.

All patients are waited for in the triggerer, with one request to Pindo per interval. No worker is occupied in
this time.

With the real Pindo, send from a number of your account, or write one in the text. A phone cannot reply to a name
such as PindoTest. The patients' numbers are invented, but they may belong to real people: replace them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import Param, dag, task, task_group

from airflow_provider_pindo.operators.sms import PindoSendSmsOperator
from airflow_provider_pindo.sensors.sms import PindoInboundSmsSensor

WAIT = timedelta(hours=20)
POLL_INTERVAL = timedelta(seconds=30)

PATIENTS = [
    {"name": "Aline", "to": "+250780000201", "time": "09:00"},
    {"name": "Eric", "to": "+250780000202", "time": "09:30"},
    {"name": "Chantal", "to": "+250780000203", "time": "10:00"},
]


def if_next_step_is(step: str) -> Callable[[Any], bool]:
    """Return a condition for ``task.run_if``: the reply leads to ``step``.

    ``task.branch`` does not work here: in a mapped task group, Airflow 3.3.2 skips nothing after it.
    """

    def is_next_step(context: Any) -> bool:
        ti = context["ti"]
        return ti.xcom_pull(task_ids="ask.read_reply", map_indexes=ti.map_index) == step

    return is_next_step


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="Africa/Kigali"),
    tags=["pindo", "sms", "example"],
    params={
        "patients": Param(
            PATIENTS,
            type="array",
            items={"type": "object", "required": ["name", "to", "time"]},
            title="Patients",
            description="The patients to ask, each with name, to (such as +250781234567) and time.",
        )
    },
    description="Asks patients if they will come, waits for replies, and sorts them by reply.",
    doc_md=__doc__,
    dag_display_name="Pindo: confirm appointments",
)
def pindo_confirm_appointment():
    # Without show_return_value_in_logs=False, Airflow logs the return value.
    @task(task_display_name="Write the questions", show_return_value_in_logs=False)
    def write_questions(params=None, dag_run=None) -> list[dict[str, Any]]:
        """Return one question for each patient, with a code that no other patient of this run has.

        The codes and the start time depend only on the run. So after a clear, nobody is asked again, and
        replies that came before the clear are found.
        """
        run_time = getattr(dag_run, "run_after", None) or dag_run.logical_date  # Airflow 3, 2
        questions: list[dict[str, Any]] = []
        codes: set[int] = set()
        # Four digits; five for a thousand patients, so that there are always enough codes.
        lowest = 10 ** max(3, len(str(len(params["patients"]))))
        for patient in params["patients"]:
            seed = hashlib.sha256(f"{dag_run.run_id} {patient['to']}".encode()).hexdigest()
            code = lowest + int(seed, 16) % (9 * lowest)
            while code in codes:
                code = lowest + (code - lowest + 1) % (9 * lowest)
            codes.add(code)
            # [START howto_sensor_pindo_inbound_sms_code]
            questions.append(
                {
                    "name": patient["name"],
                    "to": patient["to"],
                    "text": f"Hello {patient['name']}, do you come tomorrow at {patient['time']}? "
                    f"Reply YES {code} or NO {code}. Kigali Family Clinic",
                    "pattern": rf"(?i)\b(?P<answer>yes|no)\W*{code}\b",
                    "since": run_time.isoformat(),
                }
            )
            # [END howto_sensor_pindo_inbound_sms_code]
        return questions

    @task_group(
        tooltip="One patient: ask, wait for the reply, act on it",
        default_args={
            "map_index_template": "{{ params.patients[ti.map_index].name }}"
        },  # without it: a number
    )
    def ask(name: str, to: str, text: str, pattern: str, since: str):
        # [START howto_sensor_pindo_inbound_sms]
        question = PindoSendSmsOperator(
            task_id="text_patient", task_display_name="Text the question", to=to, text=text, retries=2
        )

        wait = PindoInboundSmsSensor(
            task_id="wait_for_reply",
            task_display_name="Wait for the reply",
            pattern=pattern,
            since=since,
            timeout=WAIT,
            poke_interval=POLL_INTERVAL,
            soft_fail=True,  # without a reply, the task is skipped and does not fail
            retries=2,  # since stays the same, so a retry finds earlier replies
            deferrable=True,
        )
        # [END howto_sensor_pindo_inbound_sms]

        @task(trigger_rule="all_done", task_display_name="Read the reply")
        def read_reply(replies: list[dict[str, Any]] | None = None) -> str:
            """Return the next step, from the patient's last reply."""
            if not replies:
                return "call"
            return "confirm" if replies[-1]["groups"]["answer"].lower() == "yes" else "rebook"

        @task.run_if(if_next_step_is("confirm"))
        @task(task_display_name="Keep the appointment", show_return_value_in_logs=False)
        def confirm(name: str) -> str:
            """Put your work after a YES here."""
            return name

        @task.run_if(if_next_step_is("rebook"))
        @task(task_display_name="Offer another time", show_return_value_in_logs=False)
        def rebook(name: str) -> str:
            """Put your work after a NO here, such as offering another time."""
            return name

        @task.run_if(if_next_step_is("call"))
        @task(task_display_name="Leave it to the reception", show_return_value_in_logs=False)
        def call(name: str) -> str:
            """Put your work after no reply here, such as telling the reception to call."""
            return name

        question >> wait
        read_reply(wait.output) >> [confirm(name), rebook(name), call(name)]

    @task(
        trigger_rule="all_done",
        task_display_name="List the replies",
        show_return_value_in_logs=False,
    )
    def report(questions: list[dict[str, Any]], ti=None) -> dict[str, list[str]]:
        """Return and log the patients of each next step: confirm, rebook and call."""
        lists: dict[str, list[str]] = {"confirm": [], "rebook": [], "call": []}
        for index, question in enumerate(questions):
            step = ti.xcom_pull(task_ids="ask.read_reply", map_indexes=index)
            lists[step].append(question["name"])
        print(", ".join(f"{step}: {len(names)}" for step, names in lists.items()))
        return lists

    questions = write_questions()
    ask.expand_kwargs(questions) >> report(questions)


pindo_confirm_appointment()
