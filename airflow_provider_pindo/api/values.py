"""What Pindo answers, as immutable values.

Every value keeps ``raw``, the JSON object as it came, so a key that Pindo adds tomorrow is not lost. A
field is None when Pindo did not send it; only what a caller cannot do without is required.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SmsReceipt:
    """Pindo accepted one message for sending; accepted is not yet delivered."""

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
    """Pindo accepted a bulk request: totals only, it does not say which recipients it took."""

    count: int  #: recipients that were taken
    total: int | None = None  #: recipients in the request
    status: str | None = None
    item_price: float | None = None  #: USD
    remaining_balance: float | None = None  #: USD
    raw: Json = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Verification:
    """Pindo sent a PIN; ``request_id`` is what its check, its state and its cancellation are asked by."""

    request_id: int
    network: str | None = None  #: mobile network code, such as 63510
    remaining_balance: float | None = None  #: USD
    raw: Json = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class VerificationCheck:
    """The PIN was right."""

    request_id: int | None = None
    message: str | None = None
    remaining_balance: float | None = None  #: USD
    raw: Json = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class VerificationState:
    """State of a verification. Its shape is not published, so everything but ``raw`` may be None."""

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
    """One page of the inbound list, in the order in which Pindo gave it."""

    messages: tuple[InboundSms, ...]
    page: int | None = None
    pages: int | None = None  #: how many pages there are
    per_page: int | None = None
    total: int | None = None  #: messages on all pages
    left_out: int = 0  #: messages on this page without an id that can be read
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
