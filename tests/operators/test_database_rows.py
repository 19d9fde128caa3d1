"""Rows of a database cursor that have names, of each kind that is no mapping."""

from __future__ import annotations

import json
import sqlite3
from collections import namedtuple
from pathlib import Path

import pytest
import sqlalchemy
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.operators.partitions import write_partitions
from tests.operators.bulk import Store, send

PERSON = "SELECT '+250781000001' AS phonenumber, '9:00' AS time"
JOINED = "SELECT '+250781000001' AS phonenumber, '9:00' AS time, '+250781000002' AS phonenumber"


def _sqlite(query):
    database = sqlite3.connect(":memory:")
    database.row_factory = sqlite3.Row
    return list(database.execute(query))


def _sqlalchemy(query):
    with sqlalchemy.create_engine("sqlite://").connect() as connection:
        return list(connection.execute(sqlalchemy.text(query)))


def _sqlalchemy_mappings(query):
    with sqlalchemy.create_engine("sqlite://").connect() as connection:
        return list(connection.execute(sqlalchemy.text(query)).mappings())


def _psycopg2(query):
    """Return rows as psycopg2 makes them. A cursor needs a server, so it stands for one."""
    extras = pytest.importorskip("psycopg2.extras")
    (row,) = _sqlite(query)

    class Cursor:
        description = row.keys()
        index = {name: position for position, name in enumerate(row.keys())}

    made = extras.DictRow(Cursor())
    made[:] = list(row)
    return [made]


def _named_tuples(query):
    (row,) = _sqlite(query)
    return [namedtuple("Person", row.keys())(*row)]


KINDS = [_sqlite, _sqlalchemy, _sqlalchemy_mappings, _psycopg2, _named_tuples]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["phonenumber", "PhoneNumber"])
def test_a_row_with_names_is_a_mapping(sandbox, tmp_path, kind, name):
    rows = kind(PERSON.replace("phonenumber", name))
    send(Store(), recipients=lambda: iter(rows), text="At @contact.time")
    assert [(each["to"], each["text"]) for each in sandbox.messages()] == [("+250781000001", "At 9:00")]
    assert send(Store(), recipients=["+250781000001"], text="Muraho", exclude=lambda: rows)["excluded"] == 1
    (path,) = write_partitions(rows, tmp_path, partitions=1)
    assert json.loads(Path(path).read_text()) == {name: "+250781000001", "time": "9:00"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_without_the_number_names_what_it_has(sandbox, kind):
    with pytest.raises(
        AirflowFailException, match=r"recipients has no field 'phonenumber'.* row 1 has 'tel', 'time'"
    ):
        send(Store(), recipients=kind(PERSON.replace("phonenumber", "tel")), text="Muraho")
    assert sandbox.messages() == []


@pytest.mark.parametrize("kind", [_sqlite, _sqlalchemy, _psycopg2])
def test_a_name_that_stands_twice_in_a_row_is_refused(sandbox, tmp_path, kind):
    rows, says = kind(JOINED), "row 1 has .*'phonenumber'.* twice, so it is not clear which one counts"
    with pytest.raises(AirflowFailException, match=says):
        send(Store(), recipients=rows, text="Muraho")
    assert sandbox.messages() == []
    with pytest.raises(PindoConfigurationError, match=says):
        write_partitions(rows, tmp_path, partitions=2)
    (path,) = write_partitions(rows, tmp_path, partitions=1, fields=["kin", "time", "phonenumber"])
    assert json.loads(Path(path).read_text())["phonenumber"] == "+250781000002"


def test_names_of_another_case_keep_their_values(sandbox):
    rows = _sqlite("SELECT '+250781000001' AS phonenumber, 'A' AS name, 'B' AS Name")
    send(Store(), recipients=rows, columns={"name": "Name"})
    assert [each["text"] for each in sandbox.messages()] == ["Muraho B"]


def test_a_row_without_names_says_what_to_give(sandbox):
    database = sqlite3.connect(":memory:")
    with pytest.raises(AirflowFailException, match=r"row 1 is a tuple of 2 values, .*: it does not name"):
        send(Store(), recipients=lambda: database.execute(PERSON), text="Muraho")
    assert sandbox.messages() == []
