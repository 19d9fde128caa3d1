"""The log of requests that reached the sandbox, for tests and for the page.

It keeps the newest 200,000 requests, and 64 MB of their bodies; the oldest bodies are dropped first. It
never holds the token: the ``Authorization`` header is removed, and ``authorized`` says whether it was valid.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

MAX_REQUESTS = 200_000
MAX_BODY_BYTES = 64_000_000

_SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie"})


@dataclasses.dataclass(slots=True)
class LoggedRequest:
    """One request. Its status and faults are filled in later.

    :param call: the API call; None when the path is not one of Pindo's.
    :param status: status of the response; ``"dropped"`` when the connection was closed instead; None
        before that.
    :param faults: the actions of the faults that struck it.
    :param response: body of the response to a call that sends; None for other calls, and for a response
        that was never written whole, or is forgotten.
    """

    number: int
    received_at: float
    method: str
    path: str
    query: str
    call: str | None
    authorized: bool
    headers: dict[str, str]
    size: int
    body: bytes | None
    status: int | str | None = None
    faults: tuple[str, ...] = ()
    response: bytes | None = None

    def exchange(self) -> dict[str, Any]:
        """The request and its response as they went over the wire, without the token."""
        return {
            **self.summary(),
            "query": self.query,
            "headers": self.headers,
            "body": None if self.body is None else self.body.decode(errors="replace"),
            "response": None if self.response is None else self.response.decode(errors="replace"),
        }

    def as_json(self) -> dict[str, Any]:
        """The request with its body decoded."""
        return {
            **self.summary(),
            "query": self.query,
            "headers": self.headers,
            "json": decoded(self.body),
        }

    def summary(self) -> dict[str, Any]:
        """The request without headers and body, for one line of the page."""
        return {
            "number": self.number,
            "at": datetime.fromtimestamp(self.received_at, UTC).isoformat(timespec="milliseconds"),
            "method": self.method,
            "path": self.path,
            "call": self.call,
            "authorized": self.authorized,
            "size": self.size,
            "status": self.status,
            "faults": list(self.faults),
        }


class RequestLog:
    """The newest requests, oldest first.

    ``most_in_flight`` is the most requests that were in flight at one time since the last :meth:`clear`.
    """

    def __init__(self) -> None:
        self._in_flight = self.most_in_flight = 0
        self._entries: deque[LoggedRequest] = deque(maxlen=MAX_REQUESTS)
        self._with_body: deque[LoggedRequest] = deque()
        self._body_bytes = 0
        self._count = 0

    @contextlib.contextmanager
    def in_flight(self) -> Iterator[None]:
        """Count a request as in flight for the time of the block."""
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        try:
            yield
        finally:
            self._in_flight -= 1

    def add(
        self,
        method: str,
        path: str,
        query: str,
        call: str | None,
        authorized: bool,
        headers: Mapping[str, str],
        body: bytes,
    ) -> LoggedRequest:
        """Add a request as soon as it was read."""
        self._count += 1
        kept_headers = {name: value for name, value in headers.items() if name.lower() not in _SECRET_HEADERS}
        entry = LoggedRequest(
            self._count, time.time(), method, path, query, call, authorized, kept_headers, len(body), body
        )
        self._entries.append(entry)
        if body:
            self._with_body.append(entry)
            self._body_bytes += len(body)
            while self._body_bytes > MAX_BODY_BYTES or len(self._with_body) > MAX_REQUESTS:
                self._forget_body(self._with_body.popleft())
        return entry

    def _forget_body(self, entry: LoggedRequest) -> None:
        self._body_bytes -= entry.size + len(entry.response or b"")
        entry.body = entry.response = None

    def add_response(self, entry: LoggedRequest, body: bytes) -> None:
        """Keep the body of a response for as long as that of its request."""
        if entry.body:
            entry.response = body
            self._body_bytes += len(body)

    def get(self, number: int) -> LoggedRequest | None:
        """The request with this number; None when it is forgotten."""
        index = number - self._entries[0].number if self._entries else -1
        return self._entries[index] if 0 <= index < len(self._entries) else None

    def clear(self) -> None:
        """Forget all requests."""
        self._entries.clear()
        self._with_body.clear()
        self._body_bytes = 0
        self.most_in_flight = self._in_flight

    @property
    def count(self) -> int:
        """Number of requests since the start, including forgotten ones."""
        return self._count

    def as_json(self, path: str | None = None, call: str | None = None) -> list[dict[str, Any]]:
        """The requests, oldest first; only those of one path or one call, if named."""
        return [
            entry.as_json()
            for entry in self._entries
            if (path is None or entry.path == path) and (call is None or entry.call == call)
        ]

    def newest(self, limit: int) -> list[dict[str, Any]]:
        """The summaries of the newest requests, newest first."""
        return [self._entries[-index].summary() for index in range(1, min(limit, len(self._entries)) + 1)]


def decoded(body: bytes | None) -> Any:
    """The JSON value of a body; None when it is not JSON."""
    try:
        return json.loads(body) if body else None
    except (ValueError, RecursionError):
        return None
