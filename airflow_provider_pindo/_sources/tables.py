"""Tables with a header: CSV, Excel, Parquet, and what has the Arrow C stream interface (DataFrames, Arrow tables).

Each is read in blocks of rows, with the row numbers that a person sees. In CSV the header is row 1, in Excel it has its
row in the sheet, and in both blank rows count. In the others the first row is 1. A row whose fields are all blank is
skipped.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import date, time, timedelta
from itertools import chain, count, islice
from typing import Any, Protocol

from airflow_provider_pindo._sources.blocks import BadCell
from airflow_provider_pindo._sources.columns import FieldMap
from airflow_provider_pindo._sources.csv_table import BLOCK, CsvTable
from airflow_provider_pindo._sources.files import File, open_binary, open_text, refuse_odd_paths, storage_path
from airflow_provider_pindo.api.cells import is_missing, is_whole_number
from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.phone import mask_numbers_in

#: Rows of a sheet among which the header is looked for: above it may be titles and blank rows.
_HEADER_ROWS = 20
_EXCEL = (".xlsx", ".xlsm")
#: What a file with a header that is not text may end in, and any file with a header.
BINARY_SUFFIXES = (".parquet", *_EXCEL)
TABLE_SUFFIXES = (".csv", ".tsv", *BINARY_SUFFIXES)
_DATE_CELL = (
    "it is a date or time cell of Excel, whose display format cannot be read: format the column as text and type "
    "it as it should read, or use =TEXT(…)"
)
#: pandas adds the labels of the rows to what it gives to Arrow.
LABELS = "__index_level_"
#: The types of Arrow that hold floats of 16 or 32 bits: plain, or each value once.
_short_floats = re.compile(
    r"(?:(?:dictionary|run_end_encoded)<.*?values[=:] ?)?(halffloat|float)(?![a-z0-9])"
).match
#: By such a type: its code in ``struct``, and how many decimal digits it always keeps.
_PRECISIONS = {"halffloat": ("e", 3), "float": ("f", 6)}


class Table(Protocol):
    """Rows under a header."""

    @property
    def header(self) -> Sequence[str]:
        """The names of all columns."""

    @property
    def positions(self) -> Sequence[int | None]:
        """The position of each column that is read; None for an optional one that is missing."""

    def blocks(self, positions: Sequence[int]) -> Iterator[tuple[Sequence[int], list[Sequence[Any]]]]:
        """Read all rows but blank ones: their row numbers, and the columns at ``positions``."""


@contextmanager
def open_table(file: File, columns: FieldMap) -> Iterator[Table]:
    """Open a file whose suffix is one of :data:`TABLE_SUFFIXES`.

    :raises PindoConfigurationError: it lacks a column, or is not what its name says; also while it is being read.
    """
    if file.suffix == ".parquet":
        with _open_parquet(file, columns) as table:
            yield table
    elif file.suffix in _EXCEL:
        yield _open_excel(file, columns)
    else:
        with open_text(file) as text:
            yield CsvTable(file.name, iter(text), columns)


class _ExcelTable:
    """Rows of a sheet: the header is the first row that has the columns, among the first twenty."""

    def __init__(self, where: str, rows: Iterator[list[Any]], columns: FieldMap) -> None:
        top = list(islice(rows, _HEADER_ROWS))
        self._first, self.header, self.positions = _find_header(where, top, columns)
        self._rows = chain(top[self._first - 1 :], rows)

    def blocks(self, positions: Sequence[int]) -> Iterator[tuple[Sequence[int], list[Sequence[Any]]]]:
        """Read all rows but blank ones."""
        first = self._first
        while block := list(islice(self._rows, BLOCK)):
            rows = [row for row, cells in enumerate(block, first) if not all(map(is_missing, cells))]
            if rows:
                cells = [[block[row - first][position] for row in rows] for position in positions]
                yield rows, [list(map(_excel_cell, column)) for column in cells]
            first += len(block)


def _excel_cell(value: Any) -> Any:
    return BadCell(_DATE_CELL, value) if isinstance(value, date | time | timedelta) else value


def _find_header(
    where: str, top: list[list[Any]], columns: FieldMap
) -> tuple[int, list[str], list[int | None]]:
    """Return the number of the first row below the header, the header, and where the columns stand."""
    first_error: PindoConfigurationError | None = None
    most = 0
    for row, cells in enumerate(top, start=1):
        header = list(map(str, cells))
        try:
            return row + 1, header, columns.find(header, where)
        except PindoConfigurationError as error:
            names = sum(map(bool, header))
            if names > most:
                first_error, most = error, names
    raise first_error or PindoConfigurationError(
        f"{where} has no rows in its sheet: check the program that writes it, or name another sheet with sheet=…"
    )


def _open_excel(file: File, columns: FieldMap) -> Table:
    try:
        from python_calamine import CalamineError, CalamineWorkbook, WorksheetNotFound
    except ImportError:
        raise PindoConfigurationError(
            f"{file.name} is an Excel workbook, which python-calamine reads: install airflow-provider-pindo[excel], or "
            "save it as CSV UTF-8"
        ) from None
    with open_binary(file) as raw:
        content = io.BytesIO(raw.read())
    try:
        workbook = CalamineWorkbook.from_filelike(content)
        sheet = workbook.get_sheet_by_name(file.sheet or _first_sheet(file.name, workbook))
        return _ExcelTable(file.name, sheet.iter_rows(), columns)
    except WorksheetNotFound:
        names = ", ".join(map(repr, workbook.sheet_names))
        raise PindoConfigurationError(
            f"{file.name} has no sheet {file.sheet!r}; it has {mask_numbers_in(names)}. Name the right one: sheet=…"
        ) from None
    except CalamineError as error:
        raise PindoConfigurationError(
            f"{file.name} cannot be read as an Excel workbook ({mask_numbers_in(str(error))}): save it again as .xlsx, "
            "without a password"
        ) from None


def _first_sheet(where: str, workbook: Any) -> str:
    """Return the name of the first sheet that is not hidden and has cells: a chart has none."""
    from python_calamine import SheetTypeEnum, SheetVisibleEnum

    for sheet in workbook.sheets_metadata:
        if sheet.visible == SheetVisibleEnum.Visible and sheet.typ == SheetTypeEnum.WorkSheet:
            return str(sheet.name)
    raise PindoConfigurationError(
        f"{where} has no sheet to read, since each one is hidden or a chart: show the sheet with the rows in Excel, or "
        "name it: sheet=…"
    )


class _ArrowTable:
    """Rows of record batches. The blocks do not depend on how the source has cut its batches."""

    def __init__(self, where: str, header: Sequence[str], batches: Iterator[Any], columns: FieldMap) -> None:
        self.header = header
        self.positions = columns.find(header, where)
        self._where = where
        self._batches = batches

    def blocks(self, positions: Sequence[int]) -> Iterator[tuple[Sequence[int], list[Sequence[Any]]]]:
        """Read all rows but blank ones."""
        first = 1
        for parts in _cut_anew(self._batches):
            columns: list[Sequence[Any]] = [self._column(parts, position) for position in positions]
            length = sum(part.num_rows for part in parts)
            rows: Sequence[int] = range(first, first + length)
            first += length
            if blank := self._blank(parts, columns, length):
                kept = [position for position in range(length) if position not in blank]
                rows = [rows[position] for position in kept]
                columns = [[column[position] for position in kept] for column in columns]
            if rows:
                yield rows, columns

    def _blank(self, parts: list[Any], columns: Sequence[Sequence[Any]], length: int) -> set[int]:
        """Return the positions of rows that are blank: first in the columns that are read, then in all."""
        blank = set(range(length))
        others = (
            self._column(parts, position)
            for position, name in enumerate(self.header)
            if not name.startswith(LABELS)
        )
        for column in chain(columns, others):
            blank = {position for position in blank if is_missing(column[position])}
            if not blank:
                break
        return blank

    def _column(self, parts: list[Any], position: int) -> list[Any]:
        if position == self.positions[0]:
            column = f"the column {mask_numbers_in(self.header[position])!r} of {self._where}"
            for part in parts:
                _refuse_short_floats(column, part.schema.field(position).type)
        try:
            return list(chain.from_iterable(_column_values(part.column(position)) for part in parts))
        except (ValueError, TypeError, ArithmeticError, LookupError, NotImplementedError):
            # Its text repeats the value, such as a time in nanoseconds, a date after the year 9999, or no UTF-8.
            raise PindoConfigurationError(
                f"{self._where} has a value in the column {mask_numbers_in(self.header[position])!r}, of type "
                f"{parts[0].schema.field(position).type}, that cannot be read: write this column as text (UTF-8)"
            ) from None


def _refuse_short_floats(what: str, kind: object) -> None:
    """Refuse phone numbers in floats of 16 or 32 bits, which are already another number.

    :param what: what holds the numbers, for the error.
    :param kind: its type in Arrow.
    """
    if _short_floats(str(kind)):
        raise PindoConfigurationError(
            f"{what} is of type {kind}: floats of 16 or 32 bits lose the last digits of a number. Write it as text"
        )


def _column_values(column: Any) -> list[Any]:
    """Return the values of an Arrow array. A short float with a fraction becomes what was written: 19.99."""
    values: list[Any] = column.to_pylist()
    if kind := _short_floats(str(column.type)):
        precision = _PRECISIONS[kind[1]]
        return [
            value if is_missing(value) or is_whole_number(value) else _widen(value, *precision)
            for value in values
        ]
    return values


def _widen(value: float, code: str, precision: int) -> float:
    """Return the float with the fewest digits that is ``value`` in the format with this code of ``struct``."""
    candidates = (float(f"{value:.{digits}g}") for digits in count(precision))
    return next(short for short in candidates if struct.unpack(code, struct.pack(code, short))[0] == value)


def _cut_anew(batches: Iterator[Any]) -> Iterator[list[Any]]:
    """Yield the parts of record batches that make up each block; all blocks but the last are of one length."""
    parts: list[Any] = []
    missing = BLOCK
    for batch in batches:
        start = 0
        while start < batch.num_rows:
            part = batch.slice(start, missing)
            parts.append(part)
            start += part.num_rows
            missing -= part.num_rows
            if not missing:
                yield parts
                parts, missing = [], BLOCK
    if parts:
        yield parts


def _import_pyarrow(what: str) -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise PindoConfigurationError(
            f"{what}, which pyarrow reads: install airflow-provider-pindo[parquet]"
        ) from None
    return pyarrow, parquet


@contextmanager
def _open_parquet(file: File, columns: FieldMap) -> Iterator[Table]:
    pyarrow, parquet = _import_pyarrow(f"{file.name} is a Parquet file")
    with ExitStack() as stack:
        try:
            opened = [
                parquet.ParquetFile(stack.enter_context(open_binary(file, target)))
                for target in _parquet_files(file)
            ]
            header = opened[0].schema_arrow.names
            if any(part.schema_arrow.names != header for part in opened):
                raise PindoConfigurationError(
                    f"the files in {file.name} do not all have the same columns: write it again"
                )
            batches = chain.from_iterable(part.iter_batches(batch_size=BLOCK) for part in opened)
            yield _ArrowTable(file.name, header, batches, columns)
        except (pyarrow.ArrowException, OSError) as error:
            # pyarrow raises bare ones for bytes that it does not understand; those of a storage say which error it is.
            if isinstance(error, OSError) and (type(error) is not OSError or error.errno is not None):
                raise
            raise PindoConfigurationError(
                f"{file.name} cannot be read as Parquet ({mask_numbers_in(str(error))}): write it again"
            ) from None


def _parquet_files(file: File) -> list[Any]:
    """Return the file, or the files of a folder such as Spark writes, in the order of their names."""
    with refuse_odd_paths(file):
        target = storage_path(file.path.rstrip("/"))
        if not target.is_dir():
            return [target]
        inside = sorted(
            (path for path in target.iterdir() if not path.name.startswith(("_", "."))),
            key=lambda path: path.name,
        )
    files = [path for path in inside if path.name.endswith(".parquet")]
    if not files or len(files) < len(inside):
        raise PindoConfigurationError(
            f"{file.name} is a folder, and not all in it are Parquet files (folders such as country=RW are not read): "
            "write it without partitions, or give the path of one file"
        )
    return files


def open_arrow(source: Any, columns: FieldMap) -> Table | None:
    """Return the rows of a DataFrame or an Arrow table; None for a series, which has no columns.

    The first of ``columns`` holds the phone numbers.

    :param source: an object with the Arrow C stream interface.
    :raises PindoConfigurationError: it lacks a column, or its phone numbers are floats of 16 or 32 bits.
    """
    where = columns.argument
    pyarrow, _ = _import_pyarrow(f"{where} is a {type(source).__name__}")
    try:
        reader = pyarrow.RecordBatchReader.from_stream(source)
    except (pyarrow.ArrowException, TypeError, ValueError) as error:
        if not hasattr(source, "columns") and not hasattr(source, "schema"):
            kind = None
            with suppress(pyarrow.ArrowException, TypeError, ValueError):  # a series of mappings has no type
                kind = pyarrow.chunked_array(source).type
            _refuse_short_floats(where, kind)
            return None
        raise PindoConfigurationError(
            f"{where} is a {type(source).__name__}, and Arrow cannot read it ({mask_numbers_in(str(error))[:200]}): "
            "give each column one type, and a name of its own"
        ) from None
    return _ArrowTable(where, reader.schema.names, iter(reader), columns)
