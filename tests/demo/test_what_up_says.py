"""The text of ``python -m demo up`` uses the names of Airflow's UI."""

from __future__ import annotations

from demo.__main__ import ROUTER_ID, ROUTER_NAME
from demo.deployment import EXAMPLE_DAGS


def test_the_dag_that_answers_is_named_as_the_ui_shows_it():
    source = (EXAMPLE_DAGS / f"{ROUTER_ID}.py").read_text(encoding="utf-8")
    assert f'dag_display_name="{ROUTER_NAME}"' in source
