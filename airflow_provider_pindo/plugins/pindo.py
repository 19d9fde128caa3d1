"""The Airflow plugin ``pindo``, which adds Pindo's routes and pages to the API server.

Every process of Airflow imports this module. It loads nothing but Airflow's plugin class: the app is built when the
API server asks for it. On Airflow before 3.1 the plugin adds nothing.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from airflow import __version__ as _AIRFLOW_VERSION
from airflow.providers.common.compat.sdk import AirflowPlugin

#: Where the API server mounts the app.
_URL_PREFIX = "/pindo"


class PindoPlugin(AirflowPlugin):
    """Adds the webhook receiver, the reading of its events, and the pages to Airflow's API server."""

    name = "pindo"

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The app for the API server, built when it is asked for."""
        if not _has_pages():
            return []
        from airflow_provider_pindo.plugins._app import create_app

        return [{"app": create_app(), "url_prefix": _URL_PREFIX, "name": "pindo"}]


def _has_pages() -> bool:
    """Return whether this Airflow has the plugins' apps and pages that we use: 3.1 and later."""
    major, minor = _AIRFLOW_VERSION.split(".")[:2]
    return (int(major), int(minor)) >= (3, 1)
