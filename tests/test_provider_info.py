"""What Airflow reads about the provider, checked against the installed Airflow."""

from __future__ import annotations

import importlib
import json
import re
from importlib.metadata import entry_points, version
from pathlib import Path

import airflow
import jsonschema
import pytest
import yaml
from airflow.providers_manager import ProvidersManager

from airflow_provider_pindo import __version__
from airflow_provider_pindo.get_provider_info import CONNECTION_FIELDS, get_provider_info
from airflow_provider_pindo.hooks.pindo import PindoHook
from tests.test_house_rules import PUBLIC
from tests.versions import needs_form_in_every_process

AIRFLOW_VERSION = int(version("apache-airflow").split(".")[0])
ROOT = Path(__file__).parent.parent


def schema_of_airflow(name):
    return json.loads((Path(airflow.__file__).parent / name).read_text(encoding="utf-8"))


def test_it_is_what_airflows_schema_asks_for():
    jsonschema.validate(get_provider_info(), schema_of_airflow("provider_info.schema.json"))


def test_it_is_what_airflow_asks_of_its_own_providers():
    """This schema knows the form's fields, and takes no key that it does not know."""
    schema = schema_of_airflow("provider.yaml.schema.json")
    of_its_repository = {"state": "ready", "source-date-epoch": 0, "dependencies": []}
    asked_for = {key: value for key, value in of_its_repository.items() if key in schema["properties"]}
    jsonschema.validate({**get_provider_info(), **asked_for}, schema)


def test_airflow_knows_the_options_of_the_section_pindo_and_their_defaults():
    options = get_provider_info()["config"]["pindo"]["options"]
    assert {name: option["default"] for name, option in options.items()} == {
        "webhooks": "False",
        "webhook_retention_days": "30",
        "api_url": None,
    }


def test_what_it_points_to_is_there():
    (integration,) = get_provider_info()["integrations"]
    for path in [integration["logo"], *integration["how-to-guide"]]:
        assert path.startswith("/docs/")
        assert (ROOT / path[1:]).is_file(), path
    assert len(integration["how-to-guide"]) == len(list((ROOT / "docs" / "howto").glob("*.rst")))


def test_every_part_belongs_to_the_integration():
    info = get_provider_info()
    (integration,) = info["integrations"]
    for kind in ("operators", "sensors", "hooks", "triggers"):
        assert {group["integration-name"] for group in info[kind]} == {integration["integration-name"]}


def test_airflow_finds_it_by_its_entry_point():
    (point,) = (point for point in entry_points(group="apache_airflow_provider") if "pindo" in point.value)
    assert point.load()() == get_provider_info()
    assert ProvidersManager().providers["airflow-provider-pindo"].version == version("airflow-provider-pindo")
    assert get_provider_info()["versions"] == [__version__]


def test_every_module_and_class_that_is_named_exists():
    info = get_provider_info()
    for kind in ("operators", "sensors", "hooks", "triggers"):
        for group in info.get(kind, []):
            for module in group["python-modules"]:
                assert importlib.import_module(module)
    classes = info["extra-links"] + info.get("notifications", [])
    classes += [kind["hook-class-name"] for kind in info["connection-types"]]
    for name in classes:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name


def test_every_module_with_something_public_is_named():
    info = get_provider_info()
    named = {
        module
        for kind in ("operators", "sensors", "triggers", "hooks")
        for group in info[kind]
        for module in group["python-modules"]
    }
    elsewhere = {
        "operators.partitions",
        "notifications.sms",
        "plugins.pindo",
    }  # no class that a task is made of
    assert named == {f"airflow_provider_pindo.{module}" for module in PUBLIC.keys() - elsewhere}


def test_airflow_loads_the_link_button_and_the_notifier():
    manager = ProvidersManager()
    assert "airflow_provider_pindo.operators.sms.PindoMessageLink" in manager.extra_links_class_names
    assert "airflow_provider_pindo.notifications.sms.PindoNotifier" in [
        getattr(entry, "notification_class_name", entry) for entry in manager.notification
    ]


def test_the_hook_of_a_connection_is_ours(sandbox):
    hook = ProvidersManager().hooks["pindo"]
    assert hook is not None
    assert hook.hook_class_name == "airflow_provider_pindo.hooks.pindo.PindoHook"
    assert (hook.connection_id_attribute_name, hook.hook_name) == ("pindo_conn_id", "Pindo")
    assert hook.connection_testable


@needs_form_in_every_process
def test_the_form_shows_every_field_and_hides_what_means_nothing():
    manager = ProvidersManager()
    shown = {name for name in manager.connection_form_widgets if name.startswith("extra__pindo__")}
    assert shown == {f"extra__pindo__{field}" for field in CONNECTION_FIELDS}
    behaviour = manager.field_behaviours["pindo"]
    assert behaviour["hidden_fields"] == ["login", "schema"]
    assert behaviour["relabeling"]["password"] == "API token"
    assert behaviour["placeholders"]["host"] == "https://api.pindo.io"


def test_what_the_form_hides_is_declared_once_for_both_versions():
    behaviour = PindoHook.get_ui_field_behaviour()
    assert behaviour["hidden_fields"] == ["login", "schema"]
    assert behaviour.keys() == {"hidden_fields", "relabeling", "placeholders"}


@pytest.mark.skipif(AIRFLOW_VERSION >= 3, reason="Airflow 3 reads the form from the provider info alone")
def test_the_widgets_of_airflow_2_come_from_the_same_declaration():
    widgets = PindoHook.get_connection_form_widgets()
    assert list(widgets) == list(CONNECTION_FIELDS)
    for name, field in CONNECTION_FIELDS.items():
        assert widgets[name].args[0] == field["label"]
        assert widgets[name].kwargs["description"] == field["description"]


@pytest.mark.parametrize("field", CONNECTION_FIELDS)
def test_every_field_has_a_help_text(field):
    assert len(CONNECTION_FIELDS[field]["description"]) > 20


def test_the_registry_shows_every_class_of_the_reference():
    """``.airflow-registry.yaml`` names the same hooks, operators, sensors, triggers and notifiers as the reference."""
    registry = yaml.safe_load((ROOT / ".airflow-registry.yaml").read_text(encoding="utf-8"))
    assert registry["package-name"] == get_provider_info()["package-name"]
    for kind in ("hooks", "operators", "sensors", "triggers", "notifications"):
        page = (ROOT / "docs" / "reference" / f"{kind}.rst").read_text(encoding="utf-8")
        documented = {
            name.rpartition(".")[2] for name in re.findall(r"^\.\. autoclass:: (\S+)", page, re.MULTILINE)
        }
        shown = [entry["module"].rpartition(".") for entry in registry[kind]]
        assert {name for _, _, name in shown} == documented
        for module, _, name in shown:
            assert AIRFLOW_VERSION < 3 or hasattr(importlib.import_module(module), name)
