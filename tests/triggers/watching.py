"""What Airflow's triggerer does with asset triggers, for the tests of those triggers."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

from airflow.triggers.shared_stream import SharedStreamManager

LONG_AGO = "2020-01-01T00:00:00+00:00"


class Store(dict):
    """The state store of an asset, which outlives every triggerer."""

    async def aget(self, key):
        return self.get(key)

    async def aset(self, key, value):
        self[key] = value

    @property
    def after_id(self):
        [checkpoint] = self.values()
        return checkpoint["after_id"]


class Triggerer:
    """What Airflow's triggerer does with asset triggers, up to the database, which is ``persisted``.

    Its supervisor stores the events that were fired, and confirms them, when :meth:`sync` is called.
    """

    def __init__(self, trigger_class):
        self.trigger_class = trigger_class
        self.streams = SharedStreamManager()
        self.fired = []
        self.tasks = []

    def start(self, store, persisted, **arguments):
        trigger = self.trigger_class(**{"since": LONG_AGO, "poll_interval": 0.1, **arguments})
        trigger.asset_state_store = SimpleNamespace(_by_name={"replies": store}, _by_uri={})
        task = asyncio.create_task(self._run(len(self.tasks), trigger, persisted))
        self.tasks.append(task)
        return task

    async def _run(self, trigger_id, trigger, persisted):
        key = trigger.shared_stream_key()
        stream = self.streams.subscribe(trigger_id=trigger_id, trigger=trigger, key=key)
        try:
            async for event in trigger.filter_shared_stream(stream):
                seq = self.streams.bind_pending_event(trigger_id=trigger_id, key=key)
                self.fired.append((persisted, event, seq))
        finally:
            await self.streams.unsubscribe(trigger_id, key)

    def sync(self):
        for persisted, event, _ in self.fired:
            for items in event.payload.values():
                persisted.extend(items)
        self.streams.confirm_persisted([seq for *_, seq in self.fired if seq is not None])
        self.fired.clear()

    async def kill(self):
        """End everything at once; what was not stored is gone."""
        self.fired.clear()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.streams.stop_all()

    async def sync_until(self, ready):
        async with asyncio.timeout(30):
            while not ready():
                self.sync()
                await asyncio.sleep(0.02)


async def wait_until(ready):
    async with asyncio.timeout(30):
        while not ready():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
