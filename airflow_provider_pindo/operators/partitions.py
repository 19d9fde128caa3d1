"""Split a long list of recipients over several tasks.

::

    @task
    def split() -> list[str]:
        return write_partitions("s3://campaign/customers.csv", "s3://campaign/parts", partitions=8)

    PindoSendBulkSmsOperator.partial(task_id="text", text="…").expand(recipients=split())
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack
from typing import Any

from airflow_provider_pindo._sources.blocks import BadCell
from airflow_provider_pindo._sources.columns import FieldMap
from airflow_provider_pindo._sources.files import shown, storage_path, would_overwrite
from airflow_provider_pindo._sources.rows import NUMBER, is_path, named_row, read_records
from airflow_provider_pindo.api.arguments import check_whole_number, masked_repr
from airflow_provider_pindo.api.cells import is_foreign_float, is_missing, text_of
from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.phone import last_digits

#: Last digits of a number that choose its file: 0781234567 and +250781234567 share them. The shortest mobile numbers of
#: any country have four.
_LAST_DIGITS = 4


def write_partitions(
    recipients: str | os.PathLike[str] | Iterable[Any],
    folder: str | os.PathLike[str],
    *,
    partitions: int,
    phonenumber: str = "phonenumber",
    fields: Sequence[str] | None = None,
    sheet: str | None = None,
) -> list[str]:
    """Write recipients into files, row by row, and return the files' paths for ``expand``.

    All rows of one number are in one file, however it is written, so that its send finds duplicates. The same rows give
    the same files in the same order, so a retry of this task changes nothing.

    :param recipients: path or URL of a file that the bulk send reads; a DataFrame or an Arrow table; or rows, such as
        those of a database cursor: mappings, rows that have names, or sequences named by ``fields``.
    :param folder: path or URL of the folder for the files ``part-001.jsonl``, ``part-002.jsonl``, ….
        Every worker must be able to read it.
    :param partitions: how many files: about as many as tasks should run at a time.
    :param phonenumber: name of the field with the number.
    :param fields: names of a row's values, when rows have none.
    :param sheet: the sheet of an Excel workbook; the first that is not hidden when None.
    :return: the paths of the files, in order.
    :raises PindoConfigurationError: ``recipients`` are not rows, or would be replaced; or a row cannot be read or
        lacks the field.
    """
    check_whole_number("partitions", partitions)
    _check_fields(fields)
    is_written = phonenumber != NUMBER or fields
    columns = FieldMap(
        [phonenumber],
        {phonenumber: phonenumber} if is_written else {},
        advice="Name the right one: phonenumber=…",
    )
    target = storage_path(str(folder))
    paths = [target / f"part-{number:03}.jsonl" for number in range(1, partitions + 1)]
    for path in paths:
        if is_path(recipients) and would_overwrite(str(path), str(recipients)):
            raise PindoConfigurationError(
                f"{path.name} in {shown(str(folder))} would replace recipients, and nothing was written: give another "
                "folder"
            )
    target.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        files = [stack.enter_context(path.open("w", encoding="utf-8")) for path in paths]
        keys: list[str] | None = None
        for number, row in enumerate(_rows(recipients, columns, fields, sheet), start=1):
            if all(map(is_missing, row.values())) and row:
                continue
            if keys != list(row):
                keys, key = list(row), _key(number, row, columns)
            if is_foreign_float(row[key]):  # its digits would be those of another number
                row = {**row, key: [f"a value of type {type(row[key]).__name__}"]}
            # ASCII can hold half a surrogate pair, too. The send reports the row that has it.
            line = json.dumps(row, ensure_ascii=True, default=_json_value)
            files[_partition_of(row[key], partitions)].write(line + "\n")
    return [str(path) for path in paths]


def _check_fields(fields: Sequence[str] | None) -> None:
    if isinstance(fields, str):
        shown = masked_repr(fields)
        raise PindoConfigurationError(f"fields is the text {shown}: give a list of names, such as [{shown}]")
    if twice := next((name for name in fields or () if list(fields or ()).count(name) > 1), None):
        raise PindoConfigurationError(
            f"fields has {twice!r} twice, so it is not clear which value counts: give each value a name of its own"
        )


def _key(number: int, row: Mapping[str, Any], columns: FieldMap) -> Any:
    """Return the key of the number in a row, which may have it under another case, or with spaces around it."""
    keys, (field,) = list(row), columns.fields
    position = columns.position(field, keys, f"row {number}")
    if position is None:
        raise PindoConfigurationError(
            f"row {number} has no {field!r}; {columns.describe(field, keys, has_header=False)}"
        )
    return keys[position]


def _partition_of(number: object, partitions: int) -> int:
    try:
        digits = last_digits(text_of(number), _LAST_DIGITS)
    except PindoConfigurationError:  # the send refuses the row
        digits = ""
    return int(digits or 0) % partitions


def _json_value(value: object) -> object:
    """Return the JSON of a value that JSON cannot hold. What is not a text is a bad cell, for the send to refuse."""
    if is_missing(value):
        return None
    try:
        return text_of(value)
    except PindoConfigurationError as error:
        cell = value if isinstance(value, BadCell) else BadCell(str(error))
        return cell.to_json()


def _rows(
    recipients: str | os.PathLike[str] | Iterable[Any],
    columns: FieldMap,
    fields: Sequence[str] | None,
    sheet: str | None,
) -> Iterator[Mapping[str, Any]]:
    if is_path(recipients) or hasattr(recipients, "__arrow_c_stream__"):
        yield from read_records(recipients, columns, sheet)
        return
    if recipients is None:
        raise PindoConfigurationError(
            "recipients is of type NoneType: give the path of a file, or rows; the upstream task returned nothing"
        )
    if isinstance(recipients, Set):
        raise PindoConfigurationError(
            f"recipients is of type {type(recipients).__name__}, whose order is another at every try: give a list, "
            "such as sorted(…) of it"
        )
    if not isinstance(recipients, Iterable) or hasattr(recipients, "iterrows"):
        raise PindoConfigurationError(
            f"recipients is of type {type(recipients).__name__}: give the path of a file, or rows"
        )
    if isinstance(recipients, Mapping):
        recipients = [recipients]
    names = list(fields or ())
    for number, given in enumerate(recipients, start=1):
        row = given if names else named_row(given, number)
        if isinstance(row, Mapping):
            yield dict(row)
        elif isinstance(row, str | bytes) or not hasattr(row, "__len__"):
            raise PindoConfigurationError(
                f"row {number} is a bare value of type {type(row).__name__}: give mappings, such as "
                "{'phonenumber': …}"
            )
        elif len(row) != len(names):
            raise PindoConfigurationError(
                f"row {number} is not a mapping, and fields does not name each of its {len(row)} values: "
                f"fields={names!r}"
            )
        else:
            yield dict(zip(names, row, strict=True))
