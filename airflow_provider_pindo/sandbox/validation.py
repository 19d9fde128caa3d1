"""The types of the sandbox's settings and requests, and the check of a struct's fields.

The checks are msgspec's. An error quotes the ``description`` of the field's ``Meta``.
"""

from __future__ import annotations

import functools
import re
import types
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, get_args

import msgspec
from msgspec import Meta

# JSON can spell half a surrogate pair, which is not a character and cannot be sent.
_UNICODE = r"[^\ud800-\udfff]"

Amount = Annotated[float, Meta(ge=0, lt=1e9, description="a number of 0 or more")]
Count = Annotated[int, Meta(ge=1, description="an integer of 1 or more")]
Flag = Annotated[bool, Meta(description="true or false")]
Text = Annotated[str, Meta(pattern=rf"^{_UNICODE}+\Z", description="a text that is not empty")]
TextOrEmpty = Annotated[str, Meta(pattern=rf"^{_UNICODE}*\Z", description="a text")]
NotBlank = Annotated[str, Meta(pattern=rf"^(?=\s*\S){_UNICODE}+\Z", description="a text that is not blank")]
#: What a header may carry: no line break and no other control character.
HeaderText = Annotated[
    str, Meta(pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]*\Z", description="one line of text")
]


def one_of(values: Iterable[str]) -> Meta:
    """Limit a text to these values."""
    names = list(values)
    pattern = "|".join(map(re.escape, names))
    return Meta(pattern=rf"^(?:{pattern})\Z", description=f"one of {', '.join(names)}")


def check_fields(kind: type[msgspec.Struct], values: Mapping[str, Any], label: str) -> dict[str, Any]:
    """Check the values of some of a struct's fields.

    :param label: the word for a field in an error.
    :return: the values, converted to the types of the fields.
    :raises ValueError: an unknown name, or a value that its field does not take.
    """
    hints = _hints(kind)
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if name not in hints:
            raise ValueError(f"no {label} {name!r}; there are {', '.join(sorted(hints))}")
        try:
            checked[name] = msgspec.convert(value, hints[name])
        except msgspec.ValidationError:
            raise ValueError(f"{label} {name!r} must be {_takes(hints[name])}, not {value!r}") from None
    return checked


@functools.cache
def _hints(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return {field.name: field.type for field in msgspec.structs.fields(kind)}


def _takes(hint: Any) -> str:
    """What a field of this type takes, in words."""
    if types.NoneType in get_args(hint):
        return f"{_takes(get_args(hint)[0])}, or null"
    return str(hint.__metadata__[-1].description)


def is_unicode(text: str) -> bool:
    """Whether a text is valid Unicode, without half a surrogate pair."""
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)


def in_utc(moment: str) -> datetime:
    """An ISO time in UTC; without a zone it is UTC already.

    :raises ValueError: not an ISO time, or one that UTC cannot express.
    """
    parsed = datetime.fromisoformat(moment)
    try:
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError as error:
        raise ValueError(str(error)) from None
