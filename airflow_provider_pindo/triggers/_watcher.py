"""What a watcher of an asset has read and not yet fired."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.triggers.base import TriggerEvent

from airflow_provider_pindo._inbox.event_scan import EventCursor
from airflow_provider_pindo._inbox.scan import Cursor, PollResult
from airflow_provider_pindo.api.arguments import read_since
from airflow_provider_pindo.api.errors import PindoConfigurationError

WatcherCursor = Cursor | EventCursor

#: Most messages or reports in one event; the rest follows with the next poll. A DAG that maps over them stays below
#: ``[core] max_map_length`` (1024).
MAX_ITEMS = 500

#: When a second event comes within this time, the DAG run of the first may not exist yet. Airflow then gives that run
#: only the first event, and the second waits for a third. So empty events follow, once nothing more arrives.
BURST = timedelta(seconds=60)

#: Time without an event after which each empty event follows. With ``max_active_runs=1``, Airflow gives an event to no
#: run while one is active. A run of up to 40 minutes therefore strands nothing. After a longer run, the rest comes with
#: the next message.
FLUSH_PAUSES = (timedelta(seconds=10), timedelta(minutes=1), timedelta(minutes=6), timedelta(minutes=36))


class Arrival(TriggerEvent):
    """Messages or reports for the DAGs of an asset. The triggerer logs what a trigger fires: only ids are shown."""

    def __repr__(self) -> str:
        [(what, items)] = self.payload.items()
        return f"Arrival<{what} {', '.join(str(item['id']) for item in items)}>"

    __str__ = __repr__


class Watcher:
    """What one watcher has read and not yet fired.

    :param cursor: the position up to which it has fired.
    :param last_event: time of its last event; None: it has not fired yet.
    :param flushes: how many empty events are still due, of :data:`FLUSH_PAUSES`.
    :param what: key of the payload.
    """

    def __init__(
        self,
        cursor: WatcherCursor,
        last_event: datetime | None = None,
        *,
        flushes: int = 0,
        what: str = "messages",
    ) -> None:
        self.cursor = cursor
        self.last_event = last_event
        self.flushes = flushes
        self._what = what
        self._read_cursor = cursor
        self._backlog: list[dict[str, Any]] = []

    def restore(self, stored: Any) -> Watcher:
        """Return the watcher that :meth:`as_json` described.

        :raises PindoConfigurationError: the value was not stored by :meth:`as_json`.
        """
        try:
            cursor, last = self.cursor.from_json(stored), stored.get("last_event")
            last_event = None if last is None else read_since(last)
            flushes = min(max(0, int(stored.get("flushes", 0))), len(FLUSH_PAUSES))
        except (AttributeError, KeyError, TypeError, ValueError, PindoConfigurationError):
            raise PindoConfigurationError(
                f"the cursor in the asset's state store is {stored!r}: delete it, and the watcher starts anew"
            ) from None
        return Watcher(cursor, last_event, flushes=flushes, what=self._what)

    def as_json(self) -> dict[str, Any]:
        """Return what a later watcher continues from."""
        return {
            **self.cursor.as_json(),
            "last_event": self.last_event and self.last_event.isoformat(),
            "flushes": self.flushes,
        }

    def sort_key(self) -> tuple[int, int, float]:
        """Return a sort key: the watcher that is furthest behind has the lowest."""
        return self.cursor.sort_key()

    def add(self, items: list[dict[str, Any]], result: PollResult) -> None:
        """Add what matches in the result of a poll, each with its ``id``."""
        self._backlog += items
        # An event may become visible after a later one. The cursor passes the oldest ones first.
        self._backlog.sort(key=lambda item: item["id"])
        self._read_cursor = self._read_cursor.advance_past(result)
        if not self._backlog:
            self.cursor = self._read_cursor

    def next_event(self, now: datetime) -> TriggerEvent | None:
        """Return the event to fire now, if any, and move the cursor past what is in it."""
        items, self._backlog = self._backlog[:MAX_ITEMS], self._backlog[MAX_ITEMS:]
        quiet = None if self.last_event is None else now - self.last_event
        if items:
            ids = [item["id"] for item in items]
            self.cursor = (
                self.cursor.advance_past_ids(ids, self._known()) if self._backlog else self._read_cursor
            )
            if self.flushes or (quiet is not None and quiet < BURST):
                self.flushes = len(FLUSH_PAUSES)
        elif self.flushes and (quiet is None or quiet >= FLUSH_PAUSES[-self.flushes]):
            self.flushes -= 1
        else:
            return None
        self.last_event = now
        return Arrival(payload={self._what: items})

    def _known(self) -> int:
        """Return the id up to which all is read, and nothing is still to be fired."""
        before_backlog: int = self._backlog[0]["id"] - 1
        return min(self._read_cursor.after_id or 0, before_backlog)
