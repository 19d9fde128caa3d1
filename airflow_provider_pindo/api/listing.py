"""
What an error lists of many things: the first of them, in full, and that there are more.
"""

from __future__ import annotations

from collections.abc import Sequence

#: Things that an error or a result lists one by one.
LISTED = 100


def first_of(things: Sequence[object]) -> str:
    """Return the first :data:`LISTED` of ``things``, such as rows, as ``1, 2, 3``, and ``, …`` if there are more."""
    return ", ".join(map(str, things[:LISTED])) + (", …" if len(things) > LISTED else "")
