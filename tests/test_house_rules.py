"""The rules of the house: directions of imports, what is public, and what an import costs."""

from __future__ import annotations

import ast
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from demo.deployment import AIRFLOW_VERSION

PACKAGE = Path(__file__).parent.parent / "airflow_provider_pindo"
#: What each part may import. The order is that of the layers: api, engines, hooks, the bulk engine, faces.
_BELOW_HOOKS = {"api", "_metrics", "_inbox", "_ledger"}
LAYERS = {
    "api": {"api"},
    "_metrics.py": {"api"},
    "_templates.py": set(),
    "_inbox": {"api", "_inbox"},
    "_ledger": {"api", "_ledger"},
    "_sources": {"api", "_sources"},
    "hooks": {*_BELOW_HOOKS, "hooks"},
    "_policy": {*_BELOW_HOOKS, "_sources", "hooks", "_policy"},
    "_bulk": {*_BELOW_HOOKS, "_sources", "hooks", "_policy", "_bulk"},
    "operators": {
        *_BELOW_HOOKS,
        "_templates",
        "_sources",
        "hooks",
        "_policy",
        "_bulk",
        "operators",
        "triggers",
    },
    "sensors": {*_BELOW_HOOKS, "_templates", "_sources", "hooks", "sensors", "triggers"},
    "triggers": {*_BELOW_HOOKS, "hooks", "triggers"},
    "notifications": {*_BELOW_HOOKS, "_templates", "hooks", "_policy", "notifications"},
    "plugins": {*_BELOW_HOOKS, "hooks", "_bulk", "plugins"},
    "sandbox": {"api", "sandbox"},
    "get_provider_info.py": {"api"},
}
HEAVY = {
    "requests",
    "aiohttp",
    "urllib3",
    "phonenumbers",
    "re2",
    "tenacity",
    "airflow.providers.http",
    "pyarrow",
}


def imports(file: Path) -> set[str]:
    """Every name that a file imports: at its top, in functions, and for type checkers."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def module_of(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize(
    "file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE))
)
def test_imports_go_one_way(file):
    layer = file.relative_to(PACKAGE).parts[0]
    ours = {name.split(".")[1] for name in imports(file) if name.startswith("airflow_provider_pindo.")}
    allowed = LAYERS.get(layer, set()) | {"__version__", "get_provider_info"}
    assert ours <= allowed, f"{file} imports {ours - allowed}"


#: Faces that others stand on: a sensor imports its trigger. An operator waits for evidence by a trigger too.
USES_INSIDES = {("sensors", "triggers"), ("operators/_evidence.py", "triggers/_evidence.py")}


def test_faces_never_import_each_others_insides():
    faces = {"operators", "sensors", "triggers", "notifications", "plugins"}
    seen = set()
    for file in sorted(file for face in faces for file in (PACKAGE / face).rglob("*.py")):
        path = str(file.relative_to(PACKAGE))
        for name in imports(file):
            _, face, module, *_ = *name.split("."), "", ""
            if face in faces - {path.split("/")[0]} and module.startswith("_"):
                pair = path, f"{face}/{module}.py"
                seen.add(pair if pair in USES_INSIDES else (path.split("/")[0], face))
    assert seen == USES_INSIDES


def test_only_the_ledgers_store_touches_the_task_state_store():
    users = {
        str(file.relative_to(PACKAGE))
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value == "task_state_store"
    }
    assert users == {"_ledger/store.py"}


def test_no_imports_go_in_a_circle():
    files = {module_of(file): file for file in PACKAGE.rglob("*.py")}
    graph = {module: set() for module in files}
    for module, file in files.items():
        for name in imports(file):
            imported = name if name in files else name.rpartition(".")[0]
            if imported in files and imported != module:
                graph[module].add(imported)
    assert sum(map(len, graph.values())) > len(files)
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the modules


@pytest.mark.parametrize("layer", ["api", "sandbox"])
def test_what_is_not_airflow_does_not_import_it(layer):
    for file in (PACKAGE / layer).rglob("*.py"):
        assert not {name for name in imports(file) if name.split(".")[0] == "airflow"}, file


def test_the_api_does_no_io():
    forbidden = {
        "socket",
        "ssl",
        "requests",
        "aiohttp",
        "urllib3",
        "http",
        "asyncio",
        "threading",
        "subprocess",
        "os",
    }
    for file in (PACKAGE / "api").rglob("*.py"):
        assert not {name for name in imports(file) if name.split(".")[0] in forbidden}, file


def test_the_container_installs_what_the_sandbox_imports():
    installed = re.findall(r'"(\w+)[<>=]', (PACKAGE.parent / "Containerfile").read_text(encoding="utf-8"))
    files = [file for layer in ("api", "sandbox") for file in (PACKAGE / layer).rglob("*.py")]
    imported = {name.split(".")[0] for file in files for name in imports(file)} - sys.stdlib_module_names
    # The fixture needs pytest. Only a hook asks for pendulum's times.
    assert imported - {"airflow_provider_pindo", "pytest", "pendulum"} == set(installed)


def loaded_by(code: str) -> set[str]:
    """The modules that running ``code`` loads in a fresh interpreter."""
    code = f"{code}; import sys, json; print(json.dumps(sorted(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    return set(json.loads(printed.strip().splitlines()[-1]))


def modules_that_dags_import() -> list[str]:
    return [
        module_of(file)
        for layer in ("operators", "sensors", "notifications", "triggers")
        for file in sorted((PACKAGE / layer).rglob("*.py"))
        if not file.stem.startswith("_")
    ]


def test_a_dag_file_that_is_parsed_loads_no_http_client_and_no_phone_numbers():
    any_dag = "from airflow.providers.common.compat.sdk import DAG, BaseOperator, BaseOperatorLink, XCom"
    added = loaded_by(f"{any_dag}; import {', '.join(modules_that_dags_import())}") - loaded_by(any_dag)
    assert "airflow_provider_pindo.operators.sms" in added
    assert not {
        name for name in added if any(name == heavy or name.startswith(f"{heavy}.") for heavy in HEAVY)
    }


def test_a_dag_file_that_sends_loads_nothing_that_reads_lists():
    added = loaded_by("import airflow_provider_pindo.operators.sms")
    assert not {name for name in added if name.startswith("airflow_provider_pindo._sources")}


@pytest.mark.skipif(AIRFLOW_VERSION < 3, reason="Airflow 2.11 has no apps of plugins")
@pytest.mark.parametrize("are_on", [False, True], ids=["off", "on"])
def test_the_api_server_imports_webhook_code_only_where_webhooks_are_on(monkeypatch, are_on):
    monkeypatch.setenv("AIRFLOW__PINDO__WEBHOOKS", str(are_on))
    added = loaded_by(
        "from airflow_provider_pindo.plugins.pindo import PindoPlugin; PindoPlugin().fastapi_apps"
    )
    code = {
        "api.webhooks",
        *(f"plugins.{name}" for name in ("_address", "_auth", "_events", "_receiver")),
    }
    code |= {"plugins._event_table", "plugins._webhooks", "_inbox.events", "hooks._events"}
    imported = {name for name in code if f"airflow_provider_pindo.{name}" in added}
    assert "airflow_provider_pindo.plugins._pages" in added
    assert imported == (code - {"plugins._address", "hooks._events"} if are_on else set())


def test_one_module_of_the_plugin_reads_airflows_tables():
    tables = {
        file.name: {name for name in imports(file) if name.startswith("airflow.models")}
        for file in (PACKAGE / "plugins").rglob("*.py")
    }
    assert "airflow.models.dagrun.DagRun" in tables.pop("_models.py")
    tables["_connections.py"] -= {"airflow.models.connection.Connection"}  # for Airflow's own lookup
    assert set().union(*tables.values()) == set()


def test_every_module_says_what_it_is_for():
    for file in PACKAGE.rglob("*.py"):
        assert ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))), file


FACES = ("hooks", "operators", "sensors", "triggers", "notifications", "plugins")
#: The public names of the faces. Users write them into their DAGs, so they never change.
PUBLIC = {
    "hooks.pindo": {"PindoHook", "PindoAsyncHook"},
    "operators.sms": {"PindoSendSmsOperator", "PindoSendBulkSmsOperator"},
    "operators.verify": {"PindoVerifyOperator", "PindoVerifyCheckOperator", "PindoVerifyCancelOperator"},
    "operators.partitions": {"write_partitions"},
    "sensors.sms": {"PindoInboundSmsSensor"},
    "sensors.delivery": {"PindoDeliverySensor"},
    "triggers.sms": {"PindoInboundSmsTrigger", "PindoInboundSmsEventTrigger"},
    "triggers.delivery": {"PindoDeliveryTrigger", "PindoDeliveryEventTrigger"},
    "notifications.sms": {"PindoNotifier", "send_pindo_notification"},
    "plugins.pindo": {"PindoPlugin"},
}

#: What has no underscore since Airflow loads it by the provider info. Users write it nowhere, so it is not public.
LOADED_BY_AIRFLOW = {"PindoMessageLink"}


def defined_names(file: Path) -> Iterator[str]:
    """Yield each name that a module defines at its top level."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name))


def test_a_face_defines_no_public_name_but_those_that_users_import():
    public = LOADED_BY_AIRFLOW.union(*PUBLIC.values())
    others = [
        f"{file.relative_to(PACKAGE)}: {name}"
        for face in FACES
        for file in sorted((PACKAGE / face).rglob("*.py"))
        if not any(part.startswith("_") and part != "__init__.py" for part in file.relative_to(PACKAGE).parts)
        for name in defined_names(file)
        if not name.startswith("_") and name not in public
    ]
    assert others == []


def test_users_find_every_public_name():
    for module, names in PUBLIC.items():
        imported = importlib.import_module(f"airflow_provider_pindo.{module}")
        expected = (
            names
            if AIRFLOW_VERSION >= 3
            else names - {"PindoInboundSmsEventTrigger", "PindoDeliveryEventTrigger"}
        )
        assert [name for name in expected if not hasattr(imported, name)] == []
