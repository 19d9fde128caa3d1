"""
Shorten a text to what a given number of segments holds.

An SMS is billed by the segment, so a text that nobody wrote by hand (an alert with an exception in it) is cut
at a word. Two things are never done: an address is not cut in half, and a text of the GSM alphabet does not
become a dearer UCS-2 one by the character that says "shortened".
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from airflow_provider_pindo.api.segments import segments

_MOST_PER_SEGMENT = 160  # characters: a single message in GSM-7 without any that count twice
_has_address = re.compile(r"://|\bwww\.", re.IGNORECASE).search


def fit(text: str, max_segments: int, tail: str = "") -> str:
    """
    Return ``text`` followed by ``tail``, with ``text`` shortened if both take more than ``max_segments``.

    :param text: what may be shortened. An address in it is kept whole or dropped.
    :param max_segments: from 1.
    :param tail: what is kept as it is, such as a count; it must be short enough for one segment.
    :return: a text of at most ``max_segments`` segments. Where something was dropped it has ``...``, or ``…``
        if it is UCS-2 anyway and the one character is cheaper than the three.
    """
    if segments(text + tail).count <= max_segments:
        return text + tail
    for head in _heads(text.strip(), max_segments * _MOST_PER_SEGMENT):
        shortened = head + _ellipsis(head, tail) + tail
        if segments(shortened).count <= max_segments:
            return shortened
    return "..." + tail


def _heads(text: str, limit: int) -> Iterator[str]:
    """Yield the beginnings of ``text`` of at most ``limit`` characters, longest first, cut at words."""
    ends = [gap.start() for gap in re.finditer(r"\s+", text[: limit + 1])]
    for end in reversed(ends):
        yield text[:end]
    first_word = text[: ends[0]] if ends else text
    if not _has_address(first_word):
        for end in range(min(len(first_word), limit), 0, -1):
            yield first_word[:end]


def _ellipsis(head: str, tail: str) -> str:
    dots = "..." if segments(head + tail).encoding == "GSM-7" else "…"
    last_word = head.rsplit(maxsplit=1)[-1]
    return f" {dots}" if _has_address(last_word) else dots  # a phone would take the dots into the link
