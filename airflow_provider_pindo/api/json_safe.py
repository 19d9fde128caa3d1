"""Foreign JSON made into JSON that Airflow and its database can store, so that an odd response fails no task."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from airflow_provider_pindo.api.limits import MAX_INTEGER

#: Levels of lists and objects that are kept. Pindo's responses have two or three; Airflow's XComs fail at hundreds.
MAX_DEPTH = 20
#: Characters of a key that are kept. A key of a result may become an XCom, whose name has at most 512 characters.
MAX_KEY_LENGTH = 250
#: Characters with a meaning in a path. Airflow's API has the key in its path: ``../`` leads to another task's XCom.
_PATH_SYNTAX = re.compile(r"[/\\?#%]|\.\.|^\.$")
#: Airflow reserves keys that start so (``__classname__``, ``__type``): it fails on them, or builds an object.
_RESERVED = "__"


def json_safe(value: Any, _depth: int = 0) -> Any:
    """Return a JSON value that can be stored.

    * NUL and unpaired surrogates become U+FFFD; NaN and the infinities become None.
    * A whole number of more than 64 bits becomes text. Values below :data:`MAX_DEPTH` levels become None.
    * In a key, ``_`` replaces each character with a meaning in a path. A reserved or empty key gets the prefix ``raw``.
    * Keys that become equal get ``_`` at their end.
    """
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict | list) and _depth == MAX_DEPTH:
        return None
    if isinstance(value, dict):
        safe: dict[str, Any] = {}
        for key, member in value.items():
            safe[_safe_key(key, safe)] = json_safe(member, _depth + 1)
        return safe
    if isinstance(value, list):
        return [json_safe(item, _depth + 1) for item in value]
    if isinstance(value, float) and value - value != 0:
        return None
    if isinstance(value, int) and not -MAX_INTEGER - 1 <= value <= MAX_INTEGER:
        return str(value)
    return value


def _safe_key(key: str, taken: Collection[str]) -> str:
    safe = _PATH_SYNTAX.sub("_", json_safe(key)[:MAX_KEY_LENGTH])
    if not safe or safe.startswith(_RESERVED):
        safe = f"raw{safe}"
    while safe in taken:
        safe += "_"
    return safe
