"""What both transports keep to: how large an answer may be, and how long a connection may idle."""

from __future__ import annotations

#: Bytes of an answer that are read; a page of the inbound list has some ten thousand.
MAX_ANSWER = 32 * 1024**2
#: Seconds after which a kept connection is not used again. The shortest keep-alive of the servers in common
#: use is 2 s (gunicorn); a loop that sends without a pause stays far below 1 s.
MAX_IDLE = 1.0


class AnswerTooLarge(OSError):
    """The answer is larger than any of Pindo's."""


class Body:
    """The body of an answer, as it comes in."""

    __slots__ = ("_left", "_pieces")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._left = MAX_ANSWER

    def add(self, piece: bytes) -> None:
        """Keep a piece that came.

        :raises AnswerTooLarge: it is more than is read of any answer.
        """
        self._left -= len(piece)
        if self._left < 0:
            raise AnswerTooLarge
        self._pieces.append(piece)

    def content(self) -> bytes:
        """Return all that came."""
        return b"".join(self._pieces)
