"""Cells of a table: what is missing, and what goes into a text.

Lists come from files, spreadsheets, databases and DataFrames. Each source marks a missing value in its own way, and has
its own types of numbers and times. This module decides what each of them is in a message.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Collection, Mapping
from datetime import date, time
from decimal import Decimal
from uuid import UUID

from airflow_provider_pindo.api.errors import PindoConfigurationError

#: What a spreadsheet shows, and exports, where a formula has failed.
FORMULA_ERRORS = frozenset(
    {"#N/A", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NUM!", "#NULL!", "#SPILL!", "#CALC!"}
)
_NOT_TEXT = (bytes, bytearray, memoryview, Mapping, Collection)


def is_missing(value: object) -> bool:
    """Return whether a cell is empty: None, a blank string, NaN, or pandas' NaT and NA."""
    if value is None or isinstance(value, str):
        return value is None or not value.strip()
    if isinstance(value, Decimal):
        return value.is_nan()
    try:
        return bool(value != value)
    except (TypeError, ValueError):  # pandas' NA compares to NA, an array to an array
        return type(value).__name__ == "NAType"


def is_whole_number(value: object) -> bool:
    """Return whether ``value`` is a number without a fraction; a bool is not a number."""
    if isinstance(value, bool):  # NumPy's is no number
        return False
    if isinstance(value, numbers.Integral):
        return True
    if isinstance(value, Decimal):
        return value.is_finite() and value == value.to_integral_value()
    return isinstance(value, numbers.Real) and math.isfinite(value) and value == math.floor(value)


def is_foreign_float(value: object) -> bool:
    """Return whether ``value`` is a real number of another library: numpy's float32 holds only seven digits."""
    return isinstance(value, numbers.Real) and not isinstance(value, float | numbers.Rational)


def text_of(value: object) -> str:
    """Return the text of a cell in a message.

    White space around it is removed. A whole number has no ``.0``. A missing value is the empty text.

    :raises PindoConfigurationError: the cell holds a list, an object, bytes, a bool or infinity, which is not a text;
        or a number that is too long for Python to write.
    """
    if type(value) is str:
        return value.strip()
    if is_missing(value):
        return ""
    if isinstance(value, str):
        return str(value).strip()
    if is_whole_number(value):
        try:
            return str(int(value))  # type: ignore[call-overload]
        except ValueError:
            raise PindoConfigurationError("a number of more than 4,300 digits is not a text") from None
    if isinstance(value, Decimal) and value.is_finite():
        return format(value.normalize(), "f")
    if isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value):
        # numpy's float32 has more digits as a float.
        return format(Decimal(str(value if is_foreign_float(value) else float(value))), "f")
    if isinstance(value, date | time | UUID) and not isinstance(value, _NOT_TEXT):
        return str(value)
    raise PindoConfigurationError(
        f"a value of type {type(value).__name__} is not a text: give a string or a finite number"
    )
