"""One pass over the inbound list: which page comes next, and which of its messages are new.

Pindo documents neither the order of the list nor what happens to its pages while messages arrive. The scan relies on
one fact: ids grow. It reads the order from the first page and stops at the last known message. It counts no message
twice, also when new messages push others to later pages. It trusts the number of pages only while the rest of the
response agrees with it. If another page comes instead of the requested one, it requests the page once more. If that
does not help, the pass fails, since hidden messages must not count as read.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_pindo._inbox.events import WebhookEvent
from airflow_provider_pindo.api.arguments import read_since
from airflow_provider_pindo.api.delivery import DeliveryReport
from airflow_provider_pindo.api.errors import PindoServerError
from airflow_provider_pindo.api.limits import DEFAULT_PER_PAGE

if TYPE_CHECKING:
    from airflow_provider_pindo.api.values import InboundPage, InboundSms

#: Most pages that one pass expects to arrive while it reads. A list that claims to grow faster than it is read must not
#: hold the reader forever.
_MAX_PAGES_OF_ARRIVALS = 100

#: What a cursor is a position in: Pindo's inbound list, or the events that its webhooks brought.
LIST = "list"
WEBHOOK = "webhook"
SOURCES = (LIST, WEBHOOK)


@dataclass(frozen=True, slots=True)
class Cursor:
    """The position up to which a reader has read.

    :param after_id: messages up to and including this id are known; None: no message is.
    :param since: aware time; messages created before it are known; None: no message is.
    """

    source: ClassVar[str] = LIST

    after_id: int | None = None
    since: datetime | None = None

    def __post_init__(self) -> None:
        if self.since is not None:
            read_since(self.since)

    def covers(self, message: InboundSms) -> bool:
        """Return whether ``message`` is already known."""
        if self.after_id is not None and message.id <= self.after_id:
            return True
        if self.since is None:
            return False
        return message.created_at < _truncate_like(message.created_at, self.since)

    def advance_to(self, message_id: int | None) -> Cursor:
        """Return this cursor, moved forward to ``message_id``. It never moves back."""
        if message_id is None or (self.after_id is not None and message_id <= self.after_id):
            return self
        return replace(self, after_id=message_id)

    def new_in(self, result: PollResult) -> PollResult:
        """Return ``result`` with only the messages that this cursor does not cover."""
        return replace(
            result, messages=tuple(message for message in result.messages if not self.covers(message))
        )

    def advance_past(self, result: PollResult) -> Cursor:
        """Return this cursor, moved behind everything in ``result``."""
        return self.advance_to(result.highest_id)

    def advance_past_ids(self, ids: Iterable[int], known_id: int) -> Cursor:
        """Return this cursor, moved behind the oldest messages that it does not cover, which have these ids.

        :param known_id: unused here: ids in the list only grow.
        """
        return self.advance_to(max(ids))

    def sort_key(self) -> tuple[int, int, float]:
        """Return a sort key: the cursor that is furthest behind has the lowest."""
        return self.after_id or 0, 0, self.since.timestamp() if self.since else 0.0

    def as_json(self) -> dict[str, Any]:
        """Return what :meth:`from_json` reads."""
        return {"after_id": self.after_id, "since": self.since and self.since.isoformat()}

    def from_json(self, stored: Mapping[str, Any]) -> Cursor:
        """Return the cursor that was stored.

        :raises Exception: the value was not stored by :meth:`as_json`.
        """
        after_id, since = stored["after_id"], stored["since"]
        return replace(
            self,
            after_id=None if after_id is None else int(after_id),
            since=None if since is None else read_since(since),
        )


def _truncate_like(timestamp: datetime, moment: datetime) -> datetime:
    """Return ``moment``, truncated to the precision of ``timestamp``: milliseconds, seconds or minutes.

    A timestamp in whole seconds may stand for any moment in its second. One that is whole by chance then counts as
    newer than it is. That error is safe: the message must still match, while a reply that counts as too old is lost.
    """
    if timestamp.microsecond % 1000:
        return moment
    if timestamp.microsecond:
        return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    return moment.replace(microsecond=0, second=timestamp.second and moment.second)


def lowest(cursors: Iterable[Cursor]) -> tuple[Cursor, ...]:
    """Return at most two cursors that together cover only what each of ``cursors`` covers."""
    cursors = tuple(cursors)
    ids = [cursor.after_id for cursor in cursors if cursor.after_id is not None]
    times = [cursor.since for cursor in cursors if cursor.after_id is None]
    bounds = [Cursor(after_id=min(ids))] if ids else []
    if times:
        bounds.append(Cursor(since=None if None in times else min(time for time in times if time)))
    return tuple(bounds)


@dataclass(frozen=True, slots=True)
class PollResult:
    """The result of one pass over the inbound list, or over the events of the webhooks.

    :param messages: the new messages, oldest first.
    :param highest_id: highest id on the pages that were read; None if there was no message.
    :param names_senders: whether messages name their sender; None if there were too few to tell.
    :param country: the connection's country, by which national numbers are read.
    :param reports: the delivery reports by message, if the events were read.
    :param sent: the events of messages that Pindo took, by their id, if they were read.
    :param event_ids: the ids of all events that were read.
    :param stable_id: no event with an id up to this one can appear any more.
    :param newest_id: highest id of all events that there are, if they were read; None if no reader has read before.
    :param duplicates: messages that came in several events, by the ids of these events, oldest first.
    """

    messages: tuple[InboundSms, ...]
    highest_id: int | None
    names_senders: bool | None
    country: str | None = None
    reports: Mapping[str, tuple[DeliveryReport, ...]] = field(default_factory=dict)
    sent: Mapping[int, WebhookEvent] = field(default_factory=dict)
    event_ids: frozenset[int] = frozenset()
    stable_id: int = 0
    newest_id: int | None = None
    duplicates: Mapping[int, tuple[InboundSms, ...]] = field(default_factory=dict)


class InboundScan:
    """One pass over the inbound list; the caller does the I/O.

    Fetch :attr:`next_page` and give it to :meth:`feed`, until ``next_page`` is None. A message that arrives during the
    pass is returned by it, or has a higher id than every message that it returned. So a later pass, with ``after_id``
    set to the highest id returned, finds it.

    :param cursors: a message is known if all of them cover it; for several readers, those of :func:`lowest`.
    :param per_page: messages to request in one page.
    """

    def __init__(self, *cursors: Cursor, per_page: int = DEFAULT_PER_PAGE) -> None:
        self.per_page = per_page
        #: Highest id on the pages that were read, known messages included; None if there was no message.
        self.highest_id: int | None = None
        #: Whether the messages on those pages name their sender; None if there were too few to tell.
        self.names_senders: bool | None = None
        self._cursors = cursors
        self._page_of: dict[int, int] = {}  # the number of the page on which each id was seen first
        self._pages_read: set[int] = set()
        self._deepest = float("-inf")  # the greatest depth of those pages
        self._last_page_with_news: tuple[int, InboundPage] | None = None  # with its number
        self._has_repeats = self._counts_too_many = False
        self._numbers_pages = False  # whether a page gives the number by which it was requested
        self._trusts_counts = True
        self._longest_page = 0
        self._full_page = per_page
        self._pages_with_news = self._pages_without_news = 0  # the latter in a row, up to the last page
        self._reading = self._read()
        self.next_page: int | None = next(self._reading)

    def feed(self, page: InboundPage) -> list[InboundSms]:
        """Take the requested page, choose the next one, and return the page's new messages in its order.

        :raises PindoServerError: another page came instead, also when it was requested again.
        """
        requested = self.next_page or 1
        if not self._page_of:
            self._numbers_pages = page.page == requested
        number = (self._numbers_pages and page.page) or requested
        unseen = []
        for message in page.messages:
            if message.id not in self._page_of:
                self._page_of[message.id] = number
                unseen.append(message)
        self._longest_page = max(self._longest_page, _rows(page))
        if unseen:
            self._record(unseen)
        try:
            self.next_page = self._reading.send(page)
        except StopIteration:
            self.next_page = None
        return [message for message in unseen if not self._is_known(message)]

    def result(self, messages: Iterable[InboundSms], country: str | None) -> PollResult:
        """Return the result of the pass, with all ``messages`` that :meth:`feed` returned."""
        oldest_first = sorted(messages, key=lambda message: message.id)
        return PollResult(tuple(oldest_first), self.highest_id, self.names_senders, country)

    def _record(self, unseen: list[InboundSms]) -> None:
        ids = [message.id for message in unseen]
        self.highest_id = max(ids if self.highest_id is None else [self.highest_id, *ids])
        if any(message.from_number is not None for message in unseen):
            self.names_senders = True
        elif len(unseen) >= self.per_page or any("from" not in message.raw for message in unseen):
            # One empty field proves little. A whole page of them, or a missing field, is proof.
            self.names_senders = bool(self.names_senders)

    def _is_known(self, message: InboundSms) -> bool:
        return all(cursor.covers(message) for cursor in self._cursors)

    def _reaches_known_messages(self, page: InboundPage, oldest: InboundSms) -> bool:
        """Return whether everything older than this page is known.

        Ids grow, so an oldest message with a known id is enough. Times need not grow: there the whole page must be
        known, so that one message with an odd time hides no message behind it.
        """
        by_id = all(cursor.after_id is not None and oldest.id <= cursor.after_id for cursor in self._cursors)
        return by_id or all(self._is_known(message) for message in page.messages)

    def _read(self) -> Generator[int, InboundPage, None]:
        """Yield the number of each page that may have new messages, and receive that page."""
        number = 1
        page = first = yield from self._fetch(number)
        newest_first = _newest_first(page)
        # The first page of an oldest-first list has the oldest messages; the new ones are at the end.
        if newest_first is False and page.pages is not None and page.pages > 1:
            if (yield from self._reads_back_from(page.pages, first)):
                return
            number, newest_first = 2, None
            self._trusts_counts = False
            page = yield from self._fetch(number)
        while page.messages and not (
            (newest_first and self._reaches_known_messages(page, page.messages[-1]))
            or (newest_first is False and self._has_repeats)  # its pages never move: the last page came again
            or self._is_last(number, page)
            or self._goes_in_circles(arrived=self._claimed_pages(page) - self._claimed_pages(first))
        ):
            number += 1
            page = yield from self._fetch(number)
            if newest_first is False and page.messages and _newest_id(page) < _newest_id(first):
                newest_first = None  # the order of rows in a page is not the order of the pages

    def _fetch(self, number: int) -> Generator[int, InboundPage, InboundPage]:
        """Fetch a page. Fetch the last page with news again if messages may have filled it in the meantime.

        Messages added at its end have lower ids than the next page, so no later pass would find them. The second fetch
        also shows the length of a full page. So it happens only once if pages are shorter than requested.
        """
        seen = len(self._page_of)
        page = yield number
        if self._is_other_page(number, page):
            page = yield from self._fetch_again(number, frozenset(list(self._page_of)[:seen]))
        if not self._counts_too_many and not _rows(page) and self._should_have_rows(number, page):
            page = yield number  # one empty response must not hide the messages behind it
            self._counts_too_many = not _rows(page)
        self._pages_read.add(number)
        self._deepest = max(self._deepest, self._depth(number, page))
        news = len(self._page_of) - seen
        self._has_repeats = news < len({message.id for message in page.messages})
        if news:
            self._pages_with_news += 1
            self._pages_without_news = 0
        else:
            self._pages_without_news += 1
        if page.messages and self._last_page_with_news is not None:
            before, last = self._last_page_with_news
            if _rows(last) != self._full_page and _newest_first(last, page) is False:
                again = yield before
                if not _rows(again):
                    again = yield before
                self._full_page = _rows(again)
        if news:
            self._last_page_with_news = number, page
        return page

    def _fetch_again(self, number: int, seen: frozenset[int]) -> Generator[int, InboundPage, InboundPage]:
        """Fetch a page once more, since another one came instead.

        :param seen: the ids that were seen before.
        :raises PindoServerError: the other one came again.
        """
        page = yield number
        if self._is_other_page(number, page):
            other = self._page_of[_oldest_id(page)]
            if _oldest_id(page) in seen or other not in self._pages_read:
                raise PindoServerError(
                    f"page {number} of the inbound list came twice with the messages of page {other}. The list counts "
                    f"{page.total} messages on {page.pages} pages, so some are hidden: read it again later"
                )
            self._numbers_pages = False  # that page was read and had other messages: its number says nothing
        return page

    def _reads_back_from(self, last: int, first: InboundPage) -> Generator[int, InboundPage, bool]:
        """Read an oldest-first list from its last page back to the known messages.

        :param first: page 1.
        :return: False if the list has no such page, or another order than that of its first page.
        """
        number = last
        page = yield from self._fetch(number)
        if page.messages and _newest_id(page) < _newest_id(first):
            return False
        reached = self._starts_with_known_messages(page)
        while page.messages and not self._pages_without_news and _rows(page) >= self._longest_page:
            number += 1  # the last page was full, so there may be a next one by now
            page = yield from self._fetch(number)
        number = last
        while not reached and number > 2:
            number -= 1
            page = yield from self._fetch(number)
            reached = self._starts_with_known_messages(page)
            if self._goes_in_circles():
                return False
        return True

    def _starts_with_known_messages(self, page: InboundPage) -> bool:
        return bool(page.messages) and self._reaches_known_messages(page, page.messages[0])

    def _is_last(self, number: int, page: InboundPage) -> bool:
        """Return whether this is the last of ``pages``, and ``total`` and the page's length agree."""
        if page.pages is None or number < page.pages:
            return False
        if page.total is None:
            return _rows(page) < self._longest_page
        return page.total <= len(self._page_of) and _rows(page) < self.per_page

    def _goes_in_circles(self, arrived: int = 0) -> bool:
        """Return whether too many pages in a row had no news.

        Arrivals move known messages to later pages, so pages may repeat. Arrivals explain one repeated page for each
        page with news, and one for each page in ``arrived``.

        :param arrived: pages that the list claims to have gained.
        """
        explained = self._pages_with_news + 1 + max(0, min(arrived, _MAX_PAGES_OF_ARRIVALS))
        return self._pages_without_news > explained

    def _should_have_rows(self, number: int, page: InboundPage) -> bool:
        """Return whether the list says that this page, or one behind it, has messages."""
        before = (number - 1) * self._longest_page
        return number < (page.pages or 0) or before < (page.total or 0)

    def _is_other_page(self, number: int, page: InboundPage) -> bool:
        """Return whether another page came instead of this one: by its number, or since its oldest message is known.

        Only where both counts of the list, as Pindo publishes them, say that there is such a page.
        """
        if not (self._trusts_counts and number > 1 and page.messages and page.pages and page.total):
            return False
        is_counted = number <= page.pages and (number - 1) * self._longest_page < page.total
        if not is_counted or page.total <= len(self._page_of):
            return False
        if self._numbers_pages and page.page != number:
            return True
        if self._page_of[_oldest_id(page)] == number:
            return False
        # Arrivals may have moved known messages to this page. None moves in a list that is read from its end.
        return number < max(self._pages_read) or self._depth(number, page) > self._deepest

    def _depth(self, number: int, page: InboundPage) -> float:
        """Return where in the list a page ends, as a number of messages that were there before the pass."""
        return (number - 1) * self._longest_page + _rows(page) - (page.total or 0)

    def _claimed_pages(self, page: InboundPage) -> int:
        """Return how many pages the list says that it has."""
        return max(page.pages or 0, (page.total or 0) // self._longest_page)


def _rows(page: InboundPage) -> int:
    return len(page.messages) + page.left_out


def _newest_id(page: InboundPage) -> int:
    return max(message.id for message in page.messages)


def _oldest_id(page: InboundPage) -> int:
    return min(message.id for message in page.messages)


def _newest_first(*pages: InboundPage) -> bool | None:
    """Return whether the newest message comes first; None with fewer than two messages, or without an order."""
    ids = [message.id for page in pages for message in page.messages]
    if len(ids) < 2:
        return None
    if ids == sorted(ids, reverse=True):
        return True
    return False if ids == sorted(ids) else None
