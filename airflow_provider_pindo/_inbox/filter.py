"""Which inbound messages match: by their text, their sender, and the number that they were sent to.

Strangers write the texts, so RE2 matches the pattern, in time linear in the text. No message can stall the reader.
RE2 is loaded when a pattern is compiled, not when this module is imported.
"""

from __future__ import annotations

import asyncio
import re
import time
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from airflow_provider_pindo.api.arguments import masked_repr
from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.json_safe import json_safe
from airflow_provider_pindo.api.phone import mask_numbers_in, parse_phone_number

if TYPE_CHECKING:
    from airflow_provider_pindo.api.values import InboundSms

#: Seconds of matching after which other coroutines run.
_MAX_BLOCKING = 0.005


class InboundFilter:
    """A filter of inbound messages.

    :param pattern: RE2 pattern searched in the text; None matches every text. A text that does not match is
        normalized and searched again: in NFC, without invisible characters, with the digits of any script as 0 to 9.
    :param from_number: number of the sender; None matches every sender.
    :param inbound_number: the account's own number or short code that the message was sent to; None matches all.
    :param country: country by which national numbers are read, here and in the messages; None reads none.
    :raises PindoConfigurationError: the pattern or a number is not valid.
    """

    def __init__(
        self,
        pattern: str | None = None,
        *,
        from_number: str | None = None,
        inbound_number: str | None = None,
        country: str | None = None,
    ) -> None:
        self._pattern = None if pattern is None else compile_pattern(pattern)
        self._country = country
        # A template that renders to an empty string must not match every sender, or every number.
        self._from = None if from_number is None else _digits(parse_phone_number(from_number, country))
        self._to = None if inbound_number is None else _check_inbound_number(inbound_number, country)

    def check_senders(self, names_senders: bool | None) -> None:
        """Refuse to wait for a sender if messages do not name one.

        :param names_senders: whether the messages that were read name their sender; None if there were too few to
            tell.
        """
        if self._from and names_senders is False:
            raise PindoConfigurationError(
                "from_number is set, but this account's inbound messages do not name their sender, so no message "
                'would ever match. Remove from_number, put a code into the text that you send ("Reply YES 4821") and '
                "wait for it with pattern=r'(?i)\\b(?P<answer>yes|no)\\W+4821\\b'"
            )

    def match(self, message: InboundSms) -> dict[str, Any] | None:
        """Return ``message`` as a task returns it, or None if it does not match.

        :return: ``{"id", "text", "created_at", "inbound_sms_number", "groups", "raw"}``. The time is ISO 8601 with
            its zone. ``groups`` has the pattern's named groups, None for a group that took no part.
        """
        if self._from is not None and canonical_digits(message.from_number, self._country) != self._from:
            return None
        if self._to is not None and canonical_digits(message.inbound_sms_number, self._country) != self._to:
            return None
        text = json_safe(message.text)
        match = self._search(text)
        if self._pattern is not None and match is None:
            return None
        return {
            "id": message.id,
            "text": text,
            "created_at": message.created_at.isoformat(),
            "inbound_sms_number": json_safe(message.inbound_sms_number),
            "groups": match.groupdict() if match is not None else {},
            "raw": json_safe(dict(message.raw)),
        }

    def _search(self, text: str) -> Any:
        """Search the text as received, then normalized, since people type on many kinds of keyboards."""
        if self._pattern is None:
            return None
        match = self._pattern.search(text)
        if match is None and not text.isascii():  # ASCII is normal
            match = self._pattern.search(_normalize(text))
        return match

    def matches(self, messages: Iterable[InboundSms]) -> list[dict[str, Any]]:
        """Return those of ``messages`` that match, oldest first."""
        matches = (self.match(message) for message in messages)
        return sorted((match for match in matches if match is not None), key=lambda match: match["id"])

    async def async_matches(self, messages: Iterable[InboundSms]) -> list[dict[str, Any]]:
        """Return those of ``messages`` that match, in their order, without blocking the event loop."""
        matches = []
        started = time.monotonic()
        for message in messages:
            if match := self.match(message):
                matches.append(match)
            if time.monotonic() - started > _MAX_BLOCKING:
                await asyncio.sleep(0)
                started = time.monotonic()
        return matches


def _normalize(text: str) -> str:
    """Return a text in NFC, without invisible format characters, and with the digits of any script as 0 to 9."""
    visible = (
        character
        for character in unicodedata.normalize("NFC", text)
        if unicodedata.category(character) != "Cf"
    )
    return "".join(str(unicodedata.decimal(character, character)) for character in visible)


def compile_pattern(pattern: object) -> Any:
    """Return ``pattern``, compiled by RE2.

    :raises PindoConfigurationError: it is empty, not a string, or not valid RE2.
    """
    if not isinstance(pattern, str) or not pattern:
        raise PindoConfigurationError(
            f"pattern is {masked_repr(pattern)}: give the regular expression that the text must match ('.' matches any "
            "text)"
        )
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except (re2.error, UnicodeEncodeError) as error:
        raise PindoConfigurationError(
            f"pattern {masked_repr(pattern)} is not valid RE2: {mask_numbers_in(_reason(error))}. RE2 has no "
            "look-around, backreference or possessive quantifier, so that no message can stall the match; see "
            "https://github.com/google/re2/wiki/Syntax"
        ) from None


def _reason(error: Exception) -> str:
    reason = error.args[0]
    return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(error)


def _check_inbound_number(number: object, country: str | None) -> str:
    if not isinstance(number, str):
        raise PindoConfigurationError(
            f"inbound_number is {masked_repr(number)}, of type {type(number).__name__}: give a string, since a number "
            "loses its plus and its leading zeros"
        )
    digits = canonical_digits(number, country)
    if not digits:
        raise PindoConfigurationError(
            f"inbound_number is {number!r}: give the account's number or short code that the message is sent to, or "
            "None for any"
        )
    return digits


def canonical_digits(number: str | None, country: str | None) -> str:
    """Return the digits that all spellings of a number share: with plus, without, after 00, national."""
    digits = _digits(number or "")
    if digits.startswith("00"):
        return digits[2:]
    if digits.startswith("0") and country is not None:
        with suppress(PindoConfigurationError):  # not a number of that country, such as a short code
            return _digits(parse_phone_number(digits, country))
    return digits


def _digits(number: str) -> str:
    return re.sub(r"\D", "", number)
