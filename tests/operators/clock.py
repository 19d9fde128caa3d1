"""A clock that a test sets, for the send windows of operators."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from airflow_provider_pindo._policy import timing

KIGALI = ZoneInfo("Africa/Kigali")
DAY = "08:00-20:00 Africa/Kigali"


def at(hour: int, minute: int = 0, *, day: int = 24) -> datetime:
    """Return a time in Kigali in November 2026; the 24th is a Tuesday."""
    return datetime(2026, 11, day, hour, minute, tzinfo=KIGALI)


def set_clock(monkeypatch: pytest.MonkeyPatch, moment: datetime | Callable[[], datetime]) -> None:
    """Let the policy read ``moment``, or what it returns."""
    read = moment if callable(moment) else lambda: moment
    monkeypatch.setattr(timing, "now", lambda: read().astimezone(UTC))
