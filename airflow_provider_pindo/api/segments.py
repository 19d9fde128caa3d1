"""How many SMS a text is billed as, and a text shortened to fit.

Pindo charges per segment (``item_count`` of a send). The size of a segment depends on the characters: a single message
has 160 characters of the GSM alphabet, or 70 when any other character is among them. This module counts as the
network does, so the cost is known before anything is sent. It never raises for a ``str``.

The alphabet and the packing are those of 3GPP TS 23.038 (section 6.2.1, the default alphabet and its extension table)
and 3GPP TS 23.040 (section 9.2.3.24.1, concatenated messages). The header takes six octets of every part, so 153
septets or 67 UTF-16 code units remain. National language shift tables are not used, since the API has no field for
them.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass
from typing import Literal

Encoding = Literal["GSM-7", "UCS-2"]

#: The default alphabet in the order of its code points, without 0x1B (escape), which is not a character.
GSM_BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ"
    " !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§"
    "¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
#: Characters behind the escape: each costs two septets, which stay together in one segment.
GSM_EXTENSION = "\f^{}\\[~]|€"

_SINGLE_LIMIT: dict[Encoding, int] = {"GSM-7": 160, "UCS-2": 70}
_PART_LIMIT: dict[Encoding, int] = {"GSM-7": 153, "UCS-2": 67}

_is_gsm = re.compile(f"[{re.escape(GSM_BASIC + GSM_EXTENSION)}]*").fullmatch
_extended = re.compile(f"[{re.escape(GSM_EXTENSION)}]")
_astral = re.compile("[\U00010000-\U0010ffff]")
_has_address = re.compile(r"://|\bwww\.", re.IGNORECASE).search


@dataclass(frozen=True, slots=True)
class Segments:
    """What a text takes on the air.

    :param encoding: ``"GSM-7"`` if every character is in the default alphabet, else ``"UCS-2"``.
    :param units: length in septets (GSM-7) or in UTF-16 code units (UCS-2), without the padding that
        keeps a two-unit character whole at the end of a segment.
    :param count: segments, which are billed. Zero only for the empty text.
    """

    encoding: Encoding
    units: int
    count: int


def segments(text: str) -> Segments:
    """Count the segments of a text.

    :param text: the text as the handset shows it, with every mention filled.
    """
    if _is_gsm(text):
        return _count("GSM-7", text, _extended)
    return _count("UCS-2", text, _astral)


def truncate_to_segments(text: str, max_segments: int, tail: str = "") -> str:
    """Return ``text`` followed by ``tail``, with ``text`` shortened if both take more than ``max_segments``.

    :param text: the part that may be shortened. An address in it is kept whole or dropped.
    :param max_segments: from 1.
    :param tail: the part that is kept whole, such as a count; it must be short enough for one segment.
    :return: at most ``max_segments`` segments. ``...`` marks what was dropped, or ``…`` where that is cheaper, in a
        UCS-2 text.
    """
    if segments(text + tail).count <= max_segments:
        return text + tail
    text = text.strip()
    ends = _ends(text, max_segments * _SINGLE_LIMIT["GSM-7"])

    def shortened(end: int) -> str:
        return text[:end] + _ellipsis(text[:end], tail) + tail

    # A longer beginning never takes fewer segments.
    fitting = bisect_left(ends, True, key=lambda end: segments(shortened(end)).count > max_segments)
    return shortened(ends[fitting - 1]) if fitting else "..." + tail


def _count(encoding: Encoding, text: str, wide: re.Pattern[str]) -> Segments:
    """Count the segments; ``wide`` matches the characters that take two units."""
    wide_at = [match.start() for match in wide.finditer(text)]
    units = len(text) + len(wide_at)
    if units <= _SINGLE_LIMIT[encoding]:
        return Segments(encoding, units, 1 if text else 0)
    padding = _padding(wide_at, _PART_LIMIT[encoding])
    return Segments(encoding, units, -(-(units + padding) // _PART_LIMIT[encoding]))


def _padding(wide_at: list[int], limit: int) -> int:
    """Return the units that stay empty because a two-unit character does not fit at the end of a segment.

    :param wide_at: the indexes of the two-unit characters, ascending.
    :param limit: units in one part of a concatenated message.
    """
    padding = 0
    for wide_before, index in enumerate(wide_at):
        if (index + wide_before + padding) % limit == limit - 1:
            padding += 1
    return padding


def _ends(text: str, limit: int) -> list[int]:
    """Return where ``text`` may be cut, ascending, up to ``limit``: between words, or else within the first word."""
    gaps = [gap.start() for gap in re.finditer(r"\s+", text[: limit + 1])]
    first_word = text[: gaps[0]] if gaps else text
    within = [] if _has_address(first_word) else range(1, min(len(first_word), limit) + 1)
    return [*within, *gaps]


def _ellipsis(head: str, tail: str) -> str:
    dots = "..." if segments(head + tail).encoding == "GSM-7" else "…"
    last_word = head.rsplit(maxsplit=1)[-1]
    return f" {dots}" if _has_address(last_word) else dots  # a phone would make the dots part of the link
