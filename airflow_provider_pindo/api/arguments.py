"""Arguments of users, parsed into values. An error names the wrong argument, before anything is sent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from airflow_provider_pindo.api.errors import PindoConfigurationError

_FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def read_flag(name: str, value: object) -> bool:
    """Return a flag, also from the text of a form or a template. ``"False"``, ``""`` and None are false."""
    word = str(value).strip().lower()
    if word in ("", "none"):
        return False
    if word not in _FLAGS:
        raise PindoConfigurationError(f"{name} is {value!r}: give true or false")
    return _FLAGS[word]


def read_optional(value: str | None) -> str | None:
    """Return an optional text that may come from a template: its ``"None"`` is None."""
    return None if value == "None" else value


def read_seconds(name: str, value: object) -> float:
    """Return the seconds, 0 or more, of a ``timedelta`` or a number."""
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
        raise PindoConfigurationError(f"{name} is {value!r}: give seconds, such as 30.0, or a timedelta")
    return float(seconds)


def read_since(value: object) -> datetime:
    """Return the moment that the argument ``since`` names; see :func:`read_moment`.

    :raises PindoConfigurationError: also if it is outside the years 1 to 9999 in UTC, where it is compared.
    """
    moment = read_moment("since", value)
    try:
        moment.astimezone(UTC)
    except OverflowError:
        raise _no_moment("since", value) from None
    return moment


def read_moment(name: str, value: object) -> datetime:
    """Return the moment that ``value`` names.

    :param name: the argument, for errors.
    :param value: an aware datetime, or one as ISO 8601 text, as a template gives it.
    :raises PindoConfigurationError: it is neither, or has no time zone.
    """
    try:
        moment = datetime.fromisoformat(value.strip()) if isinstance(value, str) else value
        if not isinstance(moment, datetime) or moment.tzinfo is None:
            raise ValueError
    except ValueError:
        raise _no_moment(name, value) from None
    return moment


def _no_moment(name: str, value: object) -> PindoConfigurationError:
    return PindoConfigurationError(
        f"{name} is {value!r}: give an aware time, as a datetime or as text such as 2026-11-24T08:00:00+02:00"
    )


def check_choice(name: str, value: str, choices: Sequence[str]) -> str:
    """Return ``value``, or refuse it when it is not one of ``choices``."""
    if value not in choices:
        raise PindoConfigurationError(f"{name} is {value!r}: give one of {', '.join(choices)}")
    return value


def check_whole_number(name: str, value: object, *, most: int | None = None) -> int:
    """Return ``value``, or refuse it when it is not a whole number from 1 to ``most``."""
    if type(value) is not int or value < 1 or (most is not None and value > most):
        bound = "" if most is None else f" to {most:,}"
        raise PindoConfigurationError(f"{name} is {value!r}: give a whole number from 1{bound}")
    return value
