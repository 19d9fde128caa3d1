"""When a task may send, by a clock that the test sets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from airflow_provider_pindo._policy import timing
from airflow_provider_pindo._policy.timing import Timing, check_untemplated, read_timing
from airflow_provider_pindo.api.errors import PindoConfigurationError

KIGALI = ZoneInfo("Africa/Kigali")
NIGHT, MORNING = datetime(2026, 11, 24, 22, tzinfo=KIGALI), datetime(2026, 11, 25, 8, tzinfo=KIGALI)


@pytest.fixture
def clock(monkeypatch):
    def set_to(moment):
        monkeypatch.setattr(timing, "now", lambda: moment.astimezone(UTC))

    set_to(NIGHT)
    return set_to


def read(**arguments):
    defaults = {"send_window": None, "default_window": None, "outside_window": "wait", "expires_at": None}
    return read_timing(**{**defaults, "zone": KIGALI, **arguments})


def test_at_night_the_window_is_closed_and_says_when_it_opens(clock):
    night = read(send_window="08:00-20:00")
    assert (night.is_open, night.opens_at(), night.waits_until()) == (False, MORNING, MORNING)
    assert (
        night.why_closed()
        == "the send window '08:00-20:00' is closed. It opens at 08:00 CAT on Wednesday 25 November 2026"
    )
    clock(MORNING)
    assert (night.is_open, night.opens_at(), night.closes_at()) == (
        True,
        MORNING,
        MORNING + timedelta(hours=12),
    )


def test_a_waiting_task_goes_on_when_it_expires_if_that_is_before_the_window_opens(clock):
    expires = NIGHT + timedelta(hours=1)
    night = read(send_window="08:00-20:00", expires_at=expires.isoformat())
    assert (night.waits_until(), night.has_expired) == (expires, False)
    clock(expires)
    assert night.has_expired
    assert night.why_expired() == "expires_at was 2026-11-24 23:00+02:00: nothing is sent after it"
    assert read(send_window="08:00-20:00", expires_at=MORNING + timedelta(1)).waits_until() == MORNING


def test_without_a_window_it_is_always_open(clock):
    assert (Timing().is_open, Timing().opens_at(), Timing().closes_at()) == (True, NIGHT, None)
    assert not Timing().has_expired


@pytest.mark.parametrize(
    ("given", "default", "text"),
    [
        (None, None, None),
        (None, "08:00-20:00", "08:00-20:00"),
        ("None", "08:00-20:00", "08:00-20:00"),
        ("", "08:00-20:00", None),
        ("09:00-10:00", "08:00-20:00", "09:00-10:00"),
    ],
)
def test_the_tasks_window_goes_before_that_of_the_connection_and_empty_text_switches_it_off(
    given, default, text
):
    window = read(send_window=given, default_window=default).window
    assert (window and window.text) == text


@pytest.mark.parametrize("nothing", [None, "", " ", "None"])
def test_what_a_template_gives_for_no_end_is_no_end(nothing):
    assert read(expires_at=nothing).expires_at is None
    check_untemplated(send_window=None, outside_window="skip", expires_at=nothing)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"send_window": "8-20"}, "send_window is '8-20': write one such as"),
        ({"outside_window": "hold"}, "outside_window is 'hold': give one of wait, skip, fail"),
        ({"expires_at": "2026-11-24 08:00"}, "expires_at is '2026-11-24 08:00': give an aware time"),
        ({"expires_at": datetime(2026, 11, 24)}, "give an aware time, as a datetime or as text such as"),
    ],
)
def test_a_wrong_argument_is_refused_when_the_dag_is_parsed_and_when_the_task_runs(arguments, said):
    with pytest.raises(PindoConfigurationError, match=said.replace("(", ".")):
        read(**arguments)
    given = {"send_window": None, "outside_window": "wait", "expires_at": None, **arguments}
    with pytest.raises(PindoConfigurationError):
        check_untemplated(**given)


def test_what_is_rendered_later_is_checked_later():
    for value in ("{{ params.window }}", object()):
        check_untemplated(send_window=value, outside_window="wait", expires_at=value)
    with pytest.raises(PindoConfigurationError, match="send_window is 8: write one such as"):
        read(send_window=8)


def test_a_zone_with_an_offset_alone_is_one_too(clock):
    window = read(send_window="08:00-20:00", zone=timezone(timedelta(hours=2))).window
    assert window.next_open(NIGHT) == MORNING
