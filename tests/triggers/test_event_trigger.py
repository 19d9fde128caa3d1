"""PindoInboundSmsEventTrigger under Airflow's own shared-stream manager: nothing lost, whenever it is killed."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from airflow_provider_pindo.triggers import _poll, _watcher

pytest.importorskip("airflow.triggers.shared_stream", reason="Airflow 3.3 has it")
from airflow_provider_pindo._inbox.event_scan import EventCursor
from airflow_provider_pindo._inbox.scan import Cursor, PollResult
from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.webhooks import DELIVERY_REPORT
from airflow_provider_pindo.triggers._shared_stream import CheckpointStore
from airflow_provider_pindo.triggers._watcher import Watcher
from airflow_provider_pindo.triggers.sms import PindoInboundSmsEventTrigger
from tests.triggers.watching import LONG_AGO, Store, Triggerer, wait_until

PHONE = "+250781234567"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class SlowStore(Store):
    """A state store that answers once the stream's producer has joined the poll, and so before any watcher."""

    async def aget(self, key):
        while not _poll._polls:  # noqa: ASYNC110 - the next turn of the event loop is soon enough
            await asyncio.sleep(0)
        return self.get(key)


@pytest.fixture
async def triggerer():
    running = Triggerer(PindoInboundSmsEventTrigger)
    yield running
    await running.kill()


def checkpoint(after_id):
    return Watcher(Cursor(after_id=after_id)).as_json()


def ids(messages):
    return [message["id"] for message in messages]


async def reply(sandbox, *texts):
    await asyncio.to_thread(sandbox.reply_all, [{"from": PHONE, "text": text} for text in texts])


async def test_every_message_that_matches_is_fired_once(sandbox, triggerer):
    persisted = []
    triggerer.start(Store(), persisted, pattern="YES")
    await reply(sandbox, *["YES", "NO"] * 10)
    await triggerer.sync_until(lambda: len(persisted) >= 10)
    await reply(sandbox, *["YES", "NO"] * 10)
    await triggerer.sync_until(lambda: len(persisted) >= 20)
    assert ids(persisted) == list(range(1, 40, 2))


async def test_watchers_of_one_connection_share_a_poll_and_each_has_its_own_pattern(
    sandbox, triggerer, polls
):
    yes, no = [], []
    await reply(sandbox, "YES", "NO")
    triggerer.start(Store(), yes, pattern="YES", poll_interval=3600)
    triggerer.start(Store(), no, pattern="NO", poll_interval=3600)
    await triggerer.sync_until(lambda: yes and no)
    assert (ids(yes), ids(no)) == ([1], [2])
    assert polls() == 1


async def test_messages_come_with_their_tick_where_the_producer_joins_the_poll_first(
    sandbox, triggerer, polls
):
    """As in production: a watcher joins only after Airflow has read its state store."""
    persisted = [[] for _ in range(30)]
    await reply(sandbox, "YES")
    for messages in persisted:
        triggerer.start(SlowStore(), messages, poll_interval=3600)
    await triggerer.sync_until(lambda: all(persisted))
    assert [ids(messages) for messages in persisted] == [[1]] * 30
    assert polls() == 1


async def test_a_cursor_moves_on_only_when_airflow_has_stored_what_was_fired(sandbox, triggerer):
    store, persisted = Store(), []
    triggerer.start(store, persisted)
    await reply(sandbox, "YES")
    await wait_until(lambda: triggerer.fired)
    await asyncio.sleep(0.5)  # several polls later it is still not confirmed
    assert store.after_id is None
    await triggerer.sync_until(lambda: store.after_id == 1)
    assert ids(persisted) == [1]


async def test_what_was_fired_and_not_stored_comes_again_after_a_kill_with_the_same_ids(sandbox):
    store, persisted = Store(), []
    for _ in range(3):
        killed = Triggerer(PindoInboundSmsEventTrigger)
        killed.start(store, persisted)
        await reply(sandbox, "YES")
        await wait_until(lambda killed=killed: killed.fired)
        await killed.kill()
    assert persisted == []
    last = Triggerer(PindoInboundSmsEventTrigger)
    last.start(store, persisted)
    await last.sync_until(lambda: len(persisted) == 3)
    assert ids(persisted) == [1, 2, 3]
    await last.kill()


async def test_what_was_stored_does_not_come_again(sandbox):
    store, persisted = Store(), []
    for number in range(1, 4):
        running = Triggerer(PindoInboundSmsEventTrigger)
        running.start(store, persisted)
        await reply(sandbox, "YES")
        await running.sync_until(lambda number=number: store.after_id == number)
        await running.kill()
    assert ids(persisted) == [1, 2, 3]


async def test_a_watcher_that_joins_late_is_caught_up_from_its_own_cursor(sandbox, triggerer):
    early, late, late_store = [], [], Store()
    late_trigger = PindoInboundSmsEventTrigger(since=LONG_AGO, pattern="YES")
    late_store[late_trigger.state_key()] = {"after_id": 1, "since": LONG_AGO}
    await reply(sandbox, "YES", "YES", "YES")
    triggerer.start(Store(), early)
    await triggerer.sync_until(lambda: len(early) == 3)
    triggerer.start(late_store, late, pattern="YES")
    await triggerer.sync_until(lambda: len(late) == 2)
    assert ids(late) == [2, 3]
    assert ids(early) == [1, 2, 3]


async def test_the_start_is_fixed_before_anything_is_read(sandbox, monkeypatch):
    """A triggerer that is killed before its first poll leaves a start from which nothing is missed."""
    store, persisted = Store(), []
    killed = Triggerer(PindoInboundSmsEventTrigger)
    killed.start(store, persisted, since=None)
    await wait_until(lambda: store)
    await killed.kill()
    await reply(sandbox, "while nobody watches")
    later = Triggerer(PindoInboundSmsEventTrigger)
    later.start(store, persisted, since=None)
    await later.sync_until(lambda: persisted)
    assert ids(persisted) == [1]
    await later.kill()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_of_two_assets_the_one_that_is_behind_counts_and_one_that_joins_gets_a_cursor(order):
    behind, ahead, joins = (
        Store(pindo_inbound_x=checkpoint(10)),
        Store(pindo_inbound_x=checkpoint(5000)),
        Store(),
    )
    stores = [(behind, ahead)[index] for index in order]
    accessors = SimpleNamespace(_by_name=dict(zip("abc", [*stores, joins], strict=True)), _by_uri={})
    store = CheckpointStore(accessors, "pindo_inbound_x", if_task="")
    watcher = await store.load(Watcher(Cursor(since=NOW)))
    assert watcher.cursor.after_id == behind.after_id == ahead.after_id == joins.after_id == 10


async def test_one_watcher_that_leaves_takes_nothing_from_the_others(sandbox, triggerer):
    stays, store = [], Store()
    triggerer.start(store, stays)
    leaves = triggerer.start(Store(), [], pattern="YES")
    await wait_until(lambda: store)
    leaves.cancel()
    await reply(sandbox, "YES")
    await triggerer.sync_until(lambda: store.after_id == 1)
    assert ids(stays) == [1]


async def test_an_outage_and_a_refused_token_do_not_end_the_watching(sandbox, triggerer):
    persisted = []
    sandbox.add_fault("status", call="list_inbound_sms", status=503, times=2)
    sandbox.add_fault("status", call="list_inbound_sms", status=401, times=1)
    triggerer.start(Store(), persisted)
    await reply(sandbox, "YES")
    await triggerer.sync_until(lambda: persisted)
    assert not triggerer.tasks[0].done()


async def test_a_backlog_comes_in_events_of_limited_size(sandbox, triggerer, monkeypatch):
    monkeypatch.setattr(_watcher, "MAX_ITEMS", 4)
    persisted, store = [], Store()
    await reply(sandbox, *["YES"] * 10)
    triggerer.start(store, persisted)
    await wait_until(lambda: triggerer.fired)
    assert len(triggerer.fired[0][1].payload["messages"]) == 4
    await triggerer.sync_until(lambda: store.after_id == 10)
    assert ids(persisted) == list(range(1, 11))


def test_the_cursor_of_a_watcher_with_a_backlog_names_few_ids():
    """It is stored with each event. The event 502 is visible late, after those behind it were fired."""
    watcher = Watcher(EventCursor(DELIVERY_REPORT, since=NOW), what="reports")
    fired: list[int] = []
    for read, settled, known in ((range(1, 5001, 2), 500, 500), ([502], 5000, 1998)):
        result = PollResult((), max(read), None, event_ids=frozenset(read), stable_id=settled)
        watcher.add([{"id": event_id} for event_id in read], result)
        fired += ids(watcher.next_event(NOW).payload["reports"])
        assert watcher.cursor.after_id == known
        assert watcher.cursor.seen == {event_id for event_id in fired if event_id > known}
    while event := watcher.next_event(NOW):
        fired += ids(event.payload["reports"])
        assert watcher.cursor.seen == frozenset()
    assert sorted(fired) == sorted([*range(1, 5001, 2), 502])
    assert (watcher.cursor.after_id, watcher.cursor.seen) == (5000, frozenset())


class Clocked:
    """A watcher and the seconds at which it is asked what to fire."""

    def __init__(self):
        self.watcher = Watcher(Cursor(since=NOW))

    def fire(self, second, *messages):
        result = PollResult((), max(messages, default=None), None)
        self.watcher.add([{"id": number} for number in messages], result)
        event = self.watcher.next_event(NOW + timedelta(seconds=second))
        return event and ids(event.payload["messages"])


def test_empty_events_follow_a_burst_with_growing_pauses():
    """Airflow may give the first event a run of its own, and the second then waits for a third."""
    clocked = Clocked()
    assert clocked.fire(0, 1) == [1]
    assert clocked.fire(20) is None  # alone: its run was made long ago
    assert clocked.fire(100, 2) == [2]
    assert clocked.fire(101, 3) == [3]
    assert clocked.fire(105) is None
    clocked.watcher = Watcher(Cursor()).restore(clocked.watcher.as_json())  # also after a kill
    flushes = [second for second in range(106, 10_000) if clocked.fire(second) == []]
    assert flushes == [111, 171, 531, 2691]


def test_a_message_after_a_flush_begins_the_pauses_anew():
    clocked = Clocked()
    for second in (0, 1):
        clocked.fire(second, second + 1)
    assert [second for second in range(2, 100) if clocked.fire(second) == []] == [11, 71]
    assert clocked.fire(200, 3) == [3]
    assert [second for second in range(201, 280) if clocked.fire(second) == []] == [210, 270]


async def test_a_task_that_uses_it_by_mistake_fails_with_what_to_use(sandbox):
    trigger = PindoInboundSmsEventTrigger()
    with pytest.raises(PindoConfigurationError, match="AssetWatcher"):
        await anext(trigger.filter_shared_stream(None))


def test_a_pattern_that_re2_does_not_take_is_an_error_at_parse():
    with pytest.raises(PindoConfigurationError, match="RE2"):
        PindoInboundSmsEventTrigger(pattern="(?=YES)")


async def test_a_complete_tick_completes_those_before_it_for_every_watcher_that_is_left():
    from airflow_provider_pindo.triggers._shared_stream import (
        CheckpointStore,
        StreamProducer,
        register_checkpoints,
    )

    stores = Store(), Store()
    one, other = (
        CheckpointStore(SimpleNamespace(_by_name={}, _by_uri={"x": store}), "key", if_task="")
        for store in stores
    )
    producer = StreamProducer("stream", "conn", Cursor(), 60)
    async with register_checkpoints("stream", one):
        async with register_checkpoints("stream", other):
            for tick in (1, 2, 3):
                one.stage(tick, Watcher(Cursor(after_id=tick)))
        await producer.advance([(2, SimpleNamespace(failed=0)), (1, SimpleNamespace(failed=0))])
    assert [store.get("key", {}).get("after_id") for store in stores] == [2, None]


@pytest.mark.parametrize(
    "stored",
    ["here", {"after_id": 2**63, "since": None, "seen": []}, {"after_id": -1, "since": None, "seen": []}],
)
def test_a_cursor_that_is_not_one_is_refused_with_what_to_do(stored):
    with pytest.raises(PindoConfigurationError, match=re.escape(f"is {stored!r}: delete it")):
        Watcher(EventCursor(DELIVERY_REPORT)).restore(stored)


async def test_without_a_shared_stream_it_starts_at_its_since(sandbox, polls, until):
    """Airflow 3.0 to 3.2 call ``run``."""
    await reply(sandbox, "YES", "NO")
    events = PindoInboundSmsEventTrigger(since=LONG_AGO, poll_interval=0.1, pattern="YES").run()
    assert ids((await anext(events)).payload["messages"]) == [1]
    following = asyncio.create_task(anext(events))
    looked = polls()
    await until(lambda: polls() >= looked + 2)  # nothing new: no event
    await reply(sandbox, "YES")
    assert ids((await following).payload["messages"]) == [3]
    await events.aclose()


def test_a_trigger_that_is_not_valid_any_more_does_not_end_the_triggerer():
    """Airflow 3.3.2 goes on after a TypeError of a trigger's constructor, and after nothing else."""
    for wrong in ({"pattern": "(?=YES)"}, {"since": "yesterday"}):
        with pytest.raises(TypeError) as raised:
            PindoInboundSmsEventTrigger(**wrong)
        assert isinstance(raised.value, PindoConfigurationError)


async def test_neither_it_nor_its_event_shows_a_text_or_a_number(sandbox):
    assert "1113333" not in repr(PindoInboundSmsEventTrigger(inbound_number="+250781113333"))
    await reply(sandbox, "secret of +250781234567")
    events = PindoInboundSmsEventTrigger(since=LONG_AGO, poll_interval=0.1).run()
    event = await anext(events)
    await events.aclose()
    assert repr(event) == str(event) == "Arrival<messages 1>"
