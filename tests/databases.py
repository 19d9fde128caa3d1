"""Databases of the tests' own on the servers of this machine: Postgres and MariaDB.

``PINDO_TEST_POSTGRES`` and ``PINDO_TEST_MARIADB`` are the servers' addresses, with a user who may create databases. The
defaults are those of a fresh installation.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import scoped_session, sessionmaker

SERVERS = {
    "postgresql": os.environ.get("PINDO_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/postgres"),
    "mariadb": os.environ.get("PINDO_TEST_MARIADB", "mysql://root@127.0.0.1:3306/mysql"),
}
_DRIVERS = {"postgresql": "postgresql+psycopg2", "mariadb": "mysql+pymysql"}
_END = {"postgresql": "DROP DATABASE {} WITH (FORCE)", "mariadb": "DROP DATABASE {}"}


@contextmanager
def airflow_on(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have Airflow's code in this process use a database."""
    from airflow import settings

    isolation = {} if url.startswith("sqlite") else {"isolation_level": "READ COMMITTED"}
    engine = create_engine(url, pool_size=20, **isolation)
    monkeypatch.setattr(settings, "engine", engine)
    monkeypatch.setattr(settings, "Session", scoped_session(sessionmaker(bind=engine)))
    monkeypatch.setattr(settings, "NonScopedSession", sessionmaker(bind=engine))
    yield
    settings.Session.remove()
    engine.dispose()


@contextmanager
def new_database(kind: str) -> Iterator[str]:
    """Create a database, yield its address, and drop it.

    Without a server the test is skipped, or fails if PINDO_REQUIRE_SERVICES is 1.
    """
    url = make_url(SERVERS[kind]).set(drivername=_DRIVERS[kind])
    name = f"pindo_webhooks_{secrets.token_hex(6)}"
    try:
        server = create_engine(url, isolation_level="AUTOCOMMIT")
        with server.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
    except (SQLAlchemyError, ImportError) as error:
        fail_or_skip = pytest.fail if os.environ.get("PINDO_REQUIRE_SERVICES") == "1" else pytest.skip
        fail_or_skip(f"no {kind} at {url}: {type(error).__name__}; it needs the extra 'cluster' too")
    try:
        yield url.set(database=name).render_as_string(hide_password=False)
    finally:
        with server.connect() as connection:
            connection.execute(text(_END[kind].format(name)))
        server.dispose()
