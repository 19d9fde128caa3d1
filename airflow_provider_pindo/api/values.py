"""What Pindo returns, as immutable values.

Every value keeps ``raw``, the JSON object as it came, so no key that Pindo adds is lost. A field is None when Pindo did
not send it; only a field that every caller needs is required.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SmsReceipt:
    """Pindo accepted one message; it is not yet delivered."""

    sms_id: str
    to: str | None = field(default=None, repr=False)
    status: str | None = None
    item_count: int | None = None  #: segments
    item_price: float | None = None  #: USD for each segment
    total_cost: float | None = None  #: USD
    remaining_balance: float | None = None  #: USD
    raw: Json = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class BulkReceipt:
    """Pindo accepted a bulk request. It returns only totals, and not which recipients it accepted."""

    count: int  #: recipients that Pindo accepted
    total: int | None = None  #: recipients in the request
    status: str | None = None
    item_price: float | None = None  #: USD
    remaining_balance: float | None = None  #: USD
    raw: Json = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Verification:
    """Pindo sent a PIN; ``request_id`` identifies it when it is checked or cancelled."""

    request_id: int
    network: str | None = None  #: mobile network code, such as 63510
    remaining_balance: float | None = None  #: USD
    raw: Json = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class VerificationCheck:
    """The PIN was correct."""

    request_id: int | None = None
    message: str | None = None
    remaining_balance: float | None = None  #: USD
    raw: Json = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class VerificationState:
    """State of a verification. Its shape is not published, so every field but ``raw`` may be None."""

    request_id: int | None = None
    status: str | None = None
    raw: Json = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class InboundSms:
    """A message that somebody sent to one of the account's numbers."""

    id: int
    text: str = field(repr=False)
    created_at: datetime  #: aware, UTC
    inbound_sms_number: str | None = field(default=None, repr=False)
    from_number: str | None = field(default=None, repr=False)  #: the published list does not name it
    raw: Json = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class InboundPage:
    """One page of the inbound list, in Pindo's order."""

    messages: tuple[InboundSms, ...]
    page: int | None = None
    pages: int | None = None  #: how many pages there are
    per_page: int | None = None
    total: int | None = None  #: messages on all pages
    left_out: int = 0  #: messages on this page without a numeric id
    raw: Json = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Balance:
    """What is in the account's wallet, in USD."""

    amount: float
    raw: Json = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class SenderId:
    """A sender ID of the account."""

    sender_id: str | None = None
    status: str | None = None
    raw: Json = field(default_factory=dict, repr=False)
