"""What became of a message: any order of the same reports gives the same outcome."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pindo.api.delivery import MAX_LISTED, Deliveries, read_messages, read_report
from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.fields import MalformedResponse

NOW = datetime(2026, 6, 10, 9, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DELIVERED = ["DELIVRD", "delivered"]
UNDELIVERED = ["UNDELIV", "UNDELIVERED", "EXPIRED", "REJECTED", "REJECTD", "DELETED", "FAILED"]
OPEN = ["ACCEPTED", "ACCEPTD", "ENROUTE", "UNKNOWN", "SENT", "a new word"]


def report(status, second=0, sms_id="out_sms_1", received_at=NOW):
    body = {"sms_id": sms_id, "status": status, "modified_at": f"2026-06-10T09:04:{second:02}"}
    return read_report(body, "UTC", received_at, 7)


def by_message(reports):
    found = {}
    for each in reports:
        found.setdefault(each.sms_id, []).append(each)
    return found


def outcome(*reports, **kwargs):
    deliveries = Deliveries(["out_sms_1"], **kwargs)
    deliveries.add(by_message(reports))
    return deliveries


def counts(result):
    return result["delivered"], result["undelivered"], result["no_report"]


@pytest.mark.parametrize(
    ("statuses", "column", "is_final"),
    [(DELIVERED, (1, 0, 0), True), (UNDELIVERED, (0, 1, 0), True), (OPEN, (0, 0, 1), False)],
)
def test_each_status_has_its_column(statuses, column, is_final):
    for status in statuses:
        deliveries = outcome(report(status))
        assert counts(deliveries.result()) == column, status
        assert (deliveries.pending(NOW) == []) is is_final, status


def test_a_message_without_a_report_is_never_undelivered():
    result = outcome().result()
    assert counts(result) == (0, 0, 1)
    assert result["not_delivered"] == [{"sms_id": "out_sms_1", "status": None, "modified_at": None}]


STATUSES = st.sampled_from([*DELIVERED, *UNDELIVERED, *OPEN])
REPORTS = st.lists(st.tuples(STATUSES, st.integers(0, 59), st.sampled_from(["1", "2", "3"])), max_size=12)


@given(REPORTS, st.randoms())
def test_any_order_of_the_same_reports_gives_the_same_outcome(reports, random):
    """Also when each comes more than once, and at any time."""
    results = []
    for _ in range(3):
        shuffled = reports + random.choices(reports, k=len(reports) // 2) if reports else []
        random.shuffle(shuffled)
        deliveries = Deliveries("123")
        for place, (status, second, sms_id) in enumerate(shuffled):
            deliveries.add(by_message([report(status, second, sms_id, received_at=NOW + place * MINUTE)]))
        results.append(deliveries.result())
    assert results[0] == results[1] == results[2]
    assert sum(counts(results[0])) == results[0]["of"] == 3
    phones = {sms_id for status, _, sms_id in reports if status in DELIVERED}
    assert results[0]["delivered"] == len(phones)


def test_a_retry_of_pindos_that_arrives_makes_a_message_delivered():
    assert counts(outcome(report("UNDELIV", 1), report("DELIVRD", 2)).result()) == (1, 0, 0)
    assert counts(outcome(report("DELIVRD", 2), report("UNDELIV", 1)).result()) == (1, 0, 0)


def test_a_late_acceptance_changes_nothing():
    assert counts(outcome(report("DELIVRD", 1), report("ACCEPTED", 9)).result()) == (1, 0, 0)
    result = outcome(report("UNDELIV", 1), report("ACCEPTED", 9)).result()
    assert [entry["status"] for entry in result["not_delivered"]] == ["UNDELIV"]


def test_an_undelivered_message_is_open_until_pindo_has_had_time_to_retry():
    deliveries = outcome(report("UNDELIV"), retry_window=MINUTE)
    assert deliveries.pending(NOW + MINUTE / 2) == ["out_sms_1"]
    assert deliveries.pending(NOW + MINUTE) == []
    deliveries.add(by_message([report("DELIVRD", 30)]))
    assert deliveries.pending(NOW) == []


def test_the_older_form_with_a_number_and_another_time_is_the_same_report():
    body = {"status": "DELIVRD", "sms_id": 1058918, "modified_at": "24-07-2020, 23:35:32", "retries_count": 0}
    older = read_report(body, "Africa/Kigali", NOW, 7)
    assert older.as_json() == {
        "sms_id": "1058918",
        "status": "DELIVRD",
        "modified_at": "2020-07-24T21:35:32+00:00",
    }
    deliveries = Deliveries(["1058918"])
    deliveries.add(by_message([older]))
    assert counts(deliveries.result()) == (1, 0, 0)


def test_a_report_with_a_time_that_is_none_counts_all_the_same():
    for time in (None, "yesterday", "", [], True, 10**30):
        body = {"sms_id": "a", "status": "DELIVRD", "modified_at": time}
        assert read_report(body, "UTC", NOW, 7).modified_at is None


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"sms_id": "a"},
        {"status": "DELIVRD"},
        {"sms_id": True, "status": "DELIVRD"},
        {"sms_id": " ", "status": "X"},
    ],
)
def test_what_names_no_message_or_no_status_is_no_report(body):
    with pytest.raises(MalformedResponse):
        read_report(body, "UTC", NOW, 7)


def test_other_messages_are_ignored_and_one_given_twice_is_one():
    deliveries = Deliveries(["a", "b", "a"])
    deliveries.add(by_message([report("DELIVRD", sms_id="c"), report("DELIVRD", sms_id="a")]))
    assert deliveries.result()["of"] == 2
    assert deliveries.pending(NOW) == ["b"]


def test_only_the_first_hundred_are_listed():
    result = Deliveries(map(str, range(1000))).result()
    assert len(result["not_delivered"]) == MAX_LISTED == 100
    assert result["no_report"] == 1000


def test_messages_whose_ids_nobody_knows_have_no_report():
    deliveries = Deliveries(["a"], unnamed=2)
    deliveries.add(by_message([report("DELIVRD", sms_id="a")]))
    assert deliveries.pending(NOW) == []
    result = deliveries.result()
    assert (counts(result), result["of"]) == ((1, 0, 2), 3)


RECEIPT = {"sms_id": "out_sms_1", "to": "+250781234567", "status": "sent"}


@pytest.mark.parametrize(
    ("value", "messages"),
    [
        ("out_sms_1", (["out_sms_1"], 0)),
        (1058918, (["1058918"], 0)),
        (RECEIPT, (["out_sms_1"], 0)),
        ([RECEIPT, "b", {"sms_id": 7}], (["out_sms_1", "b", "7"], 0)),
        ([{"status": "unknown", "to": "+250781234567"}, "a"], (["a"], 1)),
        ([], ([], 0)),
    ],
)
def test_messages_are_named_by_ids_and_receipts(value, messages):
    assert read_messages(value) == messages


def test_messages_may_be_named_by_a_generator():
    assert read_messages(each for each in ["a", "b"]) == (["a", "b"], 0)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("['a', 'b']", "a str"),
        ("('a', 'b')", "a str"),
        ('{"sms_id": 1}', "a str"),
        (None, "a NoneType"),
        ([None], "a NoneType"),
        (True, "a bool"),
        (1.5, "a float"),
        ({"accepted": 3, "of": 4}, "an object with the keys accepted, of, which"),
        ({"+250781234567": 1}, r"an object with the keys \+25078\*+567, which"),
        ([[1]], "a list"),
        (["a", ""], "a str"),
        (
            "out_1\nout_2",
            r"'out_1\\nout_2', which is no id of a message: an id has at most 120 printable characters.",
        ),
        ("out\u00a01", r"'out\\xa01', which"),
        ("+250781234567\u200b", r"'\+25078\*+567\\u200b', which"),
        ("x" * 121, "'x{80}', which"),
    ],
)
def test_what_is_no_message_is_refused_without_its_content(value, shown):
    with pytest.raises(PindoConfigurationError, match=f"sms_ids has {shown} "):
        read_messages(value)
