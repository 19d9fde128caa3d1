"""What can be set on a sandbox, with the defaults and the reason for each.

The vendor's documentation leaves questions open (how the inbound list is ordered, what a bulk send
does with one bad number, …). The sandbox answers each in one way by default and lets a test pick the
other; these are the switches. A value that makes no sense is refused with a sentence that says what
would.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

#: What describes an inbound message, as a refusal says it.
INBOUND = "{'from', 'text', 'to'?, 'created_at'?}: texts, created_at an ISO time such as 2026-06-10T09:04:31"
DELIVERY_STATUSES = ("ACCEPTED", "EXPIRED", "DELIVRD", "UNDELIV", "REJECTED", "UNKNOWN")


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """The state of every switch.

    :param balance: USD in the wallet when the sandbox starts with no state, and after a reset. Changed
        while it runs, it is what the wallet then holds.
    :param item_price: USD for one segment. The published sample's price.
    :param discount: echoed in receipts as published; it changes no price, as in the published sample.
    :param bonus: echoed in receipts as published.
    :param insufficient_balance_status: 402 or 409; which one Pindo answers is not published.
    :param supported_countries: ISO codes; a number of any other country gets 409.
    :param rejected_numbers: E.164 numbers that are well formed and get 409 "unsupported telco" all the same.
    :param approved_senders: sender IDs that may send, or ``"any"``. What ``POST /sender_ids`` asks for is
        approved on the spot and comes on top.
    :param bulk_limit: most recipients in one bulk request; above it 413. No limit is published, and 1,000
        is what most SMS APIs take.
    :param bulk_bad_number: ``"reject"``: one bad number is a 409 for the whole request and nothing is sent.
        ``"partial"``: the good ones are sent and ``count`` is less than ``total``.
    :param inbound_order: ``"newest_first"`` or ``"oldest_first"``; not published.
    :param inbound_sender: whether an item of the inbound list has ``from``; the published sample has not.
    :param inbound_number: the account's own number, which replies go to.
    :param inbound_per_page_max: a larger ``per_page`` is read as this.
    :param inject_between_pages: inbound messages ``{"from", "text", "to"?, "created_at"?, "after_page"?}``
        that arrive once the page ``after_page`` (an integer, default 1) of the inbound list has been served.
        Each arrives once; ``created_at`` (ISO; without a zone it is UTC) is by default when it arrives.
    :param first_id: the lowest id that an inbound message or a verification gets. Pindo's ids grow, and
        whoever waits for a message relies on that alone. So neither a reset nor a lower ``first_id`` takes
        them back, and a sandbox that remembers nothing has to begin above the one before it: that of the
        command line, and a ``Sandbox`` that is started again, begin at the microseconds since 1970. The
        default keeps a new one predictable in a test.
    :param pin_ttl: seconds until a verification expires.
    :param pin_attempts: wrong codes until a verification is locked.
    :param pin_length: digits of a PIN, 4 to 10.
    :param pin: the PIN of every verification, or None for random ones.
    :param wrong_code_status: status for a wrong, expired or used-up code; published is only "a 4xx".
    :param requests_per_second: above it 429, as a token bucket that holds one second's worth; None for none.
    :param retry_after: how a 429 of that limit says when: ``"seconds"``, ``"http_date"`` or ``"none"``.
    :param latency: seconds that every API call waits before it is looked at.
    :param extra_keys: whether every answer carries keys that no page documents.
    :param keepalive_timeout: seconds after which an idle connection is closed without a word; None leaves
        it to the HTTP server (over a minute).
    :param webhook_url: where events are POSTed; None for nowhere. ``PUT /orgs/self`` sets it too.
    :param webhook_headers: headers that go with every webhook, such as a shared secret.
    :param delivery_status: status of every delivery report.
    """

    balance: float = 500.0
    item_price: float = 0.006
    discount: float = 0.4
    bonus: float = 0.0
    insufficient_balance_status: int = 402
    supported_countries: tuple[str, ...] = ("RW", "KE", "UG", "TZ", "BI", "CD", "ZM")
    rejected_numbers: tuple[str, ...] = ()
    approved_senders: tuple[str, ...] | str = ("PindoTest",)
    bulk_limit: int = 1000
    bulk_bad_number: str = "reject"
    inbound_order: str = "newest_first"
    inbound_sender: bool = False
    inbound_number: str = "+250781113333"
    inbound_per_page_max: int = 100
    inject_between_pages: tuple[Mapping[str, Any], ...] = ()
    first_id: int = 1
    pin_ttl: float = 300.0
    pin_attempts: int = 5
    pin_length: int = 6
    pin: str | None = None
    wrong_code_status: int = 400
    requests_per_second: float | None = None
    retry_after: str = "seconds"
    latency: float = 0.0
    extra_keys: bool = False
    keepalive_timeout: float | None = None
    webhook_url: str | None = None
    webhook_headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    delivery_status: str = "DELIVRD"

    def changed(self, changes: Mapping[str, Any]) -> Settings:
        """These settings with some changed.

        :raises ValueError: a name that is none of these, or a value that it does not take.
        """
        checked: dict[str, Any] = {}
        for name, value in changes.items():
            if name not in _RULES:
                raise ValueError(f"no setting {name!r}; there are {', '.join(sorted(_RULES))}")
            accepts, wanted = _RULES[name]
            if not accepts(value):
                raise ValueError(f"setting {name!r} must be {wanted}, not {value!r}")
            checked[name] = tuple(value) if isinstance(value, list) else value
        return dataclasses.replace(self, **checked)

    def as_json(self) -> dict[str, Any]:
        """All settings by name, as JSON can carry them."""
        return dataclasses.asdict(self)


def first_id_from_clock() -> int:
    """A ``first_id`` above all ids of any sandbox before: the microseconds since 1970.

    None takes a message every microsecond, so none is ever ahead of the clock.
    """
    return time.time_ns() // 1000


def in_utc(moment: str) -> datetime:
    """An ISO moment; without a zone it is UTC.

    :raises ValueError: it is none, or one that no calendar has in UTC.
    """
    read = datetime.fromisoformat(moment)
    try:
        return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError as error:
        raise ValueError(str(error)) from None


def is_unicode(text: str) -> bool:
    """Whether a text can be sent: JSON can spell half a surrogate pair, which is no character."""
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)


_Rule = tuple[Callable[[Any], bool], str]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e9


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_list_of(accepts: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, (list, tuple)) and all(accepts(item) for item in value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != "" and is_unicode(value)


def _is_moment(value: Any) -> bool:
    try:
        in_utc(value)
    except (TypeError, ValueError):
        return False
    return True


def is_inbound(value: Any) -> bool:
    """Whether a value describes an inbound message: from whom and the text, perhaps to whom and when."""
    return (
        isinstance(value, Mapping)
        and _is_text(value.get("from"))
        and (value.get("text") == "" or _is_text(value.get("text")))
        and (value.get("to") is None or _is_text(value["to"]))
        and (value.get("created_at") is None or _is_moment(value["created_at"]))
    )


def _is_injected(value: Any) -> bool:
    return is_inbound(value) and (value.get("after_page") is None or _is_integer(value["after_page"]))


def _one_of(*values: Any) -> _Rule:
    return (lambda value: value in values, "one of " + ", ".join(map(repr, values)))


_AMOUNT: _Rule = (_is_number, "a number of 0 or more")
_COUNT: _Rule = (_is_integer, "an integer of 1 or more")
_FLAG: _Rule = (lambda value: isinstance(value, bool), "true or false")
_NUMBER: _Rule = (_is_text, "a phone number, as a text")
_NUMBERS: _Rule = (_is_list_of(_is_text), "a list of phone numbers, as texts")

_RULES: dict[str, _Rule] = {
    "balance": _AMOUNT,
    "item_price": _AMOUNT,
    "discount": _AMOUNT,
    "bonus": _AMOUNT,
    "insufficient_balance_status": _one_of(402, 409),
    "supported_countries": (
        _is_list_of(lambda value: isinstance(value, str) and re.fullmatch("[A-Z]{2}", value) is not None),
        "a list of two-letter country codes such as 'RW'",
    ),
    "rejected_numbers": _NUMBERS,
    "approved_senders": (
        lambda value: value == "any" or _is_list_of(_is_text)(value),
        "'any' or a list of sender IDs",
    ),
    "bulk_limit": _COUNT,
    "bulk_bad_number": _one_of("reject", "partial"),
    "inbound_order": _one_of("newest_first", "oldest_first"),
    "inbound_sender": _FLAG,
    "inbound_number": _NUMBER,
    "inbound_per_page_max": _COUNT,
    "inject_between_pages": (
        _is_list_of(_is_injected),
        f"a list of {INBOUND}, and perhaps after_page, an integer of 1 or more",
    ),
    "first_id": (
        lambda value: _is_integer(value) and value < 2**53,
        "an integer of 1 or more, below 2**53",
    ),
    "pin_ttl": _AMOUNT,
    "pin_attempts": _COUNT,
    "pin_length": (lambda value: _is_integer(value) and 4 <= value <= 10, "an integer from 4 to 10"),
    "pin": (
        lambda value: (
            value is None or (isinstance(value, str) and re.fullmatch("[0-9]{4,10}", value) is not None)
        ),
        "4 to 10 digits as a text, or null",
    ),
    "wrong_code_status": (
        lambda value: _is_integer(value) and 400 <= value < 500,
        "a status from 400 to 499",
    ),
    "requests_per_second": (
        lambda value: value is None or (_is_number(value) and value > 0),
        "a number above 0, or null",
    ),
    "retry_after": _one_of("seconds", "http_date", "none"),
    "latency": _AMOUNT,
    "extra_keys": _FLAG,
    "keepalive_timeout": (lambda value: value is None or _is_number(value), "seconds, or null"),
    "webhook_url": (
        lambda value: (
            value is None or (isinstance(value, str) and re.match("https?://[^/]", value) is not None)
        ),
        "an http:// or https:// address, or null",
    ),
    "webhook_headers": (
        lambda value: (
            isinstance(value, Mapping) and all(_is_text(part) for pair in value.items() for part in pair)
        ),
        "an object of texts",
    ),
    "delivery_status": _one_of(*DELIVERY_STATUSES),
}
