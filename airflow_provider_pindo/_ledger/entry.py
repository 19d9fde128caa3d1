"""The ledger's entry of a single request, and what a later try does about it.

Before a request is sent, the task writes *unknown*; afterwards, the outcome. A later try sends again what is
*not_sent*, never sends what is *sent*, and lets a person decide about *unknown*.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from airflow_provider_pindo.api.errors import PindoConfigurationError

log = logging.getLogger(__name__)

SENT = "sent"
NOT_SENT = "not_sent"
UNKNOWN = "unknown"
#: Why a message is *not sent*, for the page. A later try may send it in any case.
REJECTED, EXPIRED = "rejected", "expired"

#: What an operator may do about an unknown outcome.
ON_UNKNOWN = ("fail", "ask", "resend", "accept")
#: Version of the entries. Raise it when an older provider would misread a new entry.
VERSION = 1
#: Most recipients of one entry. More would make it larger than a person may edit (64 KB).
MAX_RECIPIENTS = 1000


@dataclass(frozen=True, slots=True)
class Settlement:
    """Who or what settled an unknown outcome, and when.

    :param by: ``person`` (the answer to a question), ``evidence`` (of Pindo) or ``page`` (the Pindo page).
    :param who: name of the person, or of the kind of evidence.
    :param at: when, in ISO 8601 and UTC.
    :param sms_id: Pindo's id of the message, if the evidence names it.
    """

    by: str
    who: str
    at: str
    sms_id: str | None = None

    def to_value(self) -> dict[str, Any]:
        """Return the settlement as an entry holds it."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class Entry:
    """What the ledger holds of one request.

    :param status: ``sent``, ``not_sent`` or ``unknown``; a person may change it.
    :param input: fingerprint of recipient and content; None when a person wrote the entry.
    :param generation: the task's generation when it was written. A clear starts a new one, a retry does not. None
        when a person wrote the entry.
    :param to: the recipient, masked, for the reader of the entry.
    :param result: Pindo's response to what was sent. None until a try has read a status that a person set to
        ``sent``, then empty.
    :param began: when the request began, in ISO 8601 and UTC. It tells one request from the next.
    :param settled: who settled an unknown outcome, as :meth:`Settlement.to_value` returns it.
    :param outcome: why it is not sent: ``rejected`` or ``expired``; None for any other reason.
    :param reason: why Pindo rejected it, or why the outcome is unknown; None when the task was killed.
    """

    status: str
    input: str | None = None
    generation: int | None = None
    to: str | None = None
    result: dict[str, Any] | None = None
    began: str | None = None
    settled: Mapping[str, Any] | None = None
    outcome: str | None = None
    reason: str | None = None

    def settle(self, status: str, settlement: Settlement) -> Entry:
        """Return this entry as a person or evidence settled it.

        :param status: ``sent`` or ``not_sent``; ``unknown`` when a person left it so.
        """
        return replace(self, status=status, settled=settlement.to_value())

    def to_value(self) -> dict[str, Any]:
        """Return the entry as the store holds it."""
        return {"v": VERSION, **asdict(self)}


class Action(Enum):
    """What a task does, given its entry."""

    SEND = "send"
    RETURN_RESULT = "return the first result"
    ACCEPT_UNKNOWN = "count as sent"
    ASK = "ask a person"
    FAIL_UNKNOWN = "fail: the outcome is unknown"
    FAIL_CHANGED = "fail: something else was sent"


def decide(entry: Entry | None, planned: Entry, generation: int, *, on_unknown: str, resend: bool) -> Action:
    """Decide whether a task sends its request: the core of "never twice".

    :param entry: what the ledger holds; None at the first try.
    :param planned: the entry of the request that the task would make now.
    :param generation: the task's current generation.
    :param on_unknown: ``fail``, ``ask``, ``resend`` or ``accept``.
    :param resend: send again what an earlier generation sent. Ignored within the same generation, for unknown
        outcomes, and for an entry just settled as sent that no try has read yet: this may be a retry.
    """
    if entry is None or entry.status == NOT_SENT:
        return Action.SEND
    if resend and _was_sent_in_another_generation(entry, generation):
        return Action.SEND
    if entry.input not in (None, planned.input):
        return Action.FAIL_CHANGED
    if entry.status == SENT:
        return Action.RETURN_RESULT
    return _OF_UNKNOWN[on_unknown]


_OF_UNKNOWN = {
    "fail": Action.FAIL_UNKNOWN,
    "ask": Action.ASK,
    "resend": Action.SEND,
    "accept": Action.ACCEPT_UNKNOWN,
}


def _was_sent_in_another_generation(entry: Entry, generation: int) -> bool:
    return entry.status == SENT and entry.result is not None and entry.generation not in (None, generation)


def utc_iso() -> str:
    """Return the time as the ledger writes it: ISO 8601, UTC."""
    return datetime.now(UTC).isoformat()


def fingerprint(*parts: object) -> str:
    """Return a short digest of ``parts``, by which a later try recognises the same input."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def check_version(value: Any, key: str, otherwise: str = "") -> None:
    """Refuse a value that another version of this provider wrote.

    A value without ``v`` passes: every task writes one, so a person wrote this value by hand.

    :param value: ``key``'s value in the store.
    :param otherwise: an alternative to the upgrade, for the error's last line.
    :raises PindoConfigurationError: ``v`` is not :data:`VERSION`.
    """
    if not isinstance(value, Mapping) or "v" not in value:
        return
    version = value["v"]
    if type(version) is not int or version != VERSION:
        raise PindoConfigurationError(
            f"entry {key!r} of the Task State Store has version {version!r}, and this provider reads version "
            f"{VERSION}. Nothing is sent now\n"
            f"Upgrade airflow-provider-pindo to the version that wrote the entry, and clear the task{otherwise}"
        )


def read_entry(value: Any, key: str) -> Entry | None:
    """Read an entry, as a task or a person wrote it; None when it does not exist.

    A person may write the bare word, or an object with ``status`` and without ``v``. Any other word is *unknown*.

    :param value: ``key``'s value in the store.
    :raises PindoConfigurationError: another version of this provider wrote it.
    """
    if value is None:
        return None
    check_version(
        value,
        key,
        "; or find out whether the request was carried out, replace the whole value with the word 'sent' or "
        "'not_sent', and clear the task",
    )
    fields: Mapping[str, Any] = value if isinstance(value, Mapping) else {"status": value}
    status = str(fields.get("status")).strip().lower()
    if status not in (SENT, NOT_SENT, UNKNOWN):
        log.warning(
            "%s has the status %r. Only 'sent', 'not_sent' and 'unknown' are valid, so it counts as unknown",
            key,
            status,
        )
        status = UNKNOWN
    result, settled = fields.get("result"), fields.get("settled")
    return Entry(
        status=status,
        input=fields.get("input"),
        generation=fields.get("generation"),
        to=fields.get("to"),
        result=dict(result) if isinstance(result, Mapping) else None,
        began=fields.get("began"),
        settled=dict(settled) if isinstance(settled, Mapping) else None,
        outcome=fields.get("outcome"),
        reason=fields.get("reason"),
    )


#: The buttons of the Pindo page, and the status that each writes.
BUTTONS = {SENT: "Arrived", NOT_SENT: "Did not arrive"}
#: The answer to each question that settles nothing.
LEAVE_IT_FAILED = "Leave it failed"


def how_to_settle(entries: str, *words: str) -> str:
    """Return how a person settles an unknown outcome, for the second line of an error: the button, then the entry.

    Only an Airflow with the Pindo page keeps a ledger. The tab is missing where its API server lacks the provider.

    :param entries: the keys of the entries.
    :param words: what the status may become.
    """
    return (
        f"choose {' or '.join(BUTTONS[word] for word in words)} in the Pindo tab of this task instance. Without that "
        f"tab, change the status of {entries} from 'unknown' to {' or '.join(map(repr, words))} in the Storage tab, "
        "and clear the task"
    )
