"""How an alert is rendered: native types, a DAG that cannot render, a template that fails."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from airflow.providers.common.compat.sdk import DAG
from airflow.serialization import serialized_objects

from airflow_provider_pindo.notifications.sms import PindoNotifier
from tests.notifications.alerts import (
    OTHER,
    PHONE,
    assert_nothing_is_told,
    awaited,
    either_way,
    phones,
    source,
    texts,
)

FAIL = "raise ValueError('no header')"
NOTIFIERS = f"""[
    PindoNotifier('{PHONE}', '1,500'),
    PindoNotifier(
        '{{{{ params.a }}}}', '1,{{{{ 500 }}}}', sender='{{{{ params.none }}}}', throttle_key='{{{{ params.none }}}}'
    ),
    PindoNotifier(['{PHONE}'], '1,500'),
]"""
#: DAGs that cannot make an environment, or have a setting that would make no text of a template.
DAGS = {
    "none": None,
    "a dictionary": {"dag_id": "etl"},
    "native types": DAG("etl", render_template_as_native_obj=True, schedule=None),
    "an environment that cannot be made": DAG("etl", schedule=None, jinja_environment_kwargs={"no_such": 1}),
    "serialized": "serialized",
}


def serialized_dag():
    serialization = getattr(serialized_objects, "DagSerialization", serialized_objects.SerializedDAG)
    return serialization.from_dict(serialization.to_dict(DAG("etl", schedule=None)))


@pytest.fixture(params=DAGS)
def context(request):
    """A callback's context with one of the ``DAGS``."""
    dag = DAGS[request.param]
    return {
        "dag": serialized_dag() if dag == "serialized" else dag,
        "dag_id": "etl",
        "ds": "2026-11-22",
        "amount": 1500.0,
        "logical_date": datetime(2026, 11, 22, tzinfo=UTC),
        "params": {"a": PHONE, "number": 250781234568, "numbers": [PHONE, OTHER]},
    }


@pytest.mark.parametrize("native", [False, True], ids=["text", "native"])
@pytest.mark.parametrize("place", ["dag", "task"])
def test_a_failure_is_texted_as_the_author_wrote_it(run_dag, sandbox, place, native):
    dag = f"render_template_as_native_obj={native}, params={{'a': '{PHONE}', 'none': None}}"
    callback = f"on_failure_callback={NOTIFIERS}"
    if place == "dag":
        run_dag(source(FAIL, dag=f"{dag}, {callback}"))
    else:
        run_dag(source(FAIL, dag=dag, task=callback))
    assert phones(sandbox) == [(PHONE, "1,500")] * 3


def test_the_first_example_of_the_docs_sends_under_dag_test(run_dag, sandbox):
    run = run_dag(source(FAIL, dag=f"on_failure_callback=PindoNotifier('{PHONE}')"))
    (text,) = texts(sandbox)
    assert text.startswith(f"Failed: DAG {run.dag_id}"[:150])


def test_a_macro_that_only_the_dag_has_does_not_lose_the_alert(run_dag, sandbox):
    """The serialized DAG of ``dag.test()`` has no macros and no filters."""
    dag = "user_defined_macros={'site': 'Kigali'}, user_defined_filters={'shout': str.upper}"
    callbacks = (
        f"[PindoNotifier('{PHONE}', 'At {{{{ site }}}}'), PindoNotifier('{PHONE}', '{{{{ 1 | shout }}}}')]"
    )
    run_dag(source(FAIL, dag=f"{dag}, on_failure_callback={callbacks}"))
    first, second = texts(sandbox)
    assert first in ("At ?", "At Kigali")
    assert second == "1" or second.startswith("Failed: DAG ")


@awaited
def test_the_alert_is_the_same_with_any_dag(sandbox, context, awaited):
    for to, text, sent in (
        (PHONE, "1,500", [(PHONE, "1,500")]),
        (PHONE, "line\n", [(PHONE, "line")]),
        (PHONE, "{{ amount }} on {{ logical_date | ds }}", [(PHONE, "1500.0 on 2026-11-22")]),
        (PHONE, "{{ '1e5' }}", [(PHONE, "1e5")]),
        ("{{ params.a }}", "{{ ds }}", [(PHONE, "2026-11-22")]),
        ("{{ params.number }}", "x", [(OTHER, "x")]),
        ("{{ params.numbers }}", "x", [(PHONE, "x"), (OTHER, "x")]),
        (["{{ params.a }}", OTHER], "x", [(PHONE, "x"), (OTHER, "x")]),
    ):
        before = len(phones(sandbox))
        either_way(PindoNotifier(to, text), context, awaited=awaited)
        assert sorted(phones(sandbox)[before:]) == sent


def test_a_recipient_that_cannot_be_rendered_does_not_stop_the_others(sandbox, log, context):
    recipients = (
        [PHONE, "{{ 1 / 0 }}", OTHER],
        (PHONE, ["{{ never closed", OTHER]),
        f"{PHONE}, {{{{ 1 / 0 }}}}; {OTHER}",
        f"{PHONE}\n{{{{ 1 | no_such_filter }}}}\n{OTHER}",
    )
    for to in recipients:
        PindoNotifier(to, "Muraho")(context)
    assert sorted(phones(sandbox)) == [(PHONE, "Muraho")] * 4 + [(OTHER, "Muraho")] * 4
    assert log.text.count("A recipient of an alert cannot be rendered: ") == 4
    assert_nothing_is_told(log)


def test_every_other_argument_that_cannot_be_rendered_gives_way_to_its_default(sandbox, context):
    for wrong in ("{{ missing }}", "{{ 1 / 0 }}", "{{ never closed", "{{ 1 | no_such }}"):
        PindoNotifier(PHONE, "Muraho", sender=wrong, throttle_key=wrong, pindo_conn_id=wrong)(context)
    sent = [(message["text"], message["sender"]) for message in sandbox.messages()]
    assert sent == [("Muraho", "PindoTest")] * 4


def test_a_value_that_cannot_be_written_as_text_gives_the_default_text(sandbox, context):
    class Unwritable:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    PindoNotifier(PHONE, "{{ thing }}")({**context, "thing": Unwritable()})
    (text,) = texts(sandbox)
    assert text.startswith("Failed: DAG ")
