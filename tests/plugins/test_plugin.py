"""The plugin as Airflow finds it, on every version."""

from __future__ import annotations

from importlib.metadata import entry_points

import pytest

from airflow_provider_pindo.plugins import pindo
from airflow_provider_pindo.plugins.pindo import PindoPlugin
from demo.deployment import AIRFLOW_VERSION
from tests.test_house_rules import loaded_by

NEEDS_AIRFLOW_3 = pytest.mark.skipif(AIRFLOW_VERSION < 3, reason="Airflow 2.11 has no apps of plugins")


def test_airflow_finds_it_by_its_entry_point():
    (point,) = (point for point in entry_points(group="airflow.plugins") if "pindo" in point.value)
    assert point.load() is PindoPlugin
    assert PindoPlugin.name == "pindo"


def test_importing_it_loads_nothing_but_itself():
    plugin_class = "from airflow.providers.common.compat.sdk import AirflowPlugin"
    added = loaded_by(f"{plugin_class}; import airflow_provider_pindo.plugins.pindo") - loaded_by(
        plugin_class
    )
    assert {name for name in added if name.startswith("airflow_provider_pindo.")} == {
        "airflow_provider_pindo.plugins",
        "airflow_provider_pindo.plugins.pindo",
    }
    assert len(added) < 10  # such as contextlib


def test_it_adds_nothing_before_airflow_3_1(monkeypatch):
    monkeypatch.setattr(pindo, "AIRFLOW_V_3_1_PLUS", False)
    assert PindoPlugin().fastapi_apps == []
    assert PindoPlugin().external_views == []


@pytest.mark.parametrize(
    ("is_new", "webhooks", "errors"), [(False, "True", 1), (False, "False", 0), (True, "True", 0)]
)
def test_an_older_airflow_says_when_it_loads_the_plugin_that_webhooks_are_on_in_vain(
    is_new, webhooks, errors, monkeypatch, caplog
):
    monkeypatch.setattr(pindo, "AIRFLOW_V_3_1_PLUS", is_new)
    monkeypatch.setenv("AIRFLOW__PINDO__WEBHOOKS", webhooks)
    PindoPlugin().on_load()
    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(said) == errors
    assert all("no webhook is received: this needs Airflow 3.1 or later" in each for each in said)


@NEEDS_AIRFLOW_3
def test_the_app_is_built_once_when_the_api_server_asks():
    plugin = PindoPlugin()
    (app,) = plugin.fastapi_apps
    assert (app["url_prefix"], app["name"]) == ("/pindo", "pindo")
    assert plugin.fastapi_apps[0]["app"] is app["app"]


def test_the_page_is_in_the_navigation_on_a_run_and_on_a_task_instance(monkeypatch):
    monkeypatch.setattr(pindo, "AIRFLOW_V_3_1_PLUS", True)
    views = PindoPlugin().external_views
    assert [view["destination"] for view in views] == ["nav", "dag_run", "task_instance"]
    assert len({view["url_route"] for view in views}) == 3
    for view in views:
        assert view["href"].startswith("pindo/ui/")
        assert view["icon"].startswith("data:image/svg+xml,")
