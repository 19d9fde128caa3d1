"""The API server's route for webhook events: its requests as calls, and its responses as values.

:mod:`~airflow_provider_pindo._inbox.event_scan` reads with them and loses no event.

The route is ``POST /pindo/events/{conn_id}`` of the API server, with ``Authorization: Bearer`` and the token of
:func:`~airflow_provider_pindo.api.webhooks.reading_token`. Ids and numbers are in the body, since an access log prints
addresses. Every key of the request is optional::

    {"after": 120, "kinds": ["delivery_report"], "sms_ids": ["out_sms_01H7"], "to": "+250781234567",
     "since": "2026-11-29T08:00:00+00:00", "unclaimed": true, "duplicates": true}

    {"events": [{"id": 121, "kind": "delivery_report", "sms_id": "out_sms_01H7", "body": {...},
                 "received_at": "2026-11-29T08:00:04.123456+00:00"}],
     "last_id": 121, "stable_id": 118, "newest_id": 121, "more": false, "claims_known": true}

``more`` says that another page follows, after ``last_id``. Only this says so: a page may have few events, or none.

Ids are given out in order but may become visible out of order: a transaction with a lower id may commit later. Up to
``stable_id`` nothing can appear any more. So the next pass starts there, and drops the ids above it that it has read.

Ids begin anew when the table is lost, for example with another database. ``newest_id`` is the highest id of all events.
A reader that knows a higher one starts again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow_provider_pindo.api.fields import MalformedResponse

if TYPE_CHECKING:
    from airflow_provider_pindo.api.calls import Call

#: Most ids of messages in one request.
MAX_SMS_IDS = 1000


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """A webhook that the API server received.

    :param id: grows with time; of two events with the same id, one is a repeat.
    :param kind: one of :data:`~airflow_provider_pindo.api.webhooks.KINDS`.
    :param sms_id: the id of the message as text, or None.
    :param body: what Pindo sent.
    :param received_at: aware time, in UTC.
    """

    id: int
    kind: str
    sms_id: str | None
    body: Mapping[str, Any] = field(repr=False)
    received_at: datetime


@dataclass(frozen=True, slots=True)
class EventPage:
    """One response of the API server.

    :param last_id: the next page comes after it.
    :param stable_id: no event with an id up to this one can appear any more.
    :param newest_id: highest id of all events, also of other connections; 0 if there is no event.
    :param more: whether another page follows.
    :param claims_known: False if nobody knows which messages the ledger names. An ``unclaimed`` page is then empty, and
        its events may come later.
    """

    events: tuple[WebhookEvent, ...]
    last_id: int
    stable_id: int
    newest_id: int
    more: bool
    claims_known: bool = True


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events to read. A filter that is left out matches every event.

    :param kinds: only these kinds.
    :param sms_ids: only events of these messages; at most :data:`MAX_SMS_IDS`.
    :param to: only events whose body has this number as ``to``; a plus makes no difference.
    :param since: aware time; only events that were received then or later.
    :param duplicates: also inbound messages that repeat one received before ``since``, or before the page.
    :param unclaimed: only events whose message no ledger entry names. It needs ``since``: older entries are not read.
        The last two seconds are left out, since a task may still write its entry.
    """

    kinds: Sequence[str] = ()
    sms_ids: Sequence[str] = ()
    to: str | None = field(default=None, repr=False)
    since: datetime | None = None
    unclaimed: bool = False
    duplicates: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the request's keys for this filter."""
        keys = {
            "kinds": list(self.kinds),
            "sms_ids": list(self.sms_ids),
            "to": self.to,
            "since": None if self.since is None else self.since.isoformat(),
            "unclaimed": self.unclaimed,
            "duplicates": self.duplicates,
        }
        return {key: value for key, value in keys.items() if value}


def list_events(conn_id: str, which: EventFilter, *, after: int = 0) -> Call[EventPage]:
    """``POST /pindo/events/{conn_id}``: one page of events."""
    from airflow_provider_pindo.api.calls import Call

    return Call(
        "list_events",
        "POST",
        f"/pindo/events/{quote(conn_id, safe='')}",
        read_event_page,
        json={**which.as_json(), "after": after},
        safe_to_repeat=True,
    )


def read_event_page(body: Any) -> EventPage:
    """Parse one response of the API server.

    :raises MalformedResponse: it is something else.
    """
    try:
        return EventPage(
            events=tuple(
                WebhookEvent(
                    int(row["id"]),
                    row["kind"],
                    row["sms_id"],
                    row["body"],
                    datetime.fromisoformat(row["received_at"]),
                )
                for row in body["events"]
            ),
            last_id=int(body["last_id"]),
            stable_id=int(body["stable_id"]),
            newest_id=int(body["newest_id"]),
            more=bool(body["more"]),
            claims_known=bool(body["claims_known"]),
        )
    except (KeyError, TypeError, ValueError):
        raise MalformedResponse("it is not a list of webhook events") from None
