"""Keep the wallet from running dry: every working day it is read, and when it is low somebody is asked to top it up.

The treasurer is texted "The Pindo wallet holds 8.20 USD. Top it up and reply DONE 4821". The DAG waits for that
reply in the triggerer, without a worker, and then looks into the wallet again: a reply is no money. If the wallet
is still low, the last task fails, and whoever watches failed tasks hears of it. A scheduled run that comes more than
8 hours after its moment does nothing, such as the one that Airflow starts when the DAG is switched on in the evening.

Of the reply only the message's id is kept. Wait with ``PindoInboundSmsSensor`` where you want its text.

The question itself costs a text, so let *Least* leave enough for it: with an empty wallet Pindo refuses it, and the
task fails and is tried again. In the sandbox the wallet is full at first: trigger the DAG with *Least* above what it
holds, such as 550, and press *Add $100* on the sandbox's page before you reply. With the real Pindo, name a number of
your account's in the text: a phone cannot reply to a name such as PindoTest.
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
    """Wait in the triggerer until a message has a word and a code in it, and keep nothing but its id.

    :param word: the word. (templated)
    :param code: the code that follows it. (templated)
    :param since: messages from this moment on count, as ISO text. (templated)
    """

    template_fields = ("word", "code", "since")

    def __init__(self, *, word: str, code: str, since: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.word = word
        self.code = code
        self.since = since

    def execute(self, context: Any) -> None:
        """Leave the worker, and wait."""
        from airflow_provider_pindo.triggers.sms import PindoInboundSmsTrigger

        self.defer(
            trigger=PindoInboundSmsTrigger(
                pattern=rf"(?i)\b{self.word}\W*{self.code}\b", since=self.since, poke_interval=10
            ),
            method_name="go_on",
            timeout=TIME_TO_TOP_UP,
        )

    def go_on(self, context: Any, event: dict[str, Any]) -> list[int]:
        """Return the ids of the messages that matched."""
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
            description="USD that the wallet should hold at the start of a day.",
        ),
        "treasurer": Param(
            "+250780000301",
            type="string",
            title="Treasurer",
            description="The phone of whoever tops the wallet up, such as +250781234567.",
        ),
    },
    description="Asks for a top-up when the wallet is low, and waits until it is there.",
    doc_md=__doc__,
    dag_display_name="Pindo: low balance",
)
def pindo_low_balance():
    # [START howto_hook_pindo]
    @task.short_circuit(task_display_name="Is the wallet low?")
    def read_wallet(params=None, run_id=None, dag_run=None) -> dict[str, Any]:
        """Return what to ask for; nothing, which skips the rest, when the wallet holds enough or it is too late."""
        from airflow_provider_pindo.hooks.pindo import PindoHook

        moment = getattr(dag_run, "run_after", None) or dag_run.data_interval_end  # Airflow 3, 2
        if dag_run.run_type == "scheduled" and pendulum.now("UTC") - moment > TIME_TO_TOP_UP:
            print(f"Nobody is asked: this run was to start at {moment}, which is too long ago")
            return {}
        with PindoHook() as hook:
            amount = hook.get_balance().amount
        if amount >= params["least"]:
            return {}
        return {
            "amount": f"{amount:,.2f}",
            "code": str(1000 + zlib.crc32(run_id.encode()) % 9000),  # a retry asks with the same one
            # The run's moment, which a clear does not move: a reply that has come is found then.
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

    @task(task_display_name="Look again")
    def look_again(params=None) -> float:
        """Return what the wallet holds now; fail if that is still too little."""
        from airflow_provider_pindo.hooks.pindo import PindoHook

        with PindoHook() as hook:
            amount = hook.get_balance().amount
        if amount < params["least"]:
            raise AirflowFailException(f"the wallet still holds only {amount:,.2f} USD")
        return amount

    read_wallet() >> ask >> wait >> look_again()


pindo_low_balance()
