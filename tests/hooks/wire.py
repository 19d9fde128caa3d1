"""A server that writes bytes of a test's choosing, for answers that no web framework gives."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Self

PAUSE = 0.2


def answer(status: int, body: bytes, *headers: str) -> bytes:
    """Return a whole answer."""
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("utf-8") + body


def receipt(sms_id: str) -> bytes:
    """Return the answer to a message that was taken."""
    return answer(201, json.dumps({"sms_id": sms_id}).encode())


class Wire:
    """Answers the first request with the first script, and so on; keeps the connection.

    :param scripts: for each request, the pieces that are written, with a short pause before each but the first.
    """

    def __init__(self, *scripts: Sequence[bytes]) -> None:
        self._scripts = list(scripts)
        self.headers = list[str]()  #: lower-case lines of all requests
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._listener.close()

    def connection(self, **extra: Any) -> str:
        """Return the connection that points here, as JSON."""
        extras = {"sender": "PindoTest", "timeout": 5, **extra}
        return json.dumps(
            {"conn_type": "pindo", "host": self.url, "password": "token-of-the-wire", "extra": extras}
        )

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=self._listener.accept()[:1], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client, client.makefile("rb") as lines:
            while lines.readline():  # b"" when the client has gone
                length = 0
                while (line := lines.readline()).strip():
                    self.headers.append(line.decode().strip().lower())
                    if line.lower().startswith(b"content-length:"):
                        length = int(line[15:])
                lines.read(length)
                for number, piece in enumerate(self._scripts.pop(0)):
                    time.sleep(PAUSE if number else 0)
                    client.sendall(piece)
