"""Reading the inbound list: nothing lost, nothing twice, no page too many, in either order."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pindo._inbox.scan import Cursor, InboundScan, lowest
from airflow_provider_pindo.api.arguments import read_since
from airflow_provider_pindo.api.calls import DEFAULT_PER_PAGE
from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.parsers import MalformedResponse, read_inbound_page
from airflow_provider_pindo.api.values import InboundPage, InboundSms

START = datetime(2026, 1, 1, tzinfo=UTC)


def message(number: int) -> InboundSms:
    return InboundSms(id=number, text="Hello", created_at=START + timedelta(minutes=number))


class Inbox:
    """An inbound list that grows while it is read."""

    def __init__(self, size: int, *, newest_first: bool, arrivals: dict[int, int] | None = None) -> None:
        self.ids = list(range(1, size + 1))
        self.newest_first = newest_first
        self.arrivals = arrivals or {}
        self.asked: list[int] = []

    def page(self, number: int, per_page: int) -> InboundPage:
        ids = self.ids[::-1] if self.newest_first else self.ids
        found = ids[(number - 1) * per_page : number * per_page]
        page = InboundPage(tuple(map(message, found)), pages=-(-len(ids) // per_page))
        self.asked.append(number)
        for _ in range(self.arrivals.get(len(self.asked), 0)):
            self.ids.append(len(self.ids) + 1)
        return page

    def read(
        self, after_id: int | None = None, since: datetime | None = None, per_page: int = 3
    ) -> list[int]:
        scan = InboundScan(after_id, since, per_page)
        found: list[int] = []
        while scan.next_page is not None:
            assert len(self.asked) < 200
            found += [each.id for each in scan.feed(self.page(scan.next_page, per_page))]
        return found


@given(
    size=st.integers(0, 30),
    newest_first=st.booleans(),
    known=st.integers(0, 30),
    per_page=st.integers(2, 7),
    arrivals=st.dictionaries(st.integers(1, 6), st.integers(1, 9), max_size=4),
)
def test_everything_new_is_read_once_while_messages_arrive(size, newest_first, known, per_page, arrivals):
    inbox = Inbox(size, newest_first=newest_first, arrivals=arrivals)
    found = inbox.read(after_id=known, per_page=per_page)
    assert len(found) == len(set(found))
    assert set(range(known + 1, size + 1)) <= set(found)
    # What arrived meanwhile is either here or above everything that is, where the next pass looks.
    horizon = max([known, *found])
    assert set(found) == set(range(known + 1, horizon + 1))


@pytest.mark.parametrize(
    ("newest_first", "known", "asked"),
    [(True, 999, [1]), (True, 1000, [1]), (False, 999, [1, 334, 333]), (False, 1000, [1, 334])],
)
def test_a_backlog_costs_a_few_pages_at_most(newest_first, known, asked):
    inbox = Inbox(1000, newest_first=newest_first)
    assert inbox.read(after_id=known) == list(range(known + 1, 1001))
    assert inbox.asked == asked


@pytest.mark.parametrize(
    ("newest_first", "pages", "asked"),
    [(True, "right", [1, 2, 3]), (False, "right", [1, 3, 2]), (False, "not said", [1, 2, 3, 4])],
)
def test_no_page_is_read_twice_where_nothing_comes_meanwhile(newest_first, pages, asked):
    server = Server(45, newest_first=newest_first, pages=WRONG_PAGES[pages])
    assert sorted(server.read()) == list(range(1, 46))
    assert server.asked == asked


def test_a_page_that_was_filled_since_it_was_read_is_read_again():
    """Else 6 to 20 would be lost: the next pass looks above 22."""
    server = Server(5, newest_first=False, pages=WRONG_PAGES["not said"], bursts=[17])
    assert sorted(server.read()) == list(range(1, 23))
    assert server.asked == [1, 2, 1, 3]


def test_messages_that_cannot_be_read_make_a_page_no_shorter():
    rows = {1: range(60, 40, -1), 2: range(40, 22, -1), 3: range(20, 15, -1)}
    scan, found = InboundScan(), []
    while scan.next_page is not None:
        page = InboundPage(
            tuple(map(message, rows[scan.next_page])), pages=1, left_out=2 * (scan.next_page == 2)
        )
        found += [each.id for each in scan.feed(page)]
    assert found == [*rows[1], *rows[2], *rows[3]]


def test_a_page_that_ends_at_the_last_known_message_is_the_last():
    inbox = Inbox(1000, newest_first=True)
    assert inbox.read(after_id=998, per_page=2) == [1000, 999]
    assert inbox.asked == [1, 2]
    inbox = Inbox(1000, newest_first=True)
    assert inbox.read(after_id=999, per_page=2) == [1000]
    assert inbox.asked == [1]


def test_since_bounds_the_reading_too():
    inbox = Inbox(1000, newest_first=True)
    assert sorted(inbox.read(since=START + timedelta(minutes=996))) == [996, 997, 998, 999, 1000]
    assert inbox.asked == [1, 2, 3]  # up to a page that is older as a whole


def test_a_message_with_an_odd_time_hides_none_behind_it():
    scan = InboundScan(since=START + timedelta(minutes=4))
    odd = InboundSms(id=7, text="Hello", created_at=START - timedelta(days=1))
    pages = {1: [message(9), message(8), odd], 2: [message(6), message(5), message(4)], 3: [message(3)]}
    found = []
    while scan.next_page is not None:
        found += [each.id for each in scan.feed(InboundPage(tuple(pages[scan.next_page]), pages=3))]
    assert found == [9, 8, 6, 5, 4]


@pytest.mark.parametrize("newest_first", [True, False])
def test_one_pass_serves_readers_with_different_cursors(newest_first):
    inbox = Inbox(100, newest_first=newest_first)
    late, early = Cursor(after_id=98), Cursor(since=START + timedelta(minutes=95))
    scan = InboundScan.for_all([late, early])
    found = []
    while scan.next_page is not None:
        found += scan.feed(inbox.page(scan.next_page, 20))
    assert sorted(each.id for each in found if not late.covers(each)) == [99, 100]
    assert sorted(each.id for each in found if not early.covers(each)) == [95, 96, 97, 98, 99, 100]
    assert scan.highest_id == 100
    assert scan.names_senders is False
    assert scan.per_page == DEFAULT_PER_PAGE


def test_one_message_that_names_its_sender_is_enough():
    scan = InboundScan(per_page=1)
    assert (scan.per_page, scan.highest_id, scan.names_senders) == (1, None, None)
    named = replace(message(3), from_number="+250781234567")
    for page in ([named], [message(2)]):
        scan.feed(InboundPage(tuple(page), pages=3))
        assert (scan.highest_id, scan.names_senders) == (3, True)


def test_bounds_hold_nobody_to_what_only_others_know():
    early, late = (Cursor(since=START + timedelta(minutes=each)) for each in (3, 60))
    assert lowest([]) == ()
    assert lowest([early, late]) == (early,)
    assert lowest([early, Cursor(), late]) == (Cursor(),)
    assert lowest([Cursor(after_id=9), Cursor(after_id=7, since=late.since)]) == (Cursor(after_id=7),)


def test_a_reader_that_knows_less_by_time_than_by_id_gets_both():
    """Somebody who has read up to 50 must get 51, also when another wants only what is younger."""
    bounds = lowest([Cursor(after_id=50), Cursor(since=START + timedelta(minutes=60))])
    assert [
        number for number in (50, 51, 59, 60) if not all(each.covers(message(number)) for each in bounds)
    ] == [
        51,
        59,
        60,
    ]


def test_a_place_never_moves_back():
    assert Cursor(after_id=7).advance_to(5) == Cursor(after_id=7)
    assert Cursor(after_id=7).advance_to(None) == Cursor(after_id=7)
    assert Cursor().advance_to(1) == Cursor(after_id=1)
    assert Cursor(after_id=7, since=START).advance_to(9) == Cursor(after_id=9, since=START)


@pytest.mark.parametrize(
    "value", ["", "yesterday", "2026-11-24", "2026-11-24T08:00:00", None, 5, START.replace(tzinfo=None)]
)
def test_a_since_that_is_no_moment_is_refused(value):
    with pytest.raises(PindoConfigurationError, match=r"since is .* such as 2026-11-24T08:00:00\+02:00$"):
        read_since(value)


def test_since_is_read_from_what_a_template_gives():
    assert read_since(" 2026-01-01T02:00:00+02:00 ") == read_since(str(START)) == read_since(START) == START


def test_a_page_of_nothing_but_repeats_does_not_end_the_reading():
    inbox = Inbox(9, newest_first=True, arrivals={1: 3})
    assert sorted(inbox.read(after_id=2)) == [3, 4, 5, 6, 7, 8, 9]


def test_an_unordered_list_is_read_to_its_end():
    pages = {1: [5, 9, 2], 2: [7, 1, 8], 3: [6, 3, 4]}
    for known in (4, 6):
        scan = InboundScan(after_id=known)
        found = []
        while scan.next_page is not None:
            page = InboundPage(tuple(map(message, pages.get(scan.next_page, []))), pages=3)
            found += [each.id for each in scan.feed(page)]
        assert sorted(found) == list(range(known + 1, 10))


def test_a_list_that_does_not_count_its_pages_is_read_until_nothing_comes():
    scan = InboundScan()
    pages = {1: [9, 8], 2: [7, 6], 3: []}
    found = []
    while scan.next_page is not None:
        found += [each.id for each in scan.feed(InboundPage(tuple(map(message, pages[scan.next_page]))))]
    assert found == [9, 8, 7, 6]


@pytest.mark.parametrize("pages", [None, 10**9])
@pytest.mark.parametrize("ids", [[2, 1], [1, 2], [1]])
def test_a_server_that_repeats_its_page_for_ever_is_left(ids, pages):
    scan = InboundScan()
    asked = 0
    while scan.next_page is not None:
        asked += 1
        scan.feed(InboundPage(tuple(map(message, ids)), pages=pages))
    assert asked <= 7


def test_a_page_count_that_is_far_too_high_hides_no_message():
    inbox = Inbox(30, newest_first=False)
    scan, found = InboundScan(after_id=25), []
    while scan.next_page is not None:
        page = replace(inbox.page(scan.next_page, 5), pages=5000)
        found += [each.id for each in scan.feed(page)]
    assert sorted(found) == [26, 27, 28, 29, 30]
    # 4999 once more, since the list says that more come after it; page 1, since it may not have been full.
    assert inbox.asked == [1, 5000, 4999, 4999, 4998, 2, 1, 3, 4, 5, 6, 7]


@given(
    size=st.integers(1, 60),
    arrivals=st.dictionaries(st.integers(1, 4), st.integers(1, 25), max_size=2),
)
def test_however_many_arrive_between_two_pages_that_are_not_counted_nothing_is_lost(size, arrivals):
    # At one moment as many as were read push all that was read onto pages of their own.
    arrivals = {asked: min(count, 5 * asked) for asked, count in list(arrivals.items())[:1]}
    inbox = Inbox(size, newest_first=True, arrivals=arrivals)
    scan, found = InboundScan(), []
    while scan.next_page is not None:
        page = replace(inbox.page(scan.next_page, 5), pages=None)
        found += [each.id for each in scan.feed(page)]
    assert set(range(1, size + 1)) <= set(found)


def test_an_id_of_zero_or_below_is_known_once_it_was_read():
    cursor = Cursor().advance_to(-3)
    assert cursor.covers(message(-3))
    assert not cursor.covers(message(0))
    assert cursor.advance_to(0).covers(message(0))
    scan = InboundScan()
    scan.feed(InboundPage((message(0), message(-3)), pages=1))
    assert scan.highest_id == 0


def test_a_page_of_messages_that_arrives_between_two_requests_hides_none_where_pages_are_not_counted():
    ids = list(range(30, 10, -1))
    scan, found = InboundScan(after_id=10), []
    while scan.next_page is not None:
        start = (scan.next_page - 1) * 5
        found += [each.id for each in scan.feed(InboundPage(tuple(map(message, ids[start : start + 5]))))]
        if scan.next_page == 2:
            ids = [35, 34, 33, 32, 31, *ids]
    assert sorted(found) == list(range(11, 31))


def test_a_message_that_stands_on_a_page_twice_is_one():
    scan = InboundScan()
    assert [each.id for each in scan.feed(InboundPage(tuple(map(message, [2, 2, 1]))))] == [2, 1]
    scan, found = InboundScan(), []
    pages = {1: [1, 2, 2], 2: [3, 4], 3: []}
    while scan.next_page is not None:
        found += [each.id for each in scan.feed(InboundPage(tuple(map(message, pages[scan.next_page]))))]
    assert found == [1, 2, 3, 4]


def test_a_time_in_whole_seconds_is_of_any_moment_in_its_second():
    since = START + timedelta(milliseconds=400)
    cursor = Cursor(since=since)
    assert not cursor.covers(replace(message(1), created_at=START))
    assert cursor.covers(replace(message(1), created_at=START + timedelta(milliseconds=399)))
    assert cursor.covers(replace(message(1), created_at=START - timedelta(seconds=1)))


@pytest.mark.parametrize(
    ("shown", "older"),
    [
        ("2026-03-01T12:00:30.123", "2026-03-01T12:00:30.122"),
        ("2026-03-01T12:00:30", "2026-03-01T12:00:29"),
        ("2026-03-01T12:00", "2026-03-01T11:59"),
        ("2026-03-01T12:00:30.123456", "2026-03-01T12:00:30.123455"),
    ],
)
def test_a_time_that_is_cut_is_of_any_moment_that_is_cut_to_it(shown, older):
    cursor = Cursor(since=datetime(2026, 3, 1, 14, 0, 30, 123456, tzinfo=timezone(timedelta(hours=2))))
    assert not cursor.covers(replace(message(1), created_at=datetime.fromisoformat(f"{shown}+00:00")))
    assert cursor.covers(replace(message(1), created_at=datetime.fromisoformat(f"{older}+00:00")))


def test_a_naive_since_is_refused():
    with pytest.raises(PindoConfigurationError, match="no time zone"):
        InboundScan(since=datetime(2026, 1, 1))


GOOD = {"id": 5, "text": "YES", "created_at": "2026-01-01T00:00:00"}


@pytest.mark.parametrize(
    "odd", [None, 7, {**GOOD, "id": None}, {**GOOD, "id": "in_01H7"}, {**GOOD, "id": 10**30}]
)
def test_a_message_without_an_id_holds_up_no_other(odd):
    page = read_inbound_page({"inbound_sms": [GOOD, odd, {**GOOD, "id": 4}]}, "UTC")
    assert [each.id for each in page.messages] == [5, 4]
    assert page.left_out == 1


def test_a_list_in_which_no_message_has_an_id_is_none():
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
    scan = InboundScan()
    scan.feed(read_inbound_page({"inbound_sms": rows}, "UTC"))
    assert scan.names_senders is named


class Server:
    """An inbound list that may be cut, counted and counted out in other ways than was asked for."""

    def __init__(self, size, *, newest_first, rows=20, pages=None, total=True, repeats_last=False, bursts=()):
        self.ids = list(range(1, size + 1))
        self.newest_first, self.rows, self.pages, self.total = newest_first, rows, pages, total
        self.repeats_last, self.bursts = repeats_last, list(bursts)
        self.asked: list[int] = []

    def page(self, number: int, per_page: int) -> InboundPage:
        self.asked.append(number)
        ids = self.ids[::-1] if self.newest_first else self.ids
        real = -(-len(ids) // self.rows)
        if self.repeats_last:
            number = max(1, min(number, real))
        found = tuple(map(message, ids[(number - 1) * self.rows : number * self.rows]))
        total = {True: len(ids), False: None}.get(self.total, self.total)
        pages = real if self.pages is None else self.pages(len(ids), per_page, real)
        for _ in range(self.bursts.pop(0) if self.bursts else 0):
            self.ids.append(len(self.ids) + 1)
        return InboundPage(found, number, pages, per_page, total)

    def read(self, after_id: int | None = None, *, most: int = 400) -> list[int]:
        scan, found = InboundScan(after_id), []
        while scan.next_page is not None:
            assert len(self.asked) < most, self.asked
            found += [each.id for each in scan.feed(self.page(scan.next_page, scan.per_page))]
        return found


WRONG_PAGES = {
    "right": lambda total, per_page, real: real,
    "of what was asked for": lambda total, per_page, real: -(-total // per_page),
    "1": lambda total, per_page, real: 1,
    "0": lambda total, per_page, real: 0,
    "-1": lambda total, per_page, real: -1,
    "one too few": lambda total, per_page, real: real - 1,
    "too many": lambda total, per_page, real: real + 7,
    "not said": lambda total, per_page, real: None,
}


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("pages", WRONG_PAGES)
@pytest.mark.parametrize("total", [True, False])
@pytest.mark.parametrize("rows", [5, 20])
def test_a_wrong_number_of_pages_hides_no_message(newest_first, pages, total, rows):
    server = Server(130, newest_first=newest_first, rows=rows, pages=WRONG_PAGES[pages], total=total)
    assert sorted(server.read()) == list(range(1, 131))
    server.asked.clear()
    server.ids += [131, 132]
    assert sorted(server.read(130)) == [131, 132]
    assert not newest_first or server.asked == [1]


@pytest.mark.parametrize("size", [0, 2, 19, 20, 45])
@pytest.mark.parametrize("total", [True, False])
def test_where_nothing_is_new_one_page_is_read(size, total):
    server = Server(size, newest_first=True, total=total)
    assert server.read(size) == []
    assert server.asked == [1]


@pytest.mark.parametrize(("total", "asked"), [(True, [1]), (False, [1, 2])])
def test_one_message_alone_tells_no_order_and_not_how_long_a_page_is(total, asked):
    server = Server(1, newest_first=True, total=total)
    assert server.read(1) == []
    assert server.asked == asked


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("size", [1, 2, 5, 19])
@pytest.mark.parametrize("repeats_last", [True, False])
def test_a_total_that_is_too_high_costs_a_few_pages_at_most(newest_first, size, repeats_last):
    server = Server(size, newest_first=newest_first, total=9999, repeats_last=repeats_last)
    assert sorted(server.read()) == list(range(1, size + 1))
    # In a list whose messages move on, a page that comes again may have been moved by as many as were read.
    moved = repeats_last and (newest_first or size == 1)
    assert server.asked == ([1, 2, 3, 4] if moved else [1, 2] if repeats_last else [1, 2, 2])


@pytest.mark.parametrize("size", [1, 2, 5, 19])
@pytest.mark.parametrize("newest_first", [True, False])
def test_a_short_list_that_is_counted_is_one_page(size, newest_first):
    server = Server(size, newest_first=newest_first)
    assert sorted(server.read()) == list(range(1, size + 1))
    assert server.asked == [1]


@pytest.mark.parametrize(("total", "pages"), [(True, "right"), (True, "not said"), (False, "right")])
def test_bursts_before_each_of_several_pages_hide_none(total, pages):
    server = Server(60, newest_first=True, total=total, pages=WRONG_PAGES[pages], bursts=[20, 20, 20])
    assert set(range(1, 61)) <= set(server.read())


def test_a_full_page_is_not_the_last_because_the_list_counts_its_pages_alone():
    """Pages and total may be those of the page."""
    server = Server(45, newest_first=True, pages=WRONG_PAGES["1"], total=20)
    assert sorted(server.read()) == list(range(1, 46))


@pytest.mark.parametrize("newest_first", [True, False])
def test_a_list_that_claims_to_grow_for_ever_is_left(newest_first):
    scan, asked = InboundScan(), 0
    ids = [5, 4, 3] if newest_first else [3, 4, 5]
    while scan.next_page is not None:
        asked += 1
        scan.feed(InboundPage(tuple(map(message, ids)), pages=scan.next_page + 1, total=20 * asked))
    assert asked < 120


@given(
    size=st.integers(0, 90),
    known=st.integers(0, 90),
    newest_first=st.booleans(),
    rows=st.sampled_from([2, 3, 5, 20, 100]),
    pages=st.sampled_from(sorted(WRONG_PAGES)),
    repeats_last=st.booleans(),
    total=st.booleans(),
    bursts=st.lists(st.integers(0, 45), max_size=5),
)
def test_all_that_was_on_the_list_is_read_once_whatever_it_says_of_its_pages(
    size, known, newest_first, rows, pages, repeats_last, total, bursts
):
    known = min(known, size)
    if not total:  # where nothing tells that the list grew, bursts may hide what they push on
        bursts = bursts if pages == "right" else []
    if repeats_last and pages in ("too many", "of what was asked for"):
        bursts = []  # nor where the page after the last is one that is there a moment later
    server = Server(
        size,
        newest_first=newest_first,
        rows=rows,
        pages=WRONG_PAGES[pages],
        total=total,
        repeats_last=repeats_last,
        bursts=bursts,
    )
    found = server.read(known)
    assert len(found) == len(set(found))
    assert set(range(known + 1, size + 1)) <= set(found)
    # What arrived meanwhile is either here or above everything that is, where the next pass looks.
    assert set(found) == set(range(known + 1, max([known, *found]) + 1))
    assert len(server.asked) <= 3 * (len(server.ids) // rows + 1) + 15


@pytest.mark.parametrize("known", [0, 15, 50, 99])
@pytest.mark.parametrize("size", [45, 60, 100])
def test_pages_from_the_newest_on_with_the_oldest_of_each_on_top_hide_none(size, known):
    class Chat(Server):
        def page(self, number, per_page):
            page = super().page(number, per_page)
            return replace(page, messages=page.messages[::-1])

    server = Chat(size, newest_first=True)
    assert sorted(server.read(min(known, size))) == list(range(known + 1, size + 1))


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("empty", [1, 2, 3, 4, 5])
def test_one_empty_answer_hides_nothing_that_the_list_says_is_there(newest_first, empty):
    class Forgetful(Server):
        def page(self, number, per_page):
            page = super().page(number, per_page)
            first = number == empty and self.asked.count(number) == 1
            return replace(page, messages=()) if first else page

    server = Forgetful(100, newest_first=newest_first)
    assert sorted(server.read()) == list(range(1, 101))


def test_one_empty_answer_hides_nothing_of_a_page_that_is_read_again():
    class Forgetful(Server):
        def page(self, number, per_page):
            page = super().page(number, per_page)
            return replace(page, messages=()) if len(self.asked) == 3 else page

    server = Forgetful(59, newest_first=False, rows=100, bursts=[100])
    assert sorted(server.read()) == list(range(1, 160))
    assert server.asked[:4] == [1, 2, 1, 1]


@pytest.mark.parametrize("rows", [5, 20])
def test_pages_of_mixed_order_hide_none_where_they_are_not_counted(rows):
    class Chat(Server):
        def page(self, number, per_page):
            page = super().page(number, per_page)
            return replace(page, messages=page.messages[::-1])

    server = Chat(97, newest_first=True, rows=rows, pages=WRONG_PAGES["not said"], total=False, bursts=[1, 1])
    assert set(range(1, 98)) <= set(server.read())


def test_an_empty_inbox_is_asked_once():
    server = Server(0, newest_first=True)
    assert server.read() == []
    assert server.asked == [1]


def test_a_last_page_that_is_the_first_once_more_does_not_have_the_list_read_in_another_order():
    server = Server(5, newest_first=False, pages=lambda *_: 3, repeats_last=True)
    assert sorted(server.read()) == [1, 2, 3, 4, 5]
    assert server.asked == [1, 3, 2]
