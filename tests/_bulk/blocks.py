"""Blocks of rows, as a source gives them."""

from __future__ import annotations

from airflow_provider_pindo._sources.blocks import Block

PERSONAL = "Muraho @contact.name, at @contact.time"


def blocks(numbers, names=None, size=7):
    names = names or ["A"] * len(numbers)
    return [
        _block(start + 1, [numbers[start : start + size], names[start : start + size]])
        for start in range(0, len(numbers), size)
    ]


def rows(*given, size=3):
    """Return blocks of rows: each its number, its name, and the other fields."""
    return [
        _block(start + 1, list(map(list, zip(*given[start : start + size], strict=True))))
        for start in range(0, len(given), size)
    ]


def _block(first, columns):
    return Block(range(first, first + len(columns[0])), columns)
