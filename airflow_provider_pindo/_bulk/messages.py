"""What each row of the source becomes: a parsed number and the text that goes out.

:func:`parse_block` reads each cell once, by the rules of a :class:`Plan`. A row that cannot be texted gets the reason.
Nothing here knows other rows, so a block's result depends on the block and the plan alone.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Container, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any

from airflow_provider_pindo._sources.blocks import BadCell, Block, refuse_bad_cell
from airflow_provider_pindo.api.cells import FORMULA_ERRORS, text_of
from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.mentions import NUMBER_FIELDS, Template, has_mention
from airflow_provider_pindo.api.phone import are_e164, parse_phone_number
from airflow_provider_pindo.api.segments import segments

_HALF_CHARACTER = "its values have half a surrogate pair: fix the decoding of their source"
#: Characters of the GSM alphabet that fit a segment even if each takes two septets.
_SURELY_ONE = 80


@dataclass(frozen=True, slots=True)
class Plan:
    """What is sent, and the rules that decide who gets it.

    :param template: the text.
    :param country: ISO code of the country whose national numbers are read, or None.
    :param excluded: E.164 numbers that are not texted.
    :param on_invalid: ``fail`` or ``skip``.
    :param on_duplicate: ``drop``, ``fail`` or ``send``.
    :param max_segments: most segments of one message, or None.
    :param expires_field: the field of the time after which a recipient is not sent to, or None.
    :param zone: the zone of such a time that names none.
    :param one_by_one: whether each message is a request of its own, whose response has an id.
    """

    template: Template
    country: str | None = None
    excluded: Container[str] = ()
    on_invalid: str = "fail"
    on_duplicate: str = "drop"
    max_segments: int | None = None
    expires_field: str | None = None
    zone: tzinfo = UTC
    one_by_one: bool = False

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that are read: the number, the name, those that the text mentions, and the expiry."""
        fields = ("phonenumber", "name", *self.extra_fields)
        expiry = self.expires_field
        if expiry is None:
            return fields
        return fields if expiry in fields else (*fields, expiry)

    @property
    def fills_text(self) -> bool:
        """Whether the text is filled here, and not by Pindo."""
        return self.one_by_one or self.template.is_personal

    @property
    def extra_fields(self) -> tuple[str, ...]:
        """The mentioned fields that are neither the number nor the name."""
        return tuple(name for name in self.template.fields if name not in {*NUMBER_FIELDS, "name"})

    @property
    def optional_fields(self) -> tuple[str, ...]:
        """The fields that a source may lack: the name, where the text does not mention it."""
        return () if "name" in self.template.fields else ("name",)


@dataclass(slots=True)
class ParsedBlock:
    """A block after parsing: numbers in E.164, names and texts as they are sent.

    :param texts: the filled text of each row; None when Pindo fills it.
    :param problems: why a row is bad, by its position.
    :param values: the values of each field that the text mentions.
    :param expires: the timestamp after which each row is not sent to; empty if the rows have none. Minus infinity
        for a row whose time cannot be read.
    """

    numbers: list[str]
    names: list[str]
    texts: list[str] | None
    problems: dict[int, str]
    values: dict[str, list[str]] = field(default_factory=dict)
    expires: Sequence[float] = ()

    def keys(self, template: Template) -> Sequence[Hashable]:
        """Return what makes each row a different message: its number, and what its text depends on."""
        if self.texts is None and not template.fields:
            return self.numbers
        return list(zip(self.numbers, self.names if self.texts is None else self.texts, strict=True))


def parse_block(block: Block, plan: Plan) -> ParsedBlock:
    """Parse and fill all rows of a block; a missing value is empty."""
    numbers, problems = _read_numbers(block.columns[0], plan.country)
    names = _read_names(block.columns[1], problems, is_mentioned="name" in plan.template.fields)
    rows = ParsedBlock(numbers, names, None, problems)
    if plan.template.fields:
        values = {
            name: _as_texts(name, column, problems)
            for name, column in zip(plan.extra_fields, block.columns[2:], strict=False)
        }
        values |= {"name": names, **dict.fromkeys(NUMBER_FIELDS, numbers)}
        rows.values = {name: values[name] for name in plan.template.fields}
        _fill(rows, plan, values)
    elif plan.one_by_one:
        rows.texts = [plan.template.fill(())] * len(numbers)
    if plan.expires_field is not None:
        column = block.columns[plan.fields.index(plan.expires_field)]
        rows.expires = _read_expiries(plan.expires_field, column, plan.zone, problems)
    return rows


def _read_expiries(name: str, values: Sequence[Any], zone: tzinfo, problems: dict[int, str]) -> list[float]:
    """Return the timestamps of a field; ``problems`` gets the reason for each value that is no time."""
    expires = []
    for position, value in enumerate(values):
        try:
            expires.append(_read_expiry(name, value, zone))
        except PindoConfigurationError as error:
            expires.append(-math.inf)
            problems.setdefault(position, str(error))
    return expires


def _read_expiry(name: str, value: Any, zone: tzinfo) -> float:
    """Return the time in a recipient's field, as a timestamp.

    :param value: a datetime, or one as ISO text. An expiry needs no display format, so a date cell of
        Excel may hold it.
    :param zone: the zone of a time that names none.
    :raises PindoConfigurationError: it is neither; the error does not show the value.
    """
    if isinstance(value, BadCell):
        if value.value is None:
            raise PindoConfigurationError(f"{name!r}: {value.reason}")
        value = value.value
    if isinstance(value, str) and len(value.strip()) > len("2026-11-24"):
        with suppress(ValueError):
            value = datetime.fromisoformat(value.strip())
    # pandas' NaT is a datetime that is not equal to itself.
    if not isinstance(value, datetime) or value != value:
        raise PindoConfigurationError(
            f"{name!r} is not a date with a time of day: write one such as 2026-11-24 09:30"
        )
    return (value if value.tzinfo is not None else value.replace(tzinfo=zone)).timestamp()


def _read_numbers(values: Sequence[Any], country: str | None) -> tuple[list[str], dict[int, str]]:
    try:
        if are_e164(values):
            return list(values), {}
    except TypeError:  # something that is not a string
        pass
    numbers, problems = [], {}
    for position, value in enumerate(values):
        try:
            refuse_bad_cell(value)
            numbers.append(parse_phone_number(value, country))
        except PindoConfigurationError as error:
            numbers.append(_shown_number(value))
            problems[position] = str(error)
    return numbers, problems


def _shown_number(value: Any) -> str:
    """Return what a cell holds instead of a number, for the report."""
    try:
        return value if type(value) is str else text_of(value)
    except PindoConfigurationError:
        return ""


def _read_names(values: Sequence[Any], problems: dict[int, str], *, is_mentioned: bool) -> list[str]:
    """Return the names. One that is no text makes its row bad if the text mentions it; else it is empty."""
    no_texts = problems if is_mentioned else dict[int, str]()
    names = _as_texts("name", values, no_texts)
    if not _is_unicode("".join(names)):
        for position, name in enumerate(names):
            if not _is_unicode(name):
                no_texts.setdefault(position, _HALF_CHARACTER)
    if not is_mentioned:
        for position in no_texts:
            names[position] = ""
    return names


def _as_texts(name: str, values: Sequence[Any], problems: dict[int, str]) -> list[str]:
    """Return the values of a field as texts: without outer white space, and in Unicode's form NFC.

    :param problems: gets the reason for each value that is not a text, by its position.
    """
    if set(map(type, values)) == {str}:
        texts = list(map(str.strip, values))
    else:
        texts = []
        for position, value in enumerate(values):
            try:
                refuse_bad_cell(value)
                texts.append(text_of(value))
            except PindoConfigurationError as error:
                texts.append("")
                problems.setdefault(position, f"{name!r}: {error}")
    if not FORMULA_ERRORS.isdisjoint(texts):
        for position, text in enumerate(texts):
            if text in FORMULA_ERRORS:
                problems.setdefault(
                    position, f"{name!r}: the formula of the cell has failed ({text}): correct it"
                )
    if not unicodedata.is_normalized("NFC", "\n".join(texts)):
        texts = [unicodedata.normalize("NFC", text) for text in texts]
    return texts


def _fill(rows: ParsedBlock, plan: Plan, values: dict[str, list[str]]) -> None:
    template = plan.template
    if not plan.fills_text and "@" not in "".join(rows.names):
        return
    filled = list(map(template.fill, zip(*(values[name] for name in template.mentioned), strict=True)))
    if plan.fills_text:
        rows.texts = filled
    together = "\n".join(filled)  # one search for all: there is hardly ever anything to find
    written = template.addresses
    if not has_mention(together, written * len(filled)) and _is_unicode(together):
        return
    for position, text in enumerate(filled):
        if position in rows.problems:
            continue
        if has_mention(text, written):
            rows.problems[position] = (
                "its values make a mention of their own (@contact.…), which Pindo might fill again: remove it"
            )
        elif not _is_unicode(text):
            rows.problems[position] = _HALF_CHARACTER


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def segments_of(names: Sequence[str], texts: Sequence[str] | None, template: Template) -> list[int]:
    """Return the segments of each message, as the handset shows it."""
    if texts is not None:
        return [segments(text).count for text in texts]
    if not template.fields:
        return [segments(template.text).count] * len(names)
    # One check for all: with every name in the GSM alphabet and the longest one within a segment, all are.
    mentions = [max(names, key=len, default="")] * len(template.mentioned)
    together = segments(template.fill(["".join(names)] * len(template.mentioned)))
    if together.encoding == "GSM-7" and len(template.fill(mentions)) <= _SURELY_ONE:
        return [1] * len(names)
    return [segments(template.fill([name] * len(template.mentioned))).count for name in names]
