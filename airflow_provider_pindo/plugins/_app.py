"""The FastAPI app that Airflow's API server mounts at ``/pindo``.

It joins the routers. Airflow leaves a plugin's app open, so every route authenticates its caller itself. Every response
has the headers of :data:`SECURITY_HEADERS`, and no access log shows the parameters of an address. What is switched off
is not imported, and its paths return 404.
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
    app.add_middleware(_HideParameters)
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


class _HideParameters:
    """Empties the parameters of an address before the response starts, whatever the response is.

    An access log is written after that, by Airflow or uvicorn, and from the same scope. The parameters of a webhook are
    a token, a text and a number. Pindo may call it also while webhooks are off.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_without_parameters(message: Message) -> None:
            scope["query_string"] = b""
            await send(message)

        try:
            await self._app(scope, receive, send_without_parameters)
        finally:
            scope["query_string"] = b""
