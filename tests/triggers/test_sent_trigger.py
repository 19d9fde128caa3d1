"""The trigger that waits for the `sent` events of messages whose ids nobody knows."""

from __future__ import annotations

import asyncio
import sys
import time

import pytest
from airflow.exceptions import AirflowNotFoundException
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_1_PLUS

if not AIRFLOW_V_3_1_PLUS:
    pytest.skip("webhooks need Airflow 3.1", allow_module_level=True)

from airflow_provider_pindo._ledger.evidence import message_fingerprint
from airflow_provider_pindo.api.webhooks import message_digest
from airflow_provider_pindo.hooks.pindo import PindoAsyncHook
from airflow_provider_pindo.plugins import _event_table
from airflow_provider_pindo.triggers._sent import SentTrigger
from tests.operators.bulk import post_sent
from tests.plugin_server import SECRET

ONE, TWO = ({"to": f"+25078000000{number}", "text": "Muraho"} for number in (1, 2))
MATCHED = {"status": "matched"}


@pytest.fixture(autouse=True)
def quick(webhooks, monkeypatch):
    """An event is settled soon."""
    monkeypatch.setattr(_event_table, "OVERLAP", 0.2)
    monkeypatch.setattr("airflow_provider_pindo.triggers._sent.MIN_WAIT", 0.0)


def waiting_for(*messages, **arguments):
    digests = [
        message_digest(SECRET, "pindo_default", message_fingerprint(each["to"], each["text"]))
        for each in messages
    ]
    arguments = {"after": 0, "poke_interval": 0.1, "max_consecutive_failures": 3, **arguments}
    return SentTrigger(
        messages=digests,
        since="2020-01-01T00:00:00+00:00",
        pindo_conn_id="pindo_default",
        **arguments,
    )


async def fire(trigger):
    async for event in trigger.run():
        return event.payload


async def test_it_fires_when_each_message_has_an_event(webhooks):
    await asyncio.to_thread(post_sent, webhooks, ONE)
    waiting = asyncio.create_task(fire(waiting_for(ONE, TWO)))
    await asyncio.to_thread(post_sent, webhooks, {**TWO, "text": "Murabeho"})
    await asyncio.sleep(0.7)
    assert not waiting.done()
    await asyncio.to_thread(post_sent, webhooks, TWO)
    assert await waiting == MATCHED


async def test_it_fires_when_the_events_are_settled(webhooks, monkeypatch):
    monkeypatch.setattr(_event_table, "OVERLAP", 1.5)
    await asyncio.to_thread(post_sent, webhooks, ONE)
    waiting = asyncio.create_task(fire(waiting_for(ONE)))
    await asyncio.sleep(0.8)
    assert not waiting.done()
    assert await waiting == MATCHED


@pytest.mark.parametrize(("poke_interval", "least"), [(1.5, 0.0), (0.1, 1.5)])
async def test_it_does_not_fire_right_after_the_task_was_deferred(
    webhooks, monkeypatch, poke_interval, least
):
    monkeypatch.setattr("airflow_provider_pindo.triggers._sent.MIN_WAIT", least)
    await asyncio.to_thread(post_sent, webhooks, ONE)
    await asyncio.sleep(_event_table.OVERLAP)
    started = time.monotonic()
    assert await fire(waiting_for(ONE, poke_interval=poke_interval)) == MATCHED
    assert time.monotonic() - started >= 1.4


async def test_it_does_not_fire_for_events_that_the_task_knows(webhooks):
    await asyncio.to_thread(post_sent, webhooks, ONE)
    last_id = _event_table.read("pindo_default", _event_table.Query()).last_id
    waiting = asyncio.create_task(fire(waiting_for(ONE, after=last_id)))
    await asyncio.sleep(0.7)
    assert not waiting.done()
    await asyncio.to_thread(post_sent, webhooks, ONE, sms_id="another")
    assert await waiting == MATCHED


@pytest.mark.parametrize("reader", ["_read_secret", "any"])
async def test_a_connection_that_cannot_be_read_for_a_moment_ends_no_wait(webhooks, monkeypatch, reader):
    read, failures = PindoAsyncHook.get_settings, [AirflowNotFoundException("no connection")] * 2

    async def get_settings(hook):
        if failures and reader in ("any", sys._getframe(1).f_code.co_name):
            raise failures.pop()
        return await read(hook)

    monkeypatch.setattr(PindoAsyncHook, "get_settings", get_settings)
    await asyncio.to_thread(post_sent, webhooks, ONE)
    assert await fire(waiting_for(ONE, max_consecutive_failures=4)) == MATCHED
    assert failures == []


async def test_a_wait_in_vain_ends_with_the_reason(webhooks):
    webhooks.faults = [503] * 3
    failed = await fire(waiting_for(ONE, max_consecutive_failures=2))
    assert (failed["status"], failed["retry_helps"], "503" in failed["reason"]) == ("failed", True, True)


def test_it_is_stored_and_read_again():
    path, arguments = waiting_for(ONE, TWO).serialize()
    assert path == "airflow_provider_pindo.triggers._sent.SentTrigger"
    assert SentTrigger(**arguments).serialize()[1] == arguments
