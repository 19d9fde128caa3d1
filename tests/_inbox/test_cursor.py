"""Cursors: which messages they cover, and how they move."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from airflow_provider_pindo._inbox.scan import Cursor, InboundScan, PollResult, lowest
from airflow_provider_pindo.api.arguments import read_since
from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.values import InboundPage
from tests._inbox.lists import START, make_message


def test_the_lowest_cursors_cover_only_what_every_cursor_covers():
    early, late = (Cursor(since=START + timedelta(minutes=minutes)) for minutes in (3, 60))
    assert lowest([]) == ()
    assert lowest([early, late]) == (early,)
    assert lowest([early, Cursor(), late]) == (Cursor(),)
    assert lowest([Cursor(after_id=9), Cursor(after_id=7, since=late.since)]) == (Cursor(after_id=7),)


def test_a_reader_that_knows_less_by_time_than_by_id_gets_both():
    """A reader that is at 50 must get 51, also when another one needs only newer messages."""
    bounds = lowest([Cursor(after_id=50), Cursor(since=START + timedelta(minutes=60))])
    new = [
        number
        for number in (50, 51, 59, 60)
        if not all(bound.covers(make_message(number)) for bound in bounds)
    ]
    assert new == [51, 59, 60]


def test_a_cursor_never_moves_back():
    assert Cursor(after_id=7).advance_to(5) == Cursor(after_id=7)
    assert Cursor(after_id=7).advance_to(None) == Cursor(after_id=7)
    assert Cursor().advance_to(1) == Cursor(after_id=1)
    assert Cursor(after_id=7, since=START).advance_to(9) == Cursor(after_id=9, since=START)


def test_a_reader_gets_what_it_does_not_know_and_moves_behind_all_that_was_read():
    result = PollResult(tuple(map(make_message, (6, 7, 8))), highest_id=9, names_senders=False, country="RW")
    cursor = Cursor(after_id=6)
    new = cursor.new_in(result)
    assert new == replace(result, messages=result.messages[1:])
    assert cursor.advance_past(result) == Cursor(after_id=9)
    assert cursor.advance_past_ids([7, 8], 0) == Cursor(after_id=8)


def test_a_pass_gives_its_messages_oldest_first():
    scan = InboundScan(Cursor())
    new = scan.feed(InboundPage(tuple(map(make_message, (3, 2, 1))), pages=1))
    assert scan.result(new, "RW") == PollResult(
        tuple(map(make_message, (1, 2, 3))), highest_id=3, names_senders=scan.names_senders, country="RW"
    )


def test_the_cursor_that_is_furthest_behind_is_the_lowest():
    in_order = [
        Cursor(),
        Cursor(since=START),
        Cursor(since=START + timedelta(hours=1)),
        Cursor(after_id=1),
        Cursor(after_id=2),
    ]
    furthest_first = in_order[::-1]
    assert sorted(furthest_first, key=Cursor.sort_key) == in_order


@pytest.mark.parametrize("cursor", [Cursor(), Cursor(after_id=7), Cursor(since=START), Cursor(9, START)])
def test_a_cursor_is_read_back_as_it_was_stored(cursor):
    assert Cursor(5, START + timedelta(hours=1)).from_json(cursor.as_json()) == cursor


@pytest.mark.parametrize("stored", [{}, {"after_id": 7}, {"since": None}, {"flushes": 0}])
def test_a_cursor_that_was_stored_in_part_does_not_read_the_whole_list_again(stored):
    with pytest.raises(KeyError):
        Cursor().from_json(stored)


@pytest.mark.parametrize(
    "value", ["", "yesterday", "2026-11-24", "2026-11-24T08:00:00", None, 5, START.replace(tzinfo=None)]
)
def test_an_invalid_since_is_refused(value):
    with pytest.raises(PindoConfigurationError, match=r"since is .* such as 2026-11-24T08:00:00\+02:00$"):
        read_since(value)


def test_since_is_read_from_what_a_template_gives():
    assert read_since(" 2026-01-01T02:00:00+02:00 ") == read_since(str(START)) == read_since(START) == START


def test_an_id_of_zero_or_below_is_known_once_it_was_read():
    cursor = Cursor().advance_to(-3)
    assert cursor.covers(make_message(-3))
    assert not cursor.covers(make_message(0))
    assert cursor.advance_to(0).covers(make_message(0))
    scan = InboundScan(Cursor())
    scan.feed(InboundPage((make_message(0), make_message(-3)), pages=1))
    assert scan.highest_id == 0


def test_a_time_in_whole_seconds_may_be_any_moment_in_its_second():
    since = START + timedelta(milliseconds=400)
    cursor = Cursor(since=since)
    assert not cursor.covers(replace(make_message(1), created_at=START))
    assert cursor.covers(replace(make_message(1), created_at=START + timedelta(milliseconds=399)))
    assert cursor.covers(replace(make_message(1), created_at=START - timedelta(seconds=1)))


@pytest.mark.parametrize(
    ("shown", "older"),
    [
        ("2026-03-01T12:00:30.123", "2026-03-01T12:00:30.122"),
        ("2026-03-01T12:00:30", "2026-03-01T12:00:29"),
        ("2026-03-01T12:00", "2026-03-01T11:59"),
        ("2026-03-01T12:00:30.123456", "2026-03-01T12:00:30.123455"),
    ],
)
def test_a_truncated_time_may_be_any_moment_within_it(shown, older):
    cursor = Cursor(since=datetime(2026, 3, 1, 14, 0, 30, 123456, tzinfo=timezone(timedelta(hours=2))))
    assert not cursor.covers(replace(make_message(1), created_at=datetime.fromisoformat(f"{shown}+00:00")))
    assert cursor.covers(replace(make_message(1), created_at=datetime.fromisoformat(f"{older}+00:00")))


def test_a_naive_since_is_refused():
    with pytest.raises(PindoConfigurationError, match=r"since is .*: give an aware time"):
        Cursor(since=datetime(2026, 1, 1))
