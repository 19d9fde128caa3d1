"""``read_inbox`` of both hooks: one pass for several readers, and which of its pages are retried."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from airflow_provider_pindo._inbox.scan import Cursor
from airflow_provider_pindo.api.errors import PindoServerError
from airflow_provider_pindo.hooks._transport.retry import MAX_ATTEMPTS
from tests.hooks.wire import Wire, answer

PHONE = "+250781234567"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def replies(sandbox, count):
    sandbox.reply_all([{"from": PHONE, "text": str(number)} for number in range(1, count + 1)])


@pytest.mark.parametrize("order", ["newest_first", "oldest_first"])
def test_one_pass_brings_what_is_new_to_any_cursor_oldest_first(pindo, sandbox, order):
    sandbox.settings(inbound_order=order)
    replies(sandbox, 45)
    result = pindo.read_inbox([Cursor(after_id=43), Cursor(after_id=20)])
    assert [message.id for message in result.messages] == list(range(21, 46))
    assert (result.highest_id, result.names_senders, result.country) == (45, False, "RW")


def test_an_empty_list_gives_no_id_and_no_verdict_on_senders(pindo, sandbox):
    result = pindo.read_inbox([Cursor(since=LONG_AGO)])
    assert (result.messages, result.highest_id, result.names_senders) == ((), None, None)


def test_the_first_page_is_tried_once_where_the_caller_polls_again(pindo, sandbox):
    sandbox.add_fault("status", call="list_inbound_sms", status=503, times=None)
    with pytest.raises(PindoServerError):
        pindo.read_inbox([Cursor()], retry_first_page=False)
    assert len(sandbox.requests(call="list_inbound_sms")) == 1


def test_the_first_page_is_retried_by_default(pindo, sandbox):
    replies(sandbox, 1)
    sandbox.add_fault("status", call="list_inbound_sms", status=503)
    assert len(pindo.read_inbox([Cursor()]).messages) == 1


def test_a_later_page_is_retried_in_any_case(pindo, sandbox):
    """Else a rate limit would discard the pages already read, on every poll."""
    replies(sandbox, 45)
    sandbox.add_fault("rate_limit", call="list_inbound_sms", retry_after=0, skip=1, times=MAX_ATTEMPTS - 1)
    assert len(pindo.read_inbox([Cursor()], retry_first_page=False).messages) == 45


def page(number, *ids):
    rows = [{"id": each, "text": "YES", "created_at": f"2026-01-01T00:0{each}:00"} for each in ids]
    counts = {"page": number, "pages": 3, "per_page": 2, "total": 6}
    return [answer(200, json.dumps({"inbound_sms": rows, "pages": counts}).encode())]


@pytest.mark.parametrize("number", [2, 3])
def test_a_page_that_comes_instead_of_another_hides_nothing(monkeypatch, make_pindo, number):
    again, right = page(number, 4, 3), page(3, 2, 1)
    with Wire(page(1, 6, 5), page(2, 4, 3), again, right, page(1, 6, 5), page(2, 4, 3), again, right) as wire:
        monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", wire.connection())
        pindo = make_pindo()
        assert [message.id for message in pindo.read_inbound()] == [6, 5, 4, 3, 2, 1]
        assert pindo.read_inbox([Cursor()]).highest_id == 6


def test_a_page_that_does_not_come_fails_the_reading(monkeypatch, make_pindo):
    again = page(3, 4, 3)
    with Wire(*[page(1, 6, 5), page(2, 4, 3), again, again] * 2) as wire:
        monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", wire.connection())
        pindo = make_pindo()
        with pytest.raises(PindoServerError, match="some are hidden"):
            pindo.read_inbound()
        with pytest.raises(PindoServerError, match="some are hidden"):
            pindo.read_inbox([Cursor()])
