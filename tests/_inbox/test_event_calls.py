"""The calls of the API server's route for webhook events, and its answers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from airflow_provider_pindo._inbox.events import (
    EventFilter,
    EventPage,
    WebhookEvent,
    list_events,
    read_event_page,
)
from airflow_provider_pindo.api.fields import MalformedResponse

MOMENT = datetime(2026, 11, 29, 8, 0, tzinfo=UTC)


def event(id: int) -> WebhookEvent:
    return WebhookEvent(id, "sent", f"out_{id}", {}, MOMENT)


def test_the_request_has_everything_in_its_body_and_may_be_repeated():
    which = EventFilter(kinds=("sent",), sms_ids=("out_1",), to="+250781234567", since=MOMENT)
    call = list_events("pindo_default", which, after=7)
    assert (call.method, call.path, call.params) == ("POST", "/pindo/events/pindo_default", None)
    assert call.safe_to_repeat
    assert call.json == {
        "kinds": ["sent"],
        "sms_ids": ["out_1"],
        "to": "+250781234567",
        "since": "2026-11-29T08:00:00+00:00",
        "after": 7,
    }
    assert list_events("pindo_default", EventFilter()).json == {"after": 0}
    assert list_events("pindo_default", EventFilter(since=MOMENT, unclaimed=True)).json["unclaimed"] is True
    assert list_events("pindo_default", EventFilter(duplicates=True)).json["duplicates"] is True
    assert (call.name, call.read) == ("list_events", read_event_page)
    assert "+25078" not in repr(which) + repr(call)


def test_the_id_of_a_connection_is_one_part_of_the_path():
    assert list_events("clinic/kigali 1", EventFilter()).path == "/pindo/events/clinic%2Fkigali%201"


def test_an_answer_is_read_and_anything_else_is_malformed():
    row = {
        "id": 7,
        "kind": "sent",
        "sms_id": "out_7",
        "body": {},
        "received_at": MOMENT.isoformat(),
    }
    page = {"events": [row], "last_id": 7, "stable_id": 3, "newest_id": 9, "more": False}
    page["claims_known"] = True
    assert read_event_page(page) == EventPage((event(7),), 7, 3, 9, False)
    more_keys = {**page, "events": [{**row, "status": "DELIVRD"}]}
    assert read_event_page(more_keys) == read_event_page(page)
    odd = [None, [], {}, {**page, "events": None}, {**page, "events": [{**row, "received_at": "today"}]}]
    odd += [{key: value for key, value in page.items() if key != missing} for missing in page]
    for body in odd:
        with pytest.raises(MalformedResponse, match="not a list of webhook events"):
            read_event_page(body)
