"""The DAG of the kept database: messages that were accepted or are unknown, a PIN, and a bulk send that stopped."""

from datetime import datetime

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_pindo.operators.sms import PindoSendBulkSmsOperator, PindoSendSmsOperator
from airflow_provider_pindo.operators.verify import PindoVerifyOperator

with DAG("upgrade", schedule=None, start_date=datetime(2026, 1, 1)) as dag:
    PindoSendSmsOperator(task_id="accepted", to="+250781234501", text="Ejo saa tatu")
    PindoSendSmsOperator(task_id="unknown", to="+250781234502", text="Ejo saa tatu")
    PindoVerifyOperator(task_id="pin", number="+250781234503")
    PindoSendBulkSmsOperator(
        task_id="everybody",
        recipients=[{"phonenumber": f"+2507812346{row:02d}", "name": f"Patient {row}"} for row in range(20)],
        text="Muraho @contact.name",
        chunk_size=5,
        concurrency=1,
    )
