"""Direct reads and writes of Airflow's own tables. No other module of the plugin touches them.

Every query has a limit. What the page lists is also bounded by a window over when runs were due or started, or by one
run, and by the DAGs that the person may read. The rest is read by its key: the time of a listed entry's run, the state
of its task, the name of its DAG, and what is settled.

The state store is read as a stream, so a long window needs no more memory than a short one. The summary reads only the
first :data:`HEAD` characters of a value, since a bulk entry's numbers come last.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec
from airflow.models.connection import Connection
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.models.hitl import HITLDetail
from airflow.models.log import Log
from airflow.models.taskinstance import TaskInstance
from sqlalchemy import String, and_, cast, exists, func, not_, or_, select, tuple_

from airflow_provider_pindo._bulk.batch_entry import KEY as BULK
from airflow_provider_pindo._ledger.entry import NOT_SENT, SENT
from airflow_provider_pindo.plugins._entries import PREFIX, SINGLE

try:
    from airflow.models.task_state_store import TaskStateStoreModel
except ImportError:  # pragma: no cover - Airflow before 3.3 has no such store
    TaskStateStoreModel = None  # type: ignore[assignment,misc]

if TYPE_CHECKING:
    from sqlalchemy import Select
    from sqlalchemy.orm import Session

T = TypeVar("T")

#: Characters of a value that a summary reads.
HEAD = 1000
#: Characters of an entry within which a task writes its status.
_STATUS_HEAD = 60
#: Rows that the database sends at a time.
_CHUNK = 500
_WEEK = timedelta(days=7)
#: Key of a value that ``[workers] state_store_backend`` keeps, where the API server does not look.
REFERENCE = "__airflow_state_ref__"
#: Where a bulk entry's numbers start.
_NUMBERS = ', "numbers": '


class NoTaskError(Exception):
    """There is no such task instance."""


class TaskKey(NamedTuple):
    """A task instance."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1

    def to_value(self) -> dict[str, Any]:
        """Return the key as the page reads it."""
        return self._asdict()


class StoredValue(NamedTuple):
    """A value of the task state store.

    :param value: parsed; None when it is not JSON.
    """

    task: TaskKey
    key: str
    value: Any
    updated_at: datetime
    run_after: datetime


class Head(NamedTuple):
    """The head of a value of the task state store: all but the numbers of its recipients.

    The page waits for thousands of these. So drivers leave the times alone, which they are slow to parse.

    :param value: JSON text.
    :param updated_at: see :func:`read_time`.
    """

    id: int
    dag_run_id: int
    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    key: str
    value: str
    updated_at: str

    @property
    def task(self) -> TaskKey:
        """The task instance."""
        return TaskKey(self.dag_id, self.run_id, self.task_id, self.map_index)


@dataclass(frozen=True, slots=True)
class Question:
    """A parked task that waits for a person's answer."""

    task: TaskKey
    subject: str


@dataclass(frozen=True, slots=True)
class Window:
    """What a query may reach.

    :param dag_ids: the DAGs that the person may read.
    :param since: runs that were due or started from then on; None within one run.
    :param run: DAG ID and run ID; None for all runs since then.
    :param task: task ID and map index within that run.
    """

    dag_ids: Collection[str]
    since: datetime | None = None
    run: tuple[str, str] | None = None
    task: tuple[str, int] | None = None

    def __post_init__(self) -> None:
        if self.since is None and self.run is None:
            raise ValueError("a window needs a time or a run")

    def conditions(self) -> list[Any]:
        """Return the window as conditions on ``dag_run``."""
        conditions: list[Any] = [DagRun.dag_id.in_(sorted(self.dag_ids))]
        if self.since is not None:
            conditions.append(_is_since(self.since))
        if self.run is not None:
            conditions += [DagRun.dag_id == self.run[0], DagRun.run_id == self.run[1]]
        return conditions


def _is_since(since: datetime) -> Any:
    """Return the condition that a DAG run was due or started since a time.

    A backfill's runs were due long before they start. Airflow has no index over the start. So this reads all of
    ``dag_run``: 200,000 runs take Postgres about 40 ms.
    """
    return or_(DagRun.run_after >= since, DagRun.start_date >= since)


def has_store() -> bool:
    """Return whether this Airflow has a task state store: 3.3 and later."""
    return TaskStateStoreModel is not None


def iter_heads(
    session: Session, window: Window, limit: int, *, left_by_failed: bool = False
) -> Iterator[Head]:
    """Yield the heads of the ledger's entries of messages, those of the newest runs first.

    :param limit: most values.
    :param left_by_failed: only entries of failed tasks in which somebody may be unknown.
    """
    truncated = []
    store = TaskStateStoreModel.__table__.c
    heads = _heads(window, func.substr(store.value, 1, HEAD))
    if left_by_failed:
        task = TaskInstance.__table__.c
        names = ("dag_id", "run_id", "task_id", "map_index")
        is_of_task = and_(*(store[name] == task[name] for name in names))
        heads = heads.join(TaskInstance.__table__, is_of_task)
        heads = heads.where(task.state == "failed", _may_be_unknown(store))
    for head in _stream_heads(session, heads.order_by(DagRun.__table__.c.run_after.desc()).limit(limit)):
        if len(head.value) < HEAD:
            yield head
            continue
        before, found, _ = head.value.partition(_NUMBERS)
        if found:
            yield head._replace(value=before + "}")
        else:
            truncated.append(head.id)
    whole = _heads(window, store.value)
    for ids in _chunks(truncated):
        yield from _stream_heads(session, whole.where(store.id.in_(ids)).limit(len(ids)))


def _heads(window: Window, value: Any) -> Select[Any]:
    store, run = TaskStateStoreModel.__table__.c, DagRun.__table__.c
    columns = (
        store.id,
        store.dag_run_id,
        store.dag_id,
        store.run_id,
        store.task_id,
        store.map_index,
        store.key,
        value.label("value"),
        cast(store.updated_at, String).label("updated_at"),
    )
    return (
        select(*columns)
        .join(DagRun.__table__, run.id == store.dag_run_id)
        .where(*window.conditions(), _is_of_messages(store), *_of_task(window, store))
    )


def _is_of_messages(store: Any) -> Any:
    """Return the condition that an entry is about messages: not of a task that waits, or that checks a PIN."""
    return or_(store.key.in_(SINGLE), store.key.startswith(BULK, autoescape=True))


def _stream_heads(session: Session, query: Select[Any]) -> Iterator[Head]:
    """Stream rows past the ORM, which would take as long as the database."""
    rows = session.connection().execute(query.execution_options(yield_per=_CHUNK))
    return map(Head._make, chain.from_iterable(rows.partitions()))


def _chunks(items: list[T]) -> Iterator[list[T]]:
    return (items[first : first + _CHUNK] for first in range(0, len(items), _CHUNK))


def _may_be_unknown(store: Any) -> Any:
    """Return the condition that somebody of an entry may be unknown: its status is neither *sent* nor *not sent*.

    A word that a person misspelled is neither, and counts as unknown. The reader of the entry decides.
    """
    start = func.substr(store.value, 1, _STATUS_HEAD)
    is_message = or_(store.key.in_(SINGLE), store.key.startswith(f"{BULK}_", autoescape=True))
    words = (start.contains(f'"status": "{word}"', autoescape=True) for word in (SENT, NOT_SENT))
    return and_(is_message, not_(or_(*words)))


def read_time(text: str) -> datetime:
    """Return a time that the database wrote, in UTC. SQLite and MySQL write it without a zone."""
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def read_run_times(
    session: Session, run_ids: Iterable[int], since: datetime | None
) -> Iterator[tuple[int, datetime]]:
    """Yield for which time each DAG run was due, or when it started if it was due before the window.

    :param run_ids: the ``dag_run_id`` of entries.
    :param since: when the window begins.
    """
    columns = (DagRun.id, DagRun.run_after, DagRun.start_date)
    for ids in _chunks(list(run_ids)):
        for row in session.execute(select(*columns).where(DagRun.id.in_(ids)).limit(len(ids))):
            is_due = since is None or row.run_after >= since or row.start_date is None
            yield row.id, row.run_after if is_due else row.start_date


def _of_task(window: Window, table: Any) -> list[Any]:
    """Return the condition that a row is of the window's task."""
    if window.task is None:
        return []
    return [table.task_id == window.task[0], table.map_index == window.task[1]]


def iter_values(
    session: Session,
    window: Window,
    keys: str,
    limit: int,
    *,
    containing: Collection[str] = (),
    may_be_unknown: bool = False,
    start: str = "",
) -> Iterator[StoredValue]:
    """Yield whole values: the newest runs first, and within a task in the order of their keys.

    :param keys: how the keys start.
    :param limit: most values.
    :param containing: texts of which a value must contain one.
    :param may_be_unknown: only entries in which somebody may be unknown.
    :param start: the first key.
    """
    store = TaskStateStoreModel
    query: Any = (
        select(
            store.dag_id,
            store.run_id,
            store.task_id,
            store.map_index,
            store.key,
            store.value,
            store.updated_at,
            DagRun.run_after,
        )
        .join(DagRun, DagRun.id == store.dag_run_id)
        .where(*window.conditions(), store.key.startswith(keys, autoescape=True), *_of_task(window, store))
        .order_by(DagRun.run_after.desc(), store.dag_run_id, store.task_id, store.map_index, store.key)
    )
    if containing:
        parts = (store.value.contains(text, autoescape=True) for text in containing)
        query = query.where(or_(*parts))
    if may_be_unknown:
        query = query.where(_may_be_unknown(store))
    if start:
        query = query.where(store.key >= start)
    for row in _stream(session, query.limit(limit)):
        yield StoredValue(TaskKey(*row[:4]), row.key, parse(row.value), row.updated_at, row.run_after)


def iter_written(
    session: Session, since: datetime, limit: int, *, containing: Sequence[str]
) -> Iterator[tuple[str, Any]]:
    """Yield key and value of the ledger's entries of any DAG. For the API server's own use.

    :param since: entries written then or later, of runs that were due or started at most a week before.
    :param limit: most values.
    :param containing: texts of which a value must contain one.
    """
    store = TaskStateStoreModel
    query: Any = (
        select(store.key, store.value)
        .join(DagRun, DagRun.id == store.dag_run_id)
        .where(_is_since(since - _WEEK), store.updated_at >= since)
        .where(store.key.startswith(PREFIX, autoescape=True))
        .where(or_(*(store.value.contains(some, autoescape=True) for some in containing)))
    )
    for row in _stream(session, query.limit(limit)):
        yield row.key, parse(row.value)


def _stream(session: Session, query: Select[Any]) -> Iterable[Any]:
    return session.execute(query.execution_options(yield_per=_CHUNK))


def parse(text: str) -> Any:
    """Return a value; None when it is not JSON, or when a backend of the workers keeps it elsewhere."""
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return None
    return None if isinstance(value, dict) and REFERENCE in value else value


def read_states(session: Session, tasks: Iterable[TaskKey]) -> Iterator[tuple[TaskKey, str | None]]:
    """Yield the states of task instances."""
    columns = (TaskInstance.dag_id, TaskInstance.run_id, TaskInstance.task_id, TaskInstance.map_index)
    for some in _chunks(list(tasks)):
        query = select(*columns, TaskInstance.state).where(
            TaskInstance.dag_id.in_({task.dag_id for task in some}),
            TaskInstance.run_id.in_({task.run_id for task in some}),
            tuple_(*columns).in_(list(map(tuple, some))),
        )
        for row in session.execute(query.limit(len(some))):
            yield TaskKey(*row[:4]), row[4]


def read_questions(session: Session, window: Window, limit: int) -> list[Question]:
    """Return the newest questions that wait for an answer. The task must have an entry of the ledger.

    :param limit: most questions.
    """
    store = TaskStateStoreModel
    ours = exists().where(
        store.dag_run_id == DagRun.id,
        store.task_id == TaskInstance.task_id,
        store.map_index == TaskInstance.map_index,
        _is_of_messages(store),
    )
    query = (
        select(
            TaskInstance.dag_id,
            TaskInstance.run_id,
            TaskInstance.task_id,
            TaskInstance.map_index,
            HITLDetail.subject,
        )
        .join(TaskInstance, TaskInstance.id == HITLDetail.ti_id)
        .join(DagRun, and_(DagRun.dag_id == TaskInstance.dag_id, DagRun.run_id == TaskInstance.run_id))
        .where(*window.conditions(), *_of_task(window, TaskInstance), HITLDetail.responded_at.is_(None))
        .where(TaskInstance.state.in_(("awaiting_input", "deferred")), ours)
        .order_by(HITLDetail.created_at.desc())
    )
    return [Question(TaskKey(*row[:4]), row.subject) for row in session.execute(query.limit(limit))]


def read_dag_names(session: Session, dag_ids: Iterable[str]) -> dict[str, str]:
    """Return the display name of each DAG."""
    ids = sorted(set(dag_ids))
    query = select(DagModel).where(DagModel.dag_id.in_(ids)).limit(len(ids))
    return {dag.dag_id: dag.dag_display_name for dag in session.scalars(query)}


def read_connection_ids(session: Session, limit: int) -> list[str]:
    """Return the Pindo connections in Airflow's database, by name."""
    query = select(Connection.conn_id).where(Connection.conn_type == "pindo")
    return list(session.scalars(query.order_by(Connection.conn_id).limit(limit)))


def lock_task(session: Session, task: TaskKey) -> str | None:
    """Lock a task instance until the transaction ends, and return its state. SQLite ignores the lock.

    :raises NoTaskError: there is no such task instance.
    """
    query = select(TaskInstance.state).where(
        TaskInstance.dag_id == task.dag_id,
        TaskInstance.run_id == task.run_id,
        TaskInstance.task_id == task.task_id,
        TaskInstance.map_index == task.map_index,
    )
    row = session.execute(query.limit(1).with_for_update(of=TaskInstance)).first()
    if row is None:
        raise NoTaskError
    state: str | None = row.state
    return state


def lock_unknown(session: Session, task: TaskKey, keys: Collection[str], limit: int) -> dict[str, Any]:
    """Lock values of a task until the transaction ends, and return the store's rows by key. SQLite ignores the lock.

    :param keys: the keys; with none, those of all entries in which somebody may be unknown.
    """
    store = TaskStateStoreModel
    query = select(store).where(
        store.dag_id == task.dag_id,
        store.run_id == task.run_id,
        store.task_id == task.task_id,
        store.map_index == task.map_index,
    )
    query = query.where(store.key.in_(sorted(keys)) if keys else _may_be_unknown(store))
    return {row.key: row for row in session.scalars(query.order_by(store.key).limit(limit).with_for_update())}


def value_of(row: Any) -> Any:
    """Return the parsed value of a locked row."""
    return parse(row.value)


def set_value(row: Any, value: Any) -> None:
    """Change the value of a locked row."""
    row.value = json.dumps(value)
    row.updated_at = datetime.now(UTC)


def add_audit_log(session: Session, event: str, task: TaskKey, *, user: str, details: dict[str, Any]) -> None:
    """Write a row of Airflow's audit log."""
    session.add(
        Log(
            event=event,
            dag_id=task.dag_id,
            run_id=task.run_id,
            task_id=task.task_id,
            map_index=task.map_index,
            owner=user,
            owner_display_name=user,
            extra=json.dumps(details),
        )
    )
