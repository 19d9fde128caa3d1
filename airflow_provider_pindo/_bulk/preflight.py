"""Who a bulk send reaches, decided before the first message leaves.

:func:`preflight` reads the source once. It checks each row, decides whether it repeats an earlier one, writes what the
sender needs into a spool, and keeps one running fingerprint. Everything after it reads only the spool. So what was
checked is what is sent, even when the source changes meanwhile, and a source may be readable only once.

A retry reads the source again and compares the fingerprint.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_pindo._bulk.messages import ParsedBlock, Plan, parse_block, segments_of
from airflow_provider_pindo._bulk.row_numbers import MAX_LISTED, abbreviate
from airflow_provider_pindo._bulk.seen_keys import SeenKeys
from airflow_provider_pindo._bulk.spool import Spool, SpooledBlock
from airflow_provider_pindo._sources.blocks import Block
from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.mentions import NUMBER_FIELDS
from airflow_provider_pindo.api.phone import mask_phone_number

#: Kinds of rows. The first is texted; the others each end in a column of their own.
#: NO_ROW is a row number without a recipient: a header, or a blank row.
SEND, INVALID, DUPLICATE, EXCLUDED, NO_ROW = range(5)
#: Those that make up the batches.
IN_BATCHES = frozenset({SEND, EXCLUDED})
#: The fingerprint does not depend on who is excluded.
_WITHOUT_EXCLUSIONS = bytes.maketrans(bytes([EXCLUDED]), bytes([SEND]))


@dataclass(slots=True)
class Preflight:
    """What the only reading of the source has found.

    :param kinds: for each row number :data:`SEND` or why not, one byte each.
    :param spool: the rows.
    :param rejections: the first bad rows: row, number, name and reason.
    :param expires: for each row number the timestamp after which it is not sent to; empty if the rows have none. Minus
        infinity for one that is not sent to anyway, which so prolongs no wait.
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
        return self.count(*IN_BATCHES)

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
            self.expires.extend([-math.inf] * (len(self.kinds) - len(self.expires)))
            for row, expires, kind in zip(rows, block.expires, kinds, strict=True):
                if kind == SEND:
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

    def prolong(self, row: int, expires: float) -> None:
        """Let the message of a row expire later, since a row that repeats it does."""
        if self.kinds[row - 1] == SEND:
            self.expires[row - 1] = max(self.expires[row - 1], expires)

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
    rows_of_keys = array("I")  # the row of each key in seen, where rows have an expiry
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
        earlier: dict[int, int] = {}
        if plan.on_duplicate != "send":
            earlier = seen.duplicates(rows.keys(plan.template), rows.problems)
            for position in earlier:
                kinds[position] = DUPLICATE
        checked.add(numbering, rows, kinds)
        if rows.expires:
            rows_of_keys.extend(numbering)
            for position, key in earlier.items():
                checked.prolong(rows_of_keys[key], rows.expires[position])
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
