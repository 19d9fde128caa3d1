"""The text of ``python -m demo up`` uses the names of Airflow's UI, and is true on every Airflow."""

from __future__ import annotations

import pytest

from demo import deployment
from demo.__main__ import DELIVERY_NAME, ROUTER_ID, ROUTER_NAME, what_runs
from demo.deployment import EXAMPLE_DAGS, VIEWER, Deployment


@pytest.mark.parametrize(
    ("dag_id", "name"), [(ROUTER_ID, ROUTER_NAME), ("pindo_delivery_followup", DELIVERY_NAME)]
)
def test_a_dag_is_named_as_the_ui_shows_it(dag_id, name):
    source = (EXAMPLE_DAGS / f"{dag_id}.py").read_text(encoding="utf-8")
    assert f'dag_display_name="{name}"' in source


@pytest.mark.parametrize(
    ("phrase", "since"),
    [
        ("user admin, password ", (2, 11)),
        (f"user {VIEWER}, password ", (3, 0)),
        ("/plugin/pindo", (3, 1)),
        (DELIVERY_NAME, (3, 1)),
        ("The sandbox's webhooks come back to Airflow", (3, 1)),
        ("its task asks", (3, 3)),
        (ROUTER_NAME, (3, 3)),
    ],
)
@pytest.mark.parametrize("airflow", [(2, 11), (3, 0), (3, 1), (3, 2), (3, 3)])
def test_up_names_only_what_this_airflow_has(airflow, phrase, since):
    assert (phrase in what_runs(Deployment(), airflow)) is (airflow >= since)


@pytest.mark.parametrize(("airflow", "on"), [((2, 11), False), ((3, 0), False), ((3, 1), True)])
def test_webhooks_are_on_only_where_airflow_receives_them(monkeypatch, airflow, on):
    monkeypatch.setattr(deployment, "AIRFLOW_RELEASE", airflow)
    assert (Deployment(webhooks=True).webhook_address is not None) is on
