"""``requests_per_second`` of the connection, over a real socket."""

from __future__ import annotations

import asyncio
import os
import time

from airflow_provider_pindo.hooks.pindo import PindoAsyncHook
from tests.hooks.test_hooks import PHONE, connect


def test_no_more_requests_a_second_than_the_connection_allows(make_pindo, sandbox, monkeypatch):
    connect(monkeypatch, sandbox, extra={"requests_per_second": 20})
    pindo = make_pindo()
    started = time.monotonic()
    pindo.send_all([f"+25078123450{each}" for each in range(10)])
    assert time.monotonic() - started >= 9 / 20
    assert len(sandbox.messages()) == 10


def test_all_hooks_of_a_connection_share_its_requests_per_second(make_pindo, sandbox, monkeypatch):
    connect(monkeypatch, sandbox, extra={"requests_per_second": 20})
    monkeypatch.setenv("AIRFLOW_CONN_PINDO_SHARED", os.environ["AIRFLOW_CONN_PINDO_DEFAULT"])
    started = time.monotonic()
    for _ in range(6):
        make_pindo(pindo_conn_id="pindo_shared").send_sms(PHONE, "Muraho")
    assert time.monotonic() - started >= 5 / 20


async def test_requests_that_waited_for_a_slot_do_not_leave_all_at_once(sandbox, monkeypatch):
    connect(monkeypatch, sandbox, extra={"requests_per_second": 20})
    sandbox.add_fault(call="get_balance", action="slow_answer", seconds=0.5)
    async with PindoAsyncHook(concurrency=1) as hook:
        first = asyncio.create_task(hook.get_balance())
        others = [asyncio.create_task(hook.get_balance()) for _ in range(6)]
        await first
        started = time.monotonic()
        await asyncio.gather(*others)
    assert time.monotonic() - started >= 4 / 20
