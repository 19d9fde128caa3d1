"""``make demo AIRFLOW=…`` makes an environment for that Airflow."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("airflow", "newest"), [("2.11.2", 12), ("3.1.8", 13)])
def test_the_environment_gets_a_python_that_its_airflow_takes(airflow, newest):
    command = ["make", "--dry-run", f".venv-demo-{airflow}/run.stamp"]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert re.search(r"sys\.version_info\[:2\] <= \(3, (\d+)\)", printed)[1] == str(newest)
