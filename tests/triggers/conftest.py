"""What the tests of waiting share; the sandbox runs in a thread, and is asked from one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_pindo.sandbox import Sandbox
from airflow_provider_pindo.triggers import _poll


@pytest.fixture(autouse=True)
def nothing_is_left():
    """Every poll ends with its last subscriber."""
    yield
    assert _poll._polls == {}


@pytest.fixture
def polls(sandbox: Sandbox) -> Callable[[], int]:
    """Return how many requests for the inbound list reached the sandbox."""
    return lambda: len(sandbox.requests(call="list_inbound_sms"))


@pytest.fixture
def until() -> Callable[..., Any]:
    """Wait, without blocking the loop, until something holds."""

    async def wait(ready: Callable[[], Any]) -> None:
        async with asyncio.timeout(30):
            while not await asyncio.to_thread(ready):  # noqa: ASYNC110 - it asks another process
                await asyncio.sleep(0.02)

    return wait
