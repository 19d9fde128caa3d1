"""``python -m airflow_provider_pindo.sandbox``: run the sandbox until Ctrl-C.

Prints the page's address and the line that points Airflow to it. The exit status is 0 after SIGINT and
SIGTERM, and 1 with one sentence when it cannot start.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import ipaddress
import json
import logging
import signal
import sqlite3
import sys
from typing import Any

from airflow_provider_pindo.sandbox.address import (
    DEFAULT_HOST,
    DEFAULT_PORT,
    DEFAULT_TOKEN,
    export_lines,
    receiver_url,
)
from airflow_provider_pindo.sandbox.runner import serve
from airflow_provider_pindo.sandbox.settings import Settings, first_id_from_clock


def main(arguments: list[str] | None = None) -> int:
    """Run until a signal.

    :return: the exit status.
    """
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        asyncio.run(_serve(options, _settings(options)))
    except ValueError as error:
        return _fail(str(error))
    except sqlite3.Error as error:
        return _fail(f"cannot keep state in {options.state}: {error}")
    except OSError as error:
        return _fail(_reason(error, options))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_pindo.sandbox",
        description="A local Pindo: the SMS API, and a page of phones that shows what arrived.",
        epilog=f"Settings for --set: {', '.join(Settings.__struct_fields__)}. "
        "The documentation's reference describes each, on its page of the sandbox.",
    )
    parser.add_argument("--host", default=DEFAULT_HOST, help="address to listen on (default %(default)s)")
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="another name under which browsers reach it, such as that of a proxy; repeatable",
    )
    parser.add_argument(
        "--port", type=_port, default=DEFAULT_PORT, help="0 picks a free one (default %(default)s)"
    )
    parser.add_argument(
        "--token", action="append", metavar="TOKEN", help=f"API token; repeatable (default {DEFAULT_TOKEN})"
    )
    parser.add_argument(
        "--state", metavar="FILE", help="keep messages and wallet in this file (default: memory)"
    )
    parser.add_argument("--balance", type=float, help="USD in the wallet of a new sandbox (default 500)")
    parser.add_argument(
        "--inbound-order", choices=("newest_first", "oldest_first"), help="order of the inbound list"
    )
    parser.add_argument(
        "--webhook-url", metavar="URL", help="where to POST events without an address of their own"
    )
    parser.add_argument(
        "--airflow",
        type=_address,
        metavar="URL",
        help="send webhooks to the Airflow whose UI is here, such as http://localhost:8080",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any setting, as JSON or plain text, such as bulk_limit=100; repeatable",
    )
    parser.add_argument(
        "--verbose", action="store_true", help="log one line for each request, numbers masked"
    )
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:  # pragma: no cover - tested as a process
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; use a number from 0 to 65535")
    return int(text)


def _address(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an address; write one such as http://localhost:8080"
        )
    return text


def _settings(options: argparse.Namespace) -> Settings:
    """The settings of the command line. Ids begin at the clock, since memory ends with the process."""
    options_by_name = {name: getattr(options, name) for name in ("balance", "inbound_order", "webhook_url")}
    settings = Settings(first_id=first_id_from_clock()).changed(
        {name: value for name, value in options_by_name.items() if value is not None}
    )
    if options.airflow is not None:
        settings = settings.changed({"webhook_url": receiver_url(options.airflow)})
    for pair in options.set:
        name, _, text = pair.partition("=")
        settings = _with(settings, name, text)
    return settings


def _with(settings: Settings, name: str, text: str) -> Settings:
    """The settings with one changed to a JSON value, or to the plain text where only that is valid."""
    try:
        value: Any = json.loads(text)
    except ValueError:
        return settings.changed({name: text})
    try:
        return settings.changed({name: value})
    except ValueError:
        with contextlib.suppress(ValueError):
            return settings.changed({name: text})
        raise


async def _serve(options: argparse.Namespace, settings: Settings) -> None:
    end = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, end.set)
    tokens = tuple(options.token or [DEFAULT_TOKEN])
    async with serve(
        options.host, options.port, tokens, options.state, settings, options.verbose, options.allow_host
    ) as url:
        _greet(url, export_lines(url, tokens[0], settings.webhook_url), options.host)
        await end.wait()


def _greet(url: str, lines: list[str], host: str) -> None:
    if not _is_loopback(host):
        print(
            f"Warning: {host} is not a loopback address: everyone who can reach it can read and control the "
            "sandbox."
        )
    print(f"The phones are at {url}/")
    print("Point Airflow at this sandbox with\n")
    for line in lines:
        print(f"  {line}")
    print()
    print("Ctrl-C stops it.", flush=True)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _reason(error: OSError, options: argparse.Namespace) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {options.port} is in use; choose another with --port, or --port 0 for a free one"
    return f"cannot listen on {options.host}:{options.port}: {error.strerror or error}"


def _fail(sentence: str) -> int:
    print(f"Error: {sentence}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
