"""Reading the webhook events that the API server keeps: requests as calls, and a cursor that loses no event.

Ids are given out in order but may become visible out of order: a transaction with a lower id may commit later. So each
answer has a ``settled_id``, up to which nothing can appear any more. The cursor moves to it and no further. It keeps
the ids above it that were read, and drops them when they come again.

The route is ``POST /pindo/events/{conn_id}`` of the API server, with ``Authorization: Bearer`` and the token of
:func:`~airflow_provider_pindo.api.webhooks.reading_token`. Ids and numbers are in the body, since an access log prints
addresses. Every key of the request is optional::

    {"after": 120, "limit": 500, "kinds": ["delivery_report"], "sms_ids": ["out_sms_01H7"], "to": "+250781234567",
     "from": "+250781234567", "since": "2026-11-29T08:00:00+00:00"}

    {"events": [{"id": 121, "kind": "delivery_report", "sms_id": "out_sms_01H7", "status": "DELIVRD",
                 "body": {...}, "received_at": "2026-11-29T08:00:04.123456+00:00"}],
     "last_id": 121, "settled_id": 118, "more": false}

``more`` says that another page follows, after ``last_id``. A page may have fewer events than ``limit`` and still be
followed by another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from airflow_provider_pindo.api.calls import Call
from airflow_provider_pindo.api.parsers import MalformedResponse

#: Most events in one page, and most ids of messages in one request.
MAX_EVENTS = 1000
MAX_SMS_IDS = 1000


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """A webhook that the API server received.

    :param id: grows with time; of two events with the same id, one is a repeat.
    :param kind: one of :data:`~airflow_provider_pindo.api.webhooks.KINDS`.
    :param sms_id: the id of the message as text, or None.
    :param status: of a delivery report, in capitals; None for every other kind.
    :param body: what Pindo sent.
    :param received_at: aware time, in UTC.
    """

    id: int
    kind: str
    sms_id: str | None
    status: str | None
    body: Mapping[str, Any] = field(repr=False)
    received_at: datetime


@dataclass(frozen=True, slots=True)
class EventPage:
    """One answer of the API server.

    :param last_id: the next page comes after it.
    :param settled_id: no event with an id up to this one can appear any more.
    :param more: whether another page follows.
    """

    events: tuple[WebhookEvent, ...]
    last_id: int
    settled_id: int
    more: bool


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events to read. What is not given matches every event.

    :param kinds: only these kinds.
    :param sms_ids: only events of these messages; at most :data:`MAX_SMS_IDS`.
    :param to: only events whose body has this number as ``to``; whether with a plus, or without, does not matter.
    :param from_number: likewise its ``from``.
    :param since: aware time; only events that were received then or later.
    """

    kinds: Sequence[str] = ()
    sms_ids: Sequence[str] = ()
    to: str | None = field(default=None, repr=False)
    from_number: str | None = field(default=None, repr=False)
    since: datetime | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the request's keys for this filter."""
        keys = {
            "kinds": list(self.kinds),
            "sms_ids": list(self.sms_ids),
            "to": self.to,
            "from": self.from_number,
            "since": None if self.since is None else self.since.isoformat(),
        }
        return {key: value for key, value in keys.items() if value}


def list_events(
    conn_id: str, which: EventFilter, *, after: int = 0, limit: int = MAX_EVENTS
) -> Call[EventPage]:
    """``POST /pindo/events/{conn_id}``: one page of events."""
    return Call(
        "list_events",
        "POST",
        f"/pindo/events/{conn_id}",
        read_event_page,
        json={**which.as_json(), "after": after, "limit": limit},
        safe_to_repeat=True,
    )


def read_event_page(body: Any) -> EventPage:
    """Parse one answer of the API server.

    :raises MalformedResponse: it is none.
    """
    try:
        return EventPage(
            events=tuple(
                WebhookEvent(
                    int(row["id"]),
                    row["kind"],
                    row["sms_id"],
                    row["status"],
                    row["body"],
                    datetime.fromisoformat(row["received_at"]),
                )
                for row in body["events"]
            ),
            last_id=int(body["last_id"]),
            settled_id=int(body["settled_id"]),
            more=bool(body["more"]),
        )
    except (KeyError, TypeError, ValueError):
        raise MalformedResponse("it is not a list of webhook events") from None


@dataclass(frozen=True, slots=True)
class EventCursor:
    """The position up to which a reader has read. It can be stored as JSON and read again.

    :param after_id: every event up to this id was read.
    :param seen: ids above it that were read too.
    """

    after_id: int = 0
    seen: frozenset[int] = frozenset()

    def as_json(self) -> dict[str, Any]:
        """Return this cursor as JSON."""
        return {"after_id": self.after_id, "seen": sorted(self.seen)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> EventCursor:
        """Return the cursor that :meth:`as_json` stored."""
        return cls(int(stored["after_id"]), frozenset(map(int, stored["seen"])))


#: Before the first event.
START = EventCursor()


class EventScan:
    """One pass over the events; the caller does the I/O.

    Make :attr:`next_call` and give its answer to :meth:`feed`, until ``next_call`` is None. Every event is returned by
    exactly one of the passes that hand :attr:`cursor` on from one to the next.

    :param conn_id: the connection whose events are read.
    :param which: the filter; the same for all passes of a cursor.
    :param cursor: where the last pass ended.
    """

    def __init__(self, conn_id: str, which: EventFilter, cursor: EventCursor) -> None:
        self._conn_id = conn_id
        self._which = which
        self._start = cursor
        self._settled_id: int | None = None
        self._read: set[int] = set(cursor.seen)
        self.next_call: Call[EventPage] | None = list_events(conn_id, which, after=cursor.after_id)

    def feed(self, page: EventPage) -> list[WebhookEvent]:
        """Take the answer to :attr:`next_call`, and return its events that were not read before, oldest first."""
        if (
            self._settled_id is None
        ):  # that of the first page: later pages may have missed events below theirs
            self._settled_id = page.settled_id
        events = [event for event in page.events if event.id not in self._read]
        self._read.update(event.id for event in events)
        self.next_call = list_events(self._conn_id, self._which, after=page.last_id) if page.more else None
        return events

    @property
    def cursor(self) -> EventCursor:
        """Where the next pass starts. Before the pass has ended: where this one started."""
        if self.next_call is not None or self._settled_id is None:
            return self._start
        after_id = max(self._start.after_id, self._settled_id)
        return EventCursor(after_id, frozenset(id for id in self._read if id > after_id))
