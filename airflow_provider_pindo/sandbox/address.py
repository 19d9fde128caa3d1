"""The address at which a sandbox listens, and the Airflow connection to it."""

from __future__ import annotations

import json

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8025
DEFAULT_TOKEN = "sandbox-token"  # noqa: S105 - valid for the sandbox only
EXTRAS = {"sender": "PindoTest", "country": "RW"}


def connection_json(url: str, token: str) -> str:
    """An Airflow connection to the sandbox at this address, as the JSON that Airflow reads."""
    return json.dumps({"conn_type": "pindo", "host": url, "password": token, "extra": EXTRAS})
