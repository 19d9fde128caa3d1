"""Calls and responses that several tests of the API use."""

from __future__ import annotations

import json

from airflow_provider_pindo.api import calls
from airflow_provider_pindo.api.responses import (
    Response,
)

SEND = calls.send_sms("+250781234567", "a private text", "PindoTest")
BALANCE = calls.get_balance()
EVERY_CALL = [
    SEND,
    BALANCE,
    calls.send_bulk_sms(["+250781234567"], "a private text", "PindoTest"),
    calls.verify("+250781234567", "PindoTest"),
    calls.check_verification(4, "752623"),
    calls.get_verification(4),
    calls.cancel_verification(4),
    calls.list_inbound_sms(1, 20, "UTC"),
    calls.list_sender_ids(),
]
RECEIPT = {
    "bonus": 0.0,
    "discount": 0.4,
    "item_count": 1,
    "item_price": 0.006,
    "remaining_balance": 71421.953,
    "self_url": "http://api.pindo.io/v1/sms/out_sms_01H7DJEJ1YZKTNT8EDXY2C7YG9",
    "sms_id": "out_sms_01H7DJEJ1YZKTNT8EDXY2C7YG9",
    "status": "sent",
    "to": "+250781234567",
    "total_cost": 0.006,
}


def response(status, body=None, **headers):
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return Response(status, headers, content, "https://api.pindo.io/v1/sms/")
