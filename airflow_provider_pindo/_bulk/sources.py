"""Where recipients come from: a list, an XCom, a generator, or a CSV, JSON Lines or Parquet file.

A source is read once at each try, in blocks of rows. A file is read in a stream through Airflow's
``ObjectStoragePath``: it may be on this machine or in a bucket, and of any length.
"""

from __future__ import annotations

import csv
import errno
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Protocol

from airflow_provider_pindo._bulk.recipients import Block
from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.phone import mask_numbers_in, parse_phone_number

#: Rows that are read at a time.
BLOCK = 1000

_NUMBER = "phonenumber"
#: Digits in the name of a column from which on it is taken for somebody's number.
_DIGITS_OF_A_NUMBER = 7
#: What fields are separated by where it is no comma.
_SEPARATORS = {";": "semicolons", "\t": "tabs"}


class Source(Protocol):
    """Rows that are read once."""

    def blocks(self, fields: Sequence[str]) -> Iterator[Block]:
        """Read all rows, with the values of these fields."""


def open_source(
    recipients: object, columns: Mapping[str, str] | None = None, argument: str = "recipients"
) -> Source:
    """Return the rows that ``recipients`` stands for.

    :param recipients: mappings or numbers in a list or a generator, or a path.
    :param columns: the name that a field has there, where it is another.
    :param argument: the name of the argument that gave ``recipients``, for errors.
    :raises PindoConfigurationError: it is nothing of the kind.
    """
    named = _read_columns(columns)
    if is_path(recipients):
        return FileSource(str(recipients), named, argument)
    if isinstance(recipients, Iterable) and not isinstance(recipients, bytes | Mapping | Set):
        return RowsSource(recipients, named, argument)
    raise PindoConfigurationError(
        f"{argument} is of type {type(recipients).__name__}, which is no list of rows: give a list, the path of a "
        "file, or a callable that returns one"
    )


def _read_columns(columns: object) -> dict[str, str]:
    if isinstance(columns, Mapping):
        return dict(columns)
    if columns is None:
        return {}
    raise PindoConfigurationError(
        f"columns is {_shown(columns)}: give a mapping from a field to its name in recipients, such as "
        "{'phonenumber': 'Tel'}"
    )


def is_path(value: object) -> bool:
    """Return whether ``value`` names a file."""
    return isinstance(value, str | os.PathLike)


def _shown(value: object) -> str:
    """Return a value for an error: not all of a long one, and no number."""
    return mask_numbers_in(repr(value))[:80]


class RowsSource:
    """Rows of a list or a generator: mappings, or bare numbers.

    :param rows: the rows; each element of a mapped task's XCom may be a list of them. Other lists in it are refused,
        such as the rows of a database: they do not name which value is the number.
    :param columns: see :func:`open_source`.
    :param argument: see there.
    """

    def __init__(self, rows: Iterable[Any], columns: Mapping[str, str], argument: str = "recipients") -> None:
        if isinstance(rows, Sequence):
            # Airflow fetches the XComs of a mapped task one by one, so they are fetched once.
            is_mapped = not isinstance(rows, list | tuple)
            rows = list(rows) if is_mapped else rows
            if rows and all(_is_part(row, is_mapped) for row in rows):
                rows = chain.from_iterable(rows)
        self._rows = rows
        self._columns = columns
        self._argument = argument

    def blocks(self, fields: Sequence[str]) -> Iterator[Block]:
        """Read all rows, with the values of these fields."""
        keys = [self._columns.get(name, name) for name in fields]
        remaining, first = iter(self._rows), 1
        while rows := list(islice(remaining, BLOCK)):
            try:
                values = [[row[key] for row in rows] for key in keys]
            except (KeyError, TypeError, IndexError):  # bare numbers, or a field that some rows lack
                _refuse_lists(rows, first)
                if first == 1:
                    column = self._columns.get(_NUMBER, _NUMBER)
                    _refuse_without_numbers(rows, column, self._argument, self._argument)
                values = [
                    [_value(row, key, field) for row in rows] for key, field in zip(keys, fields, strict=True)
                ]
            yield Block(first, values)
            first += len(rows)


def _is_part(row: Any, is_mapped: bool) -> bool:
    """Return whether an element of a list of recipients is such a list itself: what one of a mapped task's returned."""
    if isinstance(row, list) and is_mapped:
        return True
    return isinstance(row, list | tuple) and all(isinstance(each, Mapping) for each in row)


def _refuse_lists(rows: Sequence[Any], first: int) -> None:
    for number, row in enumerate(rows, first):
        if isinstance(row, list | tuple):
            raise PindoConfigurationError(
                f"row {number} is a {type(row).__name__} of {len(row)} values, and nothing was sent: it does not "
                "name which of them is the number. Give mappings, such as {'phonenumber': …, 'name': …}"
            )


def _refuse_without_numbers(rows: Sequence[Any], column: str, where: str, argument: str) -> None:
    """Say once that the first rows have no such field, where it would be said of each that it has no number."""
    if rows and all(isinstance(row, Mapping) and column not in row for row in rows):
        has = mask_numbers_in(", ".join(map(repr, rows[0]))) or "nothing"
        which = "its first row" if len(rows) == 1 else f"any of its first {len(rows):,} rows"
        raise PindoConfigurationError(
            f"{where} has no field {column!r} in {which}; row 1 has {has}. {_name_it(argument, _NUMBER)}"
        )


def _name_it(argument: str, field: str) -> str:
    """Return what to do where a field has another name: the recipients' ``columns`` are not those of ``exclude``."""
    if argument == "recipients":
        return f"Name the right one: columns={{{field!r}: …}}"
    return f"Give the right one of {argument} the name {field!r}"


def _value(row: Any, key: str, field: str) -> Any:
    if isinstance(row, Mapping):
        return row.get(key)
    return row if field == _NUMBER else None


class FileSource:
    """Rows of a file.

    :param path: path or URL, as ``ObjectStoragePath`` takes it; what it ends in says how it is read:
        ``.csv``, ``.jsonl`` (or ``.ndjson``), ``.parquet``.
    :param columns: see :func:`open_source`.
    :param argument: see there.
    """

    def __init__(self, path: str, columns: Mapping[str, str], argument: str = "recipients") -> None:
        self._file = _File(path, argument)
        self._read = {".csv": _csv_blocks, ".jsonl": _json_blocks, ".parquet": _parquet_blocks}[
            _kind(self._file)
        ]
        self._columns = columns

    def blocks(self, fields: Sequence[str]) -> Iterator[Block]:
        """Read all rows, with the values of these fields."""
        wanted = {field: self._columns.get(field, field) for field in fields}
        first = 1
        for values in self._read(self._file, wanted):
            yield Block(first, values)
            first += len(values[0])


@dataclass(frozen=True, slots=True)
class _File:
    """A file, and who named it.

    :param path: path or URL.
    :param argument: the name of the argument that gave it.
    """

    path: str
    argument: str

    @property
    def name(self) -> str:
        """Its name alone, for errors."""
        return self.path.rsplit("/", 1)[-1]


def storage_path(path: str) -> Any:
    """Return ``path`` as an ``ObjectStoragePath``, whose methods have no types."""
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    return ObjectStoragePath(path)


def read_records(path: str) -> Iterator[Mapping[str, Any]]:
    """Read the rows of a file, each with all its fields; see :class:`FileSource` for the files that can be read."""
    file = _File(path, "recipients")
    return {".csv": _csv_records, ".jsonl": _json_records, ".parquet": _parquet_records}[_kind(file)](file)


def _kind(file: _File) -> str:
    kind = _suffix(file.path).replace(".ndjson", ".jsonl")
    if kind not in (".csv", ".jsonl", ".parquet"):
        raise PindoConfigurationError(
            f"{file.argument} {_shown(file.path)} is not the path of a file that can be read: it must end in "
            ".csv, .jsonl, .ndjson or .parquet (if a template gave a list as text, pass the task's output itself)"
        )
    return kind


def _suffix(path: str) -> str:
    """Return what the name of a file ends in, such as ``.csv``."""
    name = path.rsplit("/", 1)[-1]
    return f".{name.rsplit('.', 1)[-1].lower()}" if "." in name else ""


@contextmanager
def _open(file: _File, mode: str = "r", **options: Any) -> Iterator[Any]:
    """Open a file.

    Where there is none, the error shows no number that stands in its name's place; what reading it cannot mend
    is a :class:`PindoConfigurationError`, also while it is being read.
    """
    try:
        with storage_path(file.path).open(mode, **options) as opened:
            yield opened
    except OSError as error:
        if not isinstance(error, FileNotFoundError) and error.errno != errno.ENAMETOOLONG:
            raise
        raise _missing(file) from None
    except UnicodeDecodeError:
        raise PindoConfigurationError(
            f"{file.name} is not encoded in UTF-8: save it as UTF-8 (Excel calls it CSV UTF-8)"
        ) from None
    except csv.Error as error:
        raise PindoConfigurationError(
            f"{file.name} cannot be read as CSV ({error}): look for a double quote that is not closed"
        ) from None


def _missing(file: _File) -> Exception:
    """Return the error for a file that is not there; it may come later, unless the text is no path at all."""
    if "/" in file.path or _suffix(file.path):
        return FileNotFoundError(
            f"there is no file {mask_numbers_in(file.path)!r}, which {file.argument} names: put it there, or give "
            "the path of another"
        )
    return PindoConfigurationError(
        f"{file.argument} is {_shown(file.path)}, and there is no file of this name: give the numbers as a list, even "
        "a single one, or the path of a file"
    )


def _lines_of(file: Any) -> Iterator[str]:
    """Return the lines of an open file; what Airflow 2.11 opens cannot be iterated over itself."""
    return file if hasattr(type(file), "__iter__") else iter(file.readline, "")


def _places(file: _File, header: Sequence[str], wanted: Mapping[str, str]) -> list[int | None]:
    """Return where each wanted column stands; the name may be missing, and is then None."""
    for field, column in wanted.items():
        if column not in header and field != "name":
            raise PindoConfigurationError(
                f"{file.name} has no column {column!r}; {in_place_of(header, _name_it(file.argument, field))}"
            )
    return [header.index(column) if column in header else None for column in wanted.values()]


def in_place_of(header: Iterable[object], name_it: str) -> str:
    """Return what a file has in place of a column, and what to do, in words that tell of no person.

    :param name_it: what to do where the column has another name.
    """
    names = [str(name) for name in header]
    if any(len(re.sub(r"\D", "", name)) >= _DIGITS_OF_A_NUMBER for name in names):
        return (
            "it seems to have no header line, since there is a number in the first one: put one above it, such as "
            "phonenumber,name"
        )
    has = f"it has {', '.join(map(repr, names))}"
    if separators := _other_separators(names):
        return (
            f"{has}, which are separated by {separators}: save it with commas (LibreOffice asks for the separator; "
            "Excel takes the list separator of Windows' region settings)"
        )
    return f"{has}. {name_it}"


def _other_separators(header: Iterable[str]) -> str | None:
    """Return what the columns of a header seem to be separated by, if it is no comma."""
    return next((name for sign, name in _SEPARATORS.items() if any(sign in each for each in header)), None)


@contextmanager
def _csv(file: _File) -> Iterator[tuple[list[str], Iterator[list[list[str]]]]]:
    """Open a CSV file: its header, and its rows in blocks, each as long as the header."""
    with _open(file, encoding="utf-8-sig", newline="") as opened:
        reader = csv.reader(_lines_of(opened))
        header = next(reader, None)
        if header is None:
            raise PindoConfigurationError(
                f"{file.name} is empty: see that what writes it has written it, at least a first line with the names "
                "of its columns, such as phonenumber,name"
            )
        if not "".join(header).strip():
            raise PindoConfigurationError(
                f"the first line of {file.name} is blank: take it out, so that the names of the columns come first"
            )
        yield header, _even_blocks(file, len(header), reader)


def _even_blocks(file: _File, length: int, reader: Iterator[list[str]]) -> Iterator[list[list[str]]]:
    rows = filter(None, reader)  # a blank line is no row
    first = 1
    while block := list(islice(rows, BLOCK)):
        if set(map(len, block)) != {length}:
            block = [_even(file, length, row, number) for number, row in enumerate(block, first)]
        yield block
        first += len(block)


def _even(file: _File, length: int, row: list[str], number: int) -> list[str]:
    if len(row) > length:
        raise PindoConfigurationError(
            f"{file.name}: row {number} has {len(row)} fields, and the header {length}, so it is not clear which is "
            "which: put a field with a comma in it in double quotes"
        )
    return row + [""] * (length - len(row))


def _csv_blocks(file: _File, wanted: Mapping[str, str]) -> Iterator[list[Sequence[Any]]]:
    with _csv(file) as (header, blocks):
        places = _places(file, header, wanted)
        for block in blocks:
            values = list(zip(*block, strict=True))
            yield [[None] * len(block) if place is None else values[place] for place in places]


def _csv_records(file: _File) -> Iterator[Mapping[str, Any]]:
    with _csv(file) as (header, blocks):
        for block in blocks:
            for row in block:
                yield dict(zip(header, row, strict=True))


def _json_blocks(file: _File, wanted: Mapping[str, str]) -> Iterator[list[Sequence[Any]]]:
    rows = _json_records(file)
    is_first = True
    while block := list(islice(rows, BLOCK)):
        if is_first:
            _refuse_without_numbers(block, wanted[_NUMBER], file.name, file.argument)
            is_first = False
        yield [[row.get(column) for row in block] for column in wanted.values()]


def _json_records(file: _File) -> Iterator[Mapping[str, Any]]:
    with _open(file, encoding="utf-8-sig") as opened:
        for number, line in enumerate(filter(str.strip, _lines_of(opened)), start=1):
            yield _json_record(file, number, line)


def _json_record(file: _File, number: int, line: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, Mapping):
        raise PindoConfigurationError(f"{file.name}: row {number} is not a JSON object, one to a line")
    return row


@contextmanager
def _parquet(file: _File) -> Iterator[Any]:
    """Open a Parquet file."""
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise PindoConfigurationError(
            f"{file.name} is a Parquet file, which pyarrow reads: install airflow-provider-pindo[parquet]"
        ) from None
    with _open(file, "rb") as raw:
        try:
            yield ParquetFile(raw)
        except ArrowException as error:
            raise PindoConfigurationError(
                f"{file.name} cannot be read as Parquet ({mask_numbers_in(str(error))}): write it anew"
            ) from None


def _parquet_blocks(file: _File, wanted: Mapping[str, str]) -> Iterator[list[Sequence[Any]]]:
    with _parquet(file) as parquet:
        header = parquet.schema_arrow.names
        places = _places(file, header, wanted)
        names = [header[place] for place in places if place is not None]
        for batch in parquet.iter_batches(batch_size=BLOCK, columns=names):
            yield [
                [None] * batch.num_rows if place is None else batch.column(header[place]).to_pylist()
                for place in places
            ]


def _parquet_records(file: _File) -> Iterator[Mapping[str, Any]]:
    with _parquet(file) as parquet:
        for batch in parquet.iter_batches(batch_size=BLOCK):
            yield from batch.to_pylist()


def read_numbers(exclude: object, country: str | None) -> frozenset[str]:
    """Return the numbers that must not be texted.

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
    if is_path(exclude):
        file = _File(str(exclude), "exclude")
        if not _has_columns(file):
            with _open(file, encoding="utf-8-sig") as opened:
                yield [line.strip() for line in _lines_of(opened) if line.strip() and line.strip() != _NUMBER]
            return
    if isinstance(exclude, set | frozenset):
        exclude = sorted(exclude, key=str)
    for block in open_source(exclude, argument="exclude").blocks([_NUMBER]):
        yield block.columns[0]


def _has_columns(file: _File) -> bool:
    if _suffix(file.path) != ".csv":
        return _suffix(file.path) in (".jsonl", ".ndjson", ".parquet")
    with _open(file, encoding="utf-8-sig", newline="") as opened:
        header = next(csv.reader(_lines_of(opened)), [])
        return _NUMBER in header or _other_separators(header) is not None
