"""The body of a request: bounded, in UTF-8, a JSON object. No error repeats any of it.

What is kept must be readable by every client later. So a number that Python or a database cannot hold becomes a string,
and a body that is nested too deeply is refused.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from fastapi import HTTPException
from starlette.requests import Request

#: What may be a number that is too large for a float, or has more digits than Python parses.
_ODD_NUMBER = re.compile(r"[0-9]{100}|[0-9][eE][+]?[0-9]{3}").search
_MAX_DIGITS = 100
_MAX_DEPTH = 100


async def read_text(request: Request, most: int) -> str:
    """Return the body of a request as text.

    :raises HTTPException: 413 for more than ``most`` bytes, also where no header names the length; 400 for bytes that
        are not UTF-8.
    """
    length = request.headers.get("Content-Length", "0")
    if length.isascii() and length.isdigit() and int(length[:10]) > most:
        raise too_large(most)
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > most:
            raise too_large(most)
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _no_object() from None


def parse_object(text: str) -> dict[str, Any]:
    """Return the JSON object that ``text`` is.

    :raises HTTPException: 400 for anything else.
    """
    try:
        value = json.loads(text, parse_constant=_refuse, parse_int=_whole_or_text, parse_float=_finite)
    except (ValueError, RecursionError):
        raise _no_object() from None
    if not isinstance(value, dict) or _is_deep(value):
        raise _no_object()
    return value


def readable(text: str, value: dict[str, Any]) -> str:
    """Return ``text``, or, where not every client could read its numbers, the JSON of ``value``."""
    return json.dumps(value) if _ODD_NUMBER(text) else text


def too_large(most: int) -> HTTPException:
    """Return the error for a body of more than ``most`` bytes."""
    return HTTPException(413, f"The body has more than {most} bytes")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _whole_or_text(digits: str) -> int | str:
    return int(digits) if len(digits) < _MAX_DIGITS else digits


def _finite(digits: str) -> float | str:
    number = float(digits)
    return number if math.isfinite(number) else digits


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_MAX_DEPTH):
        nested = [item for item in level if isinstance(item, dict | list)]
        level = [
            item
            for container in nested
            for item in (container.values() if isinstance(container, dict) else container)
        ]
        if not level:
            return False
    return True


def _no_object() -> HTTPException:
    return HTTPException(400, f"The body is not a JSON object in UTF-8 of at most {_MAX_DEPTH} levels")
