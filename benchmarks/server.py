"""A minimal Pindo that is faster than every client here: a plain protocol on uvloop, with precomputed responses.

It parses only the HTTP of its clients (a head, a Content-Length, a body), and it stores nothing. Run it with
``python -m benchmarks.server [latency in seconds]``. It prints its port.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import uvloop

_MONEY = {"bonus": 0.0, "discount": 0.4, "item_price": 0.006, "remaining_balance": 487.49}
_ONE = {
    **_MONEY,
    "item_count": 1,
    "self_url": "http://127.0.0.1/v1/sms/out_sms_01H7JZ8Q2W3E4R5T6Y7U8I9O0P",
    "sms_id": "out_sms_01H7JZ8Q2W3E4R5T6Y7U8I9O0P",
    "status": "sent",
    "to": "+250781234567",
    "total_cost": 0.006,
}


def response(body: dict[str, object]) -> bytes:
    """Return a complete 201 response."""
    content = json.dumps(body).encode()
    head = f"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


ONE = response(_ONE)
MANY = {
    count: response({**_MONEY, "count": count, "total": count, "network": "63510", "status": "sent"})
    for count in range(1, 1001)
}


class Server(asyncio.Protocol):
    """One connection."""

    latency = 0.0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.received = bytearray()

    def data_received(self, data: bytes) -> None:
        self.received += data
        while (head := self.received.find(b"\r\n\r\n")) >= 0:
            start = self.received.lower().find(b"content-length:", 0, head)
            length = int(self.received[start + 15 : self.received.find(b"\r\n", start)]) if start >= 0 else 0
            end = head + 4 + length
            if len(self.received) < end:
                return
            many = self.received.startswith(b"POST /v1/sms/bulk")
            reply = MANY[self.received.count(b'"phonenumber"', head, end)] if many else ONE
            del self.received[:end]
            if self.latency:
                asyncio.get_running_loop().call_later(self.latency, self.transport.write, reply)
            else:
                self.transport.write(reply)


async def serve(latency: float) -> None:
    Server.latency = latency
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(float(sys.argv[1]) if len(sys.argv) > 1 else 0.0))
