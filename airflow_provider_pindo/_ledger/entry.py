"""The ledger: what a task has sent, kept where a retry, a crash and a clear can read it.

Before a request leaves, the task writes what it is about to do as *unknown*; after the answer, what came of
it. Whoever finds an entry later knows: *sent* is not sent again, *not_sent* is, and *unknown* is for a
person to settle. Airflow 3.3 keeps the entries in its task state store, for each task instance (DAG, run,
task and map index) over retries, crashes and clears; before 3.3 there is no such place, and a task says so.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

log = logging.getLogger(__name__)

SENT = "sent"
NOT_SENT = "not_sent"
UNKNOWN = "unknown"

#: Most recipients that one entry tells of: more would make it larger than a person may edit (64 KB).
MAX_RECIPIENTS = 1000


@dataclass(frozen=True, slots=True)
class Entry:
    """What the ledger holds of one request.

    :param status: ``sent``, ``not_sent`` or ``unknown``; the word that a person may change.
    :param input: fingerprint of what was sent to whom; None when a person wrote the entry anew.
    :param go: which go of the task it was: every clear by a person starts a new one, a retry does not. None when
        a person wrote the entry anew.
    :param to: the recipient, masked, for the person who reads it.
    :param result: what Pindo answered, when it was sent; empty when a person settled it as sent and the task has
        seen that, None when it has not.
    """

    status: str
    input: str | None = None
    generation: int | None = None
    to: str | None = None
    result: dict[str, Any] | None = None


class Action(Enum):
    """What a task does, given what the ledger says."""

    SEND = "send"
    RETURN_RESULT = "return the first result"
    ACCEPT_UNKNOWN = "count as sent"
    FAIL_UNKNOWN = "fail: nobody knows whether it was sent"
    FAIL_CHANGED = "fail: something else was sent"


def decide(entry: Entry | None, planned: Entry, generation: int, *, on_unknown: str, resend: bool) -> Action:
    """Return what to do about a request, given its entry: the whole of "never twice" for a single request.

    :param entry: what the ledger holds; None when this is the first time.
    :param planned: the entry that would be written for it now.
    :param go: the current go of the task.
    :param on_unknown: ``fail``, ``resend`` or ``accept``.
    :param resend: send again what was sent in another go. It has no effect in the go that sent it, for an unknown
        outcome, and for what a person has settled as sent until a try has seen that: it may be a retry.
    """
    if entry is None or entry.status == NOT_SENT:
        return Action.SEND
    if resend and _was_sent_in_another_go(entry, generation):
        return Action.SEND
    if entry.input not in (None, planned.input):
        return Action.FAIL_CHANGED
    if entry.status == SENT:
        return Action.RETURN_RESULT
    return {"resend": Action.SEND, "accept": Action.ACCEPT_UNKNOWN}.get(on_unknown, Action.FAIL_UNKNOWN)


def _was_sent_in_another_go(entry: Entry, generation: int) -> bool:
    return entry.status == SENT and entry.result is not None and entry.generation not in (None, generation)


def fingerprint(*parts: object) -> str:
    """Return a short digest of ``parts``, by which a later try knows whether its input is the same."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def read_entry(value: Any, key: str) -> Entry | None:
    if value is None:
        return None
    # A person may have put the bare word in place of the whole value.
    fields: Mapping[str, Any] = value if isinstance(value, Mapping) else {"status": value}
    status = str(fields.get("status")).strip().lower()
    if status not in (SENT, NOT_SENT, UNKNOWN):
        log.warning("%s has the status %r, not sent, not_sent or unknown: taken as unknown", key, status)
        status = UNKNOWN
    result = fields.get("result")
    return Entry(
        status=status,
        input=fields.get("input"),
        generation=fields.get("generation"),
        to=fields.get("to"),
        result=dict(result) if isinstance(result, Mapping) else None,
    )


def tell_how_to_settle(entries: str, *words: str) -> None:
    """Log in one short line what the error says at length: Airflow's page of a log cuts long lines off."""
    log.error(
        "To settle it: find out, set the status of %s in the Storage tab to %s, clear the task",
        entries,
        " or ".join(words),
    )
