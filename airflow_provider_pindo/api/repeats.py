"""
Which rows stood before, for lists that are too long for a set.

A set of a million numbers takes 70 MB. Here a row is eight bytes, and the rows are compared when all are
there, a part of them at a time.
"""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Iterable

#: Rows that are compared at a time: their set takes some 15 MB.
_PART = 200_000


class Repeats:
    """
    Finds what was added before.

    Two different rows are taken for the same with a chance of one in 37 million among a million rows: the
    digest is Python's own 64-bit hash, whose seed is another in every process.
    """

    def __init__(self) -> None:
        self._digests = array("q")

    def add(self, keys: Iterable[Hashable]) -> None:
        """Add rows, in their order."""
        self._digests.extend(map(hash, keys))

    def find(self) -> Iterable[int]:
        """Yield the position (from 0) of every row that is the same as an earlier one."""
        parts = len(self._digests) // _PART + 1
        for part in range(parts):
            mine = self._digests if parts == 1 else [each for each in self._digests if each % parts == part]
            if len(set(mine)) < len(mine):
                yield from self._find_in(part, parts)

    def _find_in(self, part: int, parts: int) -> Iterable[int]:
        seen: set[int] = set()
        for position, digest in enumerate(self._digests):
            if digest % parts == part:
                if digest in seen:
                    yield position
                seen.add(digest)
