"""Inbound messages: what a phone writes is in the list, page by page, in either order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_pindo.sandbox import Sandbox, SandboxError

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


def test_a_page_after_the_last_is_empty(api, sandbox):
    sandbox.reply(PHONE, "one")
    assert texts(api.inbound(page=2)) == []
    assert api.inbound(page=2)["pages"]["total"] == 1


def test_an_empty_list_has_no_pages(api):
    assert api.inbound() == {"inbound_sms": [], "pages": {"page": 1, "pages": 0, "per_page": 20, "total": 0}}


@pytest.mark.parametrize("params", [{"page": 0}, {"page": "x"}, {"per_page": -1}, {"per_page": "²"}])
def test_an_invalid_page_number_is_refused(api, params):
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


def test_a_message_between_two_pages_has_its_own_time_and_number(api, sandbox):
    message = {"from": PHONE, "text": "late", "to": "7878", "created_at": "2026-06-10T09:00:00+02:00"}
    sandbox.settings(inject_between_pages=[{**message, "after_page": None}])
    api.inbound()
    (item,) = api.inbound()["inbound_sms"]
    assert (item["inbound_sms_number"], item["created_at"]) == ("7878", "2026-06-10T07:00:00.000000")


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"created_at": "soon"}, "created_at an ISO time"),
        ({"created_at": "0001-01-01T00:00:00+05:00"}, "created_at an ISO time"),
        ({"created_at": 7}, "created_at an ISO time"),
        ({"after_page": "1"}, "after_page, an integer of 1 or more"),
        ({"after_page": 0}, "after_page, an integer of 1 or more"),
        ({"text": "\ud83d"}, "texts"),
        ({"to": 7878}, "texts"),
    ],
)
def test_an_invalid_message_between_two_pages_is_refused_by_the_setting(api, sandbox, wrong, sentence):
    with pytest.raises(SandboxError, match=sentence):
        sandbox.settings(inject_between_pages=[{"from": PHONE, "text": "late", **wrong}])
    assert api.inbound()["inbound_sms"] == []


def test_ids_keep_growing_after_a_reset(api, sandbox):
    before = sandbox.reply(PHONE, "one")["id"]
    sandbox.reset()
    sandbox.reset()
    assert sandbox.reply(PHONE, "two")["id"] > before
    assert texts(api.inbound()) == ["two"]


@pytest.mark.parametrize("settings", [{}, {"first_id": 7}])
def test_ids_keep_growing_when_a_sandbox_in_memory_is_started_again(settings):
    with Sandbox(**settings) as sandbox:
        ids = [sandbox.reply(PHONE, "one")["id"]]
        for _ in range(2):
            sandbox.stop()
            sandbox.start()
            ids += [message["id"] for message in sandbox.reply_all([{"from": PHONE, "text": "again"}] * 50)]
    assert ids == sorted(set(ids))


def test_ids_keep_growing_after_a_reset_and_a_restart_with_the_same_file(tmp_path):
    with Sandbox(state=tmp_path / "pindo.sqlite") as sandbox:
        before = sandbox.reply(PHONE, "one")["id"]
        sandbox.reset()
    with Sandbox(state=tmp_path / "pindo.sqlite") as sandbox:
        assert sandbox.reply(PHONE, "two")["id"] > before


def test_first_id_is_a_setting_that_never_lowers_the_ids(sandbox):
    sandbox.settings(first_id=1000)
    assert [sandbox.reply(PHONE, "x")["id"] for _ in range(2)] == [1000, 1001]
    sandbox.settings(first_id=1)
    assert sandbox.reply(PHONE, "x")["id"] == 1002


def test_the_sender_is_shown_only_when_set(api, sandbox):
    sandbox.reply(PHONE, "Muraho", to="7878")
    assert "from" not in api.inbound()["inbound_sms"][0]
    sandbox.settings(inbound_sender=True)
    item = api.inbound()["inbound_sms"][0]
    assert (item["from"], item["inbound_sms_number"]) == (PHONE, "7878")


@pytest.mark.parametrize(
    "message",
    [
        {"from": ""},
        {"from": PHONE},
        {"text": "x"},
        {"from": PHONE, "text": "x", "created_at": "soon"},
        {"from": PHONE, "text": "x", "created_at": "9999-12-31T23:59:59-05:00"},
        {"from": PHONE, "text": "\ud83d"},
        {"from": PHONE, "text": "x", "to": 7},
        "x",
    ],
)
def test_an_invalid_inbound_message_is_refused(sandbox, message):
    with pytest.raises(SandboxError, match=r"send {'from', 'text', 'to'\?, 'created_at'\?}"):
        sandbox.reply_all([message])
    assert sandbox.state()["inbound"] == 0
