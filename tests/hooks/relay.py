"""What stands between a client and the sandbox in these tests: a plain relay, a TLS end, or a proxy."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from typing import Self
from urllib.parse import urlsplit


class Relay:
    """Listens on a loopback port and passes everything on to the sandbox, connection by connection.

    :param target: address of the sandbox.
    :param tls: when given, clients speak TLS with it here.
    :param as_proxy: be an HTTP proxy, which is told where to go by each client.
    """

    def __init__(self, target: str, *, tls: ssl.SSLContext | None = None, as_proxy: bool = False) -> None:
        parts = urlsplit(target)
        self.target = (parts.hostname or "", parts.port or 0)
        self.tls = tls
        self.as_proxy = as_proxy
        self.connections = 0
        self.asked: list[bytes] = []  # first line and headers that reached a proxy
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"{'https' if tls else 'http'}://localhost:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            if self.tls:
                client = self.tls.wrap_socket(client, server_side=True)
            server = socket.create_connection(self.target)
            if self.as_proxy:
                self._greet(client, server)
        except OSError:
            client.close()
            return
        for read, write in ((client, server), (server, client)):
            threading.Thread(target=_pump, args=(read.recv, write), daemon=True).start()

    def _greet(self, client: socket.socket, server: socket.socket) -> None:
        head = client.recv(65536)
        self.asked.append(head)
        if head.startswith(b"CONNECT"):
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            return
        method, url, rest = head.split(b" ", 2)
        server.sendall(method + b" " + urlsplit(url).path + b" " + rest)


def _pump(read: Callable[[int], bytes], write: socket.socket) -> None:
    try:
        while data := read(65536):
            write.sendall(data)
    except OSError:
        pass
    finally:
        write.close()
