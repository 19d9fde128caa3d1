"""Reading lists that count their pages wrongly, repeat them, or change while they are read."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pindo._inbox.scan import Cursor, InboundScan
from airflow_provider_pindo.api.errors import PindoServerError
from airflow_provider_pindo.api.values import InboundPage
from tests._inbox.lists import WRONG_PAGES, Server, make_message


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("pages", WRONG_PAGES)
@pytest.mark.parametrize("total", [True, False])
@pytest.mark.parametrize("rows", [5, 20])
def test_a_wrong_number_of_pages_hides_no_message(newest_first, pages, total, rows):
    server = Server(130, newest_first=newest_first, rows=rows, pages=WRONG_PAGES[pages], total=total)
    assert sorted(server.read()) == list(range(1, 131))
    server.requests.clear()
    server.ids += [131, 132]
    assert sorted(server.read(130)) == [131, 132]
    assert not newest_first or server.requests == [1]


@pytest.mark.parametrize("size", [0, 2, 19, 20, 45])
@pytest.mark.parametrize("total", [True, False])
def test_where_nothing_is_new_one_page_is_read(size, total):
    server = Server(size, newest_first=True, total=total)
    assert server.read(size) == []
    assert server.requests == [1]


@pytest.mark.parametrize(("total", "requests"), [(True, [1]), (False, [1, 2])])
def test_one_message_alone_tells_no_order_and_not_how_long_a_page_is(total, requests):
    server = Server(1, newest_first=True, total=total)
    assert server.read(1) == []
    assert server.requests == requests


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("size", [1, 2, 5, 19])
@pytest.mark.parametrize("repeats_last", [True, False])
def test_a_total_that_is_too_high_costs_a_few_pages_at_most(newest_first, size, repeats_last):
    server = Server(size, newest_first=newest_first, total=9999, repeats_last=repeats_last)
    assert sorted(server.read()) == list(range(1, size + 1))
    # In a list whose messages move on, a page that comes again may have been moved by as many as were read.
    moved = repeats_last and (newest_first or size == 1)
    assert server.requests == ([1, 2, 3, 4] if moved else [1, 2] if repeats_last else [1, 2, 2])


@pytest.mark.parametrize("size", [1, 2, 5, 19])
@pytest.mark.parametrize("newest_first", [True, False])
def test_a_short_list_that_is_counted_is_one_page(size, newest_first):
    server = Server(size, newest_first=newest_first)
    assert sorted(server.read()) == list(range(1, size + 1))
    assert server.requests == [1]


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
    scan, requests = InboundScan(Cursor()), 0
    ids = [5, 4, 3] if newest_first else [3, 4, 5]
    while scan.next_page is not None:
        requests += 1
        scan.feed(InboundPage(tuple(map(make_message, ids)), pages=scan.next_page + 1, total=20 * requests))
    assert requests < 120


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
    if repeats_last and pages in ("too many", "of the requested size"):
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
    ids = server.read(known)
    assert len(ids) == len(set(ids))
    assert set(range(known + 1, size + 1)) <= set(ids)
    # What arrived meanwhile is either here or above everything that is, where the next pass looks.
    assert set(ids) == set(range(known + 1, max([known, *ids]) + 1))
    assert len(server.requests) <= 3 * (len(server.ids) // rows + 1) + 15


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
            first = number == empty and self.requests.count(number) == 1
            return replace(page, messages=()) if first else page

    server = Forgetful(100, newest_first=newest_first)
    assert sorted(server.read()) == list(range(1, 101))


def test_one_empty_answer_hides_nothing_of_a_page_that_is_read_again():
    class Forgetful(Server):
        def page(self, number, per_page):
            page = super().page(number, per_page)
            return replace(page, messages=()) if len(self.requests) == 3 else page

    server = Forgetful(59, newest_first=False, rows=100, bursts=[100])
    assert sorted(server.read()) == list(range(1, 160))
    assert server.requests[:4] == [1, 2, 1, 1]


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
    assert server.requests == [1]


def test_a_last_page_that_is_the_first_once_more_does_not_have_the_list_read_in_another_order():
    server = Server(5, newest_first=False, pages=lambda *_: 3, repeats_last=True)
    assert sorted(server.read()) == [1, 2, 3, 4, 5]
    assert server.requests == [1, 3, 2]


class Stale(Server):
    """Five pages. A request for ``page_3`` brings page 2, or the page that is ``instead``."""

    def __init__(self, *, newest_first, instead=2, times=1, gives="its own", bursts=()):
        super().__init__(100, newest_first=newest_first, bursts=bursts)
        self.instead, self.times, self.gives = instead, times, gives

    def page(self, number, per_page):
        came = number
        if number == 3 and self.times:
            came, self.times = self.instead, self.times - 1
        page = super().page(came, per_page)
        self.requests[-1] = number
        return replace(page, page={"its own": came, "the requested": number, "none": None}[self.gives])


@pytest.mark.parametrize("gives", ["its own", "the requested", "none"])
@pytest.mark.parametrize("known", [0, 45])
@pytest.mark.parametrize("bursts", [[], [7, 7]])
def test_a_page_that_comes_once_instead_of_the_next_hides_nothing(gives, known, bursts):
    server = Stale(newest_first=True, gives=gives, bursts=bursts)
    assert set(range(known + 1, 101)) <= set(server.read(known))
    assert server.requests[:4] == [1, 2, 3, 3]


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("instead", [1, 2, 4, 5])
@pytest.mark.parametrize("known", [0, 30, 45])
def test_a_page_with_another_number_is_requested_once_more(newest_first, instead, known):
    server = Stale(newest_first=newest_first, instead=instead)
    assert sorted(server.read(known)) == list(range(known + 1, 101))
    assert server.requests.count(3) == 2
    assert len(server.requests) <= 7


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("gives", ["its own", "the requested", "none"])
@pytest.mark.parametrize("bursts", [[], [0, 0, 3], [20]])
def test_a_page_that_does_not_come_ends_the_pass_and_the_next_pass_reads_it(newest_first, gives, bursts):
    server = Stale(newest_first=newest_first, times=2, gives=gives, bursts=bursts)
    with pytest.raises(PindoServerError, match="came twice with the messages of page"):
        server.read()
    server.times = 0
    assert sorted(server.read()) == list(range(1, len(server.ids) + 1))


def test_an_error_says_which_page_is_missing_and_what_the_list_counts():
    with pytest.raises(PindoServerError) as error:
        Stale(newest_first=True, times=2).read()
    assert str(error.value) == (
        "page 3 of the inbound list came twice with the messages of page 2. The list counts 100 messages on 5 pages, "
        "so some are hidden: read it again later"
    )


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize(("gives", "requests"), [(lambda number: 1, 6), (lambda number: number - 1, 5)])
def test_pages_that_are_numbered_in_another_way_are_read(newest_first, gives, requests):
    class Odd(Server):
        def page(self, number, per_page):
            return replace(super().page(number, per_page), page=gives(number))

    server = Odd(95, newest_first=newest_first)
    assert sorted(server.read()) == list(range(1, 96))
    assert len(server.requests) == requests


def test_a_list_that_repeats_its_last_page_and_counts_too_many_fails_and_does_not_hang():
    server = Server(45, newest_first=True, pages=WRONG_PAGES["too many"], total=9999, repeats_last=True)
    with pytest.raises(PindoServerError, match="page 4 of the inbound list came twice"):
        server.read()
    assert server.requests == [1, 2, 3, 4, 4]
