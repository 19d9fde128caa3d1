"""The webhook receiver: ``POST`` and ``GET /pindo/webhooks/{conn_id}``.

Pindo sends each event once. So a 2xx goes out only when the event is committed, and an event of no known kind is kept
too. Nothing of a body is logged.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, HTTPException
from starlette.requests import Request

from airflow_provider_pindo._metrics import count_webhook
from airflow_provider_pindo.api.webhooks import INBOUND, read_webhook
from airflow_provider_pindo.plugins import _event_table
from airflow_provider_pindo.plugins._auth import TOKEN_PARAMETER, Callers
from airflow_provider_pindo.plugins._body import parse_object, read_text, readable, too_large

log = logging.getLogger(__name__)

#: Bytes of a body, or of an address's parameters as JSON. A text of 1,600 characters has some ten thousand.
MAX_BODY = 64 * 1024


def create_router(callers: Callers) -> APIRouter:
    """Return the receiver's routes."""
    router = APIRouter(prefix="/webhooks")

    @router.post("/{conn_id:path}")
    async def post(conn_id: str, request: Request) -> dict[str, str]:
        conn_id = conn_id.removesuffix("/")  # which people add to an address
        await callers.check_may_post(request, conn_id)
        text = await read_text(request, MAX_BODY)
        body = parse_object(text)
        return await _keep(callers, conn_id, body, readable(text, body))

    @router.get("/{conn_id:path}")
    async def get(conn_id: str, request: Request) -> dict[str, str]:
        conn_id = conn_id.removesuffix("/")
        await callers.check_may_post(request, conn_id)
        body = {key: value for key, value in request.query_params.items() if key != TOKEN_PARAMETER}
        if not body:
            raise HTTPException(400, "The address has no parameters besides the token")
        text = json.dumps(body)
        if len(text) > MAX_BODY:
            raise too_large(MAX_BODY)
        return await _keep(callers, conn_id, body, text)

    return router


async def _keep(callers: Callers, conn_id: str, body: Mapping[str, Any], text: str) -> dict[str, str]:
    webhook = read_webhook(body)
    if webhook.kind == INBOUND:
        # A message that comes again must have the same text here, whatever the order of its keys.
        text = json.dumps(body, sort_keys=True)
    try:
        await callers.in_thread(_event_table.add, conn_id, webhook, text)
    except _event_table.DatabaseError as error:
        log.error("A webhook of connection %r could not be kept, and is lost: %s", conn_id, error)
        raise HTTPException(503, "The event could not be kept") from None
    count_webhook(webhook.kind)
    return {"kind": webhook.kind}
