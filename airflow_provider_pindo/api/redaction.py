"""The one place that decides what an error or a log may repeat.

It never repeats the token, a PIN, a message's text or a whole phone number. Pindo's reasons, library errors and
redirect targets may quote any of these, so each of them passes through here first.
"""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Iterable
from pathlib import Path

from airflow_provider_pindo.api.errors import PindoError
from airflow_provider_pindo.api.phone import mask_numbers_in

#: Characters of a foreign text that are read: a response of megabytes must not block an event loop.
_MAX_READ = 2000
#: Characters of a reason that are shown.
_MAX_SHOWN = 200
#: This many characters of a private value in a row reveal a part of it.
_TELLING_LENGTH = 12
#: A private value of at least this many letters and digits is recognised in any case and with any separators. A PIN
#: has four. Shorter ones occur in a reason by chance.
_MIN_RECOGNISED = 4
_SEPARATORS = re.compile(r"[\W_]+")


def safe_message(error: BaseException) -> str:
    """Return what went wrong, for a log.

    Errors of this provider and of Airflow keep their message; Airflow's may quote numbers, which are masked. Any other
    error shows only its type and the line that raised it, since its message may quote a text, a number or a response.
    """
    if isinstance(error, PindoError):
        return str(error) or type(error).__name__
    if type(error).__module__.partition(".")[0] == "airflow":
        return mask_error(error)
    if isinstance(error, TimeoutError):
        return "it took too long"
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {frames[-1].name} ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{where}"


def mask_error(error: BaseException) -> str:
    """Return the message of an error with its phone numbers masked, or its type if it has no message.

    For errors of files, of Airflow and of this provider, which quote no message text.
    """
    return mask_numbers_in(str(error)) or type(error).__name__


def clean_reason(reason: str, private: Iterable[str]) -> str:
    """Return what Pindo said, without private values and whole phone numbers.

    A reason that repeats a part of a private value is replaced as a whole. Case and separators are ignored.

    :param reason: one line, see :func:`one_line`.
    :param private: the token, and the texts or PINs of the request.
    :return: at most ``_MAX_SHOWN`` characters and an ellipsis.
    """
    for value in private:
        reason = hide_private(reason, (value,))
        if any(gives_away(reason, form) for form in _forms(value)):
            return "a reason that repeats what was sent"
    reason = mask_numbers_in(reason)
    return reason if len(reason) <= _MAX_SHOWN else reason[:_MAX_SHOWN] + "…"


def hide_private(reason: str, private: Iterable[str]) -> str:
    """Return ``reason`` with ``***`` for each private value that it repeats exactly."""
    for value in private:
        for form in _forms(value):
            reason = reason.replace(form, "***")
    return reason


def gives_away(reason: str, value: str) -> bool:
    """Return whether ``reason`` repeats enough of the private ``value`` to recognise it."""
    reason, value = reason.casefold(), value.casefold()
    bare_reason, bare_value = _SEPARATORS.sub("", reason), _SEPARATORS.sub("", value)
    if _MIN_RECOGNISED <= len(bare_value) < _TELLING_LENGTH and bare_value in bare_reason:
        return True
    return _share_a_piece(reason, value) or _share_a_piece(bare_reason, bare_value)


def one_line(text: str) -> str:
    """Return the start of a foreign text as one line of visible characters."""
    return _visible(text[:_MAX_READ])


def _forms(value: str) -> set[str]:
    """Return the forms in which a reason may repeat ``value``: unchanged, and as JSON writes it."""
    written = (value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1])
    return {_visible(form) for form in written} - {""}


def _visible(text: str) -> str:
    """Return ``text`` on one line, without invisible characters: these could split a number or a private value."""
    if not text.isprintable():
        text = "".join(character for character in text if character.isprintable() or character.isspace())
    return " ".join(text.split())


def _share_a_piece(reason: str, value: str) -> bool:
    size = _TELLING_LENGTH
    pieces = {reason[start : start + size] for start in range(len(reason) - size + 1)}
    return any(value[start : start + size] in pieces for start in range(len(value) - size + 1))
