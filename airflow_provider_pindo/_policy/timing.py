"""When a message may go out: the send window, and the moment at which it expires.

Both are checked before anything is sent. The faces decide how to wait. No other module of the policy reads the clock,
and tests set it by replacing :func:`now`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException

from airflow_provider_pindo.api.arguments import check_choice, read_moment, read_optional

if TYPE_CHECKING:
    from airflow_provider_pindo.api.windows import SendWindow

#: What a task may do outside its send window.
OUTSIDE_WINDOW = ("wait", "skip", "fail")


def now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Timing:
    """When one task may send.

    :param window: the days and hours; None for any time.
    :param expires_at: after it nothing goes out; None for no end.
    :param outside_window: ``wait``, ``skip`` or ``fail``.
    """

    window: SendWindow | None = None
    expires_at: datetime | None = None
    outside_window: str = "wait"

    @property
    def has_expired(self) -> bool:
        """Whether nothing may go out any more."""
        return self.expires_at is not None and now() >= self.expires_at

    @property
    def is_open(self) -> bool:
        """Whether the window is open."""
        return self.window is None or self.window.is_open(now())

    def opens_at(self) -> datetime:
        """Return when the window opens next; the present when it is open."""
        return now() if self.window is None else self.window.next_open(now())

    def closes_at(self) -> datetime | None:
        """Return when the window closes next; None when it never does."""
        return None if self.window is None else self.window.closes_at(now())

    def seconds_left(self) -> float:
        """Return the seconds until the window closes or the message expires; infinity if neither happens."""
        ends = [moment for moment in (self.closes_at(), self.expires_at) if moment is not None]
        return (min(ends) - now()).total_seconds() if ends else math.inf

    def waits_until(self) -> datetime:
        """Return when a task that waits for the window resumes: when it opens, or when the message expires."""
        opens = self.opens_at()
        return opens if self.expires_at is None else min(opens, self.expires_at)

    def why_expired(self) -> str:
        """Return the reason why nothing goes out any more."""
        assert self.expires_at is not None  # noqa: S101
        return f"expires_at was {self.expires_at.isoformat(' ', 'minutes')}: nothing is sent after it"

    def why_closed(self) -> str:
        """Return the reason why nothing goes out now, and when the window opens."""
        assert self.window is not None  # noqa: S101
        opens = self.opens_at().astimezone(self.window.zone)
        return f"the send window {str(self.window)!r} is closed. It opens at {opens:%H:%M %Z on %A %d %B %Y}"

    @property
    def refused_outcome(self) -> str:
        """What the metrics call a message that :meth:`refusal` holds back."""
        return "skipped" if self.outside_window == "skip" else "not_sent"

    def refusal(self) -> Exception:
        """Return what ends a task outside its window, where it does not wait."""
        reason = f"{self.why_closed()}, and outside_window is {self.outside_window!r}"
        if self.outside_window == "skip":
            return AirflowSkipException(reason)
        return AirflowFailException(
            f"{reason}. Nothing was sent\nClear the task when the window is open, or let outside_window='wait' "
            "wait for it"
        )


def read_timing(
    *,
    send_window: str | None,
    default_window: str | None,
    outside_window: str,
    expires_at: object,
    zone: tzinfo,
) -> Timing:
    """Return when a task may send, from its rendered arguments.

    :param send_window: None takes ``default_window``; empty text switches it off.
    :param default_window: the connection's window, or None.
    :param expires_at: an aware time, as a datetime or ISO text; None or empty text for no end.
    :param zone: the zone of a window that names none.
    :raises PindoConfigurationError: an argument is invalid.
    """
    window = read_optional(send_window)
    return Timing(
        window=_read_window((default_window or "") if window is None else window, zone),
        expires_at=read_moment("expires_at", expires_at) if _is_given(expires_at) else None,
        outside_window=check_choice("outside_window", outside_window, OUTSIDE_WINDOW),
    )


def check_untemplated(*, send_window: object, outside_window: str, expires_at: object) -> None:
    """Check what needs no rendering, when the DAG is parsed.

    :raises PindoConfigurationError: an argument is invalid.
    """
    check_choice("outside_window", outside_window, OUTSIDE_WINDOW)
    if isinstance(send_window, str) and "{" not in send_window:
        _read_window(send_window, UTC)
    is_final = isinstance(expires_at, datetime) or (isinstance(expires_at, str) and "{" not in expires_at)
    if is_final and _is_given(expires_at):
        read_moment("expires_at", expires_at)


def _read_window(text: str, zone: tzinfo) -> SendWindow | None:
    from airflow_provider_pindo.api.windows import parse_window

    return parse_window("send_window", text, zone)


def _is_given(expires_at: object) -> bool:
    """Return whether there is an end. A template gives empty text or ``"None"`` for no end."""
    return not (expires_at is None or (isinstance(expires_at, str) and expires_at.strip() in ("", "None")))
