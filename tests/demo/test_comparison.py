"""The demo's exit code is 0 only if the phones are right. Its comparison is tested here."""

from __future__ import annotations

from typing import Any

import pytest

from demo.reminders import Reminder, compare, expected_reminders, phones_table

REPORT = {"texted": 7, "not_texted": [{"name": "Emmanuel Nshuti"}]}


def message(reminder: Reminder) -> dict[str, Any]:
    text = f"Hello {reminder.name}, at {reminder.time}"
    return {"to": reminder.phone, "text": text, "item_count": 1, "total_cost": 0.006}


@pytest.fixture
def messages() -> list[dict[str, Any]]:
    """One right message for each reminder that the shipped file asks for."""
    return [message(each) for each in sorted(expected_reminders()[0])]


def test_the_shipped_file_asks_for_what_a_reader_counts_in_it():
    reminders, unreachable = expected_reminders()
    assert len(reminders) == 7
    assert len({each.phone for each in reminders}) == 6
    assert Reminder("+250780000101", "15:30", "Aline Uwimana") in reminders
    assert unreachable == {"Emmanuel Nshuti"}


def test_right_messages_are_right(messages):
    assert compare(messages, REPORT) == []


def test_a_missing_message_is_found(messages):
    missing = messages.pop()
    assert [each for each in compare(messages, REPORT) if missing["to"] in each]


def test_a_message_that_came_twice_is_found(messages):
    assert compare([*messages, messages[0]], REPORT) == [
        f"{messages[0]['to']} received a message of no appointment"
    ]


def test_a_message_on_the_wrong_phone_is_found(messages):
    messages[0]["to"] = "+250780000999"
    assert "+250780000999 received a message of no appointment" in compare(messages, REPORT)


def test_a_message_with_another_time_is_found(messages):
    messages[0]["text"] = messages[0]["text"].replace(":", ".")
    assert len(compare(messages, REPORT)) == 2


def test_a_report_that_leaves_somebody_out_is_found(messages):
    assert compare(messages, {"texted": 7, "not_texted": []}) == [
        "the report names [] as not texted, but expected are ['Emmanuel Nshuti']"
    ]


def test_the_table_shows_the_whole_text(messages):
    table = phones_table(messages, width=20)
    for each in messages:
        assert all(word in table for word in each["text"].split())
