"""The ``pindo`` connection, read once into checked values.

Every mistake in a connection is a :class:`PindoConfigurationError`, which names the field, its value and what to write
there. Nothing here talks to the network, and no extra ever becomes an HTTP header.
"""

from __future__ import annotations

import ipaddress
import json
import math
import re
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_pindo.api.arguments import check_sender, masked_repr, read_flag
from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.limits import (
    DEFAULT_HOST,
    DEFAULT_TIMEOUT,
    MAX_TIMEOUT,
    MIN_REQUESTS_PER_SECOND,
    TOTAL_TIMEOUT_FACTOR,
    VARIABLE_PREFIX,
)
from airflow_provider_pindo.api.windows import parse_window

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection

#: Seconds to wait for a connection. It may be short, since nothing was sent.
_CONNECT_TIMEOUT = 10.0
_TWO_LETTERS = re.compile("[A-Za-z]{2}")
# A domain as people write it. A token with dots, such as a JWT, has capitals.
_DOMAIN = re.compile(r"(?:[a-z0-9-]+\.)+[a-z]{2,6}(?::[0-9]+)?/?")
# The characters of a host, and the hosts that an error shows whole. A longer one may be a token.
_NAME = re.compile(r"[\w.:%-]+")
_SHOWN_HOST = re.compile(r"[\w.:/%\[\]-]{0,40}")
#: Characters of a value that an error shows.
_MAX_SHOWN = 80


@dataclass(frozen=True, slots=True)
class PindoSettings:
    """The settings of a connection.

    :param base_url: scheme, host, port and path prefix, without a slash at the end.
    :param token: the API token.
    :param sender: default sender ID, or None.
    :param country: ISO code of the country whose national numbers are accepted, or None.
    :param timeout: seconds to wait for the next bytes of a response.
    :param requests_per_second: most requests per second from one process, or None.
    :param timezone: IANA time zone of the inbound list.
    :param send_window: the send window of tasks that name none, as it was written; or None.
    :param suppression_list: path or URL of the numbers that must not be texted, or ``variable:NAME``, or None.
    :param verify: whether to check the server's certificate, or the path of a CA bundle to check it with.
    :param cert: path of a client certificate, or (certificate, key), or None.
    :param trusted: paths of further CA bundles to check the server's certificate with.
    :param proxies: proxy address by scheme or host, as in ``requests``.
    :param trust_env: whether the environment's proxies and certificates are used; never for a host on this machine.
    :param webhook_secret: secret of the webhooks, or None.
    """

    base_url: str
    token: str = field(repr=False)
    sender: str | None = None
    country: str | None = None
    timeout: float = DEFAULT_TIMEOUT
    requests_per_second: float | None = None
    timezone: str = "UTC"
    send_window: str | None = None
    suppression_list: str | None = None
    verify: bool | str = True
    cert: str | tuple[str, str] | None = None
    trusted: tuple[str, ...] = ()
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    trust_env: bool = True
    webhook_secret: str | None = field(default=None, repr=False)

    @property
    def connect_timeout(self) -> float:
        """Seconds to wait for a connection, never more than for a response."""
        return min(_CONNECT_TIMEOUT, self.timeout)

    @property
    def whole_timeout(self) -> float:
        """Seconds from the sending of a request to the end of its response."""
        return TOTAL_TIMEOUT_FACTOR * self.timeout

    def url(self, path: str) -> str:
        """Return the address of ``path``."""
        return self.base_url + path

    def proxy(self) -> str | None:
        """Return the one proxy that requests to this host go through, or None."""
        from requests.utils import select_proxy

        hostname = urlsplit(self.base_url).hostname or ""
        proxies = dict(self.proxies)
        if not proxies and self.trust_env and not urllib.request.proxy_bypass(hostname):
            proxies = urllib.request.getproxies()
        return select_proxy(self.base_url, proxies) or None


def read_settings(conn: Connection, name: str | None = None) -> PindoSettings:
    """Return the checked settings of ``conn``.

    :param name: what errors call the connection. Default: by its ID.
    :raises PindoConfigurationError: a field is missing or wrong.
    """
    name = name or _name(conn)
    _refuse_an_address_as_token(conn, name)
    extra = _Extra(conn, name)
    base_url = _base_url(conn, name, allow_http=extra.flag("allow_http", default=False))
    settings = PindoSettings(
        base_url=base_url,
        token=_token(conn, name),
        sender=extra.sender(),
        country=extra.country(),
        timeout=extra.positive("timeout", most=MAX_TIMEOUT) or DEFAULT_TIMEOUT,
        requests_per_second=extra.positive("requests_per_second", least=MIN_REQUESTS_PER_SECOND),
        timezone=extra.zone("timezone"),
        send_window=extra.window("send_window"),
        suppression_list=extra.suppression_list(),
        verify=extra.verify(),
        cert=extra.cert(),
        proxies=extra.proxies(urlsplit(base_url).scheme),
        # A host on this machine needs no proxy, and a proxy would see the token unencrypted.
        trust_env=extra.flag("trust_env", default=True)
        and not is_loopback(urlsplit(base_url).hostname or ""),
        webhook_secret=extra.secret("webhook_secret"),
    )
    if any(
        proxy.lower().startswith("socks") for proxy in (*settings.proxies.values(), settings.proxy() or "")
    ):
        raise PindoConfigurationError(
            f"the proxy of {name} is a SOCKS proxy, and only HTTP proxies are supported. Write "
            "an HTTP proxy into the extra 'proxies'. If the proxy comes from the environment, you can set the extra "
            "'trust_env' to false instead"
        )
    return settings


def read_webhook_secret(conn: Connection) -> str | None:
    """Return the secret of a connection's webhooks, or None if it has none.

    :raises PindoConfigurationError: the extra is not JSON, or the secret cannot be sent in a header.
    """
    return _Extra(conn, _name(conn)).secret("webhook_secret")


def missing_webhook_secret(conn_id: str) -> PindoConfigurationError:
    """Return the error about a connection without a ``webhook_secret``."""
    return PindoConfigurationError(
        f"connection {conn_id!r} has no webhook_secret: write a random text into it, such as the output of "
        "'openssl rand -hex 32', and give Pindo the address that 'python -m airflow_provider_pindo.plugins url' "
        "prints"
    )


def _name(conn: Connection) -> str:
    return f"connection {conn.conn_id!r}"


def _refuse_an_address_as_token(conn: Connection, name: str) -> None:
    """Refuse swapped fields before any error shows the host, which would be the token."""
    password = (conn.password or "").strip()
    if "://" in password or _DOMAIN.fullmatch(password):
        raise PindoConfigurationError(
            f"the API token of {name} is an address: host and token seem to be swapped. Put the "
            "token from the Security page of your Pindo account into the password"
        )


def _token(conn: Connection, name: str) -> str:
    token = (conn.password or "").strip()
    if not token:
        raise PindoConfigurationError(
            f"{name} has no API token: copy it from the Security page of your Pindo account into the password"
        )
    if not token.isascii() or not token.isprintable() or " " in token:
        raise PindoConfigurationError(
            f"the API token of {name} has characters that no token has, such as a space, "
            "a line break or an accent: copy it again from the Security page of your Pindo account"
        )
    return token


def _base_url(conn: Connection, name: str, *, allow_http: bool) -> str:
    host = (conn.host or "").strip() or DEFAULT_HOST
    if "@" in host or "?" in host or "#" in host:
        raise PindoConfigurationError(
            f"host of {name} has more than an address in it: write only {DEFAULT_HOST}, and "
            "the API token into the password"
        )
    can_be_shown = _SHOWN_HOST.fullmatch(host) is not None
    wrong = f"host {host if can_be_shown else f'{host[:4]}…'!r} of {name}"
    if "://" not in host:
        # Airflow writes an IPv6 address without its brackets.
        host = f"{conn.schema or 'https'}://{f'[{host}]' if _is_ipv6(host) else host}"
    try:
        parts = urlsplit(host)
        port = parts.port or conn.port
    except ValueError as error:
        why = f" ({error})" if can_be_shown else ""
        raise PindoConfigurationError(f"{wrong} is not an address{why}: write {DEFAULT_HOST}") from None
    if conn.port and port != conn.port:
        raise PindoConfigurationError(
            f"{wrong} has the port {port}, but the connection's port is {conn.port}: remove one of them"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise PindoConfigurationError(f"{wrong} is not an http(s) address: write {DEFAULT_HOST}")
    if parts.scheme == "http" and not allow_http and not is_loopback(parts.hostname):
        raise PindoConfigurationError(
            f"{wrong} would send the token unencrypted: write https://, or set the extra 'allow_http' to true"
        )
    if not _can_be_a_name(parts.hostname):
        raise PindoConfigurationError(f"{wrong} is not an address: write {DEFAULT_HOST}")
    hostname = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{hostname}{f':{port}' if port else ''}{parts.path.rstrip('/')}"


def _can_be_a_name(hostname: str) -> bool:
    try:
        return bool(_NAME.fullmatch(hostname) and hostname.encode("idna"))
    except UnicodeError:  # a label is empty or too long
        return False


def _is_ipv6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False


def is_loopback(hostname: str) -> bool:
    """Return whether ``hostname`` is this machine."""
    try:
        return ipaddress.ip_address(hostname).is_loopback
    except ValueError:
        return hostname == "localhost" or hostname.endswith(".localhost")


class _Extra:
    """The connection's extra. Its values are typed in JSON, and strings from a form or a URI."""

    def __init__(self, conn: Connection, name: str) -> None:
        self._of = f"of {name}"
        # Not Connection.extra_dejson, which talks to the supervisor: that would block an event loop.
        try:
            values = json.loads(conn.extra or "{}")
        except ValueError:
            raise PindoConfigurationError(
                f"the extra {self._of} is not JSON: write an object like {{}}"
            ) from None
        if not isinstance(values, dict):
            raise PindoConfigurationError(f"the extra {self._of} is not a JSON object: write one like {{}}")
        self._values: dict[str, Any] = {
            key: value for key, value in values.items() if value not in (None, "")
        }

    def text(self, key: str) -> str | None:
        value = self._values.get(key)
        if value is not None and not isinstance(value, str):
            raise self._invalid(key, "write a string")
        return value

    def _invalid(self, key: str, advice: str) -> PindoConfigurationError:
        shown = masked_repr(self._values[key])[:_MAX_SHOWN]
        return PindoConfigurationError(f"extra {key!r} {self._of} is {shown}: {advice}")

    def secret(self, key: str) -> str | None:
        """Read a secret, which no error shows."""
        value = self._values.get(key)
        if value is None:
            return None
        if not isinstance(value, str) or not value.isascii() or not value.isprintable():
            raise PindoConfigurationError(
                f"extra {key!r} {self._of} cannot be sent in a header: write a string of letters, digits and ASCII "
                "punctuation, such as the output of 'openssl rand -hex 32'"
            )
        return value.strip() or None

    def sender(self) -> str | None:
        sender = self.text("sender")
        try:
            return None if sender is None else check_sender(sender)
        except PindoConfigurationError as error:
            raise PindoConfigurationError(f"extra 'sender' {self._of}: {error}") from None

    def country(self) -> str | None:
        """Read ``country`` and check its shape. Only phonenumbers knows all codes, and it is not loaded here."""
        country = self.text("country")
        if country is not None and not _TWO_LETTERS.fullmatch(country.strip()):
            raise self._invalid("country", "write an ISO 3166 two-letter code such as RW or KE")
        return country

    def flag(self, key: str, *, default: bool) -> bool:
        return read_flag(f"extra {key!r} {self._of}", self._values.get(key, default))

    def positive(self, key: str, *, least: float = 0.0, most: float = math.inf) -> float | None:
        value = self._values.get(key)
        if value is None:
            return None
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not (math.isfinite(number) and number > 0):
            raise self._invalid(key, "write a number above 0")
        if not least <= number <= most:
            bound = f"at most {most:g}" if number > most else f"at least {least:g}"
            raise self._invalid(key, f"write {bound}")
        return number

    def zone(self, key: str) -> str:
        import zoneinfo

        name = self.text(key) or "UTC"
        try:
            zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            raise self._invalid(key, "write a time zone such as Africa/Kigali") from None
        return name

    def window(self, key: str) -> str | None:
        """Read a send window and check it. Its zone may be the DAG's, which is not known here."""
        text = self.text(key)
        if text is not None:
            parse_window(f"extra {key!r} {self._of}", text, UTC)
        return text

    def suppression_list(self) -> str | None:
        """Read ``suppression_list`` and check its shape. What it names is read by each task that sends."""
        source = (self.text("suppression_list") or "").strip()
        variable = source.removeprefix(VARIABLE_PREFIX) if source.startswith(VARIABLE_PREFIX) else None
        is_path = not source.startswith(("[", "{")) and ("/" in source or "." in source)
        if source and not (is_path if variable is None else variable.strip()):
            raise self._invalid(
                "suppression_list",
                f"write the path or URL of a file with the numbers, or {VARIABLE_PREFIX}NAME for an Airflow Variable",
            )
        return source or None

    def verify(self) -> bool | str:
        """Read ``verify`` (or ``verify_ssl``) as the HTTP provider does: true, false or the path of a CA bundle."""
        key = "verify" if "verify" in self._values else "verify_ssl"
        value = self._values.get(key, True)
        if isinstance(value, str) and value.strip().lower() not in ("true", "false"):
            return self._file(key, value)
        return self.flag(key, default=True)

    def cert(self) -> str | tuple[str, str] | None:
        value = self._values.get("cert")
        if value is None:
            return None
        if isinstance(value, str):
            return self._file("cert", value)
        if isinstance(value, list) and len(value) == 2 and all(isinstance(path, str) for path in value):
            return self._file("cert", value[0]), self._file("cert", value[1])
        raise PindoConfigurationError(
            f"extra 'cert' {self._of} is not a path: write the path of a certificate, or [certificate, key]"
        )

    def _file(self, key: str, path: str) -> str:
        if not Path(path).exists():
            raise PindoConfigurationError(
                f"extra {key!r} {self._of} names the file {path!r}, which is not on this machine: put it there, "
                "or fix the path"
            )
        return path

    def proxies(self, scheme: str) -> dict[str, str]:
        """Read ``proxies`` (or ``proxy``) as the HTTP provider does: addresses by scheme, or one for all."""
        value = self._values.get("proxies", self._values.get("proxy", {}))
        if isinstance(value, str):
            value = {scheme: value}
        if not isinstance(value, dict) or not all(isinstance(address, str) for address in value.values()):
            raise PindoConfigurationError(
                f"extra 'proxies' {self._of} is not an object: write one like "
                '{"https": "http://proxy.example:3128"}'
            )
        return value
