"""The connection, as a person makes it: the form in Airflow's UI, in a real browser, and its test button."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_pindo.get_provider_info import CONNECTION_FIELDS
from demo.deployment import AIRFLOW_VERSION

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(AIRFLOW_VERSION < 3, reason="the form of Airflow 2.11 is checked by its metadata"),
    pytest.mark.skipif(
        CHROMIUM is None and "PINDO_REQUIRE_BROWSER" not in os.environ,
        reason="there is no chromium on the PATH; Debian's package chromium has it",
    ),
]
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
QUIET += ["--disable-background-networking", "--disable-component-update"]


@pytest.fixture
def page(deployment) -> Iterator[Any]:
    """A page of Airflow's UI, logged in."""
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        page = browser.new_page(viewport={"width": 1100, "height": 1200})
        page.set_default_timeout(30_000)
        page.goto(deployment.url)
        page.locator("input[name=username]").fill(deployment.username)
        page.locator("input[name=password]").fill(deployment.password)
        page.locator("button[type=submit]").click()
        page.wait_for_url(re.compile(f"{deployment.url}/?$"))
        yield page
        browser.close()


@pytest.fixture
def form(page, deployment) -> Any:
    """The dialog that adds a connection, with the type Pindo chosen from the list."""
    page.goto(f"{deployment.url}/connections")
    page.get_by_role("button", name="Add Connection").first.click()
    dialog = page.get_by_role("dialog")
    dialog.locator("input[name=connection_id]").fill("pindo_ui")
    dialog.get_by_role("combobox").first.click()
    page.keyboard.type("Pindo")
    page.keyboard.press("Enter")
    dialog.get_by_text("Extra Fields", exact=True).wait_for()
    return dialog


def test_the_form_asks_for_what_pindo_needs_and_nothing_else(form, page, tmp_path):
    host, token = form.locator("input[name=host]"), form.locator("input[name=password]")
    assert host.get_attribute("placeholder") == "https://api.pindo.io"
    assert token.get_attribute("type") == "password"
    assert form.get_by_text("API token", exact=True).is_visible()
    assert form.locator("input[name=login], input[name=schema]").count() == 0

    screenshot(form, "connection", tmp_path)
    form.get_by_text("Extra Fields", exact=True).click()
    for name, field in CONNECTION_FIELDS.items():
        form.locator(f"[name=element_{name}]").wait_for()
        form.get_by_text(field["label"], exact=True).first.wait_for()
        form.get_by_text(field["description"]).first.wait_for()
    screenshot(form, "connection-extra", tmp_path)


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("sandbox-token", "Connected to Pindo; the wallet holds 500.00 USD"),
        ("a-wrong-token", "Put the token that the account's Security page shows"),
    ],
)
def test_the_test_button_says_the_balance_or_what_is_wrong(form, page, deployment, sandbox, token, said):
    # Airflow 3.3.2 tests no saved connection without a port (apache/airflow pull request 73298 mends it).
    host, _, port = sandbox.url.rpartition(":")
    form.locator("input[name=host]").fill(host)
    form.locator("input[name=port]").fill(port)
    form.locator("input[name=password]").fill(token)
    form.get_by_role("button", name="Save").click()
    page.get_by_role("cell", name="pindo_ui").wait_for()
    with page.expect_response("**/connections/test") as answered:
        page.get_by_role("button", name="Test Connection").first.click()
    result = answered.value.json()
    try:
        assert result.get("status") is (token == sandbox.token), result
        assert said in result["message"]
        assert token not in result["message"]
    finally:
        deployment.rest.request("DELETE", "/connections/pindo_ui")


def screenshot(form: Any, name: str, folder: Path) -> None:
    """Keep a picture of the form; in ``PINDO_SCREENSHOTS``, when it is set, for the docs."""
    form.screenshot(path=Path(os.environ.get("PINDO_SCREENSHOTS", folder)) / f"{name}.png")
