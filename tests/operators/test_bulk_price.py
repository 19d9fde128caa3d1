"""The price of a message: an estimate until a receipt names it, and what it means for the limits of a bulk send."""

from __future__ import annotations

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_pindo._bulk.batch_entry import settle_rows
from airflow_provider_pindo._ledger.entry import Settlement
from airflow_provider_pindo.api.errors import PindoInsufficientBalanceError, PindoServerError
from tests.operators.bulk import PERSONAL, Store, at, columns_in, people, send, times_texted


@pytest.fixture
def dear(sandbox):
    """A sandbox whose messages cost more than a send expects."""
    sandbox.set_balance(100)
    sandbox.settings(item_price=0.05)
    return sandbox


@pytest.mark.parametrize(
    ("limit", "accepted"), [({"max_cost": 2.0}, 40), ({"max_cost": 1.1}, 20), ({"min_balance": 98}, 40)]
)
def test_the_first_receipt_replaces_the_expected_price(dear, limit, accepted):
    with pytest.raises((AirflowFailException, PindoInsufficientBalanceError)) as stopped:
        send(Store(), recipients=people(1000), chunk_size=10, **limit)
    assert columns_in(stopped.value)["accepted"] == len(dear.messages()) == accepted


@pytest.mark.parametrize("limit", [{"max_cost": 2.0}, {"min_balance": 98}])
@pytest.mark.parametrize("chunk_size", [10, 1000])
def test_the_first_of_many_texts_goes_out_alone(dear, limit, chunk_size):
    arguments = {"recipients": people(1000, time=at), "text": PERSONAL, "chunk_size": chunk_size, **limit}
    with pytest.raises((AirflowFailException, PindoInsufficientBalanceError)) as stopped:
        send(Store(), **arguments)
    assert columns_in(stopped.value)["accepted"] == len(dear.messages()) == 40


def test_a_retry_knows_the_price_that_the_try_before_paid(dear):
    store, arguments = Store(), {"recipients": people(60), "chunk_size": 10}
    for max_cost, accepted in ((1.0, 20), (1.0, 20), (2.2, 40), (2.2, 40)):
        with pytest.raises(AirflowFailException, match=f"max_cost={max_cost:.2f}"):
            send(store, max_cost=max_cost, **arguments)
        assert len(dear.messages()) == accepted
    assert send(store, max_cost=3.0, **arguments)["total_cost"] == 3.0
    assert set(times_texted(dear).values()) == {1}


def test_what_an_unknown_request_costs_is_estimated_by_the_last_receipt(dear):
    store, arguments = Store(), {"recipients": people(40), "chunk_size": 10, "concurrency": 1}
    dear.add_fault("drop_after", call="send_bulk_sms", to="+250780000011")
    with pytest.raises(AirflowFailException, match="Outcome unknown for 10 of 40"):
        send(store, **arguments)
    entry = store.get("pindo_bulk_00001")
    assert (entry["cost"], entry["unknown_cost"]) == (1.5, 0.5)


@pytest.mark.parametrize("arguments", [{}, {"text": PERSONAL}])
def test_parts_of_a_refused_request_spend_and_release_their_share(dear, arguments):
    """Two people of the first request are refused, so it is split until they are alone."""
    call = "send_sms" if arguments else "send_bulk_sms"
    for number in ("+250780000003", "+250780000007"):
        body = {"message": "unsupported telco"}
        dear.add_fault("status", call=call, to=number, status=409, body=body, times=None)
    arguments = {"recipients": people(60, time=at), "chunk_size": 10, **arguments}
    store = Store()
    with pytest.raises(AirflowFailException, match=r"1\.900 USD were spent"):
        send(store, max_cost=1.9, concurrency=2, **arguments)
    assert len(dear.messages()) == 38
    result = send(store, max_cost=2.9, **arguments)
    assert (result["accepted"], result["rejected"], result["total_cost"]) == (58, 2, 2.9)
    assert set(times_texted(dear).values()) == {1}


@pytest.mark.parametrize("chunk_size", [10, 100])
def test_a_send_that_seems_too_dear_waits_for_the_receipts_of_what_is_in_flight(sandbox, chunk_size):
    sandbox.settings(item_price=0.006)
    arguments = {"recipients": people(20, time=at), "text": PERSONAL, "chunk_size": chunk_size}
    assert send(Store(), item_price=0.02, max_cost=0.3, **arguments)["total_cost"] == 0.12


def test_a_bulk_request_that_seems_too_dear_waits_for_the_receipt_of_the_one_before(sandbox):
    arguments = {"recipients": people(20), "chunk_size": 10, "item_price": 0.02}
    assert send(Store(), max_cost=0.3, **arguments)["total_cost"] == 0.12


@pytest.mark.parametrize("text", ["Muraho", PERSONAL])
@pytest.mark.parametrize("count", [100, 150, 290])
def test_a_send_may_cost_exactly_what_its_dry_run_says(sandbox, count, text):
    arguments = {"recipients": people(count, time=at), "text": text, "chunk_size": 10}
    cost = send(Store(), dry_run=True, **arguments)["estimated_cost"]
    sandbox.set_balance(cost + 1)
    assert send(Store(), max_cost=cost, min_balance=1, **arguments)["total_cost"] == cost


def test_texts_of_one_chunk_go_out_as_far_as_the_money_goes(sandbox):
    arguments = {"recipients": people(100, time=at), "text": PERSONAL, "chunk_size": 100}
    with pytest.raises(AirflowFailException, match=r"0\.240 USD were spent"):
        send(Store(), max_cost=0.24, **arguments)
    assert len(sandbox.messages()) == 40


def test_settled_rows_do_not_raise_the_price(dear):
    """They add their cost to an entry, which does not know their segments."""
    store, arguments = Store(), {"recipients": people(60), "chunk_size": 10, "concurrency": 1}
    dear.add_fault("drop_after", call="send_bulk_sms", to="+250780000011")
    with pytest.raises(AirflowFailException, match=r"max_cost=2\.00"):
        send(store, max_cost=2.0, **arguments)
    entry = store.get("pindo_bulk_00001")
    settled = settle_rows(
        entry, range(11, 21), (), Settlement("person", "A nurse", "2026-11-24T09:30:00+00:00")
    )
    store.set("pindo_bulk_00001", settled)
    assert send(store, max_cost=3.0, **arguments)["total_cost"] == 3.0
    assert set(times_texted(dear).values()) == {1}


@pytest.mark.parametrize(
    ("call", "arguments"), [("send_sms", {"text": PERSONAL}), ("send_bulk_sms", {"chunk_size": 10})]
)
def test_a_late_receipt_does_not_raise_the_balance(sandbox, call, arguments):
    """The wallet had more when this message was accepted than it has when the response arrives."""
    sandbox.set_balance(1.1)
    sandbox.settings(item_price=0.01)
    sandbox.add_fault("slow_answer", call=call, seconds=0.5, skip=3)
    with pytest.raises(PindoInsufficientBalanceError, match=r"min_balance=0\.50"):
        send(Store(), recipients=people(200, time=at), concurrency=4, min_balance=0.5, **arguments)
    assert len(sandbox.messages()) == 60


def test_a_request_of_unknown_outcome_counts_as_paid_from_the_wallet(sandbox):
    sandbox.set_balance(0.8)
    sandbox.settings(item_price=0.01)
    sandbox.add_fault("drop_after", call="send_bulk_sms", times=6)
    arguments = {"recipients": people(200), "chunk_size": 5, "concurrency": 1, "on_unknown": "accept"}
    with pytest.raises(PindoInsufficientBalanceError):
        send(Store(), min_balance=0.5, item_price=0.01, **arguments)
    assert len(sandbox.messages()) == 30


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"chunk_size": 10}, {"call": "send_bulk_sms", "body": {"count": 10, "item_price": 0.05}}),
        (
            {"chunk_size": 10, "text": PERSONAL},
            {"call": "send_sms", "body": {"sms_id": "a", "item_price": 0.05}},
        ),
    ],
)
def test_a_receipt_without_a_balance_counts_as_paid_from_the_wallet(dear, arguments, fault):
    dear.add_fault("status_after", status=201, times=None, **fault)
    arguments = {"recipients": people(1000, time=at), **arguments}
    with pytest.raises(
        PindoInsufficientBalanceError, match=r"holds 98\.000 USD.*min_balance=98\.00"
    ) as stopped:
        send(Store(), min_balance=98, **arguments)
    assert columns_in(stopped.value)["accepted"] == len(dear.messages()) == 40


def test_a_receipt_that_names_the_balance_is_believed_when_it_does_not_say_who_was_accepted(dear):
    body = {"count": 9, "item_price": 0.05, "remaining_balance": 99.5}
    dear.add_fault("status_after", call="send_bulk_sms", status=201, body=body, times=None)
    arguments = {"recipients": people(100), "chunk_size": 10, "on_unknown": "accept"}
    assert send(Store(), min_balance=99, **arguments)["unknown"] == len(dear.messages()) == 100


def test_a_late_receipt_does_not_hide_what_others_cost_that_name_no_balance(dear):
    """Its balance is of the time before they were accepted."""
    dear.add_fault("slow_answer", call="send_bulk_sms", to="+250780000011", seconds=0.5)
    body = {"count": 10, "item_price": 0.05}
    dear.add_fault("status_after", call="send_bulk_sms", status=201, body=body, times=None, skip=1)
    arguments = {"recipients": people(1000), "chunk_size": 10, "concurrency": 2}
    with pytest.raises(PindoInsufficientBalanceError):
        send(Store(), min_balance=95, **arguments)
    assert dear.state()["balance"] >= 95


@pytest.mark.parametrize("limit", [{"max_cost": 0.1}, {"min_balance": 99.8}])
def test_a_limit_that_is_passed_by_the_last_message_stops_nobody(dear, limit):
    assert send(Store(), recipients=people(10), **limit)["accepted"] == 10


def test_pindo_that_is_down_for_the_last_messages_stops_nobody(sandbox, caplog):
    sandbox.add_fault("drop_after", call="send_sms", times=None)
    arguments = {"recipients": people(10, time=at), "text": PERSONAL, "on_unknown": "accept"}
    assert send(Store(), **arguments)["unknown"] == 10
    assert "Stopped, with nobody left to send to: 10 requests in a row got no certain response" in caplog.text


@pytest.mark.parametrize(
    ("fault", "problem", "error"),
    [
        ({"action": "drop_before"}, "got no response", PindoServerError),
        ({"action": "status", "status": 409}, "Pindo returned 409", AirflowFailException),
    ],
)
def test_a_wallet_that_cannot_be_read_stops_a_send_with_min_balance(sandbox, fault, problem, error):
    sandbox.add_fault(**fault, call="get_balance", times=None)
    with pytest.raises(
        error, match=rf"min_balance=1\.00 needs the wallet's balance.*{problem}(.|\n)*leave min_balance"
    ):
        send(Store(), recipients=people(3), min_balance=1)
    assert sandbox.messages() == []
