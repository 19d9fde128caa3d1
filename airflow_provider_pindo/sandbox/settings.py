"""What can be set on a sandbox, with the reason for each default.

The vendor's documentation leaves questions open, such as the order of the inbound list. The sandbox
takes one possibility by default, and a test can choose the other.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from airflow_provider_pindo.sandbox.outcomes import OUTCOMES
from airflow_provider_pindo.sandbox.validation import (
    Amount,
    Count,
    Flag,
    HeaderText,
    Text,
    TextOrEmpty,
    check_fields,
    in_utc,
    one_of,
)

#: The shape of an inbound message, for errors.
INBOUND = "{'from', 'text', 'to'?, 'created_at'?}: texts, created_at an ISO time such as 2026-06-10T09:04:31"
_Url = Annotated[str, Meta(pattern="^https?://[^/]", description="an http:// or https:// address")]

_PhoneNumber = Annotated[Text, Meta(description="a phone number, as a text")]
_Country = Annotated[str, Meta(pattern=r"^[A-Z]{2}\Z")]


class InboundSms(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message that a phone sends to the account.

    :param to: one of the account's numbers; None for the one of the settings.
    :param created_at: ISO time; without a zone it is UTC. None for the time at which it arrives.
    :param after_page: page of the inbound list after which it arrives; for ``inject_between_pages`` only.
    """

    sender: Text = msgspec.field(name="from")
    text: TextOrEmpty
    to: Text | None = None
    created_at: str | None = None
    after_page: Count | None = None

    def __post_init__(self) -> None:
        if self.created_at is not None:
            in_utc(self.created_at)


class SenderWebhook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a sender ID's events go.

    :param url: the address.
    :param method: ``"POST"`` with a JSON body, or ``"GET"`` with the body's keys as parameters.
    :param headers: headers of each call, such as a shared secret.
    """

    url: _Url
    method: Literal["POST", "GET"] = "POST"
    headers: dict[Text, HeaderText] = {}


class Settings(msgspec.Struct, frozen=True):
    """The value of every setting.

    :param balance: USD in the wallet of a new sandbox, and after a reset. Changing it sets the wallet.
    :param item_price: USD for one segment. The published sample's price.
    :param discount: repeated in receipts. As in the published sample, it changes no price.
    :param bonus: repeated in receipts.
    :param insufficient_balance_status: 402 or 409. Pindo's status is not published.
    :param supported_countries: ISO codes. A number of any other country gets 409.
    :param rejected_numbers: valid E.164 numbers that get 409 "unsupported telco".
    :param approved_senders: sender IDs, and brands of a PIN, that may send; or ``"any"``. Those that
        ``POST /sender_ids`` requests are approved at once, in addition.
    :param bulk_limit: most recipients in one bulk request; more get 413. No limit is published, and 1,000
        is what most SMS APIs take.
    :param bulk_bad_number: ``"reject"``: one bad number is a 409 for the whole request.
        ``"partial"``: the good ones are sent, and ``count`` is less than ``total``.
    :param inbound_order: ``"newest_first"`` or ``"oldest_first"``. Pindo's order is not published.
    :param inbound_sender: whether an item of the inbound list has ``from``. The published sample does not.
    :param inbound_number: the account's own number, which receives replies.
    :param inbound_per_page_max: largest ``per_page``; a larger value counts as this.
    :param inject_between_pages: inbound messages
        ``{"from", "text", "to"?, "created_at"?, "after_page"?}``. Each arrives once, after the page
        ``after_page`` (default 1) of the inbound list was served. ``created_at`` is an ISO time (without
        a zone it is UTC); by default the time of arrival.
    :param first_id: lowest id of an inbound message or a verification. Ids always grow, as Pindo's do,
        also over a reset, since a reader looks for ids above the last one. A sandbox without a state file
        must start above the one before it. So the command line, and a ``Sandbox`` that is started again,
        begin at the microseconds since 1970. The default of 1 is predictable in a test.
    :param pin_ttl: seconds until a verification expires.
    :param pin_attempts: wrong codes until a verification is locked.
    :param pin_length: digits of a PIN, 4 to 10.
    :param pin: the PIN of every verification; None for random ones.
    :param wrong_code_status: status for a wrong, expired or used code. Published is only "a 4xx".
    :param requests_per_second: more get 429; a token bucket of one second. None for no limit.
    :param retry_after: ``"seconds"``, ``"http_date"`` or ``"none"``: the form of that 429's header.
    :param latency: seconds that every API call waits first.
    :param extra_keys: whether every response has keys that no page documents.
    :param keepalive_timeout: seconds until an idle connection is closed, unannounced. None leaves it to
        the HTTP server (over a minute).
    :param webhook_url: where each event without an address of its own is POSTed, without headers; None
        for nowhere. ``PUT /orgs/self`` sets it too.
    :param delivery_webhook_url: where delivery reports are POSTed. Pindo documents no headers for it.
    :param sender_webhooks: where the events ``sent`` and ``inbound`` go, by sender ID, or by the number that
        received the message: ``{"PindoTest": {"url", "method"?, "headers"?}}``. ``"*"`` is for all others.
    :param older_forms: whether message ids and delivery reports have the forms of before 2023-08: the id is
        a number (in a response, its digits as a text), and the time of a report begins with the day.
    :param sent_seconds: seconds from accepted to sent.
    :param delivery_seconds: seconds from sent to the delivery report, and between two reports. Pindo's
        client says 1 to 3.
    :param late_report_seconds: seconds from sent to a late report.
    :param delivery_outcome: what becomes of a message that no rule is for; one of
        :data:`~airflow_provider_pindo.sandbox.outcomes.OUTCOMES`.
    :param auto_reply: text of a phone that replies on its own.
    """

    balance: Amount = 500.0
    item_price: Amount = 0.006
    discount: Amount = 0.4
    bonus: Amount = 0.0
    insufficient_balance_status: Annotated[Literal[402, 409], Meta(description="402 or 409")] = 402
    supported_countries: Annotated[
        tuple[_Country, ...], Meta(description="a list of two-letter country codes such as 'RW'")
    ] = ("RW", "KE", "UG", "TZ", "BI", "CD", "ZM")
    rejected_numbers: Annotated[tuple[Text, ...], Meta(description="a list of phone numbers, as texts")] = ()
    approved_senders: Annotated[
        tuple[Text, ...] | Literal["any"], Meta(description="'any' or a list of sender IDs")
    ] = ("PindoTest",)
    bulk_limit: Count = 1000
    bulk_bad_number: Annotated[str, one_of(("reject", "partial"))] = "reject"
    inbound_order: Annotated[str, one_of(("newest_first", "oldest_first"))] = "newest_first"
    inbound_sender: Flag = False
    inbound_number: _PhoneNumber = "+250781113333"
    inbound_per_page_max: Count = 100
    inject_between_pages: Annotated[
        tuple[InboundSms, ...],
        Meta(description=f"a list of {INBOUND}, and perhaps after_page, an integer of 1 or more"),
    ] = ()
    first_id: Annotated[int, Meta(ge=1, lt=2**53, description="an integer of 1 or more, below 2**53")] = 1
    pin_ttl: Amount = 300.0
    pin_attempts: Count = 5
    pin_length: Annotated[int, Meta(ge=4, le=10, description="an integer from 4 to 10")] = 6
    pin: Annotated[str, Meta(pattern=r"^[0-9]{4,10}\Z", description="4 to 10 digits as a text")] | None = None
    wrong_code_status: Annotated[int, Meta(ge=400, le=499, description="a status from 400 to 499")] = 400
    requests_per_second: Annotated[float, Meta(gt=0, lt=1e9, description="a number above 0")] | None = None
    retry_after: Annotated[str, one_of(("seconds", "http_date", "none"))] = "seconds"
    latency: Amount = 0.0
    extra_keys: Flag = False
    keepalive_timeout: Amount | None = None
    webhook_url: _Url | None = None
    delivery_webhook_url: _Url | None = None
    sender_webhooks: Annotated[
        dict[Text, SenderWebhook],
        Meta(description="an object of sender IDs, or '*', each with {'url', 'method'?, 'headers'?}"),
    ] = {}
    older_forms: Flag = False
    sent_seconds: Amount = 0.0
    delivery_seconds: Amount = 1.0
    late_report_seconds: Amount = 60.0
    delivery_outcome: Annotated[str, one_of(OUTCOMES)] = "delivered"
    auto_reply: Text = "YES"

    def changed(self, changes: Mapping[str, Any]) -> Settings:
        """These settings with some changed.

        :raises ValueError: an unknown name, or a value that the setting does not take.
        """
        return msgspec.structs.replace(self, **check_fields(Settings, changes, "setting"))

    def webhook_for(self, kind: str, sender: str) -> SenderWebhook | None:
        """The webhook that takes a kind of event of a sender ID; None when the event goes nowhere."""
        if kind == "delivery_report":
            own = self.delivery_webhook_url
        else:
            by_sender = self.sender_webhooks.get(sender) or self.sender_webhooks.get("*")
            if by_sender is not None:
                return by_sender
            own = None
        url = own or self.webhook_url
        return None if url is None else SenderWebhook(url)

    def as_json(self) -> dict[str, Any]:
        """All settings by name, as JSON values."""
        settings: dict[str, Any] = msgspec.to_builtins(self)
        return settings


def first_id_from_clock() -> int:
    """A ``first_id`` above the ids of every earlier sandbox: the microseconds since 1970.

    No sandbox receives a message every microsecond, so ids never overtake the clock.
    """
    return time.time_ns() // 1000
