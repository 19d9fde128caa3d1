"""
Which inbound messages are meant: by their text, their sender, and the number that they came to.

Texts come from strangers, so a pattern is matched by RE2, in time linear in the text: no message can stall
whoever waits. RE2 is loaded when a pattern is compiled, not when this module is imported.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.inbound import storable
from airflow_provider_pindo.api.values import InboundSms


class InboundFilter:
    """
    The messages that somebody waits for.

    :param pattern: RE2 pattern searched in the text; None takes every text.
    :param from_number: E.164 number of the sender; None takes every sender.
    :param inbound_number: the account's own number or short code that the message came to; None takes all.
    :raises PindoConfigurationError: RE2 does not take the pattern.
    """

    def __init__(
        self,
        pattern: str | None = None,
        *,
        from_number: str | None = None,
        inbound_number: str | None = None,
    ) -> None:
        self._pattern = None if pattern is None else compile_pattern(pattern)
        self._from = _digits(from_number)
        self._to = _digits(inbound_number)

    def check_senders(self, names_senders: bool | None) -> None:
        """
        Refuse to wait for a sender where messages have none.

        :param names_senders: whether the messages that were read say who sent them; None when there was none.
        """
        if self._from and names_senders is False:
            raise PindoConfigurationError(
                "from_number was given, but Pindo's inbound list does not say who sent its messages, so no "
                "message would ever match. Leave from_number out, put a code into the text that was sent "
                "(\"Reply YES 4821\") and look for it with pattern=r'(?i)\\b(?P<answer>yes|no)\\W+4821\\b'"
            )

    def match(self, message: InboundSms) -> dict[str, Any] | None:
        """
        Return ``message`` as a task returns it, or None when it is not meant.

        :return: ``{"id", "text", "created_at", "inbound_sms_number", "groups", "raw"}``: the time in ISO 8601
            with its zone, and the pattern's named groups, None for one that took no part.
        """
        if self._from and not _is_number(message.from_number, self._from):
            return None
        if self._to and _digits(message.inbound_sms_number) != self._to:
            return None
        text = storable(message.text)
        found = self._pattern.search(text) if self._pattern is not None else None
        if self._pattern is not None and found is None:
            return None
        return {
            "id": message.id,
            "text": text,
            "created_at": message.created_at.isoformat(),
            "inbound_sms_number": message.inbound_sms_number,
            "groups": found.groupdict() if found is not None else {},
            "raw": storable(dict(message.raw)),
        }

    def matches(self, messages: Iterable[InboundSms]) -> list[dict[str, Any]]:
        """Return those of ``messages`` that are meant, oldest first."""
        found = (self.match(message) for message in messages)
        return sorted((each for each in found if each is not None), key=lambda each: each["id"])


def compile_pattern(pattern: object) -> Any:
    """
    Return ``pattern``, compiled by RE2.

    :raises PindoConfigurationError: it is empty, no string, or uses what RE2 does not have.
    """
    if not isinstance(pattern, str) or not pattern:
        raise PindoConfigurationError(
            f"pattern is {pattern!r}: give the regular expression that the text must match ('.' takes any)"
        )
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except (re2.error, UnicodeEncodeError) as error:
        raise PindoConfigurationError(
            f"pattern {pattern!r} is none that RE2 takes: {_reason(error)}. RE2 has no look-around, "
            "backreference or possessive quantifier, so that no message can stall the match; see "
            "https://github.com/google/re2/wiki/Syntax"
        ) from None


def _reason(error: Exception) -> str:
    reason = error.args[0]
    return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(error)


def _is_number(number: str | None, wanted: str) -> bool:
    """Return whether ``number`` is the one with the digits ``wanted``; a national one (078…) has their end."""
    digits = _digits(number)
    return digits == wanted or (digits.startswith("0") and len(digits) > 8 and wanted.endswith(digits[1:]))


def _digits(number: str | None) -> str:
    """Return a number's digits alone: the same number comes with and without its plus."""
    return re.sub(r"\D", "", number or "")
