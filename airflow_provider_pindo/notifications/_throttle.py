"""Throttle: one text for each incident. The first failure is texted, and the next ones are counted.

**Purpose.** Many tasks may fail at the same time, on many machines. One text reports all of them.

**How it works.** The processes that run callbacks share only Airflow's database. All of them can write only
Variables there. A process cannot increment or lock a Variable. So no process reads, changes and writes one back.
The state is in the *names* of Variables, and each name is written once::

    pindo_alert.<incident>.failure.<ms>.<failure>   a callback of a failure
    pindo_alert.<incident>.sent.<ms>                a text was sent, or is about to be sent
    pindo_alert.<incident>.reported.<ms>.<failure>  failures up to this time, and this failure, were reported

1. A callback writes its ``failure`` name and lists all names.
2. If a ``sent`` name is younger than the window, the callback is held back.
3. Otherwise it waits :data:`RECHECK_DELAY` seconds and lists the names again. Every callback of this moment now
   sees the others. The oldest is sent, and the others are held back.

Under load, Airflow may call back twice for one failure. The task calls back, and so does the DAG processor when
the scheduler misses the task's heartbeat or its end. The second callback is neither sent nor counted. A reported
failure is remembered for :data:`DUPLICATE_WINDOW` seconds.

If the sending process dies before it sends, or certainly sends nothing, failures of the next
:data:`LEADER_TIMEOUT` seconds are held back. The first failure after that is sent.

**What it does not do.**

* Two texts may be sent instead of one. This takes two slow writes in a row. The second failure's name appears
  more than :data:`RECHECK_DELAY` seconds late. Then the ``sent`` name of the first text is as late. It also
  happens when both callbacks of one failure start in the same millisecond. No failure is lost.
* It does not synchronize clocks. The machines' clocks must agree within a few seconds.
* The count is never too low, but it may be late. Failures of the last :data:`DECISION_TIMEOUT` seconds before a
  text are counted in the next text. So is a failure whose own text was certainly not sent, or was sent
  unthrottled. A count is marked as reported only after Pindo accepts the text. If that mark is not written, the
  next text counts the same failures again.
"""

from __future__ import annotations

import hashlib
import re
import time
import uuid
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.notifications._timebox import TimeLimit

PREFIX = "pindo_alert."
#: Seconds between the two readings before a text is sent. Writing a Variable takes about 20 ms.
RECHECK_DELAY = 1.0
#: Seconds for the decision; after that the text is sent unthrottled. Long, because Airflow is slow when
#: everything fails.
DECISION_TIMEOUT = 15.0
#: Seconds until a callback that was to send, and wrote no ``sent`` name, counts as dead.
LEADER_TIMEOUT = 2 * DECISION_TIMEOUT
#: Seconds for which a reported failure is remembered, because Airflow may call back again. Airflow detects missed
#: heartbeats after 5 minutes, and its DAG processor may run the callback much later.
DUPLICATE_WINDOW = 3600.0
#: Seconds until the names of an incident that did not come back are deleted: 30 days.
RETENTION = 30 * 86400.0

_KINDS = ("failure", "sent", "reported")
_match_name = re.compile(
    re.escape(PREFIX)
    + rf"[0-9a-f]{{16}}\.(?P<kind>{'|'.join(_KINDS)})\.(?P<at>[0-9]+)(?:\.(?P<id>[0-9a-f]+))?"
).fullmatch


class Store(Protocol):
    """Names that are visible to all processes after a write."""

    def names(self, prefix: str) -> Iterable[str]:
        """Return all names with this prefix."""

    def write(self, name: str, value: str) -> None:
        """Write a name; ``value`` is for people who see it in the UI."""

    def delete(self, name: str) -> None:
        """Delete a name, if it exists."""


@dataclass(frozen=True, slots=True, order=True)
class FailureRecord:
    """One callback of a failure: its time (milliseconds since 1970) and the failure's ID."""

    at: int
    id: str


@dataclass(frozen=True, slots=True)
class ThrottleState:
    """The state of one incident, parsed from its names. All times are milliseconds.

    :param failures: the ID of each failure, with the time of its first callback.
    :param sent: the time of the latest text, or None.
    :param reported: failures up to this time were reported.
    :param texted: failures that had a text of their own.
    """

    failures: Mapping[str, int]
    sent: int | None
    reported: int
    texted: frozenset[str] = frozenset()

    def holds_back(self, failure: FailureRecord, window: int) -> bool:
        """Return whether ``failure`` is held back: a text was sent within the window, or another is about to be."""
        after = self.reported
        if self.sent is not None:
            if self.failures.get(failure.id, failure.at) < self.sent + window:
                return True
            after = max(after, self.sent + window - 1)
        for record in sorted({failure, *(FailureRecord(at, id_) for id_, at in self.failures.items())}):
            if record.at > after:  # the first failure of all, or the first one after a dead leader
                if record == failure:
                    return False
                after = record.at + _ms(LEADER_TIMEOUT)
        return True

    def count_held_back(self, until: int, failure_id: str) -> int:
        """Return the number of failures up to ``until``, other than this one, that no text has reported."""
        excluded = self.texted | {failure_id}
        return sum(self.reported < at <= until and id_ not in excluded for id_, at in self.failures.items())


@dataclass(frozen=True, slots=True)
class Permit:
    """Permission to send one text.

    :param held_back: the number of other failures that the text reports.
    :param failure: the failure that the text is about.
    :param until: the end of the counted time, in milliseconds.
    :param sent: the name that records the text.
    """

    held_back: int
    failure: FailureRecord
    until: int
    sent: str


class Throttle:
    """The failures of one incident, as reported to one list of people.

    :param incident: the name that the failures share. People see it as the Variables' value.
    :param people: the recipients. Each list of recipients is throttled separately.
    :param window: seconds in which a text holds back the next ones.
    :param store: holds the names.
    :param clock: gives seconds since 1970.
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
        digest = _digest("\n".join((*sorted(people), incident)), 16)
        self._prefix = f"{PREFIX}{digest}."
        self._window = _ms(window)
        self._store = store
        self._clock = clock

    def request_permit(self, limit: TimeLimit, failure_id: str = "") -> Permit | None:
        """Record a failure, and return a permit if its text may be sent.

        :param limit: the time for the decision. Nothing that holds back others is written after it.
        :param failure_id: the same for all callbacks of this failure, and for no other failure. Empty (default)
            means unknown: this callback then counts as a failure of its own.
        :return: None if the text is held back.
        :raises Exception: the store failed, or did not respond in time.
        """
        failure = FailureRecord(
            _ms(self._clock()), _digest(failure_id) if failure_id else uuid.uuid4().hex[:12]
        )
        self._write("failure", failure.at, failure.id)
        for delay in (0.0, RECHECK_DELAY):
            time.sleep(delay)
            state = self._read_state()
            if state.holds_back(failure, self._window):
                return None
        if not limit.remaining():
            raise TimeoutError
        sent = self._write("sent", _ms(self._clock()))
        # Every failure before this time is visible by now, or its callback gave up on the store.
        until = failure.at - _ms(DECISION_TIMEOUT)
        return Permit(state.count_held_back(until, failure.id), failure, until, sent)

    def withdraw(self, permit: Permit) -> None:
        """Withdraw the permit of a text that was certainly not sent. A later text counts its failure."""
        self._store.delete(permit.sent)

    def commit(self, permit: Permit, limit: TimeLimit) -> None:
        """Mark the failures of an accepted text as reported, and delete names that are no longer needed."""
        reported = self._write("reported", permit.until, permit.failure.id)
        self._clean_up({permit.sent, reported}, permit.until - _ms(DUPLICATE_WINDOW), limit)

    def _clean_up(self, kept: Container[str], oldest_here: int, limit: TimeLimit) -> None:
        oldest_elsewhere = _ms(self._clock() - RETENTION)
        for name in sorted(self._store.names(PREFIX)):
            if not limit.remaining():
                return  # the next text deletes the rest
            oldest = oldest_here if name.startswith(self._prefix) else oldest_elsewhere
            match = _match_name(name)
            if match and int(match["at"]) <= oldest and name not in kept:
                self._store.delete(name)

    def _read_state(self) -> ThrottleState:
        matches = [match for name in self._store.names(self._prefix) if (match := _match_name(name))]
        times = {kind: [int(match["at"]) for match in matches if match["kind"] == kind] for kind in _KINDS}
        records = [
            FailureRecord(int(match["at"]), match["id"]) for match in matches if match["kind"] == "failure"
        ]
        return ThrottleState(
            # The last one stays: the first callback of each failure.
            failures={record.id: record.at for record in sorted(records, reverse=True)},
            sent=max(times["sent"], default=None),
            reported=max(times["reported"], default=0),
            texted=frozenset(match["id"] for match in matches if match["kind"] == "reported"),
        )

    def _write(self, kind: str, *parts: object) -> str:
        name = self._prefix + ".".join(map(str, (kind, *parts)))
        self._store.write(name, self._incident)
        return name


class VariableStore:
    """Airflow's Variables, in a task, a DAG processor or a triggerer."""

    def names(self, prefix: str) -> Iterable[str]:
        """Return the names of the Variables in Airflow's database with this prefix."""
        from airflow.providers.common.compat.sdk import Variable

        _check_listable(Variable)
        if hasattr(Variable, "keys"):
            return list(Variable.keys(prefix=prefix))
        return _names_in_database(prefix)  # pragma: no cover - Airflow 2.11

    def write(self, name: str, value: str) -> None:
        """Write a Variable."""
        from airflow.providers.common.compat.sdk import Variable

        _check_listable(Variable)  # a name that nobody can list would never be deleted
        Variable.set(name, value, description="Holds back repeated alerts. PindoNotifier deletes it")

    def delete(self, name: str) -> None:
        """Delete a Variable."""
        from airflow.providers.common.compat.sdk import Variable

        Variable.delete(name)


def _check_listable(variable: Any) -> None:
    """Refuse an Airflow that cannot list its Variables.

    :raises PindoConfigurationError: its version is 3.0 to 3.2.
    """
    from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

    if AIRFLOW_V_3_0_PLUS and not hasattr(variable, "keys"):
        raise PindoConfigurationError("Airflow 3.0 to 3.2 cannot list Variables; 2.11 and 3.3 can")


def _names_in_database(prefix: str) -> list[str]:  # pragma: no cover - Airflow 2.11
    """List the names with a database session, which callbacks have in Airflow 2.11."""
    from airflow.models.variable import Variable
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        query: Any = select(Variable.key).where(Variable.key.startswith(prefix, autoescape=True))
        return list(session.scalars(query))


def _digest(text: str, length: int = 12) -> str:
    """Return a short name for ``text`` that does not reveal it."""
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
