"""Which certificates a connection uses: those of the Airflow connection, or of the environment."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.hooks._settings import PindoSettings


def ssl_context(settings: PindoSettings) -> ssl.SSLContext | bool:
    """Return what a connection checks the server with.

    :return: True for the client's default certificates, which it loads once; False for no check.
    :raises PindoConfigurationError: a certificate is missing or cannot be used.
    """
    if settings.verify is False and settings.cert is None:
        return False
    bundle = ca_bundle(settings)
    if settings.verify is True and bundle is None and settings.cert is None and not settings.trusted:
        return True
    try:
        if bundle is not None and Path(bundle).is_dir():
            context = ssl.create_default_context(capath=bundle)
        else:
            context = ssl.create_default_context(cafile=bundle)
        for trusted in settings.trusted:
            context.load_verify_locations(trusted)
        if settings.cert is not None:
            context.load_cert_chain(*([settings.cert] if isinstance(settings.cert, str) else settings.cert))
    except OSError as error:  # ssl.SSLError is one
        raise PindoConfigurationError(
            f"the certificates cannot be used ({error}): check the extras 'verify' and 'cert' of the connection, "
            "REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE; and, for webhooks, ssl_ca_file, ssl_cert, client_ssl_cert and "
            "client_ssl_key in the section [api]"
        ) from error
    if settings.verify is False:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def ca_bundle(settings: PindoSettings) -> str | None:
    """Return the certificates to check the server's with: the connection's, or those that requests uses."""
    if isinstance(settings.verify, str):
        return settings.verify
    if not settings.trust_env:
        return None
    return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or None
