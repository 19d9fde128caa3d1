"""What the commands of the Makefile install, and when."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(("airflow", "newest"), [("2.11.2", 12), ("3.1.8", 13)])
def test_the_environment_gets_a_python_that_its_airflow_takes(airflow, newest):
    command = ["make", "--dry-run", f".venv-demo-{airflow}/run.stamp"]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert re.search(r"sys\.version_info\[:2\] <= \(3, (\d+)\)", printed)[1] == str(newest)


def test_a_container_is_built_without_an_environment_for_airflow(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\necho "docker $*"\n')
    docker.chmod(0o755)
    command = ["make", "--no-print-directory", "container"]
    path = f"{tmp_path}:{os.environ['PATH']}"
    made = subprocess.run(
        command, cwd=tmp_path, check=True, capture_output=True, text=True, env={**os.environ, "PATH": path}
    )
    last = made.stdout.splitlines()[-1]
    assert last == "docker build --tag pindo-sandbox --file Containerfile ."
    assert not (tmp_path / ".venv").exists()
