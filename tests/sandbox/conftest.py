"""A sandbox on a real socket, and a plain HTTP client of its API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
import requests

from airflow_provider_pindo.sandbox import Sandbox

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


class Api:
    """Calls to the API as any program would make them: one session, the token, no redirects followed."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.url = sandbox.url
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["Authorization"] = f"Bearer {sandbox.token}"

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        return self.session.request(
            method, self.url + path, **{"timeout": 10, "allow_redirects": False, **options}
        )

    def send(
        self, to: str = "+250781234567", text: str = "Muraho", sender: str = "PindoTest", **options: Any
    ):
        return self.ask("POST", "/v1/sms/", json={"to": to, "text": text, "sender": sender}, **options)

    def send_bulk(
        self, recipients: list[Any], text: str = "Muraho", sender: str = "PindoTest", **options: Any
    ):
        body = {"recipients": recipients, "text": text, "sender": sender}
        return self.ask("POST", "/v1/sms/bulk", json=body, **options)

    def verify(self, number: str = "+250781234567", brand: str = "PindoTest", **options: Any):
        return self.ask("POST", "/v1/sms/verify", json={"number": number, "brand": brand}, **options)

    def check(self, request_id: Any, code: Any):
        return self.ask("POST", "/v1/sms/verify/check", json={"request_id": request_id, "code": code})

    def inbound(self, **params: Any) -> dict[str, Any]:
        answer = self.ask("GET", "/v1/sms/inbounds", params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def balance(self) -> float:
        return self.ask("GET", "/wallets/self").json()["amount"]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture
def api(sandbox: Sandbox) -> Iterator[Api]:
    client = Api(sandbox)
    with client.session:
        yield client


@pytest.fixture
def page(browser: Browser, sandbox: Sandbox) -> Iterator[Page]:
    """The open page. A script error on it fails the test, and so does any request to another host."""
    opened = browser.new_page(viewport={"width": 1280, "height": 800})
    opened.set_default_timeout(10_000)
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda entry: problems.append(entry.text) if entry.type == "error" else None)
    opened.on("request", lambda request: request.url.startswith(sandbox.url) or problems.append(request.url))
    opened.goto(sandbox.url)
    yield opened
    opened.close()
    assert problems == []
