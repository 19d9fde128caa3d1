"""Rows as their readers pass them on: some at a time, column by column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_pindo.api.errors import PindoConfigurationError


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
    :param value: what it holds, if only its display format is unknown.
    """

    reason: str
    value: Any = None


def refuse_bad_cell(value: object) -> None:
    """Raise the reason of a :class:`BadCell`."""
    if isinstance(value, BadCell):
        raise PindoConfigurationError(value.reason)
