"""What the ledger's entries say, as the page counts them.

An entry is one message (``pindo_sms``, ``pindo_verify``) or up to 1,000 of a bulk send (``pindo_bulk_00001``). A bulk
send has a header too (``pindo_bulk``). An entry that this version cannot read is counted apart and never guessed at.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

import msgspec

from airflow_provider_pindo._bulk.batch_entry import KEY as BULK
from airflow_provider_pindo._bulk.batch_entry import RowOutcome, read_rows
from airflow_provider_pindo._bulk.row_numbers import count_rows
from airflow_provider_pindo._ledger.entry import (
    EXPIRED,
    NOT_SENT,
    REJECTED,
    SENT,
    UNKNOWN,
    Entry,
    read_entry,
)
from airflow_provider_pindo.api.errors import PindoConfigurationError

#: How the keys of the ledger's entries start.
PREFIX = "pindo_"
#: Entries of one message.
SINGLE = ("pindo_sms", "pindo_verify")
_is_batch_key = re.compile(rf"{BULK}_[0-9]{{5,}}").fullmatch


@dataclass(slots=True)
class Counts:
    """How many messages ended where, and what they cost.

    :param not_sent: no request was made for them, or a person found that they did not arrive.
    :param expired: no request was made for them before their time was over.
    :param priced: the accepted whose price is known.
    :param cost: USD, of those.
    """

    accepted: int = 0
    rejected: int = 0
    unknown: int = 0
    not_sent: int = 0
    expired: int = 0
    priced: int = 0
    cost: float = 0.0

    def accept(self, price: float | None) -> None:
        """Count a message that Pindo accepted.

        :param price: USD; None when Pindo named none, as for a PIN.
        """
        self.accepted += 1
        if price is not None:
            self.priced += 1
            self.cost += price

    def add(self, other: Counts) -> None:
        """Add ``other`` to these."""
        self.accepted += other.accepted
        self.rejected += other.rejected
        self.unknown += other.unknown
        self.not_sent += other.not_sent
        self.expired += other.expired
        self.priced += other.priced
        self.cost += other.cost

    def to_value(self) -> dict[str, Any]:
        """Return the counts as the page reads them."""
        messages = self.accepted + self.rejected + self.unknown + self.not_sent + self.expired
        is_known = self.priced > 0 or self.accepted + self.unknown == 0
        return {**asdict(self), "messages": messages, "cost": round(self.cost, 6) if is_known else None}


@dataclass(frozen=True, slots=True)
class Person:
    """A recipient, as the page lists them.

    :param row: the row in the list of a bulk send; None for a single message.
    :param number: masked.
    :param outcome: ``accepted``, ``rejected``, ``unknown``, ``not_sent`` or ``expired``.
    :param settled: ``by`` whom it was settled, and ``at`` which time, if it was unknown once.
    """

    key: str
    row: int | None
    number: str
    outcome: str
    reason: str = ""
    sms_id: str = ""
    settled: dict[str, Any] | None = None


class _Receipt(msgspec.Struct, gc=False):
    total_cost: float | None = None
    remaining_balance: float | None = None


class Message(msgspec.Struct, gc=False):
    """The entry of a single message as a task of this version writes it, as far as the tiles need it."""

    v: Literal[1]
    status: Literal["sent", "not_sent", "unknown"]
    result: _Receipt | None = None
    outcome: Any = None
    reason: Any = None

    @property
    def column(self) -> str:
        """The column that counts it."""
        return "accepted" if self.status == SENT else _column(self.status, self.outcome)


_decode_message = msgspec.json.Decoder(Message).decode


def read_message(text: str) -> Message | None:
    """Return a single message's entry; None if a person, or another version, wrote it.

    Then :func:`count_single` reads it, which takes longer.
    """
    try:
        return _decode_message(text)
    except msgspec.DecodeError:
        return None


class Rejected(NamedTuple):
    """Those of a batch whom Pindo rejected for one reason; their rows as ranges."""

    reason: str
    rows: str
    people: int


class _Batch(msgspec.Struct, gc=False):
    """A batch of a bulk send, as far as the tiles need it. One without ``v`` was written by a person."""

    status: str
    accepted: int
    rejected: dict[str, str]
    unknown: dict[str, str]
    not_sent: str
    cost: float
    v: Literal[1] = 1


_decode_batch = msgspec.json.Decoder(_Batch).decode


def count_batch(text: str) -> tuple[Counts, list[Rejected]]:
    """Return what the entry of a batch says, and whom Pindo rejected.

    :param text: the entry's JSON, with or without the numbers.
    :raises PindoConfigurationError: no task of this version wrote it.
    """
    try:
        batch = _decode_batch(text)
        rejected = [Rejected(reason, rows, count_rows(rows)) for reason, rows in batch.rejected.items()]
        unknown = sum(map(count_rows, batch.unknown.values()))
        not_sent = count_rows(batch.not_sent)
    except (ValueError, msgspec.DecodeError) as error:
        raise PindoConfigurationError("the entry is not as a task of this version wrote it") from error
    # A bulk send estimates a price that Pindo did not name. So a sum of nothing is not known.
    priced = batch.accepted if batch.cost else 0
    accepted = batch.accepted
    if unknown:
        status = batch.status.strip().lower()  # a person settles all the unknown by editing it
        accepted += unknown if status == SENT else 0
        not_sent += unknown if status == NOT_SENT else 0
        unknown = 0 if status in (SENT, NOT_SENT) else unknown
    people = sum(some.people for some in rejected)
    return Counts(accepted, people, unknown, not_sent, priced=priced, cost=batch.cost), rejected


def is_batch(key: str) -> bool:
    """Return whether ``key`` is that of a batch of a bulk send."""
    return _is_batch_key(key) is not None


def is_message(key: str) -> bool:
    """Return whether the entry ``key`` holds messages."""
    return key in SINGLE or is_batch(key)


def count_single(key: str, value: Any) -> Counts:
    """Count the entry of a single message.

    :raises PindoConfigurationError: no task of this version wrote it.
    """
    entry = _read_single(key, value)
    counts = Counts()
    if entry.status == SENT:
        counts.accept(usd((entry.result or {}).get("total_cost")))
    else:
        counts.add(Counts(**{_column(entry.status, entry.outcome): 1}))
    return counts


def _column(status: str, outcome: Any) -> str:
    """Return the column of a single message."""
    if status == SENT:
        return "accepted"
    return outcome if status == NOT_SENT and outcome in (REJECTED, EXPIRED) else status


def _read_single(key: str, value: Any) -> Entry:
    entry = read_entry(value, key)
    if entry is None:
        raise PindoConfigurationError(f"entry {key!r} is not JSON")
    return entry


def people(key: str, value: Any) -> Iterator[Person]:
    """Yield everybody of an entry, by row.

    :raises PindoConfigurationError: no task of this version wrote it.
    """
    if is_batch(key):
        for row in read_rows(value):
            yield _of_row(key, row)
        return
    entry = _read_single(key, value)
    outcome = _column(entry.status, entry.outcome)
    sms_id = (entry.result or {}).get("sms_id")
    yield Person(
        key,
        None,
        entry.to or "",
        outcome,
        reason=_reason(entry),
        sms_id="" if sms_id is None else str(sms_id),
        settled=_settled(entry.settled) if entry.settled else None,
    )


def _of_row(key: str, row: RowOutcome) -> Person:
    settled = None if row.settlement is None else _settled(row.settlement.to_value())
    return Person(key, row.row, row.number, row.outcome, row.reason, row.sms_id, settled)


def _reason(entry: Entry) -> str:
    """Return why one message was rejected, or why its outcome is unknown and when its request began."""
    if entry.status != UNKNOWN:
        return entry.reason or "" if _column(entry.status, entry.outcome) == REJECTED else ""
    reason = entry.reason or "no response to the request"
    with suppress(ValueError, TypeError):
        return f"{reason}; it began at {datetime.fromisoformat(str(entry.began)):%Y-%m-%d %H:%M:%S} UTC"
    return reason


def _settled(settlement: Mapping[str, Any]) -> dict[str, Any]:
    return {"by": settlement.get("who") or settlement.get("by"), "at": settlement.get("at")}


def sms_ids(key: str, value: Any) -> set[str]:
    """Return the ids of the messages of an entry, as far as it has any."""
    if not isinstance(value, Mapping):
        return set()
    if is_batch(key):
        return {sms_id for sms_id in str(value.get("sms_ids", "")).split(" ") if sms_id not in ("", "-")}
    result = value.get("result")
    sms_id = result.get("sms_id") if isinstance(result, Mapping) else None
    return set() if sms_id is None else {str(sms_id)}


def balance(value: Any) -> float | None:
    """Return the balance that Pindo named after the request of an entry, in USD; None when it named none."""
    result = value.get("result") if isinstance(value, Mapping) else None
    return usd(result.get("remaining_balance")) if isinstance(result, Mapping) else None


def usd(value: Any) -> float | None:
    """Return an amount of an entry; None when it is not a number."""
    return float(value) if type(value) in (float, int) and math.isfinite(value) else None
