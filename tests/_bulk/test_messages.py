"""How many segments each message takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pindo._bulk.messages import segments_of
from airflow_provider_pindo.api.mentions import Template
from airflow_provider_pindo.api.segments import segments
from tests._bulk.blocks import PERSONAL


@given(
    st.lists(st.text("ab€é”", max_size=200), min_size=1, max_size=8),
    st.sampled_from(["", "Muraho @contact.name"]),
)
def test_segments_are_those_of_every_filled_text(names, text):
    template = Template(text or "Muraho ”")
    filled = [template.fill([name] * len(template.mentioned)) for name in names]
    assert segments_of(names, None, template) == [segments(each).count for each in filled]


@pytest.mark.parametrize(
    ("names", "counts"),
    [
        (["A", "x" * 153, "x" * 154], [1, 1, 2]),
        (["A", "ê"], [1, 1]),
        (["x" * 70, "x" * 70 + "ê"], [1, 2]),
        (["€" * 80, "b"], [2, 1]),
        (["b", "a" * 154], [1, 2]),
        ([], []),
    ],
)
def test_a_long_or_an_odd_name_counts_for_itself_alone(names, counts):
    assert segments_of(names, None, Template("Hello, @contact.name")) == counts


def test_the_segments_of_filled_texts_and_of_one_text_for_all():
    assert segments_of(["A", "B"], ["x" * 160, "x" * 161], Template(PERSONAL)) == [1, 2]
    assert segments_of(["x" * 500, "B"], None, Template("x" * 161)) == [2, 2]
