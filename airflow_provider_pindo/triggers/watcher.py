"""An event that carries messages and does not show them: the triggerer logs what a trigger fires."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.triggers.base import TriggerEvent

from airflow_provider_pindo._inbox.filter import InboundFilter
from airflow_provider_pindo._inbox.scan import Cursor, PollResult
from airflow_provider_pindo.api.arguments import read_since
from airflow_provider_pindo.api.errors import PindoConfigurationError


class MessagesArrived(TriggerEvent):
    """Messages for the DAGs of an asset; only their ids are shown."""

    def __repr__(self) -> str:
        return f"MessagesArrived<messages {', '.join(str(each['id']) for each in self.payload['messages'])}>"

    __str__ = __repr__


#: Most messages in one event; what is left comes with the next poll. A DAG that maps over an event's messages
#: stays below ``[core] max_map_length`` (1024).
MAX_MESSAGES = 500

#: Time within which a second event may find the first one's DAG run not yet made. Airflow then gives that
#: run the first event alone and lets the second wait for a third: an empty one, once it is quiet, is sent.
CROWDED = timedelta(seconds=60)

QUIET = timedelta(seconds=10)


class Watcher:
    """What one watcher has seen and not yet fired.

    :param place: how far it has fired; what is new from there on is to come.
    :param last_event: when it last fired; None: never.
    :param owes_flush: whether an empty event is still due.
    """

    def __init__(
        self, place: Cursor, last_event: datetime | None = None, *, owes_flush: bool = False
    ) -> None:
        self.place = place
        self.last_event = last_event
        self.owes_flush = owes_flush
        self._reached = place
        self._backlog: list[dict[str, Any]] = []

    @classmethod
    def from_json(cls, stored: Any) -> Watcher:
        """Return the watcher that :meth:`as_json` described.

        :raises PindoConfigurationError: it is nothing that was stored here.
        """
        try:
            after_id, since, last = stored.get("after_id"), stored.get("since"), stored.get("last_event")
            place = Cursor(
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

    async def take(self, found: PollResult, wanted: InboundFilter) -> None:
        """Note the messages of a round that are wanted."""
        self._backlog += await wanted.async_matches(found.messages)
        self._reached = self._reached.advance_to(found.highest_id)
        if not self._backlog:
            self.place = self._reached

    def next_event(self, now: datetime) -> TriggerEvent | None:
        """Return what is to be fired now, and move the place on behind it."""
        messages, self._backlog = self._backlog[:MAX_MESSAGES], self._backlog[MAX_MESSAGES:]
        quiet = None if self.last_event is None else now - self.last_event
        if messages:
            self.place = self.place.advance_to(messages[-1]["id"]) if self._backlog else self._reached
            self.owes_flush = self.owes_flush or (quiet is not None and quiet < CROWDED)
        elif self.owes_flush and (quiet is None or quiet >= QUIET):
            self.owes_flush = False
        else:
            return None
        self.last_event = now
        return MessagesArrived(payload={"messages": messages})
