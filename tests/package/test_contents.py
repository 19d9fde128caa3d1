"""What a user gets from the index: the whole package, and nothing else."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

from airflow_provider_pindo import __version__

ROOT = Path(__file__).resolve().parents[2]
WHEEL = f"airflow_provider_pindo-{__version__}-py3-none-any.whl"
SDIST = f"airflow_provider_pindo-{__version__}.tar.gz"
INFO = f"airflow_provider_pindo-{__version__}.dist-info"
#: The addresses of the repository and of the documentation: empty until they are published.
ADDRESSES = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["metadata"][
    "hooks"
]["custom"]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the sdist, and with the wheel that is built from it."""
    pytest.importorskip("build.env", reason="the extra dev has it")  # a folder may be called build
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    assert {file.name for file in folder.iterdir()} == {WHEEL, SDIST}
    return folder


@pytest.fixture
def wheel(built) -> dict[str, str]:
    """The wheel's files, by their paths."""
    with zipfile.ZipFile(built / WHEEL) as archive:
        return {name: archive.read(name).decode(errors="replace") for name in archive.namelist()}


@pytest.fixture
def hook(monkeypatch):
    """Return a function that says what the hook makes of addresses."""
    monkeypatch.syspath_prepend(str(ROOT))
    hatch_build = importlib.import_module("hatch_build")

    def metadata(version, **addresses):
        metadata = {"version": version}
        hatch_build.LinksToTheRepository(str(ROOT), addresses).update(metadata)
        return metadata["urls"], metadata["readme"]["text"]

    return metadata


def files_below(folder: Path) -> set[str]:
    """The paths of a folder's files, but for what Python leaves there."""
    files = (file for file in folder.rglob("*") if file.is_file() and file.suffix != ".pyc")
    return {file.relative_to(ROOT).as_posix() for file in files}


def test_the_wheel_has_every_file_of_the_package_and_the_examples_and_none_besides(wheel):
    own = {name for name in wheel if not name.startswith((INFO, "airflow_provider_pindo/example_dags/"))}
    assert own == files_below(ROOT / "airflow_provider_pindo")
    examples = {name for name in wheel if name.startswith("airflow_provider_pindo/example_dags/")}
    assert examples == {f"airflow_provider_pindo/{name}" for name in files_below(ROOT / "example_dags")}
    assert {name for name in own if not name.endswith(".py")} == {
        "airflow_provider_pindo/plugins/static/index.html",
        "airflow_provider_pindo/plugins/static/page.css",
        "airflow_provider_pindo/plugins/static/page.js",
        "airflow_provider_pindo/py.typed",
        "airflow_provider_pindo/sandbox/phones.html",
    }
    assert {name.removeprefix(f"{INFO}/") for name in set(wheel) - own - examples} == {
        "METADATA",
        "RECORD",
        "WHEEL",
        "entry_points.txt",
        "licenses/LICENSE",
    }


def test_the_metadata_say_what_it_is_and_where_airflow_finds_it(wheel, hook):
    metadata = message_from_string(wheel[f"{INFO}/METADATA"])
    assert metadata["Name"] == "airflow-provider-pindo"
    assert metadata["Version"] == __version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert "Framework :: Apache Airflow :: Provider" in metadata.get_all("Classifier", [])
    urls, readme = hook(__version__, **ADDRESSES)
    assert metadata.get_payload() == readme
    assert metadata.get_all("Project-URL", []) == [f"{name}, {address}" for name, address in urls.items()]
    assert wheel[f"{INFO}/licenses/LICENSE"] == (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert wheel[f"{INFO}/entry_points.txt"].split() == [
        *("[airflow.plugins]", "pindo", "=", "airflow_provider_pindo.plugins.pindo:PindoPlugin"),
        *("[apache_airflow_provider]", "provider_info", "="),
        "airflow_provider_pindo.get_provider_info:get_provider_info",
        *("[pytest11]", "pindo", "=", "airflow_provider_pindo.sandbox.pytest_plugin"),
    ]


def test_the_metadata_are_of_a_version_that_the_upload_accepts(built, wheel):
    with tarfile.open(built / SDIST) as archive:
        sdist = archive.extractfile(f"{SDIST.removesuffix('.tar.gz')}/PKG-INFO").read().decode()
    for metadata in (wheel[f"{INFO}/METADATA"], sdist):
        assert message_from_string(metadata)["Metadata-Version"] == "2.4"


def test_the_sdist_has_the_package_its_documentation_and_its_examples_and_no_tests(built):
    with tarfile.open(built / SDIST) as archive:
        names = {each.name.partition("/")[2] for each in archive.getmembers() if each.isfile()}
    folders = [ROOT / folder for folder in ("airflow_provider_pindo", "docs", "example_dags")]
    assert names == {
        *(name for folder in folders for name in files_below(folder)),
        *("CHANGELOG.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "LICENSE", "README.md", "SECURITY.md"),
        *("hatch_build.py", "pyproject.toml", "PKG-INFO", ".gitignore"),  # what hatchling adds
    }


def test_the_links_of_the_readme_work_on_pypi_once_the_addresses_are_known(hook):
    repository, documentation = "https://github.com/example/pindo/", "https://pindo.example.io/en/stable/"
    urls, text = hook("1.2.3", repository=repository, documentation=documentation)
    assert urls["Issues"] == "https://github.com/example/pindo/issues"
    assert urls["Documentation"] == "https://pindo.example.io/en/stable"
    assert "](https://github.com/example/pindo/raw/v1.2.3/docs/images/phones.png)" in text
    assert "](https://github.com/example/pindo/blob/v1.2.3/example_dags/pindo_low_balance.py)" in text
    assert "](https://pindo.example.io/en/stable/promises.html)" in text
    assert "](https://pindo.example.io/en/stable/howto/send.html)" in text
    assert "](https://pindo.example.io/en/stable/promises.html#by-version-of-airflow)" in text
    assert re.findall(r"\]\((?!https://)[^)]*\)", text) == []


def test_without_a_site_the_documentation_is_that_in_the_repository(hook):
    urls, text = hook("1.2.3", repository="https://github.com/example/pindo", documentation="")
    assert urls["Documentation"] == "https://github.com/example/pindo/blob/main/docs/index.rst"
    assert "](https://github.com/example/pindo/blob/v1.2.3/docs/promises.rst)" in text
    assert re.findall(r"\]\((?!https://)[^)]*\)", text) == []


def test_as_long_as_the_address_is_not_known_the_metadata_have_no_links(hook):
    assert hook("1.2.3", repository="", documentation="") == ({}, README)
