"""The checked rows in batches, one for each entry of the ledger, and the requests that a batch takes.

Batches depend only on the input, so a retry finds the same rows in the same entries. The excluded numbers may differ at
every try: these rows keep their positions, marked, and no request is made for them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress, islice
from typing import TypeVar

from airflow_provider_pindo._bulk.messages import segments_of
from airflow_provider_pindo._bulk.preflight import EXCLUDED, IN_BATCHES, Preflight
from airflow_provider_pindo._bulk.spool import SpooledBlock
from airflow_provider_pindo.api.mentions import Template

T = TypeVar("T")


@dataclass(slots=True)
class Batch:
    """The recipients that one entry of the ledger covers.

    :param index: from 1.
    :param rows: their row numbers, from 1, ascending.
    :param texts: the filled text of each; None when Pindo fills it.
    :param excluded: row numbers that keep their position and are not sent to.
    :param shown_rows: the rows as the entry has them; written once for all writes of it.
    :param shown_numbers: the numbers as the entry has them.
    """

    index: int
    rows: list[int] = field(default_factory=list)
    numbers: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    texts: list[str] | None = None
    excluded: set[int] = field(default_factory=set)
    shown_rows: str = ""
    shown_numbers: str = ""

    def __len__(self) -> int:
        return len(self.rows)

    def positions(self, rows: Collection[int]) -> Sequence[int]:
        """Return the positions of ``rows``."""
        if len(rows) == len(self.rows):
            return range(len(rows))
        row_set = set(rows)
        return [position for position, row in enumerate(self.rows) if row in row_set]

    def segments(self, positions: Sequence[int], template: Template) -> int:
        """Return the segments of the messages at ``positions``."""
        if self.texts is None:
            return sum(segments_of(pick(self.names, positions), None, template))
        return sum(segments_of((), pick(self.texts, positions), template))


def pick(column: Sequence[T], positions: Sequence[int]) -> Sequence[T]:
    """Return the elements of ``column`` at ``positions``."""
    if isinstance(positions, range):  # those of a whole chunk
        return column[positions.start : positions.stop]
    return [column[position] for position in positions]


#: Called for a row that is in no batch: row, number, name, kind, reason.
LeftOut = Callable[[int, str, str, int, str], None]


def batches(checked: Preflight, size: int, left_out: LeftOut | None = None) -> Iterator[Batch]:
    """Read the spool, and yield the rows that are sent to, with the excluded among them, in batches of ``size``.

    :param left_out: called for every other row.
    """
    batch = Batch(1)
    for block in checked.spool.blocks():
        rows = block.rows
        kinds = checked.kinds_of(rows)
        numbers, names, texts, excluded = block.numbers, block.names, block.texts, set[int]()
        if any(kinds):
            _report_left_out(block, kinds, left_out)
            excluded = {row for row, kind in zip(rows, kinds, strict=True) if kind == EXCLUDED}
            is_in = [kind in IN_BATCHES for kind in kinds]
            rows = list(compress(rows, is_in))
            numbers, names = list(compress(numbers, is_in)), list(compress(names, is_in))
            texts = None if texts is None else list(compress(texts, is_in))
        start = 0
        while start < len(rows):
            end = start + size - len(batch)
            batch.rows += rows[start:end]
            if excluded:
                batch.excluded |= excluded.intersection(rows[start:end])
            batch.numbers += numbers[start:end]
            batch.names += names[start:end]
            if texts is not None:
                batch.texts = (batch.texts or []) + texts[start:end]
            start = end
            if len(batch) == size:
                yield batch
                batch = Batch(batch.index + 1)
    if batch.rows:
        yield batch


def _report_left_out(block: SpooledBlock, kinds: bytearray, left_out: LeftOut | None) -> None:
    if left_out is not None:
        for position, kind in enumerate(kinds):
            if kind not in IN_BATCHES:
                reason = block.problems.get(position, "")
                left_out(block.rows[position], block.numbers[position], block.names[position], kind, reason)


def batches_by_row(checked: Preflight, size: int) -> Iterator[Batch]:
    """Yield the batches of :func:`batches` with only their row numbers, without reading anything."""
    rows = (row for row, kind in enumerate(checked.kinds, start=1) if kind in IN_BATCHES)
    for index, in_batch in enumerate(iter(lambda: list(islice(rows, size)), []), start=1):
        yield Batch(index, in_batch, excluded={row for row in in_batch if checked.kinds[row - 1] == EXCLUDED})


def chunks_of(
    batch: Batch, positions: Sequence[int], size: int, *, one_by_one: bool = False
) -> Iterator[list[tuple[str | None, Sequence[int]]]]:
    """Yield the requests that a batch takes, chunk by chunk: each its text and the positions of those who get it.

    :param positions: positions of those in the batch who are sent to.
    :param size: recipients of a chunk: one request when Pindo fills the text, which is None then. Else a chunk has a
        request for each different text.
    :param one_by_one: a request for each recipient; the texts are filled.
    """
    for start in range(0, len(positions), size):
        chunk = positions[start : start + size]
        if batch.texts is None:
            yield [(None, chunk)]
            continue
        if one_by_one:
            yield [(batch.texts[position], [position]) for position in chunk]
            continue
        by_text: dict[str | None, list[int]] = {}
        for position in chunk:
            by_text.setdefault(batch.texts[position], []).append(position)
        yield list(by_text.items())
