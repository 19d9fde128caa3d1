"""Where recipients come from: a list, an XCom, a generator, a DataFrame, or a file.

Each try reads a source once, in blocks of rows. A file is CSV, JSON Lines, Parquet or Excel, on this machine or in
a bucket. It is read in a stream, and may be of any length; only an Excel workbook is read as a whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from itertools import chain, count, islice
from typing import Any, Protocol

from airflow_provider_pindo._sources.blocks import BadCell, Block, restore_bad_cell
from airflow_provider_pindo._sources.columns import FieldMap
from airflow_provider_pindo._sources.csv_table import BLOCK
from airflow_provider_pindo._sources.files import File, open_text, shown
from airflow_provider_pindo._sources.tables import LABELS, TABLE_SUFFIXES, Table, open_arrow, open_table
from airflow_provider_pindo.api.cells import is_missing
from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.phone import mask_numbers_in

#: The field that every source must have.
NUMBER = "phonenumber"
#: What the name of a JSON Lines file ends in.
JSON_SUFFIXES = (".jsonl", ".ndjson")


class Source(Protocol):
    """Rows that are read once."""

    def blocks(self, fields: Sequence[str], optional: Collection[str] = ()) -> Iterator[Block]:
        """Read all rows, with the values of these fields.

        :param optional: fields that the source may lack.
        """


def open_source(
    recipients: object,
    columns: Mapping[str, str] | None = None,
    argument: str = "recipients",
    sheet: str | None = None,
) -> Source:
    """Return the rows that ``recipients`` stands for.

    :param recipients: mappings or numbers in a list or a generator; one mapping; a DataFrame; or a path.
    :param columns: the name in the source, by field, where it differs.
    :param argument: the name of the argument that gave ``recipients``, for errors.
    :param sheet: the sheet of an Excel workbook; None for the first.
    :raises PindoConfigurationError: it is something else.
    """
    names = _check_columns(columns)
    if is_path(recipients):
        return FileSource(File(str(recipients), argument, sheet), names)
    if hasattr(recipients, "__arrow_c_stream__"):
        return ArrowSource(recipients, names, argument)
    if isinstance(recipients, Mapping) and argument == "recipients" and _has_number(recipients, names):
        return RowsSource([recipients], names, argument)
    if (
        isinstance(recipients, Iterable)
        and not isinstance(recipients, bytes | bytearray | Mapping | Set)
        and not hasattr(recipients, "iterrows")
    ):
        return RowsSource(recipients, names, argument)
    raise PindoConfigurationError(
        f"{argument} is of type {type(recipients).__name__}, {_why_no_list(recipients, argument)}"
    )


def _has_number(row: Mapping[Any, Any], names: Mapping[str, str]) -> bool:
    return FieldMap([NUMBER], names).position(NUMBER, list(row), "recipients") is not None


def _why_no_list(recipients: object, argument: str) -> str:
    if recipients is None:
        return "so the upstream task or the callable returned nothing: return a list, even an empty one"
    if isinstance(recipients, Set):
        return "whose order changes from try to try: give a list, such as sorted(…) of it"
    if hasattr(recipients, "iterrows"):
        return "which has no Arrow interface: give a list of rows, such as its to_dict('records')"
    other = "a callable that returns one"
    if isinstance(recipients, Mapping) and argument == "recipients":
        other = f"one mapping with {NUMBER!r}"
    return f"which is not a list of rows: give a list, the path of a file, or {other}"


def _check_columns(columns: object) -> dict[str, str]:
    if isinstance(columns, Mapping):
        return dict(columns)
    if columns is None:
        return {}
    raise PindoConfigurationError(
        f"columns is {shown(columns)}: give a mapping from a field to its name in recipients, such as "
        "{'phonenumber': 'Tel'}"
    )


def is_path(value: object) -> bool:
    """Return whether ``value`` names a file."""
    return isinstance(value, str | os.PathLike)


class RowsSource:
    """Rows of a list or a generator: mappings, rows of a database that have names, or bare numbers.

    :param rows: the rows; each element of a mapped task's XCom may be a list of them. Other lists in it are refused,
        such as the bare rows of a database: they do not name which value is the number.
    :param names: the name in the source, by field, where it differs.
    :param argument: see :func:`open_source`.
    :param where: what has the rows, for errors: a file, or the argument.
    """

    def __init__(
        self, rows: Iterable[Any], names: Mapping[str, str], argument: str = "recipients", where: str = ""
    ) -> None:
        if isinstance(rows, Sequence):
            # Airflow fetches the XComs of a mapped task one by one, so they are fetched once.
            is_mapped = not isinstance(rows, list | tuple)
            rows = list(rows) if is_mapped else rows
            if rows and all(_is_part(row, is_mapped) for row in rows):
                rows = chain.from_iterable(rows)
        self._rows = rows
        self._names = names
        self._argument = argument
        self._where = where or argument

    def blocks(self, fields: Sequence[str], optional: Collection[str] = ()) -> Iterator[Block]:
        """Read all rows, with the values of these fields."""
        columns = FieldMap(fields, self._names, optional, self._argument)
        keys: list[Any] = [columns.name(field) for field in fields]
        remaining, first = iter(self._rows), 1
        while rows := list(islice(remaining, BLOCK)):
            if not isinstance(rows[0], dict | str):
                rows = list(map(named_row, rows, count(first)))
            if first == 1:
                _refuse_without_fields(rows, columns, self._where)
            try:
                values = [[row[key] for row in rows] for key in keys]
            except (KeyError, TypeError, IndexError):  # bare numbers, or a field that some rows lack
                _refuse_lists(rows, first)
                keys = [_key(field, columns, rows, self._where) for field in fields]
                values = [
                    [_value(row, key, field) for row in rows] for key, field in zip(keys, fields, strict=True)
                ]
            block = _without_blank_rows(range(first, first + len(rows)), rows, values)
            if block.columns[0]:
                yield block
            first += len(rows)


def named_row(row: Any, number: int) -> Any:
    """Return a row of a database that has names as a dict, and anything else as it is.

    These are named tuples, ``sqlite3.Row``, the rows of SQLAlchemy, and ``DictRow`` of psycopg2.

    :param number: the number of the row, for errors.
    :raises PindoConfigurationError: a name appears twice.
    """
    if isinstance(row, Mapping | str):
        return row
    names = getattr(row, "_fields", None)
    if names is None and callable(keys := getattr(row, "keys", None)):
        names = keys()
    if names is None:
        return row
    names = list(names)
    # sqlite3.Row ignores case when it is asked by name.
    values = list(row) if isinstance(row, Sequence) else [row[name] for name in names]
    if not len(set(names)) == len(names) == len(values):
        twice = [repr(name) for name in dict.fromkeys(names) if names.count(name) > 1]
        # DictRow says each name once.
        which = f"the field {twice[0]}" if twice else f"one of the fields {', '.join(map(repr, names))}"
        raise PindoConfigurationError(
            f"row {number} has {mask_numbers_in(which)} twice, so it is not clear which one counts: give each column "
            "a name of its own, such as SELECT … AS …"
        )
    return dict(zip(names, values, strict=True))


def _is_part(row: Any, is_mapped: bool) -> bool:
    """Return whether an element is itself a list of recipients: the result of one mapped task instance."""
    if isinstance(row, list) and is_mapped:
        return True
    return isinstance(row, list | tuple) and all(isinstance(element, Mapping) for element in row)


def _refuse_lists(rows: Sequence[Any], first: int) -> None:
    for number, row in enumerate(rows, first):
        if isinstance(row, list | tuple):
            raise PindoConfigurationError(
                f"row {number} is a {type(row).__name__} of {len(row)} values, and nothing was sent: it does not "
                "name which of them is the number. Give mappings, such as {'phonenumber': …, 'name': …}"
            )


def _refuse_without_fields(rows: Sequence[Any], columns: FieldMap, where: str) -> None:
    """Refuse rows that all lack a field, or have two keys for it, with one error instead of one for each row."""
    if not all(isinstance(row, Mapping) for row in rows):
        return
    header = list(dict.fromkeys(chain.from_iterable(rows)))
    required = columns.required()
    for field in dict.fromkeys([*required, *columns.fields]):
        if columns.position(field, header, where) is None and field in required:
            which = "its first row" if len(rows) == 1 else f"any of its first {len(rows):,} rows"
            has = columns.describe(field, rows[0], has_header=False).removeprefix("it has ")
            raise PindoConfigurationError(
                f"{where} has no field {columns.name(field)!r} in {which}; row 1 has {has}"
            )


def _key(field: str, columns: FieldMap, rows: Sequence[Any], where: str) -> Any:
    """Return the key of a field in the rows of a block."""
    keys = list(dict.fromkeys(chain.from_iterable(row for row in rows if isinstance(row, Mapping))))
    position = columns.position(field, keys, where)
    return columns.name(field) if position is None else keys[position]


def _value(row: Any, key: str, field: str) -> Any:
    if isinstance(row, Mapping):
        return row.get(key)
    return row if field == NUMBER else None


def _without_blank_rows(row_numbers: range, rows: Sequence[Any], values: list[list[Any]]) -> Block:
    numbers = values[0]
    if set(map(type, numbers)) == {str} and all(map(str.strip, numbers)):
        return Block(row_numbers, values)
    values[0] = [
        str(number) if isinstance(number, str) else number for number in numbers
    ]  # NumPy's are no str
    kept = [position for position, row in enumerate(rows) if not _is_blank(row)]
    if len(kept) == len(rows):
        return Block(row_numbers, values)
    return Block(
        [row_numbers[position] for position in kept],
        [[column[position] for position in kept] for column in values],
    )


def _is_blank(row: Any) -> bool:
    return all(map(is_missing, row.values())) if isinstance(row, Mapping) else is_missing(row)


class FileSource:
    """Rows of a file.

    :param file: path or URL, as ``ObjectStoragePath`` takes it; what it ends in says how it is read:
        ``.csv``, ``.tsv``, ``.jsonl`` (or ``.ndjson``), ``.parquet``, ``.xlsx`` (or ``.xlsm``).
    :param names: see :class:`RowsSource`.
    """

    def __init__(self, file: File, names: Mapping[str, str]) -> None:
        _check_suffix(file)
        self._file = file
        self._names = names

    def blocks(self, fields: Sequence[str], optional: Collection[str] = ()) -> Iterator[Block]:
        """Read all rows, with the values of these fields."""
        file = self._file
        if file.suffix in JSON_SUFFIXES:
            rows = RowsSource(_json_records(file), self._names, file.argument, file.name)
            yield from rows.blocks(fields, optional)
            return
        with open_table(file, FieldMap(fields, self._names, optional, file.argument)) as table:
            yield from table_blocks(table)


class ArrowSource:
    """Rows of a DataFrame or an Arrow table.

    :param source: an object with the Arrow C stream interface.
    :param names: see :class:`RowsSource`.
    :param argument: see :func:`open_source`.
    """

    def __init__(self, source: Any, names: Mapping[str, str], argument: str) -> None:
        self._source = source
        self._names = names
        self._argument = argument

    def blocks(self, fields: Sequence[str], optional: Collection[str] = ()) -> Iterator[Block]:
        """Read all rows, with the values of these fields."""
        table = open_arrow(self._source, FieldMap(fields, self._names, optional, self._argument))
        if table is None:
            yield from RowsSource(_values(self._source), self._names, self._argument).blocks(fields, optional)
        else:
            yield from table_blocks(table)


def _values(series: Any) -> list[Any]:
    """Return the values of a series or an Arrow array."""
    return list(series.to_pylist() if hasattr(series, "to_pylist") else series)


def table_blocks(table: Table) -> Iterator[Block]:
    """Read all rows of a table."""
    positions = [position for position in table.positions if position is not None]
    for rows, columns in table.blocks(positions):
        remaining = iter(columns)
        missing = [None] * len(rows)
        yield Block(rows, [missing if position is None else next(remaining) for position in table.positions])


def _check_suffix(file: File) -> None:
    if file.suffix not in (*TABLE_SUFFIXES, *JSON_SUFFIXES):
        raise PindoConfigurationError(
            f"{file.argument} {shown(file.path)} is not the path of a file that can be read: it must end in "
            ".csv, .tsv, .jsonl, .ndjson, .parquet or .xlsx (if a template gave a list as text, pass the task's output "
            "itself)"
        )


def read_records(source: object, columns: FieldMap, sheet: str | None = None) -> Iterator[Mapping[str, Any]]:
    """Read the rows of a file, a DataFrame or an Arrow table, each with all its fields.

    :param columns: the columns that must be there.
    """
    if not is_path(source):
        table = open_arrow(source, columns)
        if table is None:
            raise PindoConfigurationError(
                f"recipients is a {type(source).__name__}, which has no columns: give a DataFrame"
            )
        yield from _table_records(table, "recipients")
        return
    file = File(str(source), sheet=sheet)
    _check_suffix(file)
    if file.suffix in JSON_SUFFIXES:
        yield from _json_records(file)
        return
    with open_table(file, columns) as table:
        yield from _table_records(table, file.name)


def _table_records(table: Table, where: str) -> Iterator[Mapping[str, Any]]:
    """Yield each row as a mapping; every column that has a name must stand there once."""
    header = list(map(str, table.header))
    positions = [
        position for position, name in enumerate(header) if name.strip() and not name.startswith(LABELS)
    ]
    names = [header[position] for position in positions]
    FieldMap(names, {name: name for name in names}).find(names, where)
    for _, columns in table.blocks(positions):
        for values in zip(*columns, strict=True):
            yield dict(zip(names, values, strict=True))


def _json_records(file: File) -> Iterator[Mapping[str, Any]]:
    with open_text(file) as text:
        for number, line in enumerate(filter(str.strip, text), start=1):
            yield _json_record(file, number, line)


def _json_record(file: File, number: int, line: str) -> Mapping[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any] | BadCell:
        row = dict(pairs)
        if len(row) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise PindoConfigurationError(
                f"{file.name}: row {number} has the field {mask_numbers_in(twice)!r} twice, so it is not clear which "
                "one counts: remove one"
            )
        return restore_bad_cell(row)

    try:
        row = json.loads(line, object_pairs_hook=once)
    except PindoConfigurationError:
        raise
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, Mapping):
        raise PindoConfigurationError(f"{file.name}: row {number} is not a JSON object, one to a line")
    return row
