"""Ask patients whether they come, wait for their replies, and sort the patients by them.

Each patient is texted "Reply YES 4821 or NO 4821", with a code of their own. Pindo's inbound list does not say
who sent a message; the code does, and the moment of the run keeps last week's replies out. Who says yes keeps the
appointment, who says no needs another time, and who does not reply lands on the list that the reception calls:
one task for each, in which your own work goes, such as an entry in the clinic's calendar. All patients are waited
for in the triggerer, by one request to Pindo per interval, and hold no worker meanwhile.

With the real Pindo, send from a number of your account's, or name one in the text: a phone cannot reply to a name
such as PindoTest. The patients' numbers are made up, and may be somebody's: give your own.
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
LOOK_EVERY = timedelta(seconds=30)

PATIENTS = [
    {"name": "Aline", "to": "+250780000201", "time": "09:00"},
    {"name": "Eric", "to": "+250780000202", "time": "09:30"},
    {"name": "Chantal", "to": "+250780000203", "time": "10:00"},
]


def asked_for(what: str) -> Callable[[Any], bool]:
    """Return a condition for ``task.run_if``: the reply asks for this.

    In a mapped task group Airflow 3.3.2 skips nothing after a ``task.branch``.
    """

    def is_asked_for(context: Any) -> bool:
        ti = context["ti"]
        return ti.xcom_pull(task_ids="ask.read_reply", map_indexes=ti.map_index) == what

    return is_asked_for


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
            description="Whom to ask: a list of name, to (such as +250781234567) and time.",
        )
    },
    description="Asks patients whether they come, waits for their replies, and sorts them.",
    doc_md=__doc__,
    dag_display_name="Pindo: confirm appointments",
)
def pindo_confirm_appointment():
    # Airflow logs what such a task returns, unless it is told not to.
    @task(task_display_name="Write the questions", show_return_value_in_logs=False)
    def write_questions(params=None, dag_run=None) -> list[dict[str, Any]]:
        """Return one question for each patient, with a code that no other patient of this run has.

        The codes and the moment follow from the run. So when the run is cleared, nobody is asked again, and
        the replies that have come since are found.
        """
        moment = getattr(dag_run, "run_after", None) or dag_run.logical_date  # Airflow 3, 2
        questions: list[dict[str, Any]] = []
        codes: set[int] = set()
        lowest = 10 ** max(
            3, len(str(len(params["patients"])))
        )  # four digits, and more for a thousand patients
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
                    "since": moment.isoformat(),
                }
            )
            # [END howto_sensor_pindo_inbound_sms_code]
        return questions

    @task_group(
        tooltip="One patient: ask, wait for the reply, do what follows from it",
        default_args={"map_index_template": "{{ params.patients[ti.map_index].name }}"},  # else a number
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
            poke_interval=LOOK_EVERY,
            soft_fail=True,  # no reply is no failure
            retries=2,  # another try finds the replies that have come: since stays
            deferrable=True,
        )
        # [END howto_sensor_pindo_inbound_sms]

        @task(trigger_rule="all_done", task_display_name="Read the reply")
        def read_reply(replies: list[dict[str, Any]] | None = None) -> str:
            """Return what the patient's last word asks for."""
            if not replies:
                return "call"
            return "confirm" if replies[-1]["groups"]["answer"].lower() == "yes" else "rebook"

        @task.run_if(asked_for("confirm"))
        @task(task_display_name="Keep the appointment", show_return_value_in_logs=False)
        def confirm(name: str) -> str:
            """Do here what a yes is followed by."""
            return name

        @task.run_if(asked_for("rebook"))
        @task(task_display_name="Offer another time", show_return_value_in_logs=False)
        def rebook(name: str) -> str:
            """Free the time here, and offer another one."""
            return name

        @task.run_if(asked_for("call"))
        @task(task_display_name="Leave it to the reception", show_return_value_in_logs=False)
        def call(name: str) -> str:
            """Tell the reception here: nothing came, so somebody has to call."""
            return name

        question >> wait
        read_reply(wait.output) >> [confirm(name), rebook(name), call(name)]

    @task(
        trigger_rule="all_done",
        task_display_name="List what the patients said",
        show_return_value_in_logs=False,
    )
    def report(questions: list[dict[str, Any]], ti=None) -> dict[str, list[str]]:
        """Return and log who was confirmed, who wants another time, and whom to call."""
        lists: dict[str, list[str]] = {"confirm": [], "rebook": [], "call": []}
        for index, question in enumerate(questions):
            what = ti.xcom_pull(task_ids="ask.read_reply", map_indexes=index)
            lists[what].append(question["name"])
        print(", ".join(f"{what}: {len(names)}" for what, names in lists.items()))
        return lists

    questions = write_questions()
    ask.expand_kwargs(questions) >> report(questions)


pindo_confirm_appointment()
