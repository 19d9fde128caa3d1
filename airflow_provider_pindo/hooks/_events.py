"""Reading webhook events from Airflow's API server, for tasks (:class:`EventReader`) and triggers (async).

The readers use the transports of the hooks, so timeouts, retries and limits are the same as for Pindo. What differs is
the address (``[pindo] api_url``), the token (derived from the connection's ``webhook_secret``), and what an error says.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow_provider_pindo._inbox.event_scan import PollCursor, SharedEventScan, warn_of_lost_table
from airflow_provider_pindo._inbox.events import EventFilter, WebhookEvent, list_events
from airflow_provider_pindo._ledger.evidence import CLOCK_SKEW, SentEvent, read_sent_event
from airflow_provider_pindo.api.errors import PindoAuthError, PindoError, PindoNotFoundError
from airflow_provider_pindo.api.parsers import read_inbound_event
from airflow_provider_pindo.api.webhooks import INBOUND, SENT, reading_token
from airflow_provider_pindo.hooks._settings import PindoSettings, is_loopback, missing_webhook_secret
from airflow_provider_pindo.hooks._transport.attempt import Attempt
from airflow_provider_pindo.hooks._webhook_config import (
    ApiCertificates,
    api_certificates,
    api_url,
    check_webhooks,
)
from airflow_provider_pindo.hooks.pindo import PindoAsyncHook, PindoHook

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from airflow_provider_pindo._inbox.events import EventPage
    from airflow_provider_pindo._inbox.scan import PollResult
    from airflow_provider_pindo.api.calls import Call
    from airflow_provider_pindo.api.values import InboundSms


def _event_settings(conn_id: str, settings: PindoSettings) -> PindoSettings:
    """Return the settings with which the events of a connection are read."""
    check_webhooks()
    if settings.webhook_secret is None:
        raise missing_webhook_secret(conn_id)
    url = api_url()
    tls = api_certificates() if url.startswith("https:") else ApiCertificates()
    return PindoSettings(
        base_url=url,
        token=reading_token(settings.webhook_secret, conn_id),
        verify=True if tls.trusts_public or not tls.trusted else tls.trusted[0],
        trusted=tls.trusted,
        cert=tls.client,
        trust_env=not is_loopback(urlsplit(url).hostname or ""),
    )


class _EventsNotFoundError(PindoNotFoundError):
    """The API server knows no such connection, or has no webhooks.

    Airflow also finds no connection while its database or a secrets backend is away, so a later try may succeed.
    """

    retry_helps = True


class EventReader:
    """Reads webhook events from a task. Use it in a ``with`` block.

    :param pindo_conn_id: Airflow connection of type ``pindo``.
    :param settings: the connection's settings, if they were read before.
    :raises PindoConfigurationError: webhooks are off, the connection has no ``webhook_secret``, or Airflow is too old.
    """

    def __init__(self, pindo_conn_id: str, *, settings: PindoSettings | None = None) -> None:
        self.pindo_conn_id = pindo_conn_id
        self._settings = settings or PindoHook(pindo_conn_id).settings
        self._hook = PindoHook(pindo_conn_id, settings=_event_settings(pindo_conn_id, self._settings))

    def read(self, which: EventFilter) -> list[WebhookEvent]:
        """Return all events that match ``which``, oldest first.

        :raises PindoError: the API server cannot be reached, or refuses the request.
        """
        return [event for page in self._pages(which) for event in page.events]

    def read_inbound(self, ids: Collection[int]) -> list[InboundSms]:
        """Return the inbound messages that these events brought, oldest first.

        :param ids: at least one.
        :raises PindoError: the API server cannot be reached, or refuses the request.
        """
        # An event may be a repeat of one that became visible later.
        which = EventFilter(kinds=(INBOUND,), duplicates=True)
        return [
            read_inbound_event(event.body, event.id, event.received_at)
            for page in self._pages(which, min(ids) - 1)
            for event in page.events
            if event.id in ids
        ]

    def _pages(
        self, which: EventFilter, after: int = 0, attempt: Attempt | None = None
    ) -> Iterator[EventPage]:
        call: Call[EventPage] | None = list_events(self.pindo_conn_id, which, after=after)
        while call is not None:
            page = self._send(call, attempt)
            attempt = None
            if page.newest_id < after:
                warn_of_lost_table(self.pindo_conn_id, page.newest_id, after)
                after = 0
                call = list_events(self.pindo_conn_id, which)
                continue
            yield page
            call = list_events(self.pindo_conn_id, which, after=page.last_id) if page.more else None

    def read_sent(self, began: datetime, *, to: str | None = None) -> list[SentEvent]:
        """Return what may be evidence: the messages that Pindo named as sent, and no entry of the ledger names.

        :param began: when the requests began; an aware time.
        :param to: only messages to this number.
        :raises PindoError: the API server cannot be reached, or refuses the request.
        """
        return _read_sent_events(self.read(_unclaimed_filter(began, to=to)), self._settings.timezone)

    def iter_new_sent(
        self, began: datetime, after: int, *, retry_first_page: bool = True
    ) -> Iterator[tuple[list[SentEvent], EventPage]]:
        """Yield the new events of :meth:`read_sent`, page by page. Each list comes with its page.

        :param after: 0, or the ``stable_id`` of the first page of the previous call. An event may come again.
        :param retry_first_page: False tries the first page once, since the caller reads again later.
        :raises PindoError: the API server cannot be reached, or refuses the request.
        """
        for page in self._pages(_unclaimed_filter(began), after, Attempt(is_last=not retry_first_page)):
            yield _read_sent_events(page.events, self._settings.timezone), page

    def poll(self, cursors: Iterable[PollCursor], *, retry_first_page: bool = True) -> PollResult:
        """Return at least what is new to one of ``cursors``, from one pass over the events.

        Each reader filters it with the method ``new_in`` of its cursor.

        :param cursors: one for each reader.
        :param retry_first_page: False tries the first page once, since the caller polls again later.
        :raises PindoError: the API server cannot be reached, or refuses the request.
        """
        scan = SharedEventScan(self.pindo_conn_id, cursors, self._settings.timezone)
        attempt = Attempt(is_last=not retry_first_page)
        while scan.next_call is not None:
            scan.feed(self._send(scan.next_call, attempt))
            attempt = Attempt()
        return scan.result(self._settings.country)

    def _send(self, call: Call[EventPage], attempt: Attempt | None = None) -> EventPage:
        try:
            return self._hook.send(call, attempt)
        except PindoError as error:
            raise _explain(error, self.pindo_conn_id, self._hook.settings.base_url) from None

    def __enter__(self) -> EventReader:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. The reader may be used again afterwards."""
        self._hook.close()


class AsyncEventReader:
    """Reads webhook events from a trigger. Use it in an ``async with`` block; see :class:`EventReader`."""

    def __init__(self, pindo_conn_id: str, *, settings: PindoSettings | None = None) -> None:
        self.pindo_conn_id = pindo_conn_id
        self._settings = settings
        self._hook: PindoAsyncHook | None = None
        self._opening = asyncio.Lock()

    async def poll(self, cursors: Iterable[PollCursor], *, retry_first_page: bool = True) -> PollResult:
        """Return at least what is new to one of ``cursors``; see :meth:`EventReader.poll`."""
        settings = await self._get_settings()
        scan = SharedEventScan(self.pindo_conn_id, cursors, settings.timezone)
        attempt = Attempt(is_last=not retry_first_page)
        while scan.next_call is not None:
            scan.feed(await self._send(scan.next_call, attempt))
            attempt = Attempt()
        return scan.result(settings.country)

    async def read_sent(self, began: datetime, sms_ids: Sequence[str]) -> list[SentEvent]:
        """Return those of some messages that may be evidence; see :meth:`EventReader.read_sent`.

        :param sms_ids: at most :data:`~airflow_provider_pindo._inbox.events.MAX_SMS_IDS`.
        """
        call = list_events(self.pindo_conn_id, _unclaimed_filter(began, sms_ids=sms_ids))
        return _read_sent_events((await self._send(call)).events, (await self._get_settings()).timezone)

    async def _get_settings(self) -> PindoSettings:
        if self._settings is None:
            self._settings = await PindoAsyncHook(self.pindo_conn_id).get_settings()
        return self._settings

    async def _send(self, call: Call[EventPage], attempt: Attempt | None = None) -> EventPage:
        hook = await self._open()
        try:
            return await hook.send(call, attempt)
        except PindoError as error:
            raise _explain(error, self.pindo_conn_id, (await hook.get_settings()).base_url) from None

    async def _open(self) -> PindoAsyncHook:
        async with self._opening:
            if self._hook is None:
                settings = await self._get_settings()
                self._hook = PindoAsyncHook(
                    self.pindo_conn_id, settings=_event_settings(self.pindo_conn_id, settings)
                )
            return self._hook

    async def close(self) -> None:
        """Close the connections. The reader may be used again afterwards."""
        if self._hook is not None:
            hook, self._hook = self._hook, None
            await hook.close()

    async def __aenter__(self) -> AsyncEventReader:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()


def _unclaimed_filter(began: datetime, *, to: str | None = None, sms_ids: Sequence[str] = ()) -> EventFilter:
    return EventFilter(kinds=(SENT,), sms_ids=sms_ids, to=to, since=began - CLOCK_SKEW, unclaimed=True)


def _read_sent_events(events: Iterable[WebhookEvent], timezone: str) -> list[SentEvent]:
    read = (read_sent_event(event.body, timezone, event.received_at, event.id) for event in events)
    return [event for event in read if event is not None]


def _explain(error: PindoError, conn_id: str, url: str) -> PindoError:
    """Return ``error`` with a message about the API server. The transport's message is about Pindo."""
    what = f"cannot read the webhook events of connection {conn_id!r} from {url}"
    if isinstance(error, PindoAuthError):
        why = f"it refused the token ({error.status})"
        advice = (
            "The connection's webhook_secret must be the same for the API server and for tasks and triggers"
        )
    elif isinstance(error, PindoNotFoundError):
        error = _EventsNotFoundError(str(error), status=error.status, reason=error.reason)
        why = "it has none (404)"
        advice = (
            "Set [pindo] webhooks = True for the API server, define the connection there too, and check [pindo] "
            "api_url"
        )
    else:
        why = error.summary if error.status is None else f"it returned {error.status}"
        advice = "Check [pindo] api_url and the API server's log"
    explained = error.with_message(f"{what}: {why}. {advice}")
    explained.summary = f"{what}: {why}"
    return explained
