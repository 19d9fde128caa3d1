"""What can go wrong on demand: which calls, how often, and in what way.

A fault is a value; :class:`FaultBook` keeps those that are set and decides, call by call, which of them
strike. What each action does on the wire is the server's part. Definitions that make no sense are
refused with a sentence that lists what there is.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping
from typing import Any

from airflow_provider_pindo.sandbox.pindo import CALLS

#: Actions that come before the message is accepted: it is not, unless the action is ``latency``.
BEFORE = {
    "latency": "wait `seconds`, then go on as usual, also when the client has meanwhile left",
    "status": "answer `status` with `body`; not accepted",
    "rate_limit": "answer 429 with Retry-After `retry_after` (seconds, date, null for none); not accepted",
    "redirect": "answer `status` (default 308) with Location `location`; not accepted",
    "drop_before": "close the connection (`reset`: with RST, else FIN); not accepted",
}
#: Actions that come after: whatever the client sees, a good message is on the phone.
AFTER = {
    "status_after": "accept, then answer `status` with `body`",
    "drop_after": "accept, then close the connection without an answer (`reset`: with RST, else FIN)",
    "slow_answer": "accept, then wait `seconds` before answering",
    "truncate": "accept, then send half of the body under the full Content-Length, and close",
    "not_json": "accept, then send an HTML page as the body",
    "empty_body": "accept, then send no body",
    "extra_keys": "accept, then add keys that no page documents",
    "wrong_types": "accept, then send every value of the body as another type",
    "close_idle": "answer as usual, then close the idle connection after `seconds` without announcing it",
}
#: What each action does, by its name.
ACTIONS = {**BEFORE, **AFTER}

#: The calls that a group stands for, by its name: all of them, and those that text somebody.
CALL_GROUPS = {"*": tuple(CALLS), "texts": ("send_sms", "send_bulk_sms", "verify")}

_NEEDS = {"status": ("status",), "status_after": ("status",), "redirect": ("location",)}


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """One fault, as it was set.

    :param action: one of :data:`~airflow_provider_pindo.sandbox.faults.ACTIONS`.
    :param call: one of :data:`~airflow_provider_pindo.sandbox.pindo.CALLS`, ``"*"`` for all, or ``"texts"`` for
        those that text somebody: ``send_sms``, ``send_bulk_sms`` and ``verify``.
    :param to: only requests whose body names this number, also inside a bulk body; None for all.
    :param skip: let this many matching requests pass first.
    :param times: strike this often, then be gone; None for ever.
    :param probability: chance of striking, 0 to 1, for each request that matches.
    :param seconds: of ``latency``, ``slow_answer`` and ``close_idle``.
    :param status: of ``status``, ``status_after`` and ``redirect``.
    :param body: JSON value that ``status`` and ``status_after`` send; None for ``{"message": …}``.
    :param retry_after: of ``rate_limit``.
    :param location: of ``redirect``.
    :param reset: whether a dropped connection is reset (RST) or closed (FIN).
    """

    action: str
    call: str = "*"
    to: str | None = None
    skip: int = 0
    times: int | None = 1
    probability: float = 1.0
    seconds: float = 0.0
    status: int | None = None
    body: Any = None
    retry_after: int | str | None = None
    location: str | None = None
    reset: bool = True

    @classmethod
    def read(cls, definition: Any) -> Fault:
        """A fault as JSON defines it.

        :raises ValueError: an unknown key, call or action, or a value that does not fit.
        """
        if not isinstance(definition, Mapping):
            raise ValueError("a fault is a JSON object with at least an 'action'")
        names = [field.name for field in dataclasses.fields(cls)]
        for key in definition:
            if key not in names:
                raise ValueError(f"no fault field {key!r}; there are {', '.join(names)}")
        if definition.get("action") not in list(ACTIONS):  # it may be anything, a list too
            raise ValueError(f"no fault action {definition.get('action')!r}; there are {', '.join(ACTIONS)}")
        fault = cls(**definition)
        if problem := fault._problem():
            raise ValueError(f"fault {fault.action!r}: {problem}")
        return fault

    def _problem(self) -> str | None:
        checks: list[tuple[bool, str]] = [
            (
                self.call in [*CALL_GROUPS, *CALLS],
                f"no call {self.call!r}; there are {', '.join([*CALL_GROUPS, *CALLS])}",
            ),
            (self.to is None or isinstance(self.to, str), "to must be a phone number, as a text, or null"),
            (_is_count(self.skip, 0), "skip must be an integer of 0 or more"),
            (
                self.times is None or _is_count(self.times, 1),
                "times must be an integer of 1 or more, or null",
            ),
            (_is_amount(self.probability) and self.probability <= 1, "probability must be from 0 to 1"),
            (_is_amount(self.seconds), "seconds must be 0 or more"),
            (
                self.status is None or (_is_count(self.status, 200) and self.status < 600),
                "status must be an HTTP status from 200 to 599",
            ),
            (
                self.retry_after is None
                or isinstance(self.retry_after, str)
                or _is_count(self.retry_after, 0),
                "retry_after must be seconds, an HTTP date, or null",
            ),
            (
                not isinstance(self.retry_after, str) or self.retry_after.isprintable(),
                "retry_after must be one line",
            ),
            (
                self.location is None or (isinstance(self.location, str) and self.location.isprintable()),
                "location must be an address",
            ),
            (isinstance(self.reset, bool), "reset must be true or false"),
        ]
        checks += [
            (getattr(self, needed) is not None, f"{needed} must be given")
            for needed in _NEEDS.get(self.action, ())
        ]
        return next((problem for holds, problem in checks if not holds), None)

    def matches(self, call: str, numbers: set[str]) -> bool:
        """Whether a call about these numbers is one that this fault is aimed at."""
        return call in CALL_GROUPS.get(self.call, (self.call,)) and (self.to is None or self.to in numbers)


class FaultBook:
    """The faults that are set, oldest first."""

    def __init__(self) -> None:
        self._next_id = 1
        self._faults: dict[int, Fault] = {}

    def __bool__(self) -> bool:
        return bool(self._faults)

    def add(self, fault: Fault) -> int:
        """Set a fault and give its id."""
        fault_id = self._next_id
        self._next_id += 1
        self._faults[fault_id] = fault
        return fault_id

    def remove(self, fault_id: int | None = None) -> None:
        """Take a fault away, or all of them."""
        if fault_id is None:
            self._faults.clear()
        else:
            self._faults.pop(fault_id, None)

    def as_json(self) -> list[dict[str, Any]]:
        """The faults that are set; ``skip`` and ``times`` say what is left of them."""
        return [{"id": fault_id, **dataclasses.asdict(fault)} for fault_id, fault in self._faults.items()]

    def take(self, call: str, numbers: set[str]) -> list[Fault]:
        """The faults that strike this request: at most one ``latency`` and one other.

        Of several that match, the one that was set first strikes. Each that matches first counts down
        its ``skip``.
        """
        struck: dict[bool, Fault] = {}
        for fault_id, fault in list(self._faults.items()):
            slot = fault.action == "latency"
            if slot in struck or not fault.matches(call, numbers):
                continue
            if fault.skip > 0:
                self._faults[fault_id] = dataclasses.replace(fault, skip=fault.skip - 1)
            elif random.random() < fault.probability:  # noqa: S311 - no secret
                struck[slot] = fault
                self._count_down(fault_id, fault)
        return [struck[slot] for slot in (True, False) if slot in struck]

    def _count_down(self, fault_id: int, fault: Fault) -> None:
        if fault.times == 1:
            del self._faults[fault_id]
        elif fault.times is not None:
            self._faults[fault_id] = dataclasses.replace(fault, times=fault.times - 1)


def with_extra_keys(body: Any) -> Any:
    """A body, an object or a list of them, with keys in each object that no page documents."""
    if isinstance(body, list):
        return [with_extra_keys(row) for row in body]
    return {**body, "sandbox_extra": {"nested": [1, 2, 3]}, "trace": "f3a1", "pages_total": None}


def with_wrong_types(body: Any) -> Any:
    """A body, an object or a list of them, with every value of another type, such as a number for a text."""
    if isinstance(body, list):
        return [with_wrong_types(row) for row in body]
    return {key: _another(value) for key, value in body.items()}


def _another(value: Any) -> Any:
    if isinstance(value, (int, float)):
        return f"about {value}"
    if isinstance(value, str):
        return 7
    if isinstance(value, list):
        return {str(index): _another(each) for index, each in enumerate(value)}
    return list(value) if isinstance(value, dict) else {}


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_amount(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e6
