"""Message IDs that a ledger entry already names. Their ``sent`` events are no evidence for another message."""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import datetime

from airflow.utils.session import create_session

from airflow_provider_pindo.plugins import _entries, _event_table, _models

log = logging.getLogger(__name__)

#: Most entries that are read for one response.
_MAX_ENTRIES = 10_000


def claimed_ids(since: datetime, sms_ids: Collection[str]) -> set[str] | None:
    """Return those of ``sms_ids`` that are in a ledger entry written since ``since``, of any task.

    None if that cannot be known: there are too many entries, or a backend of the workers keeps some.

    Runs that were due and started more than a week before ``since`` are left out, to bound the query.

    :raises DatabaseError: the database did not answer.
    """
    if not _models.has_store():
        return set()
    with _event_table.without_contents(), create_session() as session:
        values = _models.iter_written(
            session, since, _MAX_ENTRIES + 1, containing=('"sms_id', _models.REFERENCE)
        )
        claimed: set[str] = set()
        for count, (key, value) in enumerate(values):
            if value is None or count == _MAX_ENTRIES:
                why = (
                    "a backend of the workers keeps some entries"
                    if value is None
                    else "there are too many entries"
                )
                log.warning(
                    "No webhook settles an unknown outcome now: %s of the ledger since %s", why, since
                )
                return None
            claimed |= _entries.sms_ids(key, value).intersection(sms_ids)
        return claimed
