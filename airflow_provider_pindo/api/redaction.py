"""What an error or a log may repeat: never the token, a PIN, a text, or a whole phone number."""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Sequence
from pathlib import Path

from airflow_provider_pindo.api.errors import (
    PindoError,
)
from airflow_provider_pindo.api.phone import mask_numbers_in


def safe_message(error: BaseException) -> str:
    """Return what went wrong, fit for a log.

    Pindo's errors and Airflow's speak for themselves. Of any other only its kind and where it was raised is told: its
    own words may repeat a message's text, a number, or what a server wrote.
    """
    if isinstance(error, PindoError) or type(error).__module__.partition(".")[0] == "airflow":
        return str(error) or type(error).__name__
    if isinstance(error, TimeoutError):
        return "it took too long"
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {frames[-1].name} ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{where}"


_REASON_LENGTH = 200

# As many characters of a private value in a row as give something of it away.
_TELLING = 12

# A private value of at least as many letters and digits counts as repeated in whatever case, and whatever stands
# between them: a PIN has four, and what is shorter is in any reason by chance.
_LEAST_REPEATED = 4

_BETWEEN = re.compile(r"[\W_]+")

# Characters of a reason that are looked at, so that an answer of megabytes does not hold up an event loop.
_READ_OF_A_REASON = 2000


def _clean(reason: str, private: Sequence[str]) -> str:
    """Return what Pindo said, one line, without what must not be shown: private values and phone numbers.

    At most 200 characters, since it goes into logs and was written elsewhere. A reason that repeats a piece of a
    private value, whole or not, in whatever case and with whatever between its letters and digits, is not shown at
    all.
    """
    for value in private:
        reason = _without(reason, (value,))
        if any(_repeats(reason, form) for form in _forms(value)):
            return "a reason that repeats what was sent"
    reason = mask_numbers_in(reason)
    return reason if len(reason) <= _REASON_LENGTH else reason[:_REASON_LENGTH] + "…"


def _without(reason: str, private: Sequence[str]) -> str:
    """Return ``reason`` without the private values that stand in it as they are."""
    for value in private:
        for form in _forms(value):
            reason = reason.replace(form, "***")
    return reason


def _forms(value: str) -> set[str]:
    """Return ``value`` as it may stand in a reason: as it is, and as JSON writes it."""
    written = (value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1])
    return {_one_line(form) for form in written} - {""}


def _one_line(text: str) -> str:
    """Return ``text`` without line breaks, nor what does not show, behind which a number or a text could hide."""
    shown = (
        text if text.isprintable() else "".join(each for each in text if each.isprintable() or each.isspace())
    )
    return " ".join(shown.split())


def _repeats(reason: str, value: str) -> bool:
    """Return whether ``reason`` gives something of ``value`` away."""
    reason, value = reason.casefold(), value.casefold()
    said, private = _BETWEEN.sub("", reason), _BETWEEN.sub("", value)
    if _LEAST_REPEATED <= len(private) < _TELLING and private in said:
        return True
    return _share_a_piece(reason, value) or _share_a_piece(said, private)


def _share_a_piece(reason: str, value: str) -> bool:
    pieces = {reason[start : start + _TELLING] for start in range(len(reason) - _TELLING + 1)}
    return any(value[start : start + _TELLING] in pieces for start in range(len(value) - _TELLING + 1))


def masked(error: BaseException) -> str:
    """Return what an error of a file, of Airflow or of ours says without anybody's number, or else its name."""
    return mask_numbers_in(str(error)) or type(error).__name__
