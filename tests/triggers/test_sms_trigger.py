"""PindoInboundSmsTrigger: what it fires, and what it never shows."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from airflow.providers.common.compat.sdk import AirflowOptionalProviderFeatureException
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS, AIRFLOW_V_3_3_PLUS

from airflow_provider_pindo.triggers.sms import PindoInboundSmsTrigger

PHONE = "+250781234567"


def trigger(pattern="YES", **arguments):
    arguments = {"since": "2020-01-01T00:00:00+00:00", "poke_interval": 0.05, **arguments}
    return PindoInboundSmsTrigger(pattern=pattern, **arguments)


async def fire(waiting):
    return [event async for event in waiting.run()]


async def test_it_fires_the_ids_of_what_matches(sandbox):
    sandbox.reply(PHONE, "NO 1")
    sandbox.reply(PHONE, "YES 1")
    [event] = await fire(trigger())
    assert event.payload == {"status": "matched", "ids": [2]}


async def test_it_waits_until_enough_messages_match(sandbox, polls, until):
    waits = asyncio.create_task(fire(trigger(min_matches=2)))
    await asyncio.to_thread(sandbox.reply, PHONE, "YES 1")
    await until(lambda: polls() > 3)
    assert not waits.done()
    await asyncio.to_thread(sandbox.reply, PHONE, "YES 2")
    [event] = await waits
    assert event.payload["ids"] == [1, 2]


async def test_it_goes_on_from_its_since_wherever_it_is_made_again(sandbox):
    before = datetime(2026, 1, 1, tzinfo=UTC)
    sandbox.reply(PHONE, "YES too old", created_at="2025-12-31T23:59:59")
    sandbox.reply(PHONE, "YES", created_at="2026-01-01T00:00:00")
    path, arguments = trigger(since=before).serialize()
    assert path == f"{PindoInboundSmsTrigger.__module__}.PindoInboundSmsTrigger"
    for _ in range(2):  # a triggerer that is killed leaves another to start from the same arguments
        [event] = await fire(PindoInboundSmsTrigger(**arguments))
        assert event.payload["ids"] == [2]


async def test_the_interval_may_be_a_timedelta(sandbox):
    sandbox.reply(PHONE, "YES")
    waits = trigger(poke_interval=timedelta(seconds=0.5))
    assert waits.serialize()[1]["poke_interval"] == 0.5
    [event] = await fire(waits)
    assert event.payload["ids"] == [1]


@pytest.mark.parametrize("interval", [-1, float("nan"), float("inf"), "30", None, True])
def test_an_invalid_interval_is_refused_before_it_can_affect_other_triggers(interval):
    # A TypeError is what a triggerer survives.
    with pytest.raises(TypeError, match=r"poke_interval is .*give seconds"):
        trigger(poke_interval=interval)


def test_an_unknown_source_is_refused():
    with pytest.raises(TypeError, match="source is 'webhooks'"):
        trigger(source="webhooks")


async def test_what_goes_wrong_beyond_pindo_resumes_the_task_instead_of_skipping_it(sandbox):
    sandbox.reply(PHONE, "YES")
    [event] = await fire(trigger(end_task=True))  # and there is no task, here
    assert event.payload["status"] == "failed"
    assert event.payload["retry_helps"] is True


async def test_an_unexpected_error_shows_no_message(sandbox, monkeypatch, caplog):
    def fail(inbound_filter, message):
        raise LookupError(message.text)

    monkeypatch.setattr("airflow_provider_pindo._inbox.filter.InboundFilter.match", fail)
    sandbox.reply(PHONE, "YES, and my PIN is 4821")
    [event] = await fire(trigger())
    assert "LookupError in fail" in event.payload["reason"]
    assert "4821" not in f"{event.payload}{caplog.text}"


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 503}])
async def test_an_outage_does_not_end_the_waiting(sandbox, fault):
    sandbox.reply(PHONE, "YES")
    sandbox.add_fault("status", call="list_inbound_sms", times=3, **fault)
    [event] = await fire(trigger())
    assert event.payload["ids"] == [1]


async def test_a_429_and_a_lost_response_do_not_end_the_waiting(sandbox):
    sandbox.reply(PHONE, "YES")
    sandbox.add_fault("rate_limit", call="list_inbound_sms", retry_after=0)
    sandbox.add_fault("drop_before", call="list_inbound_sms")
    [event] = await fire(trigger())
    assert event.payload["ids"] == [1]


async def test_it_fails_after_too_many_failures_in_a_row(sandbox, polls):
    sandbox.add_fault("status", call="list_inbound_sms", status=500, times=None)
    [event] = await fire(trigger(max_consecutive_failures=3))
    assert event.payload["status"] == "failed"
    assert event.payload["retry_helps"] is True
    assert polls() == 3


async def test_a_refused_token_ends_the_waiting_at_once(sandbox, polls, monkeypatch):
    monkeypatch.setenv(
        "AIRFLOW_CONN_PINDO_DEFAULT", sandbox.connection_json().replace(sandbox.token, "wrong")
    )
    [event] = await fire(trigger())
    assert event.payload["status"] == "failed"
    assert event.payload["retry_helps"] is False
    assert "401" in event.payload["reason"]
    assert polls() == 2  # once more with the connection read again


async def test_a_sender_that_messages_do_not_name_is_said_and_not_waited_for(sandbox):
    sandbox.reply(PHONE, "YES")
    [event] = await fire(trigger(from_number="0781234567"))
    assert event.payload["retry_helps"] is False
    assert "do not name their sender" in event.payload["reason"]


async def test_a_sender_is_matched_where_messages_name_one(sandbox):
    sandbox.settings(inbound_sender=True)
    sandbox.reply("+250781234568", "YES")
    sandbox.reply(PHONE, "YES")
    [event] = await fire(trigger(from_number="0781234567"))
    assert event.payload["ids"] == [2]


@pytest.mark.parametrize(
    ("arguments", "reason"), [({"pattern": "(?=YES)"}, "not valid RE2"), ({"since": ""}, "since is ''")]
)
async def test_what_a_template_got_wrong_fails_the_task_with_the_reason(sandbox, arguments, reason):
    [event] = await fire(trigger(**arguments))
    assert event.payload["retry_helps"] is False
    assert reason in event.payload["reason"]


async def test_hostile_texts_do_not_stall_the_loop(sandbox):
    sandbox.reply_all([{"from": PHONE, "text": "a" * 100_000 + "!"} for _ in range(5)])
    sandbox.reply(PHONE, "aaa")
    [event] = await fire(trigger(r"^(a+)+$"))
    assert event.payload["ids"] == [6]


async def test_neither_its_event_nor_its_repr_shows_a_text_or_a_number(sandbox):
    sandbox.settings(inbound_sender=True)
    sandbox.reply(PHONE, "YES, secret")
    waiting = trigger(from_number=PHONE)
    [event] = await fire(waiting)
    for shown in (repr(event), str(event), repr(waiting), str(waiting)):
        assert "secret" not in shown
        assert "781234567" not in shown


@pytest.mark.skipif(not AIRFLOW_V_3_3_PLUS, reason="Airflow 3.3 can")
@pytest.mark.parametrize("pushes", [True, False])
async def test_it_ends_the_task_itself_with_the_matches_as_its_result(sandbox, monkeypatch, pushes):
    """The end-to-end test shows the task's end. Here a fake supervisor stands for Airflow."""
    from airflow.sdk.execution_time import task_runner

    sandbox.reply(PHONE, "YES")
    sent = []

    async def asend(message):
        sent.append(message)

    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", SimpleNamespace(asend=asend), raising=False)
    waiting = trigger(r"(?P<answer>YES)", end_task=True)
    task = SimpleNamespace(do_xcom_push=pushes)
    waiting._task_instance = SimpleNamespace(
        dag_id="dag", run_id="run", task_id="wait", map_index=-1, task=task
    )
    [event] = await fire(waiting)
    assert event.task_instance_state == "success"
    messages = [message for message in sent if message.type == "SetXCom"]
    if not pushes:
        assert messages == []
        return
    [message] = messages
    assert (message.dag_id, message.run_id, message.task_id, message.key) == (
        "dag",
        "run",
        "wait",
        "return_value",
    )
    [match] = message.value
    assert (match["id"], match["text"], match["groups"]) == (1, "YES", {"answer": "YES"})
    assert "YES" not in repr(event)


@pytest.mark.skipif(AIRFLOW_V_3_0_PLUS, reason="Airflow 3 starts DAGs by events")
def test_watching_an_asset_is_refused_before_airflow_3_with_what_to_do_instead():
    with pytest.raises(AirflowOptionalProviderFeatureException, match="PindoInboundSmsSensor"):
        from airflow_provider_pindo.triggers.sms import PindoInboundSmsEventTrigger  # noqa: F401
