"""The table on Postgres, MariaDB and SQLite: made once, exact, read by its indexes, and emptied in small batches."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import pytest
from airflow import settings
from sqlalchemy import event, func, insert, inspect, select, text

from airflow_provider_pindo._inbox.event_scan import EventCursor, SharedEventScan
from airflow_provider_pindo._inbox.events import EventPage, WebhookEvent
from airflow_provider_pindo.api.limits import MAX_ID_LENGTH
from airflow_provider_pindo.api.webhooks import MAX_STATUS_LENGTH, Webhook
from airflow_provider_pindo.plugins import _event_table
from tests.databases import airflow_on, new_database


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgresql", marks=pytest.mark.databases),
        pytest.param("mariadb", marks=pytest.mark.databases),
    ]
)
def database(request, tmp_path, monkeypatch) -> Iterator[str]:
    """Airflow's engine on an empty database; yields the database's kind."""
    sqlite = nullcontext(f"sqlite:///{tmp_path}/empty.db?timeout=60")
    with (
        sqlite if request.param == "sqlite" else new_database(request.param) as url,
        airflow_on(url, monkeypatch),
    ):
        yield request.param


@pytest.fixture
def table(database) -> str:
    """The empty table."""
    _event_table.create_table()
    return database


def add_old(count: int, age: timedelta, conn_id: str = "pindo_default") -> None:
    values = {"conn_id": conn_id, "kind": "delivery_report", "body": "{}", "status": "DELIVRD"}
    rows = [
        {**values, "sms_id": f"old-{number}", "received_at": datetime.now(UTC) - age}
        for number in range(count)
    ]
    with settings.engine.begin() as connection:
        connection.execute(insert(_event_table.TABLE), rows)


def count_rows() -> int:
    with settings.engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(_event_table.TABLE)).scalar_one()


def test_api_servers_that_start_together_create_the_table_once(database):
    with ThreadPoolExecutor(6) as servers:
        results = list(servers.map(lambda _: create_like_an_api_server(), range(6)))
    assert all(results)
    assert inspect(settings.engine).get_table_names() == ["pindo_webhook_event"] or database == "sqlite"
    indexes = {index["name"] for index in inspect(settings.engine).get_indexes("pindo_webhook_event")}
    assert indexes >= {
        "idx_pindo_webhook_event_kind",
        "idx_pindo_webhook_event_sms_id",
        "idx_pindo_webhook_event_received_at",
    }


def create_like_an_api_server() -> bool:
    for _ in range(3):  # SQLite has no lock for it, so one of two may fail once
        try:
            _event_table.create_table()
        except _event_table.DatabaseError:
            continue
        return True
    return False


def test_every_character_and_the_longest_values_are_kept_exactly(table):
    body = '{"text": "Muraho 😀 \\u0000 \\ud83d ' + "é" * 32_000 + '"}'
    longest = Webhook("delivery_report", "x" * MAX_ID_LENGTH, "Y" * MAX_STATUS_LENGTH)
    before = datetime.now(UTC)
    _event_table.add("c" * 250, longest, body)
    _event_table.add("pindo_default", Webhook("unknown"), "{}")
    (row,) = _event_table.read("c" * 250, _event_table.Query()).rows
    assert (row["sms_id"], row["body"]) == (longest.sms_id, body)
    assert _event_table.read_reports([longest.sms_id], before) == {(longest.sms_id, longest.status)}
    assert before <= row["received_at"] <= datetime.now(UTC)
    assert _event_table.last_received("pindo_default") > row["received_at"]
    assert _event_table.last_received("no_such") is None


def test_capitals_matter_in_ids(table):
    _event_table.add("pindo_default", Webhook("sent", "out_Ab"), "{}")
    assert len(_event_table.read("pindo_default", _event_table.Query(sms_ids=["out_Ab"])).rows) == 1
    assert _event_table.read("pindo_default", _event_table.Query(sms_ids=["out_AB"])).rows == []
    assert _event_table.read("PINDO_default", _event_table.Query()).rows == []


def test_capitals_matter_in_bodies(table):
    for answer in ("YES", "yes", "YES"):
        _event_table.add("pindo_default", Webhook("inbound", "a"), f'{{"text": "{answer}"}}')
    [first, *_] = _event_table.read("pindo_default", _event_table.Query()).rows
    rest = _event_table.read("pindo_default", _event_table.Query(after=first["id"])).rows
    assert [row["body"] for row in rest] == ['{"text": "yes"}']


def test_an_id_is_never_given_out_twice(table):
    _event_table.add("pindo_default", Webhook("unknown"), "{}")
    add_old(1, timedelta(days=40))
    (first,) = _event_table.read("pindo_default", _event_table.Query(kinds=["unknown"])).rows
    with settings.engine.begin() as connection:
        connection.execute(_event_table.TABLE.delete())
    _event_table.add("pindo_default", Webhook("unknown"), "{}")
    (second,) = _event_table.read("pindo_default", _event_table.Query()).rows
    assert second["id"] > first["id"] + 1


def test_retention_deletes_what_is_too_old_in_small_batches(table, monkeypatch):
    monkeypatch.setattr(_event_table, "_BATCH", 50)
    add_old(120, timedelta(days=31))
    add_old(7, timedelta(days=29))
    pauses = []
    assert _event_table.delete_old(30, pause=lambda: pauses.append(count_rows())) == 120
    assert pauses == [77, 27, 7]
    assert _event_table.delete_old(30, pause=lambda: False) == 0


def test_retention_stops_between_two_batches(table, monkeypatch):
    monkeypatch.setattr(_event_table, "_BATCH", 50)
    add_old(120, timedelta(days=31))
    assert _event_table.delete_old(30, pause=lambda: True) == 50
    assert count_rows() == 70


def test_a_thousand_webhooks_from_many_threads_are_all_kept(table):
    with ThreadPoolExecutor(8) as clients:
        list(
            clients.map(
                lambda number: _event_table.add("pindo_default", Webhook("sent", f"out-{number}"), "{}"),
                range(1000),
            )
        )
    page = _event_table.read("pindo_default", _event_table.Query())
    assert len({row["sms_id"] for row in page.rows}) == 1000


def test_an_inbound_message_is_not_read_again_when_it_comes_twice(table):
    for sms_id, body in [
        ("a", "1"),
        ("a", "1"),
        ("b", "1"),
        ("a", "2"),
        (None, "1"),
        (None, "1"),
        ("a", "1"),
    ]:
        _event_table.add("pindo_default", Webhook("inbound", sms_id), body)
    _event_table.add("other", Webhook("inbound", "a"), "1")
    _event_table.add("pindo_default", Webhook("sent", "a"), "1")
    everything = _event_table.read("pindo_default", _event_table.Query()).rows
    ids = [row["id"] for row in everything]
    # A reader of the whole sees every row, and knows duplicates itself.
    assert len(ids) == 8
    rest = _event_table.read("pindo_default", _event_table.Query(after=ids[0], kinds=["inbound"]))
    assert [row["id"] for row in rest.rows] == [*ids[2:6]]
    everybody = _event_table.read(
        "pindo_default", _event_table.Query(after=ids[0], kinds=["inbound"], duplicates=True)
    )
    assert [row["id"] for row in everybody.rows] == ids[1:7]
    since = everything[1]["received_at"]
    assert [
        row["id"] for row in _event_table.read("pindo_default", _event_table.Query(since=since)).rows
    ] == [
        *ids[2:6],
        ids[7],
    ]


def test_no_event_is_missed_when_a_lower_id_becomes_visible_later(table):
    """A transaction takes its id first and commits last, as on Postgres and MariaDB under load."""
    if table == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    cursor, read = EventCursor("sent"), []
    late = settings.engine.connect()
    transaction = late.begin()
    values = {"conn_id": "pindo_default", "kind": "sent", "body": "{}", "received_at": datetime.now(UTC)}
    late.execute(insert(_event_table.TABLE).values(**values, sms_id="late"))
    _event_table.add("pindo_default", Webhook("sent", "early"), "{}")
    for step in range(3):
        if step == 1:
            transaction.commit()
            late.close()
        scan = SharedEventScan("pindo_default", [cursor], "UTC")
        while scan.next_call is not None:
            scan.feed(
                as_client(
                    _event_table.read("pindo_default", _event_table.Query(after=scan.next_call.json["after"]))
                )
            )
        result = scan.result(None)
        read += [event.sms_id for event in cursor.new_in(result).sent.values()]
        cursor = cursor.advance_past(result)
    assert read == ["early", "late"]


def as_client(page: _event_table.Page) -> EventPage:
    events = tuple(
        WebhookEvent(row["id"], row["kind"], row["sms_id"], {}, row["received_at"]) for row in page.rows
    )
    return EventPage(events, page.last_id, page.stable_id, page.newest_id, page.more)


def test_the_questions_of_tasks_use_the_indexes(table):
    """Among 20,000 events, none of them reads the whole table."""
    add_old(20_000, timedelta(days=3))
    _event_table.add("pindo_default", Webhook("sent", "out_7"), "{}")
    newest = _event_table.read("pindo_default", _event_table.Query(kinds=["sent"])).rows[0]["id"]
    with settings.engine.begin() as connection:
        connection.execute(text("ANALYZE TABLE pindo_webhook_event" if table == "mariadb" else "ANALYZE"))
    statements = []

    @event.listens_for(settings.engine, "before_cursor_execute")
    def note(_connection, _cursor, statement, parameters, _context, _many):
        statements.append((statement, parameters))

    for query in (
        _event_table.Query(after=newest - 1),
        _event_table.Query(sms_ids=[f"old-{number}" for number in range(100)]),
        _event_table.Query(since=datetime.now(UTC) - timedelta(minutes=5)),
        _event_table.Query(kinds=["sent"]),
    ):
        _event_table.read("pindo_default", query)
    _event_table.read_reports(
        [f"old-{number}" for number in range(100)], datetime.now(UTC) - timedelta(days=4)
    )
    _event_table.last_received("pindo_default")
    with settings.engine.connect() as connection:  # rolled back, so that the plans are those of a full table
        assert (
            _event_table._delete_batch(connection, datetime.now(UTC) - timedelta(days=2))
            == _event_table._BATCH
        )
    event.remove(settings.engine, "before_cursor_execute", note)
    explain = {"sqlite": "EXPLAIN QUERY PLAN ", "postgresql": "EXPLAIN ", "mariadb": "EXPLAIN "}[table]
    for statement, parameters in statements:
        with settings.engine.connect() as connection:
            plan = connection.exec_driver_sql(explain + statement, parameters).all()
        shown = "\n".join(map(str, plan))
        assert "Seq Scan" not in shown, statement
        assert "SCAN pindo_webhook_event" not in shown or "USING" in shown, statement
        assert not [row for row in plan if table == "mariadb" and row[3] == "ALL"], statement


def test_an_error_of_the_database_shows_nothing_of_the_row(database):
    with pytest.raises(_event_table.DatabaseError) as caught:
        _event_table.last_received("pindo_default")
    assert "pindo" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_write_is_tried_again_while_the_database_is_away(table, monkeypatch):
    monkeypatch.setattr(_event_table, "_PAUSE", 0.0)
    run, failures = _event_table._run, [_event_table.DatabaseError("OperationalError")] * 3

    def flaky(work):
        if failures:
            raise failures.pop()
        return run(work)

    monkeypatch.setattr(_event_table, "_run", flaky)
    _event_table.add("pindo_default", Webhook("sent", "out_7"), "{}")
    assert count_rows() == 1


@pytest.mark.parametrize(("seconds", "tries"), [([1.0], 1), ([20.0, 1.0], 2), ([20.0] * 4, 4)])
def test_a_row_that_was_committed_late_gives_way_to_a_new_one_for_readers_that_have_passed_it(
    table, monkeypatch, caplog, seconds, tries
):
    _event_table.add("pindo_default", Webhook("sent", "out_6"), "{}")
    times = [time for duration in seconds for time in (0.0, duration, duration)]

    class Clock:
        monotonic = staticmethod(lambda: times.pop(0))
        sleep = staticmethod(lambda _: None)

    with monkeypatch.context() as patch:
        patch.setattr(_event_table, "time", Clock)
        _event_table.add("pindo_default", Webhook("sent", "out_7"), "{}")
    first, second = _event_table.read("pindo_default", _event_table.Query()).rows
    assert (second["sms_id"], second["id"]) == ("out_7", first["id"] + tries)
    assert ("may see it late" in caplog.text) is (tries == 4)
