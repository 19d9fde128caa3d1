"""The addresses to paste into Pindo's dashboard, for the command and for the page."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

from airflow.providers.common.compat.sdk import conf

from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.webhooks import posting_token
from airflow_provider_pindo.hooks._settings import missing_webhook_secret


@dataclass(frozen=True, slots=True)
class WebhookAddresses:
    """Where Pindo posts the webhooks of one connection.

    :param with_header: for webhooks that have the secret in the header ``X-Webhook-Secret``.
    :param without_header: for all others; the posting token is in it.
    """

    with_header: str
    without_header: str = field(repr=False)


def webhook_addresses(conn_id: str, secret: str | None, base_url: str | None = None) -> WebhookAddresses:
    """Return the addresses of a connection's webhooks.

    :param secret: its ``webhook_secret``.
    :param base_url: address of the API server as Pindo reaches it; ``[api] base_url`` when None.
    :raises PindoConfigurationError: there is no secret, or no address.
    """
    if not secret:
        raise missing_webhook_secret(conn_id)
    base_url = base_url or conf.get("api", "base_url", fallback=None) or ""
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        problem = f"{base_url!r} is no address" if base_url else "the address of the API server is not known"
        raise PindoConfigurationError(
            f"{problem}: set [api] base_url to one such as https://airflow.example.org, or give it to "
            "'python -m airflow_provider_pindo.plugins url' as --base-url"
        )
    address = f"{base_url.rstrip('/')}/pindo/webhooks/{quote(conn_id, safe='')}"
    return WebhookAddresses(address, f"{address}?token={posting_token(secret, conn_id)}")
