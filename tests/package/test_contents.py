"""What a user gets from the index: the whole package, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

from airflow_provider_pindo import __version__

ROOT = Path(__file__).resolve().parents[2]
WHEEL = f"airflow_provider_pindo-{__version__}-py3-none-any.whl"
SDIST = f"airflow_provider_pindo-{__version__}.tar.gz"
INFO = f"airflow_provider_pindo-{__version__}.dist-info"


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the sdist, and with the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    assert {file.name for file in folder.iterdir()} == {WHEEL, SDIST}
    return folder


@pytest.fixture
def wheel(built) -> dict[str, str]:
    """The wheel's files, by their paths."""
    with zipfile.ZipFile(built / WHEEL) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def files_below(folder: Path) -> set[str]:
    """The paths of a folder's files, but for what Python leaves there."""
    files = (file for file in folder.rglob("*") if file.is_file() and file.suffix != ".pyc")
    return {file.relative_to(ROOT).as_posix() for file in files}


def test_the_wheel_has_every_file_of_the_package_and_none_besides(wheel):
    own = {name for name in wheel if not name.startswith(INFO)}
    assert own == files_below(ROOT / "airflow_provider_pindo")
    assert {name for name in own if not name.endswith(".py")} == {
        "airflow_provider_pindo/py.typed",
        "airflow_provider_pindo/sandbox/phones.html",
    }
    assert {name.removeprefix(f"{INFO}/") for name in set(wheel) - own} == {
        "METADATA",
        "RECORD",
        "WHEEL",
        "entry_points.txt",
        "licenses/LICENSE",
    }


def test_the_metadata_say_what_it_is_and_where_airflow_finds_it(wheel):
    metadata = message_from_string(wheel[f"{INFO}/METADATA"])
    assert metadata["Name"] == "airflow-provider-pindo"
    assert metadata["Version"] == __version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert "Framework :: Apache Airflow :: Provider" in metadata.get_all("Classifier", [])
    assert metadata.get_payload() == (ROOT / "README.md").read_text(encoding="utf-8")
    assert wheel[f"{INFO}/licenses/LICENSE"] == (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert wheel[f"{INFO}/entry_points.txt"].split("\n")[:2] == [
        "[apache_airflow_provider]",
        "provider_info = airflow_provider_pindo.get_provider_info:get_provider_info",
    ]


def test_the_sdist_has_the_package_its_documentation_and_its_examples_and_no_tests(built):
    with tarfile.open(built / SDIST) as archive:
        names = {each.name.partition("/")[2] for each in archive.getmembers() if each.isfile()}
    folders = [ROOT / folder for folder in ("airflow_provider_pindo", "docs", "example_dags")]
    assert names == {
        *(name for folder in folders for name in files_below(folder)),
        *("CHANGELOG.md", "LICENSE", "README.md", "SECURITY.md"),
        *("pyproject.toml", "PKG-INFO", ".gitignore"),  # what hatchling adds
    }
