"""The triggers that wait for delivery: one poll for all, every report to the asset, and no number in a log."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_1_PLUS, AIRFLOW_V_3_3_PLUS

if not AIRFLOW_V_3_1_PLUS:
    pytest.skip("webhooks need Airflow 3.1", allow_module_level=True)

from airflow_provider_pindo._inbox.event_scan import EventCursor, ReportCursor
from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.webhooks import DELIVERY_REPORT, INBOUND
from airflow_provider_pindo.hooks import _webhook_config
from airflow_provider_pindo.plugins import _auth
from airflow_provider_pindo.triggers import delivery
from airflow_provider_pindo.triggers._poll import subscribe
from airflow_provider_pindo.triggers.delivery import PindoDeliveryEventTrigger, PindoDeliveryTrigger
from airflow_provider_pindo.triggers.sms import PindoInboundSmsEventTrigger, PindoInboundSmsTrigger

LONG_AGO = "2020-01-01T00:00:00+00:00"
MATCHED = {"status": "matched"}

needs_streams = pytest.mark.skipif(not AIRFLOW_V_3_3_PLUS, reason="Airflow 3.3 has shared streams")


def waiting_for(*sms_ids, **arguments):
    arguments = {"poke_interval": 0.1, "retry_window": 0, **arguments}
    return PindoDeliveryTrigger(sms_ids=sms_ids, **arguments)


async def fire(trigger):
    async for event in trigger.run():
        return event.payload


async def in_thread(function, *args, **kwargs):
    return await asyncio.to_thread(function, *args, **kwargs)


async def test_it_fires_when_every_message_has_its_final_report(webhooks):
    waiting = asyncio.create_task(fire(waiting_for("a", "b")))
    await in_thread(webhooks.report, "a")
    await in_thread(webhooks.report, "b", "ACCEPTED")
    await asyncio.sleep(0.5)
    assert not waiting.done()
    await in_thread(webhooks.report, "b")
    assert await waiting == MATCHED


async def test_a_hundred_that_wait_share_one_request(webhooks):
    names = [f"out_sms_{number}" for number in range(100)]
    await in_thread(webhooks.reports, *names)
    assert (
        await asyncio.gather(*[fire(waiting_for(name, poke_interval=60)) for name in names])
        == [MATCHED] * 100
    )
    assert len(webhooks.requests) == 1


UNUSABLE_IDS = ["out\u00a01", "out_1\nout_2", "x" * 121, "", None, True]


@pytest.mark.parametrize("sms_id", UNUSABLE_IDS)
def test_an_id_that_no_message_has_is_refused_at_once(sms_id):
    with pytest.raises(PindoConfigurationError, match="is no id of a message") as refused:
        waiting_for("a", sms_id)
    assert isinstance(refused.value, TypeError)  # which a triggerer survives


async def test_an_id_may_be_a_number(webhooks):
    await in_thread(webhooks.report, 1058918)
    assert await fire(waiting_for(1058918)) == MATCHED


@pytest.mark.parametrize(
    "bad",
    [
        *(lambda sms_id=sms_id: ReportCursor(frozenset({sms_id})) for sms_id in UNUSABLE_IDS),
        lambda: EventCursor(INBOUND, since=datetime.fromisoformat("9999-12-31T23:59:59-12:00")),
        lambda: EventCursor(INBOUND, since=datetime.fromisoformat("0001-01-01T00:00:00+00:00")),
        lambda: EventCursor(INBOUND, since=datetime.fromisoformat("9999-12-31T23:59:59+00:00")),
        lambda: EventCursor(INBOUND, after_id=2**63),
        lambda: EventCursor(INBOUND, after_id=-1),
    ],
)
async def test_one_that_waits_in_vain_ends_no_other_wait(webhooks, bad, until):
    """All that wait on a connection share a request, and one unusable argument would spoil it for all."""
    waiting = asyncio.create_task(fire(waiting_for("a", max_consecutive_failures=1)))
    await until(lambda: webhooks.requests)
    with suppress(PindoConfigurationError):
        async with subscribe("pindo_default", cursor=bad(), interval=0.1):
            seen = len(webhooks.requests)
            await until(lambda: len(webhooks.requests) > seen + 3)
    await in_thread(webhooks.report, "a")
    assert await waiting == MATCHED


async def test_a_wait_in_vain_ends_with_the_reason(webhooks):
    webhooks.faults = [503] * 3
    failed = await fire(waiting_for("a", max_consecutive_failures=2))
    assert failed["status"] == "failed"
    assert failed["retry_helps"]
    assert "503" in failed["reason"]


async def test_the_poll_survives_an_api_server_that_restarts(webhooks):
    webhooks.faults = [500, 503]
    await in_thread(webhooks.report, "a")
    assert await fire(waiting_for("a")) == MATCHED


async def test_a_secret_that_is_replaced_ends_no_wait(webhooks, monkeypatch, until):
    value = json.loads(os.environ["AIRFLOW_CONN_PINDO_DEFAULT"])
    waiting = asyncio.create_task(fire(waiting_for("a")))
    await until(lambda: webhooks.requests)
    value["extra"]["webhook_secret"] = "the new one"
    monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", json.dumps(value))
    monkeypatch.setattr(_auth, "_MAX_AGE", 0.0)
    monkeypatch.setattr(_auth, "_MAX_AGE_AFTER_MISMATCH", 0.0)
    seen = len(webhooks.requests)
    await until(lambda: len(webhooks.requests) > seen + 3)
    assert not waiting.done()
    await in_thread(webhooks.reports, "a")
    assert await waiting == MATCHED


@pytest.mark.parametrize(("refusals", "status"), [(1, "matched"), (2, "failed")])
async def test_a_refused_token_ends_the_wait_only_when_it_is_refused_again(webhooks, refusals, status):
    webhooks.faults = [401] * refusals
    await in_thread(webhooks.report, "a")
    fired = await fire(waiting_for("a"))
    assert fired["status"] == status
    if status == "failed":
        assert (fired["retry_helps"], "webhook_secret must be the same" in fired["reason"]) == (False, True)


async def test_a_connection_that_is_not_found_for_a_while_ends_no_wait(webhooks):
    webhooks.faults = [404, 404]
    await in_thread(webhooks.report, "a")
    assert await fire(waiting_for("a")) == MATCHED


def test_it_is_stored_and_read_again(webhooks):
    path, arguments = waiting_for("a", "b").serialize()
    assert path == "airflow_provider_pindo.triggers.delivery.PindoDeliveryTrigger"
    assert PindoDeliveryTrigger(**arguments).serialize()[1] == arguments
    assert repr(waiting_for("a", "b")) == "<PindoDeliveryTrigger pindo_conn_id=pindo_default, 2 messages>"


def test_the_module_has_no_other_name():
    with pytest.raises(AttributeError, match="no attribute 'PindoTrigger'"):
        delivery.PindoTrigger  # noqa: B018


def test_an_older_airflow_is_one_clear_error(monkeypatch):
    monkeypatch.setattr(_webhook_config, "AIRFLOW_V_3_1_PLUS", False)
    for make in (
        lambda: waiting_for("a"),
        PindoDeliveryEventTrigger,
        lambda: PindoInboundSmsEventTrigger(source="webhook"),
        lambda: PindoInboundSmsTrigger(pattern="YES", since=LONG_AGO, source="webhook"),
    ):
        with pytest.raises(TypeError, match=r"needs Airflow 3\.1 or later"):
            make()


async def test_messages_from_the_webhook_know_their_sender(webhooks):
    body = {"to": "7878", "created_at": "24-07-2020, 23:35:32", "sms_id": 1058918, "telco": "MTN"}
    trigger = PindoInboundSmsTrigger(
        pattern="YES", since=LONG_AGO, from_number="+250781234567", poke_interval=0.1, source="webhook"
    )
    waiting = asyncio.create_task(fire(trigger))
    await in_thread(webhooks.webhook, {**body, "from": "+250781234568", "text": "YES"})
    await in_thread(webhooks.webhook, {**body, "from": "+250781234567", "text": "NO"})
    await in_thread(webhooks.webhook, {**body, "from": "+250781234567", "text": "YES"})
    event = await waiting
    assert event["status"] == "matched"
    assert len(event["ids"]) == 1


async def test_without_a_shared_stream_reports_are_fired_from_since_on(webhooks):
    await in_thread(webhooks.report, "a")
    events = PindoDeliveryEventTrigger(since=LONG_AGO, poll_interval=0.1).run()
    event = await anext(events)
    await events.aclose()
    assert repr(event).startswith("Arrival<reports ")
    assert "DELIVRD" not in repr(event)
    [report] = event.payload["reports"]
    assert isinstance(report.pop("id"), int)
    assert report == {"sms_id": "a", "status": "DELIVRD", "modified_at": "2026-06-10T09:04:31+00:00"}


async def test_without_an_argument_it_fires_what_comes_after_its_start(webhooks):
    await in_thread(webhooks.reports, "before", received_at=datetime(2026, 1, 1, tzinfo=UTC))
    events = PindoDeliveryEventTrigger().run()
    event = asyncio.create_task(anext(events))
    await asyncio.sleep(0.3)
    await in_thread(webhooks.report, "after")
    async with subscribe(
        "pindo_default", cursor=EventCursor(DELIVERY_REPORT), interval=0.1
    ):  # brings the next poll forward
        assert [each["sms_id"] for each in (await event).payload["reports"]] == ["after"]
    await events.aclose()


@needs_streams
async def test_a_burst_reaches_the_asset_once_through_kills_of_the_triggerer(webhooks):
    from tests.triggers.watching import Store, Triggerer, wait_until

    store, persisted = Store(), []
    names = [f"out_sms_{number}" for number in range(1000)]
    await in_thread(webhooks.reports, *names)
    killed = Triggerer(PindoDeliveryEventTrigger)
    killed.start(store, persisted)
    await wait_until(lambda: killed.fired)
    await killed.kill()  # before Airflow has stored anything
    killed = Triggerer(PindoDeliveryEventTrigger)
    killed.start(store, persisted)
    await killed.sync_until(lambda: persisted)
    await killed.kill()  # between two events of the burst
    last = Triggerer(PindoDeliveryEventTrigger)
    last.start(store, persisted)
    await last.sync_until(lambda: len({each["sms_id"] for each in persisted}) == 1000)
    await last.kill()
    # What was stored and not yet confirmed comes again, with the same ids.
    assert {each["sms_id"] for each in persisted} == set(names)
    assert len({each["id"] for each in persisted}) == 1000
    assert len(persisted) <= 1500


@needs_streams
async def test_a_poll_makes_one_event_however_much_it_reads(webhooks):
    from tests.triggers.watching import Store, Triggerer, wait_until

    await in_thread(webhooks.reports, *[f"out_sms_{number}" for number in range(1200)])
    running = Triggerer(PindoDeliveryEventTrigger)
    running.start(Store(), [], poll_interval=3600)
    await wait_until(lambda: running.fired)
    await asyncio.sleep(0.5)
    sizes = [len(event.payload["reports"]) for _, event, _ in running.fired]
    await running.kill()
    assert sizes == [500]


@needs_streams
async def test_messages_of_the_webhook_reach_the_asset_once(webhooks):
    from tests.triggers.watching import Store, Triggerer

    store, persisted = Store(), []
    for number in range(1, 4):
        running = Triggerer(PindoInboundSmsEventTrigger)
        running.start(store, persisted, source="webhook", pattern="YES")
        await in_thread(webhooks.webhook, {"from": "+250781234567", "to": "7878", "text": "YES"})
        await running.sync_until(lambda number=number: len(persisted) >= number and len(store) == 1)
        await running.sync_until(
            lambda: next(iter(store.values()))["seen"] == [each["id"] for each in persisted]
        )
        await running.kill()
    assert [each["raw"]["from"] for each in persisted] == ["+250781234567"] * 3


@needs_streams
async def test_a_task_that_uses_it_by_mistake_fails_with_what_to_use(webhooks):
    with pytest.raises(PindoConfigurationError, match="a task waits with PindoDeliverySensor"):
        await anext(PindoDeliveryEventTrigger().filter_shared_stream(None))


def test_the_watchers_of_each_kind_and_connection_share_a_stream():
    one, other = PindoDeliveryEventTrigger(since=LONG_AGO), PindoDeliveryEventTrigger(poll_interval=60)
    assert one.shared_stream_key() == other.shared_stream_key()
    kinds = {
        one.shared_stream_key(),
        PindoDeliveryEventTrigger(pindo_conn_id="other").shared_stream_key(),
        PindoInboundSmsEventTrigger().shared_stream_key(),
        PindoInboundSmsEventTrigger(source="webhook").shared_stream_key(),
    }
    assert len(kinds) == 4
