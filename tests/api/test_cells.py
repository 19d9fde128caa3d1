"""What a cell of somebody's table is in a message."""

from __future__ import annotations

import datetime
from decimal import Decimal
from fractions import Fraction
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pindo.api.cells import is_missing, is_whole_number, text_of
from airflow_provider_pindo.api.errors import PindoConfigurationError
from tests.api.float32 import Float32


class NAType:
    """Stands for pandas' NA, which is neither true nor false."""

    def __ne__(self, other: object) -> NAType:
        return self

    def __bool__(self) -> bool:
        raise TypeError("boolean value of NA is ambiguous")


class NaTType:
    """Stands for pandas' NaT, which is not equal to itself."""

    def __ne__(self, other: object) -> bool:
        return True


class Text(str):
    """A subclass, as numpy has one."""

    __slots__ = ()


@pytest.mark.parametrize("value", [None, "", " \t", float("nan"), Decimal("NaN"), NAType(), NaTType()])
def test_what_marks_a_missing_value_is_an_empty_text(value):
    assert is_missing(value)
    assert text_of(value) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Aline ", "Aline"),
        ("\u00a0Aline\n", "Aline"),
        (Text(" Aline"), "Aline"),
        (1500.0, "1500"),
        (1500.5, "1500.5"),
        (0.00001, "0.00001"),
        (Float32(19.99), "19.99"),
        (Float32(0.00001), "0.00001"),
        (Float32(25), "25"),
        (0, "0"),
        (-3, "-3"),
        (Decimal("1500.00"), "1500"),
        (Decimal("1E+3"), "1000"),
        (Decimal("12.50"), "12.5"),
        (Decimal("0.00000001"), "0.00000001"),
        (Fraction(1, 2), "0.5"),
        (datetime.date(2026, 11, 30), "2026-11-30"),
        (datetime.time(9, 30), "09:30:00"),
        (datetime.datetime(2026, 11, 30, 9, 30), "2026-11-30 09:30:00"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ],
)
def test_a_value_is_written_as_a_person_would_write_it(value, text):
    assert not is_missing(value)
    assert text_of(value) == text


@pytest.mark.parametrize(
    "value", [{}, {"a": 1}, [], ["x"], (), {1}, b"x", bytearray(b"x"), True, False, object()]
)
def test_what_is_not_a_text_is_refused_by_its_type(value):
    with pytest.raises(PindoConfigurationError, match=f"type {type(value).__name__} is not a text"):
        text_of(value)


@pytest.mark.parametrize("value", [10**5000, Decimal("1E+5000")], ids=["int", "decimal"])
def test_a_number_that_python_cannot_write_is_refused(value):
    with pytest.raises(PindoConfigurationError, match="more than 4,300 digits"):
        text_of(value)


@pytest.mark.parametrize("value", [True, 1.5, float("inf"), float("nan"), "1", None, Decimal("Infinity")])
def test_a_number_with_a_fraction_is_no_whole_number(value):
    assert not is_whole_number(value)


@given(
    st.one_of(
        st.text(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.decimals(allow_nan=False, allow_infinity=False),
    )
)
def test_no_text_has_outer_white_space_or_a_needless_fraction(value):
    text = text_of(value)
    assert text == text.strip()
    if not isinstance(value, str):
        assert not text.endswith(".0")
