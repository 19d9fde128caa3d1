"""What a webhook's body is about, and the tokens that are derived from a secret."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pindo.api.limits import MAX_ID_LENGTH
from airflow_provider_pindo.api.webhooks import (
    KINDS,
    MAX_STATUS_LENGTH,
    Webhook,
    posting_token,
    read_webhook,
    reading_token,
)


@pytest.mark.parametrize(
    ("body", "webhook"),
    [
        ({"sms_id": "out_1", "status": "DELIVRD"}, Webhook("delivery_report", "out_1", "DELIVRD")),
        ({"sms_id": 1058918, "status": " undeliv "}, Webhook("delivery_report", "1058918", "UNDELIV")),
        ({"id": "out_1", "to": "+250781234567", "text": "hi"}, Webhook("sent", "out_1")),
        ({"sms_id": "out_1", "to": "+250781234567", "text": "hi"}, Webhook("sent", "out_1")),
        ({"to": "+250781234567", "text": ""}, Webhook("sent")),
        ({"from": "+250781234567", "to": "7878", "text": "", "sms_id": 7}, Webhook("inbound", "7")),
        ({"from": "+250781234567", "to": "7878", "text": "hi", "id": "x"}, Webhook("inbound")),
        ({"from": "", "to": "7878", "text": "STOP", "sms_id": 7}, Webhook("inbound", "7")),
        ({"from": None, "to": "7878", "text": "STOP", "sms_id": 7}, Webhook("inbound", "7")),
        ({"sms_id": "a", "status": "DELIVRD", "text": None}, Webhook("delivery_report", "a", "DELIVRD")),
        (
            {"sms_id": "a", "status": "DELIVRD", "text": "", "to": "+250781234567"},
            Webhook("delivery_report", "a", "DELIVRD"),
        ),
        (
            {
                "id": "out_1",
                "text": "hi",
                "sender": "PindoTest",
                "created_at": "2026-06-10T09:04:12",
                "to": "+250781234567",
            },
            Webhook("sent", "out_1"),
        ),
        # What looks like two forms, or like none.
        ({"sms_id": 7, "status": "received", "from": "+25078", "text": "hi"}, Webhook("inbound", "7")),
        ({"sms_id": 7, "status": None}, Webhook("unknown", "7")),
        ({"sms_id": None, "status": "DELIVRD"}, Webhook("unknown")),
        ({"sms_id": True, "status": "DELIVRD"}, Webhook("unknown")),
        ({"sms_id": "a\nb", "status": "DELIVRD"}, Webhook("unknown")),
        ({"sms_id": "x" * (MAX_ID_LENGTH + 1), "status": "DELIVRD"}, Webhook("unknown")),
        ({"sms_id": "x", "status": "Y" * (MAX_STATUS_LENGTH + 1)}, Webhook("unknown", "x")),
        ({"sms_id": " ", "status": "DELIVRD"}, Webhook("unknown")),
        (
            {"sms_id": "x" * MAX_ID_LENGTH, "status": "y" * MAX_STATUS_LENGTH},
            Webhook("delivery_report", "x" * MAX_ID_LENGTH, "Y" * MAX_STATUS_LENGTH),
        ),
        # Its capitals are twice as long.
        ({"sms_id": "x", "status": "ß" * MAX_STATUS_LENGTH}, Webhook("unknown", "x")),
        ({"text": "hi"}, Webhook("unknown")),
        ({"sms_id": 7, "text": "hi"}, Webhook("unknown", "7")),
        ({"sms_id": 7, "status": "DELIVRD", "from": "PindoTest"}, Webhook("delivery_report", "7", "DELIVRD")),
        ({"from": "", "to": "", "text": "hi"}, Webhook("inbound")),
        ({"from": "+25078"}, Webhook("unknown")),
        ({"to": "", "text": "hi"}, Webhook("unknown")),
        ({}, Webhook("unknown")),
    ],
)
def test_every_published_form_is_read_and_nothing_is_guessed(body, webhook):
    assert read_webhook(body) == webhook


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["sms_id", "id", "status", "text", "from", "to", "x"]), JSON))
def test_no_body_causes_an_error_and_what_is_read_fits_the_columns(body):
    webhook = read_webhook(body)
    assert webhook.kind in KINDS
    assert webhook.sms_id is None or 0 < len(webhook.sms_id) <= MAX_ID_LENGTH
    assert webhook.status is None or 0 < len(webhook.status) <= MAX_STATUS_LENGTH
    assert (webhook.status is not None) == (webhook.kind == "delivery_report")


POSTING_TOKEN = "061a2f4ebad6ead2bc6991b5861fffef3a7d4826a757c5570b6ab2ab19c32657"
READING_TOKEN = "d3e651fec96af49cf6a83c4da3afd39a3289e76966bb46c1d6ad2e78a6cbcffd"


def test_each_token_is_for_one_purpose_one_secret_and_one_connection():
    tokens = {
        derive(secret, conn_id)
        for derive in (posting_token, reading_token)
        for secret in ("one", "two")
        for conn_id in ("pindo_default", "pindo_other")
    }
    assert len(tokens) == 8
    assert all(len(token) == 64 and token.isalnum() for token in tokens)
    # Pasted into dashboards: it must not change with a release.
    assert posting_token("one", "pindo_default") == POSTING_TOKEN
    # While Airflow is upgraded, a worker and the API server may have different releases.
    assert reading_token("one", "pindo_default") == READING_TOKEN


@pytest.mark.parametrize("derive", [posting_token, reading_token])
def test_an_empty_secret_gives_no_token(derive):
    with pytest.raises(ValueError, match="empty secret"):
        derive("", "pindo_default")
