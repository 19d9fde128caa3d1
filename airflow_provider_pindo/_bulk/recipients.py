"""Who a bulk send reaches, decided before the first message leaves.

:func:`preflight` reads the source once. For each row it parses the number, fills the text, checks both, and decides
whether the row repeats an earlier one. It writes what the sender needs into a :class:`Spool` and keeps one running
fingerprint. :func:`batches` then reads only the spool. So what was checked is what is sent, even when the source
changes meanwhile, and a source may be readable only once.

A retry reads the source again and compares the fingerprint. Batches depend only on the input, so a retry finds the same
rows in the same entries of the ledger. The excluded numbers may differ at every try: these rows keep their positions,
marked, and no request is made for them.
"""

from __future__ import annotations

import hashlib
import math
import unicodedata
from array import array
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from itertools import compress, islice
from tempfile import SpooledTemporaryFile
from typing import Any

import msgspec

from airflow_provider_pindo._bulk.gate import read_expiry
from airflow_provider_pindo._sources.blocks import BadCell, Block
from airflow_provider_pindo.api.cells import text_of
from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.mentions import NUMBER_FIELDS, Template, has_mention
from airflow_provider_pindo.api.phone import are_e164, mask_phone_number, parse_phone_number
from airflow_provider_pindo.api.segments import segments

#: Kinds of rows. The first is texted; the others each end in a column of their own.
#: NO_ROW is a row number without a recipient: a header, or a blank row.
SEND, INVALID, DUPLICATE, EXCLUDED, NO_ROW = range(5)
#: Those that make up the batches.
_IN_BATCHES = frozenset({SEND, EXCLUDED})
#: The fingerprint does not depend on who is excluded.
_WITHOUT_EXCLUSIONS = bytes.maketrans(bytes([EXCLUDED]), bytes([SEND]))
#: Bytes of the spool that stay in memory; what is larger goes to the disk.
_SPOOL_MEMORY = 4_000_000


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
    excluded: Collection[str] = ()
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
    :param expires: the timestamp after which each row is not sent to; empty if the rows have none.
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
    names = _as_texts("name", block.columns[1], problems)
    rows = ParsedBlock(numbers, names, None, problems)
    _check_characters(rows)
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
            expires.append(read_expiry(value, zone))
        except PindoConfigurationError as error:
            expires.append(math.inf)
            problems.setdefault(position, f"{name!r} {error}")
    return expires


def _read_numbers(values: Sequence[Any], country: str | None) -> tuple[list[str], dict[int, str]]:
    try:
        if are_e164(values):
            return list(values), {}
    except TypeError:  # something that is not a string
        pass
    numbers, problems = [], {}
    for position, value in enumerate(values):
        try:
            if isinstance(value, BadCell):
                raise PindoConfigurationError(value.reason)
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
                if isinstance(value, BadCell):
                    raise PindoConfigurationError(value.reason)
                texts.append(text_of(value))
            except PindoConfigurationError as error:
                texts.append("")
                problems.setdefault(position, f"{name!r}: {error}")
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
    together = "\n".join(filled)  # one look for all: there is hardly ever anything to find
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


def _check_characters(rows: ParsedBlock) -> None:
    if not _is_unicode("".join(rows.names)):
        for position, name in enumerate(rows.names):
            if not _is_unicode(name):
                rows.problems.setdefault(position, _HALF_CHARACTER)


_HALF_CHARACTER = "its values have half a surrogate pair: fix the decoding of their source"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class SpooledBlock(msgspec.Struct, array_like=True):
    """Rows of the spool: what the sender and the report need of them.

    :param first: number of the first row, from 1.
    :param problems: why a row is bad, by its position.
    :param numbering: the number of each row; empty where they are consecutive.
    """

    first: int
    problems: dict[int, str]
    numbers: list[str]
    names: list[str]
    texts: list[str] | None
    numbering: list[int] = []

    @property
    def rows(self) -> Sequence[int]:
        """The number of each row."""
        return self.numbering or range(self.first, self.first + len(self.numbers))


class Spool:
    """Checked rows in an unlinked temporary file, and in memory as long as they are few.

    The file has no name, so neither an error nor a kill leaves numbers and texts on the disk.
    """

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(_SPOOL_MEMORY)  # noqa: SIM115 - closed by close()
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(SpooledBlock).decode

    def append(self, block: SpooledBlock) -> bytes:
        """Write a block; return its bytes."""
        content = self._encode(block)
        self._file.write(len(content).to_bytes(4, "big"))
        self._file.write(content)
        return content

    def blocks(self) -> Iterator[SpooledBlock]:
        """Read all blocks, from the first on."""
        self._file.seek(0)
        while size := self._file.read(4):
            yield self._decode(self._file.read(int.from_bytes(size, "big")))

    def close(self) -> None:
        """Free the memory or the disk."""
        self._file.close()


@dataclass(slots=True)
class Preflight:
    """What the only reading of the source has found.

    :param kinds: for each row number :data:`SEND` or why not, one byte each.
    :param spool: the rows.
    :param rejections: the first bad rows: row, number, name and reason.
    :param expires: for each row number the timestamp after which it is not sent to; empty if the rows have none.
    """

    kinds: bytearray = field(default_factory=bytearray)
    spool: Spool = field(default_factory=Spool)
    rejections: list[tuple[int, str, str, str]] = field(default_factory=list)
    expires: array[float] = field(default_factory=lambda: array("d"))
    _digest: Any = field(default_factory=hashlib.sha256)

    @property
    def given(self) -> int:
        """Rows in all."""
        return len(self.kinds) - self.kinds.count(NO_ROW)

    @property
    def in_batches(self) -> int:
        """Rows in all batches: those that are sent to, and the excluded."""
        return self.count(*_IN_BATCHES)

    def count(self, *kinds: int) -> int:
        """Return how many rows are of one of ``kinds``."""
        return sum(map(self.kinds.count, kinds))

    def kinds_of(self, rows: Sequence[int]) -> bytearray:
        """Return the kinds of some rows."""
        if len(rows) == rows[-1] - rows[0] + 1:
            return self.kinds[rows[0] - 1 : rows[-1]]
        return bytearray(self.kinds[row - 1] for row in rows)

    def add(self, rows: Sequence[int], block: ParsedBlock, kinds: bytearray) -> None:
        """Add a block that was checked.

        :param rows: the number of each row.
        """
        if len(rows) == rows[-1] - len(self.kinds):
            self.kinds += kinds
        else:
            self.kinds.extend([NO_ROW] * (rows[-1] - len(self.kinds)))
            for row, kind in zip(rows, kinds, strict=True):
                self.kinds[row - 1] = kind
        if block.expires:
            self.expires.extend([math.inf] * (len(self.kinds) - len(self.expires)))
            for row, expires in zip(rows, block.expires, strict=True):
                self.expires[row - 1] = expires
        for position, reason in sorted(block.problems.items()):
            number, name = block.numbers[position], block.names[position]
            if len(self.rejections) < MAX_LISTED:
                self.rejections.append((rows[position], number, name, reason))
            # The spool and the digest are UTF-8, which has no half characters.
            block.numbers[position], block.names[position] = _printable(number), _printable(name)
            if block.texts is not None:
                block.texts[position] = ""
        self._digest.update(kinds.translate(_WITHOUT_EXCLUSIONS))
        numbering = [] if len(rows) == rows[-1] - rows[0] + 1 else list(rows)
        spooled = SpooledBlock(rows[0], block.problems, block.numbers, block.names, block.texts, numbering)
        self._digest.update(self.spool.append(spooled))

    def fingerprint(self, *options: object) -> str:
        """Return a short digest of everything but the exclusions that decides who gets what."""
        digest = self._digest.copy()
        digest.update(repr(options).encode())
        return str(digest.hexdigest()[:16])


def _printable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def preflight(blocks: Iterable[Block], plan: Plan, note: Callable[[str], None]) -> Preflight:
    """Check every row, decide which are sent to, and spool them.

    :param note: gets a line for the log about each bad row.
    :raises PindoConfigurationError: the plan does not allow bad or repeated rows; or a row that is sent to has no
        value for a field that the text mentions, or takes more than ``max_segments``. Nothing was sent.
    """
    checked, seen = Preflight(), SeenKeys()
    bad = _Listing()
    for block in blocks:
        rows, numbering = parse_block(block, plan), block.rows
        kinds = bytearray(len(rows.numbers))
        for position, reason in rows.problems.items():
            kinds[position] = INVALID
            note(f"Cannot be texted: {bad.add(numbering[position], rows.numbers[position], reason)}")
        if plan.excluded:
            for position, number in enumerate(rows.numbers):
                if number in plan.excluded and not kinds[position]:
                    kinds[position] = EXCLUDED
        _refuse_missing(numbering, rows, kinds)
        _refuse_long(numbering, rows, kinds, plan)
        if plan.on_duplicate != "send":
            for position in seen.repeats(rows.keys(plan.template), rows.problems):
                kinds[position] = DUPLICATE
        checked.add(numbering, rows, kinds)
    if bad.count and plan.on_invalid == "fail":
        raise PindoConfigurationError(
            f"{bad.count:,} of {checked.given:,} recipients cannot be texted, and nothing was sent: {bad}. Fix them, "
            "or let on_invalid='skip' leave them out"
        )
    if plan.on_duplicate == "fail" and DUPLICATE in checked.kinds:
        repeated = [row for row, kind in enumerate(checked.kinds, start=1) if kind == DUPLICATE]
        raise PindoConfigurationError(
            f"{len(repeated):,} of {checked.given:,} rows repeat an earlier one (same number, same text), and nothing "
            f"was sent: rows {abbreviate(repeated)}. Remove them, or let on_duplicate='drop' send each once"
        )
    return checked


def _refuse_missing(numbering: Sequence[int], rows: ParsedBlock, kinds: bytearray) -> None:
    """Refuse rows that are sent to and lack a value; who is not texted needs none."""
    for name, column in rows.values.items():
        if name in NUMBER_FIELDS or all(map(str.strip, column)):
            continue
        missing = [
            numbering[position]
            for position, value in enumerate(column)
            if kinds[position] == SEND and not value.strip()
        ]
        if missing:
            raise PindoConfigurationError(
                f"the text mentions @contact.{name}, and these rows have no {name!r}: {abbreviate(missing)}. Give each "
                f"a value, name the field that has it (columns={{{name!r}: …}}), or leave the mention out; nothing "
                "was sent"
            )


def _refuse_long(numbering: Sequence[int], rows: ParsedBlock, kinds: bytearray, plan: Plan) -> None:
    """Refuse a message that is too long; one that is not sent may be of any length."""
    if plan.max_segments is None:
        return
    longest = segments_of(rows.names, rows.texts, plan.template)
    for position, count in enumerate(longest):
        if count > plan.max_segments and kinds[position] == SEND:
            raise PindoConfigurationError(
                f"the message of row {numbering[position]} takes {count} segments, more than max_segments="
                f"{plan.max_segments}, and nothing was sent: shorten the text (a character outside the GSM alphabet, "
                "such as a curly quote, makes a segment 70 characters instead of 160)"
            )


class _Listing:
    """Bad rows: how many, and the first of them; the log has all."""

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
class Batch:
    """The recipients that one entry of the ledger covers.

    :param index: from 1.
    :param rows: their row numbers, from 1, ascending.
    :param texts: the filled text of each; None when Pindo fills it.
    :param excluded: row numbers that keep their position and are not sent to.
    :param shown_rows: the rows as the entry has them; written once for all writes of it.
    :param shown_numbers: the numbers as the entry has them.
    """

    index: int
    rows: list[int] = field(default_factory=list)
    numbers: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    texts: list[str] | None = None
    excluded: set[int] = field(default_factory=set)
    shown_rows: str = ""
    shown_numbers: str = ""

    def __len__(self) -> int:
        return len(self.rows)

    def positions(self, rows: Collection[int]) -> Sequence[int]:
        """Return the positions of ``rows``."""
        if len(rows) == len(self.rows):
            return range(len(rows))
        rows_wanted = set(rows)
        return [position for position, row in enumerate(self.rows) if row in rows_wanted]

    def segments(self, positions: Sequence[int], template: Template) -> int:
        """Return the segments of the messages at ``positions``."""
        names = [self.names[position] for position in positions]
        texts = None if self.texts is None else [self.texts[position] for position in positions]
        return sum(segments_of(names, texts, template))


#: Called for a row that is in no batch: row, number, name, kind, reason.
LeftOut = Callable[[int, str, str, int, str], None]


def batches(checked: Preflight, size: int, left_out: LeftOut | None = None) -> Iterator[Batch]:
    """Read the spool, and yield the rows that are sent to, with the excluded among them, in batches of ``size``.

    :param left_out: called for every other row.
    """
    batch = Batch(1)
    for block in checked.spool.blocks():
        rows = block.rows
        kinds = checked.kinds_of(rows)
        numbers, names, texts, excluded = block.numbers, block.names, block.texts, set[int]()
        if any(kinds):
            _report_left_out(block, kinds, left_out)
            excluded = {row for row, kind in zip(rows, kinds, strict=True) if kind == EXCLUDED}
            is_in = [kind in _IN_BATCHES for kind in kinds]
            rows = list(compress(rows, is_in))
            numbers, names = list(compress(numbers, is_in)), list(compress(names, is_in))
            texts = None if texts is None else list(compress(texts, is_in))
        start = 0
        while start < len(rows):
            end = start + size - len(batch)
            batch.rows += rows[start:end]
            if excluded:
                batch.excluded |= excluded.intersection(rows[start:end])
            batch.numbers += numbers[start:end]
            batch.names += names[start:end]
            if texts is not None:
                batch.texts = (batch.texts or []) + texts[start:end]
            start = end
            if len(batch) == size:
                yield batch
                batch = Batch(batch.index + 1)
    if batch.rows:
        yield batch


def _report_left_out(block: SpooledBlock, kinds: bytearray, left_out: LeftOut | None) -> None:
    if left_out is not None:
        for position, kind in enumerate(kinds):
            if kind not in _IN_BATCHES:
                reason = block.problems.get(position, "")
                left_out(block.rows[position], block.numbers[position], block.names[position], kind, reason)


def batches_by_row(checked: Preflight, size: int) -> Iterator[Batch]:
    """Yield the batches of :func:`batches` with only their row numbers, without reading anything."""
    rows = (row for row, kind in enumerate(checked.kinds, start=1) if kind in _IN_BATCHES)
    for index, in_batch in enumerate(iter(lambda: list(islice(rows, size)), []), start=1):
        yield Batch(index, in_batch, excluded={row for row in in_batch if checked.kinds[row - 1] == EXCLUDED})


def chunks_of(
    batch: Batch, positions: Sequence[int], size: int, *, one_by_one: bool = False
) -> Iterator[list[tuple[str | None, Sequence[int]]]]:
    """Yield the requests that a batch takes, chunk by chunk: each its text and the positions of those who get it.

    :param positions: positions of those in the batch who are sent to.
    :param size: recipients of a chunk: one request when Pindo fills the text, which is None then. Else a chunk has a
        request for each different text.
    :param one_by_one: a request for each recipient; the texts are filled.
    """
    for start in range(0, len(positions), size):
        chunk = positions[start : start + size]
        if batch.texts is None:
            yield [(None, chunk)]
            continue
        if one_by_one:
            yield [(batch.texts[position], [position]) for position in chunk]
            continue
        by_text: dict[str | None, list[int]] = {}
        for position in chunk:
            by_text.setdefault(batch.texts[position], []).append(position)
        yield list(by_text.items())


#: Things that an error or a result lists one by one.
MAX_LISTED = 100


def abbreviate(things: Sequence[object]) -> str:
    """Return the first :data:`MAX_LISTED` of ``things`` as ``1, 2, 3``, and ``, …`` if there are more."""
    return ", ".join(map(str, things[:MAX_LISTED])) + (", …" if len(things) > MAX_LISTED else "")


class SeenKeys:
    """Finds keys that were added before, in at most 40 bytes for each.

    A Python set would take 65 MB for a million keys. This is a hash table of indexes into an array of digests.
    Two different keys count as the same with a chance of one in 37 million among a million: the digest is Python's own
    64-bit hash, whose seed differs in every process.
    """

    def __init__(self) -> None:
        self._digests = array("q")
        self._slots = array("I", bytes(4 * 4096))

    def repeats(self, keys: Sequence[Hashable], skip: Collection[int] = ()) -> list[int]:
        """Add keys, in order; return the positions of those that repeat an earlier one.

        :param skip: positions of keys that are neither added nor repeat one.
        """
        self._reserve(len(keys))
        digests, slots, mask = self._digests, self._slots, len(self._slots) - 1
        count, repeats = len(digests), []
        for position, digest in enumerate(map(hash, keys)):
            if skip and position in skip:
                continue
            slot = digest & mask
            while index := slots[slot]:
                if digests[index - 1] == digest:
                    repeats.append(position)
                    break
                slot = (slot + 1) & mask
            else:
                count += 1
                slots[slot] = count
                digests.append(digest)
        return repeats

    def _reserve(self, more: int) -> None:
        """Grow the table until at most half of it is taken when ``more`` keys are added."""
        size = len(self._slots)
        while 2 * (len(self._digests) + more) > size:
            size *= 4
        if size == len(self._slots):
            return
        slots, mask = array("I", bytes(4 * size)), size - 1
        for index, digest in enumerate(self._digests, start=1):
            slot = digest & mask
            while slots[slot]:
                slot = (slot + 1) & mask
            slots[slot] = index
        self._slots = slots
