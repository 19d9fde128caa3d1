"""Settling on the page: what a person says, who may say it, and what is kept of it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from sqlalchemy.dialects import postgresql

from airflow_provider_pindo.plugins import _models, _pages, _settle
from tests.plugins.metadata import NOW, batch, single
from tests.versions import needs_store

PLACE = {"dag_id": "reminders", "run_id": "run_1", "task_id": "text"}


def settle(metadata, role="admin", name="ada", **body):
    body.setdefault("seen", datetime.now(UTC).isoformat())
    return metadata.client(role, name).post("/ui/api/settle", json={**PLACE, **body})


def decision(arrived, key="pindo_sms", row=None):
    return {"key": key, "row": row, "arrived": arrived}


@pytest.mark.parametrize(("arrived", "status"), [(True, "sent"), (False, "not_sent")])
def test_a_single_message_is_settled_and_the_audit_log_says_who_did_what(metadata, arrived, status):
    metadata.add_task({"pindo_sms": single("unknown")}, state="failed")
    response = settle(metadata, name="claudine", decisions=[decision(arrived)])
    assert (response.status_code, response.json()) == (
        200,
        {"arrived": int(arrived), "not_arrived": int(not arrived), "unknown": 0},
    )
    entry = metadata.value("pindo_sms")
    assert (entry["status"], entry["to"], entry["generation"]) == (status, "+25078****101", 0)
    assert (entry["settled"]["by"], entry["settled"]["who"]) == ("page", "claudine")
    ((owner, task, details),) = metadata.audit_log()
    assert (owner, task) == ("claudine", "text")
    assert details["entries"]["pindo_sms"]["to"] == "+25078****101"
    assert details["arrived"] == int(arrived)


@pytest.mark.parametrize("key", ["pindo_sms", "pindo_bulk_00001"])
def test_what_a_backend_of_the_workers_keeps_is_not_settled(metadata, key):
    reference = {"__airflow_state_ref__": "bucket/7"}
    metadata.add_task({key: reference}, state="failed")
    assert (
        settle(metadata, decisions=[decision(False, key, None if key == "pindo_sms" else 2)]).status_code
        == 409
    )
    assert settle(metadata, everybody=False).status_code == 409
    assert metadata.value(key) == reference


def test_rows_of_a_bulk_send_are_settled_one_by_one(metadata):
    metadata.add_task({"pindo_bulk_00001": batch(4, unknown={"lost": "2-4"})}, state="failed")
    decisions = [decision(True, "pindo_bulk_00001", 2), decision(False, "pindo_bulk_00001", 3)]
    assert settle(metadata, decisions=decisions).json() == {"arrived": 1, "not_arrived": 1, "unknown": 1}
    entry = metadata.value("pindo_bulk_00001")
    assert (entry["status"], entry["unknown"], entry["not_sent"], entry["accepted"]) == (
        "unknown",
        {"lost": "4"},
        "3",
        2,
    )
    assert metadata.audit_log()[0][2]["entries"] == {"pindo_bulk_00001": {"arrived": "2", "not_arrived": "3"}}


@pytest.mark.parametrize("arrived", [True, False])
def test_everybody_is_settled_at_once_in_all_entries(metadata, arrived):
    entries = {f"pindo_bulk_{number:05d}": batch(4, unknown={"lost": "2-4"}) for number in (1, 2)}
    entries["pindo_bulk_00003"] = batch(4)
    metadata.add_task({**entries, "pindo_bulk": {"v": 1, "status": "started"}}, state="failed")
    assert settle(metadata, everybody=arrived).json() == {
        "arrived": 6 if arrived else 0,
        "not_arrived": 0 if arrived else 6,
        "unknown": 0,
    }
    assert metadata.value("pindo_bulk_00002")["status"] == ("sent" if arrived else "not_sent")
    assert metadata.value("pindo_bulk_00003")["accepted"] == 4


@pytest.mark.parametrize("status", ["arived", "unknown"])
def test_everybody_is_settled_also_where_a_person_misspelled_the_status(metadata, status):
    lost = batch(4, unknown={"lost": "2-4"}, status=status)
    settled = {
        f"pindo_bulk_0000{number}": batch(4, unknown={"lost": "2"}, status=word)
        for number, word in ((2, "sent"), (3, " Not_sent "))
    }
    entries = {"pindo_bulk_00001": lost, **settled}
    metadata.add_task({**entries, "pindo_sms": single("sen")}, state="failed")
    (task,) = metadata.client().get("/ui/api/overview").json()["unknown"]
    counts = settle(metadata, everybody=True).json()
    assert counts == {"arrived": task["unknown"], "not_arrived": 0, "unknown": 0}
    assert metadata.value("pindo_bulk_00001")["accepted"] == 4
    assert metadata.value("pindo_sms")["status"] == "sent"
    assert {key: metadata.value(key) for key in settled} == settled
    assert set(metadata.audit_log()[0][2]["entries"]) == {"pindo_bulk_00001", "pindo_sms"}


def test_an_entry_that_nobody_settles_may_have_changed(metadata):
    """The header of a bulk send, and a batch that a person has settled, say nothing about another request."""
    metadata.add_task(
        {
            "pindo_sms": single("unknown"),
            "pindo_bulk": {"v": 1, "status": "started"},
            "pindo_bulk_00001": batch(4, unknown={"lost": "2"}, status="Sent"),
        },
        state="failed",
    )
    for key in ("pindo_bulk", "pindo_bulk_00001"):
        metadata.touch(key)
    settled = settle(metadata, seen=NOW.isoformat(), everybody=True).json()
    assert settled == {"arrived": 1, "not_arrived": 0, "unknown": 0}


def test_whoever_settles_the_last_message_learns_that_none_is_unknown(metadata):
    """Two people open the page, and each settles one of two entries."""
    entries = {f"pindo_bulk_{number:05d}": batch(4, unknown={"lost": "2-3"}) for number in (1, 2)}
    foreign = {"pindo_bulk_00003": {"v": 99, "status": "?"}}  # not counted as unknown, as on the page
    metadata.add_task({**entries, **foreign}, state="failed")
    (task,) = metadata.client().get("/ui/api/overview").json()["unknown"]
    left = [
        settle(
            metadata,
            name=name,
            seen=task["time"],
            decisions=[decision(True, key, 2), decision(False, key, 3)],
        ).json()["unknown"]
        for name, key in zip(("ada", "claudine"), entries, strict=True)
    ]
    assert (task["unknown"], left) == (4, [2, 0])


def test_a_settlement_is_counted_in_the_metrics_and_a_refused_one_is_not(metadata, monkeypatch):
    counted = []
    monkeypatch.setattr(_pages, "count_settled", lambda *settled: counted.append(settled))
    metadata.add_task({"pindo_bulk_00001": batch(4, unknown={"lost": "2-4"})}, state="failed")
    settle(metadata, everybody=True)
    settle(metadata, everybody=True)
    assert counted == [("page", 3)]


@pytest.mark.parametrize("key", ["pindo_sms", "pindo_bulk_00001"])
@pytest.mark.parametrize("is_everybody", [True, False])
def test_a_page_from_before_the_request_settles_nothing(metadata, key, is_everybody):
    lost = single("unknown") if key == "pindo_sms" else batch(4, unknown={"lost": "2"})
    metadata.add_task({key: lost}, state="failed")
    (task,) = metadata.client().get("/ui/api/overview").json()["unknown"]
    row = None if key == "pindo_sms" else 2
    body = {"everybody": False} if is_everybody else {"decisions": [decision(False, key, row)]}
    metadata.touch(key)  # the task was cleared, and the response to its new request was lost too
    response = settle(metadata, seen=task["time"], **body)
    assert response.status_code == 409
    assert "changed after" in response.json()["detail"]
    assert metadata.value(key) == lost
    assert metadata.audit_log() == []
    (task,) = metadata.client().get("/ui/api/overview").json()["unknown"]
    settled = settle(metadata, seen=task["time"], **body).json()
    assert settled == {"arrived": 0, "not_arrived": 1, "unknown": 0}


@pytest.mark.parametrize("status", ["sent", "not_sent"])
def test_what_is_no_longer_unknown_is_refused(metadata, status):
    metadata.add_task({"pindo_sms": single(status)}, state="failed")
    assert settle(metadata, decisions=[decision(True)]).status_code == 409
    assert settle(metadata, everybody=True).status_code == 409
    assert metadata.audit_log() == []


@pytest.mark.parametrize(
    "decisions",
    [
        [],
        [decision(True, "pindo_sms")],
        [decision(True, "pindo_bulk_00001", 1)],
        [decision(True, "pindo_bulk_00001")],
        [decision(True, "pindo_bulk_00001", 2), decision(True, "pindo_bulk_00001")],
        [decision(True, "pindo_verify"), decision(False, "pindo_verify")],
        [decision(True, "pindo_bulk_00001", 2), decision(False, "pindo_bulk_00001", 2)],
        [decision(True, "pindo_bulk_00001", 2)] * 2,
        [decision(True, "other")],
    ],
)
def test_a_word_that_fits_no_unknown_message_settles_nothing(metadata, decisions):
    entries = {"pindo_bulk_00001": batch(4, unknown={"lost": "2"}), "pindo_verify": single("unknown")}
    metadata.add_task({**entries, "other": 1}, state="failed")
    assert settle(metadata, decisions=decisions).status_code == 409
    assert metadata.value("pindo_verify")["status"] == "unknown"
    assert metadata.value("pindo_bulk_00001")["unknown"] == {"lost": "2"}
    assert metadata.audit_log() == []


def test_everybody_and_single_decisions_exclude_each_other(metadata):
    metadata.add_task({"pindo_bulk_00001": batch(4, unknown={"lost": "2-3"})}, state="failed")
    response = settle(metadata, everybody=True, decisions=[decision(False, "pindo_bulk_00001", 2)])
    assert (response.status_code, response.json()["detail"]) == (409, "give decisions or everybody, not both")
    assert metadata.value("pindo_bulk_00001")["unknown"] == {"lost": "2-3"}


@pytest.mark.parametrize("state", ["running", "success", "queued", None])
def test_only_what_a_failed_task_left_is_settled(metadata, state):
    metadata.add_task({"pindo_sms": single("unknown")}, state=state)
    assert settle(metadata, decisions=[decision(True)]).status_code == 409


@pytest.mark.parametrize(("arrived", "status"), [(True, "sent"), (False, "not_sent")])
def test_a_pin_is_settled_by_the_same_two_buttons(metadata, arrived, status):
    metadata.add_task({"pindo_verify": single("unknown")}, state="failed")
    assert settle(metadata, decisions=[decision(arrived, "pindo_verify")]).status_code == 200
    assert metadata.value("pindo_verify")["status"] == status


def test_an_error_of_our_own_is_not_taken_for_a_task_that_is_gone(metadata, monkeypatch):
    def fail(*_, **__):
        raise KeyError("entry")

    monkeypatch.setattr(_settle, "read_entry", fail)
    metadata.add_task({"pindo_sms": single("unknown")}, state="failed")
    with pytest.raises(KeyError):
        settle(metadata, decisions=[decision(True)])


def test_there_is_no_such_task(metadata):
    metadata.add_task({"pindo_sms": single("unknown")}, state="failed")
    assert settle(metadata, task_id="other", everybody=True).status_code == 404


@pytest.mark.parametrize("role", ["viewer", None])
def test_who_may_not_edit_the_task_settles_nothing(metadata, role):
    metadata.add_task({"pindo_sms": single("unknown")}, state="failed")
    response = settle(metadata, role=role, decisions=[decision(True)])
    assert response.status_code == (401 if role is None else 403)
    assert metadata.value("pindo_sms")["status"] == "unknown"
    assert metadata.audit_log() == []


@pytest.mark.parametrize(("role", "may"), [("viewer", False), ("user", True), ("admin", True)])
def test_the_page_knows_who_may_settle(metadata, role, may):
    metadata.add_task({"pindo_sms": single("unknown")}, state="failed")
    metadata.add_task({"pindo_sms": single("unknown")}, state="failed", task_id="second")
    data = metadata.client(role).get("/ui/api/overview").json()
    assert [task["can_settle"] for task in data["unknown"]] == [may, may]


@needs_store
def test_the_task_and_its_entries_are_locked_while_a_person_settles():
    class Session:
        """Keeps the query that it gets."""

        def execute(self, query):
            raise LookupError(query)

        scalars = execute

    task = _models.TaskKey(**PLACE)
    queries = []
    for lock in (
        lambda: _models.lock_task(Session(), task),
        lambda: _models.lock_unknown(Session(), task, ["pindo_sms"], 10),
        lambda: _models.lock_unknown(Session(), task, [], 10),
    ):
        with pytest.raises(LookupError) as caught:
            lock()
        queries.append(str(caught.value.args[0].compile(dialect=postgresql.dialect())))
    ends = [query.rpartition("FOR UPDATE")[1:] for query in queries]
    assert ends == [("FOR UPDATE", " OF task_instance"), ("FOR UPDATE", ""), ("FOR UPDATE", "")]


@pytest.mark.parametrize("metadata", [pytest.param("postgresql", marks=pytest.mark.databases)], indirect=True)
def test_of_two_people_who_settle_at_once_one_is_refused(metadata, monkeypatch):
    metadata.add_task({"pindo_sms": single("unknown")}, state="failed")
    lock_task, both = _models.lock_task, threading.Barrier(2, timeout=60)
    lock_unknown = _models.lock_unknown

    def lock_together(*args):
        both.wait()
        return lock_task(*args)

    def lock_slowly(*args):
        rows = lock_unknown(*args)
        time.sleep(1)  # without a lock, the other one reads the same now
        return rows

    assert (
        settle(metadata, run_id="other", decisions=[decision(True)]).status_code == 404
    )  # makes the key of the tokens
    monkeypatch.setattr(_models, "lock_task", lock_together)
    monkeypatch.setattr(_models, "lock_unknown", lock_slowly)
    with ThreadPoolExecutor(2) as people:
        settled = [
            people.submit(settle, metadata, name=name, decisions=[decision(arrived)])
            for name, arrived in (("ada", True), ("claudine", False))
        ]
        codes = {
            name: done.result().status_code for name, done in zip(("ada", "claudine"), settled, strict=True)
        }
    assert sorted(codes.values()) == [200, 409]
    ((owner, _, details),) = metadata.audit_log()
    assert codes[owner] == 200
    status = "sent" if details["arrived"] else "not_sent"
    assert (metadata.value("pindo_sms")["status"], owner) == (
        status,
        "ada" if details["arrived"] else "claudine",
    )
