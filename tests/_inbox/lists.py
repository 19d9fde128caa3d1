"""Inbound lists of many kinds, for the tests of the scan."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow_provider_pindo._inbox.scan import Cursor, InboundScan
from airflow_provider_pindo.api.values import InboundPage, InboundSms

START = datetime(2026, 1, 1, tzinfo=UTC)


def make_message(number: int) -> InboundSms:
    return InboundSms(id=number, text="Hello", created_at=START + timedelta(minutes=number))


class Inbox:
    """An inbound list that grows while it is read."""

    def __init__(self, size: int, *, newest_first: bool, arrivals: dict[int, int] | None = None) -> None:
        self.ids = list(range(1, size + 1))
        self.newest_first = newest_first
        self.arrivals = arrivals or {}
        self.requests: list[int] = []

    def page(self, number: int, per_page: int) -> InboundPage:
        ids = self.ids[::-1] if self.newest_first else self.ids
        messages = map(make_message, ids[(number - 1) * per_page : number * per_page])
        page = InboundPage(tuple(messages), pages=-(-len(ids) // per_page))
        self.requests.append(number)
        for _ in range(self.arrivals.get(len(self.requests), 0)):
            self.ids.append(len(self.ids) + 1)
        return page

    def read(
        self, after_id: int | None = None, since: datetime | None = None, per_page: int = 3
    ) -> list[int]:
        scan = InboundScan(Cursor(after_id, since), per_page=per_page)
        ids: list[int] = []
        while scan.next_page is not None:
            assert len(self.requests) < 200
            ids += [message.id for message in scan.feed(self.page(scan.next_page, per_page))]
        return ids


class Server:
    """An inbound list that may be cut, counted and split into pages in other ways than requested."""

    def __init__(self, size, *, newest_first, rows=20, pages=None, total=True, repeats_last=False, bursts=()):
        self.ids = list(range(1, size + 1))
        self.newest_first, self.rows, self.pages, self.total = newest_first, rows, pages, total
        self.repeats_last, self.bursts = repeats_last, list(bursts)
        self.requests: list[int] = []

    def page(self, number: int, per_page: int) -> InboundPage:
        self.requests.append(number)
        ids = self.ids[::-1] if self.newest_first else self.ids
        real = -(-len(ids) // self.rows)
        if self.repeats_last:
            number = max(1, min(number, real))
        messages = tuple(map(make_message, ids[(number - 1) * self.rows : number * self.rows]))
        total = {True: len(ids), False: None}.get(self.total, self.total)
        pages = real if self.pages is None else self.pages(len(ids), per_page, real)
        for _ in range(self.bursts.pop(0) if self.bursts else 0):
            self.ids.append(len(self.ids) + 1)
        return InboundPage(messages, number, pages, per_page, total)

    def read(self, after_id: int | None = None, *, most: int = 400) -> list[int]:
        scan, ids = InboundScan(Cursor(after_id)), []
        while scan.next_page is not None:
            assert len(self.requests) < most, self.requests
            ids += [message.id for message in scan.feed(self.page(scan.next_page, scan.per_page))]
        return ids


WRONG_PAGES = {
    "right": lambda total, per_page, real: real,
    "of the requested size": lambda total, per_page, real: -(-total // per_page),
    "1": lambda total, per_page, real: 1,
    "0": lambda total, per_page, real: 0,
    "-1": lambda total, per_page, real: -1,
    "one too few": lambda total, per_page, real: real - 1,
    "too many": lambda total, per_page, real: real + 7,
    "not said": lambda total, per_page, real: None,
}
