"""What the triggers fire, and what a watcher has read and not yet fired."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.triggers.base import TriggerEvent

from airflow_provider_pindo._inbox.filter import InboundFilter
from airflow_provider_pindo._inbox.scan import Cursor, PollResult
from airflow_provider_pindo.api.arguments import read_since
from airflow_provider_pindo.api.errors import PindoConfigurationError

#: ``status`` of the event that resumes a task.
MATCHED = "matched"
FAILED = "failed"

#: Most messages in one event; the rest follows with the next poll. A DAG that maps over an event's messages stays below
#: ``[core] max_map_length`` (1024).
MAX_MESSAGES = 500

#: When a second event comes within this time, the DAG run of the first may not exist yet. Airflow then gives that run
#: only the first event, and the second waits for a third. So an empty event follows, once no more messages arrive.
BURST = timedelta(seconds=60)

#: Time without an event after which the empty event follows.
QUIET = timedelta(seconds=10)


class MessagesArrived(TriggerEvent):
    """Messages for the DAGs of an asset. The triggerer logs what a trigger fires, so only their ids are shown."""

    def __repr__(self) -> str:
        ids = ", ".join(str(message["id"]) for message in self.payload["messages"])
        return f"MessagesArrived<messages {ids}>"

    __str__ = __repr__


class Watcher:
    """What one watcher has read and not yet fired.

    :param cursor: the position up to which it has fired.
    :param last_event: time of its last event; None: it has not fired yet.
    :param owes_flush: whether an empty event is due.
    """

    def __init__(
        self, cursor: Cursor, last_event: datetime | None = None, *, owes_flush: bool = False
    ) -> None:
        self.cursor = cursor
        self.last_event = last_event
        self.owes_flush = owes_flush
        self._read_cursor = cursor
        self._backlog: list[dict[str, Any]] = []

    @classmethod
    def from_json(cls, stored: Any) -> Watcher:
        """Return the watcher that :meth:`as_json` described.

        :raises PindoConfigurationError: the value was not stored by :meth:`as_json`.
        """
        try:
            after_id, since, last = stored.get("after_id"), stored.get("since"), stored.get("last_event")
            cursor = Cursor(
                after_id=None if after_id is None else int(after_id),
                since=None if since is None else read_since(since),
            )
            last_event = None if last is None else read_since(last)
        except (AttributeError, TypeError, ValueError):
            raise PindoConfigurationError(
                f"the cursor in the asset's state store is {stored!r}: delete it, and the watcher starts anew"
            ) from None
        return cls(cursor, last_event, owes_flush=bool(stored.get("owes_flush")))

    def as_json(self) -> dict[str, Any]:
        """Return what a later watcher continues from."""
        return {
            "after_id": self.cursor.after_id,
            "since": self.cursor.since and self.cursor.since.isoformat(),
            "last_event": self.last_event and self.last_event.isoformat(),
            "owes_flush": self.owes_flush,
        }

    async def add(self, result: PollResult, inbound_filter: InboundFilter) -> None:
        """Add the messages of a poll that match."""
        self._backlog += await inbound_filter.async_matches(result.messages)
        self._read_cursor = self._read_cursor.advance_to(result.highest_id)
        if not self._backlog:
            self.cursor = self._read_cursor

    def next_event(self, now: datetime) -> TriggerEvent | None:
        """Return the event to fire now, if any, and move the cursor past its messages."""
        messages, self._backlog = self._backlog[:MAX_MESSAGES], self._backlog[MAX_MESSAGES:]
        quiet = None if self.last_event is None else now - self.last_event
        if messages:
            self.cursor = self.cursor.advance_to(messages[-1]["id"]) if self._backlog else self._read_cursor
            self.owes_flush = self.owes_flush or (quiet is not None and quiet < BURST)
        elif self.owes_flush and (quiet is None or quiet >= QUIET):
            self.owes_flush = False
        else:
            return None
        self.last_event = now
        return MessagesArrived(payload={"messages": messages})
