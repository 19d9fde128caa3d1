"""CSV, read strictly: a misplaced quote stops the task, so that nobody gets the text of another row.

Python's ``csv`` accepts a quote that swallows the lines below it, up to the next quote or the end of the file. So each
line with a quote in it is checked here first, by these rules:

* A quote opens at the start of a field, and its field ends right after the closing quote. Anything else is a fault.
* A field that is read (the number, the name, a mention) holds no line break, also when it is quoted properly.
* Another field may hold one, unless a line in it looks like a row: it has a phone number in it, or as many separators
  as the header.

Rows count from 1, the header, and include blank ones: the row number is that of the spreadsheet.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from itertools import compress, islice

from airflow_provider_pindo._sources.columns import FieldMap
from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.phone import mask_numbers_in

#: Rows that are read at a time.
BLOCK = 1000
_SEPARATORS = ",;\t"
_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs"}
# The first line that Excel writes to name the separator.
_names_separator = re.compile(r'"?sep=([^"\r\n])"?[\s,;]*', re.IGNORECASE).fullmatch


class CsvTable:
    """Rows of CSV under their header.

    :param where: the name of the file, for errors.
    :param lines: its lines, with their ends.
    :param columns: the columns that are read; the separator is the one that shows them in the header.
    :param row: the row of the header.
    """

    def __init__(self, where: str, lines: Iterator[str], columns: FieldMap, row: int = 1) -> None:
        self._where = where
        first = next(lines, None)
        separators = _SEPARATORS
        if first is not None and (separator := _names_separator(first)):
            separators = separator[1]
            first = next(lines, None)
        if first is None:
            raise PindoConfigurationError(
                f"{where} is empty: check the program that writes it. It needs at least a first line with the names "
                "of its columns, such as phonenumber,name"
            )
        if not first.strip(' \t\r\n,;"'):
            raise PindoConfigurationError(
                f"the first line of {where} is blank: take it out, so that the names of the columns come first"
            )
        headers = split_header(where, first, separators)
        self._separator, self.positions = _choose(where, headers, columns)
        self.header = headers[self._separator]
        self._row = row
        self._lines = _Lines(where, lines, self._separator, row)

    def blocks(self, positions: Sequence[int]) -> Iterator[tuple[Sequence[int], list[Sequence[str]]]]:
        """Read all rows but blank ones: their row numbers, and the columns at ``positions``.

        :raises PindoConfigurationError: a row cannot be read with certainty.
        """
        lines, length = self._lines, len(self.header)
        reader = csv.reader(lines, delimiter=self._separator, strict=True)
        first = self._row + 1
        while block := self._next_block(reader):
            if lines.broken_rows:
                for row in lines.broken_rows:
                    self._check_line_breaks(row, block[row - first], positions)
                lines.broken_rows.clear()
            if set(map(len, block)) != {length}:
                block = [self._even(row, values) for row, values in enumerate(block, first)]
            rows: Sequence[int] = range(first, first + len(block))
            first += len(block)
            contents = list(map(str.strip, map("".join, block)))
            if not all(contents):
                rows, block = list(compress(rows, contents)), list(compress(block, contents))
            if rows:
                columns = list(zip(*block, strict=True))
                yield rows, [columns[position] for position in positions]

    def _next_block(self, reader: Iterator[list[str]]) -> list[list[str]]:
        try:
            return list(islice(reader, BLOCK))
        except csv.Error as error:
            if self._lines.opened_at:
                raise _fault(self._where, self._lines.opened_at, _NOT_CLOSED) from None
            raise PindoConfigurationError(
                f"{self._where} cannot be read as CSV (row {self._lines.row}: {error}): export it again"
            ) from None

    def _even(self, row: int, values: list[str]) -> list[str]:
        """Return a row as long as the header: a short one gets empty fields, and a long one loses them."""
        length = len(self.header)
        if len(values) > length and any(map(str.strip, values[length:])):
            raise PindoConfigurationError(
                f"{self._where}: row {row} has {len(values)} fields, and the header {length}, so it is not clear "
                f"which is which: put a field with a {_name(self._separator)[:-1]} in it in double quotes"
            )
        return values[:length] + [""] * (length - len(values))

    def _check_line_breaks(self, row: int, values: list[str], positions: Sequence[int]) -> None:
        for position, value in enumerate(values):
            lines = re.split("\r\n|\r|\n", value)
            if len(lines) == 1:
                continue
            column = self.header[position] if position < len(self.header) else ""
            is_like_row = any(
                line.count(self._separator) + 1 >= len(self.header) or mask_numbers_in(line) != line
                for line in lines
            )
            if position in positions or is_like_row:
                raise PindoConfigurationError(
                    f"{self._where}: row {row} has a line break in {mask_numbers_in(column)!r}, so a quote may have "
                    "swallowed the rows below it: close the quote where the field ends, or take out the line break"
                )


def split_header(where: str, line: str, separators: str = _SEPARATORS) -> dict[str, list[str]]:
    """Return the names in a header line, for each separator that it can have.

    :raises PindoConfigurationError: a quote in it is misplaced, or a name has more than 131,072 characters.
    """
    try:
        headers = {
            separator: next(csv.reader([line], delimiter=separator, strict=True))
            for separator in separators
            if '"' not in line or _patterns(separator)[0].fullmatch(line)
        }
    except csv.Error as error:
        raise PindoConfigurationError(
            f"the first line of {where} cannot be read as the names of its columns ({error}): export it again"
        ) from None
    if not headers:
        _Lines(where, iter([line]), separators[0]).refuse(line, 1)
    return headers


def _choose(where: str, headers: dict[str, list[str]], columns: FieldMap) -> tuple[str, list[int | None]]:
    """Return the separator, and the positions of the columns: those of the only header that has them all."""
    positions: dict[str, list[int | None]] = {}
    errors: dict[str, PindoConfigurationError] = {}
    for separator, header in headers.items():
        try:
            positions[separator] = columns.find(header, where)
        except PindoConfigurationError as error:
            errors[separator] = error
    if not positions:
        raise errors[max(errors, key=lambda separator: len(headers[separator]))]
    if len({tuple(headers[separator]) for separator in positions}) > 1:
        raise PindoConfigurationError(
            f"the columns of {where} could be separated by {' or '.join(map(_name, positions))}: save it with one of "
            "them, and put the names in double quotes"
        )
    separator = next(iter(positions))
    return separator, positions[separator]


def _name(separator: str) -> str:
    return _NAMES.get(separator, f"{separator}s")


_NOT_CLOSED = "has a double quote that is not closed"


class _Lines:
    """The lines below a header, each checked for its quotes before ``csv`` reads it.

    :ivar row: the row that the last line belongs to.
    :ivar opened_at: the row where a quote is open; 0 for none.
    :ivar broken_rows: rows that go over several lines.
    """

    def __init__(self, where: str, lines: Iterator[str], separator: str, row: int = 1) -> None:
        self._where = where
        self._lines = lines
        self._complete, self._opened, self._fields = _patterns(separator)
        self.row = row
        self.opened_at = 0
        self.broken_rows: list[int] = []

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            if not self.opened_at:
                self.row += 1
                if '"' in line:
                    self._check(line)
            else:
                self._check('"' + line)  # inside a field, a line is like one that opens it
            yield line
        if self.opened_at:
            raise _fault(self._where, self.opened_at, _NOT_CLOSED)

    def _check(self, line: str) -> None:
        if self._complete.fullmatch(line):
            self.opened_at = 0
        elif self._opened.fullmatch(line):
            if not self.opened_at:
                self.broken_rows.append(self.row)
            self.opened_at = self.row
        else:
            self.refuse(line, self.row)

    def refuse(self, line: str, row: int) -> None:
        """Raise the error for a line whose quotes are misplaced."""
        if self._opened.fullmatch(line):
            raise _fault(self._where, row, _NOT_CLOSED)
        start = self._fields.match(line)
        is_closed = start is not None and line.startswith('"', start.end())
        raise _fault(
            self._where,
            row,
            "has text after a closing double quote"
            if is_closed
            else "has a double quote inside a field that does not begin with one",
        )


def _fault(where: str, row: int, what: str) -> PindoConfigurationError:
    return PindoConfigurationError(
        f"{where} cannot be read as CSV (row {row} {what}), since it is not clear where the row ends: put the whole "
        'field in double quotes, and write a quote in it twice ("")'
    )


def _patterns(separator: str) -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """Return the patterns of a line that ends its row, of one that leaves a quote open, and of whole fields."""
    one = re.escape(separator)
    inside = '"(?:[^"]|"")*+'
    field = f'(?:{inside}"|[^"{one}\r\n]*+)'
    fields = f"(?:{field}{one})*+"
    return re.compile(f"{fields}{field}[\r\n]*"), re.compile(f"{fields}{inside}"), re.compile(fields)
