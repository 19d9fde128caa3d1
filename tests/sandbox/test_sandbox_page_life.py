"""What the page of phones shows of a message's life, of its request, and of the webhooks."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import requests

from airflow_provider_pindo.sandbox.outcomes import NUMBERS
from demo.rest import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

PHONE, OTHER = "+250781234567", "+250781230142"
ATTACK = "<img src=x onerror=alert(1)>"


def tick(page: Page, number: str = PHONE):
    return page.locator(f'.phone[data-number="{number}"] .tick')


def wait_for_words(page: Page, words: str) -> None:
    """Wait until the tick says them on hover, and with what a click does to screen readers."""
    said = page.get_by_role("button", name=re.compile(rf"^{words}.*\. Show request and response$"))
    tick(page).and_(page.locator(f'[title^="{words}"]')).and_(said).wait_for()


def test_ticks_tell_the_status_in_words_and_change_in_place(page, api, sandbox):
    sandbox.stop_clock()
    sandbox.settings(sent_seconds=5)
    sms_id = api.send(PHONE).json()["sms_id"]
    wait_for_words(page, "Accepted at")
    tick(page).focus()
    sandbox.advance_clock(5)
    wait_for_words(page, "Sent at")
    sandbox.advance_clock(1)
    wait_for_words(page, "Delivered at")
    assert tick(page).evaluate("tick => tick === document.activeElement")  # it was not made anew
    sandbox.set_status(sms_id, "undelivered")
    page.locator('.tick[title*="Reports: DELIVRD, UNDELIV"]').get_by_text("Not delivered").wait_for()
    assert page.locator(".message.lost").count() == 1


def test_each_way_to_fail_is_a_word_on_the_page(page, api, sandbox):
    words = {"undelivered": "Not delivered", "expired": "Expired", "rejected": "Rejected", "failed": "Failed"}
    sandbox.settings(delivery_seconds=0)
    for number, outcome in NUMBERS.items():
        if outcome in words:
            api.send(number)
            tick(page, number).get_by_text(words[outcome]).wait_for()


def test_a_message_shows_its_request_and_response_on_click_and_by_keyboard(page, api, sandbox):
    sandbox.settings(approved_senders="any")
    answer = api.send(PHONE, ATTACK, sender="<u>me</u>", headers={"X-Odd": ATTACK})
    page.get_by_text(ATTACK).click()
    dialog = page.get_by_role("dialog", name="Message to +250 781 234 567")
    dialog.wait_for()
    request = page.locator("#detail-request").text_content()
    assert request.startswith("POST /v1/sms/\nAuthorization: (not kept)\n")
    assert f'"text": "{ATTACK}"' in request
    assert f"X-Odd: {ATTACK}" in request
    assert sandbox.token not in request
    assert f'"sms_id": "{answer.json()["sms_id"]}"' in page.locator("#detail-response").text_content()
    assert dialog.locator("img, u").count() == 0
    page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    tick(page).focus()
    page.keyboard.press("Enter")
    dialog.wait_for()
    dialog.get_by_role("button", name="Close").click()
    dialog.wait_for(state="hidden")
    assert tick(page).evaluate("tick => tick === document.activeElement")


def test_a_status_is_reported_from_the_page(page, api, sandbox):
    sandbox.stop_clock()
    sms_id = api.send(PHONE).json()["sms_id"]
    tick(page).click()
    page.get_by_label("Report it as").select_option("Expired")
    page.get_by_role("button", name="Report now").click()
    page.locator("#detail-status", has_text="Expired at").wait_for()
    assert [(each["sms_id"], each["status"]) for each in sandbox.messages()] == [(sms_id, "expired")]


def test_a_response_that_nobody_got_and_one_that_is_forgotten_say_so(page, api, sandbox, monkeypatch):
    sandbox.add_fault("drop_after", call="send_sms")
    with pytest.raises(requests.ConnectionError):
        api.send(PHONE)
    tick(page).click()
    page.locator("#detail-response", has_text="dropped (fault: drop_after). The client got no").wait_for()
    page.keyboard.press("Escape")
    monkeypatch.setattr("airflow_provider_pindo.sandbox.request_log.RequestLog.get", lambda log, number: None)
    tick(page).click()
    page.locator("#detail-request", has_text="Not in the log").wait_for()


def detail_of_response(page: Page) -> str:
    """Open the message's details, and return what they say of the response."""
    tick(page).click()
    page.get_by_role("dialog").wait_for()
    return page.locator("#detail-response").text_content() or ""


def test_a_response_that_is_not_written_yet_says_so(page, api, sandbox):
    sandbox.add_fault("slow_answer", call="send_sms", seconds=30)
    with pytest.raises(requests.Timeout):
        api.send(PHONE, timeout=0.5)
    assert detail_of_response(page) == "No response yet (fault: slow_answer)"


def test_a_response_whose_body_is_forgotten_says_so(page, api, monkeypatch):
    monkeypatch.setattr("airflow_provider_pindo.sandbox.request_log.MAX_BODY_BYTES", 0)
    api.send(PHONE)
    assert detail_of_response(page) == "201\n\n(no longer in the log)"


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("empty_body", "201 (fault: empty_body)\n\n(no body)"),
        ("truncate", "201 (fault: truncate). The client got no whole response."),
    ],
)
def test_an_empty_response_arrived_and_a_cut_one_did_not(page, api, sandbox, fault, words):
    sandbox.add_fault(fault, call="send_sms")
    with suppress(requests.exceptions.ChunkedEncodingError):
        assert api.send(PHONE).content == b""
    assert detail_of_response(page) == words


@pytest.mark.parametrize("find", ["ejo SAA", "Remy", "0142", "+250 781 230 142", "YES 4821"])
def test_a_phone_is_found_by_a_text_a_name_or_a_number(page, api, sandbox, find):
    api.send_bulk([{"phonenumber": OTHER, "name": "Remy Muhire"}], "Ejo saa tatu")
    sandbox.reply(OTHER, "yes 4821")
    api.send(PHONE, "Muraho")
    page.locator(".phone").nth(1).wait_for()
    page.get_by_label("Find a phone by its number or a text").fill(find)
    page.locator(f'.phone[data-number="{PHONE}"]').wait_for(state="detached")
    assert page.locator(f'.phone[data-number="{OTHER}"]').is_visible()


def test_the_log_of_webhooks_has_a_button_that_sends_again_and_keeps_the_focus(page, api, sandbox):
    page.get_by_text("No address is set, so no event is sent.").wait_for()
    sandbox.set_webhooks(None, "http://127.0.0.1:9/nobody", sender="PindoTest")
    api.send(PHONE)
    button = page.get_by_role("button", name=f"Send webhook 1 again: sent, {PHONE}")
    button.focus()
    page.keyboard.press("Enter")
    page.locator("#webhooks .to", has_text=f"{PHONE} · again 1").wait_for()
    assert page.locator("#webhooks .status").all_text_contents() == ["refused", "refused"]
    assert button.evaluate("button => button === document.activeElement")
    page.get_by_text(
        "There is an address for sent and inbound of PindoTest. Each event is sent once."
    ).wait_for()
    sandbox.settings(webhook_url="http://127.0.0.1:9/nobody", sender_webhooks={})
    page.get_by_text("There is an address for all events.").wait_for()
    sandbox.reset()
    page.locator("#webhooks li").first.wait_for(state="detached")


def test_the_older_forms_and_the_receivers_faults_are_switches(page, sandbox):
    page.get_by_label("Ids and reports as before 2023-08").check()
    wait_until(lambda: sandbox.settings()["older_forms"], "the switch is on", timeout=10)
    group = page.get_by_role("group", name="Receiver down")
    group.get_by_label("Once").check(force=True)
    (fault,) = wait_until(sandbox.faults, "there is a fault", timeout=10)
    assert (fault["action"], fault["call"], fault["times"]) == ("receiver_down", "webhooks", 1)
    assert page.locator("#others li").count() == 0


def test_the_page_lists_the_numbers_that_always_do_the_same(page):
    page.locator("#numbers li").first.wait_for()
    assert page.locator("#numbers code").all_text_contents() == list(NUMBERS)
