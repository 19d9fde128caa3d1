"""One poll of the inbound list for everybody in this triggerer who waits on the same connection.

A thousand waiting tasks cost Pindo one pass over the list per interval: one request, as long as a page holds
what is new (two where the list has its oldest messages first: the first page tells, the last has them). Each
subscriber has a place of its own, and a pass reads back to the lowest of them: who joins late is caught up by
the next pass, and misses nothing that came since its place. A pass that fails is told to all and repeated as a
whole, ever more slowly, once for all, with the connection read anew: somebody may have mended it. The poll
begins with the first subscriber and ends with the last; one that is cancelled takes nothing from the others.
"""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import logging
import sys
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_provider_pindo._inbox.backoff import SHORTEST_PAUSE, poll_backoff
from airflow_provider_pindo._inbox.scan import Cursor, PollResult
from airflow_provider_pindo.api.arguments import read_seconds
from airflow_provider_pindo.api.errors import PindoConfigurationError, PindoError, PindoServerError
from airflow_provider_pindo.api.redaction import safe_message

if TYPE_CHECKING:
    from airflow_provider_pindo.hooks.pindo import PindoAsyncHook

log = logging.getLogger(__name__)

#: Seconds until the first pass: a triggerer that starts brings its triggers one by one, and they share it.
_GATHERING = 0.2

_HOOKS = "airflow_provider_pindo.hooks.pindo"


class _UnusableTriggerError(PindoConfigurationError, TypeError):
    """An argument of a trigger cannot be used."""


def unusable(reason: str) -> PindoConfigurationError:
    """Return the error for an argument that a trigger cannot use.

    It is a ``TypeError`` too, since that is the one error of a trigger's constructor that a triggerer survives
    (Airflow 3.3.2): an argument that was stored may have become unusable by another version of RE2.
    """
    return _UnusableTriggerError(reason)


def read_interval(name: str, value: object) -> float:
    """Return the seconds between two looks at the list.

    :raises PindoConfigurationError: it is no time of 0 or more; names the argument.
    """
    try:
        return read_seconds(name, value)
    except PindoConfigurationError as error:
        raise unusable(str(error)) from None


class Subscription:
    """One subscriber's share of a poll.

    :param place: how far it has read; moves on with every round that it takes.
    :param interval: seconds between two rounds, at most.
    """

    def __init__(self, place: Cursor, interval: float) -> None:
        self.place = place
        self.interval = interval
        self._results: deque[PollResult | PindoError] = deque()
        self._arrived = asyncio.Event()

    async def next_result(self) -> PollResult:
        """Wait for the next pass and return what is new since the last one.

        :raises PindoError: the pass failed; the poll goes on, and the next one makes up for it. Whatever failed, an
            Airflow that does not give the connection for a moment too, it is an error of Pindo's tree.
        """
        while not self._results:
            self._arrived.clear()
            await self._arrived.wait()
        return self._take(self._results.popleft())

    def drain(self) -> list[PollResult]:
        """Return the rounds that have come already, without waiting; failed passes left out."""
        rounds = []
        while self._results:
            with suppress(PindoError):  # the poll has logged it
                rounds.append(self._take(self._results.popleft()))
        return rounds

    def deliver(self, result: PollResult | PindoError) -> None:
        """Store the result of a pass, without waking the subscriber."""
        self._results.append(result)

    def wake(self) -> None:
        """Wake the subscriber, once every subscriber has the result."""
        self._arrived.set()

    def _take(self, result: PollResult | PindoError) -> PollResult:
        if isinstance(result, PindoError):
            raise result.with_traceback(None)  # many raise the same one
        messages = tuple(message for message in result.messages if not self.place.covers(message))
        self.place = self.place.advance_to(result.highest_id)
        return replace(result, messages=messages)


class SharedPoll:
    """The poll of one connection in one event loop; :func:`waiting` joins and leaves it.

    :param pindo_conn_id: the connection.
    """

    def __init__(self, pindo_conn_id: str) -> None:
        self.pindo_conn_id = pindo_conn_id
        self.hook = self._new_hook()
        self._subscriptions: list[Subscription] = []  # in the order in which they joined
        self._interval = float("inf")
        self._joined = asyncio.Event()
        self._names_senders: bool | None = None
        self._failures = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nobody waits."""
        return not self._subscriptions

    def join(self, place: Cursor, interval: float) -> Subscription:
        """Take part from the next pass on, which comes within ``interval`` seconds."""
        subscription = Subscription(place, max(interval, SHORTEST_PAUSE))
        self._interval = min(self._interval, subscription.interval)
        self._subscriptions.append(subscription)
        self._joined.set()
        if self._task is None:
            # In a context of its own: what it logs is not the first subscriber's alone.
            self._task = asyncio.create_task(
                self._run(), name=f"pindo-poll[{self.pindo_conn_id}]", context=contextvars.Context()
            )
        return subscription

    def leave(self, subscription: Subscription) -> None:
        """Take no more part."""
        self._subscriptions.remove(subscription)

    async def close(self) -> None:
        """End the poll."""
        if self._task is not None:  # pragma: no branch - whoever leaves has joined
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self.hook.close()

    async def _run(self) -> None:
        await asyncio.sleep(_GATHERING)
        while True:
            started = asyncio.get_running_loop().time()
            error = await self._pass()
            self._interval = min((each.interval for each in self._subscriptions), default=float("inf"))
            await self._rest(started, error)

    async def _rest(self, started: float, error: PindoError | None) -> None:
        """Wait until the next pass is due; whoever joins with a shorter interval brings it forward."""
        loop = asyncio.get_running_loop()
        while (left := started + poll_backoff(self._failures, self._interval, error) - loop.time()) > 0:
            self._joined.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._joined.wait()

    async def _pass(self) -> PindoError | None:
        """Read what is new to anybody and give it to all who wait; return what went wrong."""
        taking_part = tuple(self._subscriptions)
        result: PollResult | PindoError
        try:
            result = await self._read(each.place for each in taking_part)
            self._failures = 0
        except Exception as reason:
            error = reason if isinstance(reason, PindoError) else _unforeseen(reason)
            self._failures += 1
            log.warning(
                "Inbound messages of connection %r: pass failed, %d in a row: %s",
                self.pindo_conn_id,
                self._failures,
                error,
            )
            result = error
            await self._read_connection_anew()
        # One subscriber may wake another: the clock of a shared stream does. So all have the result before one wakes.
        for subscription in taking_part:
            subscription.deliver(result)
        for subscription in taking_part:
            subscription.wake()
            await asyncio.sleep(0)  # a thousand that wake at once would block the event loop
        return result if isinstance(result, PindoError) else None

    async def _read(self, cursors: Iterable[Cursor]) -> PollResult:
        # Tried once: the next pass is the retry.
        result = await self.hook.read_inbox(cursors, retry_first_page=False)
        if result.names_senders is not None:
            self._names_senders = result.names_senders or bool(self._names_senders)
        return replace(result, names_senders=self._names_senders)

    async def _read_connection_anew(self) -> None:
        """Have the next pass read the connection again."""
        with suppress(Exception):  # what does not close is not used again
            await self.hook.close()
        self.hook = self._new_hook()

    def _new_hook(self) -> PindoAsyncHook:
        from airflow_provider_pindo.hooks.pindo import PindoAsyncHook

        return PindoAsyncHook(self.pindo_conn_id)


def _unforeseen(error: Exception) -> PindoServerError:
    """Return an error that waiting may mend for one that is not Pindo's, such as of the store of connections."""
    return PindoServerError(f"the inbound list cannot be read: {safe_message(error)}")


_polls: dict[tuple[asyncio.AbstractEventLoop, str], SharedPoll] = {}


@asynccontextmanager
async def subscribe(pindo_conn_id: str, *, place: Cursor, interval: float) -> AsyncIterator[Subscription]:
    """Take part in the poll of a connection for as long as the block lasts.

    :param pindo_conn_id: the connection.
    :param place: from where on messages are new.
    :param interval: seconds between two rounds, at most; the poll keeps the shortest of its subscribers', and no
        shorter one than a tenth of a second.
    """
    # Loading them takes a third of a second, for which the triggerer must not stand still.
    if _HOOKS not in sys.modules:  # pragma: no cover - the tests have loaded them
        await asyncio.to_thread(importlib.import_module, _HOOKS)
    key = (asyncio.get_running_loop(), pindo_conn_id)
    poll = _polls.get(key) or _polls.setdefault(key, SharedPoll(pindo_conn_id))
    subscription = poll.join(place, interval)
    try:
        yield subscription
    finally:
        poll.leave(subscription)
        if poll.is_empty:
            # At once, so that whoever comes while this one closes starts another.
            del _polls[key]
            await poll.close()
