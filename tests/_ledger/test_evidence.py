"""What a message that Pindo reports proves about an unknown outcome."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_pindo._ledger.evidence import SentEvent, find_evidence

BEGAN = datetime(2026, 11, 24, 6, 0, 0, 900_000, tzinfo=UTC)
EVENT = SentEvent("out_sms_1", "+250781234567", "Muraho", "PindoTest", BEGAN.replace(microsecond=0))


def find(*events, **changes):
    request = {"to": "+250781234567", "text": "Muraho", "sender": "PindoTest", "began": BEGAN}
    return find_evidence(events, **{**request, **changes})


def test_a_message_with_the_same_recipient_text_and_sender_proves_that_the_request_sent_it():
    assert find(EVENT) == EVENT


def test_a_report_without_a_sender_counts():
    assert find(replace(EVENT, sender=None)).sms_id == "out_sms_1"


def test_silence_proves_nothing():
    assert find() is None


@pytest.mark.parametrize(
    "change",
    [{"to": "+250781234568"}, {"text": "Murabeho"}, {"sender": "Clinic"}],
    ids=lambda change: str(change),
)
def test_another_message_proves_nothing(change):
    assert find(replace(EVENT, **change)) is None


@pytest.mark.parametrize(
    ("seconds", "counts"), [(-2.1, False), (-2, True), (0, True), (600, True), (600.1, False)]
)
def test_the_message_was_created_soon_after_the_request_began(seconds, counts):
    event = replace(EVENT, created_at=BEGAN + timedelta(seconds=seconds))
    assert (find(event) is not None) == counts


def test_a_message_of_another_request_counts_once():
    second = replace(EVENT, sms_id="out_sms_2", created_at=EVENT.created_at + timedelta(seconds=3))
    assert find(second, EVENT).sms_id == "out_sms_1"
    assert find(second, EVENT, counted={"out_sms_1"}).sms_id == "out_sms_2"
    assert find(second, EVENT, counted={"out_sms_1", "out_sms_2"}) is None
