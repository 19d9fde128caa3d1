"""The reading of events by tasks, in an app of its own on SQLite."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from airflow import settings

from airflow_provider_pindo.plugins import _claims, _event_table, _events
from tests.plugins.conftest import POSTING, READING, SECRET, ask, events, post


def report(sms_id, status="DELIVRD"):
    return {"sms_id": sms_id, "status": status}


@pytest.fixture
def mixed(client):
    """Seven events of three messages."""
    for number in ("+250781234567", "250781234568"):
        post(client, {"id": f"out_{number[-1]}", "to": number, "text": "Muraho", "sender": "PindoTest"})
    post(client, report("out_7", "ACCEPTED"))
    post(client, report("out_7"))
    post(client, report("out_8", "UNDELIV"))
    post(client, {"from": "00250781234567", "to": "7878", "text": "Yego"})
    post(client, {"what": "ever"})
    return client


@pytest.mark.parametrize(
    ("asked", "positions"),
    [
        ({}, [0, 1, 2, 3, 4, 5, 6]),
        ({"kinds": ["delivery_report"]}, [2, 3, 4]),
        ({"kinds": ["sent", "inbound"]}, [0, 1, 5]),
        ({"sms_ids": ["out_7"]}, [0, 2, 3]),
        ({"sms_ids": ["out_7", "out_8"], "kinds": ["delivery_report"]}, [2, 3, 4]),
        ({"sms_ids": ["no_such"]}, []),
        ({"sms_ids": ["OUT_7"]}, []),
        ({"to": "+250781234568", "kinds": ["sent"]}, [1]),
        ({"to": "+250 78 123 45 67"}, [0]),
        ({"to": "7878"}, [5]),
        ({"to": "7878", "from": "+250781234568", "limit": 1}, [5]),  # keys that nobody knows change nothing
        ({"since": "2020-01-01T00:00:00+00:00"}, [0, 1, 2, 3, 4, 5, 6]),
        ({"since": "0001-01-01T00:00:00+00:00"}, [0, 1, 2, 3, 4, 5, 6]),
        ({"since": "2120-01-01T00:00:00+02:00"}, []),
        ({"since": "9999-12-31T23:59:59+00:00"}, []),
    ],
)
def test_a_task_reads_what_it_asks_for_oldest_first(mixed, asked, positions):
    everything = events(mixed)
    assert events(mixed, **asked) == [everything[position] for position in positions]


def test_pages_follow_each_other_and_none_is_lost(mixed, monkeypatch):
    everything = events(mixed)
    monkeypatch.setattr(_event_table, "_MAX_EVENTS", 3)
    read, after, pages, more = [], 0, 0, True
    while more:
        page = ask(mixed, after=after).json()
        read += page["events"]
        after, more = page["last_id"], page["more"]
        pages += 1
    assert read == everything
    assert pages == 3
    assert ask(mixed, after=after).json() == {
        "events": [],
        "last_id": after,
        "stable_id": after,
        "newest_id": after,
        "more": False,
        "claims_known": True,
    }


def test_a_page_of_another_number_leads_to_the_next(mixed, monkeypatch):
    second = events(mixed)[1]
    monkeypatch.setattr(_event_table, "_MAX_EVENTS", 2)
    page = ask(mixed, to="7878").json()
    assert (page["events"], page["more"]) == ([], True)
    assert page["last_id"] == second["id"]


def test_long_bodies_are_spread_over_pages(client, monkeypatch):
    for _ in range(5):
        post(client, {"text": "x" * 1000})
    monkeypatch.setattr(_event_table, "_MAX_PAGE_BYTES", 2500)
    sizes, after, more = [], 0, True
    while more:
        page = ask(client, after=after).json()
        sizes.append(len(page["events"]))
        after, more = page["last_id"], page["more"]
    assert sizes == [2, 2, 1]


def test_an_event_is_settled_only_when_no_older_one_can_appear(mixed):
    everything = events(mixed)
    assert ask(mixed).json()["stable_id"] == 0
    from airflow import settings

    past = datetime.now(UTC) - timedelta(seconds=_event_table.OVERLAP + 1)
    with settings.engine.begin() as connection:
        first = _event_table.TABLE.update().where(_event_table.TABLE.c.id <= everything[2]["id"])
        connection.execute(first.values(received_at=past))
    assert ask(mixed).json()["stable_id"] == everything[2]["id"]
    assert ask(mixed, since=past.isoformat()).json()["events"][0]["id"] == everything[0]["id"]
    assert len(events(mixed, since=(past + timedelta(seconds=0.5)).isoformat())) == 4


def test_events_of_another_connection_are_not_shown(client):
    _event_table.add("pindo_other", _event_table.Webhook("sent", "out_7"), "{}")
    assert events(client) == []


@pytest.mark.parametrize(
    "asked",
    [
        {"after": -1},
        {"after": "7"},
        {"after": True},
        {"after": 2**63},
        {"kinds": "sent"},
        {"kinds": ["sent"] * 5},
        {"sms_ids": [7]},
        {"sms_ids": ["a\0b"]},
        {"sms_ids": ["x"] * 1001},
        {"to": 250781234567},
        {"to": "nobody"},
        {"to": ""},
        {"since": "yesterday"},
        {"since": "2026-11-29T08:00:00"},
        {"since": 7},
        {"duplicates": 1},
        {"since": "9999-12-31T23:59:59-12:00"},
    ],
)
def test_a_wrong_request_is_refused_and_the_wrong_key_is_named(client, asked):
    response = ask(client, **asked)
    assert response.status_code == 400
    (key,) = asked
    assert repr(key) in response.json()["detail"]


def test_a_request_is_a_json_object_of_at_most_256_kib(client):
    headers = {"Authorization": f"Bearer {READING}"}
    assert client.post("/events/pindo_default", content=b"[]", headers=headers).status_code == 400
    assert client.post("/events/pindo_default", content=b" " * 262_145, headers=headers).status_code == 413


@pytest.mark.parametrize("token", ["", "wrong", SECRET, POSTING])
def test_only_the_reading_token_reads(client, token):
    headers = {"Authorization": f"Bearer {token}"}
    assert client.post("/events/pindo_default", json={}, headers=headers).status_code == 401
    assert client.post("/events/pindo_default", json={}).status_code == 401


def test_a_database_that_does_not_answer_is_a_503(client, monkeypatch):
    def fail(*_):
        raise _event_table.DatabaseError("OperationalError")

    monkeypatch.setattr(_event_table, "_run", fail)
    assert ask(client).status_code == 503


def test_where_the_ledger_names_too_many_messages_to_read_no_event_proves_anything(
    metadata, client, monkeypatch, caplog
):
    monkeypatch.setattr(_claims, "_MAX_ENTRIES", 2)
    now = datetime.now(UTC)
    post(client, {"id": "out_1", "to": "+250781234567", "text": "Muraho", "sender": "PindoTest"})
    with settings.engine.begin() as connection:
        connection.execute(
            _event_table.TABLE.update().values(received_at=now - timedelta(seconds=_event_table.OVERLAP + 1))
        )
    asked = {"kinds": ["sent"], "since": (now - timedelta(minutes=1)).isoformat(), "unclaimed": True}
    entry = {"v": 1, "status": "sent", "result": {"sms_id": 7}}
    for count, proof in ((1, ["out_1"]), (2, ["out_1"]), (3, [])):
        metadata.add_task({"pindo_sms": entry}, task_id=f"task_{count}", age=timedelta(hours=-1))
        page = ask(client, **asked).json()
        assert [event["sms_id"] for event in page["events"]] == proof
        # A reader must see the events that prove nothing yet again.
        assert page["claims_known"] == bool(proof)
        assert ("No webhook settles an unknown outcome now" in caplog.text) == (not proof)


def test_unclaimed_events_are_those_that_came_two_seconds_ago_and_that_no_entry_names(metadata, client):
    now = datetime.now(UTC)
    for sms_id in ("out_1", "out_2", "out_3", "7"):
        post(client, {"id": sms_id, "to": "+250781234567", "text": "Muraho", "sender": "PindoTest"})
    asked = {"kinds": ["sent"], "since": (now - timedelta(minutes=1)).isoformat(), "unclaimed": True}
    assert events(client, **asked) == []
    with settings.engine.begin() as connection:
        connection.execute(_event_table.TABLE.update().values(received_at=now - timedelta(seconds=3)))
    assert len(events(client, **asked)) == 4
    entry = {"v": 1, "status": "sent", "result": {"sms_id": 7}}
    metadata.add_task({"pindo_sms": entry}, task_id="one", age=timedelta(hours=-1))
    metadata.add_task(
        {"pindo_bulk_00001": {"sms_ids": "out_1 - out_3"}}, task_id="all", age=timedelta(hours=-1)
    )
    metadata.add_task({"other": {"sms_ids": "out_2"}}, task_id="no_entry", age=timedelta(hours=-1))
    assert [event["sms_id"] for event in events(client, **asked)] == ["out_2"]
    # Nobody knows which message this entry names.
    metadata.add_task({"pindo_sms": {"__airflow_state_ref__": "7"}}, task_id="away", age=timedelta(hours=-1))
    assert events(client, **asked) == []


def test_an_event_is_no_evidence_if_its_entry_may_be_written_while_entries_are_read(client, monkeypatch):
    class Clock(datetime):
        ahead = timedelta(0)

        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + cls.ahead

    def read_slowly(*_):
        Clock.ahead = timedelta(minutes=1)
        return set()

    monkeypatch.setattr(_events, "datetime", Clock)
    monkeypatch.setattr(_events, "_CLAIMING", timedelta(seconds=30))
    monkeypatch.setattr(_claims, "claimed_ids", read_slowly)
    post(client, {"id": "out_1", "to": "+250781234567", "text": "Muraho", "sender": "PindoTest"})
    since = datetime.now(UTC) - timedelta(minutes=1)
    assert events(client, kinds=["sent"], since=since.isoformat(), unclaimed=True) == []
    assert Clock.ahead


@pytest.mark.parametrize("asked", [{"unclaimed": True}, {"unclaimed": 1}])
def test_unclaimed_needs_a_time_from_which_entries_count(client, asked):
    assert ask(client, **asked).status_code == 400
