"""What both transports share: the headers of every request, the size of a response, the idle time of a connection."""

from __future__ import annotations

from airflow_provider_pindo import __version__

HEADERS = {
    "Accept": "application/json",
    "User-Agent": f"airflow-provider-pindo/{__version__}",
}
#: Further header of each :class:`~airflow_provider_pindo.api.calls.Call`. A request of ``run`` has a type of its own.
CALL_HEADERS = {"Content-Type": "application/json"}
#: Bytes of a response that are read. A page of the inbound list has some ten thousand.
MAX_RESPONSE = 32 * 1024**2
#: Seconds after which an idle connection is not used again. The shortest keep-alive of common servers is 2 s
#: (gunicorn). A loop that sends without a pause stays far below 1 s.
MAX_IDLE = 1.0


class ResponseTooLarge(OSError):
    """The response is larger than any of Pindo's."""


class Body:
    """The body of a response, collected piece by piece."""

    __slots__ = ("_pieces", "_remaining")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._remaining = MAX_RESPONSE

    def add(self, piece: bytes) -> None:
        """Add a piece.

        :raises ResponseTooLarge: the pieces have more than ``MAX_RESPONSE`` bytes.
        """
        self._remaining -= len(piece)
        if self._remaining < 0:
            raise ResponseTooLarge
        self._pieces.append(piece)

    def content(self) -> bytes:
        """Return the whole body."""
        return b"".join(self._pieces)
