"""The Airflow plugin ``pindo``, which adds Pindo's routes and pages to the API server.

Every process of Airflow imports this module. It loads nothing but Airflow's plugin class: the app is built when the
API server asks for it. On Airflow before 3.1 the plugin adds nothing, and logs an error if webhooks are on.
"""

from __future__ import annotations

import logging
from functools import cached_property
from typing import Any

from airflow.providers.common.compat.sdk import AirflowPlugin
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_1_PLUS

_log = logging.getLogger(__name__)

#: Where the API server mounts the app.
_URL_PREFIX = "/pindo"

#: Destination, route and query of each view. Airflow fills in the names in braces.
_VIEWS = (
    ("nav", "pindo", ""),
    ("dag_run", "pindo-run", "?dag_id={DAG_ID}&run_id={RUN_ID}"),
    (
        "task_instance",
        "pindo-task",
        "?dag_id={DAG_ID}&run_id={RUN_ID}&task_id={TASK_ID}&map_index={MAP_INDEX}",
    ),
)
#: A speech bubble, in a blue that stands out on light, on dark and on the chosen item.
_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24' fill='none' stroke='%235f8fc9' "
    "stroke-width='2' stroke-linejoin='round' stroke-linecap='round'%3E"
    "%3Cpath d='M21 12a8 8 0 0 1-8 8H4l2-3a8 8 0 1 1 15-5z'/%3E%3Cpath d='M8 12h.01M12 12h.01M16 12h.01'/%3E%3C/svg%3E"
)


class PindoPlugin(AirflowPlugin):
    """Adds the webhook receiver, the reading of its events, and the pages to Airflow's API server."""

    name = "pindo"

    @classmethod
    def on_load(cls, *args: Any, **kwargs: Any) -> None:
        """Say that webhooks cannot be received, if they are on and this Airflow is too old."""
        if AIRFLOW_V_3_1_PLUS:
            return
        from airflow_provider_pindo.hooks._webhook_config import webhooks_are_on

        if webhooks_are_on():
            _log.error(
                "[pindo] webhooks is on, but no webhook is received: this needs Airflow 3.1 or later. Upgrade "
                "Airflow, or switch webhooks off"
            )

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The app for the API server, built when it is asked for."""
        if not AIRFLOW_V_3_1_PLUS:
            return []
        from airflow_provider_pindo.plugins._app import create_app

        return [{"app": create_app(), "url_prefix": _URL_PREFIX, "name": "pindo"}]

    @cached_property
    def external_views(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The page in the navigation, and its tabs on a DAG run and on a task instance."""
        return [_view(*view) for view in _VIEWS] if AIRFLOW_V_3_1_PLUS else []


def _view(destination: str, url_route: str, query: str) -> dict[str, Any]:
    """Return a view for Airflow's UI. Its address has no leading slash, since Airflow may be below a path."""
    return {
        "name": "Pindo",
        "href": f"{_URL_PREFIX[1:]}/ui/{query}",
        "destination": destination,
        "url_route": url_route,
        "icon": _ICON,
    }
