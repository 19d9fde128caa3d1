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
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from airflow_provider_pindo._bulk.sources import in_place_of, is_path, read_records, storage_path
from airflow_provider_pindo.api.errors import PindoConfigurationError

#: Last digits of a number that choose its file: 0781234567 and +250781234567 share them.
_LAST_DIGITS = 8


def write_partitions(
    recipients: str | os.PathLike[str] | Iterable[Any],
    folder: str | os.PathLike[str],
    *,
    partitions: int,
    phonenumber: str = "phonenumber",
    fields: Sequence[str] | None = None,
) -> list[str]:
    """Write recipients into files, row by row, and return the files' paths for ``expand``.

    All rows of one number go into one file, so that its send finds duplicates. The same rows give the same files, in
    the same order: a retry of this task changes nothing.

    :param recipients: path or URL of a ``.csv``, ``.jsonl`` or ``.parquet`` file; or rows, such as those of a
        database cursor: mappings, or sequences named by ``fields``.
    :param folder: path or URL of the folder for the files ``part-001.jsonl``, ``part-002.jsonl``, ….
        Every worker must be able to read it.
    :param partitions: how many files: about as many as tasks should run at a time.
    :param phonenumber: name of the field with the number.
    :param fields: names of a row's values, when rows are not mappings.
    :return: the paths of the files, in order.
    :raises PindoConfigurationError: ``recipients`` are not rows, or a row cannot be read or lacks the field.
    """
    if not (type(partitions) is int and partitions >= 1):
        raise PindoConfigurationError(f"partitions is {partitions!r}: give a whole number from 1")
    target = storage_path(str(folder))
    target.mkdir(parents=True, exist_ok=True)
    paths = [target / f"part-{number:03}.jsonl" for number in range(1, partitions + 1)]
    with ExitStack() as stack:
        files = [stack.enter_context(path.open("w", encoding="utf-8")) for path in paths]
        for number, row in enumerate(_rows(recipients, fields), start=1):
            if phonenumber not in row:
                raise PindoConfigurationError(
                    f"row {number} has no {phonenumber!r}; {in_place_of(row, 'Name the right one: phonenumber=…')}"
                )
            # ASCII can hold half a surrogate pair, too. The send reports the row that has it.
            line = json.dumps(row, ensure_ascii=True, default=str)
            files[_partition_of(row[phonenumber], partitions)].write(line + "\n")
    return [str(path) for path in paths]


def _partition_of(number: object, partitions: int) -> int:
    digits = re.sub(r"\D", "", str(number))[-_LAST_DIGITS:]
    return zlib.crc32(digits.encode()) % partitions


def _rows(
    recipients: str | os.PathLike[str] | Iterable[Any], fields: Sequence[str] | None
) -> Iterator[Mapping[str, Any]]:
    if is_path(recipients):
        yield from read_records(str(recipients))
        return
    if not isinstance(recipients, Iterable):
        raise PindoConfigurationError(
            f"recipients is of type {type(recipients).__name__}: give the path of a file, or rows"
        )
    names = list(fields or ())
    for number, row in enumerate(recipients, start=1):
        if isinstance(row, Mapping):
            yield row
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
