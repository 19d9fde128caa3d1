"""The page of phones, in a real browser: it shows what arrives by itself, and takes replies."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from airflow_provider_pindo.sandbox import Sandbox

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

PHONE, OTHER = "+250781234567", "+250781230142"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def why_not() -> str | None:
    """Why no browser can be driven here, or None."""
    if importlib.util.find_spec("playwright") is None:
        return "the package playwright is not installed"
    return None if CHROMIUM else "no Chromium is on the PATH"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if reason := why_not():
        if os.environ.get("PINDO_REQUIRE_BROWSER") == "1":
            pytest.fail(f"PINDO_REQUIRE_BROWSER=1, but {reason}")
        pytest.skip(f"the page needs a browser, and {reason}")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield running
        running.close()


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


def phone(page: Page, number: str = PHONE):
    return page.locator(f'.phone[data-number="{number}"]')


def wait_until_equal(page: Page, script: str, value: object) -> None:
    page.wait_for_function(f"value => JSON.stringify({script}) === JSON.stringify(value)", arg=value)


def test_a_new_user_is_told_what_to_do_and_sees_a_phone_ring(page, sandbox):
    page.get_by_role("heading", name="No phone has a message yet").wait_for()
    line = page.locator("#empty .connection").text_content()
    assert line == f"export AIRFLOW_CONN_PINDO_DEFAULT='{sandbox.connection_json()}'"
    page.get_by_role("button", name="Send a test message").click()
    phone(page).get_by_text("Muraho!").wait_for()
    assert page.locator("#empty").is_hidden()
    assert len(sandbox.messages(to=PHONE)) == 1


def test_messages_show_up_by_themselves_newest_phone_first(page, api):
    api.send(PHONE, "Muraho, Remy")
    phone(page).get_by_text("Muraho, Remy").wait_for()
    api.send(OTHER, "n\u2019igice")
    phone(page, OTHER).get_by_text("n\u2019igice").wait_for()
    numbers = "[...document.querySelectorAll('.phone')].map(one => one.dataset.number)"
    assert page.evaluate(numbers) == [OTHER, PHONE]
    api.send(PHONE, "again")
    wait_until_equal(page, numbers, [PHONE, OTHER])
    assert "1 segment · UCS-2 · $0.006" in phone(page, OTHER).text_content()
    assert page.locator("#messages").text_content() == "3"
    assert page.locator("#balance").text_content() == "$499.982"


def test_a_text_is_never_read_as_html(page, api, sandbox):
    text = "<img src=x onerror=alert(1)><b>bold</b>"
    sandbox.settings(approved_senders="any")
    api.send_bulk([{"phonenumber": PHONE, "name": "<i>Remy</i>"}], text, sender="<u>me</u>")
    sandbox.reply(PHONE, "<script>alert(1)</script>")
    phone(page).get_by_text(text).wait_for()
    phone(page).get_by_text("<script>alert(1)</script>").wait_for()
    assert phone(page).get_by_role("heading").text_content() == "<i>Remy</i>"
    assert page.locator(".phone img, .phone b, .phone i, .phone u, .phone script").count() == 0


def test_a_typed_reply_becomes_an_inbound_message(page, api):
    api.send(PHONE, "Reply YES 4821 or NO 4821")
    field = page.get_by_label(f"Reply as {PHONE}")
    field.fill("YES 4821")
    field.press("Enter")
    phone(page).locator(".out").get_by_text("YES 4821").wait_for()
    assert [message["text"] for message in api.inbound()["inbound_sms"]] == ["YES 4821"]
    assert field.input_value() == ""


def test_a_half_typed_reply_survives_what_arrives_meanwhile(page, api):
    api.send(PHONE, "first")
    field = page.get_by_label(f"Reply as {PHONE}")
    field.fill("YES 48")
    for number in range(3):
        api.send(OTHER, f"elsewhere {number}")
        api.send(PHONE, f"here {number}")
    phone(page).get_by_text("here 2").wait_for()
    phone(page, OTHER).get_by_text("elsewhere 2").wait_for()
    assert field.input_value() == "YES 48"
    assert field.evaluate("field => field === document.activeElement")
    field.type("21")
    assert field.input_value() == "YES 4821"


def test_a_pin_message_shows_what_its_person_would_see(page, api, sandbox):
    sandbox.settings(pin="752623")
    request_id = api.verify(PHONE, "PindoTest").json()["request_id"]
    phone(page).get_by_text("Your PindoTest verification code is 752623").wait_for()
    phone(page).get_by_text("free until checked").wait_for()
    api.check(request_id, "752623")
    phone(page).get_by_text("$0.006").wait_for()


def test_any_phone_can_text_in(page, api):
    page.get_by_label("From this number").fill("+250 781 230 245")
    page.get_by_label("Text", exact=True).fill("Muraho")
    page.get_by_role("button", name="Send as this phone").click()
    phone(page, "+250781230245").get_by_text("Muraho").wait_for()
    assert len(api.inbound()["inbound_sms"]) == 1


def test_a_switch_sets_a_fault_once_and_springs_back(page, api, sandbox):
    group = page.get_by_role("group", name="Server errors")
    group.get_by_label("Once").check(force=True)
    page.wait_for_function("async () => (await (await fetch('/sandbox/faults')).json()).length === 1")
    assert [(fault["action"], fault["times"]) for fault in sandbox.faults()] == [("status", 1)]
    assert api.send().status_code == 503
    wait_until_equal(page, "document.querySelector('[name=switch-3]:checked').value", "Off")
    page.locator(".rows").get_by_text("fault: status").wait_for()
    group.get_by_label("On", exact=True).check(force=True)
    page.wait_for_function("async () => (await (await fetch('/sandbox/faults')).json()).length === 1")
    assert [api.send().status_code for _ in range(2)] == [503, 503]
    group.get_by_label("Off").check(force=True)
    page.wait_for_function("async () => (await (await fetch('/sandbox/faults')).json()).length === 0")
    assert api.send().status_code == 201


def test_other_faults_are_listed_and_can_be_removed(page, sandbox):
    sandbox.add_fault("drop_after", call="send_sms", to=PHONE, times=3)
    row = page.locator("#others li")
    row.get_by_text(f"drop_after send_sms {PHONE} \u00d73").wait_for()
    row.get_by_role("button", name="Remove").click()
    row.wait_for(state="detached")
    assert sandbox.faults() == []


def test_the_wallet_can_be_emptied_and_filled(page, api):
    page.get_by_role("button", name="Empty the wallet").click()
    wait_until_equal(page, "document.getElementById('balance').textContent", "$0.00")
    assert api.send().status_code == 402
    page.get_by_role("button", name="Add 100 dollars to the wallet").click()
    wait_until_equal(page, "document.getElementById('balance').textContent", "$100.00")


def test_a_phone_is_found_by_its_number(page, api):
    api.send(PHONE)
    api.send(OTHER)
    phone(page, OTHER).wait_for()
    page.get_by_label("Find a phone by its number").fill("0142")
    phone(page, PHONE).wait_for(state="detached")
    assert phone(page, OTHER).is_visible()
    page.get_by_label("Find a phone by its number").fill("000000")
    page.get_by_text("No phone has a number with these digits.").wait_for()


def test_the_page_says_when_the_sandbox_is_gone_and_comes_back(browser):
    with Sandbox() as first:
        opened = browser.new_page()
        opened.goto(first.url)
        opened.locator("#live", has_text="Live").wait_for()
    opened.locator("#live", has_text="Not running").wait_for(timeout=10_000)
    with Sandbox(port=int(first.url.rsplit(":", 1)[1])) as second:
        opened.locator("#live", has_text="Live").wait_for(timeout=15_000)
        second.reply(PHONE, "back")
        phone(opened).get_by_text("back").wait_for()
    opened.close()


@pytest.mark.parametrize("width", [320, 390, 768, 1100, 1280, 1920])
def test_nothing_sticks_out_at_any_width(page, api, sandbox, width):
    api.send_bulk([{"phonenumber": PHONE, "name": "Uwimana" * 12}], "https://example.org/" + "x" * 300)
    sandbox.reply(OTHER, "y" * 400)
    phone(page, OTHER).wait_for()
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_every_control_has_a_name(page, api):
    api.send()
    phone(page).wait_for()
    unnamed = """[...document.querySelectorAll('button, input')].filter(one => !(
        one.getAttribute('aria-label') || one.textContent.trim() || (one.labels && one.labels.length)))"""
    assert page.evaluate(f"({unnamed}).length") == 0
