"""Whom a bulk send reaches, worked out before the first message leaves.

The list is read twice, in blocks of rows, and never held: :func:`preflight` checks all of it and settles for
every row whether it is sent to; :func:`chunks` then gives those that are, a chunk at a time. Which rows make a chunk
depends on the input alone, so a later try finds the same rows in the same chunks, and a list that has changed
in between is noticed before anybody is texted. Numbers that are excluded may be others at every try: they keep
their places in the chunks, marked, and no request is made for them.
"""

from __future__ import annotations

import hashlib
import sys
from array import array
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress, islice
from typing import Any

from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.mentions import NUMBER_FIELDS, Template, has_mention
from airflow_provider_pindo.api.phone import are_e164, mask_phone_number, parse_phone_number
from airflow_provider_pindo.api.segments import segments

#: Kinds of rows. The first is texted; the others each end in a column of their own.
SEND, INVALID, DUPLICATE, EXCLUDED = range(4)
#: Those that make up the chunks.
_IN_CHUNKS = frozenset({SEND, EXCLUDED})


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows as their source gave them, column by column.

    :param first: number of the first row, from 1.
    :param columns: the values of ``phonenumber``, of ``name``, and of each field that the text mentions
        beside them, in the order of :attr:`Plan.extra_fields`.
    """

    first: int
    columns: Sequence[Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is sent, and by which rules rows are sorted out.

    :param template: the text.
    :param country: ISO code of the country whose national numbers are read, or None.
    :param excluded: E.164 numbers that are not texted.
    :param on_invalid: ``fail`` or ``skip``.
    :param on_duplicate: ``drop``, ``fail`` or ``send``.
    :param max_segments: most segments of one message, or None.
    """

    template: Template
    country: str | None = None
    excluded: Collection[str] = ()
    on_invalid: str = "fail"
    on_duplicate: str = "drop"
    max_segments: int | None = None

    @property
    def extra_fields(self) -> tuple[str, ...]:
        """The mentioned fields that are neither the number nor the name."""
        return tuple(each for each in self.template.fields if each not in {*NUMBER_FIELDS, "name"})


@dataclass(slots=True)
class ParsedBlock:
    """A block after reading: numbers in E.164, names and texts as they go out.

    :param texts: the filled text of each row; None when Pindo fills it.
    :param problems: why a row is bad, by its position.
    :param values: the values of each field that the text mentions.
    """

    numbers: list[str]
    names: list[str]
    texts: list[str] | None
    problems: dict[int, str]
    values: dict[str, list[str]] = field(default_factory=dict)

    def keys(self, first: int, template: Template) -> Iterable[Hashable]:
        """Return what makes each row another message: its number and its filled text; a bad row repeats none."""
        keys: Iterable[Hashable] = self.numbers
        if self.texts is not None:
            keys = zip(self.numbers, self.texts, strict=True)
        elif template.fields:
            keys = zip(self.numbers, self.names, strict=True)
        if self.problems:
            keys = list(keys)
            for position in self.problems:
                keys[position] = first + position
        return keys

    def digest(self) -> bytes:
        """Return eight bytes that change when a row does."""
        columns = (self.numbers, self.names, self.texts or ())
        content = "\1".join(map("\0".join, columns))
        return hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def read_rows(block: Block, plan: Plan) -> ParsedBlock:
    """Read and fill the rows of a block, whoever is sent to: a value that is missing is empty."""
    numbers, problems = _read_numbers(block.columns[0], plan.country)
    names = _as_texts(block.columns[1])
    rows = ParsedBlock(numbers, names, None, problems)
    _refuse_half_characters(rows)
    if plan.template.fields:
        values = dict(zip(plan.extra_fields, map(_as_texts, block.columns[2:]), strict=True))
        values |= {"name": names, **dict.fromkeys(NUMBER_FIELDS, numbers)}
        rows.values = {name: values[name] for name in plan.template.fields}
        _fill(rows, plan.template, values)
    return rows


def _read_numbers(given: Sequence[Any], country: str | None) -> tuple[list[str], dict[int, str]]:
    try:
        if are_e164(given):
            return list(given), {}
    except TypeError:  # something that is not a string
        pass
    numbers, problems = [], {}
    for position, value in enumerate(given):
        try:
            numbers.append(parse_phone_number(value, country))
        except PindoConfigurationError as error:
            numbers.append("" if value is None else str(value))
            problems[position] = str(error)
    return numbers, problems


def _as_texts(given: Sequence[Any]) -> list[str]:
    if set(map(type, given)) == {str}:
        return list(given)
    return ["" if value is None else value if type(value) is str else str(value) for value in given]


def _fill(rows: ParsedBlock, template: Template, values: dict[str, list[str]]) -> None:
    if not template.is_personal and "@" not in "".join(rows.names):
        return
    filled = list(map(template.fill, zip(*(values[name] for name in template.mentioned), strict=True)))
    if template.is_personal:
        rows.texts = filled
    together = "\n".join(filled)  # one look for all: hardly ever is there anything to find
    written = template.addresses
    if not has_mention(together, written * len(filled)) and _is_unicode(together):
        return
    for position, text in enumerate(filled):
        if position in rows.problems:
            continue
        if has_mention(text, written):
            rows.problems[position] = (
                "its values make a mention of their own (@contact.…), which Pindo might fill again: take it out"
            )
        elif not _is_unicode(text):
            rows.problems[position] = _HALF_CHARACTER


def _refuse_half_characters(rows: ParsedBlock) -> None:
    if not _is_unicode("".join(rows.names)):
        for position, name in enumerate(rows.names):
            if not _is_unicode(name):
                rows.problems.setdefault(position, _HALF_CHARACTER)


_HALF_CHARACTER = "its values have half a surrogate pair: mend the decoding of their source"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(slots=True)
class Preflight:
    """What the first reading found.

    :param kinds: for each row :data:`SEND` or why not, one byte each.
    :param digests: eight bytes for each block, by which the second reading knows it again.
    """

    kinds: bytearray = field(default_factory=bytearray)
    digests: array[int] = field(default_factory=lambda: array("q"))

    @property
    def given(self) -> int:
        """Rows in all."""
        return len(self.kinds)

    def count(self, *kinds: int) -> int:
        """Return how many rows are of one of ``kinds``."""
        return sum(map(self.kinds.count, kinds))

    @property
    def in_chunks(self) -> int:
        """Rows in all chunks: those that are sent to, and the excluded."""
        return self.count(*_IN_CHUNKS)

    def excluded(self, rows: Iterable[int]) -> set[int]:
        """Return those of ``rows`` (numbers, from 1) that are excluded."""
        return {row for row in rows if self.kinds[row - 1] == EXCLUDED}

    def fingerprint(self, *options: object) -> str:
        """Return a short digest of everything but the exclusions that decides who gets what."""
        together = hashlib.sha256(repr(options).encode())
        together.update(self.digests.tobytes())
        together.update(self.kinds.replace(bytes([EXCLUDED]), bytes([SEND])))
        return together.hexdigest()[:16]


def preflight(blocks: Iterable[Block], plan: Plan, note: Callable[[str], None]) -> Preflight:
    """Check every row, and settle which are sent to.

    :param note: is told each bad row, in words for the log.
    :raises PindoConfigurationError: rows are bad, or repeated, and the plan says that this must not be; or a row
        that is sent to has no value for a field that the text mentions, or takes more than ``max_segments``. Nothing
        was sent.
    """
    found, repeats, bad = Preflight(), Duplicates(), _Listing()
    for block in blocks:
        rows = read_rows(block, plan)
        found.digests.frombytes(rows.digest())
        kinds = bytearray(len(rows.numbers))
        for position, reason in rows.problems.items():
            kinds[position] = INVALID
            note(f"Cannot be texted: {bad.add(block.first + position, rows.numbers[position], reason)}")
        if plan.excluded:
            for position, number in enumerate(rows.numbers):
                if number in plan.excluded and not kinds[position]:
                    kinds[position] = EXCLUDED
        _refuse_missing(block.first, rows, kinds)
        _refuse_long(block.first, rows, kinds, plan)
        found.kinds += kinds
        repeats.add(rows.keys(block.first, plan.template))
    if bad.count and plan.on_invalid == "fail":
        raise PindoConfigurationError(
            f"{bad.count:,} of {found.given:,} recipients cannot be texted, and nothing was sent: {bad}. Mend them, "
            "or let on_invalid='skip' leave them out"
        )
    if plan.on_duplicate != "send":
        _mark_repeats(found, repeats, plan)
    return found


def _mark_repeats(found: Preflight, repeats: Duplicates, plan: Plan) -> None:
    positions = list(repeats.find())
    if positions and plan.on_duplicate == "fail":
        rows = [position + 1 for position in sorted(positions)]
        raise PindoConfigurationError(
            f"{len(positions):,} of {found.given:,} rows repeat an earlier one (same number, same text), and nothing "
            f"was sent: rows {abbreviate(rows)}. Take them out, or let on_duplicate='drop' send each once"
        )
    for position in positions:
        found.kinds[position] = DUPLICATE


def _refuse_missing(first: int, rows: ParsedBlock, kinds: bytearray) -> None:
    """Refuse rows that are sent to and lack a value; who is not texted needs none."""
    for name, column in rows.values.items():
        if name in NUMBER_FIELDS or all(map(str.strip, column)):
            continue
        missing = [
            first + position
            for position, value in enumerate(column)
            if kinds[position] == SEND and not value.strip()
        ]
        if missing:
            raise PindoConfigurationError(
                f"the text mentions @contact.{name}, and these rows have no {name!r}: {abbreviate(missing)}. Give each "
                f"a value, name the field that has it (columns={{{name!r}: …}}), or leave the mention out; nothing "
                "was sent"
            )


def _refuse_long(first: int, rows: ParsedBlock, kinds: bytearray, plan: Plan) -> None:
    """Refuse a message that is too long; one that is not sent may be of any length."""
    if plan.max_segments is None:
        return
    longest = segments_of(rows.names, rows.texts, plan.template)
    for position, count in enumerate(longest):
        if count > plan.max_segments and kinds[position] == SEND:
            raise PindoConfigurationError(
                f"the message of row {first + position} takes {count} segments, more than max_segments="
                f"{plan.max_segments}, and nothing was sent: shorten the text (a character outside the GSM alphabet, "
                "such as a curly quote, makes a segment 70 characters instead of 160)"
            )


class _Listing:
    """Bad rows: how many, and the first of them in words; the log has them all."""

    def __init__(self) -> None:
        self.count = 0
        self._lines: list[str] = []

    def add(self, row: int, number: str, reason: str) -> str:
        shown = mask_phone_number(number)
        line = f"row {row} ({reason})" if shown in reason else f"row {row} ({shown}: {reason})"
        self.count += 1
        if self.count <= MAX_LISTED:
            self._lines.append(line)
        return line

    def __str__(self) -> str:
        more = self.count - len(self._lines)
        return "; ".join(self._lines) + (f"; and {more:,} more, which the log lists" if more else "")


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


#: Characters of the GSM alphabet that fit a segment even if each takes two septets.
_SURELY_ONE = 80


@dataclass(slots=True)
class Chunk:
    """Some recipients that are sent to between two entries of the ledger.

    :param index: from 1.
    :param rows: their row numbers, from 1, ascending.
    :param texts: the filled text of each; None when Pindo fills it.
    :param excluded: row numbers of those who keep their place and are not sent to.
    """

    index: int
    rows: list[int] = field(default_factory=list)
    numbers: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    texts: list[str] | None = None
    excluded: set[int] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self.rows)

    def positions(self, rows: Collection[int]) -> Sequence[int]:
        """Return the positions of ``rows``."""
        if len(rows) == len(self.rows):
            return range(len(rows))
        rows_wanted = set(rows)
        return [place for place, row in enumerate(self.rows) if row in rows_wanted]

    def segments(self, places: Sequence[int], template: Template) -> int:
        """Return the segments of the messages to those at ``places``."""
        names = [self.names[place] for place in places]
        texts = None if self.texts is None else [self.texts[place] for place in places]
        return sum(segments_of(names, texts, template))


#: What the second reading is told of a row that is in no chunk: row, number, name, kind, reason.
NotSentTo = Callable[[int, str, str, int, str], None]


def chunks(
    blocks: Iterable[Block], plan: Plan, found: Preflight, size: int, leave_out: NotSentTo | None = None
) -> Iterator[Chunk]:
    """Read the rows again, and give those that are sent to, and the excluded among them, in chunks of ``size``.

    :param leave_out: is told of every other row.
    :raises PindoConfigurationError: the rows are not those that were surveyed.
    """
    chunk = Chunk(1)
    for block, kinds, rows in _surveyed(blocks, plan, found):
        if any(kinds):
            _tell(block, kinds, rows, leave_out)
            wanted = [kind in _IN_CHUNKS for kind in kinds]
            places = list(compress(range(block.first, block.first + len(kinds)), wanted))
            rows = _only(rows, wanted)
        else:
            places = list(range(block.first, block.first + len(kinds)))
        start = 0
        while start < len(places):
            end = start + size - len(chunk)
            chunk.rows += places[start:end]
            if any(kinds):
                chunk.excluded |= found.excluded(places[start:end])
            chunk.numbers += rows.numbers[start:end]
            chunk.names += rows.names[start:end]
            if rows.texts is not None:
                chunk.texts = (chunk.texts or []) + rows.texts[start:end]
            start = end
            if len(chunk) == size:
                yield chunk
                chunk = Chunk(chunk.index + 1)
    if chunk.rows:
        yield chunk


def chunks_by_row(found: Preflight, size: int) -> Iterator[Chunk]:
    """Give the chunks that :func:`chunks` gives, with their row numbers alone, without reading anything."""
    rows = (row for row, kind in enumerate(found.kinds, start=1) if kind in _IN_CHUNKS)
    for index, mine in enumerate(iter(lambda: list(islice(rows, size)), []), start=1):
        yield Chunk(index, mine, excluded=found.excluded(mine))


def _surveyed(
    blocks: Iterable[Block], plan: Plan, found: Preflight
) -> Iterator[tuple[Block, bytearray, ParsedBlock]]:
    position = 0
    for number, block in enumerate(blocks):
        rows = read_rows(block, plan)
        kinds = found.kinds[position : position + len(rows.numbers)]
        digest = int.from_bytes(rows.digest(), sys.byteorder, signed=True)
        if number >= len(found.digests) or digest != found.digests[number]:
            raise PindoConfigurationError(_changed(block.first))
        position += len(kinds)
        yield block, kinds, rows
    if position != found.given:
        raise PindoConfigurationError(_changed(position + 1))


def _changed(row: int) -> str:
    return (
        f"the recipients changed while they were read, at row {row} or after: nobody from there on was texted. "
        "Give the task the list as it was, in something that keeps still, and clear it: it goes on from there. If that "
        "list is gone, put those who were texted into exclude, and clear it with resend=True"
    )


def _only(rows: ParsedBlock, wanted: Sequence[bool]) -> ParsedBlock:
    texts = None if rows.texts is None else list(compress(rows.texts, wanted))
    return ParsedBlock(list(compress(rows.numbers, wanted)), list(compress(rows.names, wanted)), texts, {})


def _tell(block: Block, kinds: bytearray, rows: ParsedBlock, leave_out: NotSentTo | None) -> None:
    if leave_out is not None:
        for position, kind in enumerate(kinds):
            if kind not in _IN_CHUNKS:
                reason = rows.problems.get(position, "")
                leave_out(block.first + position, rows.numbers[position], rows.names[position], kind, reason)


def requests_of(chunk: Chunk, places: Sequence[int]) -> Iterator[tuple[str | None, Sequence[int]]]:
    """Yield the requests that a chunk takes: the text and the positions of those who get it.

    :param places: positions of those in the chunk who are to be sent to.
    :return: one request when Pindo fills the text, which is None then; else one for each different text; none
        for nobody.
    """
    if chunk.texts is None:
        if places:
            yield None, places
        return
    same: dict[str, list[int]] = {}
    for place in places:
        same.setdefault(chunk.texts[place], []).append(place)
    yield from same.items()


#: Things that an error or a result lists one by one.
MAX_LISTED = 100


def abbreviate(things: Sequence[object]) -> str:
    """Return the first :data:`MAX_LISTED` of ``things`` as ``1, 2, 3``, and ``, …`` if there are more."""
    return ", ".join(map(str, things[:MAX_LISTED])) + (", …" if len(things) > MAX_LISTED else "")


#: Rows that are compared at a time: their set takes some 15 MB.
_PART = 200_000


class Duplicates:
    """Finds what was added before.

    Two different rows are taken for the same with a chance of one in 37 million among a million rows: the
    digest is Python's own 64-bit hash, whose seed is another in every process.
    """

    def __init__(self) -> None:
        self._digests = array("q")

    def add(self, keys: Iterable[Hashable]) -> None:
        """Add rows, in their order."""
        self._digests.extend(map(hash, keys))

    def find(self) -> Iterable[int]:
        """Yield the position (from 0) of every row that is the same as an earlier one."""
        parts = len(self._digests) // _PART + 1
        for part in range(parts):
            mine = self._digests if parts == 1 else [each for each in self._digests if each % parts == part]
            if len(set(mine)) < len(mine):
                yield from self._find_in(part, parts)

    def _find_in(self, part: int, parts: int) -> Iterable[int]:
        seen: set[int] = set()
        for position, digest in enumerate(self._digests):
            if digest % parts == part:
                if digest in seen:
                    yield position
                seen.add(digest)
