"""Pindo's rules without HTTP: every request gets a response, and a refused one has no effect."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_pindo.sandbox.calls import CALLS, CALLS_WITH_BODY
from airflow_provider_pindo.sandbox.clock import Clock
from airflow_provider_pindo.sandbox.numbers import number_check
from airflow_provider_pindo.sandbox.pindo import Pindo, Request, fill, sms_ids
from airflow_provider_pindo.sandbox.settings import Settings
from airflow_provider_pindo.sandbox.store import Store

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
numbers = st.sampled_from(["+250781234567", "+254712345678", "0781234567", "+12025550123"]) | anything
senders = st.sampled_from(["PindoTest", "Ubuzima"]) | anything
recipient = st.fixed_dictionaries({}, optional={"phonenumber": numbers, "name": anything}) | anything
bodies = anything | st.fixed_dictionaries(
    {},
    optional={
        "to": numbers,
        "number": numbers,
        "text": st.text(max_size=300) | anything,
        "sender": senders,
        "brand": senders,
        "recipients": st.lists(recipient, max_size=4) | anything,
        "code": anything,
        "request_id": anything,
        "sender_id": anything,
        "countries": anything,
        "webhook_url": anything,
        "sms_retries": anything,
    },
)


def account(store: Store, settings: Settings) -> Pindo:
    return Pindo(store, settings, Clock(), lambda messages, request: None, lambda event: None)


@given(st.lists(st.tuples(st.sampled_from(sorted(CALLS_WITH_BODY)), bodies), max_size=6))
def test_any_body_gets_an_answer_and_a_refusal_has_no_effect(requests: list[tuple[str, Any]]):
    store = Store(None, 1.0)
    pindo = account(store, Settings())
    for call, body in requests:
        before = (store.balance, store.messages())
        answer = pindo.respond(call, Request(body=body))
        if answer.status >= 400:
            unknown_sender = answer.body.get("message", "").startswith("Unknown sender id")
            keys = {"error", "message", "status"} if unknown_sender else {"message"}
            assert set(answer.body) == (keys if answer.status != 500 else set())
            assert (store.balance, store.messages()) == before
    assert store.balance + sum(message.total_cost for message in store.messages()) == 1_000_000
    store.close()


@given(
    st.dictionaries(st.sampled_from(["page", "per_page", "name", "start", "timeframe"]), st.text(max_size=12))
)
def test_any_query_gets_an_answer(query: dict[str, str]):
    store = Store(None, 1.0)
    pindo = account(store, Settings())
    for call in set(CALLS) - CALLS_WITH_BODY:
        assert (
            pindo.respond(call, Request(path={"request_id": query.get("page", "")}, query=query)).status < 500
        )
    store.close()


moments = st.sampled_from(["2026-06-10T09:04:31", "0001-01-01T00:00:00+05:00", "2026-06-10\ud83d09:04"])
injected = st.fixed_dictionaries(
    {"from": st.just("+250781234567") | anything, "text": st.text(st.characters(codec=None), max_size=20)},
    optional={"to": anything, "created_at": moments | anything, "after_page": st.just(1) | anything},
)


@given(st.lists(injected, max_size=3), st.just("7878") | anything)
def test_injected_messages_arrive_between_two_pages(messages: list[Any], inbound_number: Any):
    try:
        settings = Settings(first_id=7).changed(
            {"inject_between_pages": messages, "inbound_number": inbound_number}
        )
    except ValueError:
        return
    store = Store(None, 1.0)
    pindo = account(store, settings)
    for page in range(1, 5):
        assert pindo.respond("list_inbound_sms", Request(query={"page": str(page)})).status == 200
    arrived = len(messages) - len(pindo.settings.inject_between_pages)
    assert arrived == store.counts()["inbound"]
    assert arrived == len([message for message in messages if (message.get("after_page") or 1) < 5])
    store.close()


@pytest.mark.parametrize("number", ["+250781234567", "+254712345678", "+256772123456", "+255712345678"])
def test_the_fast_check_agrees_with_the_library(number):
    import phonenumbers

    assert phonenumbers.is_valid_number(phonenumbers.parse(number))
    assert number_check(Settings().supported_countries)(number) is None


@given(st.from_regex(r"\+250[0-9]{8,10}", fullmatch=True))
@example("+2500720000000")
def test_the_fast_check_takes_the_mobile_numbers_of_the_library_and_no_other(number):
    import phonenumbers

    parsed = phonenumbers.parse(number)
    mobile = phonenumbers.number_type(parsed) in (
        phonenumbers.PhoneNumberType.MOBILE,
        phonenumbers.PhoneNumberType.FIXED_LINE_OR_MOBILE,
    )
    # The library also reads +250 0781234567, with the zero of national numbers, which is not E.164.
    is_e164 = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164) == number
    assert (number_check(("RW",))(number) is None) == (mobile and is_e164)


def test_an_unknown_country_code_supports_no_number():
    assert number_check(("XX",))("+250781234567") == "unsupported country"


def test_ids_are_new_each_time_and_grow_with_time():
    ids = sms_ids(10_000)
    assert len(set(ids)) == 10_000
    assert {len(sms_id) for sms_id in ids} == {len("out_sms_") + 26}
    assert sms_ids(1)[0][:18] >= ids[0][:18]


def test_a_name_with_a_mention_in_it_is_not_filled_again():
    assert fill("Hi @contact.name", "+250781234567", "@contact.phone") == "Hi @contact.phone"
    assert fill("Hi @contact.name", "+250781234567", r"\1") == r"Hi \1"
