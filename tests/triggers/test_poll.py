"""One poll for all subscribers of a connection: nothing lost, and one pass per interval."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_pindo._inbox.filter import InboundFilter
from airflow_provider_pindo._inbox.scan import Cursor
from airflow_provider_pindo.api.errors import PindoAuthError, PindoConnectionError, PindoServerError
from airflow_provider_pindo.api.values import InboundSms
from airflow_provider_pindo.hooks._transport.retry import MAX_ATTEMPTS
from airflow_provider_pindo.triggers._poll import subscribe

CONN = "pindo_default"
PHONE = "+250781234567"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


async def texts(subscription, count):
    """Take results until ``count`` messages have arrived."""
    messages = []
    while len(messages) < count:
        messages += [message.text for message in (await subscription.next_result()).messages]
    return messages


@pytest.mark.parametrize("order", ["newest_first", "oldest_first"])
async def test_a_hundred_subscribers_cost_one_pass(sandbox, polls, order):
    sandbox.settings(inbound_order=order)
    sandbox.reply(PHONE, "one")

    async def join():
        async with subscribe(CONN, cursor=Cursor(since=LONG_AGO), interval=60) as subscription:
            return await texts(subscription, 1)

    assert await asyncio.gather(*[join() for _ in range(100)]) == [["one"]] * 100
    assert polls() == 1


async def test_a_late_joiner_gets_what_came_since_its_cursor_and_the_others_nothing_twice(sandbox, until):
    sandbox.reply(PHONE, "before", created_at="2026-01-01T00:00:00")
    sandbox.reply(PHONE, "one", created_at="2026-01-02T00:00:00")
    cursor = Cursor(since=datetime(2026, 1, 2, tzinfo=UTC))
    async with subscribe(CONN, cursor=cursor, interval=0.1) as first:
        assert await texts(first, 1) == ["one"]
        async with subscribe(CONN, cursor=cursor, interval=0.1) as late:
            assert await texts(late, 1) == ["one"]
            await asyncio.to_thread(sandbox.reply, PHONE, "two")
            assert await texts(late, 1) == ["two"]
        assert await texts(first, 1) == ["two"]


async def test_one_that_is_cancelled_takes_nothing_from_the_others(sandbox):
    async with subscribe(CONN, cursor=Cursor(), interval=0.1) as stays:

        async def wait_for_ever():
            async with subscribe(CONN, cursor=Cursor(), interval=0.1) as subscription:
                await texts(subscription, 99)

        leaves = asyncio.create_task(wait_for_ever())
        await stays.next_result()
        leaves.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaves
        await asyncio.to_thread(sandbox.reply, PHONE, "one")
        assert await texts(stays, 1) == ["one"]


@pytest.mark.parametrize("order", ["newest_first", "oldest_first"])
async def test_messages_that_arrive_between_pages_come_once(sandbox, order):
    sandbox.settings(
        inbound_order=order,
        inject_between_pages=[
            {"from": PHONE, "text": f"late {n}", "after_page": 1 + n % 3} for n in range(30)
        ],
    )
    sandbox.reply_all([{"from": PHONE, "text": f"early {n}"} for n in range(70)])
    async with subscribe(CONN, cursor=Cursor(), interval=0.05) as subscription:
        messages = await texts(subscription, 100)
        await asyncio.to_thread(sandbox.reply, PHONE, "last")
        messages += await texts(subscription, 1)
    assert len(messages) == len(set(messages)) == 101
    assert messages[-1] == "last"


async def test_a_failed_pass_is_raised_to_all_and_the_next_one_loses_nothing(sandbox):
    sandbox.reply(PHONE, "one")
    sandbox.add_fault("status", call="list_inbound_sms", status=503)
    async with (
        subscribe(CONN, cursor=Cursor(), interval=0.1) as one,
        subscribe(CONN, cursor=Cursor(), interval=0.1) as other,
    ):
        for subscription in (one, other):
            with pytest.raises(PindoServerError):
                await subscription.next_result()
        assert [await texts(subscription, 1) for subscription in (one, other)] == [["one"], ["one"]]


async def test_a_failure_in_the_middle_of_the_pages_loses_nothing(sandbox):
    sandbox.reply_all([{"from": PHONE, "text": str(n)} for n in range(50)])
    sandbox.add_fault("status", call="list_inbound_sms", status=500, skip=1, times=MAX_ATTEMPTS)
    async with subscribe(CONN, cursor=Cursor(), interval=0.1) as subscription:
        with pytest.raises(PindoServerError):
            await subscription.next_result()
        assert await texts(subscription, 50) == [str(n) for n in range(50)]


async def test_a_token_that_was_replaced_is_read_again(sandbox, monkeypatch):
    sandbox.reply(PHONE, "one")
    right = sandbox.connection_json()
    monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", right.replace(sandbox.token, "revoked"))
    async with subscribe(CONN, cursor=Cursor(), interval=1) as subscription:
        with pytest.raises(PindoAuthError):
            await subscription.next_result()
        monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", right)
        while True:
            with suppress(PindoAuthError):  # a pass may have started before
                assert await texts(subscription, 1) == ["one"]
                break


async def test_a_rate_limit_between_pages_delays_a_pass_and_does_not_discard_it(sandbox, polls):
    sandbox.reply_all([{"from": PHONE, "text": str(n)} for n in range(90)])
    sandbox.settings(requests_per_second=2)
    async with subscribe(CONN, cursor=Cursor(), interval=0.1) as subscription:
        first = await subscription.next_result()
    assert [message.text for message in first.messages] == [str(n) for n in range(90)]
    assert polls() < 20


async def test_a_connection_that_was_fixed_is_read_again(sandbox, monkeypatch):
    sandbox.reply(PHONE, "one")
    right = sandbox.connection_json()
    monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", right.replace(sandbox.url, "http://127.0.0.1:1"))
    async with subscribe(CONN, cursor=Cursor(), interval=0.5) as subscription:
        with pytest.raises(PindoConnectionError):
            await subscription.next_result()
        monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", right)
        while True:
            with suppress(PindoConnectionError):  # a pass may have started before
                assert await texts(subscription, 1) == ["one"]
                break


async def test_the_poll_survives_an_airflow_that_cannot_give_the_connection(sandbox, monkeypatch):
    sandbox.reply(PHONE, "one")
    right = sandbox.connection_json()
    monkeypatch.delenv("AIRFLOW_CONN_PINDO_DEFAULT")
    async with subscribe(CONN, cursor=Cursor(), interval=0.5) as subscription:
        with pytest.raises(PindoServerError, match="the inbound list cannot be read"):
            await subscription.next_result()
        monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", right)
        while True:
            with suppress(PindoServerError):  # a pass may have started before
                assert await texts(subscription, 1) == ["one"]
                break


async def test_an_interval_of_0_does_not_flood_pindo_with_requests(sandbox, polls):
    async with subscribe(CONN, cursor=Cursor(), interval=0.0) as subscription:
        for _ in range(3):
            await subscription.next_result()
        started = asyncio.get_running_loop().time()
        before = polls()
        while asyncio.get_running_loop().time() < started + 0.5:
            await subscription.next_result()
        assert polls() - before < 10


async def test_a_subscriber_with_a_shorter_interval_brings_the_next_pass_forward(sandbox):
    async with subscribe(CONN, cursor=Cursor(), interval=3600) as patient:
        await patient.next_result()
        async with subscribe(CONN, cursor=Cursor(), interval=0.1) as hasty:
            await asyncio.wait_for(hasty.next_result(), 30)
            await asyncio.wait_for(patient.next_result(), 30)


async def test_a_subscriber_that_joins_while_the_last_one_leaves_gets_a_new_poll(sandbox):
    async def once():
        async with subscribe(CONN, cursor=Cursor(), interval=0.1) as subscription:
            await subscription.next_result()

    first = asyncio.create_task(once())
    while not first.done():
        await asyncio.gather(once(), return_exceptions=False)
    await first


async def test_a_burst_of_long_texts_lets_the_other_triggers_go_on():
    """Half a second of matching, in which a triggerer must not stand still."""
    message = InboundSms(id=1, text="x" * 10_000, created_at=LONG_AGO)
    matching = asyncio.create_task(InboundFilter("x{1,9}y").async_matches([message] * 5_000))
    turns = 0
    while not matching.done():
        await asyncio.sleep(0)
        turns += 1
    assert matching.result() == []
    assert turns > 10


async def test_a_since_in_the_future_holds_after_the_first_pass(sandbox):
    cursor = Cursor(since=datetime.now(UTC) + timedelta(hours=1))
    async with subscribe(CONN, cursor=cursor, interval=0.1) as subscription:
        await subscription.next_result()
        await asyncio.to_thread(sandbox.reply, PHONE, "too early")
        later = (datetime.now(UTC) + timedelta(hours=2)).isoformat()
        await asyncio.to_thread(sandbox.reply, PHONE, "in time", created_at=later)
        assert await texts(subscription, 1) == ["in time"]


async def test_every_result_says_whether_messages_name_their_sender(sandbox):
    async with subscribe(CONN, cursor=Cursor(), interval=0.1) as subscription:
        assert (await subscription.next_result()).names_senders is None
        await asyncio.to_thread(sandbox.reply, PHONE, "one")
        await texts(subscription, 1)
        assert (await subscription.next_result()).names_senders is False
        await asyncio.to_thread(sandbox.settings, inbound_sender=True)
        await asyncio.to_thread(sandbox.reply, PHONE, "two")
        await texts(subscription, 1)
        assert (await subscription.next_result()).names_senders is True


async def test_a_result_is_with_every_subscriber_before_one_wakes(sandbox):
    """A subscriber may wake another, as a shared stream's producer does. That one must find its messages."""
    sandbox.reply(PHONE, "one")
    others_texts = []

    async def look_at_the_others(subscription, others):
        await subscription.next_result()
        others_texts.append([[message.text for message in other.drain()[0].messages] for other in others])

    async with AsyncExitStack() as stack:
        subscriptions = [
            await stack.enter_async_context(subscribe(CONN, cursor=Cursor(), interval=60)) for _ in range(3)
        ]
        waiting = [
            asyncio.create_task(
                look_at_the_others(one, [other for other in subscriptions if other is not one])
            )
            for one in subscriptions
        ]
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        for task in done:
            task.result()
    assert others_texts == [[["one"], ["one"]]]


async def test_many_that_take_a_pass_let_others_run_in_between(sandbox):
    sandbox.reply(PHONE, "one")
    turns, taken = 0, []

    async def count_turns():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def take():
        async with subscribe(CONN, cursor=Cursor(since=LONG_AGO), interval=60) as subscription:
            await texts(subscription, 1)
            taken.append(turns)
            while len(taken) < 50:  # noqa: ASYNC110 - the last one to leave ends the poll
                await asyncio.sleep(0.01)

    turner = asyncio.create_task(count_turns())
    await asyncio.gather(*[take() for _ in range(50)])
    turner.cancel()
    assert taken[-1] - taken[0] >= 49
