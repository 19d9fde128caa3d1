"""Rows as their readers pass them on: some at a time, column by column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_pindo.api.errors import PindoConfigurationError

#: Keys of a bad cell in a file of JSON.
_REASON, _VALUE = "bad_cell", "value"


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows of a source, column by column.

    :param rows: the number of each row, from 1, ascending.
    :param columns: the values of each field that was asked for, in that order; the number is the first.
    """

    rows: Sequence[int]
    columns: Sequence[Sequence[Any]]


@dataclass(frozen=True, slots=True)
class BadCell:
    """A cell that its reader cannot make a text of.

    :param reason: why, and what to do.
    :param value: what it holds, or its text, if only its display format is unknown.
    """

    reason: str
    value: Any = None

    def to_json(self) -> dict[str, str | None]:
        """Return what stands for it in a file of JSON."""
        return {_REASON: self.reason, _VALUE: None if self.value is None else str(self.value)}


def restore_bad_cell(mapping: dict[str, Any]) -> dict[str, Any] | BadCell:
    """Return the cell that :meth:`BadCell.to_json` made ``mapping`` of; any other mapping as it is."""
    if mapping.keys() != {_REASON, _VALUE}:
        return mapping
    return BadCell(str(mapping[_REASON]), mapping[_VALUE])


def refuse_bad_cell(value: object) -> None:
    """Raise the reason of a :class:`BadCell`."""
    if isinstance(value, BadCell):
        raise PindoConfigurationError(value.reason)
