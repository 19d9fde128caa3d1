"""``python -m airflow_provider_pindo.plugins url``."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from airflow_provider_pindo.hooks import _webhook_config
from airflow_provider_pindo.plugins.__main__ import main
from tests.plugins.conftest import POSTING, SECRET


def test_it_prints_the_addresses_and_ends_with_the_one_that_needs_no_header(webhooks_on, capsys):
    assert main(["url", "--base-url", "https://airflow.example.org/"]) == 0
    printed = capsys.readouterr()
    address = "https://airflow.example.org/pindo/webhooks/pindo_default"
    assert address in printed.out.split()
    assert printed.out.splitlines()[-1].split()[-1] == f"{address}?token={POSTING}"
    assert SECRET not in printed.out
    assert printed.err == ""


def test_without_base_url_it_takes_the_api_servers_own(webhooks_on, monkeypatch, capsys):
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example.org/prefix")
    assert main(["url", "--conn-id", "pindo_default"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.strip() == f"https://airflow.example.org/prefix/pindo/webhooks/pindo_default?token={POSTING}"


def test_it_says_when_webhooks_are_off(webhooks_on, monkeypatch, capsys):
    monkeypatch.setenv("AIRFLOW__PINDO__WEBHOOKS", "False")
    assert main(["url", "--base-url", "https://airflow.example.org"]) == 0
    assert "[pindo] webhooks = True" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("connection", "arguments", "says"),
    [
        (None, [], "there is no connection 'pindo_other'"),
        ({"conn_type": "http"}, [], "is of type 'http'"),
        ({"conn_type": "pindo"}, [], "has no webhook_secret"),
        (
            {"conn_type": "pindo", "extra": {"webhook_secret": "é-secret"}},
            [],
            "cannot be sent in a header",
        ),
        ({"conn_type": "pindo", "extra": {"webhook_secret": "x"}}, ["--base-url", "airflow"], "'airflow'"),
        (
            {"conn_type": "pindo", "extra": {"webhook_secret": "x"}},
            ["--base-url", "ftp://airflow"],
            "'ftp://airflow'",
        ),
    ],
)
def test_it_says_what_is_missing_and_shows_no_secret(
    airflow_database, webhooks_on, monkeypatch, capsys, connection, arguments, says
):
    if connection is not None:
        monkeypatch.setenv("AIRFLOW_CONN_PINDO_OTHER", json.dumps(connection))
    assert main(["url", "--conn-id", "pindo_other", *arguments]) == 1
    printed = capsys.readouterr()
    assert says in printed.err
    assert "é-secret" not in printed.err
    assert printed.out == ""


def test_an_older_airflow_gets_one_clear_error(webhooks_on, monkeypatch, capsys):
    monkeypatch.setattr(_webhook_config, "AIRFLOW_V_3_1_PLUS", False)
    assert main(["url"]) == 1
    assert "[pindo] webhooks needs Airflow 3.1 or later" in capsys.readouterr().err


def test_it_runs_as_a_command(webhooks_on):
    command = [
        sys.executable,
        "-m",
        "airflow_provider_pindo.plugins",
        "url",
        "--base-url",
        "https://a.example",
    ]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert printed.splitlines()[-1].endswith(
        f"https://a.example/pindo/webhooks/pindo_default?token={POSTING}"
    )
