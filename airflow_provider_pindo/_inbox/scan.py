"""Reading the inbound list: which page next, and which messages on it are new.

Pindo publishes neither the order of the list nor what happens to its pages while messages arrive, so the
scan relies on one thing alone: ids grow. It works out the order from the first page, reads only as far as
the last message already known, and counts no message twice when new ones push the others to later pages.
How many pages there are it believes only as long as nothing else that the list says speaks against it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from airflow_provider_pindo.api.calls import DEFAULT_PER_PAGE
from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.values import InboundPage, InboundSms

#: Pages of arrivals during one pass that are reckoned with at most, so that a list that only claims to grow, faster
#: than it is read, does not hold whoever reads it for ever.
_MOST_PAGES_OF_ARRIVALS = 100


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far somebody has read.

    :param after_id: messages up to and including this id are known; None: none is.
    :param since: aware time; messages created before it are known; None: none is.
    """

    after_id: int | None = None
    since: datetime | None = None

    def __post_init__(self) -> None:
        if self.since is not None and self.since.tzinfo is None:
            raise PindoConfigurationError(f"since {self.since!r} has no time zone: give an aware datetime")

    def covers(self, message: InboundSms) -> bool:
        """Return whether ``message`` is not new here."""
        if self.after_id is not None and message.id <= self.after_id:
            return True
        if self.since is None:
            return False
        return message.created_at < _cut_as(message.created_at, self.since)

    def advance_to(self, message_id: int | None) -> Cursor:
        """Return this place moved on to ``message_id``; never back."""
        if message_id is None or (self.after_id is not None and message_id <= self.after_id):
            return self
        return replace(self, after_id=message_id)


def _cut_as(shown: datetime, moment: datetime) -> datetime:
    """Return ``moment``, cut to what ``shown`` seems to be cut to: milliseconds, seconds or minutes.

    A time in whole seconds may be of any moment in its second. One that happens to be whole makes its message newer
    than it is, which is the right side to err on: the message still has to be what is waited for, while a reply
    that is taken for older than it is never reaches who waits for it.
    """
    if shown.microsecond % 1000:
        return moment
    if shown.microsecond:
        return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    return moment.replace(microsecond=0, second=shown.second and moment.second)


def lowest(places: Iterable[Cursor]) -> tuple[Cursor, ...]:
    """Return at most two places that, together, know only what every one of ``places`` knows."""
    given = tuple(places)
    ids = [place.after_id for place in given if place.after_id is not None]
    times = [place.since for place in given if place.after_id is None]
    bounds = [Cursor(after_id=min(ids))] if ids else []
    if times:
        bounds.append(Cursor(since=None if None in times else min(time for time in times if time)))
    return tuple(bounds)


@dataclass(frozen=True, slots=True)
class PollResult:
    """The result of one pass over the inbound list.

    :param messages: the new messages, oldest first.
    :param highest_id: highest id on the pages that were read; None when there was no message at all.
    :param names_senders: whether messages name their sender; None when there were too few to tell.
    :param country: the country of the connection, by which national numbers are read.
    """

    messages: tuple[InboundSms, ...]
    highest_id: int | None
    names_senders: bool | None
    country: str | None = None


class InboundScan:
    """One pass over the inbound list, driven by whoever does the I/O.

    Ask for :attr:`next_page`, give the answer to :meth:`feed`, until ``next_page`` is None. A message that
    arrives during the pass is either returned by it or has a higher id than all that it returned, so a
    later pass with ``after_id`` set to the highest id returned finds it.

    :param after_id: messages up to and including this id are known; None: none is.
    :param since: aware time; messages created before it are known; None: none is.
    :param per_page: messages asked for in one request.
    """

    def __init__(
        self,
        after_id: int | None = None,
        since: datetime | None = None,
        per_page: int = DEFAULT_PER_PAGE,
    ) -> None:
        self.per_page = per_page
        #: Highest id on the pages that were read, known messages included; None when there was none.
        self.highest_id: int | None = None
        #: Whether the messages on those pages say who sent them; None when there were too few to tell.
        self.names_senders: bool | None = None
        self._places: tuple[Cursor, ...] = (Cursor(after_id, since),)
        self._seen: set[int] = set()
        self._last_with_news: tuple[int, InboundPage] | None = None  # with its number
        self._repeats = self._counts_too_many = False
        self._longest_page = 0
        self._full_page = per_page
        self._pages_with_news = self._pages_without_news = 0  # the latter: in a row, up to the last one
        self._reading = self._read()
        self.next_page: int | None = next(self._reading)

    @classmethod
    def for_all(cls, places: Iterable[Cursor]) -> Self:
        """Return a scan that serves several readers: what is new to any of them is new to it."""
        scan = cls()
        scan._places = lowest(places)
        return scan

    def feed(self, page: InboundPage) -> list[InboundSms]:
        """Take the page that was asked for; return its new messages in its order, and choose the next."""
        unseen = []
        for message in page.messages:
            if message.id not in self._seen:
                self._seen.add(message.id)
                unseen.append(message)
        self._longest_page = max(self._longest_page, _rows(page))
        if unseen:
            self._note(unseen)
        try:
            self.next_page = self._reading.send(page)
        except StopIteration:
            self.next_page = None
        return [message for message in unseen if not self._is_known(message)]

    def result(self, messages: Iterable[InboundSms], country: str | None) -> PollResult:
        """Return the result of the pass, given all ``messages`` that :meth:`feed` returned."""
        oldest_first = sorted(messages, key=lambda message: message.id)
        return PollResult(tuple(oldest_first), self.highest_id, self.names_senders, country)

    def _note(self, unseen: list[InboundSms]) -> None:
        ids = [message.id for message in unseen]
        self.highest_id = max(ids if self.highest_id is None else [self.highest_id, *ids])
        if any(message.from_number is not None for message in unseen):
            self.names_senders = True
        elif len(unseen) >= self.per_page or any("from" not in message.raw for message in unseen):
            # An empty field says little, a whole page of them, or none at all, says enough.
            self.names_senders = bool(self.names_senders)

    def _is_known(self, message: InboundSms) -> bool:
        return all(place.covers(message) for place in self._places)

    def _reaches_the_known(self, page: InboundPage, oldest: InboundSms) -> bool:
        """Return whether everything older than this page is known.

        Ids grow, so an oldest message that is known by its id settles it. Times need not: there a whole
        page has to be known, so that one message with an odd time hides none behind it.
        """
        by_id = all(place.after_id is not None and oldest.id <= place.after_id for place in self._places)
        return by_id or all(self._is_known(message) for message in page.messages)

    def _read(self) -> Generator[int, InboundPage, None]:
        """Read the pages that may have new messages: give the number of each, and be sent what is on it."""
        number = 1
        page = first = yield from self._ask(number)
        newest_first = _newest_first(page)
        # The first page of an oldest-first list has the oldest messages; the new ones are at the end.
        if newest_first is False and page.pages is not None and page.pages > 1:
            if (yield from self._reads_back_from(page.pages, first)):
                return
            number, newest_first = 2, None
            page = yield from self._ask(number)
        while page.messages and not (
            (newest_first and self._reaches_the_known(page, page.messages[-1]))
            or (newest_first is False and self._repeats)  # nothing moves there: it is the last page once more
            or self._is_last(number, page)
            or self._goes_in_circles(arrived=self._claims(page) - self._claims(first))
        ):
            number += 1
            page = yield from self._ask(number)
            if newest_first is False and page.messages and _newest(page) < _newest(first):
                newest_first = None  # the rows of a page say nothing of its pages

    def _ask(self, number: int) -> Generator[int, InboundPage, InboundPage]:
        """Read a page and return it; read the last with news once more if that may have been filled since it was read.

        What came to its end has lower ids than the next page, so no later pass would find it. Reading it again shows
        as well how long a page is, so that it happens once where pages are shorter than what was asked for.
        """
        seen = len(self._seen)
        page = yield number
        if not self._counts_too_many and not _rows(page) and self._should_have_rows(number, page):
            page = yield number  # one empty answer is not to hide what is behind it
            self._counts_too_many = not _rows(page)
        news = len(self._seen) - seen
        self._repeats = news < len({message.id for message in page.messages})
        if news:
            self._pages_with_news += 1
            self._pages_without_news = 0
        else:
            self._pages_without_news += 1
        if page.messages and self._last_with_news is not None:
            before, last = self._last_with_news
            if _rows(last) != self._full_page and _newest_first(last, page) is False:
                again = yield before
                if not _rows(again):
                    again = yield before
                self._full_page = _rows(again)
        if news:
            self._last_with_news = number, page
        return page

    def _reads_back_from(self, last: int, first: InboundPage) -> Generator[int, InboundPage, bool]:
        """Read an oldest-first list from its last page to what is known.

        :param first: page 1.
        :return: False if the list turns out to have no such page, or another order than that of its first page.
        """
        number = last
        page = yield from self._ask(number)
        if page.messages and _newest(page) < _newest(first):
            return False
        reached = self._starts_with_the_known(page)
        while page.messages and not self._pages_without_news and _rows(page) >= self._longest_page:
            number += 1  # the last page was full, and there may be a next one by now
            page = yield from self._ask(number)
        number = last
        while not reached and number > 2:
            number -= 1
            page = yield from self._ask(number)
            reached = self._starts_with_the_known(page)
            if self._goes_in_circles():
                return False
        return True

    def _starts_with_the_known(self, page: InboundPage) -> bool:
        return bool(page.messages) and self._reaches_the_known(page, page.messages[0])

    def _is_last(self, number: int, page: InboundPage) -> bool:
        """Return whether this is the last of the ``pages``, and neither ``total`` nor its length speaks against it."""
        if page.pages is None or number < page.pages:
            return False
        if page.total is None:
            return _rows(page) < self._longest_page
        return page.total <= len(self._seen) and _rows(page) < self.per_page

    def _goes_in_circles(self, arrived: int = 0) -> bool:
        """Return whether the pages have brought nothing for too long.

        Those before may come once more, moved on by as many new messages, but not more of them than there were and
        than the ``arrived`` pages that the list says to have grown by since.
        """
        explained = self._pages_with_news + 1 + max(0, min(arrived, _MOST_PAGES_OF_ARRIVALS))
        return self._pages_without_news > explained

    def _should_have_rows(self, number: int, page: InboundPage) -> bool:
        """Return whether the list says that there is something on this page, or behind it."""
        before = (number - 1) * self._longest_page
        return number < (page.pages or 0) or before < (page.total or 0)

    def _claims(self, page: InboundPage) -> int:
        """Return how many pages the list says to have."""
        return max(page.pages or 0, (page.total or 0) // self._longest_page)


def _rows(page: InboundPage) -> int:
    return len(page.messages) + page.left_out


def _newest(page: InboundPage) -> int:
    return max(message.id for message in page.messages)


def _newest_first(*pages: InboundPage) -> bool | None:
    """Return the order of these messages; None when they have none, or are fewer than two."""
    ids = [message.id for page in pages for message in page.messages]
    if len(ids) < 2:
        return None
    if ids == sorted(ids, reverse=True):
        return True
    return False if ids == sorted(ids) else None
