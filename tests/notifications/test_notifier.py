"""PindoNotifier as Airflow calls it: its arguments, its templates, and the texts on the phones."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.notifications.sms import PindoNotifier, send_pindo_notification
from tests.notifications.alerts import (
    OTHER,
    PHONE,
    THIRD,
    assert_nothing_is_told,
    deadline,
    phones,
    source,
    texts,
)
from tests.versions import needs_exception_in_callbacks

FAIL = "raise ValueError('no header')"
FAIL_ONCE = "tries.append(1); assert len(tries) > 1"


@pytest.mark.parametrize(
    ("callback", "end", "start"),
    [
        ("on_failure_callback", FAIL, "Failed: DAG DAG_ID, task work, run 20"),
        ("on_success_callback", "pass", "Succeeded: DAG DAG_ID, task work, run 20"),
        ("on_execute_callback", "pass", "Started: DAG DAG_ID, task work, run 20"),
        ("on_skipped_callback", "raise AirflowSkipException", "Skipped: DAG DAG_ID, task work, run 20"),
        ("on_retry_callback", FAIL_ONCE, "Will retry: DAG DAG_ID, task work, run 20"),
    ],
)
@pytest.mark.parametrize("place", ["task", "default_args"])
def test_every_callback_of_a_task_sends_one_text(run_dag, sandbox, callback, end, start, place):
    notifier = f"PindoNotifier('{PHONE}')"
    retries = "retries=1" if callback == "on_retry_callback" else "retries=0"
    if place == "task":
        run = run_dag(source(end, task=f"{retries}, {callback}={notifier}"))
    else:
        run = run_dag(source(end, dag=f"default_args={{{callback!r}: {notifier}}}", task=retries))
    assert len(texts(sandbox)) == 1
    assert texts(sandbox)[0].startswith(start.replace("DAG_ID", run.dag_id)[:100])


@needs_exception_in_callbacks
def test_a_failure_says_what_one_asks_first(run_dag, sandbox):
    run = run_dag(source(FAIL, task=f"on_failure_callback=PindoNotifier('{PHONE}', max_segments=2)"))
    said = rf"Failed: DAG {run.dag_id}, task work, run \S+ \S+ UTC, try 1\. ValueError: no header"
    assert re.match(said, texts(sandbox)[0])


def test_one_notifier_serves_many_callbacks_and_each_gets_its_own_text(run_dag, sandbox):
    callbacks = "dict.fromkeys(['on_retry_callback', 'on_failure_callback'], NOTIFIER)"
    notifier = f"PindoNotifier('{PHONE}', '{{{{ ti.try_number }}}}')"
    run_dag(source(FAIL, dag="default_args=" + callbacks.replace("NOTIFIER", notifier), task="retries=1"))
    assert texts(sandbox) == ["1", "2"]


def test_to_can_come_from_a_template(run_dag, sandbox):
    numbers = "{{ params.a }}, {{ params.b }}"
    run_dag(
        source(
            FAIL,
            dag=f"params={{'a': '{PHONE}', 'b': '0781234568'}}",
            task=f"on_failure_callback=PindoNotifier('{numbers}', 'x')",
        )
    )
    assert sorted(phones(sandbox)) == [(PHONE, "x"), (OTHER, "x")]


@needs_exception_in_callbacks
def test_a_secret_of_airflow_is_masked(run_dag, sandbox):
    end = (
        "from airflow.providers.common.compat.sdk import mask_secret\n"
        "    mask_secret('topsecret')\n    raise ValueError('password topsecret')"
    )
    run_dag(source(end, task=f"on_failure_callback=PindoNotifier('{PHONE}', '{{{{ exception }}}}')"))
    assert texts(sandbox) == ["password ***"]


# -- without a DAG: with any context


def test_it_has_the_other_name_too():
    assert send_pindo_notification is PindoNotifier


@pytest.mark.parametrize(
    "to",
    [
        [PHONE, OTHER],
        (PHONE, OTHER, PHONE),
        f"{PHONE}; {OTHER}",
        f"['{PHONE}', '{OTHER}']",
        [PHONE, "0781234568", "078 123 4567"],
        [PHONE, "not a number", OTHER, "", None, 250781234567],
    ],
)
def test_each_number_gets_one_text(sandbox, to):
    PindoNotifier(to, "Muraho")({})
    assert sorted(phones(sandbox)) == [(PHONE, "Muraho"), (OTHER, "Muraho")]


def test_numbers_from_a_generator_get_every_text(sandbox):
    notifier = PindoNotifier(number for number in (PHONE, OTHER))
    for _ in range(2):
        notifier({})
    assert len(sandbox.messages()) == 4


@pytest.mark.parametrize("action", ["drop_before", "drop_after", "status_after"])
def test_one_number_that_fails_does_not_stop_the_others(sandbox, action):
    sandbox.add_fault(action, call="send_sms", to=OTHER, status=500, times=None)
    PindoNotifier([PHONE, OTHER, THIRD], "Muraho")({})
    assert {PHONE, THIRD} <= {message["to"] for message in sandbox.messages()}


@pytest.mark.parametrize("action", ["drop_after", "status_after", "truncate", "empty_body"])
def test_a_message_that_may_have_gone_out_is_not_sent_again(sandbox, action):
    sandbox.add_fault(action, call="send_sms", status=500, times=None)
    PindoNotifier(PHONE, "Muraho")({})
    assert len(sandbox.requests(call="send_sms")) == 1


def test_the_sender_of_the_notifier_is_used(sandbox):
    sandbox.settings(approved_senders=["PindoTest", "OnCall"])
    PindoNotifier(PHONE, "Muraho", sender="{{ who }}")({"who": "OnCall"})
    assert sandbox.messages()[0]["sender"] == "OnCall"


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("{{ ti.task_id }} of {{ dag_id }}", "? of etl"),
        ("{{ ti.xcom_pull('a')['b'].c(1) }} {{ missing | default('d') }}", "? d"),
        ("{{ missing + 1 }}", "Failed: DAG etl."),
        ("{{ 1 / 0 }}", "Failed: DAG etl."),
        ("{{ never closed", "Failed: DAG etl."),
        ("", "Failed: DAG etl."),
        ("  ", "Failed: DAG etl."),
    ],
)
def test_no_template_loses_the_alert(sandbox, text, sent):
    PindoNotifier(PHONE, text)({"dag_id": "etl", "dag_run": {"dag_id": "etl"}})
    assert texts(sandbox) == [sent]


@pytest.mark.parametrize("wrong", ["{{ missing }}", "{{ 1 / 0 }}", "{{ never closed"])
def test_a_sender_or_a_key_that_cannot_be_rendered_gives_way_to_the_default(sandbox, wrong):
    PindoNotifier(PHONE, "Muraho", sender=wrong, throttle_key=wrong)({})
    assert [(each["text"], each["sender"]) for each in sandbox.messages()] == [("Muraho", "PindoTest")]


def test_a_text_that_cannot_be_encoded_is_sent_all_the_same(sandbox):
    PindoNotifier(PHONE, "a\ud83db")({})
    assert texts(sandbox) == ["a?b"]


@pytest.mark.parametrize("segments", [1, 2])
def test_a_long_text_costs_no_more_than_allowed(sandbox, segments):
    PindoNotifier(PHONE, "a word " * 200, max_segments=segments)({})
    assert sandbox.messages()[0]["item_count"] == segments


def test_an_sla_miss_of_airflow_2_is_told(sandbox):
    PindoNotifier(PHONE)(None, "load on 2026-11-22", "", [], [])
    assert texts(sandbox) == ["SLA missed: DAG ?. load on 2026-11-22"]


async def test_a_deadline_callback_is_awaited_with_its_context(sandbox):
    context = {
        "dag_run": {"dag_id": "etl", "run_after": "2026-11-22T10:00:00Z", "state": "running"},
        "deadline": {"id": "1", "deadline_time": "2026-11-22T10:30:00Z"},
    }
    await PindoNotifier(to=[PHONE, OTHER], context=context)
    late = "Late: DAG etl, run 2026-11-22 10:00 UTC, due 2026-11-22 10:30 UTC. The run's state: running"
    assert sorted(phones(sandbox)) == [(PHONE, late), (OTHER, late)]


def test_a_deadline_alert_can_be_stored_with_the_dag():
    deadlines = pytest.importorskip("airflow.sdk.definitions.deadline", reason="Airflow 2 has no deadlines")
    from airflow.sdk import DAG
    from airflow.serialization import serialized_objects as objects

    kwargs = {"to": [PHONE], "throttle": timedelta(minutes=5), "timeout": 5}
    callback = deadlines.AsyncCallback(PindoNotifier, kwargs=kwargs)
    reference = deadlines.DeadlineReference.DAGRUN_QUEUED_AT
    alert = deadlines.DeadlineAlert(reference=reference, interval=timedelta(minutes=1), callback=callback)
    dag = DAG("with_deadline", schedule=None, deadline=alert)
    serialization = getattr(objects, "DagSerialization", objects.SerializedDAG)  # the latter before 3.2
    assert serialization.from_dict(serialization.to_dict(dag)).dag_id == "with_deadline"
    assert PindoNotifier(**kwargs, context={}).throttle == 300


# -- its arguments


@pytest.mark.parametrize(
    "wrong",
    [
        {"throttle": 0},
        {"throttle": "15"},
        {"throttle": timedelta(seconds=-1)},
        {"timeout": 0},
        {"timeout": float("inf")},
        {"timeout": True},
        {"max_segments": 0},
        {"max_segments": 1.5},
        {"max_segments": True},
    ],
)
def test_a_number_that_makes_no_sense_is_refused_when_the_dag_is_read(wrong):
    (name,) = wrong
    with pytest.raises(PindoConfigurationError, match=f"^{name} is "):
        PindoNotifier(PHONE, **wrong)


async def fire(**kwargs):
    """Let Airflow create and await a deadline's notifier, as in its triggerer; return the final state."""
    callback = pytest.importorskip("airflow.triggers.callback", reason="Airflow 2 has no deadlines")
    path = f"{PindoNotifier.__module__}.{PindoNotifier.__qualname__}"
    trigger = callback.CallbackTrigger(path, {"context": deadline("mistaken"), **kwargs})
    return [event.payload["state"] async for event in trigger.run()][-1]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"throttle": 0}, "throttle is 0: it must be greater than 0 s"),
        ({"timeout": "10"}, "timeout is '10': give seconds"),
        ({"max_segments": PHONE}, "max_segments is '+25078****567': give a whole number from 1"),
        ({"txet": "Muraho"}, "has no argument 'txet'"),
    ],
)
async def test_a_mistake_in_a_deadline_is_logged_masked_and_the_alert_goes_out(sandbox, log, wrong, said):
    assert await fire(to=PHONE, text="Muraho", **wrong) == "success"
    assert texts(sandbox) == ["Muraho"]
    assert said in log.text
    assert_nothing_is_told(log)


async def test_a_deadline_that_names_nobody_is_logged_without_the_number_that_it_has(sandbox, log):
    assert await fire(number=PHONE, text="Muraho") == "success"
    assert sandbox.messages() == []
    assert "has no argument 'number'" in log.text
    assert "'to' has no usable phone number" in log.text
    assert_nothing_is_told(log)


def test_an_argument_that_there_is_not_is_refused_when_the_dag_is_read():
    with pytest.raises(TypeError, match="unexpected keyword argument 'txet'"):
        PindoNotifier(PHONE, txet="Muraho")


def test_a_notifier_for_nobody_is_refused_when_the_dag_is_read():
    with pytest.raises(TypeError, match="needs the argument 'to'"):
        PindoNotifier(text="Muraho")


def test_airflow_is_told_of_the_notifier():
    from importlib import import_module

    from airflow_provider_pindo.get_provider_info import get_provider_info

    for path in get_provider_info()["notifications"]:
        module, name = path.rsplit(".", 1)
        assert getattr(import_module(module), name) is PindoNotifier
