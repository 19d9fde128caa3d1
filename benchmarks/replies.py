"""A server with one page for each reply. A page gives 404 until its reply arrives, as ``HttpSensor`` expects.

Run as ``python -m benchmarks.replies PORT``.
"""

from __future__ import annotations

import sys

from aiohttp import web

arrived: set[str] = set()
requests = 0


async def reply(request: web.Request) -> web.Response:
    """Respond to a sensor."""
    global requests
    requests += 1
    return web.Response(status=200 if request.match_info["code"] in arrived else 404)


async def arrive(request: web.Request) -> web.Response:
    """Accept replies: a list of codes."""
    arrived.update(await request.json())
    return web.Response()


async def count(_: web.Request) -> web.Response:
    """Return the number of the sensors' requests."""
    return web.json_response(requests)


if __name__ == "__main__":
    app = web.Application()
    app.add_routes([web.get("/reply/{code}", reply), web.post("/arrive", arrive), web.get("/asked", count)])
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
