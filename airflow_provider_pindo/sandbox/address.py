"""The address at which a sandbox listens, and what points Airflow to it."""

from __future__ import annotations

import ipaddress
import json
import shlex
from collections.abc import Collection
from urllib.parse import urlsplit

from airflow_provider_pindo.api.webhooks import posting_token

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8025
DEFAULT_TOKEN = "sandbox-token"  # noqa: S105 - valid for the sandbox only
DEFAULT_SECRET = "sandbox-secret"  # noqa: S105 - the same
#: How the names end that nobody can register.
_PRIVATE_ENDINGS = (".localhost", ".local", ".internal")
EXTRAS = {"sender": "PindoTest", "country": "RW"}


def connection_json(url: str, token: str, secret: str | None = None) -> str:
    """An Airflow connection to the sandbox at this address, as the JSON that Airflow reads.

    :param secret: its ``webhook_secret``; None for none.
    """
    extra = EXTRAS if secret is None else {**EXTRAS, "webhook_secret": secret}
    return json.dumps({"conn_type": "pindo", "host": url, "password": token, "extra": extra})


def export_lines(url: str, token: str, webhook_url: str | None) -> list[str]:
    """The lines for a shell that point Airflow to the sandbox at this address.

    :param webhook_url: where the sandbox sends its webhooks. An address of :func:`receiver_url` adds what this Airflow
        needs to receive them.
    """
    has_webhooks = webhook_url is not None and webhook_url.endswith(receiver_url(""))
    connection = connection_json(url, token, DEFAULT_SECRET if has_webhooks else None)
    lines = [f"export AIRFLOW_CONN_PINDO_DEFAULT={shlex.quote(connection)}"]
    return [*lines, "export AIRFLOW__PINDO__WEBHOOKS=True"] if has_webhooks else lines


def receiver_url(airflow: str, secret: str = DEFAULT_SECRET) -> str:
    """The address at which Airflow receives the webhooks of this sandbox, with the token that posts them.

    :param airflow: the address of Airflow's UI.
    :param secret: the connection's ``webhook_secret``.
    """
    token = posting_token(secret, "pindo_default")
    return f"{airflow.rstrip('/')}/pindo/webhooks/pindo_default?token={token}"


def is_trusted_host(host: str, names: Collection[str]) -> bool:
    """Whether a request's ``Host`` is an address, a name that no stranger can register, or one of ``names``.

    A stranger can point a registered name at the sandbox (DNS rebinding). A browser then takes the sandbox for a part
    of the stranger's site.

    :param host: with or without a port.
    """
    try:
        parts = urlsplit(f"//{host}")
        name, _ = (parts.hostname or "").removesuffix("."), parts.port  # reading a broken port raises too
    except ValueError:
        return False
    if not name:
        return False
    try:
        ipaddress.ip_address(name.replace("%25", "%"))
    except ValueError:
        return (
            "." not in name
            or name.endswith(_PRIVATE_ENDINGS)
            or name in {allowed.lower() for allowed in names}
        )
    return True
