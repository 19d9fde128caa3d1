"""Ask for a top-up when the Pindo wallet is low.

Every working day at 07:30 in Kigali, the DAG reads the wallet. If the wallet is low, the treasurer is texted "The
Pindo wallet holds 8.20 USD. Top it up and reply DONE 4821". The DAG waits for that reply in the triggerer, without a
worker. Then it reads the wallet again, because a reply does not prove a top-up. If the wallet is still low, the
last task fails, and Airflow reports it like any failed task.

A scheduled run that starts more than 8 hours late does nothing. Airflow starts such a run when the DAG is switched
on in the evening.

The DAG stores only the ID of the reply. If you need its text, use ``PindoInboundSmsSensor`` instead.

The question itself costs a text, so *Least* must leave enough for it. With an empty wallet Pindo refuses the text,
and the task fails and is retried.

In the sandbox the wallet is full at first. Trigger the DAG with *Least* above the balance, such as 550. Press *Add
$100* on the sandbox's page before you reply. With the real Pindo, write a number of your account in the text: a
phone cannot reply to a name such as PindoTest.
"""

from __future__ import annotations

import zlib
from datetime import timedelta
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    BaseOperator,
    Param,
    dag,
    task,
)

from airflow_provider_pindo.operators.sms import PindoSendSmsOperator

TIME_TO_TOP_UP = timedelta(hours=8)


# [START howto_trigger_pindo_inbound_sms]
class WaitForWordOperator(BaseOperator):
    """Wait in the triggerer for a message with a word and a code, and return only its ID.

    :param word: the word. (templated)
    :param code: the code after the word. (templated)
    :param since: ignore messages from before this time, as ISO text. (templated)
    """

    template_fields = ("word", "code", "since")

    def __init__(self, *, word: str, code: str, since: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.word = word
        self.code = code
        self.since = since

    def execute(self, context: Any) -> None:
        """Free the worker, and wait in the triggerer."""
        from airflow_provider_pindo.triggers.sms import PindoInboundSmsTrigger

        self.defer(
            trigger=PindoInboundSmsTrigger(
                pattern=rf"(?i)\b{self.word}\W*{self.code}\b", since=self.since, poke_interval=10
            ),
            method_name="return_ids",
            timeout=TIME_TO_TOP_UP,
        )

    def return_ids(self, context: Any, event: dict[str, Any]) -> list[int]:
        """Return the IDs of the matching messages."""
        if event["status"] == "failed":
            raise (AirflowException if event["retry_helps"] else AirflowFailException)(event["reason"])
        return event["ids"]


# [END howto_trigger_pindo_inbound_sms]


@dag(
    schedule="30 7 * * 1-5",
    start_date=pendulum.datetime(2026, 1, 1, tz="Africa/Kigali"),
    catchup=False,
    max_active_runs=1,
    tags=["pindo", "sms", "example"],
    params={
        "least": Param(
            20.0,
            type="number",
            minimum=0,
            title="Least",
            description="The wallet should hold at least this many USD at the start of a day.",
        ),
        "treasurer": Param(
            "+250780000301",
            type="string",
            title="Treasurer",
            description="The phone of the person who tops up the wallet, such as +250781234567.",
        ),
    },
    description="Asks for a top-up when the wallet is low, and waits for the reply.",
    doc_md=__doc__,
    dag_display_name="Pindo: low balance",
)
def pindo_low_balance():
    # [START howto_hook_pindo]
    @task.short_circuit(task_display_name="Is the wallet low?")
    def read_wallet(params=None, run_id=None, dag_run=None) -> dict[str, Any]:
        """Return the facts of the question. Return nothing, which skips the rest, if no question is needed."""
        from airflow_provider_pindo.hooks.pindo import PindoHook

        run_time = getattr(dag_run, "run_after", None) or dag_run.data_interval_end  # Airflow 3, 2
        if dag_run.run_type == "scheduled" and pendulum.now("UTC") - run_time > TIME_TO_TOP_UP:
            print(f"Nobody is asked: this run should have started at {run_time}, and now it is too late")
            return {}
        with PindoHook() as hook:
            amount = hook.get_balance().amount
        if amount >= params["least"]:
            return {}
        return {
            "amount": f"{amount:,.2f}",
            "code": str(1000 + zlib.crc32(run_id.encode()) % 9000),  # a retry uses the same code
            # A clear does not change the run's time, so a reply from before the clear is found.
            "since": (getattr(dag_run, "run_after", None) or dag_run.logical_date).isoformat(),
        }

    # [END howto_hook_pindo]

    # [START howto_operator_pindo_send_sms]
    ask = PindoSendSmsOperator(
        task_id="ask",
        task_display_name="Ask for a top-up",
        to="{{ params.treasurer }}",
        text="The Pindo wallet holds {{ ti.xcom_pull('read_wallet')['amount'] }} USD. "
        "Top it up and reply DONE {{ ti.xcom_pull('read_wallet')['code'] }}",
        retries=3,
    )
    # [END howto_operator_pindo_send_sms]

    wait = WaitForWordOperator(
        task_id="wait",
        task_display_name="Wait for the reply",
        word="DONE",
        code="{{ ti.xcom_pull('read_wallet')['code'] }}",
        since="{{ ti.xcom_pull('read_wallet')['since'] }}",
    )

    @task(task_display_name="Read the wallet again")
    def look_again(params=None) -> float:
        """Return the balance, or fail if it is still too low."""
        from airflow_provider_pindo.hooks.pindo import PindoHook

        with PindoHook() as hook:
            amount = hook.get_balance().amount
        if amount < params["least"]:
            raise AirflowFailException(f"the wallet still holds only {amount:,.2f} USD")
        return amount

    read_wallet() >> ask >> wait >> look_again()


pindo_low_balance()
