"""Which rows repeat an earlier one, in little memory."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Hashable, Sequence

#: Slots at first, in 1 MB: most lists fit without growing the table.
_FIRST_SLOTS = 2**18


class SeenKeys:
    """Finds keys that were added before, in at most 40 bytes for each of a long list.

    A Python set would take 65 MB for a million keys. This is a hash table of indexes into an array of digests.
    Two different keys count as the same with a chance of one in 37 million among a million: the digest is Python's own
    64-bit hash, whose seed differs in every process.
    """

    def __init__(self) -> None:
        self._digests = array("q")
        self._slots = array("I", bytes(4 * _FIRST_SLOTS))

    def duplicates(self, keys: Sequence[Hashable], skip: Collection[int] = ()) -> dict[int, int]:
        """Add keys, in order; return which positions repeat an earlier key, each with that key's index.

        :param skip: positions of keys that repeat none, and that none repeats.
        :return: the index counts all keys, in the order in which they were added.
        """
        self._reserve(len(keys))
        digests, slots, mask = self._digests, self._slots, len(self._slots) - 1
        added, duplicates = len(digests), dict[int, int]()
        digests.extend(map(hash, keys))
        for position, digest in enumerate(digests[added:]):
            if skip and position in skip:
                continue
            slot = digest & mask
            while index := slots[slot]:
                if digests[index - 1] == digest:
                    duplicates[position] = index - 1
                    break
                slot = (slot + 1) & mask
            else:
                slots[slot] = added + position + 1
        return duplicates

    def _reserve(self, more: int) -> None:
        """Grow the table until at most half of it is taken when ``more`` keys are added."""
        size = len(self._slots)
        while 2 * (len(self._digests) + more) > size:
            size *= 4
        if size == len(self._slots):
            return
        slots, mask = array("I", bytes(4 * size)), size - 1
        for index in filter(None, self._slots):  # skipped keys have no slot
            slot = self._digests[index - 1] & mask
            while slots[slot]:
                slot = (slot + 1) & mask
            slots[slot] = index
        self._slots = slots
