"""Whether an inbound message asks to get no more messages, or to get them again.

Only a message that consists of one such word or phrase counts. A longer one, such as ``STOP 12345``, is a conversation.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Literal

from airflow_provider_pindo.api.arguments import masked_repr
from airflow_provider_pindo.api.errors import PindoConfigurationError

__all__ = ["classify"]

# Twilio's default opt-out words: https://twilio.com/en-us/blog/update-to-fcc-s-sms-opt-out-keywords
_ENGLISH = ("STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT")
# Two of these words as many people write them.
_PHRASES = ("STOP ALL", "OPT OUT")
# AWS: https://docs.aws.amazon.com/sms-voice/latest/userguide/keywords-required.html
_FRENCH = ("ARRET",)
# Chosen by this project, since no published list was found: stop, suspend, remove, remove yourself.
_SWAHILI = ("ACHA", "SITISHA", "ONDOA", "JIONDOE")
# Chosen by this project, since no published list was found: stop it, leave it.
_KINYARWANDA = ("HAGARIKA", "REKA")
# Twilio's opt-in words without YES, the answer to many other questions: https://www.twilio.com/docs/api/errors/23002
_START = ("START", "UNSTOP")


def classify(
    text: str, *, stop_words: Iterable[str] = (), start_words: Iterable[str] = (), first_word: bool = False
) -> Literal["stop", "start"] | None:
    """Return what an inbound message asks for.

    The message must be one of these words:

    - English: ``STOP``, ``STOPALL``, ``STOP ALL``, ``UNSUBSCRIBE``, ``CANCEL``, ``END``, ``QUIT``, ``REVOKE``,
      ``OPTOUT`` or ``OPT OUT``
    - French: ``ARRET``
    - Swahili: ``ACHA``, ``SITISHA``, ``ONDOA`` or ``JIONDOE``
    - Kinyarwanda: ``HAGARIKA`` or ``REKA``

    ``START`` and ``UNSTOP`` take it back. Case, accents, punctuation, emoji and outer spaces do not matter:
    ``"Arrêt!"`` and ``"opt-out"`` count.

    :param text: the message.
    :param stop_words: more words that stop. A phrase such as ``"leave me"`` is allowed. A word in both lists stops.
    :param start_words: more words that start again. ``YES`` is not among them unless it is given here, since it
        answers many other questions.
    :param first_word: let the first word of a longer message decide, so that ``STOP 12345`` stops.
    :return: ``"stop"``, ``"start"``, or None for any other message.
    :raises PindoConfigurationError: a given word has neither letters nor digits, or is not in a list.
    """
    stops = _STOPS | _normalized_words("stop_words", stop_words)
    starts = _STARTS | _normalized_words("start_words", start_words)
    words = _normalize(text)
    candidates = {words, words.partition(" ")[0]} if first_word else {words}
    if candidates & stops:
        return "stop"
    return "start" if candidates & starts else None


def _normalize(text: str) -> str:
    """Return the words of ``text`` in one spelling: no accents, no punctuation, one space between them."""
    kept = (
        character
        for character in unicodedata.normalize("NFKD", text).casefold()
        if character.isalnum() or character.isspace()
    )
    return " ".join("".join(kept).split())


_STOPS = frozenset(map(_normalize, (*_ENGLISH, *_PHRASES, *_FRENCH, *_SWAHILI, *_KINYARWANDA)))
_STARTS = frozenset(map(_normalize, _START))


def _normalized_words(argument: str, words: Iterable[str]) -> frozenset[str]:
    """Return the words of an argument, each in the spelling that is compared."""
    if isinstance(words, str):
        shown = masked_repr(words)
        raise PindoConfigurationError(f"{argument} is the text {shown}: give a list, such as [{shown}]")
    spelled = {word: _normalize(word) for word in words}
    for word, plain in spelled.items():
        if not plain:
            raise PindoConfigurationError(
                f"{argument} has {word!r}, which has neither letters nor digits: give words, such as 'leave me'"
            )
    return frozenset(spelled.values())
