"""The connections that the API server can read, those of teams in Airflow's database included."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from airflow.models.connection import Connection as StoredConnection
from airflow.providers.common.compat.sdk import AirflowException, BaseHook, conf
from sqlalchemy.exc import SQLAlchemyError

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection


def team_of(conn_id: str) -> str | None:
    """Return the team that a connection in Airflow's database belongs to; None without ``[core] multi_team``.

    :raises AirflowException: the database does not say.
    """
    if not conf.getboolean("core", "multi_team", fallback=False):
        return None
    try:
        return StoredConnection.get_team_name(conn_id)
    except SQLAlchemyError as error:
        raise AirflowException(type(error).__name__) from None


def read_connection(conn_id: str) -> Connection:
    """Return a connection from any backend.

    :raises AirflowException: it does not exist, or a backend denies it or is away.
    """
    team = team_of(conn_id)
    if team is None:
        return BaseHook.get_connection(conn_id)
    return cast("Connection", StoredConnection.get_connection_from_secrets(conn_id, team_name=team))
