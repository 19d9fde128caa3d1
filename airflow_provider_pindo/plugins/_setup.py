"""The set-up corner: where Pindo sends its webhooks to, and when the last one came.

Only those who may edit connections see it, since an address contains a token.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.limits import DEFAULT_CONN_ID
from airflow_provider_pindo.hooks._settings import read_webhook_secret
from airflow_provider_pindo.hooks._webhook_config import webhooks_are_on
from airflow_provider_pindo.plugins import _models
from airflow_provider_pindo.plugins._connections import read_connection

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

#: Most connections that are listed.
_MAX_LISTED = 50


def setup(session: Session, may_edit: Callable[[str], bool]) -> dict[str, Any]:
    """Return ``are_on``, and of each Pindo connection its ``addresses`` and ``last``, an ISO time.

    A connection without a usable ``webhook_secret`` has a ``problem`` instead of the addresses.

    :param may_edit: whether the person may edit a connection.
    """
    if not webhooks_are_on():
        return {"are_on": False, "connections": []}
    ids = _models.read_connection_ids(session, _MAX_LISTED)
    editable = filter(may_edit, dict.fromkeys([DEFAULT_CONN_ID, *ids]))
    connections = [_connection(conn_id) for conn_id in editable]
    return {"are_on": True, "connections": [connection for connection in connections if connection]}


def _connection(conn_id: str) -> dict[str, Any] | None:
    """Return what the corner shows of a connection; None if it is no Pindo connection that can be read here."""
    # Webhook code is imported only where webhooks are on.
    from airflow_provider_pindo.plugins import _event_table
    from airflow_provider_pindo.plugins._address import webhook_addresses

    try:
        connection = read_connection(conn_id)
    except Exception:  # it does not exist, or only the workers know it
        return None
    if connection.conn_type != "pindo":
        return None
    try:
        last: datetime | None = _event_table.last_received(conn_id)
    except _event_table.DatabaseError:
        last = None
    shown = {"conn_id": conn_id, "last": last and last.isoformat(), "addresses": None, "problem": None}
    try:
        addresses = webhook_addresses(conn_id, read_webhook_secret(connection))
    except PindoConfigurationError as error:
        return {**shown, "problem": str(error)}
    return {**shown, "addresses": {"any": addresses.without_header, "with_header": addresses.with_header}}
