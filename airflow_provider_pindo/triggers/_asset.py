"""Watch the inbound messages for an asset, so that they start DAGs (Airflow 3).

On Airflow 3.3 and later no message is lost, also when the triggerer is killed. Each watcher keeps its cursor in the
asset's state store. It moves the cursor only after Airflow has confirmed that the messages up to it are in its
database. After a kill the old cursor is used, so messages may come again with the same ids. Watchers share the poll of
their connection with all other triggers.

Airflow 3.0 to 3.2 have no such store. There a watcher starts at ``since``, or when its triggerer starts.
"""

from __future__ import annotations

from airflow.providers.common.compat.sdk import AirflowOptionalProviderFeatureException
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

if not AIRFLOW_V_3_0_PLUS:  # pragma: no cover - Airflow 2.11
    raise AirflowOptionalProviderFeatureException(
        "PindoInboundSmsEventTrigger needs Airflow 3.0 or later. On Airflow 2, run a DAG on a schedule and begin it "
        "with a PindoInboundSmsSensor"
    )

from collections.abc import AsyncIterator, Hashable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from airflow_provider_pindo._inbox.filter import InboundFilter
from airflow_provider_pindo._inbox.scan import Cursor
from airflow_provider_pindo._ledger.entry import fingerprint
from airflow_provider_pindo.api.arguments import read_since
from airflow_provider_pindo.api.errors import PindoConfigurationError, PindoError
from airflow_provider_pindo.triggers._poll import read_interval, subscribe, unusable
from airflow_provider_pindo.triggers._watcher import Watcher

if TYPE_CHECKING:
    from airflow.triggers.shared_stream import SharedStreamProducer


class PindoInboundSmsEventTrigger(BaseEventTrigger):
    r"""Watch the inbound messages, for an :class:`~airflow.sdk.AssetWatcher`.

    ::

        replies = Asset("pindo_replies", watchers=[
            AssetWatcher(name="pindo", trigger=PindoInboundSmsEventTrigger(pattern=r"(?i)^\s*stop\b"))
        ])

    Every inbound message that matches reaches the DAGs scheduled on the asset, in the payload of an asset event:
    ``event.extra["payload"]["messages"]``, each as the sensor returns it. There is at most one event per poll.

    * Airflow merges events that come close together into one run. Read all of them, and drop repeats by ``id``.
    * One empty event follows a burst, to flush events that Airflow queued.
    * Airflow stores the payload of an asset event, texts included.

    :param pattern: RE2 pattern searched in the text; None (default) matches every text.
    :param inbound_number: the account's number that the message was sent to; None matches all.
    :param since: aware time, or one as ISO text: messages created then or later count. Airflow 3.3 uses it for the
        first start of the watcher, and continues from its cursor afterwards. Default: the time of that start. An older
        Airflow uses it at every start of a triggerer. Then messages after ``since`` come again. Without ``since``,
        messages that arrive while no triggerer runs are missed.
    :param poll_interval: seconds between two polls of the inbound list, or a timedelta. The default of 10 is well above
        the time that a scheduler needs to make a run of an event.
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
        """Return the class and the arguments by which Airflow stores and identifies this trigger."""
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
        """Return the key of the stream: all watchers of one connection share it."""
        return ("pindo-inbound", self.pindo_conn_id)

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> SharedStreamProducer:
        """Return the producer that ticks for all watchers of the connection."""
        from airflow_provider_pindo.triggers._shared_stream import InboxStreamProducer

        return InboxStreamProducer(
            kwargs["pindo_conn_id"], read_interval("poll_interval", kwargs["poll_interval"])
        )

    def __repr__(self) -> str:
        return f"<PindoInboundSmsEventTrigger pindo_conn_id={self.pindo_conn_id}, since={self.since}>"

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Any]) -> AsyncIterator[TriggerEvent]:
        """Fire the new messages at each tick of the shared stream (Airflow 3.3).

        Events are fired only within a tick, so that Airflow confirms them. Messages from before this watcher joined are
        fired within its first ticks.
        """
        from airflow_provider_pindo.triggers._shared_stream import CheckpointStore, register_checkpoints

        checkpoints = CheckpointStore(self.asset_state_store, self._fingerprint())
        watcher = await checkpoints.load(self._start())
        inbound_filter: InboundFilter | None = None
        async with (
            subscribe(self.pindo_conn_id, cursor=watcher.cursor, interval=self.poll_interval) as subscription,
            register_checkpoints(self.pindo_conn_id, checkpoints),
        ):
            async for tick in shared_stream:
                for result in subscription.drain():
                    inbound_filter = inbound_filter or self._filter(result.country)
                    await watcher.add(result, inbound_filter)
                if event := watcher.next_event(datetime.now(UTC)):
                    yield event
                checkpoints.stage(tick, watcher)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Fire the new messages at each poll (Airflow 3.0 to 3.2)."""
        watcher = Watcher(Cursor(since=self._start()))
        inbound_filter: InboundFilter | None = None
        async with subscribe(
            self.pindo_conn_id, cursor=watcher.cursor, interval=self.poll_interval
        ) as subscription:
            while True:
                with suppress(PindoError):  # the poll has logged it, and continues
                    result = await subscription.next_result()
                    inbound_filter = inbound_filter or self._filter(result.country)
                    await watcher.add(result, inbound_filter)
                if event := watcher.next_event(datetime.now(UTC)):
                    yield event

    def _filter(self, country: str | None) -> InboundFilter:
        return InboundFilter(self.pattern, inbound_number=self.inbound_number, country=country)

    def _start(self) -> datetime:
        return datetime.now(UTC) if self.since is None else read_since(self.since)

    def _fingerprint(self) -> str:
        """Return what distinguishes this watcher from others of the same asset; the interval does not."""
        return fingerprint(self.pindo_conn_id, self.pattern, self.inbound_number, self.since)
