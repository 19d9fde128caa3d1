"""The FastAPI app that Airflow's API server mounts at ``/pindo``.

It joins the routers. Airflow leaves a plugin's app open, so every route authenticates its caller itself. Every response
has the headers of :data:`SECURITY_HEADERS`. What is switched off is not imported, and its paths return 404.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders

from airflow_provider_pindo.hooks._webhook_config import webhooks_are_on
from airflow_provider_pindo.plugins._pages import router as pages

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Sent with every response. A route may replace one of them, such as a page its Content-Security-Policy.
SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",  # an address may contain the posting token
    "X-Content-Type-Options": "nosniff",
}


def create_app() -> FastAPI:
    """Return the app with every router that is switched on."""
    app = FastAPI(title="Pindo", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(_SecurityHeaders)
    app.include_router(pages)
    if webhooks_are_on():
        from airflow_provider_pindo.plugins import _webhooks

        _webhooks.add_to(app)
    return app


class _SecurityHeaders:
    """Adds :data:`SECURITY_HEADERS` to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)
