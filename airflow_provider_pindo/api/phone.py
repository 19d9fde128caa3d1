"""Phone numbers: parsed into E.164, and masked for logs and errors.

A number in E.164 whose length fits its country is accepted in a third of a microsecond, so a list of a million numbers
is checked fast. Any other number is parsed by ``phonenumbers``, which is imported only then.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

from airflow_provider_pindo.api.cells import is_foreign_float, is_missing, is_whole_number, text_of
from airflow_provider_pindo.api.errors import PindoConfigurationError

# ITU-T E.164: a plus, a country code that does not start with 0, at most 15 digits in all. No number in use has fewer
# than 8 digits with its country code.
_has_e164_form = re.compile(r"\+[1-9][0-9]{7,14}").fullmatch
# Between two digits, up to three separators that people write: spaces, brackets, commas, slashes, dashes.
_NUMBER_IN_TEXT = re.compile(r"\+?[0-9](?:[\s()./,*'\u2019_\u2010-\u2015-]{0,3}[0-9]){6,}")
_DIGITS = re.compile(r"\+?([0-9]+)").fullmatch
# What a spreadsheet makes of a number: 781234567.0, 2.50781E+11.
_DECIMAL = re.compile(r"(\+?[0-9]+)([.,]0{1,2})").fullmatch
_FRACTION = re.compile(r"\+?[0-9]{7,}[.,][0-9]{1,2}").fullmatch
_ROUNDED = re.compile(r"[+-]?([0-9]+(?:[.,][0-9]+)?)(E[+-]?[0-9]+)", re.IGNORECASE).fullmatch
_BETWEEN_NUMBERS = re.compile(r"[/;,|&\n]|\b(?:or|and|ou|et|na)\b", re.IGNORECASE)
_ALLOWED = frozenset("0123456789+ ()-./'*#~,")
#: Fewest digits that count as a number: where a cell may hold two, and where one is masked.
_MIN_DIGITS = 7
# Not a whole number, so that a search for phone numbers in a log finds nothing.
_WRITE_E164 = "write it in E.164, such as +2507XXXXXXXX"


def is_e164(value: str) -> bool:
    """Return whether ``value`` is in E.164 and as long as the mobile numbers of its country."""
    return _has_e164_form(value) is not None and bool(_fits_country(value[1:4])(value))


def are_e164(values: Sequence[str]) -> bool:
    """Return whether :func:`is_e164` holds for all ``values``. Numbers of one country are checked at once.

    :raises TypeError: a value is not a string.
    """
    lines = "\n".join([*values, ""])
    # A value that contains a line break would count as two.
    is_one_line_each = lines.count("\n") == len(values)
    if is_one_line_each and _fits_country(lines[1:4], lines=True)(lines):
        return True
    return all(map(is_e164, values))


@cache
def _fits_country(first_digits: str, *, lines: bool = False) -> Callable[[str], Any]:
    """Return the check for numbers with these first three digits: a plus, the country code, and the right length.

    A number with a zero after the country code does not pass, since only some countries have such numbers.

    :param lines: check lines with one number each.
    """
    import phonenumbers

    starts = [
        int(first_digits[:length]) for length in (1, 2, 3) if re.fullmatch("[0-9]+", first_digits[:length])
    ]
    code = next((start for start in starts if start in phonenumbers.COUNTRY_CODE_TO_REGION_CODE), None)
    if code is None:
        return lambda value: None
    national = "|".join(
        f"[1-9][0-9]{{{length - 1}}}" for length in sorted(_mobile_lengths(code), reverse=True)
    )
    number = rf"\+{code}(?:{national})"
    return re.compile(rf"(?:{number}\n)*+" if lines else number).fullmatch


def _metadata(code: int) -> Any:
    """Return what ``phonenumbers`` knows of the country with this code."""
    import phonenumbers

    region = phonenumbers.region_code_for_country_code(code)
    return phonenumbers.PhoneMetadata.metadata_for_region_or_calling_code(code, region)


def _has_zeros(code: int) -> bool:
    """Return whether a country has mobile numbers that begin with a zero.

    Their pattern has the lowest digit first, but in a few countries. There known numbers were accepted before.
    """
    mobile = _metadata(code).mobile
    return mobile is not None and re.match(r"[(?:\[]*0", mobile.national_number_pattern) is not None


def _mobile_lengths(code: int) -> Sequence[int]:
    """Return how many digits a mobile number of a country has after the country code."""
    metadata = _metadata(code)
    lengths = metadata.mobile.possible_length if metadata.mobile is not None else ()
    return [n for n in lengths if n > 0] or list(metadata.general_desc.possible_length)


def parse_phone_number(value: object, country: str | None = None) -> str:
    """Return ``value`` as an E.164 string.

    Spaces, brackets, dashes, invisible characters and ``tel:`` are dropped. So is a zero after the country code
    (``+2500781234567``), where the country has no such numbers.

    :param value: a number in E.164 (``+250781234567``). With ``country``, also a national number: ``0781234567``,
        ``078 123 4567``, or the whole number that a spreadsheet makes of it.
    :param country: ISO 3166 two-letter code of the country whose national numbers are accepted. None (default)
        accepts only international numbers, since a guess could text a stranger.
    :return: the number, such as ``+250781234567``.
    :raises PindoConfigurationError: it is neither. The error shows the masked number, the reason and the fix.
    """
    if isinstance(value, str):
        return value if is_e164(value) else _parse(value, country)
    if is_missing(value):
        raise PindoConfigurationError(f"the phone number is empty: {_WRITE_E164}")
    if is_foreign_float(value):
        raise PindoConfigurationError(
            f"phone number {mask_phone_number(value)} is of type {type(value).__name__}, which may have lost its last "
            f"digits: {_WRITE_E164}"
        )
    if is_whole_number(value) and country is not None:
        return _parse(text_of(value), country)
    raise PindoConfigurationError(
        f"phone number {mask_phone_number(value)} is of type {type(value).__name__}, not a string "
        f"(a number loses its plus and its leading zeros): {_WRITE_E164}"
    )


def _parse(text: str, country: str | None) -> str:
    number = _clean(text)
    shown = mask_phone_number(text)
    if not number:
        raise PindoConfigurationError(f"the phone number is empty: {_WRITE_E164}")
    if _ROUNDED(number):
        raise PindoConfigurationError(
            f"phone number {shown} was rounded by a spreadsheet, so its last digits are lost: format the column as "
            "text, type the numbers again, and export the sheet once more"
        )
    if decimal := _DECIMAL(number):
        number = decimal[1]
    elif _FRACTION(number):
        raise PindoConfigurationError(
            f"phone number {shown} has a fraction, so it is from another column or was calculated: {_WRITE_E164}"
        )
    if is_e164(number):
        return number
    _refuse_two_numbers(number, shown)
    if not number.startswith("+") and country is None:
        raise PindoConfigurationError(
            f"phone number {shown} is not in E.164: {_WRITE_E164}, or set the extra 'country' of the "
            "connection (such as RW) to accept national numbers"
        )
    region = None if number.startswith("+") else _region(country)
    if stray := next((character for character in number if character not in _ALLOWED), None):
        raise PindoConfigurationError(f"phone number {shown} has {_describe(stray)} in it: {_WRITE_E164}")
    return _parse_with_library(number, region, shown)


def _clean(text: str) -> str:
    """Return a number without what people and programs add: odd characters, ``tel:``, a bracket before the plus."""
    text = plain_characters(text).strip(" '\n")
    return re.sub(r"^(?:tel:\s*)?(?:\(\s*(?=\+))?", "", text, flags=re.IGNORECASE)


def plain_characters(text: str) -> str:
    """Return ``text`` without invisible characters, and with ASCII's digits, hyphens and spaces for all others."""
    visible = (char for char in unicodedata.normalize("NFKC", text) if not _is_invisible(char))
    spaced = (" " if char.isspace() and char != "\n" else char for char in visible)
    text = "".join(str(unicodedata.decimal(char, char)) for char in spaced)
    return re.sub("[\u2010-\u2015\u2212]", "-", text)


def _is_invisible(character: str) -> bool:
    """Return whether a character shows nothing: a format or control character, or a variation selector."""
    return unicodedata.category(character) in ("Cf", "Cc", "Mn") and not character.isspace()


def last_digits(text: str, count: int) -> str:
    """Return the last digits of a number: the same for all spellings of it that :func:`parse_phone_number` reads."""
    if digits := _DIGITS(text):
        return digits[1][-count:]
    number = _clean(text)
    if decimal := _DECIMAL(number):
        number = decimal[1]
    return re.sub("[^0-9]", "", number)[-count:]


def _refuse_two_numbers(number: str, shown: str) -> None:
    parts = [re.sub(r"\D", "", part) for part in _BETWEEN_NUMBERS.split(number)]
    if sum(len(part) >= _MIN_DIGITS for part in parts) > 1 or number.rfind("+") > 0:
        raise PindoConfigurationError(
            f"phone number {shown} is two numbers in one cell: give each number a row of its own"
        )


def _region(country: str | None) -> str:
    import phonenumbers

    region = (country or "").strip().upper()
    if region not in phonenumbers.SUPPORTED_REGIONS:
        raise PindoConfigurationError(
            f"country {mask_numbers_in(repr(region))} is not an ISO 3166 two-letter code: use one such as RW or KE"
        )
    return region


def _describe(character: str) -> str:
    if character.isalpha():
        return f"letters ({character!r})"
    return f"the character {character!r} ({unicodedata.name(character, f'U+{ord(character):04X}')})"


def _parse_with_library(text: str, region: str | None, shown: str) -> str:
    import phonenumbers

    of = "" if region is None else f" of {region}"
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException as error:
        raise PindoConfigurationError(
            f"phone number {shown} cannot be read as a number{of} "
            f"({_PARSE_FAILURES[error.error_type]}): {_WRITE_E164}"
        ) from None
    e164 = str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
    if number.extension:
        raise PindoConfigurationError(f"phone number {shown} has an extension: {_WRITE_E164}")
    if phonenumbers.is_valid_number(number):
        if region is not None:
            _refuse_two_readings(text, e164, shown)
        return e164
    if region is None:
        code = number.country_code or 0
        digits, lengths = len(e164) - len(f"+{code}"), _mobile_lengths(code)
        if digits not in lengths:
            raise PindoConfigurationError(
                f"phone number {shown} has {digits} digits after +{code}, and mobile numbers there have "
                f"{' or '.join(map(str, lengths))}: {_WRITE_E164}"
            )
        # A new range of numbers is not refused. It begins with a zero only where known ones do.
        if not number.italian_leading_zero or _has_zeros(code):
            return e164
        of = f" of +{code}"
    raise PindoConfigurationError(f"phone number {shown} is not a valid number{of}: {_WRITE_E164}")


def _refuse_two_readings(text: str, e164: str, shown: str) -> None:
    """Refuse digits that are a national number, and another one if they begin with the country code."""
    import phonenumbers

    international = "+" + re.sub(r"\D", "", text)
    if international == e164:
        return
    with suppress(phonenumbers.NumberParseException):
        number = phonenumbers.parse(international)
        code = f"+{number.country_code}"
        if e164.startswith(code) and phonenumbers.is_valid_number(number):
            raise PindoConfigurationError(
                f"phone number {shown} may begin with the country code {code}, or be a national number that begins "
                f"with the same digits: {_WRITE_E164}"
            )


#: phonenumbers.NumberParseException.error_type as a reason; its own text repeats the number.
_PARSE_FAILURES = {
    0: "no country has this code",
    1: "not a number",
    2: "too short after the international prefix",
    3: "too short",
    4: "too long",
}


def mask_phone_number(value: object) -> str:
    """Return ``value`` in a form for logs and errors: ``+250781234567`` gives ``+25078****567``.

    At least four digits are hidden. A value that does not look like a number keeps only its first two characters,
    since it may be from the wrong column. What a spreadsheet added stays: ``781234567.0`` gives ``78****567.0``. Half a
    surrogate pair, which no log can hold, becomes a question mark.
    """
    text = str(value).encode("utf-8", "replace").decode().strip()
    if rounded := _ROUNDED(text):
        return f"{rounded[1][:2]}****{rounded[2]}"
    added = ""
    if decimal := _DECIMAL(text):
        text, added = decimal.groups()
    compact = re.sub(r"[^0-9+]", "", text)
    if len(compact) < _MIN_DIGITS or any(character.isalpha() for character in text):
        return f"{text[:2]}****" if len(text) > 4 else "****"
    return f"{compact[: min(6, len(compact) - 7)]}****{compact[-3:]}{added}"


def mask_numbers_in(text: str) -> str:
    """Return ``text`` with every part that looks like a phone number masked."""
    return _NUMBER_IN_TEXT.sub(lambda match: mask_phone_number(match.group()), text)
