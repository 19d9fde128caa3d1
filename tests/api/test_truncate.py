"""Trimming: never too long, never dearer, never half an address."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pindo.api.segments import GSM_BASIC, GSM_EXTENSION, segments, truncate_to_segments

URL = "https://airflow.example.org/dags/etl/runs/manual__2026-11-22/tasks/load?try_number=2"
gsm_words = st.text(alphabet=GSM_BASIC + GSM_EXTENSION, min_size=1, max_size=40)
any_words = st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=40)
urls = st.text("abcdefgh/?=&~", min_size=1, max_size=200).map("https://{}".format)
texts = st.lists(gsm_words | any_words | urls, min_size=1, max_size=30).map(" ".join)
gsm_texts = st.lists(gsm_words | urls, min_size=1, max_size=30).map(" ".join)
limits = st.integers(1, 4)
tails = st.sampled_from(["", " (7 more held back)"])


def addresses(text):
    return {word for word in text.split() if "://" in word}


@given(texts, limits, tails)
def test_the_result_never_has_more_segments_than_allowed_nor_than_before(text, limit, tail):
    count = segments(truncate_to_segments(text, limit, tail)).count
    assert count <= min(limit, segments(text + tail).count)


@given(gsm_texts, limits, tails)
def test_a_gsm_text_stays_a_gsm_text(text, limit, tail):
    assert segments(truncate_to_segments(text, limit, tail)).encoding == "GSM-7"


@given(texts, limits, tails)
def test_an_address_is_whole_or_gone(text, limit, tail):
    assert addresses(truncate_to_segments(text, limit, tail)) <= addresses(text + tail)


@given(texts, limits, tails)
def test_the_tail_is_always_there(text, limit, tail):
    assert truncate_to_segments(text, limit, tail).endswith(tail)


@given(st.lists(st.text("abcé€", min_size=1, max_size=20), min_size=1, max_size=60), limits)
def test_only_whole_words_are_kept_and_as_many_as_fit(words, limit):
    text = " ".join(words)
    result = truncate_to_segments(text, limit)
    if result == text:
        return
    kept = result.removesuffix("...").split()
    assert kept == words[: len(kept)]
    assert segments(" ".join(words[: len(kept) + 1]) + "...").count > limit


def test_a_text_that_fits_is_left_alone():
    assert truncate_to_segments("Muraho  neza \n", 1) == "Muraho  neza \n"


def test_the_ellipsis_of_a_ucs_2_text_is_one_character():
    assert truncate_to_segments("kubyutsa ê " * 10, 1).endswith("…")


def test_a_dear_character_that_is_left_out_leaves_room_for_160():
    result = truncate_to_segments("a " * 60 + "ê " * 60, 1)
    assert result == ("a " * 60).strip() + "..."


def test_an_address_that_does_not_fit_is_dropped():
    assert truncate_to_segments(f"Failed {'x' * 90} {URL}", 1) == f"Failed {'x' * 90}..."


def test_an_address_is_followed_by_a_space_so_that_the_link_still_opens():
    assert truncate_to_segments(f"{URL} {'word ' * 40}", 1).startswith(f"{URL} word")
    assert truncate_to_segments(f"{URL} {'x' * 200}", 1) == f"{URL} ..."


def test_a_single_endless_word_is_cut_but_an_endless_address_is_not():
    assert truncate_to_segments("x" * 500, 1) == "x" * 157 + "..."
    assert truncate_to_segments("x" * 158 + " word", 1) == "x" * 157 + "..."
    assert truncate_to_segments("https://" + "x" * 500, 1) == "..."


def test_where_not_even_a_character_fits_the_tail_is_left():
    assert truncate_to_segments("êê", 1, "x" * 150) == "..." + "x" * 150


def test_the_first_word_is_cut_although_an_address_follows_it():
    assert truncate_to_segments("ê" * 100 + " https://example.org/x", 1) == "ê" * 69 + "…"
    assert truncate_to_segments("x" * 10, 1, "y" * 156) == "x..." + "y" * 156


def test_a_word_after_an_address_is_followed_by_no_space():
    assert truncate_to_segments("see https://example.org " + "word " * 60, 1).endswith(" word...")


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_all_of_the_segments_are_used(limit):
    assert segments(truncate_to_segments("a " * 1000, limit)).count == limit
