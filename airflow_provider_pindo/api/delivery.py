"""What became of a message: its delivery reports, folded into one outcome.

Reports may come twice, late, and in any order. The outcome depends only on which reports there are, so every order of
the same reports gives the same outcome. A message without a conclusive report counts as *no report*, and never as
undelivered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Any

from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.fields import MalformedResponse, read_sms_id, read_time
from airflow_provider_pindo.api.limits import MAX_ID_LENGTH
from airflow_provider_pindo.api.phone import mask_numbers_in

#: Most messages that a result lists by name.
MAX_LISTED = 100
#: Seconds in which Pindo may still deliver what it reported as undelivered. The dashboard switches its retries on, and
#: sets their interval.
RETRY_WINDOW = 30.0


class Standing(IntEnum):
    """What a report says of its message. The highest standing of a message's reports counts.

    A message without a report is inconclusive, too.
    """

    INCONCLUSIVE = 0
    UNDELIVERED = 1
    DELIVERED = 2


# Pindo's reports, Pindo's dashboard and SMPP each have words of their own. ACCEPTED, ACCEPTD, ENROUTE, SENT and UNKNOWN
# say nothing of the phone, and neither does a word that is not listed here.
_STANDINGS = {
    **dict.fromkeys(("DELIVRD", "DELIVERED"), Standing.DELIVERED),
    **dict.fromkeys(
        (
            "UNDELIV",
            "UNDELIVERED",
            "UNDELIVERABLE",
            "FAILED",
            "EXPIRED",
            "REJECTED",
            "REJECTD",
            "DELETED",
        ),
        Standing.UNDELIVERED,
    ),
}
#: Characters of an unusable id that its error shows.
_MAX_SHOWN = 80
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """One delivery report.

    :param sms_id: the message, as text also where Pindo sends a number.
    :param status: Pindo's word, in capitals.
    :param modified_at: when the status changed, by Pindo's clock; None if the report has no time that can be parsed.
    :param received_at: when Airflow received it.
    :param event_id: its number among the events that Airflow received.
    """

    sms_id: str
    status: str
    modified_at: datetime | None
    received_at: datetime
    event_id: int = 0

    @property
    def standing(self) -> Standing:
        """What the report says of the message."""
        return _STANDINGS.get(self.status, Standing.INCONCLUSIVE)

    def as_json(self) -> dict[str, Any]:
        """Return the report as a result lists it: no number and no text."""
        return {
            "sms_id": self.sms_id,
            "status": self.status,
            "modified_at": self.modified_at and self.modified_at.isoformat(),
        }


def read_report(
    body: Mapping[str, Any], timezone: str, received_at: datetime, event_id: int
) -> DeliveryReport:
    """Parse a delivery report, also of the older form.

    :param body: the webhook's body.
    :param timezone: IANA name of the time zone of a time without one.
    :param received_at: when Airflow received it.
    :param event_id: its number among the events that Airflow received.
    :raises MalformedResponse: it names no message or has no status.
    """
    sms_id, status = read_sms_id(body.get("sms_id")), body.get("status")
    if sms_id is None or not isinstance(status, str):
        raise MalformedResponse("it has no 'sms_id' or no 'status'")
    try:
        modified_at = read_time(body.get("modified_at"), timezone)
    except (ValueError, OverflowError):
        modified_at = None
    return DeliveryReport(sms_id, status.strip().upper(), modified_at, received_at, event_id)


def read_messages(value: object) -> tuple[list[str], int]:
    """Return the ids of the messages that an argument names, and how many messages have none.

    :param value: an id, a receipt of a send, or several of either.
    :raises PindoConfigurationError: it is something else.
    """
    several = isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)
    messages: Iterable[object] = value if several else [value]  # type: ignore[assignment]
    ids = [_read_message(message) for message in messages]
    named = [sms_id for sms_id in ids if sms_id is not None]
    return named, len(ids) - len(named)


def _read_message(value: object) -> str | None:
    if isinstance(value, Mapping):
        if value.get("sms_id") is None and "to" not in value:
            keys = mask_numbers_in(", ".join(sorted(map(str, value))))
            raise PindoConfigurationError(
                f"sms_ids has an object with the keys {keys[:200]}, which is no receipt: give what "
                "PindoSendSmsOperator returned, or the report of a bulk send as report_path"
            )
        return read_sms_id(value.get("sms_id"))
    return check_sms_id(value)


def check_sms_id(value: object) -> str:
    """Return a message's id as text.

    :raises PindoConfigurationError: no message can have it, so no report would ever name it.
    """
    text = str(value).strip()
    if (
        isinstance(value, bool)
        or not isinstance(value, str | int)
        or not text
        or text.startswith(("[", "{", "("))
    ):
        raise PindoConfigurationError(
            f"sms_ids has a {type(value).__name__} that is no id of a message: give ids or receipts, such as "
            "sms_ids=send.output (a template gives a text, and not a list)"
        )
    sms_id = read_sms_id(value)
    if sms_id is None:
        raise PindoConfigurationError(
            f"sms_ids has {mask_numbers_in(repr(text[:_MAX_SHOWN]))}, which is no id of a message: an id has at most "
            f"{MAX_ID_LENGTH} printable characters. Give several ids as a list"
        )
    return sms_id


class Deliveries:
    """The messages that somebody waits for, and what became of each.

    :param sms_ids: their ids. Duplicates count once.
    :param retry_window: how long an undelivered message may still be delivered. The dashboard can switch retries on.
    :param unnamed: further messages whose ids nobody knows, so that no report can be matched to them.
    """

    def __init__(
        self, sms_ids: Iterable[str], retry_window: timedelta = timedelta(0), unnamed: int = 0
    ) -> None:
        self._reports: dict[str, DeliveryReport | None] = dict.fromkeys(sms_ids)
        self._retry_window = retry_window
        self._unnamed = unnamed

    def __contains__(self, sms_id: str) -> bool:
        return sms_id in self._reports

    def add(self, reports: Mapping[str, Iterable[DeliveryReport]]) -> None:
        """Add reports, by message. Those of other messages are ignored."""
        for sms_id in reports.keys() & self._reports.keys():
            known = self._reports[sms_id]
            candidates = [*reports[sms_id], *([] if known is None else [known])]
            self._reports[sms_id] = max(candidates, key=_precedence)

    def add_ids(self, sms_ids: Iterable[str]) -> None:
        """Add messages that were unnamed until their ids were found."""
        new = dict.fromkeys(sms_id for sms_id in sms_ids if sms_id not in self._reports)
        self._reports |= new
        self._unnamed -= len(new)

    def pending(self, now: datetime) -> list[str]:
        """Return the messages whose outcome is still open at ``now``."""
        return [sms_id for sms_id, report in self._reports.items() if not self._is_final(report, now)]

    def result(self) -> dict[str, Any]:
        """Return the outcome: three counts that add up to ``of``, and the first messages that were not delivered."""
        counts = dict.fromkeys(Standing, 0)
        not_delivered: list[dict[str, Any]] = []
        for sms_id, report in self._reports.items():
            standing = Standing.INCONCLUSIVE if report is None else report.standing
            counts[standing] += 1
            if standing is not Standing.DELIVERED and len(not_delivered) < MAX_LISTED:
                nothing = {"sms_id": sms_id, "status": None, "modified_at": None}
                not_delivered.append(nothing if report is None else report.as_json())
        return {
            "delivered": counts[Standing.DELIVERED],
            "undelivered": counts[Standing.UNDELIVERED],
            "no_report": counts[Standing.INCONCLUSIVE] + self._unnamed,
            "of": len(self._reports) + self._unnamed,
            "not_delivered": not_delivered,
        }

    def _is_final(self, report: DeliveryReport | None, now: datetime) -> bool:
        if report is None or report.standing is Standing.INCONCLUSIVE:
            return False
        return report.standing is Standing.DELIVERED or report.received_at + self._retry_window <= now


def _precedence(report: DeliveryReport) -> tuple[Standing, datetime, str, datetime]:
    return report.standing, report.modified_at or _EPOCH, report.status, report.received_at
