"""The table ``pindo_webhook_event``: every webhook that was received, in the order of arrival.

Rows are not changed. They are deleted when they are older than ``[pindo] webhook_retention_days``. The table has its
own ``MetaData``, so Airflow's migrations and checks do not see it. All functions block: call them in a thread. No error
carries a row's contents, which the errors of SQLAlchemy quote.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast

from airflow import settings
from airflow.utils.db import DBLocks, create_global_lock
from airflow.utils.session import create_session
from airflow.utils.sqlalchemy import UtcDateTime
from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    and_,
    delete,
    exists,
    func,
    insert,
    inspect,
    or_,
    select,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Connection, Engine, RowMapping
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.sql import ColumnElement
from sqlalchemy.types import TypeEngine

from airflow_provider_pindo.api.limits import MAX_ID_LENGTH
from airflow_provider_pindo.api.webhooks import (
    DELIVERY_REPORT,
    INBOUND,
    MAX_STATUS_LENGTH,
    Webhook,
)

log = logging.getLogger(__name__)
T = TypeVar("T")

#: Seconds after which every id that was given out is visible, or never will be. A reader reads that far back again.
#: A write may take half of it. So the clocks of the API servers must agree within the other half.
OVERLAP = 30.0
#: Tries of a write, and the seconds between them: a database that restarts must not lose a webhook.
_TRIES = 4
_PAUSE = 0.5
#: Rows that one transaction of the retention deletes, and messages that one query names.
_BATCH = 500
#: No event is older. Some databases know no time before 1970, and a bound must have one that is earlier.
_OLDEST = datetime(2000, 1, 1, tzinfo=UTC)
#: Most events in one page.
_MAX_EVENTS = 1000
#: Bytes of bodies in one page of events.
_MAX_PAGE_BYTES = 4 * 1024**2

#: On MySQL, capitals in an id or a body matter only with this.
_EXACT = {"charset": "utf8mb4", "collation": "utf8mb4_bin"}


def _on_mysql(kind: TypeEngine[Any], there: TypeEngine[Any]) -> TypeEngine[Any]:
    # One name at a time: Airflow 3.1 has SQLAlchemy 1.4.
    return kind.with_variant(there, "mysql").with_variant(there, "mariadb")


def _text_id(length: int) -> TypeEngine[Any]:
    return _on_mysql(String(length), mysql.VARCHAR(length, **_EXACT))


TABLE = Table(
    "pindo_webhook_event",
    MetaData(),
    # SQLite numbers rows only in an INTEGER.
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("conn_id", _text_id(250), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("sms_id", _text_id(MAX_ID_LENGTH)),
    Column("status", String(MAX_STATUS_LENGTH)),
    # MySQL's TEXT holds 65,535 bytes; an inbound body, escaped, may have three times as many.
    Column("body", _on_mysql(Text(), mysql.MEDIUMTEXT(**_EXACT)), nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    Index("idx_pindo_webhook_event_kind", "conn_id", "kind", "id"),
    Index("idx_pindo_webhook_event_sms_id", "conn_id", "sms_id"),
    Index("idx_pindo_webhook_event_received_at", "received_at"),
    sqlite_autoincrement=True,  # an id that was deleted is not given out again
)


class DatabaseError(Exception):
    """A database operation failed. The message names the kind of error and nothing else."""


@dataclass(frozen=True, slots=True)
class Query:
    """What a reader asks for, checked. See :mod:`airflow_provider_pindo._inbox.events`."""

    after: int = 0
    kinds: Sequence[str] = ()
    sms_ids: Sequence[str] = ()
    since: datetime | None = None
    duplicates: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """The rows that answer a :class:`Query`, oldest first."""

    rows: Sequence[RowMapping]
    last_id: int
    stable_id: int
    newest_id: int
    more: bool
    claims_known: bool = True


def check_database() -> None:
    """Ask the database for a sign of life.

    :raises DatabaseError: it gave none.
    """
    _run(lambda connection: connection.execute(select(1)))


def create_table() -> None:
    """Create the table, if it is missing. Of API servers that start together, only one creates it.

    :raises DatabaseError: it could not be created.
    """
    engine = _engine()
    with without_contents():
        if not inspect(engine).has_table(TABLE.name):
            with create_session() as session, create_global_lock(session, DBLocks.MIGRATIONS):
                TABLE.metadata.create_all(engine)


def add(conn_id: str, webhook: Webhook, body: str) -> None:
    """Add a webhook. When this returns, it is committed, in one row.

    A commit may be done although the database did not say so. So a try after it looks for its row first.

    :param body: the JSON text. Two events of one inbound message have the same.
    :raises DatabaseError: it is not known to be committed.
    """
    values = {
        "conn_id": conn_id,
        "kind": webhook.kind,
        "sms_id": webhook.sms_id,
        "status": webhook.status,
        "body": body,
    }
    tried: list[ColumnElement[bool]] = []
    started = 0.0

    def write(connection: Connection) -> None:
        nonlocal started
        row = or_(*tried) if tried else None
        if row is not None and time.monotonic() - started >= OVERLAP / 2:
            # A reader may be past the id of a row that became visible late. The same event in a new row reaches it.
            connection.execute(delete(TABLE).where(row))
        elif row is not None and connection.execute(select(TABLE.c.id).where(row)).first():
            return
        started = time.monotonic()  # not before: waiting for a connection makes no row late
        added = connection.execute(insert(TABLE).values(**values, received_at=_now()))
        [row_id] = cast("tuple[int]", added.inserted_primary_key)
        # A database that lost its last commits may give the same id to another event.
        tried.append(and_(TABLE.c.id == row_id, TABLE.c.conn_id == conn_id, TABLE.c.body == body))

    for remaining in reversed(range(_TRIES)):
        try:
            _run(write)
        except DatabaseError:
            if not remaining:
                raise
            time.sleep(_PAUSE)
            continue
        if time.monotonic() - started < OVERLAP / 2:
            return
    log.warning("the database needs more than %.0f s to add a webhook; tasks may see it late", OVERLAP / 2)


def read(conn_id: str, query: Query) -> Page:
    """Return the events that match ``query``.

    :raises DatabaseError: the database did not answer.
    """
    if query.since is not None:
        query = replace(query, since=max(query.since, _OLDEST))
    return _run(lambda connection: _read(connection, conn_id, query))


def _read(connection: Connection, conn_id: str, query: Query) -> Page:
    newest = connection.execute(select(func.max(TABLE.c.id))).scalar() or 0
    # Before the rows, so that every event up to it is among them.
    stable_id = max(query.after, _id_at(connection, _now() - timedelta(seconds=OVERLAP)))
    columns = [TABLE.c[name] for name in ("id", "kind", "sms_id", "body", "received_at")]
    statement = select(*columns).where(TABLE.c.conn_id == conn_id, TABLE.c.id > query.after)
    if query.kinds:
        statement = statement.where(TABLE.c.kind.in_(query.kinds))
    if query.sms_ids:
        statement = statement.where(TABLE.c.sms_id.in_(query.sms_ids))
    if query.since is not None:
        # Ids grow with time, but for the overlap: with this bound the database does not read what is older.
        bound = _id_at(connection, query.since - timedelta(seconds=OVERLAP))
        statement = statement.where(TABLE.c.id > bound, TABLE.c.received_at >= query.since)
    if not query.duplicates and (not query.kinds or INBOUND in query.kinds):
        statement = statement.where(or_(TABLE.c.kind != INBOUND, ~_is_duplicate(query)))
    # Not the id itself: Postgres would go through the table in its order instead of using the index of messages.
    order = TABLE.c.id + 0 if query.sms_ids else TABLE.c.id
    rows: list[RowMapping] = []
    size = 0
    for row in connection.execute(statement.order_by(order).limit(_MAX_EVENTS)).mappings():
        size += len(row["body"])
        if rows and size > _MAX_PAGE_BYTES:
            return Page(rows, rows[-1]["id"], stable_id, newest, more=True)
        rows.append(row)
    last_id = rows[-1]["id"] if rows else query.after
    return Page(rows, last_id, stable_id, newest, more=len(rows) == _MAX_EVENTS)


def _is_duplicate(query: Query) -> ColumnElement[bool]:
    """Return whether a row is of an inbound message that an earlier row has, which ``query`` leaves out.

    Both name the same message and have the same body. A person may write the same text twice.
    """
    earlier = TABLE.alias()
    left_out = earlier.c.id <= query.after
    if query.since is not None:
        left_out = or_(left_out, earlier.c.received_at < query.since)
    same = [earlier.c[name] == TABLE.c[name] for name in ("conn_id", "sms_id", "kind", "body")]
    return exists().where(*same, earlier.c.id < TABLE.c.id, left_out)


def _id_at(connection: Connection, moment: datetime) -> int:
    """Return the id of the last event that was received by ``moment``, or 0."""
    newest = select(TABLE.c.id).where(TABLE.c.received_at <= moment).order_by(TABLE.c.received_at.desc())
    return connection.execute(newest.limit(1)).scalar() or 0


def read_reports(sms_ids: Collection[str], since: datetime) -> set[tuple[str, str]]:
    """Return message and status of the delivery reports that arrived since a time.

    :param sms_ids: the messages; a few hundred are looked up at a time.
    :raises DatabaseError: the database did not answer.
    """
    ids = sorted(sms_ids)
    slices = [ids[first : first + _BATCH] for first in range(0, len(ids), _BATCH)]
    return _run(lambda connection: _read_reports(connection, slices, since))


def _read_reports(
    connection: Connection, slices: Sequence[Sequence[str]], since: datetime
) -> set[tuple[str, str]]:
    conn_ids = list(_iter_conn_ids(connection))  # the index of messages begins with the connection
    statement = select(TABLE.c.sms_id, TABLE.c.status).where(
        TABLE.c.conn_id.in_(conn_ids), TABLE.c.kind == DELIVERY_REPORT, TABLE.c.received_at >= since
    )
    return {
        (row.sms_id, row.status)
        for some in slices
        for row in connection.execute(statement.where(TABLE.c.sms_id.in_(some)))
    }


def _iter_conn_ids(connection: Connection) -> Iterator[str]:
    """Yield the connections that have events; one look into the index for each."""
    after: str | None = ""
    while after is not None:
        query = select(func.min(TABLE.c.conn_id)).where(TABLE.c.conn_id > after)
        after = connection.execute(query).scalar()
        if after is not None:
            yield after


def last_received(conn_id: str) -> datetime | None:
    """Return when the last webhook of a connection was received, or None."""
    newest = select(func.max(TABLE.c.id)).where(TABLE.c.conn_id == conn_id).scalar_subquery()
    statement = select(TABLE.c.received_at).where(TABLE.c.id == newest)
    return _run(lambda connection: connection.execute(statement).scalar())


def delete_old(days: int, pause: Callable[[], bool]) -> int:
    """Delete the events that are older than ``days``, a few in each transaction. Return their number.

    :param pause: called after each transaction, so that the database serves others. It returns whether to stop.
    """
    before = _now() - timedelta(days=days)
    deleted = 0
    while batch := _run(lambda connection: _delete_batch(connection, before)):
        deleted += batch
        if pause():
            break
    return deleted


def _delete_batch(connection: Connection, before: datetime) -> int:
    oldest = (
        select(TABLE.c.id).where(TABLE.c.received_at < before).order_by(TABLE.c.received_at).limit(_BATCH)
    )
    # Two statements, since MySQL has no LIMIT in a subquery.
    ids = list(connection.execute(oldest).scalars())
    return connection.execute(delete(TABLE).where(TABLE.c.id.in_(ids))).rowcount if ids else 0


def _engine() -> Engine:
    return cast("Engine", settings.engine)  # the function get_engine is newer than Airflow 3.1


def _run(work: Callable[[Connection], T]) -> T:
    """Run ``work`` in a transaction of its own.

    :raises DatabaseError: for every error of the database.
    """
    with without_contents(), _engine().begin() as connection:
        return work(connection)


@contextmanager
def without_contents() -> Iterator[None]:
    """Raise :class:`DatabaseError` for every error of the database, without its cause."""
    try:
        yield
    except (SQLAlchemyError, RuntimeError) as error:  # Airflow's lock raises the latter
        original = error.orig if isinstance(error, DBAPIError) else error
        raise DatabaseError(type(original).__name__) from None


def _now() -> datetime:
    return datetime.now(UTC)
