"""
Where recipients come from: a list, an XCom, or a CSV, JSON Lines or Parquet file.

Whatever it is, it can be read as often as needed, in blocks of rows; a file is read in a stream through
Airflow's ``ObjectStoragePath``, so it may lie on this machine or in a bucket, and its length does not matter.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Protocol

from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.phone import mask_numbers_in, parse_phone_number
from airflow_provider_pindo.api.recipients import Block

#: Rows that are read at a time.
BLOCK = 1000

_NUMBER = "phonenumber"
#: Digits in the name of a column from which on it is taken for somebody's number.
_DIGITS_OF_A_NUMBER = 7


class Source(Protocol):
    """Rows that can be read as often as needed."""

    def blocks(self, fields: Sequence[str]) -> Iterator[Block]:
        """Read all rows, with the values of these fields."""


def open_source(recipients: object, columns: Mapping[str, str] | None = None) -> Source:
    """
    Return the rows that ``recipients`` stands for.

    :param recipients: a list of mappings or numbers, or a path.
    :param columns: the name that a field has there, where it is another.
    :raises PindoConfigurationError: it can be read only once, or is nothing of the kind.
    """
    named = dict(columns or {})
    if _is_path(recipients):
        return FileSource(str(recipients), named)
    if isinstance(recipients, Sequence) and not isinstance(recipients, str | bytes):
        return ListSource(recipients, named)
    hint = (
        "make a list of it"
        if isinstance(recipients, Iterable)
        else "give a list, the path of a file, or a callable that returns one"
    )
    raise PindoConfigurationError(
        f"recipients is of type {type(recipients).__name__}, which cannot be read twice (all of it is checked before "
        f"the first message, and again on a retry): {hint}"
    )


def _is_path(value: object) -> bool:
    import os

    return isinstance(value, str) or (isinstance(value, os.PathLike) and not isinstance(value, bytes))


class ListSource:
    """
    Rows of a list: mappings, or bare numbers.

    :param rows: the list; of a mapped task's XCom, each element may be one such list. Other lists in it are refused,
        such as the rows of a database: nobody can know which of their values is the number.
    :param columns: see :func:`open_source`.
    """

    def __init__(self, rows: Sequence[Any], columns: Mapping[str, str]) -> None:
        # The XComs of a mapped task come one by one from Airflow, so they are fetched once.
        is_mapped = not isinstance(rows, list | tuple)
        self._rows = list(rows) if is_mapped else rows
        if self._rows and all(_is_part(row, is_mapped) for row in self._rows):
            self._rows = [row for part in self._rows for row in part]
        self._columns = columns

    def blocks(self, fields: Sequence[str]) -> Iterator[Block]:
        """Read all rows, with the values of these fields."""
        keys = [self._columns.get(each, each) for each in fields]
        for start in range(0, len(self._rows), BLOCK):
            rows = self._rows[start : start + BLOCK]
            try:
                values = [[row[key] for row in rows] for key in keys]
            except (KeyError, TypeError, IndexError):  # bare numbers, or a field that some have not
                _refuse_lists(rows, start + 1)
                values = [
                    [_value(row, key, field) for row in rows] for key, field in zip(keys, fields, strict=True)
                ]
            yield Block(start + 1, values)


def _is_part(row: Any, is_mapped: bool) -> bool:
    """Return whether an element of a list of recipients is such a list itself: what one of a mapped task's returned."""
    if isinstance(row, list) and is_mapped:
        return True
    return isinstance(row, list | tuple) and all(isinstance(each, Mapping) for each in row)


def _refuse_lists(rows: Sequence[Any], first: int) -> None:
    for number, row in enumerate(rows, first):
        if isinstance(row, list | tuple):
            raise PindoConfigurationError(
                f"row {number} is a {type(row).__name__} of {len(row)} values, and nothing was sent: nobody can know "
                "which of them is the number. Give mappings, such as {'phonenumber': …, 'name': …}"
            )


def _value(row: Any, key: str, field: str) -> Any:
    if isinstance(row, Mapping):
        return row.get(key)
    return row if field == _NUMBER else None


class FileSource:
    """
    Rows of a file.

    :param path: path or URL, as ``ObjectStoragePath`` takes it; what it ends in says how it is read:
        ``.csv``, ``.jsonl`` (or ``.ndjson``), ``.parquet``.
    :param columns: see :func:`open_source`.
    """

    def __init__(self, path: str, columns: Mapping[str, str]) -> None:
        self._read = {".csv": _csv_blocks, ".jsonl": _json_blocks, ".parquet": _parquet_blocks}[_kind(path)]
        self._path = path
        self._columns = columns

    def blocks(self, fields: Sequence[str]) -> Iterator[Block]:
        """Read all rows, with the values of these fields."""
        wanted = {field: self._columns.get(field, field) for field in fields}
        first = 1
        for values in self._read(storage_path(self._path), wanted):
            yield Block(first, values)
            first += len(values[0])


def storage_path(path: str) -> Any:
    """Return ``path`` as an ``ObjectStoragePath``, whose methods have no types."""
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    return ObjectStoragePath(path)


def read_records(path: str) -> Iterator[Mapping[str, Any]]:
    """Read the rows of a file, each with all its fields; see :class:`FileSource` for the files that can be read."""
    read = {".csv": _csv_records, ".jsonl": _json_records, ".parquet": _parquet_records}[_kind(path)]
    return read(storage_path(path))


def _kind(path: str) -> str:
    kind = _suffix(path).replace(".ndjson", ".jsonl")
    if kind not in (".csv", ".jsonl", ".parquet"):
        raise PindoConfigurationError(
            f"recipients {mask_numbers_in(path)[:80]!r} is not the path of a file that can be read: it must end in "
            ".csv, .jsonl, .ndjson or .parquet (if a template gave a list as text, pass the task's output itself)"
        )
    return kind


def _suffix(path: str) -> str:
    """Return what the name of a file ends in, such as ``.csv``."""
    name = path.rsplit("/", 1)[-1]
    return f".{name.rsplit('.', 1)[-1].lower()}" if "." in name else ""


@contextmanager
def _open(path: Any, mode: str = "r", **options: Any) -> Iterator[Any]:
    """
    Open a file.

    Where there is none, the error shows no number that stands in its name's place; what reading it cannot mend
    is a :class:`PindoConfigurationError`, also while it is being read.
    """
    try:
        with path.open(mode, **options) as file:
            yield file
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {mask_numbers_in(str(path))!r}") from None
    except UnicodeDecodeError:
        raise PindoConfigurationError(
            f"{path.name} is not encoded in UTF-8: save it as UTF-8 (Excel calls it CSV UTF-8)"
        ) from None
    except csv.Error as error:
        raise PindoConfigurationError(
            f"{path.name} cannot be read as CSV ({error}): look for a double quote that is not closed"
        ) from None


def _lines_of(file: Any) -> Iterator[str]:
    """Return the lines of an open file; what Airflow 2.11 opens cannot be iterated over itself."""
    return file if hasattr(type(file), "__iter__") else iter(file.readline, "")


def _places(path: Any, header: Sequence[str], wanted: Mapping[str, str]) -> list[int | None]:
    """Return where each wanted column stands; the name may be missing, and is then None."""
    for field, column in wanted.items():
        if column not in header and field != "name":
            raise PindoConfigurationError(
                f"{path.name} has no column {column!r}; {in_place_of(header, f'columns={{{field!r}: …}}')}"
            )
    return [header.index(column) if column in header else None for column in wanted.values()]


def in_place_of(header: Iterable[object], argument: str) -> str:
    """
    Return what a file has in place of a column, and what to do, in words that tell of no person.

    :param argument: what names the right column.
    """
    names = [str(name) for name in header]
    if any(len(re.sub(r"\D", "", name)) >= _DIGITS_OF_A_NUMBER for name in names):
        return (
            "it seems to have no header line, since there is a number in the first one: put one above it, such as "
            "phonenumber,name"
        )
    return f"it has {', '.join(map(repr, names))}. Name the right one: {argument}"


@contextmanager
def _csv(path: Any) -> Iterator[tuple[list[str], Iterator[list[list[str]]]]]:
    """Open a CSV file: its header, and its rows in blocks, each as long as the header."""
    with _open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(_lines_of(file))
        header = next(reader, [])
        yield header, _even_blocks(path, len(header), reader)


def _even_blocks(path: Any, length: int, reader: Iterator[list[str]]) -> Iterator[list[list[str]]]:
    rows = filter(None, reader)  # a blank line is no row
    first = 1
    while block := list(islice(rows, BLOCK)):
        if any(len(row) != length for row in block):
            block = [_even(path, length, row, number) for number, row in enumerate(block, first)]
        yield block
        first += len(block)


def _even(path: Any, length: int, row: list[str], number: int) -> list[str]:
    if len(row) > length:
        raise PindoConfigurationError(
            f"{path.name}: row {number} has {len(row)} fields, and the header {length}, so nobody can know which is "
            "which: put a field with a comma in it in double quotes"
        )
    return row + [""] * (length - len(row))


def _csv_blocks(path: Any, wanted: Mapping[str, str]) -> Iterator[list[Sequence[Any]]]:
    with _csv(path) as (header, blocks):
        places = _places(path, header, wanted)
        for block in blocks:
            values = list(zip(*block, strict=True))
            yield [[None] * len(block) if place is None else values[place] for place in places]


def _csv_records(path: Any) -> Iterator[Mapping[str, Any]]:
    with _csv(path) as (header, blocks):
        for block in blocks:
            for row in block:
                yield dict(zip(header, row, strict=True))


def _json_blocks(path: Any, wanted: Mapping[str, str]) -> Iterator[list[Sequence[Any]]]:
    rows = _json_records(path)
    while block := list(islice(rows, BLOCK)):
        yield [[row.get(column) for row in block] for column in wanted.values()]


def _json_records(path: Any) -> Iterator[Mapping[str, Any]]:
    with _open(path, encoding="utf-8-sig") as file:
        for number, line in enumerate(filter(str.strip, _lines_of(file)), start=1):
            yield _json_record(path, number, line)


def _json_record(path: Any, number: int, line: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, Mapping):
        raise PindoConfigurationError(f"{path.name}: row {number} is not a JSON object, one to a line")
    return row


@contextmanager
def _parquet(path: Any) -> Iterator[Any]:
    """Open a Parquet file."""
    try:
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise PindoConfigurationError(
            f"{path.name} is a Parquet file, which pyarrow reads: install airflow-provider-pindo[parquet]"
        ) from None
    with _open(path, "rb") as raw:
        yield ParquetFile(raw)


def _parquet_blocks(path: Any, wanted: Mapping[str, str]) -> Iterator[list[Sequence[Any]]]:
    with _parquet(path) as file:
        header = file.schema_arrow.names
        places = _places(path, header, wanted)
        names = [header[place] for place in places if place is not None]
        for batch in file.iter_batches(batch_size=BLOCK, columns=names):
            yield [
                [None] * batch.num_rows if place is None else batch.column(header[place]).to_pylist()
                for place in places
            ]


def _parquet_records(path: Any) -> Iterator[Mapping[str, Any]]:
    with _parquet(path) as file:
        for batch in file.iter_batches(batch_size=BLOCK):
            yield from batch.to_pylist()


def read_numbers(exclude: object, country: str | None) -> frozenset[str]:
    """
    Return the numbers that must not be texted.

    :param exclude: numbers, or mappings with ``phonenumber``, as a list; or a file: one number a
        line, or whatever recipients can be read from, with a column ``phonenumber``.
    :raises PindoConfigurationError: one of them cannot be read, so that somebody might be texted who opted out.
    """
    if isinstance(exclude, str) and exclude.lstrip().startswith(("[", "(", "{")):
        raise PindoConfigurationError(
            f"exclude is text, {mask_numbers_in(exclude)[:80]!r}, and not a list, and nothing was sent: a template "
            "makes text of a list unless the DAG has render_template_as_native_obj=True. Set that, or give a callable "
            "that returns the list"
        )
    if isinstance(exclude, str) and not exclude.strip():
        raise PindoConfigurationError(
            "exclude is empty text, and nothing was sent: a template may have found nothing. Give None, or an empty "
            "list, to exclude nobody"
        )
    found: set[str] = set()
    row = 0
    for block in _exclusions(exclude):
        for value in block:
            row += 1
            try:
                found.add(parse_phone_number(value, country))
            except PindoConfigurationError as error:
                raise PindoConfigurationError(
                    f"row {row} of exclude cannot be read, and nothing was sent: {error}"
                ) from None
    return frozenset(found)


def _exclusions(exclude: object) -> Iterator[Iterable[Any]]:
    if _is_path(exclude) and not _has_columns(str(exclude)):
        with _open(storage_path(str(exclude)), encoding="utf-8-sig") as file:
            yield [line.strip() for line in _lines_of(file) if line.strip() and line.strip() != _NUMBER]
        return
    if isinstance(exclude, set | frozenset):
        exclude = sorted(exclude)
    for block in open_source(exclude).blocks([_NUMBER]):
        yield block.columns[0]


def _has_columns(path: str) -> bool:
    if _suffix(path) != ".csv":
        return _suffix(path) in (".jsonl", ".ndjson", ".parquet")
    with _csv(storage_path(path)) as (header, _):
        return _NUMBER in header
