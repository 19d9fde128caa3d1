"""The check before a release: it finds what would be false once the release is published."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: A repository that is ready, as far as the check reads it.
READY = {
    "airflow_provider_pindo/__init__.py": '__version__ = "1.2.3"\n',
    "CHANGELOG.md": "# Changelog\n\n## 1.2.3 (2026-12-24)\n\n## 1.2.2 (2026-11-24)\n",
    "README.md": "pip install airflow-provider-pindo\n",
    "CONTRIBUTING.md": "# Contributing\n",
    "docs/howto/send.rst": "Send\n====\n",
    "pyproject.toml": '[tool.hatch.metadata.hooks.custom]\nrepository = "https://x"\ndocumentation = "https://y"\n',
    ".airflow-registry.yaml": "source-url: https://x\ndocs-url: https://y\nlogo: https://x/logo.svg\n",
    ".github/ISSUE_TEMPLATE/config.yml": "contact_links:\n  - name: x\n    url: https://x\n    about: x\n",
}


@pytest.fixture
def faults(monkeypatch, tmp_path):
    """Return a function that changes files of a ready repository and checks it."""
    monkeypatch.syspath_prepend(str(ROOT / ".ci"))
    check_release = importlib.import_module("check_release")

    def check(tag="v1.2.3", **changed):
        for name, text in {**READY, **changed}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text, encoding="utf-8")
        return check_release.faults(tmp_path, tag)

    return check


def test_a_repository_that_is_ready_has_no_faults(faults):
    assert faults() == []


@pytest.mark.parametrize("tag", ["1.2.3", "v1.2.4", "v1.2.3rc1"])
def test_the_tag_is_the_version_of_the_package(faults, tag):
    assert faults(tag)[0] == f"airflow_provider_pindo/__init__.py: the version is 1.2.3, the tag {tag}"


@pytest.mark.parametrize("title", ["1.2.3", "1.2.3 (soon)", "1.2.2 (2026-11-24)"])
def test_the_changelog_begins_with_the_version_and_its_date(faults, title):
    fault = "CHANGELOG.md: the first section is not '## 1.2.3 (YYYY-MM-DD)'"
    assert faults(**{"CHANGELOG.md": f"# Changelog\n\n## {title}\n"}) == [fault]


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("README.md", "Install\n\nuntil its first\nrelease, in a clone", "README.md:3: 'first release'"),
        ("docs/howto/send.rst", "It is not released yet.", "docs/howto/send.rst:1: 'not released yet'"),
        (
            "CONTRIBUTING.md",
            "once the repository is public",
            "CONTRIBUTING.md:1: 'once the repository is public'",
        ),
    ],
)
def test_a_sentence_that_the_release_makes_false_is_found_with_its_line(faults, name, text, fault):
    assert faults(**{name: text}) == [f"{fault} is not true after the release"]


def test_the_addresses_are_filled_in(faults):
    empty = '[tool.hatch.metadata.hooks.custom]\nrepository = ""\ndocumentation = "https://y"\n'
    assert faults(**{"pyproject.toml": empty}) == ["pyproject.toml: the address 'repository' is empty"]
    missing = ".airflow-registry.yaml: the key 'docs-url' is missing"
    registry = {".airflow-registry.yaml": "source-url: https://x\nlogo: https://x/logo.svg\n# docs-url: \n"}
    assert faults(**registry) == [missing]
    missing = ".github/ISSUE_TEMPLATE/config.yml: the key 'contact_links' is missing"
    assert faults(**{".github/ISSUE_TEMPLATE/config.yml": "blank_issues_enabled: true\n"}) == [missing]


def test_the_workflow_checks_the_tag_and_passes_the_gate_before_it_publishes():
    workflow = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    steps = ['python .ci/check_release.py "$TAG"', "gate.yml", "make package", "pypi-publish@"]
    positions = [workflow.index(step) for step in steps]
    assert positions == sorted(positions)
    assert workflow.count("needs: ") == 3
