"""The extra ``docs`` is enough for the site: Read the Docs installs it alone, without the tools for tests."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from demo.deployment import AIRFLOW_VERSION

ROOT = Path(__file__).resolve().parents[2]
#: Imports the modules that it is given, with none of the packages that it is given.
IMPORT = """
import importlib, sys
blocked, modules = (text.split() for text in sys.argv[1:])
class Block:
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"{name} is not in the extra docs")
sys.meta_path.insert(0, Block())
for module in modules:
    importlib.import_module(module)
"""


def requirements_of(lines: list[str], extras: set[str]) -> set[Requirement]:
    """Return the requirements that hold here, with these extras."""
    return {
        each
        for each in map(Requirement, lines)
        if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in extras)
    }


def installed_with_docs() -> set[str]:
    """Return the names of all distributions that ``pip install .[docs]`` brings."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    waiting = {*map(Requirement, [*project["dependencies"], *project["optional-dependencies"]["docs"]])}
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        each = waiting.pop()
        key = (canonicalize_name(each.name), frozenset(each.extras))
        if key not in seen:
            seen.add(key)
            try:
                waiting |= requirements_of(requires(each.name) or [], {"", *each.extras})
            except PackageNotFoundError:
                continue  # of another platform
    return {name for name, _ in seen}


@pytest.mark.skipif(AIRFLOW_VERSION < 3, reason="the site is built with Airflow 3")
def test_the_reference_imports_with_what_the_extra_docs_installs(tmp_path):
    installed = {*installed_with_docs(), "airflow-provider-pindo"}
    blocked = [
        module
        for module, distributions in packages_distributions().items()
        if not installed & {canonicalize_name(name) for name in distributions}
    ]
    assert "hypothesis" in blocked
    pages = "\n".join(
        page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "reference").glob("*.rst")
    )
    names = set(re.findall(r"^\.\. auto\w+:: (airflow_provider_pindo(?:\.[a-z_]+)+)", pages, re.MULTILINE))
    files = {name: ROOT / name.replace(".", "/") for name in names}
    modules = {
        name if file.is_dir() or file.with_suffix(".py").exists() else name.rpartition(".")[0]
        for name, file in files.items()
    }
    assert "airflow_provider_pindo.sandbox.pytest_plugin" in modules
    command = [sys.executable, "-c", IMPORT, " ".join(blocked), " ".join(sorted(modules))]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
