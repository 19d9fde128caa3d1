"""Inbound messages: what a phone writes is in the list, page by page, in either order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_pindo.sandbox import SandboxError

PHONE = "+250781234567"


def texts(page):
    return [message["text"] for message in page["inbound_sms"]]


def test_an_item_has_exactly_the_published_keys(api, sandbox):
    sandbox.reply(PHONE, "Hello world !")
    page = api.inbound()
    (item,) = page["inbound_sms"]
    created_at = datetime.fromisoformat(item.pop("created_at"))
    assert item == {
        "account_id": 11783,
        "conversation_id": None,
        "id": 1,
        "inbound_sms_number": "+250781113333",
        "text": "Hello world !",
    }
    assert page["pages"] == {"page": 1, "pages": 1, "per_page": 20, "total": 1}
    assert created_at.tzinfo is None
    assert abs(datetime.now(UTC).replace(tzinfo=None) - created_at) < timedelta(seconds=30)


def test_created_at_always_has_microseconds_and_is_utc(api, sandbox):
    sandbox.reply(PHONE, "on the hour", created_at="2026-06-10T09:00:00+02:00")
    assert api.inbound()["inbound_sms"][0]["created_at"] == "2026-06-10T07:00:00.000000"


@pytest.mark.parametrize(
    ("order", "first", "last"), [("newest_first", ["4", "3"], ["0"]), ("oldest_first", ["0", "1"], ["4"])]
)
def test_the_list_has_either_order(api, sandbox, order, first, last):
    sandbox.settings(inbound_order=order)
    sandbox.reply_all([{"from": PHONE, "text": str(n)} for n in range(5)])
    assert texts(api.inbound(per_page=2)) == first
    assert texts(api.inbound(page=3, per_page=2)) == last
    assert api.inbound(per_page=2)["pages"] == {"page": 1, "pages": 3, "per_page": 2, "total": 5}


def test_beyond_the_last_page_is_nothing(api, sandbox):
    sandbox.reply(PHONE, "one")
    assert texts(api.inbound(page=2)) == []
    assert api.inbound(page=2)["pages"]["total"] == 1


def test_an_empty_list_has_no_pages(api):
    assert api.inbound() == {"inbound_sms": [], "pages": {"page": 1, "pages": 0, "per_page": 20, "total": 0}}


@pytest.mark.parametrize("params", [{"page": 0}, {"page": "x"}, {"per_page": -1}, {"per_page": "²"}])
def test_a_page_that_is_no_number_is_refused(api, params):
    assert api.ask("GET", "/v1/sms/inbounds", params=params).status_code == 400


def test_a_large_page_is_cut_to_the_limit(api, sandbox):
    sandbox.settings(inbound_per_page_max=3)
    sandbox.reply_all([{"from": PHONE, "text": str(n)} for n in range(5)])
    page = api.inbound(per_page=1000)
    assert (len(page["inbound_sms"]), page["pages"]["per_page"]) == (3, 3)


def test_messages_can_arrive_between_two_pages(api, sandbox):
    sandbox.reply_all([{"from": PHONE, "text": str(n)} for n in range(4)])
    sandbox.settings(
        inject_between_pages=[
            {"from": PHONE, "text": "late"},
            {"from": PHONE, "text": "later", "after_page": 2},
        ]
    )
    assert texts(api.inbound(page=1, per_page=2)) == ["3", "2"]
    assert texts(api.inbound(page=2, per_page=2)) == ["2", "1"]  # everything has moved by one
    assert texts(api.inbound(page=1, per_page=2)) == ["later", "late"]
    assert texts(api.inbound(page=1, per_page=2)) == ["later", "late"]


def test_the_sender_is_shown_only_when_set(api, sandbox):
    sandbox.reply(PHONE, "Muraho", to="7878")
    assert "from" not in api.inbound()["inbound_sms"][0]
    sandbox.settings(inbound_sender=True)
    item = api.inbound()["inbound_sms"][0]
    assert (item["from"], item["inbound_sms_number"]) == (PHONE, "7878")


@pytest.mark.parametrize(
    "message",
    [
        {"from": PHONE},
        {"text": "x"},
        {"from": PHONE, "text": "x", "created_at": "soon"},
        {"from": PHONE, "text": "\ud83d"},
        {"from": PHONE, "text": "x", "to": 7},
        "x",
    ],
)
def test_an_inbound_message_that_is_none_is_refused(sandbox, message):
    with pytest.raises(SandboxError):
        sandbox.reply_all([message])
    assert sandbox.state()["inbound"] == 0
