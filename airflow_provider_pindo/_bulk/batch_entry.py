"""An entry of the bulk ledger: what the task writes for a batch, and how people read and settle it.

In an entry the admitted recipients without an outcome are *unknown*, and those that are not admitted are *not sent*.
The unknown are settled row by row with :func:`settle_rows`, which an answer and the page use. Or a person changes the
entry's status in the Task State Store to *sent* or *not_sent*, which settles all its rows.

An entry is small: rows are ranges (``1-57,59-100``), and numbers are masked. If a person changed anything but its
status, all its recipients are unknown.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from airflow_provider_pindo._bulk.outcome import NOT_AS_WRITTEN, Outcome, SettledRows
from airflow_provider_pindo._bulk.row_numbers import format_rows, parse_rows
from airflow_provider_pindo._ledger.entry import (
    NOT_SENT,
    SENT,
    UNKNOWN,
    VERSION,
    Settlement,
    check_version,
)
from airflow_provider_pindo.api.errors import PindoConfigurationError

if TYPE_CHECKING:
    from airflow_provider_pindo._bulk.batches import Batch

#: Key of the header, and the beginning of an entry's key.
KEY = "pindo_bulk"

#: Different reasons that an entry names, and characters of each: more would make it larger than the UI can edit.
_MAX_REASONS, _MAX_REASON = 10, 80
_OTHER_REASONS = "other reasons"
#: Characters of a name in a settlement.
_MAX_WHO = 40
#: Bytes of an entry with ids. The UI can edit 65,535, and Airflow warns at each write of more.
_MAX_ENTRY = 64_000
#: A masked number of up to this length is as long as before.
_KEEPS_LENGTH = 13
#: Stands for a message that has no id.
_NO_ID = "-"
#: Key of an entry that :func:`settle_rows` has changed since a task wrote it.
_NEW_SETTLEMENT = "is_newly_settled"
#: What reading a value raises that no task wrote.
_MALFORMED = (ValueError, TypeError, LookupError, AttributeError, OverflowError)


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """An entry of an earlier try.

    :param status: the status, as the task wrote it or a person changed it.
    :param outcome: what it says; None when it is not as a task wrote it.
    :param recipients: how many the batch has.
    :param has_new_settlement: whether :func:`settle_rows` has changed it since a task wrote it.
    """

    status: str
    outcome: Outcome | None = None
    recipients: int = 0
    has_new_settlement: bool = False

    @property
    def is_settled(self) -> bool:
        """Whether those whom the task left unknown were settled since, or some of them."""
        if self.outcome is None:
            return False
        return self.has_new_settlement or (bool(self.outcome.unknown) and self.status != UNKNOWN)

    @property
    def spent(self) -> float:
        """USD that were spent, with those of unknown outcome counted as spent."""
        if self.outcome is None:
            return 0.0
        cost = self.outcome.cost + self.outcome.resent_cost
        return cost + (self.outcome.unknown_cost if self.status != NOT_SENT else 0.0)

    def outcome_of(self, batch: Batch) -> Outcome:
        """Return the outcome of ``batch``. A status that a person changed counts for its unknown rows."""
        if self.outcome is None or self.recipients != len(batch) or not self.outcome.is_of(batch.rows):
            return Outcome(unknown={NOT_AS_WRITTEN: list(batch.rows)}, unknown_cost=self.spent)
        return self.apply_status()

    def apply_status(self) -> Outcome:
        """Return the outcome, after a status that a person changed was applied to its unknown rows."""
        outcome = self.outcome or Outcome()
        if self.status == UNKNOWN:
            return outcome
        unknown = outcome.take_unknown()
        if self.status == SENT:
            outcome.cost += outcome.unknown_cost
        else:
            outcome.not_sent = sorted([*outcome.not_sent, *unknown])
        outcome.unknown_cost = 0.0
        return outcome


@dataclass(frozen=True, slots=True)
class RowOutcome:
    """What an entry says of one recipient.

    :param number: masked.
    :param outcome: ``accepted``, ``rejected``, ``unknown`` or ``not_sent``.
    :param reason: why it is rejected or unknown; else empty.
    :param sms_id: Pindo's id of a message that was sent one by one; else empty.
    :param settlement: who settled it last, if it was unknown once.
    """

    row: int
    number: str
    outcome: str
    reason: str = ""
    sms_id: str = ""
    settlement: Settlement | None = None


def entry_key(index: int) -> str:
    """Return the name of a batch's entry, as the Task State Store shows it."""
    return f"{KEY}_{index:05d}"


def format_entry(batch: Batch, outcome: Outcome, of: str) -> dict[str, Any]:
    """Return the entry of a batch.

    :param of: what ties it to its header.
    """
    if not batch.shown_rows:
        batch.shown_rows, batch.shown_numbers = format_rows(batch.rows), mask_all(batch.numbers)
    entry = {
        "v": VERSION,
        "status": outcome.status,
        "recipients": len(batch),
        "rows": batch.shown_rows,
        **_format_outcome(outcome, len(batch)),
        "of": of,
        "numbers": batch.shown_numbers,
    }
    return _with_ids(entry, outcome, batch.rows)


def read_entry(value: Any, key: str, of: str, generation: int) -> StoredBatch | None:
    """Return what an entry says to the send that ``of`` names; None when it is of an earlier generation.

    :raises PindoConfigurationError: another version of this provider wrote it.
    """
    check_version(value, key)
    if _is_of_earlier_generation(value, generation):
        return None
    try:
        stored = _parse_entry(value)
        if stored is not None and value["of"] == of:
            return stored
    except _MALFORMED:
        pass
    return StoredBatch(UNKNOWN)  # a person has changed something other than the status


def mask_all(numbers: Sequence[str]) -> str:
    """Return E.164 numbers masked, as :func:`~airflow_provider_pindo.api.phone.mask_phone_number` does, but faster."""
    lengths = set(map(len, numbers))
    if len(lengths) == 1 and (length := lengths.pop()) <= _KEEPS_LENGTH:
        masked = bytearray(" ".join(numbers), "ascii")
        for position in range(length - 7, length - 3):
            masked[position :: length + 1] = b"*" * len(numbers)
        return masked.decode()
    return " ".join([f"{number[: min(6, len(number) - 7)]}****{number[-3:]}" for number in numbers])


def read_rows(value: Any) -> Iterator[RowOutcome]:
    """Yield what an entry says of each of its recipients, in the order of their rows.

    :param value: the JSON value of an entry such as ``pindo_bulk_00001``.
    :raises PindoConfigurationError: it is not as a task wrote it, or another version of this provider wrote it.
    """
    stored, rows = _open_entry(value)
    outcome = stored.apply_status()
    columns = outcome.column_of_rows()
    settlements = {
        row: some.settlement for some in outcome.settled for row in (*some.arrived, *some.not_arrived)
    }
    numbers = str(value.get("numbers")).split(" ")
    if len(numbers) != len(rows):  # nothing depends on them, so they need not be as written
        numbers = [""] * len(rows)
    for row, number in zip(rows, numbers, strict=True):
        column, reason = columns.get(row, ("accepted", ""))
        yield RowOutcome(row, number, column, reason, outcome.sms_ids.get(row, ""), settlements.get(row))


def settle_rows(
    value: Any,
    arrived: Collection[int],
    not_arrived: Collection[int],
    settlement: Settlement,
    sms_ids: Mapping[int, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return an entry with unknown rows settled. The next try of the task takes it up.

    The entry records the settlement. Many settlements share records, so the entry stays small.

    :param value: the JSON value of an entry such as ``pindo_bulk_00001``.
    :param arrived: unknown rows that got the message; they become accepted.
    :param not_arrived: unknown rows that did not; they become not sent.
    :param settlement: who or what settles them. Its ``sms_id`` is that of the ``arrived``.
    :param sms_ids: or an id of each of them.
    :raises PindoConfigurationError: a row is not unknown in this entry; or the entry is not as a task wrote it, or
        another version of this provider wrote it.
    """
    stored, rows = _open_entry(value)
    outcome = stored.apply_status()
    try:
        outcome.settle(SettledRows(_short(settlement), frozenset(arrived), frozenset(not_arrived)))
    except ValueError as error:
        raise PindoConfigurationError(f"{error} in this entry, and nothing was settled") from None
    if settlement.sms_id is not None:
        outcome.sms_ids |= dict.fromkeys(arrived, settlement.sms_id)
    outcome.sms_ids |= sms_ids
    value = {key: part for key, part in value.items() if key not in ("began", "sms_ids")}
    settled = _format_outcome(outcome, stored.recipients)
    return _with_ids({**value, "status": outcome.status, **settled, _NEW_SETTLEMENT: True}, outcome, rows)


def _short(settlement: Settlement) -> Settlement:
    """Return what the record keeps of a settlement; an id stands among those of the messages."""
    return Settlement(settlement.by, settlement.who[:_MAX_WHO], settlement.at)


def _open_entry(value: Any) -> tuple[StoredBatch, list[int]]:
    """Return what an entry says, and its rows."""
    check_version(value, f"{KEY}_…")
    try:
        stored, rows = _parse_entry(value), parse_rows(value["rows"])
    except _MALFORMED:
        stored, rows = None, []
    if (
        stored is None
        or stored.outcome is None
        or not stored.outcome.is_of(rows)
        or len(rows) != stored.recipients
    ):
        raise PindoConfigurationError(
            "the entry is not as the task wrote it, so nobody can be settled in it. Restore its value in the Task "
            "State Store (the Storage tab of the task instance)"
        )
    return stored, rows


def _format_outcome(outcome: Outcome, recipients: int) -> dict[str, Any]:
    """Return what an entry says of the outcome, beside its status."""
    return {
        "accepted": outcome.count_accepted(recipients),
        "rejected": _format_reasons(outcome.rejected),
        "unknown": _format_reasons(outcome.unknown),
        "not_sent": format_rows(outcome.not_sent),
        "requests": outcome.requests,
        "segments": outcome.segments,
        "cost": round(outcome.cost, 6),
        "unknown_cost": round(outcome.unknown_cost, 6),
        **({"resent_cost": round(outcome.resent_cost, 6)} if outcome.resent_cost else {}),
        **({"began": "/".join(outcome.began)} if outcome.unknown and outcome.began else {}),
        **({"settled": list(map(_format_settled, outcome.settled))} if outcome.settled else {}),
        **({"admitted_at": outcome.admitted_at} if outcome.admitted_at else {}),
    }


def _with_ids(entry: dict[str, Any], outcome: Outcome, rows: Iterable[int]) -> dict[str, Any]:
    """Return an entry with the ids of its messages. Where they are too long for it, some are left out."""
    if outcome.sms_ids:
        ids = ["_".join(outcome.sms_ids.get(row, _NO_ID).split(" ")) for row in rows]
        text = " ".join(ids)
        # A quick estimate first: JSON makes at most twelve bytes of a character, which may be one of a reason.
        others = sum(len(part) if isinstance(part, str) else 12 * len(repr(part)) for part in entry.values())
        if others + len(text) > _MAX_ENTRY or not text.isascii():
            text = " ".join(_ids_that_fit(ids, _MAX_ENTRY - len(json.dumps({**entry, "sms_ids": ""}))))
        entry["sms_ids"] = text
    return entry


def _ids_that_fit(ids: Sequence[str], room: int) -> Iterator[str]:
    """Yield the ids that fit into ``room`` bytes; each of the others becomes the sign for no id."""
    room -= len(ids) * len(f"{_NO_ID} ")
    for sms_id in ids:
        more = len(json.dumps(sms_id)) - len(json.dumps(_NO_ID))
        if more <= room:
            room -= more
            yield sms_id
        else:
            yield _NO_ID


def _format_settled(some: SettledRows) -> dict[str, str]:
    rows = {"arrived": format_rows(some.arrived), "not_arrived": format_rows(some.not_arrived)}
    return {**some.settlement.to_value(), **{name: ranges for name, ranges in rows.items() if ranges}}


def _format_reasons(reasons: Mapping[str, list[int]]) -> dict[str, str]:
    """Return the rows of each reason; long reasons are cut, and those beyond the first few share one name."""
    rows_by_reason: dict[str, list[int]] = {}
    for reason, rows in reasons.items():
        shown = reason if len(reason) <= _MAX_REASON else f"{reason[:_MAX_REASON]}…"
        if shown not in rows_by_reason and len(rows_by_reason) >= _MAX_REASONS:
            shown = _OTHER_REASONS
        rows_by_reason.setdefault(shown, []).extend(rows)
    return {reason: format_rows(rows) for reason, rows in rows_by_reason.items()}


def _is_of_earlier_generation(value: Any, generation: int) -> bool:
    """Return whether an entry is of a send that was started over since."""
    of = re.fullmatch(r"[0-9a-f]{16}/([0-9]+)", str(value.get("of"))) if isinstance(value, Mapping) else None
    return of is not None and int(of[1]) < generation


def _parse_entry(value: Any) -> StoredBatch | None:
    """Return what an entry says; None when its counts do not add up, or a person wrote it without a version.

    :raises Exception: one of :data:`_MALFORMED`, when a person has changed more than its status.
    """
    outcome, recipients = _parse_outcome(value), int(value["recipients"])
    if "v" not in value or outcome.count_accepted(recipients) != value["accepted"]:
        return None
    return StoredBatch(_read_status(value["status"]), outcome, recipients, value.get(_NEW_SETTLEMENT) is True)


def _parse_outcome(value: Mapping[str, Any]) -> Outcome:
    sms_ids = value.get("sms_ids")
    return Outcome(
        rejected=_parse_reasons(value["rejected"]),
        unknown=_parse_reasons(value["unknown"]),
        not_sent=parse_rows(value["not_sent"]),
        sms_ids={} if sms_ids is None else _parse_ids(value["rows"], sms_ids),
        requests=int(value["requests"]),
        segments=int(value["segments"]),
        cost=_usd(value["cost"]),
        unknown_cost=_usd(value["unknown_cost"]),
        resent_cost=_usd(value.get("resent_cost", 0.0)),
        settled=list(map(_parse_settled, value.get("settled", ()))),
        began=_parse_began(value.get("began")),
        admitted_at=_parse_times(value.get("admitted_at", {})),
    )


def _parse_began(value: str | None) -> tuple[str, str] | None:
    if value is None:
        return None
    first, _, last = value.partition("/")
    for moment in (first, last):
        datetime.fromisoformat(moment)
    return first, last


def _parse_times(value: Mapping[str, str]) -> dict[str, str]:
    for moment, rows in value.items():
        datetime.fromisoformat(moment)
        parse_rows(rows)
    return dict(value)


def _parse_settled(value: Mapping[str, str]) -> SettledRows:
    rows = {name: frozenset(parse_rows(value.get(name, ""))) for name in ("arrived", "not_arrived")}
    return SettledRows(Settlement(by=value["by"], who=value["who"], at=value["at"]), **rows)


def _parse_ids(rows: str, sms_ids: str) -> dict[int, str]:
    pairs = zip(parse_rows(rows), sms_ids.split(" "), strict=True)
    return {row: sms_id for row, sms_id in pairs if sms_id != _NO_ID}


def _parse_reasons(value: Mapping[str, str]) -> dict[str, list[int]]:
    return {reason: parse_rows(rows) for reason, rows in value.items()}


def _usd(value: Any) -> float:
    usd = float(value)
    if not (math.isfinite(usd) and usd >= 0):
        raise ValueError(value)
    return usd


def _read_status(status: object) -> str:
    """Return the status of an entry. Any other word is unknown, which sends nothing."""
    text = str(status).strip().lower()
    return text if text in (SENT, NOT_SENT) else UNKNOWN
