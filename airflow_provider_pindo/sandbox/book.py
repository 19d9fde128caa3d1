"""Active faults or rules by number, each with the uses that remain (``times``; None for no limit)."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

EntryT = TypeVar("EntryT", bound=msgspec.Struct)


class Book(Generic[EntryT]):
    """The active entries by their ids, oldest first."""

    def __init__(self) -> None:
        self._next_id = 1
        self.entries: dict[int, EntryT] = {}

    def __bool__(self) -> bool:
        return bool(self.entries)

    def add(self, entry: EntryT) -> int:
        """Add an entry and return its id."""
        entry_id = self._next_id
        self._next_id += 1
        self.entries[entry_id] = entry
        return entry_id

    def remove(self, entry_id: int | None = None) -> None:
        """Remove one entry, or all of them."""
        if entry_id is None:
            self.entries.clear()
        else:
            self.entries.pop(entry_id, None)

    def as_json(self) -> list[dict[str, Any]]:
        """The active entries, with what remains of them."""
        return [{"id": entry_id, **msgspec.to_builtins(entry)} for entry_id, entry in self.entries.items()]

    def count_down(self, entry_id: int) -> None:
        """Use an entry once. It is removed after its last use."""
        entry: Any = self.entries[entry_id]
        if entry.times == 1:
            del self.entries[entry_id]
        elif entry.times is not None:
            self.entries[entry_id] = msgspec.structs.replace(entry, times=entry.times - 1)
