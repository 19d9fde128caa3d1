"""The page of phones, in a real browser: it shows new messages automatically, and takes replies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import requests

from airflow_provider_pindo.sandbox import Sandbox
from airflow_provider_pindo.sandbox import page as phones_page
from airflow_provider_pindo.sandbox.address import receiver_url
from demo.rest import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

PHONE, OTHER = "+250781234567", "+250781230142"


@pytest.fixture
def failing_page(browser: Browser) -> Iterator[Page]:
    """A page that is not open yet, on which requests may fail."""
    opened = browser.new_page()
    opened.set_default_timeout(10_000)
    yield opened
    opened.close()


def phone(page: Page, number: str = PHONE):
    return page.locator(f'.phone[data-number="{number}"]')


def wait_until_equal(page: Page, script: str, value: object) -> None:
    page.wait_for_function(f"value => JSON.stringify({script}) === JSON.stringify(value)", arg=value)


def wait_for_faults(sandbox: Sandbox, *faults: dict[str, object]) -> None:
    """Wait until the sandbox has these faults and no others; each is given by some of its fields."""

    def has_them():
        there = sandbox.faults()
        return len(there) == len(faults) and all(
            fault.items() <= other.items() for fault, other in zip(faults, there, strict=True)
        )

    wait_until(has_them, f"the faults are {faults}", timeout=10, interval=0.02)


def test_a_new_user_sees_the_steps_and_a_phone_that_rings(page, sandbox):
    page.get_by_role("heading", name="No phone has a message yet").wait_for()
    line = page.locator("#empty .connection").text_content()
    assert line == f"export AIRFLOW_CONN_PINDO_DEFAULT='{sandbox.connection_json()}'"
    page.get_by_role("button", name="Send a test message").click()
    phone(page).get_by_text("Muraho!").wait_for()
    assert page.locator("#empty").is_hidden()
    assert len(sandbox.messages(to=PHONE)) == 1


def test_an_airflow_that_gets_the_webhooks_is_told_their_secret_too(page, sandbox):
    sandbox.settings(webhook_url=receiver_url("http://localhost:8080"))
    lines = page.locator("#empty .connection", has_text="export AIRFLOW__PINDO__WEBHOOKS=True")
    first, second = lines.text_content().splitlines()
    assert '"webhook_secret": "sandbox-secret"' in first
    assert second == "export AIRFLOW__PINDO__WEBHOOKS=True"


def test_messages_appear_automatically_newest_phone_first(page, api):
    api.send(PHONE, "Muraho, Remy")
    phone(page).get_by_text("Muraho, Remy").wait_for()
    api.send(OTHER, "n\u2019igice")
    phone(page, OTHER).get_by_text("n\u2019igice").wait_for()
    numbers = "[...document.querySelectorAll('.phone')].map(phone => phone.dataset.number)"
    assert page.evaluate(numbers) == [OTHER, PHONE]
    api.send(PHONE, "again")
    wait_until_equal(page, numbers, [PHONE, OTHER])
    assert "1 segment · UCS-2 · $0.006" in phone(page, OTHER).text_content()
    assert page.locator("#messages").text_content() == "3"
    assert page.locator("#balance").text_content() == "$499.982"


def test_a_clinics_day_is_seen_at_a_glance(page, api, sandbox, picture):
    """Several conversations side by side, a PIN, a lost response and the cost: the picture in the README."""
    page.set_viewport_size({"width": 1360, "height": 850})
    sandbox.settings(pin="752623", approved_senders="any")
    patients = {"Jean Bosco Habimana": 512, "Thérèse Ingabire": 531, "Chloé Uwimana": 542, "Remy Muhire": 567}
    recipients = [{"name": name, "phonenumber": f"+250781234{end}"} for name, end in patients.items()]
    asked = (
        "Hello @contact.name, your visit at Ubuzima Clinic is tomorrow at 09:30. Reply YES 4821 or NO 4821."
    )
    assert api.send_bulk(recipients, asked, sender="Ubuzima").status_code == 201
    sandbox.reply("+250781234542", "Yes 4821, thank you")
    sandbox.reply("+250781234567", "YES 4821")
    api.verify("+250781234519", "Ubuzima")
    api.send(
        "+250781234503", "daily_settlement failed at load_ledger, third try. Who takes it?", sender="Ubuzima"
    )
    sandbox.reply("+250781234503", "I do")
    sandbox.add_fault("drop_after", call="send_sms", times=1)
    with pytest.raises(requests.ConnectionError):
        api.send("+250781234567", "Murakoze, Remy. See you tomorrow.", sender="Ubuzima")

    phone(page).get_by_text("See you tomorrow").wait_for()
    page.locator(".rows").get_by_text("fault: drop_after").wait_for()
    wait_until_equal(page, "document.getElementById('messages').textContent", "7")
    wait_until_equal(page, "document.getAnimations().length", 0)
    boxes = [element.bounding_box() for element in page.locator(".phone").all()]
    assert len(boxes) == 6
    assert len({box["y"] for box in boxes[:3]}) == 1  # three in a row, and none over another
    assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]
    picture(page, "phones")


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


def test_a_half_typed_reply_survives_more_phones_than_the_page_shows(page, api, sandbox, monkeypatch):
    monkeypatch.setattr(phones_page, "PHONES_SHOWN", 2)
    api.send(PHONE, "first")
    field = page.get_by_label(f"Reply as {PHONE}")
    field.fill("YES 48")
    others = [f"+25078123014{digit}" for digit in range(3)]
    for number in others:
        api.send(number, f"to {number}")
        phone(page, number).wait_for()
    assert page.locator(".phone").count() == 3
    assert field.evaluate("field => field === document.activeElement")
    field.type("21")
    page.get_by_label("Find a phone by its number").focus()
    api.send(OTHER, "more")
    phone(page, OTHER).get_by_text("more").wait_for()
    assert field.input_value() == "YES 4821"
    field.press("Enter")
    phone(page).locator(".out").get_by_text("YES 4821").wait_for()
    page.get_by_label("Find a phone by its number").focus()
    api.send(others[0], "and more")
    phone(page, others[0]).get_by_text("and more").wait_for()
    api.send(others[1], "and more")
    phone(page).wait_for(state="detached")
    assert page.locator(".phone").count() == 2


def test_a_phone_that_is_kept_for_its_reply_is_not_among_those_found_and_shows_no_forgotten_message(
    page, api, sandbox
):
    api.send(PHONE, "first")
    api.send(OTHER, "other")
    page.get_by_label(f"Reply as {PHONE}").fill("YES 48")
    page.get_by_label("Find a phone by its number").fill("0142")
    phone(page).wait_for(state="hidden")
    assert phone(page, OTHER).is_visible()
    page.get_by_label("Find a phone by its number").fill("")
    phone(page).wait_for()
    sandbox.reset()
    phone(page, OTHER).wait_for(state="detached")
    assert phone(page).get_by_text("first").count() == 0
    assert page.get_by_label(f"Reply as {PHONE}").input_value() == "YES 48"
    assert page.locator("#empty").is_hidden()


def test_the_page_says_how_many_phones_it_shows(page, api, monkeypatch):
    monkeypatch.setattr(phones_page, "PHONES_SHOWN", 2)
    api.send(PHONE)
    phone(page).wait_for()
    assert page.locator("#more").is_hidden()
    api.send(OTHER)
    page.get_by_text(
        "These are the 2 phones with the newest messages. Find a number or a text to see another."
    ).wait_for()


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
    wait_for_faults(sandbox, {"action": "status", "times": 1})
    assert api.send().status_code == 503
    wait_until_equal(page, "document.querySelector('[name=switch-3]:checked').value", "Off")
    page.locator(".rows").get_by_text("fault: status").wait_for()
    group.get_by_label("On", exact=True).check(force=True)
    wait_for_faults(sandbox, {"action": "status", "times": None})
    assert [api.send().status_code for _ in range(2)] == [503, 503]
    group.get_by_label("Off").check(force=True)
    wait_for_faults(sandbox)
    assert api.send().status_code == 201


def test_a_switch_is_not_moved_back_by_a_state_that_is_older(page, api, sandbox):
    held = []
    page.route("**/faults", lambda route: route.continue_() if held else held.append(route))
    page.get_by_role("group", name="Server errors").get_by_label("On", exact=True).check(force=True)
    api.send()
    phone(page).wait_for()  # the page has read the state, in which the switch is off
    assert page.evaluate("document.querySelector('[name=switch-3]:checked').value") == "On"
    with page.expect_response(lambda response: response.request.method == "POST"):
        held[0].continue_()
    assert api.send().status_code == 503


def switch(page: Page, sandbox: Sandbox, name: str, state: str) -> None:
    """Set a switch and wait until the sandbox has its fault."""
    page.get_by_role("group", name=name).get_by_label(state, exact=True).check(force=True)
    wait_for_faults(sandbox, {"times": 1 if state == "Once" else None})


NAMES = ["Responses get lost", "Connections break", "Slow responses", "Server errors"]
NAMES += ["Too many requests", "Token revoked", "Broken responses"]


@pytest.mark.parametrize("name", NAMES)
def test_once_is_for_requests_that_send_and_not_used_up_by_reading(page, api, sandbox, name):
    page.get_by_text("For requests that send, once or until you switch it off.").wait_for()
    switch(page, sandbox, name, "Once")
    (fault,) = sandbox.faults()
    api.inbound()
    assert api.balance() > 0
    assert sandbox.faults() == [fault]
    with suppress(requests.RequestException):
        api.send(timeout=10)
    assert sandbox.faults() == []


@pytest.mark.parametrize("name", NAMES)
def test_on_is_for_every_call_only_where_the_switch_says_so(page, sandbox, name):
    switch(page, sandbox, name, "On")
    (fault,) = sandbox.faults()
    is_for_all = "On: for every call" in page.get_by_role("group", name=name).text_content()
    assert (fault["call"], fault["times"]) == ("*" if is_for_all else "texts", None)
    assert is_for_all == (name in ("Server errors", "Too many requests", "Token revoked"))
    page.reload()
    assert page.locator("#others li").count() == 0
    group = page.get_by_role("group", name=name)
    group.locator("input[value=On]:checked").wait_for(state="attached")
    group.get_by_label("Off").check(force=True)
    wait_for_faults(sandbox)


def test_other_faults_are_listed_and_can_be_removed(page, sandbox):
    sandbox.add_fault("drop_after", call="send_sms", to=PHONE, times=3)
    row = page.locator("#others li")
    row.get_by_text(f"drop_after send_sms {PHONE} \u00d73").wait_for()
    row.get_by_role("button", name="Remove").click()
    row.wait_for(state="detached")
    assert sandbox.faults() == []


@pytest.mark.parametrize("detail", [{"times": 2}, {"skip": 1}, {"probability": 0.5}])
def test_a_fault_that_no_switch_can_set_is_among_the_others(page, sandbox, detail):
    sandbox.add_fault("drop_after", call="texts", **detail)
    page.locator("#others").get_by_text("drop_after texts").wait_for()
    assert page.get_by_role("group", name="Responses get lost").get_by_label("Off").is_checked()


def test_a_request_that_still_waits_is_not_shown_as_a_success(page, api, sandbox):
    sandbox.settings(latency=60)
    with pytest.raises(requests.ReadTimeout):
        api.send(timeout=0.5)
    page.locator("#requests .status", has_text="…").wait_for()
    assert page.locator("#requests .status").get_attribute("data-kind") == ""


def test_the_focus_stays_on_a_faults_button_while_messages_come_and_other_faults_change(page, api, sandbox):
    sandbox.add_fault("status", call="send_sms", to=OTHER, status=500, times=3)
    sandbox.add_fault("drop_after", call="verify")
    first, second = page.locator("#others li").first, page.locator("#others li").last
    second.get_by_text("drop_after verify").wait_for()
    second.get_by_role("button", name="Remove").focus()
    api.send(PHONE)
    assert api.send(OTHER).status_code == 500
    first.get_by_text("\u00d72").wait_for()
    wait_until_equal(page, "document.getElementById('messages').textContent", "1")
    assert page.evaluate("document.activeElement.parentElement.textContent").startswith("drop_after verify")
    page.keyboard.press("Enter")
    second.get_by_text("drop_after verify").wait_for(state="detached")
    assert [fault["action"] for fault in sandbox.faults()] == ["status"]


@pytest.mark.parametrize("action", ["drop_before", "drop_after"])
def test_a_test_message_over_a_broken_connection_names_the_fault(failing_page, sandbox, action):
    sandbox.add_fault(action, times=None)
    failing_page.goto(sandbox.url)
    failing_page.get_by_role("button", name="Send a test message").click()
    alert = failing_page.get_by_role("alert")
    alert.get_by_text("The connection broke without a response").wait_for()
    assert "What goes wrong" in alert.text_content()


@pytest.mark.parametrize("button", ["Send a test message", "Add 100 dollars to the wallet"])
def test_an_action_on_the_page_of_a_stopped_sandbox_reports_that(failing_page, sandbox, button):
    failing_page.goto(sandbox.url)
    failing_page.get_by_role("button", name=button).wait_for()
    failing_page.locator("#live", has_text="Live").wait_for()
    sandbox.stop()
    failing_page.get_by_role("button", name=button).click()
    failing_page.get_by_role("alert").get_by_text("The sandbox is not running").wait_for()


def test_an_error_is_announced_and_stays_long_enough_to_be_read(failing_page, sandbox):
    failing_page.clock.install()
    sandbox.add_fault("status", status=503, times=None)
    failing_page.goto(sandbox.url)
    failing_page.get_by_role("button", name="Send a test message").wait_for()
    alert = failing_page.get_by_role("alert")
    assert (alert.count(), alert.text_content()) == (1, "")  # it is on the page before it has a text
    failing_page.get_by_role("button", name="Send a test message").click()
    alert.get_by_text("The sandbox responded with 503: fault status 503").wait_for()
    failing_page.clock.run_for(5_000)
    assert alert.text_content() == "The sandbox responded with 503: fault status 503"
    failing_page.clock.run_for(30_000)
    assert alert.text_content() == ""


def test_the_next_action_removes_an_error(failing_page, sandbox):
    sandbox.add_fault("status", status=503)
    failing_page.goto(sandbox.url)
    failing_page.get_by_role("button", name="Send a test message").click()
    alert = failing_page.get_by_role("alert")
    alert.get_by_text("The sandbox responded with 503").wait_for()
    failing_page.get_by_role("button", name="Send a test message").click()
    phone(failing_page).get_by_text("Muraho!").wait_for()
    assert alert.text_content() == ""


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
    page.get_by_text("No phone has this number or text.").wait_for()


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


def test_no_letter_of_the_page_only_looks_latin():
    assert re.findall("[\u0370-\u052f]", phones_page.HTML.read_text(encoding="utf-8")) == []


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
    unnamed = """[...document.querySelectorAll('button, input')].filter(control => !(
        control.getAttribute('aria-label') || control.textContent.trim() || control.labels?.length))"""
    assert page.evaluate(f"({unnamed}).length") == 0
