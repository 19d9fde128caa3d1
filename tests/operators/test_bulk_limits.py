"""What stops a bulk send before or amid its messages: length, money, and arguments that make no sense."""

from __future__ import annotations

import re
import time

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_pindo._bulk.spool import Spool
from airflow_provider_pindo.api.errors import (
    PindoConfigurationError,
    PindoInsufficientBalanceError,
)
from airflow_provider_pindo.operators.sms import PindoSendBulkSmsOperator
from tests.operators.bulk import (
    COLUMNS,
    PERSONAL,
    Store,
    at,
    columns_in,
    people,
    send,
    times_texted,
)

pytestmark = pytest.mark.usefixtures("an_entry_for_each_chunk")


def test_a_dry_run_counts_and_sends_nothing(sandbox):
    store = Store()
    to_be = [*people(150, time=at), *people(1, time=at)]
    result = send(store, recipients=to_be, text=PERSONAL, dry_run="True", exclude=["+250780000003"])
    assert result == {
        "accepted": 0,
        "rejected": 0,
        "unknown": 0,
        "not_sent": 149,
        "duplicates": 1,
        "excluded": 1,
        "expired": 0,
        "given": 151,
        "requests": 149,
        "segments": 149,
        "estimated_cost": 0.894,
        "estimated_seconds": 0.7,
        "opens_at": None,
    }
    assert sandbox.requests() == []
    assert store.all() == {}


@pytest.mark.parametrize("dry_run", [False, True])
def test_the_spool_is_closed_also_if_it_cannot_be_read(sandbox, monkeypatch, dry_run):
    def fail(self):
        spools.append(self)
        raise OSError("the spool cannot be read")

    spools: list[Spool] = []
    monkeypatch.setattr(Spool, "blocks", fail)
    with pytest.raises(Exception, match="the spool cannot be read"):
        send(Store(), recipients=people(2), dry_run=dry_run)
    assert [spool._file.closed for spool in spools] == [True]


def test_a_message_of_too_many_segments_stops_it_before_the_first(sandbox):
    to_be = [*people(2), {"phonenumber": "+250780000003", "name": "”" * 80}]
    assert send(Store(), recipients=people(2), max_segments=1)["accepted"] == 2
    sandbox.reset()
    with pytest.raises(AirflowFailException, match="row 3 takes 2 segments, more than max_segments=1"):
        send(Store(), recipients=to_be, max_segments=1)
    assert sandbox.messages() == []
    assert (
        send(Store(), recipients=to_be)["segments"]
        == sum(each["item_count"] for each in sandbox.messages())
        == 4
    )


def test_it_stops_before_the_wallet_holds_less_than_it_must(sandbox):
    store, arguments = Store(), {"recipients": people(100, time=at), "text": PERSONAL, "chunk_size": 10}
    sandbox.set_balance(1.0)
    with pytest.raises(PindoInsufficientBalanceError) as stopped:
        send(store, min_balance=0.7, **arguments)
    columns = columns_in(stopped.value)
    assert 0 < columns["accepted"] == len(sandbox.messages()) <= 50
    assert sandbox.state()["balance"] >= 0.7
    sandbox.set_balance(5)
    assert send(store, min_balance=0.7, **arguments)["accepted"] == 100
    assert set(times_texted(sandbox).values()) == {1}


def test_it_stops_before_it_costs_more_than_it_may(sandbox):
    store, arguments = Store(), {"recipients": people(100), "chunk_size": 10}
    with pytest.raises(AirflowFailException) as stopped:
        send(store, max_cost=0.2, **arguments)
    assert columns_in(stopped.value)["accepted"] == len(sandbox.messages()) == 30
    with pytest.raises(AirflowFailException):
        send(store, max_cost=0.2, **arguments)
    assert len(sandbox.messages()) == 30
    assert send(store, max_cost=1, **arguments)["accepted"] == 100


def test_a_limit_of_the_cost_needs_no_wallet(sandbox):
    sandbox.add_fault("status", call="get_balance", status=404, times=None)
    assert send(Store(), recipients=people(10), max_cost=5)["accepted"] == 10


def test_it_stops_when_it_costs_more_than_was_thought(sandbox):
    sandbox.settings(item_price=0.05)
    with pytest.raises(AirflowFailException, match=r"0\.500 USD were spent") as stopped:
        send(Store(), recipients=people(1000), chunk_size=10, max_cost=0.2, concurrency=1)
    assert columns_in(stopped.value)["accepted"] == len(sandbox.messages()) <= 20


def test_what_pindo_gives_no_price_for_costs_what_was_thought(sandbox):
    """Pindo's bulk answer may have no ``item_price``; both the stop and the entries of the ledger count it."""
    sandbox.add_fault("status_after", call="send_bulk_sms", status=201, body={"count": 5}, times=None)
    store, arguments = (
        Store(),
        {"recipients": people(100), "chunk_size": 5, "max_cost": 0.2, "item_price": 0.01},
    )
    for _ in range(2):
        with pytest.raises(AirflowFailException, match=r"max_cost=0\.20") as stopped:
            send(store, concurrency=1, **arguments)
        assert columns_in(stopped.value)["accepted"] == len(sandbox.messages()) == 20
    result = send(store, **{**arguments, "max_cost": None})
    assert (result["accepted"], result["total_cost"]) == (100, 1.0)


def test_money_is_reserved_and_released_at_one_price(sandbox):
    class Slow(Store):
        def set(self, key, value, *, retention=None):
            time.sleep(0.03)  # so that the first receipts come while the second chunk is written down
            super().set(key, value, retention=retention)

    sandbox.settings(item_price=0.006)
    arguments = {"recipients": people(400, time=at), "text": PERSONAL, "chunk_size": 50}
    assert send(Slow(), max_cost=2.6, item_price=0.02, **arguments)["accepted"] == 400


def test_what_pindo_takes_none_of_is_no_longer_reserved(sandbox):
    sandbox.set_balance(100)
    sandbox.settings(item_price=0.01)
    sandbox.add_fault("status", call="send_bulk_sms", status=201, body={"count": 0}, times=3)
    arguments = {"recipients": people(100), "chunk_size": 10, "concurrency": 1, "item_price": 0.01}
    result = send(Store(), max_cost=0.75, **arguments)
    assert (result["accepted"], result["rejected"], result["total_cost"]) == (70, 30, 0.7)


@pytest.mark.parametrize(("word", "phones"), [(None, 50), ("sent", 50), ("not_sent", 100)])
def test_what_may_have_been_sent_counts_as_spent_in_the_next_try_too(sandbox, word, phones):
    store = Store()
    arguments = {"recipients": people(100), "chunk_size": 50, "max_cost": 0.6, "item_price": 0.01}
    sandbox.settings(item_price=0.01)
    sandbox.add_fault("drop_before" if word == "not_sent" else "drop_after", call="send_bulk_sms")
    with pytest.raises(AirflowException) as failed:
        send(store, concurrency=1, **arguments)
    assert columns_in(failed.value) == dict(zip(COLUMNS, (0, 0, 50, 50, 0, 0), strict=True))
    assert store.get("pindo_bulk_00001")["unknown_cost"] == 0.5
    if word:
        store.settle(word)
    with pytest.raises(AirflowFailException, match=r"max_cost=0\.60"):
        send(store, generation=1, concurrency=1, **arguments)
    assert len(sandbox.messages()) == 50
    if word == "sent":
        assert send(store, generation=2, **{**arguments, "max_cost": 2})["total_cost"] == 1.0


def test_a_try_that_was_killed_counts_as_spent_what_was_on_its_way(sandbox):
    """The entry that is written before a chunk is sent is all that a killed try leaves."""

    class Killed(Store):
        def set(self, key, value, *, retention=None):
            if key not in ("pindo_bulk", *self.all()):
                super().set(key, value, retention=retention)
            elif key == "pindo_bulk":
                super().set(key, {**value, "status": "started"}, retention=retention)

    store = Killed()
    sandbox.settings(item_price=0.01)
    arguments = {"recipients": people(100), "chunk_size": 50, "item_price": 0.01}
    send(store, **arguments)
    assert [store.get(f"pindo_bulk_0000{chunk}")["unknown_cost"] for chunk in (1, 2)] == [0.5, 0.5]
    with pytest.raises(AirflowFailException, match="Outcome unknown for 100 of 100"):
        send(store, max_cost=0.6, **arguments)
    assert len(sandbox.messages()) == 100


def test_nobody_to_text_is_no_failure(sandbox):
    assert send(Store(), recipients=[])["given"] == 0
    assert send(Store(), recipients=people(1), exclude=["+250780000001"])["excluded"] == 1
    assert sandbox.messages() == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"on_invalid": "ignore"}, "on_invalid is 'ignore': give one of fail, skip"),
        ({"on_rejected": "x"}, "on_rejected is 'x'"),
        ({"chunk_size": 0}, "chunk_size is 0: give a whole number from 1 to 1,000"),
        ({"chunk_size": None}, "chunk_size is None: give a whole number from 1 to 1,000"),
        ({"chunk_size": True}, "chunk_size is True"),
        ({"concurrency": None}, "concurrency is None: give a whole number from 1 to 1,000"),
        ({"concurrency": "many"}, "concurrency is 'many'"),
        ({"max_segments": 0}, "max_segments is 0"),
        ({"min_balance": "5"}, "min_balance is '5': give a number of USD"),
        ({"max_cost": float("nan")}, "max_cost is nan: give a number of USD"),
        ({"max_cost": True}, "max_cost is True: give a number of USD"),
        ({"item_price": None}, "item_price is None: give a number of USD"),
        ({"item_price": -1}, "item_price is -1: give a number of USD"),
    ],
)
def test_what_is_no_template_is_refused_when_the_dag_is_parsed(arguments, says):
    with pytest.raises(PindoConfigurationError, match=re.escape(says)):
        PindoSendBulkSmsOperator(task_id="text_all", recipients=people(1), text="Muraho", **arguments)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"on_unknown": "x"}, "on_unknown is 'x': give one of fail, ask, resend, accept"),
        ({"recipients": "+250781234567"}, "must end in .csv"),
        ({"text": ""}, "text is empty"),
        ({"sender": "PindoTestCompany"}, "has 16 characters"),
    ],
)
def test_a_mistake_in_the_arguments_says_what_to_write(sandbox, arguments, says):
    store = Store()
    with pytest.raises(AirflowFailException, match=re.escape(says)):
        send(store, **{"recipients": people(1), **arguments})
    assert sandbox.messages() == []
    assert store.all() == {}
