"""Evidence for the unknown recipients of a bulk send: which messages may be theirs, and the wait for it.

The ledger has only masked numbers. So the messages come from the list, whose rows are those of the entries.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from airflow_provider_pindo._bulk.batch_entry import entry_key, read_rows
from airflow_provider_pindo._ledger.entry import UNKNOWN
from airflow_provider_pindo._ledger.evidence import (
    UnknownMessage,
    find_evidence,
    format_message,
    message_fingerprint,
)
from airflow_provider_pindo._metrics import count_settled
from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.hooks._evidence import read_sent_events

if TYPE_CHECKING:
    from airflow_provider_pindo._bulk.batches import Batch
    from airflow_provider_pindo._bulk.bulk_ledger import BulkLedger, UnknownEntries
    from airflow_provider_pindo._bulk.messages import Plan
    from airflow_provider_pindo._bulk.outcome import Outcome
    from airflow_provider_pindo.hooks.pindo import PindoHook

log = logging.getLogger(__name__)

_LOOK_BACK = timedelta(hours=6)


class WaitForEvidence(Exception):
    """The task waits for evidence without a worker slot.

    :param messages: those that may have been sent.
    :param until: when the wait ends.
    :param resends_unknown: whether the task then may send again to those who are unknown still.
    """

    def __init__(self, messages: Sequence[UnknownMessage], until: datetime, *, resends_unknown: bool) -> None:
        super().__init__()
        self.messages = messages
        self.until = until
        self.resends_unknown = resends_unknown


def read_unchanged(ledger: BulkLedger) -> UnknownEntries | None:
    """Return who is unknown; None when a person has changed an entry, so that its rows prove nothing."""
    try:
        return ledger.read_unknown()
    except PindoConfigurationError:
        log.warning(
            "An entry of the ledger is not as the task wrote it, so no evidence of the unknown is looked for"
        )
        return None


def unknown_messages(
    unknown: UnknownEntries, batches: Iterable[Batch], plan: Plan, sender: str
) -> dict[int, UnknownMessage]:
    """Return the messages that may have been sent, by row.

    A message is left out if another row was accepted with the same one, and the response named no id. An event of it
    would be ambiguous. It is also left out if its request began over six hours ago. All events since then would have
    to be read.

    :param batches: the whole list, in the batches of the ledger's entries.
    """
    messages: dict[int, UnknownMessage] = {}
    others = set[str]()
    for batch in batches:
        value = unknown.values.get(entry_key(batch.index))
        if value is None and plan.on_duplicate != "send":
            continue
        rows = dict(zip(batch.rows, _fingerprints(batch, plan), strict=True))
        if value is None:
            others.update(rows.values())
            continue
        first, last = (
            map(datetime.fromisoformat, value["began"].split("/")) if "began" in value else (None, None)
        )
        is_recent = last is not None and datetime.now(UTC) - last < _LOOK_BACK
        for recipient in read_rows(value):
            if recipient.outcome == UNKNOWN and first is not None and is_recent:
                messages[recipient.row] = UnknownMessage(rows[recipient.row], sender, first, last)
            elif recipient.outcome == "accepted" and not recipient.sms_id:
                others.add(rows[recipient.row])
    return {row: message for row, message in messages.items() if message.fingerprint not in others}


def _fingerprints(batch: Batch, plan: Plan) -> Iterator[str]:
    texts = batch.texts
    if texts is None:
        mentioned = len(plan.template.mentioned)
        texts = [plan.template.fill([name] * mentioned) for name in batch.names]
    return map(message_fingerprint, batch.numbers, texts)


def evidence_by_row(
    batch: Batch, outcome: Outcome, *, plan: Plan, sender: str, digest: Callable[[str], str]
) -> dict[int, str]:
    """Return what the report says of messages without an id: the sensor finds their events by it.

    The unknown are among them, since an event may be theirs.

    :param digest: makes a digest, which a file may hold, of a message's fingerprint.
    """
    others = set(outcome.not_sent).union(outcome.sms_ids, *outcome.rejected.values())
    if len(others) == len(batch):
        return {}
    times = outcome.times()
    return {
        row: format_message(digest(message), times.get(row), sender)
        for row, message in zip(batch.rows, _fingerprints(batch, plan), strict=True)
        if row not in others
    }


def settle_by_evidence(
    hook: PindoHook, ledger: BulkLedger, unknown: UnknownEntries, messages: Mapping[int, UnknownMessage]
) -> dict[int, UnknownMessage]:
    """Settle those whose messages Pindo's webhook names as sent; return the others."""
    if not messages:
        return {}
    events = read_sent_events(hook, min(message.began for message in messages.values()))
    evidence = find_evidence(messages, events)
    if evidence:
        ledger.settle_by_evidence(unknown, evidence)
        count_settled("evidence", len(evidence))
        log.info(
            "Pindo's webhook says that the messages to %s of %s unknown recipients were sent",
            f"{len(evidence):,}",
            f"{len(unknown.rows):,}",
        )
    return {row: message for row, message in messages.items() if row not in evidence}
