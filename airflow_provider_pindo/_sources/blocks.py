"""Rows as their readers pass them on: some at a time, column by column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows of a source, column by column.

    :param first: number of the first row, from 1.
    :param columns: the values of each field that was asked for, in that order; the number is the first.
    :param numbering: the number of each row, ascending; empty where they are consecutive.
    """

    first: int
    columns: Sequence[Sequence[Any]]
    numbering: Sequence[int] = ()

    @property
    def rows(self) -> Sequence[int]:
        """The number of each row."""
        return self.numbering or range(self.first, self.first + len(self.columns[0]))


@dataclass(frozen=True, slots=True)
class BadCell:
    """A cell that its reader cannot make a text of.

    :param reason: why, and what to do.
    :param value: what it holds, if only its look in a text is unknown.
    """

    reason: str
    value: Any = None
