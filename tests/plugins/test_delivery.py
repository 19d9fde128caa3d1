"""What delivery reports say of the messages on the page."""

from __future__ import annotations

import pytest

from airflow_provider_pindo.api.webhooks import Webhook
from airflow_provider_pindo.plugins import _delivery, _event_table
from tests.plugins.metadata import batch, single

PLACE = {"dag_id": "reminders", "run_id": "run_1", "task_id": "text"}


@pytest.fixture
def report(metadata, monkeypatch):
    """Webhooks are on; have Pindo report a status of a message."""
    monkeypatch.setenv("AIRFLOW__PINDO__WEBHOOKS", "True")
    _event_table.create_table()
    _event_table._run(lambda database: database.execute(_event_table.TABLE.delete()))
    return lambda sms_id, status: _event_table.add(
        "pindo_default", Webhook("delivery_report", sms_id, status), "{}"
    )


def delivery(metadata, query="window=24h"):
    return metadata.client("viewer").get(f"/ui/api/delivery?{query}").json()


def send(metadata, *ids):
    """Write a bulk send whose messages have these ids."""
    metadata.add_task({"pindo_bulk_00001": batch(len(ids), sms_ids=" ".join(ids))})


def test_the_tiles_count_the_messages_whose_id_is_known(metadata, report):
    send(metadata, "out_1", "-", "out_3")
    metadata.add_task({"pindo_sms": single("sent")}, task_id="one")
    metadata.add_task({"pindo_sms": single("unknown")}, task_id="lost")
    for sms_id, status in (("out_1", "DELIVRD"), ("7", "UNDELIV"), ("stranger", "DELIVRD")):
        report(sms_id, status)
    assert delivery(metadata) == {"delivered": 1, "not_delivered": 1, "of": 3, "is_cut": False}
    of_a_task = "dag_id=reminders&run_id=run_1&task_id=one"
    assert delivery(metadata, of_a_task) == {"delivered": 0, "not_delivered": 1, "of": 1, "is_cut": False}
    assert delivery(metadata, "dag_id=reminders&run_id=run_1")["of"] == 3


@pytest.mark.parametrize(
    "statuses", [("UNDELIV", "DELIVRD"), ("DELIVRD", "UNDELIV"), ("ACCEPTED", "DELIVRD")]
)
def test_a_message_that_was_delivered_at_last_counts_as_delivered(metadata, report, statuses):
    send(metadata, "out_1")
    for status in statuses:
        report("out_1", status)
    assert delivery(metadata) == {"delivered": 1, "not_delivered": 0, "of": 1, "is_cut": False}


def test_everybody_of_a_task_and_a_search_have_a_word_for_each(metadata, report):
    send(metadata, "out_1", "out_2", "out_3", "-")
    for sms_id, status in (("out_1", "DELIVRD"), ("out_2", "EXPIRED"), ("out_3", "ENROUTE")):
        report(sms_id, status)
    answer = metadata.client().post("/ui/api/people", json=PLACE).json()
    assert answer["has_deliveries"] is True
    assert [person["delivery"] for person in answer["people"]] == [
        "delivered",
        "not delivered",
        "no report yet",
        "its ID is not known",
    ]
    found = metadata.client().post("/ui/api/search", json={"number": "+250780000102"}).json()["matches"]
    assert [message["delivery"] for message in found] == ["not delivered"]


def test_who_was_sent_nothing_has_no_delivery(metadata, report):
    some = batch(4, rejected={"bad": "1"}, unknown={"lost": "2"}, not_sent="3")
    metadata.add_task({"pindo_bulk_00001": some})
    people = metadata.client().post("/ui/api/people", json=PLACE).json()["people"]
    words = {person["outcome"]: person.get("delivery") for person in people}
    unnamed = "its ID is not known"
    assert words == {"rejected": None, "unknown": unnamed, "not_sent": None, "accepted": unnamed}


def test_reports_are_looked_up_by_message_however_many_newer_ones_there_are(metadata, report, monkeypatch):
    monkeypatch.setattr(_event_table, "_BATCH", 2)
    monkeypatch.setattr(_delivery, "_MAX_REPORTS", 2, raising=False)
    send(metadata, "out_1", "out_2", "out_3")
    report("out_1", "DELIVRD")
    other = Webhook("delivery_report", "out_3", "UNDELIV")
    _event_table.add("pindo_other", other, "{}")
    for number in range(4):
        report(f"stranger_{number}", "DELIVRD")
    assert delivery(metadata) == {"delivered": 1, "not_delivered": 1, "of": 3, "is_cut": False}


def test_the_tiles_say_that_not_all_messages_are_counted(metadata, report, monkeypatch):
    monkeypatch.setattr(_delivery, "_MAX_BATCHES", 1)
    send(metadata, "out_1", "out_2")
    assert delivery(metadata)["is_cut"] is True


def test_without_webhooks_and_without_the_database_nothing_is_known(metadata, report, monkeypatch):
    send(metadata, "out_1")

    def fail(*_):
        raise _event_table.DatabaseError("OperationalError")

    def has_deliveries():
        people = metadata.client().post("/ui/api/people", json=PLACE).json()
        assert "delivery" not in people["people"][0]
        return people["has_deliveries"]

    monkeypatch.setattr(_event_table, "read_reports", fail)
    assert has_deliveries() is None
    assert delivery(metadata) == {"delivered": None, "not_delivered": None, "of": None, "is_cut": False}
    monkeypatch.setenv("AIRFLOW__PINDO__WEBHOOKS", "False")
    assert has_deliveries() is False
    assert delivery(metadata) is None


@pytest.mark.parametrize("entry", [[1], single("unknown"), single("sent", result={"total_cost": 0.01})])
def test_where_no_message_has_an_id_nothing_is_known_of_its_delivery(metadata, report, entry):
    metadata.add_task({"pindo_sms": entry})
    assert delivery(metadata) == {"delivered": None, "not_delivered": None, "of": 0, "is_cut": False}


def test_only_those_who_may_read_the_dag_are_told(metadata, report, monkeypatch):
    from airflow_provider_pindo.plugins import _models

    metadata.add_task({})
    client = metadata.client("viewer")
    assert client.get("/ui/api/delivery?dag_id=theirs&run_id=run_1").status_code == 403
    monkeypatch.setattr(_models, "TaskStateStoreModel", None)
    assert delivery(metadata) is None
