"""Reading the inbound list: nothing lost, nothing twice, no page too many, in either order."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pindo._inbox.scan import Cursor, InboundScan, lowest
from airflow_provider_pindo.api.fields import MalformedResponse
from airflow_provider_pindo.api.limits import DEFAULT_PER_PAGE
from airflow_provider_pindo.api.parsers import read_inbound_page
from airflow_provider_pindo.api.values import InboundPage, InboundSms
from tests._inbox.lists import START, WRONG_PAGES, Inbox, Server, make_message


@given(
    size=st.integers(0, 30),
    newest_first=st.booleans(),
    known=st.integers(0, 30),
    per_page=st.integers(2, 7),
    arrivals=st.dictionaries(st.integers(1, 6), st.integers(1, 9), max_size=4),
)
def test_everything_new_is_read_once_while_messages_arrive(size, newest_first, known, per_page, arrivals):
    inbox = Inbox(size, newest_first=newest_first, arrivals=arrivals)
    ids = inbox.read(after_id=known, per_page=per_page)
    assert len(ids) == len(set(ids))
    assert set(range(known + 1, size + 1)) <= set(ids)
    # What arrived meanwhile is either here or above everything that is, where the next pass looks.
    horizon = max([known, *ids])
    assert set(ids) == set(range(known + 1, horizon + 1))


@pytest.mark.parametrize(
    ("newest_first", "known", "requests"),
    [(True, 999, [1]), (True, 1000, [1]), (False, 999, [1, 334, 333]), (False, 1000, [1, 334])],
)
def test_a_backlog_costs_a_few_pages_at_most(newest_first, known, requests):
    inbox = Inbox(1000, newest_first=newest_first)
    assert inbox.read(after_id=known) == list(range(known + 1, 1001))
    assert inbox.requests == requests


@pytest.mark.parametrize(
    ("newest_first", "pages", "requests"),
    [(True, "right", [1, 2, 3]), (False, "right", [1, 3, 2]), (False, "not said", [1, 2, 3, 4])],
)
def test_no_page_is_read_twice_where_nothing_comes_meanwhile(newest_first, pages, requests):
    server = Server(45, newest_first=newest_first, pages=WRONG_PAGES[pages])
    assert sorted(server.read()) == list(range(1, 46))
    assert server.requests == requests


def test_a_page_that_was_filled_since_it_was_read_is_read_again():
    """Else 6 to 20 would be lost: the next pass looks above 22."""
    server = Server(5, newest_first=False, pages=WRONG_PAGES["not said"], bursts=[17])
    assert sorted(server.read()) == list(range(1, 23))
    assert server.requests == [1, 2, 1, 3]


def test_messages_that_cannot_be_read_make_a_page_no_shorter():
    rows = {1: range(60, 40, -1), 2: range(40, 22, -1), 3: range(20, 15, -1)}
    scan, ids = InboundScan(Cursor()), []
    while scan.next_page is not None:
        page = InboundPage(
            tuple(map(make_message, rows[scan.next_page])), pages=1, left_out=2 * (scan.next_page == 2)
        )
        ids += [message.id for message in scan.feed(page)]
    assert ids == [*rows[1], *rows[2], *rows[3]]


def test_a_page_that_ends_at_the_last_known_message_is_the_last():
    inbox = Inbox(1000, newest_first=True)
    assert inbox.read(after_id=998, per_page=2) == [1000, 999]
    assert inbox.requests == [1, 2]
    inbox = Inbox(1000, newest_first=True)
    assert inbox.read(after_id=999, per_page=2) == [1000]
    assert inbox.requests == [1]


def test_since_bounds_the_reading_too():
    inbox = Inbox(1000, newest_first=True)
    assert sorted(inbox.read(since=START + timedelta(minutes=996))) == [996, 997, 998, 999, 1000]
    assert inbox.requests == [1, 2, 3]  # up to a page that is older as a whole


def test_a_message_with_an_odd_time_hides_none_behind_it():
    scan = InboundScan(Cursor(since=START + timedelta(minutes=4)))
    odd = InboundSms(id=7, text="Hello", created_at=START - timedelta(days=1))
    pages = {
        1: [make_message(9), make_message(8), odd],
        2: [make_message(6), make_message(5), make_message(4)],
        3: [make_message(3)],
    }
    ids = []
    while scan.next_page is not None:
        ids += [message.id for message in scan.feed(InboundPage(tuple(pages[scan.next_page]), pages=3))]
    assert ids == [9, 8, 6, 5, 4]


@pytest.mark.parametrize("newest_first", [True, False])
def test_one_pass_serves_readers_with_different_cursors(newest_first):
    inbox = Inbox(100, newest_first=newest_first)
    late, early = Cursor(after_id=98), Cursor(since=START + timedelta(minutes=95))
    scan = InboundScan(*lowest([late, early]))
    messages = []
    while scan.next_page is not None:
        messages += scan.feed(inbox.page(scan.next_page, 20))
    assert sorted(message.id for message in messages if not late.covers(message)) == [99, 100]
    assert sorted(message.id for message in messages if not early.covers(message)) == [
        95,
        96,
        97,
        98,
        99,
        100,
    ]
    assert scan.highest_id == 100
    assert scan.names_senders is False
    assert scan.per_page == DEFAULT_PER_PAGE


def test_one_message_that_names_its_sender_is_enough():
    scan = InboundScan(Cursor(), per_page=1)
    assert (scan.per_page, scan.highest_id, scan.names_senders) == (1, None, None)
    named = replace(make_message(3), from_number="+250781234567")
    for page in ([named], [make_message(2)]):
        scan.feed(InboundPage(tuple(page), pages=3))
        assert (scan.highest_id, scan.names_senders) == (3, True)


def test_a_page_of_nothing_but_repeats_does_not_end_the_reading():
    inbox = Inbox(9, newest_first=True, arrivals={1: 3})
    assert sorted(inbox.read(after_id=2)) == [3, 4, 5, 6, 7, 8, 9]


def test_an_unordered_list_is_read_to_its_end():
    pages = {1: [5, 9, 2], 2: [7, 1, 8], 3: [6, 3, 4]}
    for known in (4, 6):
        scan = InboundScan(Cursor(after_id=known))
        ids = []
        while scan.next_page is not None:
            page = InboundPage(tuple(map(make_message, pages.get(scan.next_page, []))), pages=3)
            ids += [message.id for message in scan.feed(page)]
        assert sorted(ids) == list(range(known + 1, 10))


def test_a_list_that_does_not_count_its_pages_is_read_until_nothing_comes():
    scan = InboundScan(Cursor())
    pages = {1: [9, 8], 2: [7, 6], 3: []}
    ids = []
    while scan.next_page is not None:
        ids += [
            message.id for message in scan.feed(InboundPage(tuple(map(make_message, pages[scan.next_page]))))
        ]
    assert ids == [9, 8, 7, 6]


@pytest.mark.parametrize("pages", [None, 10**9])
@pytest.mark.parametrize("ids", [[2, 1], [1, 2], [1]])
def test_a_server_that_repeats_its_page_for_ever_is_left(ids, pages):
    scan = InboundScan(Cursor())
    requests = 0
    while scan.next_page is not None:
        requests += 1
        scan.feed(InboundPage(tuple(map(make_message, ids)), pages=pages))
    assert requests <= 7


def test_a_page_count_that_is_far_too_high_hides_no_message():
    inbox = Inbox(30, newest_first=False)
    scan, ids = InboundScan(Cursor(after_id=25)), []
    while scan.next_page is not None:
        page = replace(inbox.page(scan.next_page, 5), pages=5000)
        ids += [message.id for message in scan.feed(page)]
    assert sorted(ids) == [26, 27, 28, 29, 30]
    # 4999 once more, since the list says that more come after it; page 1, since it may not have been full.
    assert inbox.requests == [1, 5000, 4999, 4999, 4998, 2, 1, 3, 4, 5, 6, 7]


@given(
    size=st.integers(1, 60),
    arrivals=st.dictionaries(st.integers(1, 4), st.integers(1, 25), max_size=2),
)
def test_however_many_arrive_between_two_pages_that_are_not_counted_nothing_is_lost(size, arrivals):
    # At one moment as many as were read push all that was read onto pages of their own.
    arrivals = {requests: min(count, 5 * requests) for requests, count in list(arrivals.items())[:1]}
    inbox = Inbox(size, newest_first=True, arrivals=arrivals)
    scan, ids = InboundScan(Cursor()), []
    while scan.next_page is not None:
        page = replace(inbox.page(scan.next_page, 5), pages=None)
        ids += [message.id for message in scan.feed(page)]
    assert set(range(1, size + 1)) <= set(ids)


def test_a_page_of_messages_that_arrives_between_two_requests_hides_none_where_pages_are_not_counted():
    listed = list(range(30, 10, -1))
    scan, ids = InboundScan(Cursor(after_id=10)), []
    while scan.next_page is not None:
        start = (scan.next_page - 1) * 5
        page = InboundPage(tuple(map(make_message, listed[start : start + 5])))
        ids += [message.id for message in scan.feed(page)]
        if scan.next_page == 2:
            listed = [35, 34, 33, 32, 31, *listed]
    assert sorted(ids) == list(range(11, 31))


def test_a_message_that_stands_on_a_page_twice_is_one():
    scan = InboundScan(Cursor())
    assert [message.id for message in scan.feed(InboundPage(tuple(map(make_message, [2, 2, 1]))))] == [2, 1]
    scan, ids = InboundScan(Cursor()), []
    pages = {1: [1, 2, 2], 2: [3, 4], 3: []}
    while scan.next_page is not None:
        ids += [
            message.id for message in scan.feed(InboundPage(tuple(map(make_message, pages[scan.next_page]))))
        ]
    assert ids == [1, 2, 3, 4]


GOOD = {"id": 5, "text": "YES", "created_at": "2026-01-01T00:00:00"}


@pytest.mark.parametrize(
    "odd", [None, 7, {**GOOD, "id": None}, {**GOOD, "id": "in_01H7"}, {**GOOD, "id": 10**30}]
)
def test_a_message_without_an_id_holds_up_no_other(odd):
    page = read_inbound_page({"inbound_sms": [GOOD, odd, {**GOOD, "id": 4}]}, "UTC")
    assert [message.id for message in page.messages] == [5, 4]
    assert page.left_out == 1


def test_a_list_in_which_no_message_has_an_id_is_malformed():
    with pytest.raises(MalformedResponse, match="'id'"):
        read_inbound_page({"inbound_sms": [{**GOOD, "id": "in_01H7"}]}, "UTC")


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (4821, "4821"),
        (4821.0, "4821"),
        (48.5, "48.5"),
        (True, ""),
        (["YES"], ""),
        (None, ""),
        ("4821", "4821"),
    ],
)
def test_a_text_that_comes_as_a_number_is_its_digits(text, read):
    page = read_inbound_page({"inbound_sms": [{**GOOD, "text": text}]}, "UTC")
    assert page.messages[0].text == read


@pytest.mark.parametrize(
    ("senders", "named"),
    [([None], None), ([None, "+250781234567"], True), ([None] * DEFAULT_PER_PAGE, False), ([], None)],
)
def test_an_empty_sender_is_no_sign_that_none_is_named_until_there_are_many(senders, named):
    rows = [{**GOOD, "id": number, "from": sender} for number, sender in enumerate(senders)]
    scan = InboundScan(Cursor())
    scan.feed(read_inbound_page({"inbound_sms": rows}, "UTC"))
    assert scan.names_senders is named
