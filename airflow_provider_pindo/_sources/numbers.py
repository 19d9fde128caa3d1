"""Numbers that must not be texted: read whole, and each one understood, or the task stops."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from airflow_provider_pindo._sources.blocks import Block, refuse_bad_cell
from airflow_provider_pindo._sources.columns import FieldMap
from airflow_provider_pindo._sources.csv_table import CsvTable, split_header
from airflow_provider_pindo._sources.files import File, open_text
from airflow_provider_pindo._sources.rows import JSON_SUFFIXES, NUMBER, is_path, open_source, table_blocks
from airflow_provider_pindo._sources.tables import BINARY_SUFFIXES
from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.phone import mask_numbers_in, parse_phone_number


def read_numbers(numbers: object, country: str | None, argument: str = "exclude") -> frozenset[str]:
    """Return the numbers that must not be texted.

    :param numbers: numbers, or mappings with ``phonenumber``, as a list; or a file: one number a
        line, or whatever recipients can be read from, with a column ``phonenumber``.
    :param country: ISO code of the country whose national numbers are read, or None.
    :param argument: what gave ``numbers``, for errors.
    :raises PindoConfigurationError: one of them cannot be read, so that somebody might be texted who opted out.
    """
    if isinstance(numbers, str) and numbers.lstrip().startswith(("[", "(", "{")):
        raise PindoConfigurationError(
            f"{argument} is text, {mask_numbers_in(numbers)[:80]!r}, and not a list, and nothing was sent: a template "
            "makes text of a list unless the DAG has render_template_as_native_obj=True. Set that, or give a callable "
            "that returns the list"
        )
    if isinstance(numbers, str) and not numbers.strip():
        raise PindoConfigurationError(
            f"{argument} is empty text, and nothing was sent: a template may have found nothing. Give None, or an "
            "empty list, to exclude nobody"
        )
    parsed: set[str] = set()
    for block in _blocks(numbers, argument):
        for row, value in zip(block.rows, block.columns[0], strict=True):
            try:
                refuse_bad_cell(value)
                parsed.add(parse_phone_number(value, country))
            except PindoConfigurationError as error:
                raise PindoConfigurationError(
                    f"row {row} of {argument} cannot be read, and nothing was sent: {error}"
                ) from None
    return frozenset(parsed)


def _blocks(numbers: object, argument: str) -> Iterator[Block]:
    if is_path(numbers):
        file = File(str(numbers), argument)
        if file.suffix not in (*BINARY_SUFFIXES, *JSON_SUFFIXES):
            with open_text(file) as text:
                yield from _text_blocks(file, iter(text))
            return
    if isinstance(numbers, set | frozenset):
        numbers = sorted(numbers, key=str)
    yield from open_source(numbers, argument=argument).blocks([NUMBER])


def _text_blocks(file: File, lines: Iterator[str]) -> Iterator[Block]:
    """Read a file of text: a table if its first line has separators or the column, else one number in each line."""
    first = 1
    head = next(lines, "")
    while head and not head.strip():
        head, first = next(lines, ""), first + 1
    if not head:
        return
    columns = FieldMap([NUMBER], argument=file.argument)
    headers = split_header(file.name, head)
    is_table = any(
        len(header) > 1 or columns.position(NUMBER, header, file.name) is not None
        for header in headers.values()
    )
    if is_table or '"' in head:
        yield from table_blocks(CsvTable(file.name, chain([head], lines), columns, first))
        return
    numbers = {row: line.strip() for row, line in enumerate(chain([head], lines), first) if line.strip()}
    yield Block(list(numbers), [list(numbers.values())])
