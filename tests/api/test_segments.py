"""Segments: the alphabet, the limits, and characters that must not be torn apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pindo.api.segments import (
    GSM_BASIC,
    GSM_EXTENSION,
    Segments,
    segments,
    truncate_to_segments,
)

gsm_texts = st.text(alphabet=GSM_BASIC + GSM_EXTENSION, max_size=700)
any_texts = st.text(alphabet=st.characters(), max_size=300) | st.text("aé€😀ñ~", max_size=400)


def test_the_alphabet_has_the_size_that_the_standard_gives_it():
    assert len(set(GSM_BASIC)) == len(GSM_BASIC) == 127  # 128 code points less the escape
    assert len(set(GSM_EXTENSION)) == len(GSM_EXTENSION) == 10
    assert not set(GSM_BASIC) & set(GSM_EXTENSION)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Segments("GSM-7", 0, 0)),
        ("Muraho", Segments("GSM-7", 6, 1)),
        ("a" * 160, Segments("GSM-7", 160, 1)),
        ("a" * 161, Segments("GSM-7", 161, 2)),
        ("a" * 306, Segments("GSM-7", 306, 2)),
        ("a" * 307, Segments("GSM-7", 307, 3)),
        ("€" * 80, Segments("GSM-7", 160, 1)),
        ("€" * 81, Segments("GSM-7", 162, 2)),
        ("à la carte, señor", Segments("GSM-7", 17, 1)),
        ("Thérèse Ingabire", Segments("GSM-7", 16, 1)),
        ("ç", Segments("UCS-2", 1, 1)),  # only the capital is in the alphabet
        ("Ç", Segments("GSM-7", 1, 1)),
        ("`", Segments("UCS-2", 1, 1)),
        ("n’igice", Segments("UCS-2", 7, 1)),  # noqa: RUF001 - the typographic apostrophe
        ("tab\t", Segments("UCS-2", 4, 1)),
        ("ê" * 70, Segments("UCS-2", 70, 1)),
        ("ê" * 71, Segments("UCS-2", 71, 2)),
        ("ê" * 134, Segments("UCS-2", 134, 2)),
        ("ê" * 135, Segments("UCS-2", 135, 3)),
        ("👍" * 35, Segments("UCS-2", 70, 1)),
        ("👍" * 36, Segments("UCS-2", 72, 2)),
        ("\ud83d", Segments("UCS-2", 1, 1)),
    ],
)
def test_a_text_is_counted(text, expected):
    assert segments(text) == expected


def test_an_extension_character_is_not_split_over_two_segments():
    assert segments("a" * 152 + "€" + "a" * 152).count == 3  # 306 septets, but one is left empty
    assert segments("a" * 151 + "€" + "a" * 153).count == 2


@pytest.mark.parametrize(("runs", "count"), [((152, 150, 152), 4), ((152, 152, 150), 3)])
def test_what_is_left_empty_in_one_segment_moves_what_is_in_the_next(runs, count):
    assert segments("€".join("a" * run for run in runs)).count == count


def test_a_surrogate_pair_is_not_split_over_two_segments():
    assert segments("ê" * 66 + "👍" + "ê" * 66).count == 3  # 134 units, but one is left empty
    assert segments("ê" * 65 + "👍" + "ê" * 67).count == 2


def packed(text: str, wide: str | None, limit: int) -> int:
    """The segments of a long text, packed character by character as a handset would."""
    count, used = 1, 0
    for char in text:
        size = 2 if (char in wide if wide is not None else ord(char) > 0xFFFF) else 1
        if used + size > limit:
            count, used = count + 1, 0
        used += size
    return count


@given(gsm_texts)
def test_a_gsm_text_is_packed_like_a_handset_does(text):
    counted = segments(text)
    assert counted.encoding == "GSM-7"
    if counted.units > 160:
        assert counted.count == packed(text, GSM_EXTENSION, 153)
    else:
        assert counted.count == bool(text)


@given(any_texts)
def test_any_other_text_is_packed_like_a_handset_does(text):
    counted = segments(text)
    if counted.encoding == "UCS-2":
        assert counted.units == len(text.encode("utf-16-le", "surrogatepass")) // 2
        assert counted.count == (packed(text, None, 67) if counted.units > 70 else 1)


@given(st.lists(st.integers(148, 154), min_size=2, max_size=6))
def test_many_characters_that_do_not_fit_are_each_moved_whole(runs):
    text = "€".join("a" * run for run in runs)
    assert segments(text).count == packed(text, GSM_EXTENSION, 153)


@given(st.lists(st.integers(62, 68), min_size=2, max_size=6))
def test_many_surrogate_pairs_that_do_not_fit_are_each_moved_whole(runs):
    text = "👍".join("ê" * run for run in runs)
    assert segments(text).count == packed(text, None, 67)


@given(any_texts, any_texts)
def test_a_longer_text_never_costs_less(text, more):
    assert segments(text + more).count >= segments(text).count


def test_a_long_text_is_shortened_with_few_looks(monkeypatch):
    """The shortening is outside the time limit of an alert."""
    counted = []

    def count(text):
        counted.append(len(text))
        return segments(text)

    monkeypatch.setattr("airflow_provider_pindo.api.segments.segments", count)
    shortened = truncate_to_segments("x" * 200_000, 255)
    assert segments(shortened).count == 255
    assert len(counted) < 50
