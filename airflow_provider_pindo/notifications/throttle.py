"""One incident, one message: the first failure is texted, those that follow are counted.

The processes that fail (tasks on many machines, DAG processors, triggerers) share nothing but Airflow's
database, and of it only Variables can be written in all of these places. A Variable cannot be incremented or
taken by one process alone, so nothing is ever read, changed and written back. Everything is in *names* of
Variables that are each written once::

    pindo_alert.<incident>.note.<ms>.<failure>   a failure: written by each callback, so that it is counted
    pindo_alert.<incident>.sent.<ms>             a text went out (or is just about to)
    pindo_alert.<incident>.told.<ms>.<failure>   failures up to this moment, and this one, have been told

A failure writes its note and lists the names. With a ``sent`` that is younger than the window it is held back.
Otherwise it waits :data:`SETTLE` seconds and lists again, so that the notes of others who fail at this moment
are seen by all of them: the oldest note goes out and the others are held back.

**A failure may be called back twice** where Airflow is overloaded: by the task, and by the DAG processor when the
scheduler has missed the task's heartbeats or its end. Both write a note of the same failure, and the first note
is the one that counts: the failure is told once, and what held it back or told it holds back its second callback
too. What was told is remembered for :data:`REPEATED` seconds.

**The race that remains.** Two texts go out instead of one when a second failure is noted so slowly that its
note appears more than :data:`SETTLE` seconds after the moment it stands for, and the ``sent`` of the first
text is then as slow to appear: two writes in a row of over a second each. One more text goes out for each
process to which that happens, or when both callbacks of one failure come in the same millisecond; nothing is
lost by it. The clocks of the machines must agree to within a few seconds.

When the process that was to send dies in the seconds before it does, or its text is certainly not sent, failures
of the next :data:`CONTENTION` seconds are held back too; the first one after that goes out, if there is one, however
many came in between.

**The count** is never too low: what a text says was held back is marked as told only once Pindo has accepted
that text, so when this is cut short it is told again. Failures of the last :data:`DECISION_TIME` seconds
before a text are counted in the next one, and so is a failure whose own text was certainly not sent, or went
out unthrottled because the store took longer than that. (The first use of Variables after a triggerer has
started may, since Airflow loads its API for it.)
"""

from __future__ import annotations

import hashlib
import re
import time
import uuid
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from airflow_provider_pindo.notifications.timebox import TimeLimit

PREFIX = "pindo_alert."
#: Seconds between the two looks of a failure that may go out. A Variable takes some 20 ms to write.
SETTLE = 1.0
#: Most seconds that a failure may take to find out whether it goes out; then it does, unthrottled. Long, since a
#: deployment in which everything fails is a slow one.
DECISION_TIME = 15.0
#: Seconds after which a failure that wanted to go out and left no ``sent`` is taken for dead.
CONTENTION = 2 * DECISION_TIME
#: Seconds for which a failure that was told is remembered, since it may be called back again. Airflow misses a
#: task's heartbeats after 5 minutes, and its DAG processor may be long in coming to the callback.
REPEATED = 3600.0
#: Seconds after which anything left of an incident that did not come back is removed: 30 days.
KEEP = 30 * 86400.0

_KINDS = ("note", "sent", "told")
_is_ours = re.compile(
    re.escape(PREFIX)
    + rf"[0-9a-f]{{16}}\.(?P<kind>{'|'.join(_KINDS)})\.(?P<at>[0-9]+)(?:\.(?P<id>[0-9a-f]+))?"
).fullmatch


class Store(Protocol):
    """Names that all processes see, once written."""

    def names(self, prefix: str) -> Iterable[str]:
        """Return all names with this prefix."""

    def write(self, name: str, value: str) -> None:
        """Write a name; ``value`` is for the people who see it."""

    def delete(self, name: str) -> None:
        """Delete a name, if it is there."""


class StoreUnavailable(Exception):
    """Airflow cannot list its Variables."""


@dataclass(frozen=True, slots=True, order=True)
class FailureRecord:
    """One callback of a failure: when it was (milliseconds since 1970) and which failure it was."""

    at: int
    id: str


@dataclass(frozen=True, slots=True)
class ThrottleState:
    """What the names of one incident say.

    :param failures: each with the moment of its first callback, in milliseconds.
    :param sent: when the latest text went out, in milliseconds; None when none is known.
    :param told: failures up to this moment have been told.
    :param texted: failures that were told by a text of their own.
    """

    failures: Mapping[str, int]
    sent: int | None
    reported: int
    texted: frozenset[str] = frozenset()

    def holds_back(self, mine: FailureRecord, window: int) -> bool:
        """Return whether ``mine`` is held back: a text went out within the window, or another one will."""
        since = self.reported
        if self.sent is not None:
            if self.failures.get(mine.id, mine.at) < self.sent + window:
                return True
            since = max(since, self.sent + window - 1)
        leader = since - _ms(CONTENTION)
        for note in sorted({mine, *(FailureRecord(at, each) for each, at in self.failures.items())}):
            if since < note.at and note.at > leader + _ms(CONTENTION):
                # The first that goes out, or the first after one that left no text: that one is taken for dead.
                if note == mine:
                    return False
                leader = note.at
        return True

    def held_back(self, until: int, mine: str) -> int:
        """Return how many failures up to ``until``, besides ``mine``, no text has told yet."""
        known = self.texted | {mine}
        return sum(self.reported < at <= until and each not in known for each, at in self.failures.items())


@dataclass(frozen=True, slots=True)
class Permit:
    """The permission to send one text.

    :param held_back: how many failures the text tells of besides its own.
    :param mine: the failure that it is sent for.
    :param until: what was counted ends here.
    :param sent: the name that says that a text went out.
    """

    held_back: int
    mine: FailureRecord
    until: int
    sent: str


class Throttle:
    """The failures of one incident, as one list of people is told of them.

    :param incident: what they have in common; any text, which people see as the Variables' value.
    :param people: who is texted: what one list was told is not yet known to another.
    :param window: seconds for which a text holds back those after it.
    :param store: where the names are.
    :param clock: seconds since 1970.
    """

    def __init__(
        self,
        incident: str,
        people: Iterable[str],
        window: float,
        store: Store,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._incident = incident
        digest = _short("\n".join((*sorted(people), incident)), 16)
        self._prefix = f"{PREFIX}{digest}."
        self._window = _ms(window)
        self._store = store
        self._clock = clock

    def enter(self, limit: TimeLimit, failure: str = "") -> Permit | None:
        """Note a failure that is called back now.

        :param limit: how long it is waited for; afterwards nothing is written that would hold back others.
        :param failure: what all callbacks of this failure have in common and no others; empty (default): not
            known, and it is taken for one of its own.
        :return: None when its text is held back.
        :raises Exception: the store cannot be read or written in time.
        """
        mine = FailureRecord(_ms(self._clock()), _short(failure) if failure else uuid.uuid4().hex[:12])
        self._write("note", mine.at, mine.id)
        for pause in (0.0, SETTLE):
            time.sleep(pause)
            board = self._read()
            if board.holds_back(mine, self._window):
                return None
        if not limit.left():
            raise TimeoutError
        sent = self._write("sent", _ms(self._clock()))
        # A note of before this moment is there, or its writer has given up on the store by now.
        until = mine.at - _ms(DECISION_TIME)
        return Permit(board.held_back(until, mine.id), mine, until, sent)

    def withdraw(self, granted: Permit) -> None:
        """Certainly nothing was sent: let the next failure go out, and tell this one then."""
        self._store.delete(granted.sent)

    def conclude(self, granted: Permit, limit: TimeLimit) -> None:
        """The text was accepted: what it told is not told again, and what is not needed is removed."""
        reported = self._write("told", granted.until, granted.mine.id)
        self._clean_up({granted.sent, reported}, granted.until - _ms(REPEATED), limit)

    def _clean_up(self, kept: Container[str], oldest_here: int, limit: TimeLimit) -> None:
        oldest = _ms(self._clock() - KEEP)
        for name in sorted(self._store.names(PREFIX)):
            if not limit.left():
                return  # what is left was told, so that it only waits for its removal by the next text
            until = oldest_here if name.startswith(self._prefix) else oldest
            ours = _is_ours(name)
            if ours and int(ours["at"]) <= until and name not in kept:
                self._store.delete(name)

    def _read(self) -> ThrottleState:
        found = [ours for name in self._store.names(self._prefix) if (ours := _is_ours(name))]
        moments = {kind: [int(each["at"]) for each in found if each["kind"] == kind] for kind in _KINDS}
        notes = [FailureRecord(int(each["at"]), each["id"]) for each in found if each["kind"] == "note"]
        return ThrottleState(
            failures={note.id: note.at for note in sorted(notes, reverse=True)},  # the first callback stays
            sent=max(moments["sent"], default=None),
            reported=max(moments["told"], default=0),
            texted=frozenset(each["id"] for each in found if each["kind"] == "told"),
        )

    def _write(self, kind: str, *parts: object) -> str:
        name = self._prefix + ".".join(map(str, (kind, *parts)))
        self._store.write(name, self._incident)
        return name


class VariableStore:
    """Airflow's Variables, where a task, a DAG processor or a triggerer runs."""

    def names(self, prefix: str) -> Iterable[str]:
        """Return the names of the Variables in Airflow's database with this prefix."""
        from airflow.providers.common.compat.sdk import Variable

        if hasattr(Variable, "keys"):
            return list(Variable.keys(prefix=prefix))
        return _names_in_database(prefix)

    def write(self, name: str, value: str) -> None:
        """Write a Variable."""
        from airflow.providers.common.compat.sdk import Variable

        Variable.set(name, value, description="Holds back repeated alerts; PindoNotifier removes it")

    def delete(self, name: str) -> None:
        """Delete a Variable."""
        from airflow.providers.common.compat.sdk import Variable

        Variable.delete(name)


def _names_in_database(prefix: str) -> list[str]:
    """List as Airflow 2.11 can, where callbacks have a session of the database."""
    from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

    if AIRFLOW_V_3_0_PLUS:
        raise StoreUnavailable("Airflow 3.0 to 3.2 cannot list Variables; 2.11 and 3.3 can")
    else:  # pragma: no cover - Airflow 2.11
        from airflow.models.variable import Variable
        from airflow.utils.session import create_session
        from sqlalchemy import select

        with create_session() as session:
            query: Any = select(Variable.key).where(Variable.key.startswith(prefix, autoescape=True))
            return list(session.scalars(query))


def _short(text: str, length: int = 12) -> str:
    """Return a short name for a text of any length, which tells nothing of it."""
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
