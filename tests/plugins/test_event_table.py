"""One webhook is one row, whatever the database does while it is written."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import pytest
from airflow import settings
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from airflow_provider_pindo.api.webhooks import Webhook
from airflow_provider_pindo.plugins import _event_table


class Database:
    """Airflow's engine, with a clock of its own and what goes wrong at the next transactions of this thread.

    Another thread deletes old events meanwhile.

    :param waits: seconds that each transaction waits for its connection.
    :param commits: seconds that each commit takes.
    :param lost: how many commits are done without an acknowledgement.
    :param undone: for each transaction, whether the database undoes it.
    """

    def __init__(self, monkeypatch):
        self.now, self.waits, self.commits, self.lost, self.undone = 1000.0, [], [], 0, []
        self.thread = threading.get_ident()
        self.engine = settings.engine
        monkeypatch.setattr(_event_table, "_engine", lambda: self)
        monkeypatch.setattr(_event_table.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(_event_table.time, "sleep", self.sleep)

    def sleep(self, seconds):
        self.now += seconds

    def begin(self):
        return self._begin() if threading.get_ident() == self.thread else self.engine.begin()

    @contextmanager
    def _begin(self):
        self.now += self.waits.pop(0) if self.waits else 0.0
        with self.engine.begin() as connection:
            yield connection
            if self.undone and self.undone.pop(0):
                raise OperationalError("INSERT", {}, Exception("the server closed the connection"))
        self.now += self.commits.pop(0) if self.commits else 0.0
        if self.lost:
            self.lost -= 1
            raise OperationalError("COMMIT", {}, Exception("the server closed the connection"))

    def ids(self):
        with self.engine.connect() as connection:
            return list(connection.execute(select(_event_table.TABLE.c.id)).scalars())


@pytest.fixture
def database(client, monkeypatch):
    return Database(monkeypatch)


def add():
    _event_table.add("pindo_default", Webhook("inbound", "1058918"), '{"text": "YES"}')


def test_a_commit_without_an_acknowledgement_makes_no_second_row(database):
    database.lost = 2
    add()
    assert len(database.ids()) == 1


def test_a_wait_for_a_connection_makes_no_second_row(database):
    database.waits = [20.0]
    add()
    assert len(database.ids()) == 1


def test_a_row_that_was_committed_late_without_an_acknowledgement_gives_way_to_a_new_one(database):
    add()
    [first] = database.ids()
    database.commits, database.lost = [20.0], 1
    add()
    assert database.ids() == [first, first + 2]


def test_a_row_that_should_have_given_way_but_did_not_stays_the_only_one(database):
    database.commits, database.lost, database.undone = [20.0], 1, [False, True]
    add()
    assert len(database.ids()) == 1


def test_a_row_of_another_event_under_the_same_id_is_not_taken_for_it(database, monkeypatch):
    """A database that lost its last commits gives their ids out again."""

    def lose_and_reuse(seconds):
        with database.engine.begin() as connection:
            connection.execute(_event_table.TABLE.update().values(body="{}"))

    monkeypatch.setattr(_event_table.time, "sleep", lose_and_reuse)
    database.lost = 1
    add()
    assert len(database.ids()) == 2
