"""A server on which each reply is a page of its own: 404 until it has come, as ``HttpSensor`` wants it.

Run as ``python -m benchmarks.replies PORT``.
"""

from __future__ import annotations

import sys

from aiohttp import web

come: set[str] = set()
asked = 0


async def reply(request: web.Request) -> web.Response:
    """Answer a sensor that looks."""
    global asked
    asked += 1
    return web.Response(status=200 if request.match_info["code"] in come else 404)


async def arrive(request: web.Request) -> web.Response:
    """Take replies: a list of codes."""
    come.update(await request.json())
    return web.Response()


async def count(_: web.Request) -> web.Response:
    """Tell how often sensors looked."""
    return web.json_response(asked)


if __name__ == "__main__":
    app = web.Application()
    app.add_routes([web.get("/reply/{code}", reply), web.post("/arrive", arrive), web.get("/asked", count)])
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
