"""The faults: which calls they strike, how often, and what they do.

A :class:`Fault` is a value. :class:`FaultBook` keeps the active ones and decides which of them strike a
request. The server carries out the action.
"""

from __future__ import annotations

import random
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from airflow_provider_pindo.sandbox.book import Book
from airflow_provider_pindo.sandbox.calls import CALLS
from airflow_provider_pindo.sandbox.events import EVENTS
from airflow_provider_pindo.sandbox.validation import Count, Flag, HeaderText, check_fields, one_of

#: Actions before the message is accepted. Only ``latency`` lets it be accepted afterwards.
BEFORE = {
    "latency": "wait `seconds`, then continue as usual, even if the client has left",
    "status": "respond with `status` and `body`; not accepted",
    "rate_limit": "respond with 429 and Retry-After `retry_after` (seconds, date, or null for no header); "
    "not accepted",
    "redirect": "respond with `status` (default 308) and Location `location`; not accepted",
    "drop_before": "close the connection (`reset`: with RST, else FIN); not accepted",
}
#: Actions after the message was accepted: it is on the phone.
AFTER = {
    "status_after": "accept, then respond with `status` and `body`",
    "drop_after": "accept, then close the connection without a response (`reset`: with RST, else FIN)",
    "slow_answer": "accept, then wait `seconds` before the response",
    "truncate": "accept, then send half of the body under the full Content-Length, and close",
    "not_json": "accept, then send an HTML page as the body",
    "empty_body": "accept, then send no body",
    "extra_keys": "accept, then add keys that no page documents",
    "wrong_types": "accept, then send every value of the body as another type",
    "close_idle": "respond as usual, then close the idle connection after `seconds`, unannounced",
}
#: Actions on the webhooks that the sandbox calls. A webhook that is missed is not repeated.
RECEIVER = {
    "receiver_down": "do not call the receiver, as if it refused the connection",
    "receiver_slow": "call the receiver `seconds` later; the events behind it wait too",
    "receiver_error": "do not call the receiver, as if it responded with `status` (default 500)",
}
#: What each action does, by its name.
ACTIONS = {**BEFORE, **AFTER, **RECEIVER}

#: Names for groups of calls: all of the API, those that send a message, and those of a receiver.
CALL_GROUPS = {"*": tuple(CALLS), "texts": ("send_sms", "send_bulk_sms", "verify"), "webhooks": EVENTS}

_NEEDS = {"status": "status", "status_after": "status", "redirect": "location"}


class Fault(msgspec.Struct, frozen=True):
    """One fault.

    :param action: one of :data:`~airflow_provider_pindo.sandbox.faults.ACTIONS`.
    :param call: one of :data:`~airflow_provider_pindo.sandbox.calls.CALLS`; ``"*"`` for all; ``"texts"``
        for those that send a message: ``send_sms``, ``send_bulk_sms`` and ``verify``. For the actions on
        webhooks: ``"webhooks"`` for all, or one of ``sent``, ``delivery_report`` and ``inbound``.
    :param to: only requests whose body has this number, also among the recipients of a bulk send; only
        events of this phone. None for all.
    :param skip: number of matching requests to let pass first.
    :param times: number of requests to strike; None for no limit.
    :param probability: chance to strike a matching request, from 0 to 1.
    :param seconds: of ``latency``, ``slow_answer``, ``close_idle`` and ``receiver_slow``.
    :param status: of ``status``, ``status_after``, ``redirect`` and ``receiver_error``.
    :param body: JSON value that ``status`` and ``status_after`` send; None for ``{"message": …}``.
    :param retry_after: of ``rate_limit``.
    :param location: of ``redirect``.
    :param reset: whether a dropped connection is reset (RST) or closed (FIN).
    """

    action: Annotated[str, one_of(ACTIONS)]
    call: Annotated[str, one_of((*CALL_GROUPS, *CALLS, *EVENTS))] = "*"
    to: Annotated[str, Meta(description="a phone number, as a text")] | None = None
    skip: Annotated[int, Meta(ge=0, description="an integer of 0 or more")] = 0
    times: Count | None = 1
    probability: Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1")] = 1.0
    seconds: Annotated[float, Meta(ge=0, lt=1e6, description="a number of 0 or more")] = 0.0
    status: Annotated[int, Meta(ge=200, le=599, description="an HTTP status from 200 to 599")] | None = None
    body: Any = None
    retry_after: Annotated[
        Annotated[int, Meta(ge=0)] | HeaderText | None, Meta(description="seconds, an HTTP date, or null")
    ] = None
    location: Annotated[HeaderText, Meta(description="an address, on one line")] | None = None
    reset: Flag = True

    def __post_init__(self) -> None:
        needed = _NEEDS.get(self.action)
        if needed is not None and getattr(self, needed) is None:
            raise ValueError(f"fault {self.action!r} needs {needed!r}")
        if (self.action in RECEIVER) != (self.call in ("webhooks", *EVENTS)):
            calls = ", ".join(("webhooks", *EVENTS))
            raise ValueError(
                f"fault {self.action!r} is not for call {self.call!r}; receiver_… is for {calls}"
            )

    @classmethod
    def from_json(cls, definition: Any) -> Fault:
        """A fault as JSON defines it.

        :raises ValueError: an unknown field, or a value that a field does not take.
        """
        if not isinstance(definition, dict):
            raise ValueError("a fault is a JSON object with at least an 'action'")
        return cls(**check_fields(cls, {"action": None, **definition}, "fault field"))

    def matches(self, call: str, numbers: set[str]) -> bool:
        """Whether this fault is for this call and one of these numbers."""
        return call in CALL_GROUPS.get(self.call, (self.call,)) and (self.to is None or self.to in numbers)


class FaultBook(Book[Fault]):
    """The active faults, oldest first."""

    def take(self, call: str, numbers: set[str]) -> list[Fault]:
        """The faults that strike this request: at most one ``latency`` and one other.

        Of several that match, the oldest strikes. A matching fault first counts down its ``skip``.
        """
        struck: dict[bool, Fault] = {}
        for fault_id, fault in list(self.entries.items()):
            slot = fault.action == "latency"
            if slot in struck or not fault.matches(call, numbers):
                continue
            if fault.skip > 0:
                self.entries[fault_id] = msgspec.structs.replace(fault, skip=fault.skip - 1)
            elif random.random() < fault.probability:  # noqa: S311 - no secret
                struck[slot] = fault
                self.count_down(fault_id)
        return [struck[slot] for slot in (True, False) if slot in struck]


def with_extra_keys(body: Any) -> Any:
    """Add undocumented keys to a body: to an object, or to each object of a list."""
    if isinstance(body, list):
        return [with_extra_keys(row) for row in body]
    return {**body, "sandbox_extra": {"nested": [1, 2, 3]}, "trace": "f3a1", "pages_total": None}


def with_wrong_types(body: Any) -> Any:
    """Change the type of every value of a body: of an object, or of each object of a list."""
    if isinstance(body, list):
        return [with_wrong_types(row) for row in body]
    return {key: _of_another_type(value) for key, value in body.items()}


def _of_another_type(value: Any) -> Any:
    if isinstance(value, (int, float)):
        return f"about {value}"
    if isinstance(value, str):
        return 7
    if isinstance(value, list):
        return {str(index): _of_another_type(item) for index, item in enumerate(value)}
    return list(value) if isinstance(value, dict) else {}
