"""Campaigns over several workers, whose machines are killed."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.e2e.cluster.campaign import UNKNOWN_AFTER_A_KILL


def test_a_campaign_spreads_over_all_workers_and_reaches_everyone_once(start_campaign, cluster, sandbox):
    campaign = start_campaign(recipients=20_000, partitions=12, latency=0, balance=1000)
    assert campaign.wait() == "success"
    received = Counter(message["to"] for message in sandbox.messages())
    assert sorted(received) == campaign.phones
    assert set(received.values()) == {1}
    assert campaign.total() == {"accepted": 20_000}
    assert {task["hostname"] for task in campaign.partitions} == set(cluster.workers)


def test_the_pool_bounds_the_requests_in_flight_and_too_many_of_them_lose_nothing(
    start_campaign, sandbox, pool
):
    pool(20)
    campaign = start_campaign(recipients=800, partitions=4, latency=0.3, requests_per_second=40)
    assert campaign.wait() == "success"
    assert 10 < sandbox.state()["most_in_flight"] <= 20
    statuses = Counter(request["status"] for request in sandbox.requests(call="send_sms"))
    assert statuses[429] > 0
    assert statuses[201] == 800
    assert sorted(message["to"] for message in sandbox.messages()) == campaign.phones
    assert campaign.total() == {"accepted": 800}


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
def test_workers_killed_at_random_text_nobody_twice(start_campaign, cluster, seed):
    chance = random.Random(seed)
    # Slow enough that every kill comes in time.
    campaign = start_campaign(recipients=2000, partitions=6, latency=0.2)
    killed = []
    for moment in sorted(chance.sample(range(100, 1400), 2)):
        order = chance.sample(cluster.workers, 3)
        if campaign.wait_for_messages(moment) and (busy := campaign.machines):
            killed.append(min(busy, key=order.index))
            cluster.restart(killed[-1])
    ended = campaign.wait()
    tries = [task["try_number"] for task in campaign.partitions]
    print(
        f"seed {seed}: killed {' and '.join(killed)}; the run: {ended}; tries: {tries}; {campaign.summary()}"
    )
    assert killed
    assert max(tries) > 1
    unknown = Counter(campaign.outcomes().values())["unknown"]
    assert unknown <= UNKNOWN_AFTER_A_KILL * sum(number - 1 for number in tries)
    campaign.assert_nobody_twice_and_who_is_missing_is_unknown()


def test_scheduler_api_server_and_redis_killed_text_nobody_twice(start_campaign, cluster, own_redis):
    campaign = start_campaign(recipients=4000, partitions=8)
    for count, name in enumerate((own_redis, "scheduler", "api-server")):
        campaign.wait_for_messages(200 + 800 * count)
        cluster.restart(name)
        cluster.wait_until_healthy()
    ended = campaign.wait()
    print(f"killed redis, scheduler and api-server; the run: {ended}; {campaign.summary()}")
    campaign.assert_nobody_twice_and_who_is_missing_is_unknown()
