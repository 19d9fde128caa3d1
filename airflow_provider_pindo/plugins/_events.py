"""The reading of events by tasks and triggers: ``POST /pindo/events/{conn_id}``.

:mod:`airflow_provider_pindo._inbox.events` describes the request and the answer, and is the client.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import APIRouter, HTTPException
from sqlalchemy.engine import RowMapping
from starlette.requests import Request
from starlette.responses import Response

from airflow_provider_pindo._inbox.events import MAX_SMS_IDS
from airflow_provider_pindo._inbox.filter import canonical_digits
from airflow_provider_pindo.api.limits import MAX_INTEGER
from airflow_provider_pindo.api.webhooks import KINDS
from airflow_provider_pindo.plugins import _event_table
from airflow_provider_pindo.plugins._auth import Callers
from airflow_provider_pindo.plugins._body import parse_object, read_text

#: Bytes of a request: room for the most ids that it may have.
_MAX_BODY = 256 * 1024
#: The longest time from Pindo's response to the entry of the ledger that names its message.
_CLAIMING = timedelta(seconds=2)


def create_router(callers: Callers) -> APIRouter:
    """Return the reading route."""
    router = APIRouter(prefix="/events")

    @router.post("/{conn_id:path}")
    async def read(conn_id: str, request: Request) -> Response:
        await callers.check_may_read(request, conn_id)
        body = parse_object(await read_text(request, _MAX_BODY))
        query, digits = _query(body), _number(body, "to")
        unclaimed = _flag(body, "unclaimed")
        if unclaimed and query.since is None:
            raise HTTPException(400, "'unclaimed' needs 'since'")
        try:
            page = await callers.in_thread(_event_table.read, conn_id, query)
            if unclaimed and page.rows and query.since is not None:
                page = await callers.in_thread(_unclaimed, page, query.since)
        except _event_table.DatabaseError:
            raise HTTPException(503, "The events cannot be read now") from None
        return Response(await callers.in_thread(_answer, page, digits), media_type="application/json")

    return router


def _unclaimed(page: _event_table.Page, since: datetime) -> _event_table.Page:
    """Return a page without the events whose message an entry of the ledger names, or may name in a moment."""
    # Imported here: it loads Airflow's models, which only this needs.
    from airflow_provider_pindo.plugins._claims import claimed_ids

    latest = datetime.now(UTC) - _CLAIMING  # reading the entries may take longer than that
    claimed = claimed_ids(since, [row["sms_id"] for row in page.rows])
    if claimed is None:  # so no event proves anything now
        return replace(page, rows=[], claims_known=False)
    rows = [row for row in page.rows if row["received_at"] <= latest and row["sms_id"] not in claimed]
    return replace(page, rows=rows)


def _answer(page: _event_table.Page, digits: str | None) -> bytes:
    """Return a page as JSON. The bodies go in as they came, which saves parsing them.

    :param digits: of the number that the messages went to; None for any.
    """
    events = ",".join(_event(row) for row in page.rows if digits is None or _is_to(row["body"], digits))
    ids = {"last_id": page.last_id, "stable_id": page.stable_id, "newest_id": page.newest_id}
    flags = {"more": page.more, "claims_known": page.claims_known}
    return f'{{"events":[{events}],{json.dumps({**ids, **flags})[1:]}'.encode()


def _event(row: RowMapping) -> str:
    keys = {key: row[key] for key in ("id", "kind", "sms_id")}
    keys["received_at"] = row["received_at"].isoformat()
    return f'{json.dumps(keys)[:-1]},"body":{row["body"]}}}'


def _is_to(body: str, digits: str) -> bool:
    return canonical_digits(str(parse_object(body).get("to") or ""), None) == digits


def _query(body: Mapping[str, Any]) -> _event_table.Query:
    """Return what a request asks for.

    :raises HTTPException: 400, which names the wrong key.
    """
    return _event_table.Query(
        after=_id(body, "after"),
        kinds=_texts(body, "kinds", len(KINDS)),
        sms_ids=_texts(body, "sms_ids", MAX_SMS_IDS),
        since=_moment(body, "since"),
        duplicates=_flag(body, "duplicates"),
    )


def _id(body: Mapping[str, Any], key: str) -> int:
    value = body.get(key, 0)
    if type(value) is not int or not 0 <= value <= MAX_INTEGER:
        raise HTTPException(400, f"{key!r} is not a whole number from 0 to {MAX_INTEGER}")
    return value


def _texts(body: Mapping[str, Any], key: str, most: int) -> list[str]:
    values = body.get(key, [])
    if (
        not isinstance(values, list)
        or len(values) > most
        or not all(isinstance(value, str) and value.isprintable() for value in values)
    ):
        raise HTTPException(400, f"{key!r} is not a list of at most {most} strings")
    return values


def _number(body: Mapping[str, Any], key: str) -> str | None:
    """Return the digits of a phone number, or None."""
    value = body.get(key)
    if value is None:
        return None
    digits = canonical_digits(value, None) if isinstance(value, str) else ""
    if not digits:
        raise HTTPException(400, f"{key!r} is not a phone number in a string")
    return digits


def _flag(body: Mapping[str, Any], key: str) -> bool:
    value = body.get(key, False)
    if type(value) is not bool:
        raise HTTPException(400, f"{key!r} is not true or false")
    return value


def _moment(body: Mapping[str, Any], key: str) -> datetime | None:
    value = body.get(key)
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
        moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise HTTPException(400, f"{key!r} is not an ISO 8601 time with its zone")
    return moment
