"""How Airflow 3.3 confirms what a watcher fired: the ticks of a shared stream, and the cursors stored after them.

Airflow broadcasts each tick to all watchers of a stream: those of the same kind and connection. It calls ``advance``
with the ticks that are complete: every watcher is past them, and the events fired before are in Airflow's database.
Only then may a watcher's cursor be stored.

Messages and reports are not in the stream, since a late watcher would miss those broadcast before it joined. Each
watcher takes them from the shared poll, from its own cursor on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from airflow.triggers.shared_stream import AdvanceItem, SharedStreamProducer

from airflow_provider_pindo.api.errors import PindoConfigurationError, PindoError
from airflow_provider_pindo.triggers._poll import Position, subscribe
from airflow_provider_pindo.triggers._watcher import Watcher

_checkpoint_stores: dict[tuple[asyncio.AbstractEventLoop, Hashable], list[CheckpointStore]] = {}
_ticks: dict[asyncio.AbstractEventLoop, int] = {}


class CheckpointStore:
    """Stores one watcher's cursor in the state store of its asset.

    :param store: the trigger's ``asset_state_store``.
    :param key: name of its value. It distinguishes the watcher from others of the same asset.
    :param if_task: what to say when there is no asset, since a task uses the trigger.
    """

    def __init__(self, store: Any, key: str, *, if_task: str) -> None:
        if store is None:
            raise PindoConfigurationError(if_task)
        self._stores = list(_stores_of_assets(store))
        self._key = key
        self._stored: dict[str, Any] | None = None
        self._staged: dict[int, dict[str, Any]] = {}

    async def load(self, start: Watcher) -> Watcher:
        """Return the watcher as it was last stored.

        A new watcher is ``start``, which is stored before anything is read, so that a kill does not move it. If assets
        have different cursors (one was not watched for a while), the lowest one counts. Some of what was fired then
        comes again, and nothing is lost.
        """
        stored = [await store.aget(self._key) for store in self._stores]
        watchers = [start.restore(checkpoint) for checkpoint in stored if checkpoint is not None]
        watcher = min(watchers, key=Watcher.sort_key, default=start)
        if any(checkpoint != watcher.as_json() for checkpoint in stored):
            await self._store(watcher.as_json())
        self._stored = watcher.as_json()
        return watcher

    def stage(self, tick: int, watcher: Watcher) -> None:
        """Note the state of ``watcher`` after ``tick``."""
        self._staged[tick] = watcher.as_json()

    async def commit(self, tick: int, *, failed: bool) -> None:
        """Store the state of the watcher after ``tick``, which is complete.

        :param failed: whether a watcher was cancelled there. Airflow does not say which one, so nothing is stored. The
            other watchers are stored after the next tick, which the cancelled one never reaches.
        """
        checkpoint = self._staged.pop(tick, None)
        for older in [staged for staged in self._staged if staged < tick]:
            del self._staged[older]
        if checkpoint is not None and not failed and checkpoint != self._stored:
            await self._store(checkpoint)

    async def _store(self, checkpoint: dict[str, Any]) -> None:
        for store in self._stores:
            await store.aset(self._key, checkpoint)
        self._stored = checkpoint


class StreamProducer(SharedStreamProducer):
    """Ticks once for every pass of the shared poll.

    :param stream: the key of the stream.
    :param pindo_conn_id: the connection.
    :param cursor: a cursor of the stream's source. A tick needs nothing of what is read.
    :param interval: longest time between two ticks, in seconds.
    """

    def __init__(self, stream: Hashable, pindo_conn_id: str, cursor: Position, interval: float) -> None:
        self._stream = stream
        self._pindo_conn_id = pindo_conn_id
        self._cursor = cursor
        self._interval = interval

    async def open_stream(self) -> AsyncIterator[tuple[int, int]]:
        """Yield the numbers of the ticks."""
        async with subscribe(
            self._pindo_conn_id, cursor=self._cursor, interval=self._interval
        ) as subscription:
            while True:
                try:
                    await subscription.next_result()
                except PindoError:
                    continue  # the poll has logged it, and continues
                tick = _next_tick()
                yield tick, tick

    async def advance(self, batch: Sequence[AdvanceItem]) -> None:
        """Store the cursors of all watchers after the ticks that are complete."""
        key = (asyncio.get_running_loop(), self._stream)
        for tick, outcome in batch:
            for checkpoints in tuple(_checkpoint_stores.get(key, ())):
                await checkpoints.commit(tick, failed=outcome.failed > 0)


def _next_tick() -> int:
    """Return a number that no producer of this triggerer has used, since a watcher may outlive a producer."""
    loop = asyncio.get_running_loop()
    _ticks[loop] = _ticks.get(loop, 0) + 1
    return _ticks[loop]


@asynccontextmanager
async def register_checkpoints(stream: Hashable, checkpoints: CheckpointStore) -> AsyncIterator[None]:
    """Commit ``checkpoints`` after the ticks of a stream, until the block ends."""
    key = (asyncio.get_running_loop(), stream)
    _checkpoint_stores.setdefault(key, []).append(checkpoints)
    try:
        yield
    finally:
        _checkpoint_stores[key].remove(checkpoints)
        if not _checkpoint_stores[key]:
            del _checkpoint_stores[key]


def _stores_of_assets(store: Any) -> Iterator[Any]:
    """Yield the state store of each asset that is watched.

    Airflow makes one trigger of all watchers with the same arguments, also for different assets. Its accessor has no
    public list of them.
    """
    yield from store._by_name.values()
    yield from store._by_uri.values()
