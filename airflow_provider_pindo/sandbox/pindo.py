"""Pindo's response to each call, without HTTP.

Every rule comes from the vendor's documentation or a public client, down to the quirks:

* A bulk body without ``sender`` gets 500 and ``{}``.
* A bulk response names no recipient.
* ``created_at`` of an inbound message has no zone.

Where nothing is published, :class:`~.settings.Settings` holds the choice. A refused request sends
no message and costs nothing.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from airflow_provider_pindo.api.limits import MAX_SENDER_LENGTH
from airflow_provider_pindo.api.segments import segments
from airflow_provider_pindo.sandbox import numbers
from airflow_provider_pindo.sandbox.clock import Clock
from airflow_provider_pindo.sandbox.events import Event, inbound_event
from airflow_provider_pindo.sandbox.settings import InboundSms, Settings
from airflow_provider_pindo.sandbox.store import (
    Inbound,
    InsufficientBalance,
    Message,
    Store,
    Verification,
    micros,
    usd,
)
from airflow_provider_pindo.sandbox.validation import NotBlank, in_utc, is_unicode

_ACCOUNT_ID = 11783
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_TO_CROCKFORD = bytes(ord(_CROCKFORD[byte % 32]) for byte in range(256))
# From the clock, so that they grow over restarts.
_older_ids = itertools.count(time.time_ns() // 1000)
_MENTION = re.compile(r"@contact\.(name|phone)\b")


class _SmsBody(msgspec.Struct):
    to: NotBlank
    text: NotBlank
    sender: NotBlank


class _BulkBody(msgspec.Struct):
    recipients: Annotated[list[Any], Meta(min_length=1)]
    text: Any = None
    sender: Any = None


class _BulkText(msgspec.Struct):
    text: NotBlank
    sender: NotBlank


class _VerifyBody(msgspec.Struct):
    brand: NotBlank
    number: NotBlank


class _CheckBody(msgspec.Struct):
    code: NotBlank
    request_id: int


class _VerificationPath(msgspec.Struct):
    request_id: Annotated[int, Meta(ge=0)]


class _InboundQuery(msgspec.Struct):
    page: Annotated[int, Meta(ge=1, lt=10**9)] = 1
    per_page: Annotated[int, Meta(ge=1, lt=10**9)] = 20


class _OrganisationBody(msgspec.Struct):
    name: NotBlank | UnsetType = UNSET
    webhook_url: Annotated[str, Meta(pattern=r"^(?:https?://[^/]|\Z)")] | UnsetType | None = UNSET
    sms_retries: int | UnsetType = UNSET


class _SenderIdBody(msgspec.Struct):
    sender_id: Annotated[NotBlank, Meta(max_length=MAX_SENDER_LENGTH)]
    countries: list[str]


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """A call as Pindo sees it: the variables of the path, the query, and the decoded body.

    :param number: its number in the log; None when it is in none.
    """

    path: Mapping[str, str] = dataclasses.field(default_factory=dict)
    query: Mapping[str, str] = dataclasses.field(default_factory=dict)
    body: Any = None
    base_url: str = ""
    number: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Response:
    """A status and the JSON value of the body."""

    status: int
    body: Any


class Refusal(Exception):
    """A request that Pindo refuses, with its response.

    :param body: by default an object with the ``message`` only.
    """

    def __init__(self, status: int, message: str, body: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.response = Response(status, body or {"message": message})


class Pindo:
    """The account: takes calls, keeps the store, announces events.

    :param store: its memory.
    :param settings: replace the attribute to change them.
    :param begin: called with accepted messages and the number of their request.
    :param announce: called with the event of each message that a phone sends.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        clock: Clock,
        begin: Callable[[list[Message], int | None], None],
        announce: Callable[[Event], None],
    ) -> None:
        self.store = store
        self.settings = settings
        self._clock = clock
        self._begin = begin
        self._announce = announce

    def respond(self, call: str, request: Request) -> Response:
        """The response to a call of :data:`~.calls.CALLS`."""
        rule: Callable[[Request], Response] = getattr(self, call)
        try:
            return rule(request)
        except Refusal as refusal:
            return refusal.response
        except msgspec.ValidationError as error:
            return Response(400, {"message": f"invalid JSON body or query: {error}"})
        except InsufficientBalance:
            status = self.settings.insufficient_balance_status
            return Response(status, {"message": "insufficient balance"})

    # -- sending

    def send_sms(self, request: Request) -> Response:
        """``POST /v1/sms/``: one message to one phone."""
        body = msgspec.convert(request.body, _SmsBody)
        self._check_sender("sender", body.sender)
        self._check_number(body.to)
        message = self._message(
            body.to, body.text, body.sender, "sms", self._sms_ids(1)[0], self._clock.iso()
        )
        self.store.accept([message], message.total_cost)
        self._begin([message], request.number)
        return Response(
            201,
            {
                "bonus": self.settings.bonus,
                "discount": self.settings.discount,
                "item_count": message.item_count,
                "item_price": self.settings.item_price,
                "remaining_balance": usd(self.store.balance),
                "self_url": f"{request.base_url}/v1/sms/{message.sms_id}",
                "sms_id": message.sms_id,
                "status": "sent",
                "to": message.to,
                "total_cost": usd(message.total_cost),
            },
        )

    def send_bulk_sms(self, request: Request) -> Response:
        """``POST /v1/sms/bulk``: one text to many phones. The response has totals only."""
        body = msgspec.convert(request.body, _BulkBody)
        recipients = body.recipients
        if len(recipients) > self.settings.bulk_limit:
            raise Refusal(413, f"at most {self.settings.bulk_limit} recipients in one request")
        if not body.sender or not all(
            isinstance(recipient, dict) and recipient.get("phonenumber") for recipient in recipients
        ):
            return Response(500, {})  # Pindo's response when `sender` is missing or `phonenumber` misspelt
        content = msgspec.convert(request.body, _BulkText)
        self._check_sender("sender", content.sender)
        messages = self._bulk_messages(self._deliverable(recipients), content.text, content.sender)
        self.store.accept(messages, sum(message.total_cost for message in messages))
        self._begin(messages, request.number)
        return Response(
            201,
            {
                "bonus": self.settings.bonus,
                "count": len(messages),
                "discount": self.settings.discount,
                "item_price": self.settings.item_price,
                "network": numbers.network_code(messages[0].to),
                "remaining_balance": usd(self.store.balance),
                "status": "sent",
                "total": len(recipients),
            },
        )

    def _deliverable(self, recipients: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
        """The number and name of each recipient that Pindo delivers to.

        A bad number is a 409 for the whole request. The setting ``bulk_bad_number`` can leave it out
        instead; the request gets a 409 when no number is good.
        """
        good: list[tuple[str, str | None]] = []
        refusal = None
        for recipient in recipients:
            number, name = recipient["phonenumber"], recipient.get("name")
            if isinstance(name, str) and not is_unicode(name):
                raise Refusal(400, "name is not valid Unicode")
            try:
                self._check_number(number)
            except Refusal as error:
                refusal = error
                if self.settings.bulk_bad_number == "reject":
                    raise
            else:
                good.append((number, name if isinstance(name, str) and name else None))
        if refusal is not None and not good:
            raise refusal
        return good

    def _bulk_messages(
        self, recipients: list[tuple[str, str | None]], text: str, sender: str
    ) -> list[Message]:
        """One message for each recipient, with the mentions filled in."""
        created_at, ids = self._clock.iso(), self._sms_ids(len(recipients))
        if not _MENTION.search(text):
            first = self._message(recipients[0][0], text, sender, "bulk", ids[0], created_at)
            return [
                first._replace(to=to, name=name, sms_id=sms_id)
                for (to, name), sms_id in zip(recipients, ids, strict=True)
            ]
        return [
            self._message(to, fill(text, to, name), sender, "bulk", sms_id, created_at)._replace(name=name)
            for (to, name), sms_id in zip(recipients, ids, strict=True)
        ]

    def _message(self, to: str, text: str, sender: str, kind: str, sms_id: str, created_at: str) -> Message:
        size = segments(text)
        cost = size.count * micros(self.settings.item_price)
        return Message(sms_id, to, None, text, sender, kind, created_at, size.encoding, size.count, cost)

    def _sms_ids(self, count: int) -> list[str]:
        return sms_ids(count, self.settings.older_forms)

    def _check_number(self, number: Any) -> None:
        problem = (
            numbers.number_check(self.settings.supported_countries)(number)
            if isinstance(number, str)
            else numbers.WRONG_FORMAT
        )
        if problem is None and number in self.settings.rejected_numbers:
            problem = numbers.UNSUPPORTED_TELCO
        if problem is not None:
            raise Refusal(409, problem)

    def _check_sender(self, key: str, sender: str) -> None:
        """Refuse a sender ID that the account may not use, in the words that Pindo was seen to use."""
        if len(sender) > MAX_SENDER_LENGTH:
            raise Refusal(400, f"{key} must have at most {MAX_SENDER_LENGTH} characters")
        approved = self.settings.approved_senders
        if approved != "any" and sender not in approved and not self.store.has_sender_id(sender):
            reason = f"Unknown sender id {sender}"
            raise Refusal(409, reason, {"error": reason, "message": reason, "status": 409})

    # -- verification

    def verify(self, request: Request) -> Response:
        """``POST /v1/sms/verify``: text a PIN. It is paid for when the right code is checked."""
        body = msgspec.convert(request.body, _VerifyBody)
        brand, number = body.brand, body.number
        self._check_sender("brand", brand)
        self._check_number(number)
        if self.store.balance < micros(self.settings.item_price):
            raise InsufficientBalance
        request_id = self.store.next_request_id(self.settings.first_id)
        pin = self.settings.pin or _random_pin(self.settings.pin_length)
        expires_at = self._clock.time() + self.settings.pin_ttl
        text = f"Your {brand} verification code is {pin}"
        message = self._message(number, text, brand, "pin", self._sms_ids(1)[0], self._clock.iso())
        message = message._replace(total_cost=0, pin=pin, request_id=request_id)
        self.store.start_verification(
            Verification(request_id, number, brand, pin, "pending", 0, expires_at), message
        )
        self._begin([message], request.number)
        return Response(
            201,
            {
                "message": "success",
                "network": numbers.network_code(number),
                "remaining_balance": usd(self.store.balance),
                "request_id": request_id,
            },
        )

    def check_verification(self, request: Request) -> Response:
        """``POST /v1/sms/verify/check``: compare a code. A wrong one uses up an attempt."""
        body = msgspec.convert(request.body, _CheckBody)
        verification = self._verification(body.request_id)
        request_id, status = verification.request_id, self.settings.wrong_code_status
        if verification.status != "pending":
            raise Refusal(status, f"verification is {verification.status}")
        if verification.attempts >= self.settings.pin_attempts:
            raise Refusal(status, "too many attempts")
        if body.code != verification.pin:
            self.store.set_verification(request_id, "pending", verification.attempts + 1)
            raise Refusal(status, "wrong code")
        self.store.complete_verification(request_id, micros(self.settings.item_price))
        return Response(
            200,
            {"message": "success", "remaining_balance": usd(self.store.balance), "request_id": request_id},
        )

    def get_verification(self, request: Request) -> Response:
        """``GET /v1/sms/verify/status/:request_id``: the state of a verification."""
        return Response(200, _verification_body(self._verification_of(request)))

    def cancel_verification(self, request: Request) -> Response:
        """``PUT /v1/sms/verify/cancel/:request_id``: its code is no longer valid."""
        verification = self._verification_of(request)
        if verification.status != "pending":
            raise Refusal(409, f"verification is {verification.status}")
        self.store.set_verification(verification.request_id, "cancelled", verification.attempts)
        return Response(200, _verification_body(verification._replace(status="cancelled")))

    def _verification_of(self, request: Request) -> Verification:
        return self._verification(
            msgspec.convert(dict(request.path), _VerificationPath, strict=False).request_id
        )

    def _verification(self, request_id: int) -> Verification:
        verification = self.store.verification(request_id)
        if verification is None:
            raise Refusal(404, "no such verification")
        if verification.status == "pending" and self._clock.time() >= verification.expires_at:
            self.store.set_verification(request_id, "expired", verification.attempts)
            return verification._replace(status="expired")
        return verification

    # -- inbound

    def list_inbound_sms(self, request: Request) -> Response:
        """``GET /v1/sms/inbounds``: one page. Pages after the last are empty."""
        query = msgspec.convert(dict(request.query), _InboundQuery, strict=False)
        page, per_page = query.page, min(query.per_page, self.settings.inbound_per_page_max)
        newest_first = self.settings.inbound_order == "newest_first"
        messages, total = self.store.inbound_page(newest_first, per_page, (page - 1) * per_page)
        response = Response(
            200,
            {
                "inbound_sms": [self._inbound_body(message) for message in messages],
                "pages": {"page": page, "pages": -(-total // per_page), "per_page": per_page, "total": total},
            },
        )
        self._inject_after(page)
        return response

    def _inbound_body(self, message: Inbound) -> dict[str, Any]:
        naive = datetime.fromisoformat(message.created_at).astimezone(UTC).replace(tzinfo=None)
        body = {
            "account_id": _ACCOUNT_ID,
            "conversation_id": None,
            "created_at": naive.isoformat(timespec="microseconds"),
            "id": message.id,
            "inbound_sms_number": message.recipient,
            "text": message.text,
        }
        return {**body, "from": message.sender} if self.settings.inbound_sender else body

    def _inject_after(self, page: int) -> None:
        waiting = self.settings.inject_between_pages
        due = [message for message in waiting if (message.after_page or 1) == page]
        if due:
            later = tuple(message for message in waiting if message not in due)
            self.settings = msgspec.structs.replace(self.settings, inject_between_pages=later)
            self.receive(due)

    def receive(self, messages: Iterable[InboundSms]) -> list[Inbound]:
        """Take messages that phones send to the account."""
        now = self._clock.iso()
        rows = (
            (
                message.sender,
                message.to or self.settings.inbound_number,
                message.text,
                in_utc(message.created_at or now).isoformat(timespec="microseconds"),
            )
            for message in messages
        )
        received = self.store.add_inbound(rows, self.settings.first_id)
        for message in received:
            self._announce(inbound_event(message))
        return received

    # -- the account

    def get_balance(self, request: Request) -> Response:
        """``GET /wallets/self``: USD in the wallet."""
        return Response(200, {"amount": usd(self.store.balance)})

    def get_organisation(self, request: Request) -> Response:
        """``GET /orgs/self/``: the organisation's name and webhook."""
        organisation = {
            "id": _ACCOUNT_ID,
            "name": "Sandbox",
            "sms_retries": 3,
            "webhook_url": self.settings.webhook_url,
        }
        return Response(200, {**organisation, **self.store.organisation})

    def update_organisation(self, request: Request) -> Response:
        """``PUT /orgs/self``: change the name, the webhook's address or the retries."""
        changes = msgspec.to_builtins(msgspec.convert(request.body, _OrganisationBody))
        if "webhook_url" in changes:
            webhook_url = changes.pop("webhook_url") or None
            self.settings = msgspec.structs.replace(self.settings, webhook_url=webhook_url)
        self.store.set_organisation({**self.store.organisation, **changes})
        return self.get_organisation(request)

    def list_sender_ids(self, request: Request) -> Response:
        """``GET /sender_ids/?name=…``: the sender IDs that may send; with ``name``, only that one."""
        approved = self.settings.approved_senders
        countries = list(self.settings.supported_countries)
        senders = [] if approved == "any" else [(0, sender, countries) for sender in approved]
        name = request.query.get("name")
        return Response(
            200,
            [
                {"id": number, "sender_id": sender, "countries": countries, "status": "approved"}
                for number, sender, countries in senders + self.store.sender_ids()
                if name is None or sender == name
            ],
        )

    def request_sender_id(self, request: Request) -> Response:
        """``POST /sender_ids``: request a sender ID. The sandbox approves it at once."""
        body = msgspec.convert(request.body, _SenderIdBody)
        self.store.add_sender_id(body.sender_id, body.countries)
        return Response(201, {**msgspec.structs.asdict(body), "status": "approved"})

    def get_analytics(self, request: Request) -> Response:
        """``GET /v2/sms/analytics``: messages and cost by day. The response's shape is not published."""
        days = [
            {"date": day, "count": count, "total_cost": usd(cost)}
            for day, count, cost in self.store.sent_by_day()
            if day >= request.query.get("start", "")
        ]
        return Response(200, {"timeframe": request.query.get("timeframe", "30d"), "data": days})


def fill(text: str, number: str, name: str | None) -> str:
    """Fill in the mentions that a bulk request has values for: the name and the number.

    A mention without a value stays as it is, so that the phone shows that something is missing. So do
    other fields, which belong to stored contacts.
    """
    values = {"name": name, "phone": number}
    return _MENTION.sub(lambda match: values[match[1]] or match[0], text)


def sms_ids(count: int, older: bool = False) -> list[str]:
    """New message ids in Pindo's form: ``out_sms_`` and a ULID (48 bits of time, 80 random ones).

    :param older: whether they are digits, as before 2023-08.
    """
    if older:
        return [str(next(_older_ids)) for _ in range(count)]
    milliseconds = time.time_ns() // 1_000_000
    stamp = "".join(_CROCKFORD[milliseconds >> shift & 31] for shift in range(45, -1, -5))
    random = os.urandom(16 * count).translate(_TO_CROCKFORD).decode()
    return [f"out_sms_{stamp}{random[start : start + 16]}" for start in range(0, 16 * count, 16)]


def numbers_in(body: Any) -> set[str]:
    """The phone numbers in a request's body, which a fault can name."""
    if not isinstance(body, dict):
        return set()
    recipients = body.get("recipients")
    values = [body.get("to"), body.get("number")]
    if isinstance(recipients, list):
        values += [recipient.get("phonenumber") for recipient in recipients if isinstance(recipient, dict)]
    return {value for value in values if isinstance(value, str)}


def _verification_body(verification: Verification) -> dict[str, Any]:
    return {key: getattr(verification, key) for key in ("request_id", "status", "number", "brand")}


def _random_pin(length: int) -> str:
    return "".join(secrets.choice("0123456789") for _ in range(length))
