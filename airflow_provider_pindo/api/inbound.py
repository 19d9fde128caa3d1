"""
Reading the inbound list: which page next, and which messages on it are new.

Pindo publishes neither the order of the list nor what happens to its pages while messages arrive, so the
scan relies on one thing alone: ids grow. It works out the order from the first page, reads only as far as
the last message already known, and counts no message twice when new ones push the others to later pages.
How many pages there are it believes only as long as nothing else that the list says speaks against it.
"""

from __future__ import annotations

from collections.abc import Iterable
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
class Place:
    """
    How far somebody has read.

    :param after_id: messages up to and including this id are known; None: none is.
    :param since: aware time; messages created before it are known; None: none is.
    """

    after_id: int | None = None
    since: datetime | None = None

    def __post_init__(self) -> None:
        if self.since is not None and self.since.tzinfo is None:
            raise PindoConfigurationError(f"since {self.since!r} has no time zone: give an aware datetime")

    def knows(self, message: InboundSms) -> bool:
        """Return whether ``message`` is not new here."""
        if self.after_id is not None and message.id <= self.after_id:
            return True
        if self.since is None:
            return False
        return message.created_at < _cut_as(message.created_at, self.since)

    def after(self, message_id: int | None) -> Place:
        """Return this place moved on to ``message_id``; never back."""
        if message_id is None or (self.after_id is not None and message_id <= self.after_id):
            return self
        return replace(self, after_id=message_id)


def _cut_as(shown: datetime, moment: datetime) -> datetime:
    """
    Return ``moment``, cut to what ``shown`` seems to be cut to: milliseconds, seconds or minutes.

    A time in whole seconds may be of any moment in its second. One that happens to be whole makes its message newer
    than it is, which is the right side to err on: the message still has to be what is waited for, while a reply
    that is taken for older than it is never reaches who waits for it.
    """
    if shown.microsecond % 1000:
        return moment
    if shown.microsecond:
        return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    return moment.replace(microsecond=0, second=shown.second and moment.second)


def loosest(places: Iterable[Place]) -> tuple[Place, ...]:
    """Return at most two places that, together, know only what every one of ``places`` knows."""
    given = tuple(places)
    ids = [place.after_id for place in given if place.after_id is not None]
    times = [place.since for place in given if place.after_id is None]
    bounds = [Place(after_id=min(ids))] if ids else []
    if times:
        bounds.append(Place(since=None if None in times else min(time for time in times if time)))
    return tuple(bounds)


def read_since(value: object) -> datetime:
    """
    Return the moment that ``value`` names.

    :param value: an aware datetime, or one as ISO 8601 text, as a template gives it.
    :raises PindoConfigurationError: it is neither, or has no time zone.
    """
    moment = value
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value.strip())
        except ValueError:
            moment = None
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise PindoConfigurationError(
            f"since is {value!r}: give an aware time, as a datetime or as text such as "
            "2026-11-24T08:00:00+02:00"
        )
    return moment


class InboundScan:
    """
    One pass over the inbound list, driven by whoever does the I/O.

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
        self.next_page: int | None = 1
        #: Highest id on the pages that were read, known messages included; None when there was none.
        self.highest_id: int | None = None
        #: Whether the messages on those pages say who sent them; None when there were too few to tell.
        self.names_senders: bool | None = None
        self._places: tuple[Place, ...] = (Place(after_id, since),)
        self._newest_first: bool | None = None
        self._first = InboundPage(())
        self._longest_page = 0
        self._seen: set[int] = set()
        self._left_out = 0
        # An oldest-first list is read from its last page on, and then back; None: the pages are read in their order.
        self._last_page: int | None = None
        self._beyond_the_last = self._reached_the_known = False
        self._read_as: dict[int, InboundPage] = {}
        self._rows_of_a_full_page: int | None = None
        self._is_read_again = False
        self._afterwards: int | None = None
        self._pages_with_progress = self._pages_without_progress = 0

    @classmethod
    def for_all(cls, places: Iterable[Place]) -> Self:
        """Return a scan that serves several readers: what is new to any of them is new to it."""
        scan = cls()
        scan._places = loosest(places)
        return scan

    def feed(self, page: InboundPage) -> list[InboundSms]:
        """Take the page that was asked for; return its new messages in its order, and choose the next."""
        repeats = any(message.id in self._seen for message in page.messages)
        unseen = []
        for message in page.messages:
            if message.id not in self._seen:
                self._seen.add(message.id)
                unseen.append(message)
        self._longest_page = max(self._longest_page, _rows(page))
        self._note(unseen)
        if self._is_read_again:
            self._rows_of_a_full_page, self._is_read_again = _rows(page), False
            self.next_page = self._afterwards
        else:
            self._left_out += page.left_out
            self._choose_next(page, repeats=repeats)
        return [message for message in unseen if not self._is_known(message)]

    def _note(self, unseen: list[InboundSms]) -> None:
        if not unseen:
            self._pages_without_progress += not self._is_read_again
            return
        self._pages_with_progress += 1
        self._pages_without_progress = 0
        ids = [message.id for message in unseen]
        self.highest_id = max(ids if self.highest_id is None else [self.highest_id, *ids])
        if any(message.from_number is not None for message in unseen):
            self.names_senders = True
        elif len(unseen) >= self.per_page or any("from" not in message.raw for message in unseen):
            # An empty field says little, a whole page of them, or none at all, says enough.
            self.names_senders = bool(self.names_senders)

    def _is_known(self, message: InboundSms) -> bool:
        return all(place.knows(message) for place in self._places)

    def _reaches_the_known(self, page: InboundPage, oldest: InboundSms) -> bool:
        """
        Return whether everything older than this page is known.

        Ids grow, so an oldest message that is known by its id settles it. Times need not: there a whole
        page has to be known, so that one message with an odd time hides none behind it.
        """
        by_id = all(place.after_id is not None and oldest.id <= place.after_id for place in self._places)
        return by_id or all(self._is_known(message) for message in page.messages)

    def _choose_next(self, page: InboundPage, *, repeats: bool) -> None:
        asked = self.next_page or 1
        if asked == 1:
            self._first = page
        if asked == 1 or len(self._first.messages) == 1:
            self._newest_first = _newest_first([message.id for message in page.messages])
        # The first page of an oldest-first list has the oldest messages; the new ones are at the end.
        if asked == 1 and self._newest_first is False and page.pages is not None and page.pages > 1:
            self._last_page = self.next_page = page.pages
        elif self._last_page is not None:
            self.next_page = self._towards_older_from_the_end(asked, page, self._last_page)
        elif repeats and self._newest_first is False:  # nothing moves there: it is the last page once more
            self.next_page = None
        else:
            self.next_page = self._towards_the_end(asked, page)
        if self._may_have_been_filled(asked - 1, before=page):
            self._afterwards, self._is_read_again, self.next_page = self.next_page, True, asked - 1
        self._read_as[asked] = page

    def _may_have_been_filled(self, number: int, before: InboundPage) -> bool:
        """
        Return whether messages may have come to the end of that page since it was read, before those of the next.

        They have lower ids than the next page's, so no later pass would find them: the page is read again. That
        shows as well how long a page is, so that it happens once where pages are shorter than what was asked for.
        """
        page = self._read_as.get(number)
        if self._newest_first or page is None or not page.messages or not before.messages:
            return False
        if min(each.id for each in before.messages) <= max(each.id for each in page.messages):
            return False
        return _rows(page) != (self._rows_of_a_full_page or self._size_of(self._first))

    def _towards_the_end(self, asked: int, page: InboundPage) -> int | None:
        if not page.messages or (self._newest_first and self._reaches_the_known(page, page.messages[-1])):
            return None
        return None if self._is_last(asked, page) or self._goes_in_circles(asked, page) else asked + 1

    def _is_last(self, asked: int, page: InboundPage) -> bool:
        """Return whether this is the last of the ``pages``, and neither ``total`` nor its length speaks against it."""
        if page.pages is None or asked < page.pages:
            return False
        more = page.total is not None and page.total > len(self._seen) + self._left_out
        return not more and not self._is_full(page)

    def _is_full(self, page: InboundPage) -> bool:
        """
        Return whether there may be a page after this one, by its length alone.

        It may be as long as a page can be, which is not always what was asked for: a list that does not count its
        messages may be cut into shorter pages, so there every page that is as long as the longest (but not one
        message alone) counts as full.
        """
        size = self._size_of(page)
        if page.total is None:
            size = min(size, max(self._longest_page, 2))
        return _rows(page) >= size

    def _size_of(self, page: InboundPage) -> int:
        stated = page.per_page if page.per_page is not None and page.per_page > 0 else self.per_page
        return min(self.per_page, stated)

    def _goes_in_circles(self, asked: int, page: InboundPage) -> bool:
        """
        Return whether the pages have brought nothing for too long.

        Those before may come once more, moved on by as many new messages, but not more of them than there were and
        than the list says to have grown by since. After the last of the ``pages`` its growth alone explains them.
        """
        explained = self._pages_of_arrivals(page)
        if page.pages is None or asked <= page.pages:
            explained += self._pages_with_progress + 1
        return self._pages_without_progress > explained

    def _pages_of_arrivals(self, page: InboundPage) -> int:
        """Return by how many pages the list says to have grown since the first page of this pass."""
        grown = 0
        if page.pages is not None and self._first.pages is not None:
            grown = page.pages - self._first.pages
        if page.total is not None and self._first.total is not None:
            grown = max(grown, -(-(page.total - self._first.total) // self._longest_page))
        return max(0, min(grown, _MOST_PAGES_OF_ARRIVALS))

    def _towards_older_from_the_end(self, asked: int, page: InboundPage, last: int) -> int | None:
        if asked >= last and not self._beyond_the_last:
            if asked == last:
                self._reached_the_known = self._starts_with_the_known(page)
            if not self._holds_the_newest(asked, page):
                return asked + 1
            self._beyond_the_last = True
            return self._next_older(last, reached=self._reached_the_known)
        return self._next_older(asked, reached=self._starts_with_the_known(page))

    def _next_older(self, asked: int, *, reached: bool) -> int | None:
        if self._pages_without_progress > self._pages_with_progress + 1:
            # There are fewer pages than it says: read them in their order.
            self._newest_first = self._last_page = None
            return 2
        return None if reached or asked <= 2 else asked - 1

    def _starts_with_the_known(self, page: InboundPage) -> bool:
        return bool(page.messages) and self._reaches_the_known(page, page.messages[0])

    def _holds_the_newest(self, asked: int, page: InboundPage) -> bool:
        """Return whether no page of an oldest-first list comes after this one, or none that there was at first."""
        if not page.messages or self._pages_without_progress:
            return True
        if self._first.total is not None:
            return asked * self._longest_page >= self._first.total
        return not self._is_full(page)


def _rows(page: InboundPage) -> int:
    return len(page.messages) + page.left_out


def _newest_first(ids: list[int]) -> bool | None:
    """Return the order of a page's ids; None when it has none, or one message alone."""
    if len(ids) < 2:
        return None
    if ids == sorted(ids, reverse=True):
        return True
    return False if ids == sorted(ids) else None
