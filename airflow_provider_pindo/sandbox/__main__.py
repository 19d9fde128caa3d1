"""``python -m airflow_provider_pindo.sandbox``: the sandbox by hand, until Ctrl-C.

Prints the page's address and the line that points Airflow at it. Ends with 0 on SIGINT and SIGTERM, and
with 1 and one sentence when it cannot start.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import errno
import ipaddress
import json
import logging
import shlex
import signal
import sqlite3
import sys
from typing import Any

from airflow_provider_pindo.sandbox.address import DEFAULT_HOST, DEFAULT_PORT, DEFAULT_TOKEN
from airflow_provider_pindo.sandbox.runner import SandboxClient, serving
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
        return _fail(_why(error, options))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_pindo.sandbox",
        description="A local Pindo: the SMS API, and a page of phones that shows what arrived.",
        epilog=f"Settings for --set: {', '.join(each.name for each in dataclasses.fields(Settings))}. "
        "What each does is in the reference of the documentation, on the page of the sandbox.",
    )
    parser.add_argument("--host", default=DEFAULT_HOST, help="address to listen on (default %(default)s)")
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
        "--inbound-order", choices=("newest_first", "oldest_first"), help="of the inbound list"
    )
    parser.add_argument("--webhook-url", metavar="URL", help="where to POST events (default: nowhere)")
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


def _port(written: str) -> int:
    if not written.isdecimal() or int(written) > 65535:  # pragma: no cover - tested as a process
        raise argparse.ArgumentTypeError(f"{written!r} is no port: give a number from 0 to 65535")
    return int(written)


def _settings(options: argparse.Namespace) -> Settings:
    """What the command line sets; ids begin at the clock, since memory ends with the process."""
    named = {name: getattr(options, name) for name in ("balance", "inbound_order", "webhook_url")}
    settings = Settings(first_id=first_id_from_clock()).changed(
        {name: value for name, value in named.items() if value is not None}
    )
    for pair in options.set:
        name, _, written = pair.partition("=")
        settings = _with(settings, name, written)
    return settings


def _with(settings: Settings, name: str, written: str) -> Settings:
    """The settings with one changed to its JSON value, or to what is written where only that fits."""
    try:
        value: Any = json.loads(written)
    except ValueError:
        return settings.changed({name: written})
    try:
        return settings.changed({name: value})
    except ValueError:
        with contextlib.suppress(ValueError):
            return settings.changed({name: written})
        raise


async def _serve(options: argparse.Namespace, settings: Settings) -> None:
    end = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, end.set)
    tokens = tuple(options.token or [DEFAULT_TOKEN])
    async with serving(options.host, options.port, tokens, options.state, settings, options.verbose) as url:
        _greet(SandboxClient(url, tokens[0]), options.host)
        await end.wait()


def _greet(client: SandboxClient, host: str) -> None:
    if not _is_loopback(host):
        print(f"Warning: {host} is not a loopback address: whoever reaches it can read and control this.")
    print(f"The phones are at {client.url}/")
    print("Point Airflow at this sandbox with")
    print(f"\n  export AIRFLOW_CONN_PINDO_DEFAULT={shlex.quote(client.connection_json())}\n")
    print("Ctrl-C ends it.", flush=True)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _why(error: OSError, options: argparse.Namespace) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {options.port} is taken; choose another with --port, or --port 0 for a free one"
    return f"cannot listen on {options.host}:{options.port}: {error.strerror or error}"


def _fail(sentence: str) -> int:
    print(f"Error: {sentence}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
