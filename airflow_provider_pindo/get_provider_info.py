"""What Airflow reads about this provider: its modules, and the form of the ``pindo`` connection.

The form is declared once, here. Airflow 3 reads it without importing the hook; for Airflow 2.11 the hook builds its
widgets from the same declaration.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_pindo.api.limits import (
    DEFAULT_HOST,
    DEFAULT_RETENTION_DAYS,
    DEFAULT_TIMEOUT,
    MAX_SENDER_LENGTH,
    MAX_TIMEOUT,
    MIN_REQUESTS_PER_SECOND,
    TOTAL_TIMEOUT_FACTOR,
    VARIABLE_PREFIX,
)

#: Fields of the connection form below the standard ones. Each is stored in the connection's extra.
CONNECTION_FIELDS: dict[str, dict[str, Any]] = {
    "sender": {
        "label": "Default sender ID",
        "description": "Shown on the handset when a task names no sender; at most "
        f"{MAX_SENDER_LENGTH} characters. PindoTest works for every account.",
        "schema": {"type": ["string", "null"], "maxLength": MAX_SENDER_LENGTH},
    },
    "country": {
        "label": "Country",
        "description": "Two-letter code of a country, such as RW: its national numbers (0781234567) are accepted. "
        "When empty, only international numbers (+250781234567) are accepted.",
        "schema": {"type": ["string", "null"], "maxLength": 2},
    },
    "timeout": {
        "label": "Timeout",
        "description": f"Seconds to wait for the next bytes of a response; {DEFAULT_TIMEOUT:g} when empty. The whole "
        f"response may take {TOTAL_TIMEOUT_FACTOR} times as long. A long timeout is safer: a message whose response is "
        "late is not sent again, and a person has to settle it.",
        "schema": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": MAX_TIMEOUT},
    },
    "requests_per_second": {
        "label": "Requests per second",
        "description": "The most requests per second from one process. No limit when empty.",
        "schema": {"type": ["number", "null"], "minimum": MIN_REQUESTS_PER_SECOND},
    },
    "timezone": {
        "label": "Time zone",
        "description": "Time zone of inbound messages, such as Africa/Kigali; UTC when empty.",
        "schema": {"type": ["string", "null"]},
    },
    "webhook_secret": {
        "label": "Webhook secret",
        "description": "A random text that only you and Pindo's dashboard know, such as the output of openssl rand "
        "-hex 32. Without it, no webhook of this connection is accepted.",
        "schema": {"type": ["string", "null"], "format": "password"},
    },
    "send_window": {
        "label": "Send window",
        "description": "When single and bulk messages may go out, such as mon-sat 08:00-20:00 Africa/Kigali. A task "
        "waits until it opens, unless it names its own. Any time when empty. PINs and alerts are not bound by it.",
        "schema": {"type": ["string", "null"]},
    },
    "suppression_list": {
        "label": "Suppression list",
        "description": "The numbers that no task texts, such as those that said STOP: the path or URL of a file, or "
        f"{VARIABLE_PREFIX}NAME for a Variable. A list that cannot be read stops every send.",
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
        "host": DEFAULT_HOST,
        "port": "443",
        "password": "from the Security page of your Pindo account",
    },
}

#: The section ``[pindo]`` of Airflow's configuration.
CONFIGURATION: dict[str, Any] = {
    "pindo": {
        "description": "Settings of the Pindo provider. They are for the whole deployment; what belongs to an account "
        "is in its connection.",
        "options": {
            "webhooks": {
                "description": "Receive Pindo's webhooks in the API server, under /pindo/webhooks/, and keep them in "
                "the table pindo_webhook_event. Needs Airflow 3.1.",
                "version_added": "0.1.0",
                "type": "boolean",
                "example": None,
                "default": "False",
            },
            "webhook_retention_days": {
                "description": "Days after which an event is deleted from the table pindo_webhook_event. Set it above "
                "the longest wait of a task, since a waiting task reads its events again.",
                "version_added": "0.1.0",
                "type": "integer",
                "example": None,
                "default": str(DEFAULT_RETENTION_DAYS),
            },
            "api_url": {
                "description": "Address of the API server as tasks and triggers reach it. Default: that of [core] "
                "execution_api_server_url, without /execution at its end.",
                "version_added": "0.1.0",
                "type": "string",
                "example": "http://airflow-api-server:8080",
                "default": None,
            },
        },
    }
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
                    for page in (
                        "send",
                        "when",
                        "bulk",
                        "verify",
                        "wait",
                        "watch",
                        "webhooks",
                        "alert",
                        "hook",
                        "measure",
                        "see",
                    )
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
        "sensors": [
            {
                "integration-name": "Pindo",
                "python-modules": [
                    "airflow_provider_pindo.sensors.sms",
                    "airflow_provider_pindo.sensors.delivery",
                ],
            }
        ],
        "triggers": [
            {
                "integration-name": "Pindo",
                "python-modules": [
                    "airflow_provider_pindo.triggers.sms",
                    "airflow_provider_pindo.triggers.delivery",
                ],
            }
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
        "config": CONFIGURATION,
        "notifications": ["airflow_provider_pindo.notifications.sms.PindoNotifier"],
        "extra-links": ["airflow_provider_pindo.operators.sms.PindoMessageLink"],
    }
