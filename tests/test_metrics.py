"""What is reported to Airflow's metrics. ``tests/e2e/test_metrics.py`` receives it from a real Airflow."""

from __future__ import annotations

import json
import os
from contextlib import suppress

import pytest
from airflow.providers.common.compat import sdk
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException

from airflow_provider_pindo import _metrics
from airflow_provider_pindo.api.errors import (
    PindoAuthError,
    PindoConnectionError,
    PindoRejectedError,
    PindoServerError,
    PindoUnknownOutcomeError,
)
from airflow_provider_pindo.hooks.pindo import PindoAsyncHook, PindoHook
from airflow_provider_pindo.notifications.sms import PindoNotifier
from airflow_provider_pindo.operators.sms import PindoSendBulkSmsOperator, PindoSendSmsOperator
from airflow_provider_pindo.operators.verify import PindoVerifyOperator
from tests.operators.bulk import TaskInstance
from tests.operators.clock import DAY, at, set_clock
from tests.operators.verification import PHONE, Task
from tests.versions import needs_store

OTHER = "+250781234568"
PAST = "2026-01-01T00:00:00+02:00"
OUTCOMES = ("accepted", "rejected", "unknown", "not_sent")


class Received:
    """Stands for Airflow's ``Stats``, and keeps what it gets."""

    def __init__(self):
        self.metrics = []

    def incr(self, name, value, *, tags):
        self.metrics.append((name, value, tags))

    timing = incr

    def __getitem__(self, name):
        return [(value, tags) for metric, value, tags in self.metrics if metric == name]


@pytest.fixture
def stats(monkeypatch):
    received = Received()
    monkeypatch.setattr(sdk, "Stats", received)
    return received


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "accepted"),
        (PindoRejectedError("no"), "rejected"),
        (PindoUnknownOutcomeError("lost"), "unknown"),
        (PindoConnectionError("refused"), "not_sent"),
        (PindoAuthError("token"), "not_sent"),
        (ValueError("ours"), "unknown"),
    ],
)
def test_every_end_of_a_request_is_an_outcome(error, outcome):
    assert _metrics.outcome_of(error) == outcome


def test_messages_are_counted_with_tags_and_under_a_name_of_their_own(stats):
    _metrics.count_messages(_metrics.BULK, segments=40, cost=0.23, accepted=38, unknown=2, rejected=0)
    assert stats.metrics == [
        ("pindo.messages", 38, {"outcome": "accepted", "kind": "bulk"}),
        ("pindo.messages.accepted", 38, {"kind": "bulk"}),
        ("pindo.messages", 2, {"outcome": "unknown", "kind": "bulk"}),
        ("pindo.messages.unknown", 2, {"kind": "bulk"}),
        ("pindo.segments", 40, {"kind": "bulk"}),
        ("pindo.cost", 230_000, {"kind": "bulk"}),
    ]


def test_what_is_settled_and_what_the_receiver_stored_is_counted(stats):
    _metrics.count_settled("person", 3)
    _metrics.count_webhook("delivery_report")
    assert stats.metrics == [
        ("pindo.settled", 3, {"by": "person"}),
        ("pindo.settled.person", 3, {}),
        ("pindo.webhooks", 1, {"kind": "delivery_report"}),
        ("pindo.webhooks.delivery_report", 1, {}),
    ]


async def test_the_first_request_of_ten_is_timed_with_its_status(stats, sandbox, monkeypatch):
    monkeypatch.setattr(_metrics, "_requests", iter(range(100)))
    with PindoHook() as hook:
        for _ in range(11):
            hook.get_balance()
    async with PindoAsyncHook(max_attempts=1) as hook:
        for _ in range(9):
            await hook.get_balance()
        sandbox.add_fault("status", status=418)
        with pytest.raises(PindoRejectedError):
            await hook.get_balance()
    timed = stats["pindo.request"]
    assert [tags for _, tags in timed] == [
        {"call": "get_balance", "status": "200"},
        {"call": "get_balance", "status": "200"},
        {"call": "get_balance", "status": "418"},
    ]
    assert all(0 < milliseconds < 60_000 for milliseconds, _ in timed)


def test_a_request_without_a_response_has_no_status(stats, sandbox, monkeypatch):
    monkeypatch.setattr(_metrics, "_requests", iter(range(100)))
    sandbox.add_fault("drop_after", call="send_sms")
    with PindoHook() as hook, pytest.raises(PindoUnknownOutcomeError):
        hook.send_sms(PHONE, "Ejo saa tatu")
    assert [tags for _, tags in stats["pindo.request"]] == [{"call": "send_sms", "status": "none"}]


def test_a_try_without_a_response_does_not_report_the_status_of_the_try_before(stats, sandbox, monkeypatch):
    monkeypatch.setattr(_metrics, "_requests", iter((0, 0)))
    sandbox.add_fault("status", status=503, call="get_balance")
    sandbox.add_fault("drop_after", call="get_balance")
    with PindoHook(max_attempts=2) as hook, pytest.raises(PindoServerError):
        hook.get_balance()
    assert [tags["status"] for _, tags in stats["pindo.request"]] == ["503", "none"]


def test_an_alert_counts_what_became_of_each_of_its_messages(stats, sandbox):
    sandbox.add_fault("drop_after", call="send_sms", to=OTHER)
    PindoNotifier([PHONE, OTHER], "the pipeline broke").notify({})
    assert stats["pindo.messages.accepted"] == [(1, {"kind": "alert"})]
    assert stats["pindo.messages.unknown"] == [(1, {"kind": "alert"})]
    assert stats["pindo.segments"] == [(1, {"kind": "alert"})]
    ((millionths, _),) = stats["pindo.cost"]
    assert millionths > 0


@pytest.mark.parametrize(
    ("fault", "counted"),
    [
        (None, "accepted"),
        ({"action": "status", "status": 409}, "rejected"),
        ({"action": "rate_limit", "retry_after": 600}, "not_sent"),
        ({"action": "drop_after"}, "unknown"),
    ],
)
def test_a_send_counts_its_outcome_by_kind(stats, sandbox, fault, counted):
    if fault:
        sandbox.add_fault(call="texts", times=None, **fault)
    for make, kind in (
        (lambda: PindoSendSmsOperator(task_id="text", to=PHONE, text="Ejo saa tatu"), "single"),
        (lambda: PindoVerifyOperator(task_id="pin", number=PHONE), "verify"),
    ):
        with suppress(Exception):
            Task(make).run()
        assert stats[f"pindo.messages.{counted}"] == [(1, {"kind": kind})]
        assert bool(stats["pindo.cost"]) == (counted == "accepted" and kind == "single")
        stats.metrics.clear()


@needs_store
@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: PindoSendSmsOperator(task_id="text", to=PHONE, text="Ejo", expires_at=PAST), "single"),
        (lambda: PindoVerifyOperator(task_id="pin", number=PHONE, expires_at=PAST), "verify"),
    ],
)
def test_a_message_that_has_expired_is_counted_once_over_its_tries(stats, sandbox, make, kind):
    task = Task(make)
    for attempt in (task.run, task.run, task.clear):
        with pytest.raises(AirflowSkipException):
            attempt()
    assert stats["pindo.messages.expired"] == [(1, {"kind": kind})]
    assert sandbox.messages() == []


@pytest.fixture
def stop_list(monkeypatch, sandbox):
    """A connection that keeps texts from ``OTHER``."""
    connection = json.loads(os.environ["AIRFLOW_CONN_PINDO_DEFAULT"])
    connection["extra"]["suppression_list"] = "variable:stop_list"
    monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", json.dumps(connection))
    monkeypatch.setenv("AIRFLOW_VAR_STOP_LIST", json.dumps([OTHER]))


NIGHT = {"send_window": DAY, "outside_window": "skip"}


@pytest.mark.usefixtures("stop_list")
@pytest.mark.parametrize(
    ("arguments", "outcome"),
    [
        ({"to": OTHER}, "excluded"),
        (NIGHT, "skipped"),
        ({**NIGHT, "outside_window": "fail"}, "not_sent"),
        ({"expires_at": at(8)}, "expired"),
    ],
)
def test_a_message_that_time_or_the_stop_list_holds_back_is_counted(stats, monkeypatch, arguments, outcome):
    set_clock(monkeypatch, at(22))
    verify = {"number": arguments["to"]} if "to" in arguments else {"number": PHONE, **arguments}
    for operator, given, kind in (
        (PindoSendSmsOperator, {"to": PHONE, "text": "Ejo saa tatu", **arguments}, "single"),
        (PindoVerifyOperator, verify, "verify"),
    ):
        with pytest.raises((AirflowSkipException, AirflowFailException)):
            operator(task_id="text", **given).execute({"ti": TaskInstance(), "task_state_store": None})
        assert stats["pindo.messages"] == [(1, {"outcome": outcome, "kind": kind})]
        stats.metrics.clear()


@pytest.mark.usefixtures("stop_list")
def test_a_bulk_send_counts_who_is_held_back(stats, monkeypatch):
    def outcomes(**arguments):
        stats.metrics.clear()
        people = [{"phonenumber": PHONE}, {"phonenumber": OTHER}]
        operator = PindoSendBulkSmsOperator(
            task_id="all", recipients=people, text="Ejo saa tatu", **arguments
        )
        with suppress(AirflowSkipException, AirflowFailException):
            operator.execute.__wrapped__(operator, {"ti": TaskInstance(), "task_state_store": None})
        return {tags["outcome"]: value for value, tags in stats["pindo.messages"]}

    set_clock(monkeypatch, at(22))
    assert outcomes() == {"accepted": 1, "excluded": 1}
    assert outcomes(expires_at=at(8)) == {"expired": 1, "excluded": 1}
    assert outcomes(**NIGHT) == {"skipped": 1, "excluded": 1}
    assert outcomes(**{**NIGHT, "outside_window": "fail"}) == {"not_sent": 1, "excluded": 1}


@pytest.mark.usefixtures("stop_list")
def test_an_alert_that_is_held_back_is_counted(stats, monkeypatch):
    PindoNotifier([PHONE, OTHER], "the pipeline broke", respect_suppression=True).notify({})
    assert stats["pindo.messages.excluded"] == [(1, {"kind": "alert"})]
    assert stats["pindo.messages.accepted"] == [(1, {"kind": "alert"})]
    stats.metrics.clear()
    set_clock(monkeypatch, at(22))
    for to in ([PHONE, OTHER], f"{PHONE}, {OTHER}"):
        PindoNotifier(to, "the pipeline broke", send_window=DAY).notify({})
    assert stats["pindo.messages"] == [(2, {"outcome": "skipped", "kind": "alert"})] * 2


@pytest.fixture
def everybody(sandbox):
    """A bulk send to 30 people: one is rejected, and the response for another is lost."""
    people = [{"phonenumber": f"+2507812345{row:02d}", "name": f"Patient {row}"} for row in range(30)]
    sandbox.add_fault("drop_after", to=people[3]["phonenumber"])
    sandbox.add_fault(
        "status", status=409, body={"message": "unsupported telco"}, to=people[4]["phonenumber"]
    )
    return Task(
        lambda: PindoSendBulkSmsOperator(
            task_id="everybody",
            recipients=people,
            text="Muraho @contact.name @contact.phonenumber",
            concurrency=4,
        )
    )


def test_a_bulk_send_counts_every_recipient(stats, everybody):
    with pytest.raises(AirflowFailException):
        everybody.run()
    counted = {name: sum(value for value, _ in stats[f"pindo.messages.{name}"]) for name in OUTCOMES}
    assert counted == {"accepted": 28, "rejected": 1, "unknown": 1, "not_sent": 0}
    assert sum(value for value, _ in stats["pindo.segments"]) == 28
    assert len(stats["pindo.messages.accepted"]) < 14, "a write of the ledger counts several messages at once"
    assert {tags["kind"] for _, _, tags in stats.metrics if "kind" in tags} == {"bulk"}


@needs_store
def test_a_second_try_sends_nothing_and_counts_nothing_again(stats, everybody):
    with pytest.raises(AirflowFailException):
        everybody.run()
    stats.metrics.clear()
    with pytest.raises(AirflowFailException):
        everybody.run()
    assert stats["pindo.messages"] == []


def test_a_bulk_send_that_stops_counts_who_was_not_sent_to(stats, sandbox):
    sandbox.add_fault("status", status=401, call="send_bulk_sms", times=None)
    recipients = [{"phonenumber": PHONE}, {"phonenumber": OTHER}]
    with pytest.raises(AirflowFailException):
        Task(
            lambda: PindoSendBulkSmsOperator(task_id="everybody", recipients=recipients, text="Muraho")
        ).run()
    assert stats["pindo.messages"] == [(2, {"outcome": "not_sent", "kind": "bulk"})]


def test_metrics_that_cannot_be_reported_fail_no_task(monkeypatch, sandbox):
    monkeypatch.setattr(sdk, "Stats", None)
    monkeypatch.setattr(_metrics, "_requests", iter(range(100)))
    with PindoHook() as hook:
        assert hook.send_sms(PHONE, "Ejo saa tatu").status
