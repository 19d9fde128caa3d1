"""What Airflow is told about this provider: its parts, and the form of the ``pindo`` connection.

The form is declared here once. Airflow 3 reads it from here without importing the hook; for Airflow 2.11
the hook builds its widgets from the same declaration.
"""

from __future__ import annotations

from typing import Any

#: Fields of the connection form below the standard ones; each is stored in the connection's extra.
CONNECTION_FIELDS: dict[str, dict[str, Any]] = {
    "sender": {
        "label": "Default sender ID",
        "description": "Shown on the handset when a task names no sender; at most 11 characters. "
        "PindoTest works for every account.",
        "schema": {"type": ["string", "null"], "maxLength": 11},
    },
    "country": {
        "label": "Country",
        "description": "Two-letter code, such as RW, of the country whose national numbers (0781234567) are "
        "understood. Empty: only international numbers (+250781234567) are taken.",
        "schema": {"type": ["string", "null"], "maxLength": 2},
    },
    "timeout": {
        "label": "Timeout",
        "description": "Seconds to wait for an answer to begin, and for each further piece of it (the whole may take "
        "four times as long); 30 when empty. A message whose answer does not come is not sent again, so choose too "
        "long rather than too short.",
        "schema": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 86400},
    },
    "requests_per_second": {
        "label": "Requests per second",
        "description": "At most this many requests each second from one process; empty: as many as there are.",
        "schema": {"type": ["number", "null"], "minimum": 0.0001},
    },
    "timezone": {
        "label": "Time zone",
        "description": "Zone of the times of inbound messages, such as Africa/Kigali; UTC when empty.",
        "schema": {"type": ["string", "null"]},
    },
    "allow_http": {
        "label": "Allow http://",
        "description": "Send the token unencrypted to a host that is not this machine. Leave it off.",
        "schema": {"type": ["boolean", "null"], "default": False},
    },
}

CONNECTION_FORM: dict[str, Any] = {
    "hidden-fields": ["login", "schema"],
    "relabeling": {"password": "API token", "host": "Host"},
    "placeholders": {
        "host": "https://api.pindo.io",
        "port": "443",
        "password": "from the Security page of your Pindo account",
    },
}


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata, in the form of Airflow's ``provider_info.schema.json``."""
    from airflow_provider_pindo import __version__

    return {
        "package-name": "airflow-provider-pindo",
        "name": "Pindo",
        "description": "`Pindo <https://www.pindo.io/>`__: SMS and phone verification in Rwanda and across "
        "Africa, with retries that text nobody twice.",
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": "Pindo",
                "external-doc-url": "https://docs.pindo.ai/",
                "how-to-guide": [
                    f"/docs/howto/{page}.rst"
                    for page in ("send", "bulk", "verify", "wait", "watch", "alert", "hook")
                ],
                "logo": "/docs/integration-logos/Pindo.svg",
                "tags": ["service"],
            }
        ],
        "operators": [
            {
                "integration-name": "Pindo",
                "python-modules": [
                    "airflow_provider_pindo.operators.sms",
                    "airflow_provider_pindo.operators.verify",
                ],
            }
        ],
        "sensors": [{"integration-name": "Pindo", "python-modules": ["airflow_provider_pindo.sensors.sms"]}],
        "triggers": [
            {"integration-name": "Pindo", "python-modules": ["airflow_provider_pindo.triggers.sms"]}
        ],
        "hooks": [{"integration-name": "Pindo", "python-modules": ["airflow_provider_pindo.hooks.pindo"]}],
        "connection-types": [
            {
                "connection-type": "pindo",
                "hook-name": "Pindo",
                "hook-class-name": "airflow_provider_pindo.hooks.pindo.PindoHook",
                "ui-field-behaviour": CONNECTION_FORM,
                "conn-fields": CONNECTION_FIELDS,
            }
        ],
        "notifications": ["airflow_provider_pindo.notifications.sms.PindoNotifier"],
        "extra-links": ["airflow_provider_pindo.operators.sms.PindoMessageLink"],
    }
