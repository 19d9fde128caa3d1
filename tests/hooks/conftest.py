"""One suite for both hooks: ``pindo`` is the sync or the async one, and is used the same way."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from airflow_provider_pindo.hooks.pindo import PindoAsyncHook, PindoHook


class Sync:
    """PindoHook as it is."""

    def __init__(self, **kwargs: Any) -> None:
        self.hook = PindoHook(**kwargs)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return getattr(self.hook, name)

    def read_inbound(self, *args: Any, **kwargs: Any) -> list[Any]:
        return list(self.hook.iter_inbound_sms(*args, **kwargs))

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    def send_all(self, numbers: list[str]) -> None:
        for number in numbers:
            self.hook.send_sms(number, "Muraho")


class Async:
    """PindoAsyncHook, each call run to its end in one event loop."""

    def __init__(self, **kwargs: Any) -> None:
        self.runner = asyncio.Runner()
        self.hook = PindoAsyncHook(**kwargs)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.hook, name)
        return lambda *args, **kwargs: self.runner.run(method(*args, **kwargs))

    def read_inbound(self, *args: Any, **kwargs: Any) -> list[Any]:
        async def read() -> list[Any]:
            return [message async for message in self.hook.iter_inbound_sms(*args, **kwargs)]

        return self.runner.run(read())

    def pause(self, seconds: float) -> None:
        self.runner.run(asyncio.sleep(seconds))

    def send_all(self, numbers: list[str]) -> None:
        async def send() -> None:
            await asyncio.gather(*(self.hook.send_sms(number, "Muraho") for number in numbers))

        self.runner.run(send())


@pytest.fixture(params=[Sync, Async], ids=["sync", "async"])
def make_pindo(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Make hooks of one kind; they are closed when the test ends."""
    made: list[Any] = []

    def make(**kwargs: Any) -> Any:
        made.append(request.param(**kwargs))
        return made[-1]

    yield make
    for each in made:
        each.close()
        if isinstance(each, Async):
            each.runner.close()


@pytest.fixture
def pindo(make_pindo: Callable[..., Any], sandbox: Any) -> Any:
    """A hook whose connection points to the test's sandbox."""
    return make_pindo()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A self-signed certificate for localhost: its path, and that of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return str(folder / "cert.pem"), str(folder / "key.pem")


@pytest.fixture
def tls(certificate: tuple[str, str]) -> ssl.SSLContext:
    """The server's side of TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context
