"""What Pindo answers to each call, without any HTTP.

Every rule here is one of the vendor's documentation or a public client's, down to the quirks: a bulk
body without ``sender`` gets 500 and ``{}``, a bulk answer names no recipient, ``created_at`` of an inbound
message has no zone. Where nothing is published, :class:`~.settings.Settings` holds the choice. What is
refused has no effect: no message, no cost.
"""

from __future__ import annotations

import dataclasses
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from airflow_provider_pindo.api.limits import MAX_SENDER_LENGTH
from airflow_provider_pindo.api.segments import segments
from airflow_provider_pindo.sandbox import numbers
from airflow_provider_pindo.sandbox.settings import Settings, in_utc, is_unicode
from airflow_provider_pindo.sandbox.store import (
    Inbound,
    InsufficientBalance,
    Message,
    Store,
    Verification,
    micros,
    usd,
)

#: The calls by name, each with its method and its path exactly as Pindo spells it, slashes included.
CALLS: dict[str, tuple[str, str]] = {
    "send_sms": ("POST", "/v1/sms/"),
    "send_bulk_sms": ("POST", "/v1/sms/bulk"),
    "verify": ("POST", "/v1/sms/verify"),
    "check_verification": ("POST", "/v1/sms/verify/check"),
    "get_verification": ("GET", "/v1/sms/verify/status/{request_id}"),
    "cancel_verification": ("PUT", "/v1/sms/verify/cancel/{request_id}"),
    "list_inbound_sms": ("GET", "/v1/sms/inbounds"),
    "get_balance": ("GET", "/wallets/self"),
    "get_organisation": ("GET", "/orgs/self/"),
    "update_organisation": ("PUT", "/orgs/self"),
    "list_sender_ids": ("GET", "/sender_ids/"),
    "request_sender_id": ("POST", "/sender_ids"),
    "get_analytics": ("GET", "/v2/sms/analytics"),
}
#: Those with a JSON body.
CALLS_WITH_BODY = frozenset(
    {"send_sms", "send_bulk_sms", "verify", "check_verification", "update_organisation", "request_sender_id"}
)

_ACCOUNT_ID = 11783
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_TO_CROCKFORD = bytes(ord(_CROCKFORD[byte % 32]) for byte in range(256))
_mention = re.compile(r"@contact\.(name|phone)\b")


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """A call as Pindo sees it: the parts of the path and the query, and the decoded body."""

    path: Mapping[str, str] = dataclasses.field(default_factory=dict)
    query: Mapping[str, str] = dataclasses.field(default_factory=dict)
    body: Any = None
    base_url: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Response:
    """A status and a body to be sent as JSON."""

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

    :param store: what it remembers.
    :param settings: the switches; replace the attribute to change them.
    :param announce: called with the body of each webhook event, in the order in which they happen.
    """

    def __init__(self, store: Store, settings: Settings, announce: Callable[[dict[str, Any]], None]) -> None:
        self.store = store
        self.settings = settings
        self._announce = announce

    def respond(self, call: str, request: Request) -> Response:
        """What Pindo answers to a call of :data:`CALLS`."""
        rule: Callable[[Request], Response] = getattr(self, call)
        try:
            return rule(request)
        except Refusal as refusal:
            return refusal.response
        except InsufficientBalance:
            status = self.settings.insufficient_balance_status
            return Response(status, {"message": "insufficient balance"})

    # -- sending

    def send_sms(self, request: Request) -> Response:
        """``POST /v1/sms/``: one message to one phone."""
        body = _object(request.body)
        to, text, sender = _text(body, "to"), _text(body, "text"), _text(body, "sender")
        self._check_sender("sender", sender)
        self._check_number(to)
        message = self._message(to, text, sender, "sms", sms_ids(1)[0], now())
        self.store.accept([message], message.total_cost)
        self._announce_sent([message])
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
                "to": to,
                "total_cost": usd(message.total_cost),
            },
        )

    def send_bulk_sms(self, request: Request) -> Response:
        """``POST /v1/sms/bulk``: one text to many phones, answered with totals only."""
        body = _object(request.body)
        recipients = body.get("recipients")
        if not isinstance(recipients, list) or not recipients:
            raise Refusal(400, "recipients must be a list with at least one recipient")
        if len(recipients) > self.settings.bulk_limit:
            raise Refusal(413, f"at most {self.settings.bulk_limit} recipients in one request")
        if not body.get("sender") or not all(
            isinstance(one, dict) and one.get("phonenumber") for one in recipients
        ):
            return Response(500, {})  # what Pindo does when `sender` is left out or `phonenumber` misspelt
        text, sender = _text(body, "text"), _text(body, "sender")
        self._check_sender("sender", sender)
        good = self._deliverable(recipients)
        messages = self._bulk_messages(good, text, sender)
        self.store.accept(messages, sum(message.total_cost for message in messages))
        self._announce_sent(messages)
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
        """The number and name of each recipient that can be delivered to.

        One that cannot is a 409 for the whole request, unless the setting says to leave it out; that is
        a 409 too when nobody is left.
        """
        good: list[tuple[str, str | None]] = []
        refusal = None
        for recipient in recipients:
            number, name = recipient["phonenumber"], recipient.get("name")
            _check_unicode("name", name)
            try:
                self._check_number(number)
            except Refusal as found:
                refusal = found
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
        created_at, ids = now(), sms_ids(len(recipients))
        if not _mention.search(text):
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
        """``POST /v1/sms/verify``: text a PIN. It is paid for when the right code comes back."""
        body = _object(request.body)
        brand, number = _text(body, "brand"), _text(body, "number")
        self._check_sender("brand", brand)
        self._check_number(number)
        if self.store.balance < micros(self.settings.item_price):
            raise InsufficientBalance
        request_id = self.store.next_request_id(self.settings.first_id)
        pin = self.settings.pin or _random_pin(self.settings.pin_length)
        expires_at = time.time() + self.settings.pin_ttl
        text = f"Your {brand} verification code is {pin}"
        message = self._message(number, text, brand, "pin", sms_ids(1)[0], now())
        message = message._replace(total_cost=0, pin=pin, request_id=request_id)
        self.store.start_verification(
            Verification(request_id, number, brand, pin, "pending", 0, expires_at), message
        )
        self._announce_sent([message])
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
        """``POST /v1/sms/verify/check``: is this the code? A wrong one burns an attempt."""
        body = _object(request.body)
        code, request_id = _text(body, "code"), body.get("request_id")
        if not isinstance(request_id, int) or isinstance(request_id, bool):
            raise Refusal(400, "request_id must be an integer")
        found = self._verification(request_id)
        status = self.settings.wrong_code_status
        if found.status != "pending":
            raise Refusal(status, f"verification is {found.status}")
        if found.attempts >= self.settings.pin_attempts:
            raise Refusal(status, "too many attempts")
        if code != found.pin:
            self.store.set_verification(request_id, "pending", found.attempts + 1)
            raise Refusal(status, "wrong code")
        self.store.complete_verification(request_id, micros(self.settings.item_price))
        return Response(
            200,
            {"message": "success", "remaining_balance": usd(self.store.balance), "request_id": request_id},
        )

    def get_verification(self, request: Request) -> Response:
        """``GET /v1/sms/verify/status/:request_id``: where a verification stands."""
        return Response(200, _verification_body(self._verification(_path_id(request))))

    def cancel_verification(self, request: Request) -> Response:
        """``PUT /v1/sms/verify/cancel/:request_id``: its code is worth nothing from now on."""
        found = self._verification(_path_id(request))
        if found.status != "pending":
            raise Refusal(409, f"verification is {found.status}")
        self.store.set_verification(found.request_id, "cancelled", found.attempts)
        return Response(200, _verification_body(found._replace(status="cancelled")))

    def _verification(self, request_id: int) -> Verification:
        found = self.store.verification(request_id)
        if found is None:
            raise Refusal(404, "no such verification")
        if found.status == "pending" and time.time() >= found.expires_at:
            self.store.set_verification(request_id, "expired", found.attempts)
            return found._replace(status="expired")
        return found

    # -- inbound

    def list_inbound_sms(self, request: Request) -> Response:
        """``GET /v1/sms/inbounds``: one page. A page beyond the last is empty."""
        page = _positive(request.query, "page", 1)
        per_page = min(_positive(request.query, "per_page", 20), self.settings.inbound_per_page_max)
        newest_first = self.settings.inbound_order == "newest_first"
        found, total = self.store.inbound_page(newest_first, per_page, (page - 1) * per_page)
        response = Response(
            200,
            {
                "inbound_sms": [self._inbound_body(message) for message in found],
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
        due = [message for message in waiting if (message.get("after_page") or 1) == page]
        if due:
            later = tuple(message for message in waiting if message not in due)
            self.settings = self.settings.changed({"inject_between_pages": later})
            self.receive(due)

    def receive(self, messages: Iterable[Mapping[str, Any]]) -> list[Inbound]:
        """Phones text the account.

        :param messages: each such that :func:`~.settings.is_inbound`; ``to`` defaults to the account's
            number, ``created_at`` (ISO; without a zone it is UTC) to now.
        """
        rows = (
            (
                message["from"],
                message.get("to") or self.settings.inbound_number,
                message["text"],
                _iso(in_utc(message["created_at"])) if message.get("created_at") else now(),
            )
            for message in messages
        )
        received = self.store.add_inbound(rows, self.settings.first_id)
        for message in received:
            self._announce(
                {
                    "from": message.sender,
                    "to": message.recipient,
                    "created_at": datetime.fromisoformat(message.created_at).strftime("%d-%m-%Y, %H:%M:%S"),
                    "sms_id": message.id,
                    "text": message.text,
                    "telco": numbers.telco(message.sender),
                }
            )
        return received

    # -- the account

    def get_balance(self, request: Request) -> Response:
        """``GET /wallets/self``: USD left."""
        return Response(200, {"amount": usd(self.store.balance)})

    def get_organisation(self, request: Request) -> Response:
        """``GET /orgs/self/``: the organisation's name and webhook."""
        known = {
            "id": _ACCOUNT_ID,
            "name": "Sandbox",
            "sms_retries": 3,
            "webhook_url": self.settings.webhook_url,
        }
        return Response(200, {**known, **self.store.organisation})

    def update_organisation(self, request: Request) -> Response:
        """``PUT /orgs/self``: change the name, the webhook's address or the retries."""
        body = _object(request.body)
        kept, settings = self.store.organisation, self.settings
        if "webhook_url" in body:
            try:
                settings = settings.changed({"webhook_url": body["webhook_url"] or None})
            except ValueError as error:
                raise Refusal(400, str(error)) from None
        if "name" in body:
            kept["name"] = _text(body, "name")
        if "sms_retries" in body:
            if not isinstance(body["sms_retries"], int):
                raise Refusal(400, "sms_retries must be an integer")
            kept["sms_retries"] = body["sms_retries"]
        self.settings = settings
        self.store.set_organisation(kept)
        return self.get_organisation(request)

    def list_sender_ids(self, request: Request) -> Response:
        """``GET /sender_ids/?name=…``: the sender IDs that may send; with ``name``, that one."""
        asked_for = self.store.sender_ids()
        approved = self.settings.approved_senders
        given = [(0, name, list(self.settings.supported_countries)) for name in approved if approved != "any"]
        wanted = request.query.get("name")
        return Response(
            200,
            [
                {"id": number, "sender_id": name, "countries": countries, "status": "approved"}
                for number, name, countries in given + asked_for
                if wanted is None or name == wanted
            ],
        )

    def request_sender_id(self, request: Request) -> Response:
        """``POST /sender_ids``: ask for a sender ID. The sandbox approves it on the spot."""
        body = _object(request.body)
        sender, countries = _text(body, "sender_id"), body.get("countries")
        if len(sender) > MAX_SENDER_LENGTH:
            raise Refusal(400, f"sender_id must have at most {MAX_SENDER_LENGTH} characters")
        if not isinstance(countries, list) or not all(isinstance(code, str) for code in countries):
            raise Refusal(400, "countries must be a list of country codes")
        self.store.add_sender_id(sender, countries)
        return Response(201, {"sender_id": sender, "countries": countries, "status": "approved"})

    def get_analytics(self, request: Request) -> Response:
        """``GET /v2/sms/analytics``: messages and cost by day. The published page names no answer's shape."""
        days = [
            {"date": day, "count": count, "total_cost": usd(cost)}
            for day, count, cost in self.store.sent_by_day()
            if day >= request.query.get("start", "")
        ]
        return Response(200, {"timeframe": request.query.get("timeframe", "30d"), "data": days})

    def _announce_sent(self, messages: Iterable[Message]) -> None:
        """The two events that follow a message: it left, and the network's delivery report."""
        if self.settings.webhook_url is None:
            return
        for message in messages:
            at = message.created_at[:19]
            self._announce(
                {
                    "id": message.sms_id,
                    "text": message.text,
                    "sender": message.sender,
                    "created_at": at,
                    "to": message.to,
                }
            )
            self._announce(
                {
                    "sms_id": message.sms_id,
                    "modified_at": at,
                    "retries_count": 0,
                    "status": self.settings.delivery_status,
                }
            )


def fill(text: str, number: str, name: str | None) -> str:
    """A text with the mentions that the bulk call can fill: the name and the number.

    A mention without a value stays as it is written, as do other fields, which belong to stored contacts:
    the phone then shows that something is missing.
    """
    values = {"name": name, "phone": number}
    return _mention.sub(lambda found: values[found[1]] or found[0], text)


def sms_ids(count: int) -> list[str]:
    """New message ids as Pindo's look: ``out_sms_`` and a ULID (48 bits of time, 80 of chance)."""
    milliseconds = time.time_ns() // 1_000_000
    stamp = "".join(_CROCKFORD[milliseconds >> shift & 31] for shift in range(45, -1, -5))
    chance = os.urandom(16 * count).translate(_TO_CROCKFORD).decode()
    return [f"out_sms_{stamp}{chance[start : start + 16]}" for start in range(0, 16 * count, 16)]


def now() -> str:
    """Return the current time as ISO text: aware, UTC, with microseconds."""
    return _iso(datetime.now(UTC))


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")


def numbers_in(body: Any) -> set[str]:
    """The phone numbers that a request's body is about, which faults can be aimed at."""
    if not isinstance(body, dict):
        return set()
    recipients = body.get("recipients")
    found = [body.get("to"), body.get("number")]
    found += (
        [one.get("phonenumber") for one in recipients if isinstance(one, dict)]
        if isinstance(recipients, list)
        else []
    )
    return {number for number in found if isinstance(number, str)}


def _verification_body(found: Verification) -> dict[str, Any]:
    return {
        "request_id": found.request_id,
        "status": found.status,
        "number": found.number,
        "brand": found.brand,
    }


def _random_pin(length: int) -> str:
    return "".join(secrets.choice("0123456789") for _ in range(length))


def _object(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise Refusal(400, "body must be a JSON object, with Content-Type: application/json")
    return body


def _text(body: Mapping[str, Any], key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str) or not value.strip():
        raise Refusal(400, f"{key} must be a text that is not empty")
    _check_unicode(key, value)
    return value


def _check_unicode(key: str, value: Any) -> None:
    if isinstance(value, str) and not is_unicode(value):
        raise Refusal(400, f"{key} is not valid Unicode")


def _path_id(request: Request) -> int:
    digits = request.path["request_id"]
    if not (digits.isascii() and digits.isdigit()):
        raise Refusal(400, "request_id must be an integer")
    return int(digits[:19])


def _positive(query: Mapping[str, str], key: str, default: int) -> int:
    digits = query.get(key, str(default))
    if not (digits.isascii() and digits.isdigit() and len(digits) < 10 and int(digits) > 0):
        raise Refusal(400, f"{key} must be an integer of 1 or more")
    return int(digits)
