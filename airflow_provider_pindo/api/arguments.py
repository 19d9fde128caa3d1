"""Arguments of users, checked and parsed into values. An error names the wrong argument, before anything is sent."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.limits import MAX_INTEGER, MAX_SENDER_LENGTH
from airflow_provider_pindo.api.phone import mask_numbers_in, plain_characters

_FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
#: A date, perhaps with a time: it has as many digits as a phone number.
_DATE = re.compile(r"\s*[0-9]{4}-[01][0-9]-[0-3][0-9](?:[T ][0-9:.]+(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?\s*")
#: A number of this many digits is above every id.
_TOO_MANY_DIGITS = len(str(MAX_INTEGER)) + 1
#: What people write between the digits of a PIN: ``123 456``, ``123-456``.
_BETWEEN_DIGITS = re.compile(r"(?<=[0-9])[\s-]+(?=[0-9])")


def masked_repr(value: object) -> str:
    """Return a wrong value for an error. Swapped arguments may make it a phone number, which is masked."""
    is_date = isinstance(value, date) or (isinstance(value, str) and _DATE.fullmatch(value))
    return repr(value) if is_date else mask_numbers_in(repr(value))


def read_flag(name: str, value: object) -> bool:
    """Return a flag, also from the text of a form or a template. ``"False"``, ``""`` and None are false.

    :raises PindoConfigurationError: it is another word.
    """
    word = str(value).strip().lower()
    if word in ("", "none"):
        return False
    if word not in _FLAGS:
        raise PindoConfigurationError(f"{name} is {masked_repr(value)}: give true or false")
    return _FLAGS[word]


def read_optional(value: str | None) -> str | None:
    """Return an optional text that may come from a template: its ``"None"`` is None."""
    return None if value == "None" else value


def read_seconds(name: str, value: object) -> float:
    """Return the seconds, 0 or more, of a ``timedelta`` or a number.

    :raises PindoConfigurationError: it is something else.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
        raise PindoConfigurationError(
            f"{name} is {masked_repr(value)}: give seconds, such as 30.0, or a timedelta"
        )
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
        f"{name} is {masked_repr(value)}: give an aware time, as a datetime or as text such as "
        "2026-11-24T08:00:00+02:00"
    )


def check_choice(name: str, value: str, choices: Sequence[str]) -> str:
    """Return ``value``.

    :raises PindoConfigurationError: it is not one of ``choices``.
    """
    if value not in choices:
        raise PindoConfigurationError(f"{name} is {masked_repr(value)}: give one of {', '.join(choices)}")
    return value


def check_whole_number(name: str, value: object, *, most: int | None = None) -> int:
    """Return ``value``.

    :raises PindoConfigurationError: it is not a whole number from 1 to ``most``.
    """
    if type(value) is not int or value < 1 or (most is not None and value > most):
        bound = "" if most is None else f" to {most:,}"
        raise PindoConfigurationError(f"{name} is {masked_repr(value)}: give a whole number from 1{bound}")
    return value


def check_text(text: object) -> str:
    """Return ``text``.

    :raises PindoConfigurationError: a phone cannot show it.
    """
    text = check_characters("text", text)
    if not text.strip():
        raise PindoConfigurationError("text is empty: Pindo sends no message without a text")
    return text


def check_characters(what: str, text: object) -> str:
    """Return ``text``.

    :param what: its name, for errors.
    :raises PindoConfigurationError: it is not a string, or has half a surrogate pair.
    """
    if not isinstance(text, str):
        raise PindoConfigurationError(f"{what} is of type {type(text).__name__}: give a string")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PindoConfigurationError(
            f"{what} has half a surrogate pair at character {error.start + 1}, which is no character: fix the "
            "decoding of its source"
        ) from None
    return text


def check_sender(sender: object, what: str = "sender") -> str:
    """Return ``sender``.

    :param what: its name, for errors.
    :raises PindoConfigurationError: it cannot be a sender ID.
    """
    if sender is None or sender == "":
        raise PindoConfigurationError(
            f"no {what} was given: set the argument '{what}', or the extra 'sender' of the connection, to a "
            "sender ID of your account (PindoTest works for every account)"
        )
    if not isinstance(sender, str) or not sender.strip():
        problem = "empty" if isinstance(sender, str) else f"of type {type(sender).__name__}"
        raise PindoConfigurationError(f"{what} is {problem}: give a sender ID such as PindoTest")
    if len(sender) > MAX_SENDER_LENGTH:
        # Show only its start: swapped arguments make it a text or a phone number.
        raise PindoConfigurationError(
            f"{what} '{sender[:2]}…' has {len(sender)} characters; Pindo takes at most {MAX_SENDER_LENGTH}"
        )
    return check_characters(what, sender)


def check_request_id(request_id: object) -> int:
    """Return ``request_id`` as an integer. Templates and XComs give it as a string.

    :raises PindoConfigurationError: it is no id. The error does not show it: swapped arguments make it a phone number
        or a PIN.
    """
    if isinstance(request_id, int) and not isinstance(request_id, bool):
        number = request_id
    elif isinstance(request_id, str) and request_id.strip().isascii() and request_id.strip().isdigit():
        # More digits change nothing, and Python refuses to parse thousands of them.
        number = int(request_id.strip().lstrip("0")[:_TOO_MANY_DIGITS] or 0)
    else:
        kind = f"of type {type(request_id).__name__}"
        if isinstance(request_id, str):
            kind = f"a string of {len(request_id)} characters"
        raise _no_request_id(f"({kind}) is not a whole number")
    if number < 0:
        raise _no_request_id("is below 0")
    if number > MAX_INTEGER:
        raise _no_request_id(f"is above {MAX_INTEGER}")
    return number


def _no_request_id(problem: str) -> PindoConfigurationError:
    return PindoConfigurationError(f"request_id {problem}: give the request_id that verify returned")


def check_code(code: object) -> str:
    """Return the PIN ``code`` as Pindo sent it; see :func:`clean_code`.

    :raises PindoConfigurationError: it is empty, or not a string. The error never shows it.
    """
    if isinstance(code, str) and (cleaned := clean_code(code)):
        return check_characters("code", cleaned)
    problem = "empty" if isinstance(code, str) else f"of type {type(code).__name__}"
    raise PindoConfigurationError(
        f"code is {problem}: give the PIN as a string (a number loses its leading zeros)"
    )


def clean_code(code: str) -> str:
    """Return a PIN that a person typed or copied, without what would use up an attempt.

    Invisible characters and outer white space are dropped, and so are spaces and hyphens between digits. The digits of
    any script become ASCII's. Letters keep their case, since nothing is published about it.
    """
    return _BETWEEN_DIGITS.sub("", plain_characters(code).strip())
