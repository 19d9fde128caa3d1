"""Send windows: the days and hours in which messages may go out, such as ``mon-sat 08:00-20:00 Africa/Kigali``.

A window is open while a clock on the wall of its zone shows one of its times. This rule decides both sides of a clock
change. An hour that the clock skips never opens, and an hour that it shows twice is open twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from airflow_provider_pindo.api.arguments import masked_repr
from airflow_provider_pindo.api.errors import PindoConfigurationError

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_ALL_DAYS = frozenset(range(7))
_PART = re.compile(
    r"(?:(?P<days>[a-z][a-z,\s-]*?)\s+)?(?P<start>\d\d?:\d\d)\s*-\s*(?P<end>\d\d?:\d\d)(?:\s+(?P<zone>\S+))?",
    re.IGNORECASE,
)
_TIME = re.compile(r"(\d\d?):([0-5]\d)")
_MIDNIGHT = 24 * 60
#: Days in which every window opens, even if a clock change hides it one week.
_HORIZON = 16
_EXAMPLE = "write one such as '08:00-20:00 Africa/Kigali' or 'mon-fri 08:00-20:00; sat 09:00-13:00'"


@dataclass(frozen=True, slots=True)
class _Span:
    """One part of a window.

    :param days: the weekdays on which it starts, from 0 (Monday).
    :param start: minutes after midnight.
    :param end: minutes after midnight; not after ``start`` if it is on the next day.
    """

    days: frozenset[int]
    start: int
    end: int
    zone: tzinfo

    def is_open(self, at: datetime) -> bool:
        local = at.astimezone(self.zone)
        minute, today = local.hour * 60 + local.minute, local.weekday()
        if self.start < self.end:
            return today in self.days and self.start <= minute < self.end
        return (today in self.days and minute >= self.start) or (
            (today - 1) % 7 in self.days and minute < self.end
        )

    def changes(self, at: datetime) -> Iterator[datetime]:
        """Yield each moment after ``at`` at which it may open or close: its times, and the zone's clock changes."""
        today = at.astimezone(self.zone).date() - timedelta(days=1)
        midnight = _moments(today, 0, self.zone)[0]
        for offset in range(_HORIZON):
            day = today + timedelta(days=offset)
            for minute in (self.start, self.end):
                yield from _moments(day, minute, self.zone)
            next_midnight = _moments(day, _MIDNIGHT, self.zone)[0]
            if self._offset(midnight) != self._offset(next_midnight):
                yield self._clock_change(midnight, next_midnight)
            midnight = next_midnight

    def _offset(self, moment: datetime) -> timedelta | None:
        return moment.astimezone(self.zone).utcoffset()

    def _clock_change(self, before: datetime, after: datetime) -> datetime:
        """Return the first second with the offset of ``after``."""
        first = self._offset(before)
        low, high = int(before.timestamp()), int(after.timestamp())
        while high - low > 1:
            middle = (low + high) // 2
            if self._offset(datetime.fromtimestamp(middle, UTC)) == first:
                low = middle
            else:
                high = middle
        return datetime.fromtimestamp(high, UTC)


def _moments(day: date, minute: int, zone: tzinfo) -> list[datetime]:
    """Return the moments at which a clock shows a time: two where it is set back over it."""
    day += timedelta(days=minute // _MIDNIGHT)
    local = datetime.combine(day, time(minute % _MIDNIGHT // 60, minute % 60), zone)
    return [local.replace(fold=fold).astimezone(UTC) for fold in (0, 1)]


@dataclass(frozen=True, slots=True)
class SendWindow:
    """When messages may go out.

    :param text: the window, as it was written.
    """

    text: str
    _spans: tuple[_Span, ...]

    def __str__(self) -> str:
        return self.text

    @property
    def zone(self) -> tzinfo:
        """The zone of the first part."""
        return self._spans[0].zone

    def is_open(self, at: datetime) -> bool:
        """Return whether messages may go out at ``at``, an aware time."""
        return any(span.is_open(at) for span in self._spans)

    def next_open(self, at: datetime) -> datetime:
        """Return the first moment from ``at`` on at which it is open, in UTC."""
        moment = self._next(at, is_open=True)
        assert moment is not None  # noqa: S101 - each span opens within the horizon
        return moment

    def closes_at(self, at: datetime) -> datetime | None:
        """Return the first moment from ``at`` on at which it is closed, in UTC; None when it never closes."""
        return self._next(at, is_open=False)

    def _next(self, at: datetime, *, is_open: bool) -> datetime | None:
        at = at.astimezone(UTC)
        if self.is_open(at) is is_open:
            return at
        changes = {moment for span in self._spans for moment in span.changes(at) if moment > at}
        return next((moment for moment in sorted(changes) if self.is_open(moment) is is_open), None)


def parse_window(name: str, text: str, zone: tzinfo) -> SendWindow | None:
    """Return the window that ``text`` describes; None when it is empty, which binds nothing.

    :param name: the argument, for errors.
    :param text: parts, separated by ``;``. Each has days (optional), two times and a zone (optional).
    :param zone: the zone of a window that names none.
    :raises PindoConfigurationError: it is no window.
    """
    try:
        return _parse(text, zone)
    except ValueError as error:
        raise PindoConfigurationError(f"{name} is {masked_repr(text)}: {error}") from None


def _parse(text: object, zone: tzinfo) -> SendWindow | None:
    """Return the window that ``text`` describes.

    :raises ValueError: it is no window. The error says what to write.
    """
    if not isinstance(text, str):
        raise ValueError(_EXAMPLE)
    if not text.strip():
        return None
    parts = [_PART.fullmatch(part.strip()) for part in text.strip().rstrip(";").split(";")]
    if None in parts:
        raise ValueError(_EXAMPLE)
    if len({match["zone"] is None for match in parts if match}) > 1:
        raise ValueError("give each part its time zone, or none of them")
    return SendWindow(text.strip(), tuple(_parse_part(match, zone) for match in parts if match))


def _parse_part(part: re.Match[str], zone: tzinfo) -> _Span:
    days = _ALL_DAYS if part["days"] is None else _parse_days(part["days"])
    start, end = (_parse_time(part[side]) for side in ("start", "end"))
    if start % _MIDNIGHT == end % _MIDNIGHT and (start, end) != (0, _MIDNIGHT):
        raise ValueError("it ends when it starts. Write 00:00-24:00 for the whole day")
    return _Span(days, start % _MIDNIGHT, end, zone if part["zone"] is None else _parse_zone(part["zone"]))


def _parse_time(text: str) -> int:
    match = _TIME.fullmatch(text)
    minutes = int(match[1]) * 60 + int(match[2]) if match else _MIDNIGHT + 1
    if minutes > _MIDNIGHT:
        raise ValueError(f"{text} is not a time of day. Write 00:00 to 24:00")
    return minutes


def _parse_days(text: str) -> frozenset[int]:
    weekdays: set[int] = set()
    for part in text.split(","):
        first, dash, last = (word.strip() for word in part.partition("-"))
        start = _parse_day(first)
        end = _parse_day(last) if dash else start
        weekdays.update((start + offset) % 7 for offset in range((end - start) % 7 + 1))
    return frozenset(weekdays)


def _parse_day(word: str) -> int:
    for number, day in enumerate(_DAYS):
        if word.lower() in (day, day[:3]):
            return number
    raise ValueError(
        f"{word!r} is not a day. Write mon, tue, wed, thu, fri, sat or sun, as in 'mon-fri, sun'"
    )


def _parse_zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{masked_repr(name)} is not a time zone. Write one such as Africa/Kigali") from None
