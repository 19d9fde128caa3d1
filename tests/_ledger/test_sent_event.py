"""What a `sent` webhook says, for evidence."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from airflow_provider_pindo._ledger.evidence import SentEvent, message_fingerprint, read_sent_event
from airflow_provider_pindo.api.webhooks import SENT, Webhook, read_webhook

BODY = {
    "id": "out_sms_1",
    "text": "Muraho",
    "sender": "PindoTest",
    "created_at": "2026-06-10T09:04:12",
    "to": "250781234567",
}
RECEIVED = datetime(2026, 6, 10, 7, 4, 15, tzinfo=UTC)
EVENT = SentEvent(
    "out_sms_1",
    message_fingerprint("+250781234567", "Muraho"),
    "PindoTest",
    datetime(2026, 6, 10, 7, 4, 12, tzinfo=UTC),
    RECEIVED,
    7,
)


def read(body, timezone="Africa/Kigali"):
    return read_sent_event(body, timezone, RECEIVED, 7)


def test_a_body_is_a_message():
    assert read(BODY) == EVENT


def test_a_number_and_an_empty_sender_are_read():
    event = read({**BODY, "id": 7, "sender": ""})
    assert (event.sms_id, event.sender) == ("7", None)


@pytest.mark.parametrize("no_id", [{}, {"id": None}, {"id": ""}, {"id": True}])
def test_the_id_may_be_that_of_a_delivery_report(no_id):
    body = {key: value for key, value in BODY.items() if key != "id"}
    body = {**body, **no_id, "sms_id": "out_sms_1"}
    assert read(body) == EVENT
    assert read_webhook(body) == Webhook(SENT, "out_sms_1")


@pytest.mark.parametrize("to", ["250781234567", "00250781234567", "+250 781-234-567", 250781234567])
def test_a_number_is_the_same_however_it_is_written(to):
    assert message_fingerprint(to, "Muraho") == message_fingerprint("+250781234567", "Muraho")
    assert message_fingerprint(to, "Muraho") != message_fingerprint("+250781234500", "Muraho")


def test_zeros_at_the_end_belong_to_a_number():
    assert message_fingerprint("+25078123450", "Muraho") != message_fingerprint("+2507812345000", "Muraho")


@pytest.mark.parametrize(
    "odd", [{"id": None}, {"text": 4}, {"created_at": "yesterday"}, {"created_at": None}]
)
def test_a_body_that_lacks_what_proves_it_is_no_message(odd):
    assert read({**BODY, **odd}) is None
