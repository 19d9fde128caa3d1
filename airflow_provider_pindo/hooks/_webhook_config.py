"""The section ``[pindo]`` of Airflow's configuration: whether webhooks are on, and where the API server is."""

from __future__ import annotations

from dataclasses import dataclass

from airflow import __version__ as _AIRFLOW_VERSION
from airflow.providers.common.compat.sdk import conf
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_1_PLUS

from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.limits import DEFAULT_RETENTION_DAYS

#: A hundred years. With many more there is no such date.
_MAX_RETENTION_DAYS = 36_500


def webhooks_are_on() -> bool:
    """Return whether ``[pindo] webhooks`` is on in this process."""
    return bool(conf.getboolean("pindo", "webhooks", fallback=False))


def check_airflow(what: str) -> None:
    """Refuse ``what`` on an Airflow whose API server cannot receive webhooks.

    :raises PindoConfigurationError: this Airflow is older than 3.1.
    """
    if not AIRFLOW_V_3_1_PLUS:
        raise PindoConfigurationError(
            f"{what} needs Airflow 3.1 or later, whose API server receives Pindo's webhooks. This is Airflow "
            f"{_AIRFLOW_VERSION}: upgrade it, or remove {what}"
        )


def check_webhooks() -> None:
    """Refuse what needs webhooks if they are not on.

    :raises PindoConfigurationError: this Airflow is older than 3.1, or ``[pindo] webhooks`` is off.
    """
    check_airflow("[pindo] webhooks")
    if not webhooks_are_on():
        raise PindoConfigurationError(
            "webhooks are off: set [pindo] webhooks = True (AIRFLOW__PINDO__WEBHOOKS=True) for every component of "
            "Airflow, and give Pindo the address that 'python -m airflow_provider_pindo.plugins url' prints"
        )


def api_url() -> str:
    """Return the address of the API server, without a slash at its end."""
    url = conf.get("pindo", "api_url", fallback=None) or _execution_url().rstrip("/").removesuffix(
        "/execution"
    )
    return str(url).rstrip("/")


def _execution_url() -> str:
    """Return the address that Airflow's own tasks use."""
    url = conf.get("core", "execution_api_server_url", fallback=None)
    if not url:
        base = conf.get("api", "base_url", fallback=None) or "/"
        url = f"http://localhost:8080{base}" if base.startswith("/") else base
    return str(url)


@dataclass(frozen=True, slots=True)
class ApiCertificates:
    """The TLS files with which Airflow's own tasks reach the API server, from the section ``[api]``.

    :param trusted: bundles that its certificate is checked with.
    :param client: certificate and key that the client shows, or None.
    :param trusts_public: whether public certificates are trusted as well.
    """

    trusted: tuple[str, ...] = ()
    client: tuple[str, str] | None = None
    trusts_public: bool = True


def api_certificates() -> ApiCertificates:
    """Return what Airflow's Task SDK uses: ``ssl_ca_file``, ``ssl_cert``, and the options of the client."""
    files = (_api_option("ssl_ca_file"), _api_option("ssl_cert"))
    certificate, key = _api_option("client_ssl_cert"), _api_option("client_ssl_key")
    return ApiCertificates(
        trusted=tuple(file for file in files if file),
        client=(certificate, key) if certificate and key else None,
        trusts_public=bool(conf.getboolean("api", "client_use_public_certs", fallback=True)),
    )


def _api_option(name: str) -> str | None:
    return conf.get("api", name, fallback=None) or None


def retention_days() -> int:
    """Return the days after which an event is deleted; at least 1.

    :raises PindoConfigurationError: the option is not an integer.
    """
    value = conf.get("pindo", "webhook_retention_days", fallback=DEFAULT_RETENTION_DAYS)
    try:
        days = int(value)
    except (TypeError, ValueError):
        raise PindoConfigurationError(
            f"[pindo] webhook_retention_days is {value!r}: set it to a whole number of days, such as "
            f"{DEFAULT_RETENTION_DAYS}, and restart the API server"
        ) from None
    return min(max(1, days), _MAX_RETENTION_DAYS)
