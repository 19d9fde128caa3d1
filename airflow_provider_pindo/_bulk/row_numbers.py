"""How rows are listed for people: as ranges such as ``1-57,59``, and the first hundred of many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from airflow_provider_pindo._ledger.entry import MAX_RECIPIENTS

#: Things that an error or a result lists one by one.
MAX_LISTED = 100


def abbreviate(things: Sequence[object]) -> str:
    """Return the first :data:`MAX_LISTED` of ``things`` as ``1, 2, 3``, and ``, …`` if there are more."""
    return ", ".join(map(str, things[:MAX_LISTED])) + (", …" if len(things) > MAX_LISTED else "")


def format_rows(rows: Iterable[int]) -> str:
    """Return row numbers as ranges, such as ``1-57,59``.

    :param rows: each of them once.
    """
    ordered = sorted(rows)
    if len(ordered) > 1 and ordered[-1] - ordered[0] == len(ordered) - 1:  # usually one range
        return f"{ordered[0]}-{ordered[-1]}"
    parts: list[list[int]] = []
    for row in ordered:
        if parts and parts[-1][1] == row - 1:
            parts[-1][1] = row
        else:
            parts.append([row, row])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


def parse_rows(ranges: str) -> list[int]:
    """Return the row numbers of ``1-57,59``.

    :raises ValueError: malformed, or more than an entry can hold.
    """
    return [row for some in _iter_ranges(ranges) for row in some]


def count_rows(ranges: str) -> int:
    """Return how many rows ``1-57,59`` has.

    :raises ValueError: as for :func:`parse_rows`.
    """
    return sum(map(len, _iter_ranges(ranges)))


def _iter_ranges(ranges: str) -> Iterator[range]:
    for part in filter(None, ranges.split(",")):
        first, _, last = part.partition("-")
        some = range(int(first), int(last or first) + 1)
        if not 0 < len(some) <= MAX_RECIPIENTS:
            raise ValueError(part)
        yield some
