"""What a message that Pindo reports proves about an unknown outcome."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_pindo._ledger.evidence import (
    SentEvent,
    UnknownMessage,
    find_evidence,
    find_unambiguous_events,
    format_message,
    message_fingerprint,
    parse_message,
)

BEGAN = datetime(2026, 11, 24, 6, 0, 0, 900_000, tzinfo=UTC)
MESSAGE = message_fingerprint("+250781234567", "Muraho")
EVENT = SentEvent("out_sms_1", MESSAGE, "PindoTest", BEGAN.replace(microsecond=0), BEGAN, 1)
UNKNOWN = UnknownMessage(MESSAGE, "PindoTest", BEGAN)


def find(*events):
    return find_evidence({"row": UNKNOWN}, events).get("row")


def test_a_message_with_the_same_recipient_text_and_sender_proves_that_the_request_sent_it():
    assert find(EVENT) == EVENT


def test_a_report_without_a_sender_counts():
    assert find(replace(EVENT, sender=None)).sms_id == "out_sms_1"


def test_silence_proves_nothing():
    assert find() is None


@pytest.mark.parametrize(
    "change",
    [
        {"fingerprint": message_fingerprint("+250781234568", "Muraho")},
        {"fingerprint": message_fingerprint("+250781234567", "Murabeho")},
        {"sender": "Clinic"},
    ],
    ids=["number", "text", "sender"],
)
def test_another_message_proves_nothing(change):
    assert find(replace(EVENT, **change)) is None


@pytest.mark.parametrize(
    ("seconds", "counts"), [(-2.1, False), (-2, True), (0, True), (600, True), (600.1, False)]
)
def test_the_message_was_created_soon_after_the_request_began(seconds, counts):
    event = replace(EVENT, created_at=BEGAN + timedelta(seconds=seconds))
    assert (find(event) is not None) == counts


def test_an_event_counts_for_one_message_only_and_the_earliest_for_the_earliest():
    later = replace(UNKNOWN, began=BEGAN + timedelta(seconds=1))
    second = replace(EVENT, sms_id="out_sms_2", created_at=EVENT.created_at + timedelta(seconds=1))
    unknown = {4: later, 9: UNKNOWN}
    assert find_evidence(unknown, [EVENT, EVENT]) == {9: EVENT}  # Pindo may report it twice
    assert find_evidence(unknown, [second, EVENT]) == {9: EVENT, 4: second}
    assert find_evidence(unknown, [second]) == {9: second}


def test_an_event_that_is_too_early_for_one_message_counts_for_another():
    later = replace(UNKNOWN, began=BEGAN + timedelta(seconds=60))
    assert find_evidence({1: later, 2: UNKNOWN}, [EVENT]) == {2: EVENT}


def only(*events, stable_id=9):
    return find_unambiguous_events({MESSAGE: UNKNOWN}, events, stable_id).get(MESSAGE)


def test_a_message_takes_its_event_only_if_no_other_event_can_be_of_it():
    second = replace(EVENT, sms_id="out_sms_2", created_at=EVENT.created_at + timedelta(minutes=9))
    assert only(EVENT) == EVENT
    assert only(EVENT, EVENT) == EVENT  # Pindo may report it twice
    assert only(EVENT, second) is None
    assert only() is None


@pytest.mark.parametrize(("seconds", "is_another"), [(0, True), (20, True), (20.1, False), (300, False)])
def test_a_message_keeps_its_event_when_another_one_comes_later(seconds, is_another):
    received_at = EVENT.received_at + timedelta(seconds=seconds)
    second = replace(EVENT, sms_id="out_sms_2", received_at=received_at, event_id=2)
    for events in ([EVENT, second], [second, EVENT], [EVENT, second, replace(EVENT, event_id=3)]):
        assert only(*events) == (None if is_another else EVENT)


def test_a_message_takes_no_event_before_the_event_is_settled():
    assert only(EVENT, stable_id=0) is None
    assert only(EVENT, stable_id=1) == EVENT
    later = replace(EVENT, sms_id="out_sms_2", received_at=BEGAN + timedelta(minutes=1), event_id=2)
    assert only(EVENT, later, stable_id=1) == EVENT


@pytest.mark.parametrize(
    "change",
    [
        {"fingerprint": message_fingerprint("+250781234567", "Murabeho")},
        {"sender": "Clinic"},
        {"created_at": BEGAN - timedelta(seconds=3)},
        {"created_at": BEGAN + timedelta(minutes=11)},
    ],
    ids=["text", "sender", "early", "late"],
)
def test_an_event_of_another_message_makes_nothing_ambiguous(change):
    another = replace(EVENT, sms_id="out_sms_2", **change)
    assert only(another) is None
    assert only(another, EVENT) == EVENT


def test_a_report_holds_a_message_and_the_sensor_reads_it():
    text = format_message(MESSAGE, BEGAN.isoformat(), "Pindo Test")
    assert parse_message(text) == (MESSAGE, replace(UNKNOWN, sender="Pindo Test"))
    assert parse_message(format_message(MESSAGE, None, "PindoTest")) == (MESSAGE, None)
    assert parse_message(f"{MESSAGE} 2026-11-29T08:00:00 PindoTest") == (MESSAGE, None)  # without a zone
    assert parse_message(None) == ("", None)
