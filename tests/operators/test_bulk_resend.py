"""``on_unknown="resend"``: whatever comes of the second request, who may have been texted stays unknown or is accepted.

The first try texts everybody, and its responses are lost. The second try sends again, and something is in its way.
"""

from __future__ import annotations

from contextlib import suppress

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException, TaskDeferred

from airflow_provider_pindo._bulk.bulk_ledger import BulkLedger
from airflow_provider_pindo.api.errors import PindoError
from airflow_provider_pindo.operators.sms import PindoSendBulkSmsOperator
from tests.operators.bulk import PERSONAL, Store, columns_in, context, people, report, send, times_texted
from tests.operators.bulk import at as time_of
from tests.operators.clock import DAY, at, set_clock

EVERYBODY = [each["phonenumber"] for each in people(5)]


@pytest.fixture(params=["send_sms", "send_bulk_sms"])
def call(request):
    return request.param


@pytest.fixture
def retry(sandbox, call):
    """A send whose first try left everybody unknown, as its next try."""
    store, text = Store(), PERSONAL if call == "send_sms" else "Muraho @contact.name"
    arguments = {"recipients": people(5, time=time_of), "text": text, "on_unknown": "resend"}

    def run(before_write=None, generation=0, **changes):
        operator = PindoSendBulkSmsOperator(task_id="text_all", **{**arguments, **changes})
        with pytest.MonkeyPatch.context() as patch:
            if before_write is not None:

                def write(ledger, outcomes, write=BulkLedger.write):
                    before_write(operator)
                    write(ledger, outcomes)

                patch.setattr(BulkLedger, "write", write)
            return operator.execute.__wrapped__(operator, context(store, generation))

    sandbox.add_fault("drop_after", call=call, times=None)
    with pytest.raises(AirflowException, match="Outcome unknown for 5 of 5"):
        run()
    sandbox.clear_faults()
    assert times_texted(sandbox) == dict.fromkeys(EVERYBODY, 1)
    yield run
    sandbox.clear_faults()
    sandbox.settings(approved_senders="any")
    for _ in ("as the second try left it", "cleared"):
        entry = store.get("pindo_bulk_00001")
        assert (entry["accepted"], entry["rejected"], entry["not_sent"]) == (0, {}, "")
        assert entry["status"] == "unknown"
        with suppress(AirflowFailException):
            run(generation=1, on_unknown="fail")
    assert times_texted(sandbox) == dict.fromkeys(EVERYBODY, 1)


def unknown_in(error):
    columns = columns_in(error)
    return columns["unknown"], sum(columns.values())


@pytest.mark.parametrize("status", [400, 409, 422, 413])
def test_who_is_refused_at_the_second_request_stays_unknown(sandbox, retry, call, status, caplog, tmp_path):
    sandbox.add_fault("status", call=call, status=status, body={"message": "wrong number format"}, times=None)
    with pytest.raises(AirflowException, match="The next try sends to them again") as failed:
        retry(report_path=str(tmp_path / "report.csv"), on_rejected="fail")
    assert unknown_in(failed.value) == (5, 5)
    assert {each["outcome"] for each in report(tmp_path / "report.csv")} == {"unknown"}
    warning = f"Pindo refused to text somebody again whose outcome was unknown ({status} wrong number format)"
    assert caplog.text.count(warning) == 1


@pytest.mark.parametrize("call", ["send_bulk_sms"], indirect=True)
def test_a_receipt_for_nobody_leaves_them_unknown(sandbox, retry, call):
    sandbox.add_fault("status", call=call, status=201, body={"count": 0, "total": 5})
    with pytest.raises(AirflowException, match="The next try sends to them again") as failed:
        retry()
    assert unknown_in(failed.value) == (5, 5)


@pytest.mark.parametrize("refused_in_a_row", [1, 3])
def test_a_refusal_of_everybody_leaves_them_unknown(sandbox, retry, monkeypatch, refused_in_a_row):
    monkeypatch.setattr("airflow_provider_pindo._bulk.breaker.REFUSED_IN_A_ROW", refused_in_a_row)
    sandbox.settings(approved_senders=[])
    with pytest.raises(AirflowFailException, match="Pindo refuses the sender ID 'PindoTest'") as failed:
        retry(concurrency=1)
    assert unknown_in(failed.value) == (5, 5)


@pytest.mark.parametrize("status", [401, 402, 403, 404, 429])
def test_an_error_that_stops_the_send_leaves_them_unknown(sandbox, retry, call, status):
    fault = (
        {"action": "rate_limit", "retry_after": 3600}
        if status == 429
        else {"action": "status", "status": status}
    )
    sandbox.add_fault(call=call, times=None, **fault)
    with pytest.raises((PindoError, AirflowFailException)) as failed:
        retry(concurrency=1)
    assert unknown_in(failed.value) == (5, 5)


def test_a_cost_limit_leaves_them_unknown(retry):
    with pytest.raises(AirflowFailException, match="max_cost") as failed:
        retry(max_cost=0.0001)
    assert unknown_in(failed.value) == (5, 5)


def test_an_expiry_leaves_them_unknown(retry, monkeypatch):
    """The messages expire after the ledger has admitted them."""
    set_clock(monkeypatch, at(9))
    result = retry(before_write=lambda _: set_clock(monkeypatch, at(11)), expires_at=at(10))
    assert (result["unknown"], result["expired"]) == (5, 0)


def test_a_window_that_closes_leaves_them_unknown(retry, monkeypatch):
    set_clock(monkeypatch, at(19))
    with pytest.raises(TaskDeferred):
        retry(before_write=lambda _: set_clock(monkeypatch, at(21)), send_window=DAY)


def test_an_exclusion_leaves_them_unknown(retry):
    result = retry(exclude=EVERYBODY)
    assert (result["unknown"], result["excluded"]) == (5, 0)


def test_an_interruption_before_the_request_leaves_them_unknown(retry):
    with pytest.raises(PindoError, match="asked to end") as failed:
        retry(before_write=lambda operator: operator.on_kill())
    assert unknown_in(failed.value) == (5, 5)


def test_a_ledger_that_cannot_be_written_leaves_them_unknown(retry):
    def fail(_):
        raise ConnectionError("503")

    with pytest.raises(AirflowException, match="Sending stopped: 503") as failed:
        retry(before_write=fail)
    assert unknown_in(failed.value) == (5, 5)


def test_of_a_refused_request_only_those_are_rejected_who_cannot_have_been_texted(sandbox):
    store, arguments = Store(), {"recipients": people(4), "text": "Muraho"}
    sandbox.add_fault("drop_after", call="send_bulk_sms")
    with pytest.raises(AirflowException):
        send(store, on_unknown="resend", exclude=EVERYBODY[2:], **arguments)
    sandbox.add_fault("status", call="send_bulk_sms", status=201, body={"count": 0, "total": 4})
    with pytest.raises(AirflowException) as failed:
        send(store, on_unknown="resend", **arguments)
    assert columns_in(failed.value)["rejected"] == columns_in(failed.value)["unknown"] == 2
    entry = store.get("pindo_bulk_00001")
    assert entry["rejected"] == {"Pindo accepted none of 4": "3-4"}
    assert list(entry["unknown"].values()) == ["1-2"]


def test_max_cost_counts_the_first_request_to_those_whom_a_second_one_reached(sandbox):
    sandbox.settings(item_price=0.01)
    sandbox.add_fault("drop_after", call="send_bulk_sms")
    store = Store()
    arguments = {"recipients": people(100), "chunk_size": 60, "item_price": 0.01, "on_unknown": "resend"}
    for max_cost, phones in ((0.6, 60), (1.2, 120), (1.2, 120)):
        with pytest.raises(AirflowException, match=f"max_cost={max_cost:.2f}"):
            send(store, max_cost=max_cost, **arguments)
        assert len(sandbox.messages()) == phones
    entry = store.get("pindo_bulk_00001")
    assert (entry["status"], entry["cost"], entry["unknown_cost"]) == ("not_sent", 0.6, 0)
    assert entry["resent_cost"] == 0.6
    assert send(store, max_cost=1.6, **arguments)["total_cost"] == 1.0
    assert len(sandbox.messages()) == 160


@pytest.mark.parametrize(("word", "total_cost"), [("sent", 1.5), ("not_sent", 1.0)])
def test_a_status_settles_only_what_is_unknown_still(sandbox, word, total_cost):
    """Of two requests of unknown outcome one reaches its recipients at the second time, and the other does not."""
    sandbox.settings(item_price=0.01)
    sandbox.add_fault("drop_after", call="send_bulk_sms", times=2)
    sandbox.add_fault("drop_after", call="send_bulk_sms", to="+250780000051")
    store = Store()
    arguments = {"recipients": people(100), "chunk_size": 50, "item_price": 0.01, "on_unknown": "resend"}
    for unknown in (100, 50):
        with pytest.raises(AirflowException, match=f"Outcome unknown for {unknown} of 100"):
            send(store, **arguments)
    store.settle(word)
    if word == "not_sent":
        with pytest.raises(AirflowException, match=r"1\.000 USD were spent"):
            send(store, max_cost=1.4, **arguments)
    assert send(store, max_cost=1.5, **arguments)["total_cost"] == total_cost
