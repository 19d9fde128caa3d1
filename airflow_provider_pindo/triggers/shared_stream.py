"""The side of a watch that Airflow 3.3 confirms: the shared stream's clock, and the places it moves on.

Airflow broadcasts the clock's ticks to all watchers of a connection, and tells the clock, by ``advance``, which
ticks are settled: every watcher has passed them, and what it fired meanwhile is in Airflow's database. Only
then may a watcher's place be stored. The messages themselves do not go through the stream, since a watcher that
joins late would miss those broadcast before; each takes them from the shared poll, from its own place on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from airflow.triggers.shared_stream import AdvanceItem, SharedStreamProducer

from airflow_provider_pindo._inbox.scan import Cursor
from airflow_provider_pindo.api.errors import PindoConfigurationError, PindoError
from airflow_provider_pindo.triggers.poll import subscribe
from airflow_provider_pindo.triggers.watcher import Watcher

_keepers: dict[tuple[asyncio.AbstractEventLoop, str], list[CheckpointStore]] = {}
_ticks: dict[asyncio.AbstractEventLoop, int] = {}


class CheckpointStore:
    """Keeps one watcher's place in the state store of its asset.

    :param store: the trigger's ``asset_state_store``.
    :param fingerprint: tells the watcher from others of the same asset.
    """

    def __init__(self, store: Any, fingerprint: str) -> None:
        if store is None:
            raise PindoConfigurationError(
                "PindoInboundSmsEventTrigger watches an asset: give it to an AssetWatcher; a task waits with "
                "PindoInboundSmsSensor"
            )
        self._stores = list(_each_store(store))
        self._key = f"pindo_inbound_{fingerprint}"
        self._stored: dict[str, Any] | None = None
        self._staged: dict[int, dict[str, Any]] = {}

    async def load(self, start: datetime) -> Watcher:
        """Return the watcher as it was when its place was last stored.

        Without one, its start is fixed and stored now, before anything is read: whatever happens next, it
        starts there. Of assets that differ (one was not watched for a while) the place that is furthest behind
        counts: messages then come again to the others, and none is lost.
        """
        stored = [await store.aget(self._key) for store in self._stores]
        watchers = [Watcher.from_json(place) for place in stored if place is not None]
        watcher = min(watchers, key=_how_far, default=Watcher(Cursor(since=start)))
        if any(place != watcher.as_json() for place in stored):
            await self._store(watcher.as_json())
        self._stored = watcher.as_json()
        return watcher

    def stage(self, tick: int, watcher: Watcher) -> None:
        """Note where ``watcher`` stood when it was done with ``tick``."""
        self._staged[tick] = watcher.as_json()

    async def commit(self, tick: int, *, failed: bool) -> None:
        """Store where the watcher stood at ``tick``, which is settled.

        :param failed: not by all: some watcher was cut off there. Which one Airflow does not say, so none
            moves on; the others do with the next tick, and the one that was cut off never passes that.
        """
        stood = self._staged.pop(tick, None)
        for older in [each for each in self._staged if each < tick]:
            del self._staged[older]
        if stood is not None and not failed and stood != self._stored:
            await self._store(stood)

    async def _store(self, place: dict[str, Any]) -> None:
        for store in self._stores:
            await store.aset(self._key, place)
        self._stored = place


class InboxStreamProducer(SharedStreamProducer):
    """Ticks once for every pass of the shared poll.

    :param pindo_conn_id: the connection.
    :param interval: seconds between two ticks, at most.
    """

    def __init__(self, pindo_conn_id: str, interval: float) -> None:
        self._pindo_conn_id = pindo_conn_id
        self._interval = interval

    async def open_stream(self) -> AsyncIterator[tuple[int, int]]:
        """Yield the numbers of the ticks."""
        place = Cursor(since=datetime.now(UTC))  # it wants no message itself
        async with subscribe(self._pindo_conn_id, place=place, interval=self._interval) as subscription:
            while True:
                try:
                    await subscription.next_result()
                except PindoError:
                    continue  # the poll has told it, and goes on
                tick = _next_tick()
                yield tick, tick

    async def advance(self, batch: Sequence[AdvanceItem]) -> None:
        """Store the places of all watchers, as they stood at the settled ticks."""
        key = (asyncio.get_running_loop(), self._pindo_conn_id)
        for tick, outcome in batch:
            for keeper in tuple(_keepers.get(key, ())):
                await keeper.commit(tick, failed=outcome.failed > 0)


def _how_far(watcher: Watcher) -> tuple[int, float]:
    place = watcher.place
    return place.after_id or 0, place.since.timestamp() if place.since else 0.0


def _next_tick() -> int:
    """Return a number that no clock of this triggerer had, since a watcher may outlive one."""
    loop = asyncio.get_running_loop()
    _ticks[loop] = _ticks.get(loop, 0) + 1
    return _ticks[loop]


@asynccontextmanager
async def watched_by(pindo_conn_id: str, keeper: CheckpointStore) -> AsyncIterator[None]:
    """Have the clock of the connection settle with ``keeper`` for as long as the block lasts."""
    key = (asyncio.get_running_loop(), pindo_conn_id)
    _keepers.setdefault(key, []).append(keeper)
    try:
        yield
    finally:
        _keepers[key].remove(keeper)
        if not _keepers[key]:
            del _keepers[key]


def _each_store(store: Any) -> Iterator[Any]:
    """Yield the state store of each asset that is watched.

    Airflow makes one trigger of watchers with the same arguments, whatever assets they are of, and its
    accessor names none of them in public.
    """
    yield from store._by_name.values()
    yield from store._by_uri.values()
