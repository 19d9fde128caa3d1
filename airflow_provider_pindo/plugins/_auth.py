"""Who calls: Pindo with a connection's ``webhook_secret`` or posting token, or a task with the reading token.

The tokens are derived from the secret, and each allows one thing. They are compared in constant time. A caller without
credentials gets 401 before any connection is looked up. With wrong ones it gets 401, or 404 where there is no Pindo
connection of that name: an id is no secret.

A connection may come from any backend that Airflow has, and a backend may be slow or charge for each call. So the
tokens of a connection are remembered for :data:`_MAX_AGE` seconds, and its callers share a lookup.

A backend may also be away. Airflow hides that: it finds no connection then. Pindo does not repeat a webhook. So the
last tokens of a connection stay valid for :data:`_GRACE_PERIOD` seconds after the first lookup that did not find it.
For other connections the database is asked for a sign of life; without one, the response is 503.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import anyio
import anyio.to_thread
from airflow.providers.common.compat.sdk import AirflowException, mask_secret
from fastapi import HTTPException
from starlette.requests import Request

from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.webhooks import posting_token, reading_token
from airflow_provider_pindo.hooks._settings import read_webhook_secret
from airflow_provider_pindo.plugins import _event_table
from airflow_provider_pindo.plugins._connections import read_connection

log = logging.getLogger(__name__)
T = TypeVar("T")

#: The query parameter with the posting token. Airflow's own access log hides the value of a parameter of this name.
TOKEN_PARAMETER = "token"  # noqa: S105
SECRET_HEADER = "X-Webhook-Secret"  # noqa: S105
#: Seconds until a connection's tokens are read again.
_MAX_AGE = 10.0
#: The same after a caller showed wrong ones: the secret may just have changed.
_MAX_AGE_AFTER_MISMATCH = 1.0
#: Seconds for which a connection's last tokens are valid after it was no longer found.
_GRACE_PERIOD = 60.0
#: Most connections that are remembered. Callers choose the names.
_MAX_REMEMBERED = 100
#: Threads in each of three pools: the table, known connections, unknown names. Invented names then delay neither
#: webhooks nor Airflow's own routes.
_THREADS = 4
#: Most unknown names that are looked up at a time, with those that wait for a thread. The next caller gets 503 at once.
_MAX_FIRST_LOOKUPS = 50


@dataclass(frozen=True, slots=True)
class _Tokens:
    """What a connection's callers may present; empty where it has no secret."""

    secret: str = field(default="", repr=False)
    posting: str = field(default="", repr=False)
    reading: str = field(default="", repr=False)


class Callers:
    """Authenticates the callers of the app, and runs what blocks in threads of its own."""

    def __init__(self) -> None:
        self._threads = anyio.CapacityLimiter(_THREADS)
        self._known_names = anyio.CapacityLimiter(_THREADS)
        self._unknown_names = anyio.CapacityLimiter(_THREADS)
        self._known: set[str] = set()
        self._lookups: dict[str, asyncio.Task[_Tokens]] = {}
        self._remembered: dict[str, tuple[float, _Tokens]] = {}
        self._missing_since: dict[str, float] = {}

    async def in_thread(self, work: Callable[..., T], *args: object) -> T:
        """Run ``work`` in one of the app's own threads."""
        return await anyio.to_thread.run_sync(partial(work, *args), limiter=self._threads)

    async def check_may_post(self, request: Request, conn_id: str) -> None:
        """Let a caller through who has the webhook secret, or the posting token in the address.

        :raises HTTPException: 401, 404 for no such Pindo connection, or 503 when the database is away.
        """
        in_headers = [*_bearer(request), *request.headers.getlist(SECRET_HEADER)]
        in_address = request.query_params.getlist(TOKEN_PARAMETER)
        await self._check(
            conn_id,
            bool(in_headers or in_address),
            lambda tokens: _matches(in_headers, tokens.secret) or _matches(in_address, tokens.posting),
        )

    async def check_may_read(self, request: Request, conn_id: str) -> None:
        """Let a caller through who has the reading token.

        :raises HTTPException: as for :meth:`check_may_post`.
        """
        credentials = _bearer(request)
        await self._check(conn_id, bool(credentials), lambda tokens: _matches(credentials, tokens.reading))

    async def _check(self, conn_id: str, has_credentials: bool, is_right: Callable[[_Tokens], bool]) -> None:
        # A secret that was changed a moment ago is read again, but not for each of many wrong requests.
        for max_age in (_MAX_AGE, _MAX_AGE_AFTER_MISMATCH) if has_credentials else ():
            if is_right(await self._tokens(conn_id, max_age)):
                return
        raise HTTPException(401, "Not authenticated", headers={"WWW-Authenticate": "Bearer"})

    async def _tokens(self, conn_id: str, max_age: float) -> _Tokens:
        """Return the tokens of a connection, as they were at most ``max_age`` seconds ago.

        Callers of one connection share a lookup. It goes on when one of them leaves.

        :raises HTTPException: 404, or 503 when the database is away or too many unknown names are looked up.
        """
        if conn_id in self._remembered:
            read_at, tokens = self._remembered[conn_id]
            if time.monotonic() - read_at < max_age:
                return tokens
        if conn_id not in self._lookups:
            if conn_id not in self._known and len(self._lookups.keys() - self._known) >= _MAX_FIRST_LOOKUPS:
                raise HTTPException(503, "Too many connections are looked up now")
            self._lookups[conn_id] = asyncio.create_task(self._look_up(conn_id))
        return await asyncio.shield(self._lookups[conn_id])

    async def _look_up(self, conn_id: str) -> _Tokens:
        # A secret may change while it is read. So its age counts from the start.
        started = time.monotonic()
        try:
            tokens = await self._in_lookup_thread(conn_id, _read_tokens, conn_id)
            if tokens is None:
                return await self._last_tokens(conn_id)
        finally:
            del self._lookups[conn_id]
        self._known.add(conn_id)
        self._missing_since.pop(conn_id, None)
        if len(self._remembered) >= _MAX_REMEMBERED:
            self._remembered.clear()
            self._missing_since.clear()
        self._remembered[conn_id] = (started, tokens)
        return tokens

    async def _in_lookup_thread(self, conn_id: str, work: Callable[..., T], *args: object) -> T:
        limiter = self._known_names if conn_id in self._known else self._unknown_names
        return await anyio.to_thread.run_sync(partial(work, *args), limiter=limiter)

    async def _last_tokens(self, conn_id: str) -> _Tokens:
        """Return the last tokens of a connection that is not found now. They serve until the next lookup is due.

        :raises HTTPException: 404, or 503 when the database is away.
        """
        if conn_id in self._remembered:
            now = time.monotonic()
            if conn_id not in self._missing_since:
                self._missing_since[conn_id] = now
                log.warning("Connection %r is not found now; its last tokens are valid for a while", conn_id)
            if now - self._missing_since[conn_id] < _GRACE_PERIOD:
                tokens = self._remembered[conn_id][1]
                self._remembered[conn_id] = (now, tokens)
                return tokens
            del self._remembered[conn_id], self._missing_since[conn_id]
        try:
            await self._in_lookup_thread(conn_id, _event_table.check_database)
        except _event_table.DatabaseError as error:
            log.error("Connection %r cannot be looked up, since the database is away: %s", conn_id, error)
            raise HTTPException(503, "The connection cannot be looked up now") from None
        raise HTTPException(404, "Not Found")


def _read_tokens(conn_id: str) -> _Tokens | None:
    """Return the tokens of a connection, from any backend; empty if its secret is missing or cannot be used.

    :return: None when no connection is found.
    :raises HTTPException: 404 for a connection of another type.
    """
    try:
        connection = read_connection(conn_id)
    except AirflowException:  # it does not exist, or a backend denies it or is away
        return None
    if connection.conn_type != "pindo":
        raise HTTPException(404, "Not Found")
    try:
        secret = read_webhook_secret(connection)
    except PindoConfigurationError as error:
        log.error("No webhook is accepted: %s", error)
        secret = None
    if secret is None:
        return _Tokens()
    tokens = _Tokens(secret, posting_token(secret, conn_id), reading_token(secret, conn_id))
    for token in (tokens.secret, tokens.posting, tokens.reading):
        mask_secret(token)
    return tokens


def _bearer(request: Request) -> list[str]:
    """Return the tokens of the ``Authorization`` headers."""
    parts = (value.partition(" ") for value in request.headers.getlist("Authorization"))
    return [token.strip() for scheme, _, token in parts if scheme.lower() == "bearer"]


def _matches(credentials: Iterable[str], expected: str) -> bool:
    """Compare in constant time. Nothing matches an empty token."""
    return bool(expected) and any(
        hmac.compare_digest(value.encode("utf-8", "replace"), expected.encode()) for value in credentials
    )
