"""Who calls: Pindo with a connection's ``webhook_secret`` or posting token, or a task with the reading token.

The tokens are derived from the secret, and each allows one thing. They are compared in constant time. A caller without
credentials gets 401 before any connection is looked up. With wrong ones it gets 401, or 404 where there is no Pindo
connection of that name: an id is no secret.

A connection may come from any backend that Airflow has, and a backend may be slow or charge for each call. So the
tokens of a connection are remembered for :data:`_REMEMBERED` seconds.

A backend may also be away. Airflow hides that: it finds no connection then. Pindo does not repeat a webhook. So the
last tokens of a connection stay valid for :data:`_KEPT` seconds after the first lookup that did not find it. For other
connections the database is asked for a sign of life; without one, the answer is 503.
"""

from __future__ import annotations

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
from airflow_provider_pindo.plugins import _store
from airflow_provider_pindo.plugins._connections import read_connection

log = logging.getLogger(__name__)
T = TypeVar("T")

#: The query parameter with the posting token. Airflow's own access log hides the value of a parameter of this name.
TOKEN_PARAMETER = "token"  # noqa: S105
SECRET_HEADER = "X-Webhook-Secret"  # noqa: S105
#: Seconds for which the tokens of a connection are remembered, and for which they are when a caller has others.
_REMEMBERED = 10.0
_REFRESHED = 1.0
#: Seconds for which a connection's last tokens are valid after it was no longer found.
_KEPT = 60.0
#: Most connections that are remembered. Callers choose the names.
_MAX_REMEMBERED = 100
#: Threads for the table, as many for lookups of connections that were found before, and as many for others. So names
#: that a stranger makes up hold up neither the table nor real webhooks, and none of it holds up Airflow's own routes.
_THREADS = 4
#: Most lookups of other connections at a time, with those that wait for a thread. The next caller gets 503 at once.
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
        self._lookups = anyio.CapacityLimiter(_THREADS)
        self._first_lookups = anyio.CapacityLimiter(_THREADS)
        self._first_lookups_now = 0
        self._found: set[str] = set()
        self._remembered: dict[str, tuple[float, _Tokens]] = {}
        self._missing_since: dict[str, float] = {}

    async def in_thread(self, work: Callable[..., T], *args: object) -> T:
        """Run ``work`` in one of the app's own threads."""
        return await anyio.to_thread.run_sync(partial(work, *args), limiter=self._threads)

    async def check_may_post(self, request: Request, conn_id: str) -> None:
        """Let through who has the webhook secret, or the posting token in the address.

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
        """Let through who has the reading token.

        :raises HTTPException: as for :meth:`check_may_post`.
        """
        given = _bearer(request)
        await self._check(conn_id, bool(given), lambda tokens: _matches(given, tokens.reading))

    async def _check(self, conn_id: str, has_credentials: bool, is_right: Callable[[_Tokens], bool]) -> None:
        # A secret that was changed a moment ago is read again, but not for each of many wrong requests.
        for age in (_REMEMBERED, _REFRESHED) if has_credentials else ():
            if is_right(await self._tokens(conn_id, age)):
                return
        raise HTTPException(401, "Not authenticated", headers={"WWW-Authenticate": "Bearer"})

    async def _tokens(self, conn_id: str, age: float) -> _Tokens:
        """Return the tokens of a connection, as they were at most ``age`` seconds ago."""
        if conn_id in self._remembered:
            read_at, tokens = self._remembered[conn_id]
            if time.monotonic() - read_at < age:
                return tokens
        found = await self._look_up(conn_id, _read_tokens, conn_id)
        if found is None:
            return await self._last_tokens(conn_id)
        self._found.add(conn_id)
        self._missing_since.pop(conn_id, None)
        if len(self._remembered) >= _MAX_REMEMBERED:
            self._remembered.clear()
            self._missing_since.clear()
        self._remembered[conn_id] = (time.monotonic(), found)
        return found

    async def _look_up(self, conn_id: str, work: Callable[..., T], *args: object) -> T:
        """Run ``work`` in a thread for lookups.

        :raises HTTPException: 503 when too many wait for names of which no connection was ever found.
        """
        if conn_id in self._found:
            return await anyio.to_thread.run_sync(partial(work, *args), limiter=self._lookups)
        if self._first_lookups_now >= _MAX_FIRST_LOOKUPS:
            raise HTTPException(503, "Too many connections are looked up now")
        self._first_lookups_now += 1
        try:
            return await anyio.to_thread.run_sync(partial(work, *args), limiter=self._first_lookups)
        finally:
            self._first_lookups_now -= 1

    async def _last_tokens(self, conn_id: str) -> _Tokens:
        """Return the last tokens of a connection that is not found now.

        :raises HTTPException: 404, or 503 when the database is away.
        """
        if conn_id in self._remembered:
            now = time.monotonic()
            if now - self._missing_since.setdefault(conn_id, now) < _KEPT:
                log.warning("Connection %r is not found now; its last tokens are valid for a while", conn_id)
                return self._remembered[conn_id][1]
            del self._remembered[conn_id], self._missing_since[conn_id]
        try:
            await self._look_up(conn_id, _store.check_database)
        except _store.StoreError as error:
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


def _matches(given: Iterable[str], expected: str) -> bool:
    """Compare in constant time. Nothing matches an empty token."""
    return bool(expected) and any(
        hmac.compare_digest(value.encode("utf-8", "replace"), expected.encode()) for value in given
    )
