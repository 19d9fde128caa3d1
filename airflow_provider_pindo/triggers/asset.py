"""Waiting for inbound messages on behalf of an asset, so that they start DAGs (Airflow 3).

On Airflow 3.3 and later nothing is lost, whatever happens to the triggerer: every watcher keeps its place in
the asset's state store, and moves it on only once Airflow has confirmed that the messages up to it are in its
database. A triggerer that is killed in between leaves the old place, so messages may come again, with the
same ids. Watchers wait on the one poll that all triggers of a connection share.

Airflow 3.0 to 3.2 have no such store: there a watcher starts at ``since``, or when its triggerer starts.
"""

from __future__ import annotations

from airflow.providers.common.compat.sdk import AirflowOptionalProviderFeatureException
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

if not AIRFLOW_V_3_0_PLUS:  # pragma: no cover - Airflow 2.11
    raise AirflowOptionalProviderFeatureException(
        "PindoInboundSmsEventTrigger starts DAGs when messages come, which Airflow can do from 3.0 on. Before "
        "it, run a DAG on a schedule that begins with a PindoInboundSmsSensor"
    )

import hashlib
import json
from collections.abc import AsyncIterator, Hashable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from airflow_provider_pindo._inbox.filter import InboundFilter
from airflow_provider_pindo._inbox.scan import Cursor
from airflow_provider_pindo.api.arguments import read_since
from airflow_provider_pindo.api.errors import PindoConfigurationError, PindoError
from airflow_provider_pindo.triggers.poll import read_interval, subscribe, unusable
from airflow_provider_pindo.triggers.watcher import Watcher

if TYPE_CHECKING:
    from airflow.triggers.shared_stream import SharedStreamProducer


class PindoInboundSmsEventTrigger(BaseEventTrigger):
    r"""Watch the inbound messages, for an :class:`~airflow.sdk.AssetWatcher`.

    ::

        replies = Asset("pindo_replies", watchers=[
            AssetWatcher(name="pindo", trigger=PindoInboundSmsEventTrigger(pattern=r"(?i)^\s*stop\b"))
        ])

    Every inbound message that matches reaches the DAGs scheduled on the asset, in the payload of an asset
    event: ``event.extra["payload"]["messages"]``, each as the sensor returns it. There is at most one event
    per poll. Airflow merges events that come close together into one run: go through all of them, and drop
    repeats by ``id``. After events in quick succession comes one without messages, which has no other purpose
    than to bring along what Airflow let wait. Airflow stores an asset event's payload, texts included.

    :param pattern: RE2 pattern searched in the text; None (default) takes every text.
    :param inbound_number: the account's number that the message came to; None takes all.
    :param since: aware time, or one as ISO text: messages created then or later count. Airflow 3.3 uses it
        when the watcher starts for the first time, and goes on from its place ever after; default: then. An
        older Airflow uses it whenever a triggerer starts: with ``since``, messages since then come again with
        every start; without it, those that came while no triggerer ran are missed.
    :param poll_interval: seconds between two looks at the inbound list, or a timedelta; 10, well above what a
        scheduler takes to make a run of an event.
    :param pindo_conn_id: Airflow connection of type ``pindo``.
    """

    def __init__(
        self,
        *,
        pattern: str | None = None,
        inbound_number: str | None = None,
        since: datetime | str | None = None,
        poll_interval: float | timedelta = 10.0,
        pindo_conn_id: str = "pindo_default",
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        try:
            InboundFilter(pattern, inbound_number=inbound_number)
            self.since = None if since is None else read_since(since).isoformat()
        except PindoConfigurationError as error:
            raise unusable(str(error)) from None
        self.pattern = pattern
        self.inbound_number = inbound_number
        self.poll_interval = read_interval("poll_interval", poll_interval)
        self.pindo_conn_id = pindo_conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments that make this trigger again, and by which Airflow knows it."""
        return (
            "airflow_provider_pindo.triggers.sms.PindoInboundSmsEventTrigger",
            {
                "pattern": self.pattern,
                "inbound_number": self.inbound_number,
                "since": self.since,
                "poll_interval": self.poll_interval,
                "pindo_conn_id": self.pindo_conn_id,
            },
        )

    def shared_stream_key(self) -> Hashable | None:
        """Return what watchers have in common that share one stream."""
        return ("pindo-inbound", self.pindo_conn_id)

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> SharedStreamProducer:
        """Return the clock of the shared stream."""
        from airflow_provider_pindo.triggers.shared_stream import InboxStreamProducer

        return InboxStreamProducer(
            kwargs["pindo_conn_id"], read_interval("poll_interval", kwargs["poll_interval"])
        )

    def __repr__(self) -> str:
        return f"<PindoInboundSmsEventTrigger pindo_conn_id={self.pindo_conn_id}, since={self.since}>"

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Any]) -> AsyncIterator[TriggerEvent]:
        """Fire the messages that are new at each tick of the clock (Airflow 3.3).

        Whatever is fired is fired within a tick, so that Airflow confirms it; what came before this watcher
        joined is caught up within its first ticks, too.
        """
        from airflow_provider_pindo.triggers.shared_stream import CheckpointStore, watched_by

        keeper = CheckpointStore(self.asset_state_store, self._fingerprint())
        watcher = await keeper.load(self._start())
        wanted: InboundFilter | None = None
        async with (
            subscribe(self.pindo_conn_id, place=watcher.place, interval=self.poll_interval) as subscription,
            watched_by(self.pindo_conn_id, keeper),
        ):
            async for tick in shared_stream:
                for found in subscription.drain():
                    wanted = wanted or self._filter(found.country)
                    await watcher.take(found, wanted)
                if event := watcher.next_event(datetime.now(UTC)):
                    yield event
                keeper.stage(tick, watcher)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Fire the messages that are new at each poll (Airflow 3.0 to 3.2)."""
        watcher = Watcher(Cursor(since=self._start()))
        wanted: InboundFilter | None = None
        async with subscribe(
            self.pindo_conn_id, place=watcher.place, interval=self.poll_interval
        ) as subscription:
            while True:
                with suppress(PindoError):  # the poll has told it, and goes on
                    found = await subscription.next_result()
                    wanted = wanted or self._filter(found.country)
                    await watcher.take(found, wanted)
                if event := watcher.next_event(datetime.now(UTC)):
                    yield event

    def _filter(self, country: str | None) -> InboundFilter:
        return InboundFilter(self.pattern, inbound_number=self.inbound_number, country=country)

    def _start(self) -> datetime:
        return datetime.now(UTC) if self.since is None else read_since(self.since)

    def _fingerprint(self) -> str:
        """Return what tells this watcher from others of the same asset; how often it looks does not matter."""
        parts = [self.pindo_conn_id, self.pattern, self.inbound_number, self.since]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
