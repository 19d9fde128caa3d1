"""One suite for both hooks: ``pindo`` is the sync or the async one, and is used the same way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_provider_pindo.hooks.pindo import PindoAsyncHook, PindoHook


class Sync:
    """PindoHook as it is."""

    def __init__(self, **kwargs: Any) -> None:
        self.hook = PindoHook(**kwargs)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return getattr(self.hook, name)

    def read_inbound(self, *args: Any, **kwargs: Any) -> list[Any]:
        return list(self.hook.iter_inbound_sms(*args, **kwargs))

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    def send_all(self, numbers: list[str]) -> None:
        for number in numbers:
            self.hook.send_sms(number, "Muraho")


class Async:
    """PindoAsyncHook, each call run to its end in one event loop."""

    def __init__(self, **kwargs: Any) -> None:
        self.runner = asyncio.Runner()
        self.hook = PindoAsyncHook(**kwargs)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.hook, name)
        return lambda *args, **kwargs: self.runner.run(method(*args, **kwargs))

    def read_inbound(self, *args: Any, **kwargs: Any) -> list[Any]:
        async def read() -> list[Any]:
            return [message async for message in self.hook.iter_inbound_sms(*args, **kwargs)]

        return self.runner.run(read())

    def pause(self, seconds: float) -> None:
        self.runner.run(asyncio.sleep(seconds))

    def send_all(self, numbers: list[str]) -> None:
        async def send() -> None:
            await asyncio.gather(*(self.hook.send_sms(number, "Muraho") for number in numbers))

        self.runner.run(send())


@pytest.fixture(params=[Sync, Async], ids=["sync", "async"])
def make_pindo(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Make hooks of one kind; they are closed when the test ends."""
    made: list[Any] = []

    def make(**kwargs: Any) -> Any:
        made.append(request.param(**kwargs))
        return made[-1]

    yield make
    for each in made:
        each.close()
        if isinstance(each, Async):
            each.runner.close()


@pytest.fixture
def pindo(make_pindo: Callable[..., Any], sandbox: Any) -> Any:
    """A hook whose connection points to the test's sandbox."""
    return make_pindo()
