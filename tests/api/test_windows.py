"""Send windows: what people write, and when a window is open, above all around clock changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.windows import parse_window

KIGALI, BERLIN = ZoneInfo("Africa/Kigali"), ZoneInfo("Europe/Berlin")


def window(text, zone=KIGALI):
    parsed = parse_window("send_window", text, zone)
    assert parsed is not None
    return parsed


def at(text, zone=KIGALI, fold=0):
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold)


@pytest.mark.parametrize(
    ("text", "opened", "closed"),
    [
        ("08:00-20:00", ["2026-11-24 08:00", "2026-11-24 19:59:59"], ["2026-11-24 07:59:59", "2026-11-24 20:00"]),
        ("8:00 - 20:00", ["2026-11-24 08:00"], ["2026-11-24 20:00"]),
        ("mon-sat 08:00-20:00", ["2026-11-23 08:00", "2026-11-28 19:59"], ["2026-11-29 12:00"]),
        ("sat-mon 08:00-20:00", ["2026-11-28 08:00", "2026-11-30 08:00"], ["2026-11-24 12:00"]),
        ("Monday, WED,fri 08:00-20:00", ["2026-11-23 08:00", "2026-11-25 09:00"], ["2026-11-24 12:00"]),
        ("mon-tue, sun 08:00-20:00", ["2026-11-29 08:00", "2026-11-24 09:00"], ["2026-11-25 12:00"]),
        ("20:00-06:00", ["2026-11-24 20:00", "2026-11-25 05:59"], ["2026-11-24 06:00", "2026-11-24 19:59"]),
        ("fri 20:00-06:00", ["2026-11-27 20:00", "2026-11-28 05:59"], ["2026-11-27 05:59", "2026-11-28 20:00"]),
        ("sun 20:00-06:00", ["2026-11-30 05:59"], ["2026-11-29 05:59"]),
        ("00:00-24:00", ["2026-11-24 00:00", "2026-11-24 23:59"], []),
        ("20:00-24:00", ["2026-11-24 23:59:59"], ["2026-11-25 00:00"]),
        ("24:00-06:00", ["2026-11-24 00:00"], ["2026-11-24 06:00"]),
        ("mon-fri 08:00-20:00; sat 09:00-13:00;", ["2026-11-28 09:00"], ["2026-11-28 08:00", "2026-11-29 10:00"]),
        ("08:00-20:00 Europe/Berlin", ["2026-11-24 09:00"], ["2026-11-24 08:59", "2026-11-24 21:00"]),
        ("08:00-09:00 Europe/Berlin; 11:00-12:00 Africa/Kigali", ["2026-11-24 09:30", "2026-11-24 11:30"],
         ["2026-11-24 08:30", "2026-11-24 10:30"]),
    ],
)  # fmt: skip
def test_a_window_is_open_while_the_clock_of_its_zone_shows_its_times(text, opened, closed):
    parsed = window(text)
    assert [moment for moment in opened if not parsed.is_open(at(moment))] == []
    assert [moment for moment in closed if parsed.is_open(at(moment))] == []
    assert str(parsed) == text.strip()


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_window_binds_nothing(text):
    assert parse_window("send_window", text, KIGALI) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("8-20", "send_window is '8-20': write one such as '08:00-20:00 Africa/Kigali'"),
        ("at night", "write one such as"),
        ("08:00-20:00; ; 21:00-22:00", "write one such as"),
        (8, "send_window is 8: write one such as"),
        ("08:00-25:00", "25:00 is not a time of day. Write 00:00 to 24:00"),
        ("08:61-20:00", "08:61 is not a time of day"),
        ("24:01-06:00", "24:01 is not a time of day"),
        ("08:00-08:00", "it ends when it starts. Write 00:00-24:00 for the whole day"),
        ("24:00-00:00", "it ends when it starts"),
        ("mon-sut 08:00-20:00", "'sut' is not a day. Write mon, tue, wed"),
        ("sut-mon 08:00-20:00", "'sut' is not a day"),
        ("mon- 08:00-20:00", "'' is not a day"),
        (
            "08:00-20:00 Africa/Kigalli",
            "'Africa/Kigalli' is not a time zone. Write one such as Africa/Kigali",
        ),
        ("08:00-20:00 ../etc", "'../etc' is not a time zone"),
        ("08:00-20:00 +250781234567", "'+25078****567' is not a time zone"),
        ("+250781234567", "write one such as"),
        ("08:00-12:00; 13:00-20:00 Africa/Kigali", "give each part its time zone, or none of them"),
    ],
)
def test_a_bad_window_is_refused_by_an_error_that_names_it_and_shows_what_to_write(text, said):
    with pytest.raises(PindoConfigurationError) as refused:
        parse_window("send_window", text, KIGALI)
    assert said in str(refused.value)
    assert f"send_window is {text!r}".replace("1234", "****") in str(refused.value)


def test_it_says_when_it_opens_and_closes():
    parsed = window("mon-sat 08:00-20:00")
    assert parsed.next_open(at("2026-11-28 20:00")) == at("2026-11-30 08:00")  # Saturday night to Monday
    assert parsed.next_open(at("2026-11-30 09:00")) == at("2026-11-30 09:00")
    assert parsed.next_open(at("2026-11-30 09:00")).tzinfo is UTC
    assert parsed.closes_at(at("2026-11-30 09:00")) == at("2026-11-30 20:00")
    assert parsed.closes_at(at("2026-11-29 09:00")) == at("2026-11-29 09:00")
    assert window("08:00-12:00; 12:00-20:00").closes_at(at("2026-11-30 09:00")) == at("2026-11-30 20:00")
    assert window("00:00-24:00").closes_at(at("2026-11-30 09:00")) is None


# In Berlin the clock goes from 02:00 to 03:00 on 29 March 2026, and from 03:00 back to 02:00 on 25 October.


def test_an_hour_that_the_clock_skips_never_opens():
    parsed = window("02:15-02:45", BERLIN)
    assert parsed.next_open(at("2026-03-28 12:00", BERLIN)) == at("2026-03-30 02:15", BERLIN)
    weekly = window("sun 02:15-02:45", BERLIN)
    assert weekly.next_open(at("2026-03-28 12:00", BERLIN)) == at("2026-04-05 02:15", BERLIN)


def test_a_window_that_starts_or_ends_in_the_skipped_hour_does_so_at_the_change():
    change = datetime(2026, 3, 29, 1, tzinfo=UTC)
    assert window("02:30-06:00", BERLIN).next_open(at("2026-03-29 00:00", BERLIN)) == change
    assert window("22:00-02:30", BERLIN).closes_at(at("2026-03-28 23:00", BERLIN)) == change
    over_it = window("01:00-06:00", BERLIN)
    assert over_it.closes_at(at("2026-03-29 01:30", BERLIN)) == at("2026-03-29 06:00", BERLIN)


def test_an_hour_that_the_clock_shows_twice_is_open_twice():
    parsed = window("02:15-02:45", BERLIN)
    first, second = (at("2026-10-25 02:15", BERLIN, fold) for fold in (0, 1))
    assert parsed.next_open(at("2026-10-25 00:00", BERLIN)) == first.astimezone(UTC)
    assert parsed.closes_at(first) == first.astimezone(UTC) + timedelta(minutes=30)
    assert parsed.next_open(parsed.closes_at(first)) == second.astimezone(UTC)
    assert second.astimezone(UTC) - first.astimezone(UTC) == timedelta(hours=1)


def test_a_window_that_ends_in_the_repeated_hour_opens_again_at_the_change():
    parsed = window("20:00-02:30", BERLIN)
    closes = parsed.closes_at(at("2026-10-24 23:00", BERLIN))
    assert closes == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert parsed.next_open(closes) == datetime(2026, 10, 25, 1, 0, tzinfo=UTC)
    assert parsed.closes_at(parsed.next_open(closes)) == datetime(2026, 10, 25, 1, 30, tzinfo=UTC)


_TIMES = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59))
_DAYS = st.sampled_from(["", "mon ", "sun ", "mon-fri ", "sat-mon ", "tue,sun "])
_PARTS = st.tuples(_DAYS, _TIMES, _TIMES).filter(lambda part: part[1] != part[2])
_WINDOWS = st.lists(_PARTS.map(lambda part: f"{part[0]}{part[1]}-{part[2]}"), min_size=1, max_size=3).map(
    "; ".join
)
_AROUND_CHANGES = st.one_of(
    st.datetimes(datetime(2026, 3, 20), datetime(2026, 4, 1)),
    st.datetimes(datetime(2026, 10, 17), datetime(2026, 10, 27)),
).map(lambda moment: moment.replace(tzinfo=UTC))


@given(_WINDOWS, _AROUND_CHANGES, st.sampled_from([BERLIN, ZoneInfo("America/St_Johns"), KIGALI]))
def test_nothing_between_now_and_the_next_opening_is_open(text, now, zone):
    parsed = window(text, zone)
    opens = parsed.next_open(now)
    assert opens >= now
    assert parsed.is_open(opens)
    assert opens == now or not parsed.is_open(opens - timedelta(microseconds=1))
    closed = now
    while closed < opens:
        assert not parsed.is_open(closed)
        closed += timedelta(minutes=13)


@given(_WINDOWS, _AROUND_CHANGES, st.sampled_from([BERLIN, ZoneInfo("America/St_Johns"), KIGALI]))
def test_everything_between_now_and_the_next_closing_is_open(text, now, zone):
    parsed = window(text, zone)
    closes = parsed.closes_at(now)
    until = now + timedelta(days=3) if closes is None else closes
    assert closes is None or not parsed.is_open(closes)
    while now < until:
        assert parsed.is_open(now)
        now += timedelta(minutes=13)
