"""The parts of one sandbox: the account, its clock, faults and logs. They are built and reset together."""

from __future__ import annotations

import asyncio
from pathlib import Path

from airflow_provider_pindo.sandbox.clock import Clock, iso
from airflow_provider_pindo.sandbox.faults import FaultBook
from airflow_provider_pindo.sandbox.life import Lives
from airflow_provider_pindo.sandbox.limiter import Limiter
from airflow_provider_pindo.sandbox.outcomes import RuleBook
from airflow_provider_pindo.sandbox.pindo import Pindo
from airflow_provider_pindo.sandbox.request_log import RequestLog
from airflow_provider_pindo.sandbox.settings import InboundSms, Settings
from airflow_provider_pindo.sandbox.store import Store
from airflow_provider_pindo.sandbox.webhooks import Webhooks


class World:
    """One sandbox without HTTP. Create it inside the event loop that runs it.

    :param state: file that keeps messages, wallet and verifications; None for memory.
    :param settings: the settings at the start and after a reset.
    """

    def __init__(self, state: str | Path | None, settings: Settings) -> None:
        self._first_settings = settings
        self.changes = self.resets = 0
        self.changed = asyncio.Event()
        self.store = Store(state, settings.balance)
        self.faults = FaultBook()
        self.webhooks = Webhooks(lambda: self.pindo.settings, self.faults, self.touch)
        self.clock = Clock()
        self.rules = RuleBook()
        self.lives = Lives(
            self.store,
            self.clock,
            self.rules,
            lambda: self.pindo.settings,
            self.webhooks.announce,
            self._auto_reply,
            self.touch,
        )
        self.pindo = Pindo(self.store, settings, self.clock, self.lives.begin, self.webhooks.announce)
        self.log = RequestLog()
        self.limiter = Limiter()

    def start(self) -> None:
        """Start the workers."""
        self.webhooks.start()
        self.lives.start()

    async def stop(self) -> None:
        """Stop the workers and close the state file."""
        await self.lives.stop()
        await self.webhooks.stop()
        self.store.close()

    def touch(self) -> None:
        """Wake the pages: something is new."""
        self.changes += 1
        self.changed.set()

    def _auto_reply(self, number: str, at: float) -> None:
        text = self.pindo.settings.auto_reply
        self.pindo.receive([InboundSms(sender=number, text=text, created_at=iso(at))])

    def reset(self) -> None:
        """Forget everything but the highest ids, and restore the first settings and balance.

        The server drops a request that waits at this moment: its message would belong to nobody's test.
        """
        self.resets += 1
        self.pindo.settings = self._first_settings
        self.store.clear(self._first_settings.balance)
        self.lives.clear()
        self.clock.reset()
        self.rules.remove()
        self.faults.remove()
        self.webhooks.clear()
        self.log.clear()
        self.limiter = Limiter()
