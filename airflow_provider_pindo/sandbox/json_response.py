"""Responses with a JSON body, as the API and the control API send them."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web


def encode(body: Any) -> bytes:
    """JSON as UTF-8. Half a surrogate pair, which UTF-8 cannot hold, is written as JSON's escape."""
    return json.dumps(body, ensure_ascii=False).encode(errors="backslashreplace")


def json_response(status: int, body: Any, headers: dict[str, str] | None = None) -> web.Response:
    """A response with a status and a JSON body."""
    return web.Response(status=status, body=encode(body), content_type="application/json", headers=headers)
