"""Requests to Pindo as values, checked before they are sent.

A :class:`Call` has everything that a transport needs: what to send, how to parse the response, whether the call may be
repeated, and what a lost response means. Bad input (an empty text, a sender ID of 16 characters) is refused here, so
neither hook has checks of its own.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import msgspec

from airflow_provider_pindo.api import values
from airflow_provider_pindo.api.arguments import (
    check_characters,
    check_code,
    check_request_id,
    check_sender,
    check_text,
    check_whole_number,
)
from airflow_provider_pindo.api.cells import FORMULA_ERRORS, text_of
from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.mentions import FILLED_BY_PINDO, Template, has_mention
from airflow_provider_pindo.api.parsers import (
    read_balance,
    read_bulk_receipt,
    read_inbound_page,
    read_sender_ids,
    read_sms_receipt,
    read_verification,
    read_verification_check,
    read_verification_state,
)
from airflow_provider_pindo.api.phone import mask_numbers_in, parse_phone_number

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request to Pindo.

    :param name: the hook method that makes it, for logs and errors.
    :param method: HTTP method.
    :param path: path below the host. The trailing slash matters: ``POST /v1/sms`` is redirected.
    :param read: parses the decoded body of a 2xx response.
    :param json: body, or None.
    :param params: query parameters, or None.
    :param safe_to_repeat: whether two requests have the same effect as one. A call that is not safe to repeat is
        repeated only when it certainly did not arrive.
    :param if_lost: what may have happened when the response is lost, as one sentence without a full stop.
    :param private: takes Pindo's error message, and returns the texts and PINs that no log or error may repeat.
    """

    name: str
    method: str
    path: str
    read: Callable[[Any], T]
    json: Mapping[str, Any] | None = field(default=None, repr=False)
    params: Mapping[str, Any] | None = field(default=None, repr=False)
    safe_to_repeat: bool = False
    if_lost: str = "It may have been carried out"
    private: Callable[[str], Sequence[str]] = field(default=lambda message: (), repr=False)

    @property
    def has_id(self) -> bool:
        """Whether it names a verification, which may not exist."""
        return "/verify/" in self.path

    def content(self) -> bytes | None:
        """Return the body as UTF-8 JSON, or None when there is no body."""
        if self.json is None:
            return None
        return msgspec.json.encode(self.json)


def send_sms(
    to: str, text: str, sender: str | None, *, country: str | None = None
) -> Call[values.SmsReceipt]:
    """``POST /v1/sms/``: send one message."""
    return send_checked_sms(parse_phone_number(to, country), check_text(text), check_sender(sender))


def send_checked_sms(to: str, text: str, sender: str) -> Call[values.SmsReceipt]:
    """``POST /v1/sms/`` for arguments that are already checked."""
    return Call(
        "send_sms",
        "POST",
        "/v1/sms/",
        read_sms_receipt,
        json={"to": to, "text": text, "sender": sender},
        if_lost="The message may have been sent",
        private=lambda message: (text,),
    )


def send_bulk_sms(
    recipients: Iterable[str | Mapping[str, Any]],
    text: str,
    sender: str | None,
    *,
    country: str | None = None,
) -> Call[values.BulkReceipt]:
    """``POST /v1/sms/bulk``: send one text to many; Pindo fills ``@contact.name`` for each."""
    if isinstance(recipients, str | bytes | Mapping) or not isinstance(recipients, Iterable):
        raise PindoConfigurationError(
            f"recipients is of type {type(recipients).__name__}: give a list of numbers, or of mappings with "
            "'phonenumber'"
        )
    template = Template(check_text(text))
    if template.is_personal:
        field = next(field for field in template.fields if field not in FILLED_BY_PINDO)
        raise PindoConfigurationError(
            f"the text mentions @contact.{field}, and Pindo fills only @contact.name in a bulk request: use "
            "PindoSendBulkSmsOperator, which fills every field, or leave the mention out"
        )
    checked = [
        _bulk_recipient(f"recipient {row}", recipient, template, country)
        for row, recipient in enumerate(recipients, start=1)
    ]
    if not checked:
        raise PindoConfigurationError("recipients is empty: a bulk request needs at least one")
    return send_checked_bulk_sms(checked, text, check_sender(sender))


def send_checked_bulk_sms(
    recipients: Sequence[Mapping[str, str]], text: str, sender: str
) -> Call[values.BulkReceipt]:
    """``POST /v1/sms/bulk`` for recipients that are already checked."""
    return Call(
        "send_bulk_sms",
        "POST",
        "/v1/sms/bulk",
        read_bulk_receipt,
        # Without "sender", or with "phoneNumber" for "phonenumber", Pindo responds with 500 and an empty object.
        json={"recipients": recipients, "text": text, "sender": sender},
        if_lost="The messages may have been sent",
        private=lambda message: (text, *_filled_texts(text, recipients, message)),
    )


def _filled_texts(text: str, recipients: Sequence[Mapping[str, str]], message: str) -> Sequence[str]:
    """Return ``text`` as Pindo fills it, for each recipient whose name is in Pindo's ``message``."""
    if "@contact.name" not in text:
        return ()
    message = message.casefold()
    names = dict.fromkeys(recipient["name"] for recipient in recipients)
    return [text.replace("@contact.name", name) for name in names if name and name.casefold() in message]


def _bulk_recipient(
    who: str, recipient: str | Mapping[str, Any], template: Template, country: str | None
) -> dict[str, str]:
    """Return a recipient as the request has it.

    :param who: which recipient it is, for errors.
    """
    if not isinstance(recipient, Mapping):
        recipient = {"phonenumber": recipient}
    if "phonenumber" not in recipient:
        keys = ", ".join(map(repr, recipient)) or "none"
        raise PindoConfigurationError(
            f"{who} has no 'phonenumber' (its keys: {mask_numbers_in(keys)}): give the number under this key"
        )
    try:
        number = parse_phone_number(recipient["phonenumber"], country)
    except PindoConfigurationError as error:
        raise PindoConfigurationError(f"{who}: {error}") from None
    try:
        name = unicodedata.normalize("NFC", text_of(recipient.get("name")))
    except PindoConfigurationError as error:
        raise PindoConfigurationError(f"{who}: 'name': {error}") from None
    check_characters(f"{who}: the name", name)
    if name in FORMULA_ERRORS:
        raise PindoConfigurationError(
            f"{who}: 'name': the formula of the cell has failed ({name}): correct it"
        )
    if template.fields:
        _check_filled(who, template, name)
    return {"phonenumber": number, "name": name}


def _check_filled(who: str, template: Template, name: str) -> None:
    """Refuse a name with which the text would have a gap, or a mention that stays or is filled again."""
    if not name:
        raise PindoConfigurationError(
            f"the text mentions @contact.name, and {who} has no 'name': give it one, or leave the mention out"
        )
    filled = template.fill([name] * len(template.mentioned))
    if has_mention(filled, template.addresses):
        raise PindoConfigurationError(
            f"{who}: the name makes a mention of its own (@contact.…), which Pindo might fill again: remove it"
        )


def verify(number: str, brand: str | None, *, country: str | None = None) -> Call[values.Verification]:
    """``POST /v1/sms/verify``: send a PIN."""
    return Call(
        "verify",
        "POST",
        "/v1/sms/verify",
        read_verification,
        json={"brand": check_sender(brand, "brand"), "number": parse_phone_number(number, country)},
        if_lost="The PIN may have been sent",
    )


def check_verification(request_id: int | str, code: str) -> Call[values.VerificationCheck]:
    """``POST /v1/sms/verify/check``: check a PIN. Not safe to repeat, since each check may use up an attempt."""
    code = check_code(code)
    return Call(
        "check_verification",
        "POST",
        "/v1/sms/verify/check",
        read_verification_check,
        json={"code": code, "request_id": check_request_id(request_id)},
        if_lost="The check may have used up an attempt",
        private=lambda message: (code,),
    )


def get_verification(request_id: int | str) -> Call[values.VerificationState]:
    """``GET /v1/sms/verify/status/:request_id``: read the state of a verification."""
    path = f"/v1/sms/verify/status/{check_request_id(request_id)}"
    return Call("get_verification", "GET", path, read_verification_state, safe_to_repeat=True)


def cancel_verification(request_id: int | str) -> Call[values.VerificationState]:
    """``PUT /v1/sms/verify/cancel/:request_id``: cancel a verification. A repetition has no further effect."""
    path = f"/v1/sms/verify/cancel/{check_request_id(request_id)}"
    return Call("cancel_verification", "PUT", path, read_verification_state, safe_to_repeat=True)


def list_inbound_sms(page: int, per_page: int, timezone: str) -> Call[values.InboundPage]:
    """``GET /v1/sms/inbounds``: one page; ``timezone`` is that of its naive ``created_at``."""
    return Call(
        "list_inbound_sms",
        "GET",
        "/v1/sms/inbounds",
        lambda body: read_inbound_page(body, timezone),
        params={
            "page": check_whole_number("page", page),
            "per_page": check_whole_number("per_page", per_page),
        },
        safe_to_repeat=True,
    )


def get_balance() -> Call[values.Balance]:
    """``GET /wallets/self``: read the wallet's balance."""
    return Call("get_balance", "GET", "/wallets/self", read_balance, safe_to_repeat=True)


def list_sender_ids(name: str | None = None) -> Call[tuple[values.SenderId, ...]]:
    """``GET /sender_ids/``: list the account's sender IDs; only those with ``name`` when it is given."""
    params = None if name is None else {"name": check_characters("name", name)}
    return Call("list_sender_ids", "GET", "/sender_ids/", read_sender_ids, params=params, safe_to_repeat=True)
