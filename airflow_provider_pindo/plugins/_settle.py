"""A person's decision on messages whose outcome is unknown: it arrived, or it did not.

On Postgres and MySQL, the task instance and its entries are locked until the transaction ends. So two people cannot
settle the same message in two ways, and nobody settles what a running task still sends. SQLite, which is for
development, locks nothing: of two people who settle at once, the last one counts. The audit log gets one row for each
settlement.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_pindo._bulk.batch_entry import read_rows, settle_rows
from airflow_provider_pindo._bulk.row_numbers import format_rows
from airflow_provider_pindo._ledger.entry import NOT_SENT, SENT, UNKNOWN, Settlement, read_entry, utc_iso
from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.plugins import _models
from airflow_provider_pindo.plugins._entries import is_batch, is_message, people

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from airflow_provider_pindo.plugins._models import TaskKey

#: Entries that one settlement may change: those of a million people.
_MAX_ENTRIES = 1000
#: The event's name in Airflow's audit log.
EVENT = "pindo_settle"


class SettleError(Exception):
    """Nothing was settled: what the person saw is no longer so."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person says about one message.

    :param row: the row in the list of a bulk send; None for a single message.
    """

    key: str
    row: int | None
    arrived: bool


def settle(
    session: Session,
    task: TaskKey,
    decisions: Collection[Decision],
    everybody: bool | None,
    *,
    seen: datetime,
    user: str,
) -> dict[str, int]:
    """Record what a person says, and write the audit log. The caller commits.

    :param decisions: one for each message.
    :param everybody: instead of decisions: whether all unknown messages of the task arrived.
    :param seen: when the newest entry that the person saw was written. A later one may be about another request.
    :param user: who says so.
    :return: ``{"arrived": count, "not_arrived": count, "unknown": count}``. ``unknown`` counts those of the whole task
        that are still unknown. At 0 the task can be cleared.
    :raises NoTaskError: there is no such task instance.
    :raises SettleError: the task has not failed, a message is not unknown or named twice, or its entry was written
        since.
    """
    state = _models.lock_task(session, task)
    if state != "failed":
        raise SettleError(
            f"the task is {state or 'not started'}, not failed: only what a failed task left is settled"
        )
    if everybody is None and not decisions:
        raise SettleError("nobody is named")
    if everybody is not None and decisions:
        raise SettleError("give decisions or everybody, not both")
    by_key: dict[str, list[Decision]] = defaultdict(list)
    for decision in decisions:
        by_key[decision.key].append(decision)
    rows = _models.lock_unknown(session, task, tuple(by_key), _MAX_ENTRIES)
    if everybody is not None:
        rows = {key: row for key, row in rows.items() if _count_unknown(key, row) != 0}
    if any(row.updated_at > seen for row in rows.values()):
        raise SettleError("the messages changed after you opened the page. Look again: nothing was settled")
    settled = {
        key: _settle_entry(rows.get(key), key, by_key[key], everybody, Settlement("page", user, utc_iso()))
        for key in (sorted(by_key) if everybody is None else rows)
    }
    if not settled:
        raise SettleError("no message of this task is unknown any more")
    counts = {
        name: sum(entry[f"{name}_count"] for entry in settled.values()) for name in ("arrived", "not_arrived")
    }
    entries = {
        key: {name: entry[name] for name in ("to", "arrived", "not_arrived") if entry.get(name)}
        for key, entry in settled.items()
    }
    _models.add_audit_log(session, EVENT, task, user=user, details={**counts, "entries": entries})
    session.flush()
    others = _models.lock_unknown(session, task, (), _MAX_ENTRIES)
    return {**counts, "unknown": sum(_count_unknown(key, row) or 0 for key, row in others.items())}


def _count_unknown(key: str, row: Any) -> int | None:
    """Return how many messages of an entry are unknown; None if it cannot be read."""
    try:
        return sum(person.outcome == UNKNOWN for person in people(key, _models.value_of(row)))
    except PindoConfigurationError:
        return None


def _settle_entry(
    row: Any, key: str, decisions: list[Decision], everybody: bool | None, settlement: Settlement
) -> dict[str, Any]:
    """Settle one entry, and return what the audit log keeps of it."""
    if row is None or not is_message(key):
        raise SettleError(f"the task has no entry {key!r}")
    value = _models.value_of(row)
    try:
        if is_batch(key):
            new, note = _settle_batch(value, decisions, everybody, settlement)
        else:
            new, note = _settle_single(value, key, decisions, everybody, settlement)
    except PindoConfigurationError as error:
        raise SettleError(str(error)) from None
    _models.set_value(row, new)
    return note


def _settle_batch(
    value: Any, decisions: list[Decision], everybody: bool | None, settlement: Settlement
) -> tuple[dict[str, Any], dict[str, Any]]:
    if everybody is None:
        rows = [decision.row for decision in decisions]
        if None in rows:
            raise SettleError("a message of a bulk send is named by its row: give its row")
        if len(set(rows)) < len(rows):
            raise SettleError("a message is named more than once")
        arrived = [decision.row for decision in decisions if decision.arrived and decision.row is not None]
        not_arrived = [
            decision.row for decision in decisions if not decision.arrived and decision.row is not None
        ]
    else:
        unknown = [row.row for row in read_rows(value) if row.outcome == UNKNOWN]
        arrived, not_arrived = (unknown, []) if everybody else ([], unknown)
    return settle_rows(value, arrived, not_arrived, settlement), {
        "arrived": format_rows(arrived),
        "not_arrived": format_rows(not_arrived),
        "arrived_count": len(arrived),
        "not_arrived_count": len(not_arrived),
    }


def _settle_single(
    value: Any, key: str, decisions: list[Decision], everybody: bool | None, settlement: Settlement
) -> tuple[dict[str, Any], dict[str, Any]]:
    if len(decisions) > 1:
        raise SettleError(f"the message {key!r} is named more than once")
    arrived = decisions[0].arrived if everybody is None else everybody
    entry = read_entry(value, key)
    if entry is None or entry.status != UNKNOWN:
        raise SettleError(f"the message is {entry.status if entry else 'gone'}, and no longer unknown")
    return entry.settle(SENT if arrived else NOT_SENT, settlement).to_value(), {
        "to": entry.to,
        "arrived": arrived,
        "not_arrived": not arrived,
        "arrived_count": int(arrived),
        "not_arrived_count": int(not arrived),
    }
