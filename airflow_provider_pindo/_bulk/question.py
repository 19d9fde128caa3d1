"""What a bulk send asks about its unknown recipients, and what an answer means.

Pure functions. An answer that is not clear is refused with the reason. So nobody is sent to because of a typing error.
Nothing here repeats what a person typed without its numbers masked.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

from airflow_provider_pindo._bulk.batch_entry import RowOutcome
from airflow_provider_pindo._bulk.row_numbers import MAX_LISTED, abbreviate, format_rows
from airflow_provider_pindo._ledger.entry import LEAVE_IT_FAILED
from airflow_provider_pindo._sources.files import address_of
from airflow_provider_pindo.api.phone import mask_numbers_in

#: The field of the form that holds the rows which arrived.
ARRIVED = "arrived"
ALL_ARRIVED, NONE_ARRIVED, SOME_ARRIVED = "All arrived", "None arrived: send to them", "Some arrived"
OPTIONS = (ALL_ARRIVED, NONE_ARRIVED, SOME_ARRIVED, LEAVE_IT_FAILED)

#: Characters of what was typed, and of row numbers, that the log repeats.
_MAX_TYPED, _MAX_ROWS = 30, 200
# A row has at most eight digits, and a phone number more.
_part = re.compile(r"([0-9]{1,8})(?:-([0-9]{1,8}))?").fullmatch


def read_arrived(option: str, typed: object, unknown: Collection[int]) -> set[int]:
    """Return the rows that arrived, as an answer says; the other unknown rows did not.

    :param option: the button that was pressed; not :data:`LEAVE_IT_FAILED`.
    :param typed: what the field :data:`ARRIVED` holds.
    :param unknown: the rows that are unknown now.
    :raises ValueError: the answer is not clear, with the reason.
    """
    text = "" if typed is None else str(typed).strip()
    if option == SOME_ARRIVED:
        return _read_rows(text, set(unknown))
    if option not in (ALL_ARRIVED, NONE_ARRIVED):
        raise ValueError(f"{_shown(option)} is not one of the options")
    if text:
        raise ValueError(
            f"{ARRIVED} names rows, and the option is {option!r}: choose {SOME_ARRIVED!r}, or leave {ARRIVED} empty"
        )
    return set(unknown) if option == ALL_ARRIVED else set()


def _read_rows(text: str, unknown: set[int]) -> set[int]:
    if not text:
        raise ValueError(
            f"{ARRIVED} is empty: give the rows that arrived, such as 58-77,80. If nobody got the message, choose "
            f"{NONE_ARRIVED!r}"
        )
    rows, certain = set[int](), set[int]()
    for part in re.split(r"[,;\s]+", re.sub(r"\s*[-\u2013]\s*", "-", text).strip(",; ")):
        match = _part(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if last < first:
            raise ValueError(f"{_shown(part)} in {ARRIVED} is not a row number or a range such as 58-77")
        for row in range(first, last + 1):
            if row not in unknown:
                certain.add(row)
                break  # a range may have millions of rows
            rows.add(row)
    if certain:
        are = format_rows(unknown) or "none"
        raise ValueError(
            f"{ARRIVED} names row {abbreviate(sorted(certain))}, whose outcome is not unknown. The unknown rows are "
            f"{are if len(are) <= _MAX_ROWS else f'{are[:_MAX_ROWS]}…'}"
        )
    return rows


def _shown(typed: str) -> str:
    return repr(mask_numbers_in(typed if len(typed) <= _MAX_TYPED else f"{typed[:_MAX_TYPED]}…"))


def describe_unknown(unknown: Sequence[RowOutcome], report_path: str | None) -> Iterator[str]:
    """Yield the lines that the log has of a question: the first unknown rows, and where the others are.

    :param unknown: the unknown rows.
    """
    yield (
        f"Outcome unknown for {len(unknown):,} recipients. Find out who of them got the message (Pindo's dashboard "
        "shows it), then answer the question under Required Actions:"
    )
    for recipient in unknown[:MAX_LISTED]:
        yield f"row {recipient.row} ({recipient.number}): {recipient.reason}"
    if len(unknown) > MAX_LISTED:
        tab = "the Pindo tab of this task instance"
        where = (
            f"the report {address_of(report_path)} and {tab} list all" if report_path else f"{tab} lists all"
        )
        yield f"and {len(unknown) - MAX_LISTED:,} more: {where}"
