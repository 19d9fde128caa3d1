"""What strangers write, made into what Airflow and its database take: nobody must fail by an odd answer."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

#: Levels of lists and objects that are kept. Pindo's answers have two or three; Airflow's XCom fails at some hundreds.
MAX_DEPTH = 20
#: Characters of a key that are kept: each key of a result may become an XCom of its own, whose name has 512 at most.
MAX_KEY_LENGTH = 250
#: Whole numbers from here on fit into no database, and not into what a task tells its supervisor.
_TOO_LARGE = 2**63
#: What a path is made of. Airflow's API has a key in its path, where ``../`` would lead to another task's XCom.
_OF_A_PATH = re.compile(r"[/\\?#%]|\.\.|^\.$")
#: Airflow keeps keys that begin so (``__classname__``, ``__type``) to itself: it fails on them, or reads an object.
_RESERVED = "__"


def json_safe(value: Any, _depth: int = 0) -> Any:
    """Return a JSON value with what cannot be stored replaced.

    NUL and half surrogate pairs become U+FFFD, NaN and the infinities None, a whole number of more than 64 bits its
    digits as text, and what lies too deep None. A key that Airflow reserves, or an empty one, gets ``raw`` before it,
    and in any key ``_`` stands for what would lead elsewhere in a path; of keys that are the same then, the later ones
    get another ``_``.
    """
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict | list) and _depth == MAX_DEPTH:
        return None
    if isinstance(value, dict):
        kept: dict[str, Any] = {}
        for key, each in value.items():
            kept[_safe_key(key, kept)] = json_safe(each, _depth + 1)
        return kept
    if isinstance(value, list):
        return [json_safe(each, _depth + 1) for each in value]
    if isinstance(value, float) and value - value != 0:
        return None
    if isinstance(value, int) and not -_TOO_LARGE <= value < _TOO_LARGE:
        return str(value)
    return value


def _safe_key(key: str, taken: Collection[str]) -> str:
    kept = _OF_A_PATH.sub("_", json_safe(key)[:MAX_KEY_LENGTH])
    if not kept or kept.startswith(_RESERVED):
        kept = f"raw{kept}"
    while kept in taken:
        kept += "_"
    return kept
