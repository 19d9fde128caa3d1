"""One poll for all triggers of this triggerer that wait on the same connection, for messages or for delivery.

A connection has two sources: Pindo's inbound list, and the events that webhooks brought to this Airflow. Each has a
poll of its own. A thousand waiting tasks cost one pass per interval. A pass is one request while one page holds all
that is new. An oldest-first list costs two: the first page shows the order, and the last has the new messages.

* Each subscriber has a cursor of its own, and a pass reads back to the lowest of them. A subscriber that joins late
  gets everything after its cursor from the next pass.
* A failed pass is reported to all subscribers and repeated as a whole, with growing pauses. The connection is read
  again first, since it may have been fixed.
* A refused token is reported only when the connection, read again at once, has no better one. A token or a
  ``webhook_secret`` that is replaced ends no wait.
* The poll starts with the first subscriber and ends with the last one. A cancelled subscriber affects no other.
"""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import logging
import sys
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from typing import Any, Protocol, Self

from airflow_provider_pindo._inbox.backoff import MIN_INTERVAL, poll_backoff
from airflow_provider_pindo._inbox.scan import LIST, WEBHOOK, PollResult
from airflow_provider_pindo.api.errors import (
    PindoAuthError,
    PindoConfigurationError,
    PindoError,
    PindoServerError,
)
from airflow_provider_pindo.api.redaction import safe_message

log = logging.getLogger(__name__)

#: Seconds until the first pass. A triggerer that starts brings its triggers one by one, and they share the pass.
_JOIN_DELAY = 0.2

_HOOKS = "airflow_provider_pindo.hooks._events"

#: What the log calls each source.
_SOURCES = {LIST: "inbound list", WEBHOOK: "webhook events"}


class Position(Protocol):
    """A cursor: the position up to which a subscriber has read its source."""

    @property
    def source(self) -> str:
        """What it is a position in."""

    def new_in(self, result: PollResult) -> PollResult:
        """Return what is new in a result."""

    def advance_past(self, result: PollResult) -> Self:
        """Return the position behind a result."""


class _UnusableTriggerError(PindoConfigurationError, TypeError):
    """An argument of a trigger is not usable."""


@contextmanager
def unusable_arguments() -> Iterator[None]:
    """Make the error for an argument also a ``TypeError``.

    A triggerer survives no other error of a trigger's constructor (Airflow 3.3.2). An argument from the database may
    have become invalid, for example with another version of RE2.
    """
    try:
        yield
    except PindoConfigurationError as error:
        raise _UnusableTriggerError(str(error)) from None


class Subscription:
    """One subscriber of a poll.

    :param cursor: the position up to which it has read; every result that it takes moves it forward.
    :param interval: longest time between two results, in seconds.
    """

    def __init__(self, cursor: Position, interval: float) -> None:
        self.cursor = cursor
        self.interval = interval
        self._results: deque[PollResult | PindoError] = deque()
        self._arrival = asyncio.Event()

    async def next_result(self) -> PollResult:
        """Wait for the next pass and return what is new since the last one.

        :raises PindoError: the pass failed, or Airflow cannot give the connection. The poll continues, and the next
            pass returns what this one missed.
        """
        while not self._results:
            self._arrival.clear()
            await self._arrival.wait()
        return self._take(self._results.popleft())

    def drain(self) -> list[PollResult]:
        """Return the results that have arrived, without waiting. Failed passes are skipped."""
        results = []
        while self._results:
            with suppress(PindoError):  # the poll has logged it
                results.append(self._take(self._results.popleft()))
        return results

    def deliver(self, result: PollResult | PindoError) -> None:
        """Store the result of a pass, without waking the subscriber."""
        self._results.append(result)

    def wake(self) -> None:
        """Wake the subscriber, once every subscriber has the result."""
        self._arrival.set()

    def _take(self, result: PollResult | PindoError) -> PollResult:
        if isinstance(result, PindoError):
            raise result.with_traceback(None)  # all subscribers raise the same object
        new = self.cursor.new_in(result)
        self.cursor = self.cursor.advance_past(result)
        return new


class SharedPoll:
    """The poll of one source of a connection in one event loop; :func:`subscribe` joins and leaves it.

    :param pindo_conn_id: the connection.
    :param source: what it reads.
    """

    def __init__(self, pindo_conn_id: str, source: str) -> None:
        self.pindo_conn_id = pindo_conn_id
        self.source = source
        self.reader = self._new_reader()
        self._subscriptions: list[Subscription] = []  # in the order in which they joined
        self._interval = float("inf")
        self._join = asyncio.Event()
        self._names_senders: bool | None = None
        self._failures = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is no subscriber."""
        return not self._subscriptions

    def join(self, cursor: Position, interval: float) -> Subscription:
        """Subscribe to all passes from the next one on.

        It starts within ``interval`` seconds or, after failures, when the pause ends.
        """
        subscription = Subscription(cursor, max(interval, MIN_INTERVAL))
        self._interval = min(self._interval, subscription.interval)
        self._subscriptions.append(subscription)
        self._join.set()
        if self._task is None:
            # In an empty context: its log lines do not belong to the first subscriber.
            self._task = asyncio.create_task(
                self._run(),
                name=f"pindo-poll[{self.pindo_conn_id}, {self.source}]",
                context=contextvars.Context(),
            )
        return subscription

    def leave(self, subscription: Subscription) -> None:
        """End a subscription."""
        self._subscriptions.remove(subscription)

    async def close(self) -> None:
        """End the poll."""
        if self._task is not None:  # pragma: no branch - it starts with the first subscriber
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self.reader.close()

    async def _run(self) -> None:
        await asyncio.sleep(_JOIN_DELAY)
        while True:
            started = asyncio.get_running_loop().time()
            error = await self._pass()
            intervals = (subscription.interval for subscription in self._subscriptions)
            self._interval = min(intervals, default=float("inf"))
            await self._pause(started, error)

    async def _pause(self, started: float, error: PindoError | None) -> None:
        """Wait until the next pass is due. A new subscriber with a shorter interval ends the pause earlier."""
        loop = asyncio.get_running_loop()
        while (remaining := started + poll_backoff(self._failures, self._interval, error) - loop.time()) > 0:
            self._join.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(remaining):
                    await self._join.wait()

    async def _pass(self) -> PindoError | None:
        """Read what is new to any subscriber and deliver it to all; return the error if the pass failed."""
        subscriptions = tuple(self._subscriptions)
        result: PollResult | PindoError
        try:
            result = await self._read_or_renew([subscription.cursor for subscription in subscriptions])
            self._failures = 0
        except Exception as failure:
            result = failure if isinstance(failure, PindoError) else self._as_server_error(failure)
            self._failures += 1
            log.warning(
                "The %s of connection %r: pass failed, %d in a row: %s",
                _SOURCES[self.source],
                self.pindo_conn_id,
                self._failures,
                result,
            )
            await self._renew_reader()
        # A subscriber may wake others: the producer of a shared stream does. So all have the result before one wakes.
        for subscription in subscriptions:
            subscription.deliver(result)
        for subscription in subscriptions:
            subscription.wake()
            await asyncio.sleep(0)  # a thousand that wake at once would block the event loop
        return result if isinstance(result, PindoError) else None

    async def _read_or_renew(self, cursors: Sequence[Any]) -> PollResult:
        """Read, and once more with the connection's present token if the one at hand is refused."""
        try:
            return await self._read(cursors)
        except PindoAuthError:
            await self._renew_reader()
            return await self._read(cursors)

    async def _read(self, cursors: Sequence[Any]) -> PollResult:
        # The first request is tried once: the next pass is the retry.
        if self.source == WEBHOOK:
            result: PollResult = await self.reader.poll(cursors, retry_first_page=False)
        else:
            result = await self.reader.read_inbox(cursors, retry_first_page=False)
        if result.names_senders is not None:
            self._names_senders = result.names_senders or bool(self._names_senders)
        return replace(result, names_senders=self._names_senders)

    async def _renew_reader(self) -> None:
        """Make the next pass read the connection again."""
        with suppress(Exception):  # a session that does not close is not used again
            await self.reader.close()
        self.reader = self._new_reader()

    def _new_reader(self) -> Any:
        if self.source == WEBHOOK:
            from airflow_provider_pindo.hooks._events import AsyncEventReader

            return AsyncEventReader(self.pindo_conn_id)
        from airflow_provider_pindo.hooks.pindo import PindoAsyncHook

        return PindoAsyncHook(self.pindo_conn_id)

    def _as_server_error(self, error: Exception) -> PindoServerError:
        """Return an error after which the poll continues, for one from outside, such as from Airflow's connections."""
        return PindoServerError(f"the {_SOURCES[self.source]} cannot be read: {safe_message(error)}")


_polls: dict[tuple[asyncio.AbstractEventLoop, str, str], SharedPoll] = {}


@asynccontextmanager
async def subscribe(pindo_conn_id: str, *, cursor: Position, interval: float) -> AsyncIterator[Subscription]:
    """Subscribe to the poll of a connection, until the block ends.

    :param pindo_conn_id: the connection.
    :param cursor: what comes after it is new. It names the source.
    :param interval: longest time between two results, in seconds. The poll keeps the shortest interval of its
        subscribers, but at least ``MIN_INTERVAL``.
    """
    # Loading the hooks takes a third of a second, which must not block the triggerer.
    if _HOOKS not in sys.modules:  # pragma: no cover - the tests have loaded them
        await asyncio.to_thread(importlib.import_module, _HOOKS)
    key = (asyncio.get_running_loop(), pindo_conn_id, cursor.source)
    poll = _polls.get(key) or _polls.setdefault(key, SharedPoll(pindo_conn_id, cursor.source))
    subscription = poll.join(cursor, interval)
    try:
        yield subscription
    finally:
        poll.leave(subscription)
        if poll.is_empty:
            # Before the poll closes, so that a new subscriber starts another one.
            del _polls[key]
            await poll.close()
