"""What a `sent` webhook says, for evidence."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from airflow_provider_pindo._ledger.evidence import SentEvent, message_fingerprint, read_sent_event

BODY = {
    "id": "out_sms_1",
    "text": "Muraho",
    "sender": "PindoTest",
    "created_at": "2026-06-10T09:04:12",
    "to": "250781234567",
}
EVENT = SentEvent(
    "out_sms_1",
    message_fingerprint("+250781234567", "Muraho"),
    "PindoTest",
    datetime(2026, 6, 10, 7, 4, 12, tzinfo=UTC),
)


def test_a_body_is_a_message():
    assert read_sent_event(BODY, "Africa/Kigali") == EVENT


def test_a_number_and_an_empty_sender_are_read():
    event = read_sent_event({**BODY, "id": 7, "sender": ""}, "UTC")
    assert (event.sms_id, event.sender) == ("7", None)


@pytest.mark.parametrize(
    "odd", [{"id": None}, {"text": 4}, {"created_at": "yesterday"}, {"created_at": None}]
)
def test_a_body_that_lacks_what_proves_it_is_no_message(odd):
    assert read_sent_event({**BODY, **odd}, "UTC") is None
