"""Watch inbound messages or delivery reports for an asset, so that they start DAGs (Airflow 3).

On Airflow 3.3 and later nothing is lost, also when the triggerer is killed. Each watcher keeps its cursor in the
asset's state store. It moves the cursor only after Airflow has confirmed that what was fired up to it is in its
database. After a kill the old cursor is used, so messages and reports may come again with the same ids. Watchers share
the poll of their connection with all other triggers.

Airflow 3.0 to 3.2 have no such store. There a watcher starts at ``since``, or when its triggerer starts.
"""

from __future__ import annotations

from airflow.providers.common.compat.sdk import AirflowOptionalProviderFeatureException
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

if not AIRFLOW_V_3_0_PLUS:  # pragma: no cover - Airflow 2.11
    raise AirflowOptionalProviderFeatureException(
        "PindoInboundSmsEventTrigger needs Airflow 3.0 or later, and PindoDeliveryEventTrigger 3.1. On Airflow 2, run "
        "a DAG on a schedule and begin it with a PindoInboundSmsSensor"
    )

from collections.abc import AsyncIterator, Hashable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from airflow_provider_pindo._inbox.event_scan import EventCursor, inbound_cursor
from airflow_provider_pindo._inbox.filter import InboundFilter
from airflow_provider_pindo._inbox.scan import LIST, SOURCES, WEBHOOK, PollResult
from airflow_provider_pindo._ledger.entry import fingerprint
from airflow_provider_pindo.api.arguments import check_choice, read_seconds, read_since
from airflow_provider_pindo.api.errors import PindoError
from airflow_provider_pindo.api.limits import DEFAULT_CONN_ID
from airflow_provider_pindo.api.webhooks import DELIVERY_REPORT
from airflow_provider_pindo.hooks._webhook_config import check_airflow
from airflow_provider_pindo.triggers._poll import subscribe, unusable_arguments
from airflow_provider_pindo.triggers._watcher import Watcher, WatcherCursor

if TYPE_CHECKING:
    from airflow.triggers.shared_stream import SharedStreamProducer


class AssetTrigger(BaseEventTrigger):
    """The common part of the triggers that watch an asset.

    :param since: start of the first watch; None for the time of that start.
    :param poll_interval: seconds between two polls, or a timedelta.
    :param pindo_conn_id: Airflow connection of type ``pindo``.
    """

    #: Key of the payload.
    what: ClassVar[str]
    #: Start of the stream's key, which all watchers of one connection share.
    stream: ClassVar[str]
    #: The sensor that a task uses instead.
    sensor: ClassVar[str]

    def __init__(
        self, since: datetime | str | None, poll_interval: float | timedelta, pindo_conn_id: str
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        with unusable_arguments():
            self.since = None if since is None else read_since(since).isoformat()
            self.poll_interval = read_seconds("poll_interval", poll_interval)
        self.pindo_conn_id = pindo_conn_id

    @classmethod
    def cursor_at(cls, start: datetime, kwargs: dict[str, Any]) -> WatcherCursor:
        """Return the cursor of a watcher with these arguments that starts at ``start``."""
        raise NotImplementedError

    async def select(self, result: PollResult) -> list[dict[str, Any]]:
        """Return what to fire of the result of a poll, each with its ``id``."""
        raise NotImplementedError

    def state_key(self) -> str:
        """Return the name of the cursor in the asset's state store."""
        raise NotImplementedError

    def shared_stream_key(self) -> Hashable | None:
        """Return the key of the stream: all watchers of one kind and connection share it."""
        return self._stream_key(self.serialize()[1])

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> SharedStreamProducer:
        """Return the producer that ticks for all watchers of the connection."""
        from airflow_provider_pindo.triggers._shared_stream import StreamProducer

        return StreamProducer(
            cls._stream_key(kwargs),
            kwargs["pindo_conn_id"],
            cls.cursor_at(datetime.now(UTC), kwargs),
            kwargs["poll_interval"],
        )

    @classmethod
    def _stream_key(cls, kwargs: dict[str, Any]) -> Hashable:
        return (cls.stream, kwargs.get("source", LIST), kwargs["pindo_conn_id"])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} pindo_conn_id={self.pindo_conn_id}, since={self.since}>"

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Any]) -> AsyncIterator[TriggerEvent]:
        """Fire what is new at each tick of the shared stream (Airflow 3.3).

        Events are fired only within a tick, so that Airflow confirms them. What came before this watcher joined is
        fired within its first ticks.
        """
        from airflow_provider_pindo.triggers._shared_stream import CheckpointStore, register_checkpoints

        checkpoints = CheckpointStore(
            self.asset_state_store,
            self.state_key(),
            if_task=f"{type(self).__name__} watches an asset: give it to an AssetWatcher; a task waits with "
            f"{self.sensor}",
        )
        watcher = await checkpoints.load(self._new_watcher())
        async with (
            subscribe(self.pindo_conn_id, cursor=watcher.cursor, interval=self.poll_interval) as subscription,
            register_checkpoints(self.shared_stream_key(), checkpoints),
        ):
            async for tick in shared_stream:
                for result in subscription.drain():
                    watcher.add(await self.select(result), result)
                if event := watcher.next_event(datetime.now(UTC)):
                    yield event
                checkpoints.stage(tick, watcher)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Fire what is new at each poll (Airflow 3.0 to 3.2)."""
        watcher = self._new_watcher()
        async with subscribe(
            self.pindo_conn_id, cursor=watcher.cursor, interval=self.poll_interval
        ) as subscription:
            while True:
                with suppress(PindoError):  # the poll has logged it, and continues
                    result = await subscription.next_result()
                    watcher.add(await self.select(result), result)
                if event := watcher.next_event(datetime.now(UTC)):
                    yield event

    def _new_watcher(self) -> Watcher:
        start = datetime.now(UTC) if self.since is None else read_since(self.since)
        return Watcher(self.cursor_at(start, self.serialize()[1]), what=self.what)


class PindoInboundSmsEventTrigger(AssetTrigger):
    r"""Watch the inbound messages, for an :class:`~airflow.sdk.AssetWatcher`.

    ::

        replies = Asset("pindo_replies", watchers=[
            AssetWatcher(name="pindo", trigger=PindoInboundSmsEventTrigger(pattern=r"(?i)^\s*stop\b"))
        ])

    Every inbound message that matches reaches the DAGs scheduled on the asset, in the payload of an asset event:
    ``event.extra["payload"]["messages"]``, each as the sensor returns it. There is at most one event per poll.

    * Airflow merges events that come close together into one run. Read all of them, and drop repeats by ``id``.
    * Up to four empty events follow a burst, to flush events that Airflow queued: 10 s, 1 min, 6 min and 36 min
      after each other. A DAG with ``max_active_runs=1`` whose run takes longer gets the rest of a burst with the next
      event.
    * Airflow stores the payload of an asset event, texts included.

    :param pattern: RE2 pattern searched in the text; None (default) matches every text.
    :param inbound_number: the account's number that the message was sent to; None matches all.
    :param since: aware time, or one as ISO text: messages created then or later count. Airflow 3.3 uses it for the
        first start of the watcher, and continues from its cursor afterwards. Default: the time of that start. An older
        Airflow uses it at every start of a triggerer. Then messages after ``since`` come again. Without ``since``,
        messages that arrive while no triggerer runs are missed.
    :param poll_interval: seconds between two polls of the inbound list, or a timedelta. The default of 10 is well above
        the time that a scheduler needs to make a run of an event.
    :param source: ``list`` polls Pindo's inbound list. ``webhook`` reads what Pindo's inbound webhook brought to this
        Airflow. That needs no request to Pindo, and names the sender (``raw["from"]``). There ``id`` and
        ``created_at`` are those of the receipt in Airflow; needs ``[pindo] webhooks``.
    :param pindo_conn_id: Airflow connection of type ``pindo``.
    """

    what = "messages"
    stream = "pindo-inbound"
    sensor = "PindoInboundSmsSensor"

    def __init__(
        self,
        *,
        pattern: str | None = None,
        inbound_number: str | None = None,
        since: datetime | str | None = None,
        poll_interval: float | timedelta = 10.0,
        source: str = LIST,
        pindo_conn_id: str = DEFAULT_CONN_ID,
    ) -> None:
        super().__init__(since, poll_interval, pindo_conn_id)
        with unusable_arguments():
            self.source = check_choice("source", source, SOURCES)
            if source == WEBHOOK:
                check_airflow("source='webhook'")
            InboundFilter(pattern, inbound_number=inbound_number)
        self.pattern = pattern
        self.inbound_number = inbound_number
        self._filter: InboundFilter | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments by which Airflow stores and identifies this trigger."""
        return (
            "airflow_provider_pindo.triggers.sms.PindoInboundSmsEventTrigger",
            {
                "pattern": self.pattern,
                "inbound_number": self.inbound_number,
                "since": self.since,
                "poll_interval": self.poll_interval,
                "source": self.source,
                "pindo_conn_id": self.pindo_conn_id,
            },
        )

    @classmethod
    def cursor_at(cls, start: datetime, kwargs: dict[str, Any]) -> WatcherCursor:
        """Return a cursor in the inbound list, or in the events of the webhooks."""
        return inbound_cursor(kwargs.get("source", LIST), start)

    async def select(self, result: PollResult) -> list[dict[str, Any]]:
        """Return the messages that match, as the sensor returns them."""
        if self._filter is None:
            self._filter = InboundFilter(
                self.pattern, inbound_number=self.inbound_number, country=result.country
            )
        return await self._filter.async_matches(result.messages)

    def state_key(self) -> str:
        """Return the name of the cursor. The interval does not distinguish watchers."""
        source = () if self.source == LIST else (self.source,)
        parts = (self.pindo_conn_id, self.pattern, self.inbound_number, self.since, *source)
        return f"pindo_inbound_{fingerprint(*parts)}"


class PindoDeliveryEventTrigger(AssetTrigger):
    """Watch the delivery reports, for an :class:`~airflow.sdk.AssetWatcher`.

    It needs Airflow 3.1 and ``[pindo] webhooks``.

    ::

        delivered = Asset("pindo_delivered", watchers=[
            AssetWatcher(name="pindo", trigger=PindoDeliveryEventTrigger())
        ])

    Every report reaches the DAGs scheduled on the asset, in the payload of an asset event:
    ``event.extra["payload"]["reports"]``, each ``{"id", "sms_id", "status", "modified_at"}``, without number and text.
    There is at most one event per poll.

    * Airflow merges events that come close together into one run. Read all of them, and drop repeats by ``id``.
    * Up to four empty events follow a burst, to flush events that Airflow queued: 10 s, 1 min, 6 min and 36 min
      after each other. A DAG with ``max_active_runs=1`` whose run takes longer gets the rest of a burst with the next
      event.
    * Pindo may report on a message more than once, and in any order.

    :param since: aware time, or one as ISO text: reports received then or later count. Airflow 3.3 uses it for the
        first start of the watcher, and continues from its cursor afterwards. Default: the time of that start. On
        Airflow 3.1 and 3.2 it is used at every start of a triggerer.
    :param poll_interval: seconds between two polls, or a timedelta.
    :param pindo_conn_id: Airflow connection of type ``pindo``.
    """

    what = "reports"
    stream = "pindo-delivery"
    sensor = "PindoDeliverySensor"

    def __init__(
        self,
        *,
        since: datetime | str | None = None,
        poll_interval: float | timedelta = 10.0,
        pindo_conn_id: str = DEFAULT_CONN_ID,
    ) -> None:
        with unusable_arguments():
            check_airflow(type(self).__name__)
        super().__init__(since, poll_interval, pindo_conn_id)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments by which Airflow stores and identifies this trigger."""
        return (
            "airflow_provider_pindo.triggers.delivery.PindoDeliveryEventTrigger",
            {
                "since": self.since,
                "poll_interval": self.poll_interval,
                "pindo_conn_id": self.pindo_conn_id,
            },
        )

    @classmethod
    def cursor_at(cls, start: datetime, kwargs: dict[str, Any]) -> WatcherCursor:
        """Return a cursor in the delivery reports."""
        return EventCursor(DELIVERY_REPORT, since=start)

    async def select(self, result: PollResult) -> list[dict[str, Any]]:
        """Return every report."""
        return [
            {"id": report.event_id, **report.as_json()}
            for reports in result.reports.values()
            for report in reports
        ]

    def state_key(self) -> str:
        """Return the name of the cursor. The interval does not distinguish watchers."""
        return f"pindo_delivery_{fingerprint(self.pindo_conn_id, self.since)}"
