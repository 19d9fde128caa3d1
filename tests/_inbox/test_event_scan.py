"""One pass over the webhook events for many readers: nothing lost, and nothing twice."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pindo._inbox import event_scan
from airflow_provider_pindo._inbox.event_scan import EventCursor, ReportCursor, SharedEventScan
from airflow_provider_pindo._inbox.events import MAX_SMS_IDS, EventPage, WebhookEvent
from airflow_provider_pindo.api.webhooks import DELIVERY_REPORT, INBOUND, SENT

NOW = datetime(2026, 6, 10, 9, 5, tzinfo=UTC)


def report(event_id, sms_id="a", received_at=NOW):
    body = {"sms_id": sms_id, "status": "DELIVRD", "modified_at": "2026-06-10T09:04:31"}
    return WebhookEvent(event_id, DELIVERY_REPORT, sms_id, body, received_at)


def inbound(event_id, text="YES", received_at=NOW, **body):
    body = {"from": "+250781234567", "text": text, **body}
    return WebhookEvent(event_id, INBOUND, "7", body, received_at)


def sent(event_id, received_at=NOW):
    return WebhookEvent(event_id, SENT, "a", {"to": "+250781234567", "text": "Muraho"}, received_at)


class Table:
    """The webhook table. Of the last rows, some are not visible yet.

    :param page: most rows in one response.
    """

    def __init__(self, *rows, stable_id=0, page=1000):
        self.rows, self.stable_id, self.page = list(rows), stable_id, page
        self.asked = []

    def answer(self, call):
        asked = call.json
        self.asked.append(asked)
        rows = [
            row
            for row in sorted(self.rows, key=lambda row: row.id)
            if row.id > asked["after"]
            and row.kind in asked["kinds"]
            and row.sms_id in asked.get("sms_ids", [row.sms_id])
            and row.received_at >= datetime.fromisoformat(asked.get("since", "2020-01-01T00:00:00+00:00"))
        ]
        more = len(rows) > self.page
        rows = rows[: self.page]
        last_id = rows[-1].id if rows else asked["after"]
        newest_id = max([row.id for row in self.rows], default=0)
        return EventPage(tuple(rows), last_id, max(self.stable_id, asked["after"]), newest_id, more)

    def poll(self, *cursors, timezone="UTC"):
        """Return what is new to each cursor, and the cursors after it."""
        scan = SharedEventScan("pindo_default", cursors, timezone)
        while scan.next_call is not None:
            scan.feed(self.answer(scan.next_call))
        result = scan.result("RW")
        return [cursor.new_in(result) for cursor in cursors], [
            cursor.advance_past(result) for cursor in cursors
        ]


def event_ids(result):
    return sorted(
        [each.event_id for reports in result.reports.values() for each in reports]
        + [message.id for message in result.messages]
        + [*result.sent]
    )


def test_many_readers_cost_one_request():
    table = Table(report(1, "a"), report(2, "b"))
    _, cursors = table.poll(*[ReportCursor(frozenset({sms_id})) for sms_id in "abcd"])
    assert len(table.asked) == 1
    table.rows.append(report(3, "c"))
    results, _ = table.poll(*cursors, EventCursor(DELIVERY_REPORT, after_id=0))
    assert len(table.asked) == 2
    assert event_ids(results[2]) == [3]


def test_a_reader_that_joins_late_gets_what_was_reported_before():
    table = Table(report(1, "a"), report(2, "b"), stable_id=2)
    _, [first] = table.poll(ReportCursor(frozenset("a")))
    results, _ = table.poll(first, ReportCursor(frozenset("b")))
    assert [event_ids(result) for result in results] == [[], [2]]


def test_the_ids_of_many_messages_go_in_several_requests():
    table = Table()
    table.poll(ReportCursor(frozenset(map(str, range(2 * MAX_SMS_IDS + 1)))))
    assert [len(asked["sms_ids"]) for asked in table.asked] == [MAX_SMS_IDS, MAX_SMS_IDS, 1]


def test_readers_of_each_kind_get_theirs():
    table = Table(report(1), inbound(2))
    results, _ = table.poll(EventCursor(DELIVERY_REPORT), EventCursor(INBOUND), ReportCursor(frozenset("a")))
    # A reader of all events of a kind drops what it did not ask for.
    assert [len(result.messages) for result in results] == [1, 1, 0]
    assert [list(result.reports) for result in results] == [["a"], ["a"], ["a"]]
    assert table.asked[0]["kinds"] == [DELIVERY_REPORT, INBOUND]


@pytest.mark.parametrize(("kind", "event"), [(DELIVERY_REPORT, report), (INBOUND, inbound), (SENT, sent)])
def test_what_was_received_before_since_is_not_new(kind, event):
    table = Table(event(1, received_at=NOW - timedelta(hours=1)), event(2))
    [result], _ = table.poll(EventCursor(kind, since=NOW))
    assert event_ids(result) == [2]
    assert table.asked[0]["since"] == NOW.isoformat()
    early = EventCursor(kind, since=NOW - timedelta(hours=2))
    results, _ = table.poll(EventCursor(kind, since=NOW), early)
    assert [event_ids(result) for result in results] == [[2], [1, 2]]


@pytest.mark.parametrize(("kind", "event"), [(DELIVERY_REPORT, report), (INBOUND, inbound), (SENT, sent)])
def test_a_reader_does_not_get_again_what_another_has_still_to_read(kind, event):
    table = Table(event(1), event(2), event(3))
    results, _ = table.poll(
        EventCursor(kind, after_id=1),
        EventCursor(kind, after_id=2),
        EventCursor(kind, after_id=1).advance_past_ids([2], 0),
    )
    assert [event_ids(result) for result in results] == [[2, 3], [3], [3]]


def test_events_of_sent_messages_are_not_for_a_reader_of_reports():
    event = sent(2)
    results, _ = Table(report(1), event).poll(
        EventCursor(SENT), ReportCursor(frozenset("a"), after_id=0), ReportCursor(frozenset("b"))
    )
    assert [result.sent for result in results] == [{2: event}, {}, {}]


@pytest.mark.parametrize("new", [ReportCursor(frozenset("a")), EventCursor(DELIVERY_REPORT)])
def test_the_first_event_of_all_is_read_also_when_it_becomes_visible_late(new):
    table = Table()
    _, [cursor] = table.poll(new)
    table.rows.append(report(1))
    for each in (cursor, new):
        [result], _ = table.poll(each)
        assert event_ids(result) == [1]


def test_a_time_without_a_zone_is_one_of_the_connections_zone():
    [result], _ = Table(report(1)).poll(EventCursor(DELIVERY_REPORT), timezone="Africa/Kigali")
    [[reported]] = result.reports.values()
    assert reported.modified_at == datetime(2026, 6, 10, 7, 4, 31, tzinfo=UTC)


def test_without_readers_nothing_is_asked_and_nothing_is_settled():
    scan = SharedEventScan("pindo_default", [], "UTC")
    assert scan.next_call is None
    result = scan.result("RW")
    assert (result.stable_id, result.highest_id, result.names_senders) == (0, None, None)


def test_an_event_that_becomes_visible_late_is_read_and_none_comes_twice():
    table = Table(report(1), report(3), stable_id=0)
    [result], [cursor] = table.poll(EventCursor(DELIVERY_REPORT))
    assert event_ids(result) == [1, 3]
    table.rows.append(report(2))
    [result], [cursor] = table.poll(cursor)
    assert event_ids(result) == [2]
    table.stable_id = 3
    [result], [cursor] = table.poll(cursor)
    assert event_ids(result) == []
    assert (cursor.after_id, cursor.seen) == (3, frozenset())


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), max_size=40),
    st.integers(1, 5),
)
def test_in_any_order_of_visibility_every_event_comes_once(arrivals, page):
    """Each event becomes visible at most two polls later than its id says; it is settled after three."""
    table, cursor, read = Table(page=page), EventCursor(DELIVERY_REPORT), []
    pending, last_ids, next_id = [], [0, 0, 0], 1
    for count, lag in [*arrivals, (0, 0), (0, 0), (0, 0)]:
        for _ in range(count):
            pending.append([lag, report(next_id)])
            next_id += 1
        table.rows += [row for wait, row in pending if wait == 0]
        pending = [[wait - 1, row] for wait, row in pending if wait > 0]
        table.stable_id = last_ids[-3]
        last_ids.append(next_id - 1)
        [result], [cursor] = table.poll(EventCursor(DELIVERY_REPORT).from_json(cursor.as_json()))
        read += event_ids(result)
    assert sorted(read) == list(range(1, next_id))


def test_messages_name_their_sender_and_have_the_time_and_number_of_their_receipt():
    table = Table(inbound(9, text=42, to="7878", created_at="24-07-2020, 23:35:32"))
    [result], _ = table.poll(EventCursor(INBOUND))
    [message] = result.messages
    assert (message.id, message.text, message.created_at) == (9, "42", NOW)
    assert (message.from_number, message.inbound_sms_number) == ("+250781234567", "7878")
    assert (result.names_senders, result.country, result.highest_id) == (True, "RW", 9)


@pytest.mark.parametrize("number", ["", None])
def test_a_message_from_a_hidden_number_proves_nothing_of_the_others(number):
    hidden = inbound(1, **{"from": number})
    [result], _ = Table(hidden).poll(EventCursor(INBOUND))
    assert (event_ids(result), result.names_senders) == ([1], None)
    [result], _ = Table(hidden, inbound(2)).poll(EventCursor(INBOUND))
    assert (event_ids(result), result.names_senders) == ([1, 2], True)


def test_an_event_that_is_not_readable_hides_no_other(caplog):
    broken = WebhookEvent(1, DELIVERY_REPORT, "a", {"sms_id": [], "status": "DELIVRD"}, NOW)
    [result], _ = Table(broken, report(2)).poll(EventCursor(DELIVERY_REPORT))
    assert event_ids(result) == [2]
    assert "Webhook event 1 is left out" in caplog.text


@pytest.mark.parametrize("late", [False, True])
def test_a_message_that_came_in_several_events_is_new_once(late):
    """Also when the later event is visible first."""
    rows = [inbound(2, sms_id=1058918), inbound(4, sms_id=1058918), inbound(5, sms_id=1058918)]
    table = Table(*rows[late:])
    [result], [cursor] = table.poll(EventCursor(INBOUND))
    assert event_ids(result) == [4 if late else 2]
    table.rows = rows
    [result], [cursor] = table.poll(cursor)
    assert event_ids(result) == []
    table.rows.append(inbound(7, sms_id=1058918))
    [result, other], [cursor, _] = table.poll(cursor, EventCursor(INBOUND, after_id=6))
    assert (event_ids(result), event_ids(other)) == ([], [])
    [result], _ = table.poll(EventCursor(INBOUND).advance_past_ids([4], 0))
    assert event_ids(result) == []


def test_bodies_are_compared_only_where_two_messages_name_the_same_id(monkeypatch):
    """Writing each of 30,000 bodies as JSON blocks the triggerer's event loop."""
    compared = []

    def dumps(body, **options):
        compared.append(body["text"])
        return json.dumps(body, **options)

    monkeypatch.setattr(event_scan, "json", SimpleNamespace(dumps=dumps))
    messages = [inbound(number, f"text {number}", sms_id=f"in_{number}") for number in range(1, 1000)]
    duplicates = [inbound(1000, "text 1", sms_id="in_1"), inbound(1001, "another", sms_id="in_2")]
    odd = [inbound(1002, "odd", sms_id=["in_3"])]
    ((result,), _) = Table(*messages, *duplicates, *odd).poll(EventCursor(INBOUND))
    assert [message.id for message in result.messages] == [*range(1, 1000), 1001, 1002]
    assert sorted(compared) == ["another", "text 1", "text 1", "text 2"]


def test_many_reports_of_one_message_do_not_block_the_event_loop():
    scan = SharedEventScan("pindo_default", [EventCursor(DELIVERY_REPORT)], "UTC")
    scan.feed(EventPage(tuple(report(number) for number in range(60_000)), 60_000, 0, 60_000, False))
    started = time.process_time()
    [reports] = scan.result("RW").reports.values()
    assert time.process_time() - started < 1
    assert [each.event_id for each in reports] == list(range(60_000))


def test_the_same_text_in_two_messages_counts_twice():
    same = {"created_at": "2026-06-10T09:04:31"}
    rows = [inbound(1), inbound(2), inbound(3, sms_id="a", **same), inbound(4, sms_id="b", **same)]
    # The id may be that of the message that a person replied to.
    rows += [inbound(5, sms_id="a", created_at="2026-06-10T09:05:00"), inbound(6, "NO", sms_id="a", **same)]
    [result], _ = Table(*rows).poll(EventCursor(INBOUND))
    assert event_ids(result) == [1, 2, 3, 4, 5, 6]


def test_a_cursor_moved_past_some_events_has_the_others_before_it():
    cursor = EventCursor(DELIVERY_REPORT, since=NOW).advance_past_ids([5, 3], 0)
    assert cursor.seen == frozenset({3, 5})
    [result], _ = Table(report(3), report(4), report(5)).poll(cursor)
    assert event_ids(result) == [4]
    assert cursor.sort_key() > EventCursor(DELIVERY_REPORT, since=NOW).sort_key()


@pytest.mark.parametrize("known_id", [50, 3])
@pytest.mark.parametrize(
    "cursor",
    [
        EventCursor(DELIVERY_REPORT, since=NOW, seen=frozenset({51})),
        ReportCursor(frozenset({"a"})),
    ],
)
def test_when_ids_begin_anew_a_reader_starts_again_and_says_so(cursor, known_id, caplog):
    """The table was lost. One reader may be past the new ids, and another not yet."""
    table = Table(report(1, received_at=NOW - timedelta(days=1)), report(2), report(4))
    [result, other], [cursor, after] = table.poll(
        replace(cursor, after_id=50), EventCursor(DELIVERY_REPORT, after_id=known_id, since=NOW)
    )
    expected = [2, 4] if isinstance(cursor, EventCursor) else [1, 2, 4]
    assert (event_ids(result), cursor.after_id) == (expected, 0)
    assert event_ids(other) == ([2, 4] if known_id == 50 else [4])
    assert "begin anew, and are read from the start: the newest has the id 4, and 50 was read" in caplog.text
    caplog.clear()
    table.rows.append(report(5))
    [result, other], _ = table.poll(cursor, after)
    if isinstance(cursor, EventCursor):
        assert event_ids(result) == [5]
    assert event_ids(other) == [5]
    assert caplog.text == ""


def test_when_all_events_were_old_and_are_deleted_no_event_is_missed_and_none_comes_again(caplog):
    table = Table(stable_id=0)
    cursor = EventCursor(DELIVERY_REPORT, after_id=50, since=NOW, seen=frozenset({51}))
    for _ in range(2):
        [result], [cursor] = table.poll(cursor)
        assert event_ids(result) == []
    table.rows.append(report(52))
    [result], [cursor] = table.poll(cursor)
    assert event_ids(result) == [52]
    table.stable_id = 52
    [result], [cursor] = table.poll(cursor)
    assert (event_ids(result), cursor.after_id, caplog.text) == ([], 52, "")


def test_the_cursor_that_is_furthest_behind_is_the_lowest():
    in_order = [
        EventCursor(INBOUND),
        EventCursor(INBOUND, since=NOW - timedelta(hours=1)),
        EventCursor(INBOUND, since=NOW),
        EventCursor(INBOUND, after_id=1),
        EventCursor(INBOUND, after_id=1, seen=frozenset({3})),
        EventCursor(INBOUND, after_id=2),
    ]
    furthest_first = in_order[::-1]
    assert sorted(furthest_first, key=EventCursor.sort_key) == in_order


@pytest.mark.parametrize("since", [None, NOW])
@pytest.mark.parametrize("after_id", [None, 7])
def test_a_cursor_is_read_back_as_it_was_stored(since, after_id):
    cursor = EventCursor(INBOUND, since=since, after_id=after_id, seen=frozenset({9, 8}))
    assert EventCursor(INBOUND).from_json(cursor.as_json()) == cursor
