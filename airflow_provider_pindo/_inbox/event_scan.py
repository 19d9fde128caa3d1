"""One pass over the events that Pindo's webhooks brought, for many readers: what to ask for, and what is new to whom.

Events have growing ids, but a database shows them out of order: the event 7 may be visible before the event 6. The API
server says up to which id everything is visible. So every pass reads what is above that id again, and each reader drops
what it has seen.

Ids begin anew when the table is lost. A reader that is past the newest id then starts again, and ``since`` still bounds
it. The newest id is 0 when all events were old and are deleted. Then there is nothing to read again.

Pindo may send an inbound message twice. Two events are one message if their ``sms_id`` and their bodies are the same.
Without ``sms_id``, nothing tells a repeat from a person who writes the same text again, so each event counts.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_pindo._inbox.events import (
    MAX_SMS_IDS,
    EventFilter,
    EventPage,
    WebhookEvent,
    list_events,
)
from airflow_provider_pindo._inbox.scan import WEBHOOK, Cursor, PollResult
from airflow_provider_pindo.api.arguments import read_since
from airflow_provider_pindo.api.delivery import DeliveryReport, check_sms_id, read_report
from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.fields import MalformedResponse
from airflow_provider_pindo.api.limits import MAX_INTEGER
from airflow_provider_pindo.api.webhooks import DELIVERY_REPORT, INBOUND, SENT

if TYPE_CHECKING:
    from airflow_provider_pindo.api.calls import Call
    from airflow_provider_pindo.api.values import InboundSms

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EventCursor:
    """The position of a reader of all events of one kind.

    :param kind: what it reads.
    :param since: aware time; events received before it are known.
    :param after_id: events up to and including this id are known; None before the first pass.
    :param seen: the known events with a higher id.
    """

    source: ClassVar[str] = WEBHOOK

    kind: str
    since: datetime | None = None
    after_id: int | None = None
    seen: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        # All readers share a request. So one that the API server would refuse is an error here, of this reader alone.
        if self.since is not None:
            read_since(self.since)
        if self.after_id is not None and not 0 <= self.after_id <= MAX_INTEGER:
            raise PindoConfigurationError(f"there is no event with the id {self.after_id}")

    def new_in(self, result: PollResult) -> PollResult:
        """Return ``result`` with only the events that this cursor does not cover, and each message once."""
        if _is_past(self, result.newest_id):
            return self.restarted().new_in(result)
        messages = tuple(
            message
            for message in result.messages
            if self._is_new(message, result.duplicates.get(message.id, (message,)))
        )
        reports = {}
        for sms_id, all_reports in result.reports.items():
            if new := tuple(
                report for report in all_reports if not self._covers(report.event_id, report.received_at)
            ):
                reports[sms_id] = new
        sent = {
            event_id: event
            for event_id, event in result.sent.items()
            if not self._covers(event_id, event.received_at)
        }
        return replace(result, messages=messages, reports=reports, sent=sent)

    def advance_past(self, result: PollResult) -> EventCursor:
        """Return this cursor, moved behind everything in ``result``."""
        start = self.restarted() if _is_past(self, result.newest_id) else self
        return start._moved(result.event_ids, result.stable_id)

    def restarted(self) -> EventCursor:
        """Return the cursor of a reader that has read nothing yet."""
        return replace(self, after_id=None, seen=frozenset())

    def advance_past_ids(self, ids: Iterable[int], known_id: int) -> EventCursor:
        """Return this cursor, moved behind events with these ids, and behind all up to ``known_id``."""
        return self._moved(frozenset(ids), known_id)

    def sort_key(self) -> tuple[int, int, float]:
        """Return a sort key: the cursor that is furthest behind has the lowest."""
        return self.after_id or 0, len(self.seen), self.since.timestamp() if self.since else 0.0

    def as_json(self) -> dict[str, Any]:
        """Return what :meth:`from_json` reads."""
        since = self.since and self.since.isoformat()
        return {"after_id": self.after_id, "since": since, "seen": sorted(self.seen)}

    def from_json(self, stored: Mapping[str, Any]) -> EventCursor:
        """Return the cursor that was stored.

        :raises Exception: the value was not stored by :meth:`as_json`.
        """
        after_id, since = stored["after_id"], stored["since"]
        return replace(
            self,
            after_id=None if after_id is None else int(after_id),
            since=None if since is None else read_since(since),
            seen=frozenset(map(int, stored["seen"])),
        )

    def _moved(self, ids: frozenset[int], stable_id: int) -> EventCursor:
        after_id = max(self.after_id or 0, stable_id)
        seen = frozenset(event_id for event_id in self.seen | ids if event_id > after_id)
        return replace(self, after_id=after_id, seen=seen)

    def _is_new(self, message: InboundSms, duplicates: tuple[InboundSms, ...]) -> bool:
        return message.id == duplicates[0].id and not any(
            self._covers(duplicate.id, duplicate.created_at) for duplicate in duplicates
        )

    def _covers(self, event_id: int, received_at: datetime) -> bool:
        if event_id in self.seen or event_id <= (self.after_id or 0):
            return True
        return self.since is not None and received_at < self.since


def inbound_cursor(source: str, since: datetime) -> Cursor | EventCursor:
    """Return the position of a new reader of inbound messages, in one of the ``SOURCES``."""
    return EventCursor(INBOUND, since=since) if source == WEBHOOK else Cursor(since=since)


@dataclass(frozen=True, slots=True)
class ReportCursor:
    """The position of a reader of the reports of some messages. A report may come again.

    :param sms_ids: the messages.
    :param after_id: events up to and including this id are known; None before the first pass, which reads whatever was
        reported before.
    """

    source: ClassVar[str] = WEBHOOK
    kind: ClassVar[str] = DELIVERY_REPORT

    sms_ids: frozenset[str]
    after_id: int | None = None

    def __post_init__(self) -> None:
        if self.after_id is None:  # only then a request names them, and at each poll it would take long
            for sms_id in self.sms_ids:
                check_sms_id(sms_id)

    def new_in(self, result: PollResult) -> PollResult:
        """Return ``result`` with only the reports of these messages."""
        return replace(
            result,
            messages=(),
            sent={},
            reports={sms_id: result.reports[sms_id] for sms_id in self.sms_ids if sms_id in result.reports},
        )

    def advance_past(self, result: PollResult) -> ReportCursor:
        """Return this cursor, moved behind everything in ``result``."""
        after_id = 0 if _is_past(self, result.newest_id) else self.after_id or 0
        return replace(self, after_id=max(after_id, result.stable_id))

    def restarted(self) -> ReportCursor:
        """Return the cursor of a reader that has read nothing yet."""
        return replace(self, after_id=None)


#: The position of a reader, of either kind.
PollCursor = EventCursor | ReportCursor


def _is_past(cursor: PollCursor, newest_id: int | None) -> bool:
    return newest_id is not None and (cursor.after_id or 0) > newest_id


def warn_of_lost_table(conn_id: str, newest_id: int, known_id: int) -> None:
    """Log that events have lower ids than those which were read before, unless there is no event."""
    if newest_id:
        log.warning(
            "The webhook events of connection %r begin anew, and are read from the start: the newest has the id %d, "
            "and %d was read before. The table pindo_webhook_event was lost or replaced, and with it what was not read",
            conn_id,
            newest_id,
            known_id,
        )


class SharedEventScan:
    """One pass for all ``cursors``; the caller does the I/O.

    Send :attr:`next_call` and give its response to :meth:`feed`, until ``next_call`` is None.

    :param conn_id: the connection whose events are read.
    :param cursors: the readers' positions.
    :param timezone: IANA name of the time zone of times without one.
    """

    def __init__(self, conn_id: str, cursors: Iterable[PollCursor], timezone: str) -> None:
        self._conn_id = conn_id
        self._timezone = timezone
        self._messages: dict[int, InboundSms] = {}
        self._reports: dict[int, DeliveryReport] = {}
        self._sent: dict[int, WebhookEvent] = {}
        self._ids: set[int] = set()
        self._stable_ids: list[int] = []
        self._newest_id: int | None = None
        self._reading = self._read(tuple(cursors))
        self.next_call: Call[EventPage] | None = next(self._reading, None)

    def feed(self, page: EventPage) -> None:
        """Take the response to :attr:`next_call`, and choose the next call."""
        try:
            self.next_call = self._reading.send(page)
        except StopIteration:
            self.next_call = None

    def result(self, country: str | None) -> PollResult:
        """Return the result of the pass."""
        messages = tuple(message for _, message in sorted(self._messages.items()))
        reports = defaultdict[str, list[DeliveryReport]](list)
        for _, report in sorted(self._reports.items()):
            reports[report.sms_id].append(report)
        return PollResult(
            messages=messages,
            highest_id=max(self._ids, default=None),
            # A message without a sender proves nothing of the others.
            names_senders=any(message.from_number is not None for message in messages) or None,
            country=country,
            reports={sms_id: tuple(all_reports) for sms_id, all_reports in reports.items()},
            sent=self._sent,
            event_ids=frozenset(self._ids),
            stable_id=min(self._stable_ids, default=0),
            newest_id=self._newest_id,
            duplicates=_duplicates(messages),
        )

    def _read(self, cursors: tuple[PollCursor, ...]) -> Generator[Call[EventPage], EventPage, None]:
        started = [cursor for cursor in cursors if cursor.after_id is not None]
        new = [cursor for cursor in cursors if cursor.after_id is None]
        if started:
            known_ids = [cursor.after_id or 0 for cursor in started]
            first = yield from self._read_all(EventFilter(kinds=_kinds(started)), min(known_ids))
            self._newest_id = first.newest_id
            if past := [cursor for cursor in started if _is_past(cursor, first.newest_id)]:
                warn_of_lost_table(self._conn_id, first.newest_id, max(known_ids))
                new += [cursor.restarted() for cursor in past]
        for which in _first_requests(new):
            yield from self._read_all(which, 0)

    def _read_all(self, which: EventFilter, after: int) -> Generator[Call[EventPage], EventPage, EventPage]:
        """Read all events that match, and return the first page."""
        first = page = yield list_events(self._conn_id, which, after=after)
        # That of the first page: events below that of a later page may be missing from the first.
        self._stable_ids.append(first.stable_id)
        self._add(page)
        while page.more:
            page = yield list_events(self._conn_id, which, after=page.last_id)
            self._add(page)
        return first

    def _add(self, page: EventPage) -> None:
        for event in page.events:
            self._ids.add(event.id)
            try:
                self._add_event(event)
            except MalformedResponse as error:
                log.warning("Webhook event %d is left out: %s", event.id, error)

    def _add_event(self, event: WebhookEvent) -> None:
        from airflow_provider_pindo.api.parsers import read_inbound_event

        if event.kind == INBOUND:
            self._messages[event.id] = read_inbound_event(event.body, event.id, event.received_at)
        elif event.kind == SENT:
            self._sent[event.id] = event
        else:
            self._reports[event.id] = read_report(event.body, self._timezone, event.received_at, event.id)


def _first_requests(new: Sequence[PollCursor]) -> Iterator[EventFilter]:
    """Yield what to ask for, for readers that have read nothing yet."""
    if everything := [cursor for cursor in new if isinstance(cursor, EventCursor)]:
        times = [cursor.since for cursor in everything]
        since = None if None in times else min(time for time in times if time)
        yield EventFilter(kinds=_kinds(everything), since=since)
    sms_ids = sorted(
        {sms_id for cursor in new if isinstance(cursor, ReportCursor) for sms_id in cursor.sms_ids}
    )
    for start in range(0, len(sms_ids), MAX_SMS_IDS):
        yield EventFilter(kinds=(DELIVERY_REPORT,), sms_ids=sms_ids[start : start + MAX_SMS_IDS])


def _duplicates(messages: Iterable[InboundSms]) -> dict[int, tuple[InboundSms, ...]]:
    """Return those of ``messages``, oldest first, that are the same, by the id of each."""
    by_sms_id: defaultdict[str, list[InboundSms]] = defaultdict(list)
    for message in messages:
        if sms_id := message.raw.get("sms_id"):
            by_sms_id[str(sms_id)].append(message)
    by_body: defaultdict[str, list[InboundSms]] = defaultdict(list)
    for candidates in by_sms_id.values():
        if len(candidates) > 1:  # rarely: writing all bodies as JSON would block the event loop
            for message in candidates:
                by_body[json.dumps(message.raw, sort_keys=True)].append(message)
    return {message.id: tuple(same) for same in by_body.values() if len(same) > 1 for message in same}


def _kinds(cursors: Iterable[PollCursor]) -> tuple[str, ...]:
    return tuple(sorted({cursor.kind for cursor in cursors}))
