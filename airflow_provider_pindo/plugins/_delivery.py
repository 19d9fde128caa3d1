"""What delivery reports say of the messages on the page.

A report names a message by its id. The ledger has the ids of single messages, and of the messages of a bulk send that
went out one by one. Of other messages nothing is known, and the page says so. Without webhooks there are no reports.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_pindo.api.delivery import DeliveryReport, Standing
from airflow_provider_pindo.hooks._webhook_config import webhooks_are_on
from airflow_provider_pindo.plugins import _models
from airflow_provider_pindo.plugins._entries import sms_ids

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from airflow_provider_pindo.plugins._models import Window

#: Batches of bulk sends whose ids are read for one response.
_MAX_BATCHES = 100
_WORDS = {
    Standing.DELIVERED: "delivered",
    Standing.UNDELIVERED: "not delivered",
    Standing.INCONCLUSIVE: "no report yet",
}


def count_delivered(session: Session, window: Window, most: int) -> dict[str, Any] | None:
    """Return ``{"delivered", "not_delivered", "of", "is_cut"}``: how many of the messages with an ID were delivered.

    * The result is None without webhooks.
    * ``delivered`` and ``not_delivered`` are None if no message has an ID.
    * All three numbers are None if the reports cannot be read now.

    :param most: most single messages that are counted.
    :return: ``is_cut`` says whether there may be more messages than were counted.
    """
    if not webhooks_are_on():
        return None
    since: datetime | None = None
    ids: set[str] = set()
    is_cut = False
    for keys, limit, containing in (("pindo_sms", most, ()), ("pindo_bulk_", _MAX_BATCHES, ('"sms_ids"',))):
        values = _models.iter_values(session, window, keys, limit, containing=containing)
        read = 0
        for stored in values:
            read += 1
            ids |= sms_ids(stored.key, stored.value)
            since = stored.run_after if since is None else min(since, stored.run_after)
        is_cut = is_cut or read == limit
    standings = _standings(ids, since)
    if standings is None:
        return {"delivered": None, "not_delivered": None, "of": None, "is_cut": is_cut}
    counts = Counter(standings.values())
    return {
        "delivered": counts[Standing.DELIVERED] if ids else None,
        "not_delivered": counts[Standing.UNDELIVERED] if ids else None,
        "of": len(ids),
        "is_cut": is_cut,
    }


def add_deliveries(people: list[dict[str, Any]]) -> bool | None:
    """Add to each message what became of it, as ``delivery``.

    :param people: with the keys ``sms_id``, ``outcome`` and ``run_after``, which is taken out.
    :return: whether deliveries are known; None when the reports cannot be read now.
    """
    times = [person.pop("run_after") for person in people]
    if not webhooks_are_on():
        return False
    ids = {person["sms_id"] for person in people} - {""}
    standings = _standings(ids, min(times, default=None))
    if standings is None:
        return None
    for person in people:
        if person["sms_id"]:
            person["delivery"] = _WORDS[standings.get(person["sms_id"], Standing.INCONCLUSIVE)]
        elif person["outcome"] in ("accepted", "unknown"):
            person["delivery"] = "its ID is not known"
    return True


def _standings(ids: Collection[str], since: datetime | None) -> dict[str, Standing] | None:
    """Return the highest standing of each message that has a report; None when the reports cannot be read."""
    from airflow_provider_pindo.plugins import _event_table

    if not ids or since is None:
        return {}
    try:
        reports = _event_table.read_reports(ids, since)
    except _event_table.DatabaseError:
        return None
    standings: dict[str, Standing] = {}
    for sms_id, status in reports:
        standing = DeliveryReport(sms_id, status, None, since).standing
        standings[sms_id] = max(standing, standings.get(sms_id, Standing.INCONCLUSIVE))
    return standings
