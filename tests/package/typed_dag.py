"""The DAG of a user who checks types strictly: ``make package`` has mypy read it against the installed wheel.

Each ``type: ignore`` stands for a mistake that mypy must see. If the wheel came without its types, mypy would see
none, and would fail because the comments are of no use.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.sdk import DAG

from airflow_provider_pindo.hooks.pindo import PindoAsyncHook, PindoHook
from airflow_provider_pindo.notifications.sms import PindoNotifier, send_pindo_notification
from airflow_provider_pindo.operators.sms import PindoSendBulkSmsOperator, PindoSendSmsOperator
from airflow_provider_pindo.operators.verify import PindoVerifyCheckOperator, PindoVerifyOperator
from airflow_provider_pindo.sandbox import Sandbox
from airflow_provider_pindo.sensors.sms import PindoInboundSmsSensor

REQUEST_ID = "{{ ti.xcom_pull('send_pin')['request_id'] }}"

with DAG(
    "typed",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    on_failure_callback=PindoNotifier(["+250780000101"], throttle=timedelta(hours=1)),
) as dag:
    PindoSendSmsOperator(task_id="text", to="+250780000101", text="Muraho", retries=3)
    PindoSendBulkSmsOperator(task_id="text_all", recipients=["+250780000101"], text="Muraho", max_cost=1.5)
    PindoInboundSmsSensor(task_id="wait", pattern="(?i)yes", timeout=timedelta(hours=1))
    PindoVerifyOperator(task_id="send_pin", number="+250780000101")
    PindoVerifyCheckOperator(task_id="check_pin", request_id=REQUEST_ID, code="752623")

    PindoSendSmsOperator(task_id="number", to=250780000101, text="Muraho")  # type: ignore[arg-type]
    PindoSendSmsOperator(task_id="nobody", text="Muraho")  # type: ignore[call-arg]
    PindoInboundSmsSensor(task_id="never", pattern=None)  # type: ignore[arg-type]


def send(hook: PindoHook) -> float:
    """Use the hook as one's own code does."""
    receipt = hook.send_sms("+250780000101", "Muraho")
    receipt.sms_id = "another"  # type: ignore[misc]
    wallet = hook.get_balance()
    return wallet.amount if receipt.status == "sent" else 0.0


async def read(hook: PindoAsyncHook) -> list[str]:
    """Use the other hook."""
    return [message.text async for message in hook.iter_inbound_sms(after_id=20)]


def test_it() -> None:
    """Use the sandbox, as one's own tests do."""
    send_pindo_notification("+250780000101", max_segments="one")  # type: ignore[arg-type]
    with Sandbox() as sandbox:
        assert sandbox.messages(to="+250780000101") == []
