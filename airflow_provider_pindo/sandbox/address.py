"""Where a sandbox listens, and the Airflow connection that points to it."""

from __future__ import annotations

import json

DEFAULT_HOST = "127.0.0.1"

DEFAULT_PORT = 8025

DEFAULT_TOKEN = "sandbox-token"  # noqa: S105 - opens nothing but the sandbox

_EXTRAS = {"sender": "PindoTest", "country": "RW"}


def connection_json(url: str, token: str) -> str:
    """An Airflow connection to the sandbox at this address, as the JSON that Airflow reads."""
    return json.dumps({"conn_type": "pindo", "host": url, "password": token, "extra": _EXTRAS})
