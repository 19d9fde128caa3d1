"""
Waiting for inbound messages on behalf of an asset, so that they start DAGs (Airflow 3).

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

from airflow_provider_pindo.api.errors import PindoConfigurationError, PindoError
from airflow_provider_pindo.api.inbound import Place, read_since
from airflow_provider_pindo.api.matching import InboundFilter
from airflow_provider_pindo.triggers.events import MessagesArrived
from airflow_provider_pindo.triggers.shared_poll import Round, read_interval, unusable, waiting

if TYPE_CHECKING:
    from airflow.triggers.shared_stream import SharedStreamProducer

#: Most messages in one event; what is left comes with the next poll. A DAG that maps over an event's messages
#: stays below ``[core] max_map_length`` (1024).
MAX_MESSAGES = 500
#: Time within which a second event may find the first one's DAG run not yet made. Airflow then gives that
#: run the first event alone and lets the second wait for a third: an empty one, once it is quiet, is sent.
CROWDED = timedelta(seconds=60)
QUIET = timedelta(seconds=10)


class PindoInboundSmsEventTrigger(BaseEventTrigger):
    r"""
    Watch the inbound messages, for an :class:`~airflow.sdk.AssetWatcher`.

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
        from airflow_provider_pindo.triggers.watch_stream import WatchClock

        return WatchClock(kwargs["pindo_conn_id"], read_interval("poll_interval", kwargs["poll_interval"]))

    def __repr__(self) -> str:
        return f"<PindoInboundSmsEventTrigger pindo_conn_id={self.pindo_conn_id}, since={self.since}>"

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Any]) -> AsyncIterator[TriggerEvent]:
        """
        Fire the messages that are new at each tick of the clock (Airflow 3.3).

        Whatever is fired is fired within a tick, so that Airflow confirms it; what came before this watcher
        joined is caught up within its first ticks, too.
        """
        from airflow_provider_pindo.triggers.watch_stream import Keeper, watched_by

        keeper = Keeper(self.asset_state_store, self._fingerprint())
        watcher = await keeper.load(self._start())
        wanted: InboundFilter | None = None
        async with (
            waiting(self.pindo_conn_id, place=watcher.place, interval=self.poll_interval) as subscription,
            watched_by(self.pindo_conn_id, keeper),
        ):
            async for tick in shared_stream:
                for found in subscription.rounds_at_hand():
                    wanted = wanted or self._filter(found.country)
                    await watcher.take(found, wanted)
                if event := watcher.next_event(datetime.now(UTC)):
                    yield event
                keeper.passed(tick, watcher)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Fire the messages that are new at each poll (Airflow 3.0 to 3.2)."""
        watcher = Watcher(Place(since=self._start()))
        wanted: InboundFilter | None = None
        async with waiting(
            self.pindo_conn_id, place=watcher.place, interval=self.poll_interval
        ) as subscription:
            while True:
                with suppress(PindoError):  # the poll has told it, and goes on
                    found = await subscription.next_round()
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


class Watcher:
    """
    What one watcher has seen and not yet fired.

    :param place: how far it has fired; what is new from there on is to come.
    :param last_event: when it last fired; None: never.
    :param owes_flush: whether an empty event is still due.
    """

    def __init__(self, place: Place, last_event: datetime | None = None, *, owes_flush: bool = False) -> None:
        self.place = place
        self.last_event = last_event
        self.owes_flush = owes_flush
        self._reached = place
        self._backlog: list[dict[str, Any]] = []

    @classmethod
    def from_json(cls, stored: Any) -> Watcher:
        """
        Return the watcher that :meth:`as_json` described.

        :raises PindoConfigurationError: it is nothing that was stored here.
        """
        try:
            after_id, since, last = stored.get("after_id"), stored.get("since"), stored.get("last_event")
            place = Place(
                after_id=None if after_id is None else int(after_id),
                since=None if since is None else read_since(since),
            )
            last_event = None if last is None else read_since(last)
        except (AttributeError, TypeError, ValueError):
            raise PindoConfigurationError(
                f"the place kept in the asset's state store is {stored!r}: delete it, and the watcher starts anew"
            ) from None
        return cls(place, last_event, owes_flush=bool(stored.get("owes_flush")))

    def as_json(self) -> dict[str, Any]:
        """Return what a later watcher goes on from."""
        return {
            "after_id": self.place.after_id,
            "since": self.place.since and self.place.since.isoformat(),
            "last_event": self.last_event and self.last_event.isoformat(),
            "owes_flush": self.owes_flush,
        }

    async def take(self, found: Round, wanted: InboundFilter) -> None:
        """Note the messages of a round that are wanted."""
        self._backlog += await found.matches(wanted)
        self._reached = self._reached.after(found.highest_id)
        if not self._backlog:
            self.place = self._reached

    def next_event(self, now: datetime) -> TriggerEvent | None:
        """Return what is to be fired now, and move the place on behind it."""
        messages, self._backlog = self._backlog[:MAX_MESSAGES], self._backlog[MAX_MESSAGES:]
        quiet = None if self.last_event is None else now - self.last_event
        if messages:
            self.place = self.place.after(messages[-1]["id"]) if self._backlog else self._reached
            self.owes_flush = self.owes_flush or (quiet is not None and quiet < CROWDED)
        elif self.owes_flush and (quiet is None or quiet >= QUIET):
            self.owes_flush = False
        else:
            return None
        self.last_event = now
        return MessagesArrived(payload={"messages": messages})
