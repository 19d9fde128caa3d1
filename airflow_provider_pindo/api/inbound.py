"""
Reading the inbound list: which page next, and which messages on it are new.

Pindo publishes neither the order of the list nor what happens to its pages while messages arrive, so the
scan relies on one thing alone: ids grow. It works out the order from the first page, reads only as far as
the last message already known, and counts no message twice when new ones push the others to later pages.
"""

from __future__ import annotations

from datetime import datetime

from airflow_provider_pindo.api.calls import DEFAULT_PER_PAGE
from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.values import InboundPage, InboundSms


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
        if since is not None and since.tzinfo is None:
            raise PindoConfigurationError(f"since {since!r} has no time zone: give an aware datetime")
        self.per_page = per_page
        self.next_page: int | None = 1
        self._after_id = after_id
        self._since = since
        self._newest_first: bool | None = None
        self._seen: set[int] = set()

    def feed(self, page: InboundPage) -> list[InboundSms]:
        """Take the page that was asked for; return its new messages in its order, and choose the next."""
        unseen = [message for message in page.messages if message.id not in self._seen]
        self._seen.update(message.id for message in unseen)
        self._choose_next(page, progress=bool(unseen))
        return [message for message in unseen if not self._is_known(message)]

    def _is_known(self, message: InboundSms) -> bool:
        if self._after_id is not None and message.id <= self._after_id:
            return True
        return self._since is not None and message.created_at < self._since

    def _choose_next(self, page: InboundPage, *, progress: bool) -> None:
        asked = self.next_page or 1
        if asked == 1:
            self._newest_first = _newest_first([message.id for message in page.messages])
        if self._newest_first is False and page.pages is not None:
            self.next_page = self._towards_older_from_the_end(asked, page)
        else:
            self.next_page = self._towards_the_end(asked, page, progress=progress)

    def _towards_the_end(self, asked: int, page: InboundPage, *, progress: bool) -> int | None:
        last_is_known = bool(page.messages) and self._is_known(page.messages[-1])
        if not page.messages or (self._newest_first and last_is_known):
            return None
        more = progress if page.pages is None else asked < page.pages
        return asked + 1 if more else None

    def _towards_older_from_the_end(self, asked: int, page: InboundPage) -> int | None:
        if asked == 1:  # the oldest messages; the new ones are at the end
            return page.pages if page.pages is not None and page.pages > 1 else None
        first_is_known = bool(page.messages) and self._is_known(page.messages[0])
        return None if first_is_known or asked == 2 else asked - 1


def _newest_first(ids: list[int]) -> bool | None:
    """Return the order of a page's ids; None when it has none, or one message alone."""
    if len(ids) < 2:
        return None
    if ids == sorted(ids, reverse=True):
        return True
    return False if ids == sorted(ids) else None
