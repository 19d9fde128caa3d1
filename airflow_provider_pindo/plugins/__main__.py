"""``python -m airflow_provider_pindo.plugins url``: print the addresses to paste into Pindo's dashboard.

The last line ends with the address for webhooks without headers. The exit status is 0, or 1 with a sentence on stderr.
"""

from __future__ import annotations

import argparse
import os
import sys

from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.limits import DEFAULT_CONN_ID


def main(arguments: list[str] | None = None) -> int:
    """Print the addresses.

    :return: the exit status.
    """
    options = _parser().parse_args(arguments)
    # Airflow's commands say so too. It makes a connection come from every backend, the database included.
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    try:
        _print_addresses(options.conn_id, options.base_url)
    except PindoConfigurationError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _print_addresses(conn_id: str, base_url: str | None) -> None:
    from airflow.providers.common.compat.sdk import AirflowException

    from airflow_provider_pindo.hooks._settings import read_webhook_secret
    from airflow_provider_pindo.hooks._webhook_config import check_airflow, webhooks_are_on
    from airflow_provider_pindo.plugins._address import webhook_addresses
    from airflow_provider_pindo.plugins._connections import read_connection

    check_airflow("[pindo] webhooks")
    try:
        connection = read_connection(conn_id)
    except AirflowException:
        raise PindoConfigurationError(
            f"there is no connection {conn_id!r}: name one of type pindo with --conn-id"
        ) from None
    if connection.conn_type != "pindo":
        raise PindoConfigurationError(
            f"connection {conn_id!r} is of type {connection.conn_type!r}: name one of type pindo with --conn-id"
        )
    addresses = webhook_addresses(conn_id, read_webhook_secret(connection), base_url)
    if not webhooks_are_on():
        print(
            "Webhooks are off here: set [pindo] webhooks = True for every component of Airflow",
            file=sys.stderr,
        )
    print("For the webhook of a sender ID, to which Pindo can add a header:")
    print(f"  {addresses.with_header}")
    print("  with the header X-Webhook-Secret and the connection's webhook_secret as its value")
    print(
        "For all other webhooks, such as delivery reports. The token in it can post webhooks, and nothing else:"
    )
    print(f"  {addresses.without_header}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m airflow_provider_pindo.plugins")
    url = parser.add_subparsers(required=True, metavar="url").add_parser(
        "url", help="print the addresses to paste into Pindo's dashboard"
    )
    url.add_argument(
        "--conn-id", default=DEFAULT_CONN_ID, help="a connection of type pindo (default %(default)s)"
    )
    url.add_argument(
        "--base-url",
        metavar="https://…",
        help="address of the API server as Pindo reaches it (default: [api] base_url)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
