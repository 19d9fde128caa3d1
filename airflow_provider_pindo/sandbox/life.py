"""The life of a message: accepted, sent, then what its outcome says, on the sandbox's clock.

Every message has one row beside the one in ``messages``: its outcome, its status, and when its next step is
due. A restart with the same state file continues there. Each step announces its event exactly once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

from airflow_provider_pindo.sandbox.clock import Clock, iso
from airflow_provider_pindo.sandbox.events import Event, delivery_report, sent_event
from airflow_provider_pindo.sandbox.outcomes import (
    OUTCOMES,
    REPORT_BY_STATUS,
    STATUS_BY_REPORT,
    STATUSES,
    RuleBook,
    Step,
)
from airflow_provider_pindo.sandbox.settings import Settings
from airflow_provider_pindo.sandbox.store import MESSAGE_COLUMNS, Message, Store

#: Steps that the worker takes before it lets the server respond again.
BATCH = 500

_SCHEMA = """
CREATE TABLE IF NOT EXISTS lives (
    sms_id TEXT PRIMARY KEY, outcome TEXT NOT NULL, status TEXT NOT NULL, status_at REAL NOT NULL,
    reports TEXT NOT NULL, step INTEGER NOT NULL, due_at REAL, request INTEGER) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS lives_due ON lives (due_at) WHERE due_at IS NOT NULL;
UPDATE lives SET request = NULL WHERE request IS NOT NULL;
"""


class Life(NamedTuple):
    """The life of one message. Its fields are in the order of the table's columns.

    :param outcome: a name of :data:`~.outcomes.OUTCOMES`.
    :param status: one of :data:`~.outcomes.STATUSES`.
    :param status_at: since when it has this status.
    :param reports: the statuses of the delivery reports, oldest first, with commas.
    :param step: number of steps that it has taken. The first is that it is sent.
    :param due_at: when its next step is due; None without one.
    :param request: number of the request that sent it, in the log of this process.
    """

    sms_id: str
    outcome: str
    status: str
    status_at: float
    reports: str
    step: int
    due_at: float | None
    request: int | None

    def as_json(self) -> dict[str, Any]:
        """What the phones show of it."""
        return {
            "status": self.status,
            "status_at": iso(self.status_at),
            "outcome": self.outcome,
            "reports": self.reports.split(",") if self.reports else [],
        }


_WIDTH = len(Life._fields)
_DUE = f"""
SELECT lives.*, {MESSAGE_COLUMNS} FROM lives JOIN messages USING (sms_id)
WHERE due_at <= ? ORDER BY due_at, seq LIMIT ?
"""  # noqa: S608


class Lives:
    """The lives of all messages, and the worker that takes their steps when they are due.

    :param settings: function that returns the current settings.
    :param announce: called with each event.
    :param reply: called with a phone's number and the time when it replies on its own.
    :param touch: called when a status has changed.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        rules: RuleBook,
        settings: Callable[[], Settings],
        announce: Callable[[Event], None],
        reply: Callable[[str, float], None],
        touch: Callable[[], None],
    ) -> None:
        self._store = store
        self._db = store.database
        self._clock = clock
        self._rules = rules
        self._settings = settings
        self._announce = announce
        self._reply = reply
        self._touch = touch
        self._woken = asyncio.Event()
        self._worker: asyncio.Task[None]
        self._db.executescript(_SCHEMA)

    # -- reading

    def get(self, sms_id: str) -> Life:
        """The life of a message.

        :raises ValueError: there is no such message.
        """
        row = self._db.execute("SELECT * FROM lives WHERE sms_id = ?", (sms_id,)).fetchone()
        if row is None:
            raise ValueError(f"no message {sms_id!r}; its id is the sms_id of the receipt")
        return Life._make(row)

    def as_json(self, messages: list[Message]) -> list[dict[str, Any]]:
        """Messages as the phones show them, with their status."""
        lives: dict[str, Life] = {}
        for start in range(0, len(messages), BATCH):
            ids = [message.sms_id for message in messages[start : start + BATCH]]
            marks = ", ".join("?" * len(ids))
            rows = self._db.execute(f"SELECT * FROM lives WHERE sms_id IN ({marks})", ids)  # noqa: S608
            lives.update((row[0], Life._make(row)) for row in rows)
        return [
            {**message.as_json(), **(lives[message.sms_id].as_json() if message.sms_id in lives else {})}
            for message in messages
        ]

    # -- what happens to messages

    def begin(self, messages: list[Message], request: int | None) -> None:
        """Begin the lives of accepted messages.

        :param request: number of their request in the log.
        """
        now, settings = self._clock.time(), self._settings()
        due_at = now + settings.sent_seconds
        outcomes = self._rules.outcomes(messages, settings.delivery_outcome)
        rows = [
            Life(message.sms_id, outcome, "accepted", now, "", 0, due_at, request)
            for message, outcome in zip(messages, outcomes, strict=True)
        ]
        if not settings.sent_seconds:
            rows = [self._take_step(message, life, now) for message, life in zip(messages, rows, strict=True)]
        self._insert(rows)
        self._woken.set()

    def run_due(self, limit: int = -1) -> int:
        """Take the steps that are due, oldest first.

        :param limit: number of steps; -1 for all.
        :return: number of steps taken.
        """
        taken = 0
        while rows := self._db.execute(_DUE, (self._clock.time(), limit)).fetchall():
            lives = [(Message._make(row[_WIDTH:]), Life._make(row[:_WIDTH])) for row in rows]
            self._insert([self._take_step(message, life, life.due_at or 0.0) for message, life in lives])
            taken += len(lives)
            if limit >= 0:
                break
        if taken:
            self._touch()
        return taken

    def set_status(self, sms_id: str, status: str) -> None:
        """Make the network report this status now. The message takes no further step on its own.

        :raises ValueError: an unknown message or status.
        """
        life = self.get(sms_id)
        if status not in STATUSES:
            raise ValueError(f"no status {status!r}; there are {', '.join(STATUSES)}")
        message, now = self._store.message(sms_id), self._clock.time()
        if life.status == "accepted" or status == "sent":
            self._announce(sent_event(message))
            life = life._replace(status="sent", status_at=now)
        report = REPORT_BY_STATUS.get(status)
        if report is not None:
            life = self._announce_report(message, life, Step(report), now)
        self._insert([life._replace(due_at=None)])

    def set_outcome(self, sms_id: str, outcome: str) -> None:
        """Change what becomes of a message, from now on.

        :raises ValueError: an unknown message or outcome.
        """
        life = self.get(sms_id)
        if outcome not in OUTCOMES:
            raise ValueError(f"no outcome {outcome!r}; there are {', '.join(OUTCOMES)}")
        life = life._replace(outcome=outcome)
        if life.status != "accepted":
            life = self._schedule(life, 1, self._clock.time())
        self._insert([life])
        self._woken.set()

    def deliver(self, to: str | None = None) -> list[str]:
        """Deliver every message that has no final status, or those to one number.

        :return: their ids, oldest first.
        """
        rows = self._db.execute(
            "SELECT sms_id FROM messages JOIN lives USING (sms_id) "
            "WHERE status IN ('accepted', 'sent') AND ifnull(recipient = ?, 1) ORDER BY seq",
            (to,),
        ).fetchall()
        for (sms_id,) in rows:
            self.set_status(sms_id, "delivered")
        return [sms_id for (sms_id,) in rows]

    def clear(self) -> None:
        """Forget all lives."""
        self._db.execute("DELETE FROM lives")

    # -- the worker

    def start(self) -> None:
        """Start the worker. Call it inside the event loop."""
        self._worker = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Stop the worker."""
        self._worker.cancel()
        await asyncio.gather(self._worker, return_exceptions=True)

    def wake(self) -> None:
        """Let the worker look again, since the clock or a due time has changed."""
        self._woken.set()

    async def _work(self) -> None:
        while True:
            self._woken.clear()
            if self.run_due(BATCH):
                await asyncio.sleep(0)
                continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), self._pause())

    def _pause(self) -> float | None:
        """Seconds until a step is due; None when only a change can make one due."""
        due_at = self._db.execute("SELECT min(due_at) FROM lives WHERE due_at IS NOT NULL").fetchone()[0]
        return None if due_at is None or not self._clock.running else due_at - self._clock.time()

    # -- one step

    def _take_step(self, message: Message, life: Life, at: float) -> Life:
        """Take the next step of a message, and return its life after it."""
        if life.step == 0:
            self._announce(sent_event(message))
            life = life._replace(status="sent", status_at=at)
        else:
            step = OUTCOMES[life.outcome].steps[life.step - 1]
            if step.report is None:
                self._reply(message.to, at)
            else:
                life = self._announce_report(message, life, step, at)
        return self._schedule(life, life.step + 1, at)

    def _announce_report(self, message: Message, life: Life, step: Step, at: float) -> Life:
        """Announce a delivery report, and return the life after it."""
        report = step.report or ""
        older = self._settings().older_forms
        self._announce(delivery_report(message, report, step.retries_count, at, older))
        life = life._replace(reports=f"{life.reports},{report}" if life.reports else report)
        status = STATUS_BY_REPORT.get(report)
        return life if status is None else life._replace(status=status, status_at=at)

    def _schedule(self, life: Life, step: int, at: float) -> Life:
        """The life with the time at which a step is due, if its outcome has that step."""
        steps, settings = OUTCOMES[life.outcome].steps, self._settings()
        if step > len(steps):
            return life._replace(step=step, due_at=None)
        late = steps[step - 1].late
        seconds = settings.late_report_seconds if late else settings.delivery_seconds
        return life._replace(step=step, due_at=at + seconds)

    def _insert(self, lives: list[Life]) -> None:
        with self._store.transaction():
            self._db.executemany("INSERT OR REPLACE INTO lives VALUES (?, ?, ?, ?, ?, ?, ?, ?)", lives)
