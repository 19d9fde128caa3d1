"""The pytest plugin: a sandbox for each test, also in several processes, and cheap to import."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path
from textwrap import dedent

import pytest

from airflow_provider_pindo.sandbox import Sandbox
from airflow_provider_pindo.sandbox.pytest_plugin import pindo_sandbox as _pindo_sandbox

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = "airflow_provider_pindo.sandbox.pytest_plugin"


def run_pytest(file: Path, *arguments: str) -> str:
    """Run pytest on a file in a process of its own, and return what it prints. It must pass."""
    installed = any(point.name == "pindo" for point in entry_points(group="pytest11"))
    options = [*([] if installed else ["-p", PLUGIN]), "-p", "no:cacheprovider", *arguments]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", f"--rootdir={file.parent}", *options, str(file)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_the_package_names_the_plugin():
    points = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    assert points["pytest11"] == {"pindo": PLUGIN}


def test_importing_the_plugin_loads_no_airflow_no_http_client_and_no_sandbox():
    code = f"import pytest, sys, json; before = set(sys.modules); import {PLUGIN}"
    code += "; print(json.dumps(sorted(set(sys.modules) - before)))"
    added = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert set(json.loads(added)) <= {
        "airflow_provider_pindo",
        "airflow_provider_pindo.sandbox",
        PLUGIN,
    }


def test_the_package_of_the_sandbox_has_its_public_names_and_no_other():
    from airflow_provider_pindo import sandbox

    assert sandbox.Sandbox is Sandbox
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        sandbox.Nothing  # noqa: B018


def test_the_fixture_sets_the_connection_and_stops_the_sandbox(monkeypatch):
    steps = _pindo_sandbox.__wrapped__(monkeypatch)
    sandbox = next(steps)
    connection = json.loads(os.environ["AIRFLOW_CONN_PINDO_DEFAULT"])
    assert (connection["host"], connection["extra"]["sender"]) == (sandbox.url, "PindoTest")
    assert next(steps, None) is None
    with pytest.raises(ConnectionRefusedError):
        sandbox.messages()


def test_each_test_of_each_process_has_its_own_sandbox(tmp_path):
    file = tmp_path / "test_many.py"
    file.write_text(
        dedent(
            """
            import json, os, urllib.request
            import pytest

            @pytest.mark.parametrize("text", [f"number {number}" for number in range(8)])
            def test_it(pindo_sandbox, text):
                assert pindo_sandbox.messages() == []
                connection = json.loads(os.environ["AIRFLOW_CONN_PINDO_DEFAULT"])
                assert connection["host"] == pindo_sandbox.url
                body = {"to": "+250781234567", "text": text, "sender": connection["extra"]["sender"]}
                headers = {"Authorization": f"Bearer {connection['password']}", "Content-Type": "application/json"}
                request = urllib.request.Request(
                    connection["host"] + "/v1/sms/", json.dumps(body).encode(), headers)
                pindo_sandbox.reply("+250781234567", text)
                with urllib.request.urlopen(request) as answer:
                    sms_id = json.load(answer)["sms_id"]
                assert pindo_sandbox.deliver() == [sms_id]
                assert [(m["text"], m["status"]) for m in pindo_sandbox.messages()] == [(text, "delivered")]
                pindo_sandbox.fail_next()
                with pytest.raises(urllib.error.HTTPError, match="503"):
                    urllib.request.urlopen(request)
            """
        ),
        encoding="utf-8",
    )
    assert "8 passed" in run_pytest(file, "-n", "2")


def test_the_test_of_a_dag_on_the_page_runs(dag_file, pindo_sandbox):
    page = (ROOT / "docs" / "sandbox.rst").read_text(encoding="utf-8")
    (code,) = (
        dedent(block)
        for block in re.findall(r"code-block:: python\n\n((?:(?:   .*)?\n)+)", page)
        if "(pindo_sandbox)" in block
    )
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    with dag_file(code) as page_test:
        page_test.test_the_reminder_reaches_the_phone(pindo_sandbox)
