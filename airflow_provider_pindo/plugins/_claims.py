"""Which messages the ledger of this Airflow names: a ``sent`` event of such a message proves nothing of another."""

from __future__ import annotations

from datetime import datetime

from airflow.utils.session import create_session

from airflow_provider_pindo.plugins import _entries, _models, _store


def claimed_ids(since: datetime) -> set[str] | None:
    """Return the ids of the messages that entries written since a time name, of any task.

    None if that cannot be known, since a backend of the workers keeps such entries.

    Runs that are older than a week by then are left out, which keeps the query fast.

    :raises StoreError: the database did not answer.
    """
    if not _models.has_store():
        return set()
    with _store.without_contents(), create_session() as session:
        values = _models.iter_written(
            session, since, _entries.PREFIX, containing=('"sms_id', _models.REFERENCE)
        )
        claimed: set[str] = set()
        for key, value in values:
            if value is None:
                return None
            claimed |= _entries.sms_ids(key, value)
        return claimed
