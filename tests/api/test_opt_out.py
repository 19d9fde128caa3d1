"""Which inbound messages stop, which start again, and which are conversations."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.opt_out import classify

ENGLISH = ["STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"]
PHRASES = ["STOP ALL", "Stop  all!", "stop-all", "OPT OUT", "Opt out.", "opt-out"]
STOP = [*ENGLISH, "ARRET", "ACHA", "SITISHA", "ONDOA", "JIONDOE", "HAGARIKA", "REKA"]
START = ["START", "UNSTOP"]
MEANING = {**dict.fromkeys(STOP, "stop"), **dict.fromkeys(START, "start")}

#: What people type around a word, and on a phone's keyboard into it.
NOISE = st.text(
    st.sampled_from(" \t\n\r\u00a0\u202f.,;:!?¡¿\"'«»“”\u2019()[]-_*/\\&…👍🙏🏾\u200b\u200d\ufe0f"),
    max_size=5,
)
MARKS = ["", "\u0300", "\u0301", "\u0302", "\u0308", "\u0327"]


@st.composite
def spelled(draw: st.DrawFn, word: str) -> str:
    """A word in any case, with accents, with punctuation and spaces around it and punctuation in it."""
    inside = st.text(st.sampled_from(".-_'\u2019*"), max_size=1)
    letters = [
        draw(st.sampled_from([letter.upper(), letter.lower()])) + draw(st.sampled_from(MARKS)) + draw(inside)
        for letter in word
    ]
    form = draw(st.sampled_from(["NFC", "NFD"]))
    return draw(NOISE) + unicodedata.normalize(form, "".join(letters)) + draw(NOISE)


@pytest.mark.parametrize("word", MEANING)
def test_each_word_of_the_field_has_a_meaning(word):
    assert [classify(word), classify(f" {word.lower()}. ")] == [MEANING[word]] * 2


@given(data=st.data(), word=st.sampled_from(sorted(MEANING)))
def test_case_accents_punctuation_and_outer_spaces_do_not_matter(data, word):
    assert classify(data.draw(spelled(word))) == MEANING[word]


@given(word=st.sampled_from(sorted(MEANING)), more=st.text(min_size=1), before=st.booleans())
@example(word="STOP", more="12345", before=False)
@example(word="START", more="now", before=True)
def test_a_message_of_more_words_is_a_conversation(word, more, before):
    assume("all" not in more.casefold())
    assume(any(character.isalnum() for character in unicodedata.normalize("NFKD", more)))
    assert classify(f"{more} {word}" if before else f"{word} {more}") is None


@given(st.text())
def test_any_text_has_an_answer_and_only_a_listed_word_is_more_than_a_conversation(text):
    letters = [c for c in unicodedata.normalize("NFKD", text).casefold() if c.isalnum()]
    assert classify(text) == MEANING.get("".join(letters).upper()) or any(map(str.isspace, text))


@given(st.text(st.characters(categories=["P", "S", "Z", "M", "Cf"])))
def test_a_message_without_letters_and_digits_asks_for_nothing(text):
    assume(not any(character.isalnum() for character in unicodedata.normalize("NFKD", text)))
    assert classify(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "YES",
        "yes",
        "Oui",
        "no",
        "STOP 12345",
        "please stop",
        "stop it all",
        "opt",
        "opt out of it",
        "STOPP",
        "STOP2",
        "5T0P",
        "HELP",
        "ENDED",
    ],
)
def test_other_messages_ask_for_nothing(text):
    assert classify(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "\uff33\uff34\uff2f\uff30",
        "\U0001d412\U0001d413\U0001d40e\U0001d40f",
        "Arrêt",
        "ARRÊT.",
        "arre\u0302t",
        "Opt-Out",
        "«STOP»",
        "Stop 🙏🏾",
        "S.T.O.P.",
    ],
)
def test_a_stop_from_another_keyboard_counts(text):
    assert classify(text) == "stop"


@pytest.mark.parametrize("text", PHRASES)
def test_a_word_that_is_written_as_two_stops(text):
    assert classify(text) == "stop"


def test_yes_starts_again_only_where_it_is_given():
    assert classify("Yes!", start_words=["YES"]) == "start"
    assert classify("START", start_words=["YES"]) == "start"


def test_more_words_and_phrases_may_be_given():
    more = {"stop_words": ["ntimukongere", "Leave me"], "start_words": ["tangira"]}
    assert classify("Ntimukongere.", **more) == "stop"
    assert classify(" LEAVE   me ", **more) == "stop"
    assert classify("Tangira", **more) == "start"
    assert classify("stop", **more) == "stop"
    assert classify("leave me here", **more) is None


def test_a_word_that_stands_in_both_lists_stops():
    assert classify("pause", stop_words=["pause"], start_words=["pause"]) == "stop"
    assert classify("START", stop_words=["start"]) == "stop"


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("STOP 12345", "stop"),
        ("stop, please", "stop"),
        ("Start again", "start"),
        ("please stop", None),
        ("START or STOP", "start"),
        ("stop", "stop"),
        ("", None),
    ],
)
def test_the_first_word_may_decide(text, meaning):
    assert classify(text, first_word=True) == meaning


def test_a_phrase_counts_also_where_the_first_word_decides():
    assert classify("leave me", stop_words=["leave me"], first_word=True) == "stop"


@pytest.mark.parametrize("argument", ["stop_words", "start_words"])
def test_words_that_could_match_anything_are_refused(argument):
    with pytest.raises(
        PindoConfigurationError, match=rf"{argument} has '!!', which has neither letters nor digits"
    ):
        classify("STOP", **{argument: ["stop", "!!"]})
    with pytest.raises(
        PindoConfigurationError, match=rf"{argument} is the text 'pause': give a list, such as \['pause'\]"
    ):
        classify("STOP", **{argument: "pause"})
