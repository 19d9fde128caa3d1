"""Alerts and send windows: only the notifier's own window binds it."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.notifications.sms import PindoNotifier
from tests.notifications.alerts import PHONE, awaited, deadline, either_way, texts
from tests.operators.clock import DAY, KIGALI, at, set_clock


@awaited
def test_outside_its_window_an_alert_is_logged_and_not_sent(sandbox, monkeypatch, caplog, awaited):
    notifier = PindoNotifier(PHONE, "Muraho", send_window=DAY)
    set_clock(monkeypatch, at(22))
    either_way(notifier, awaited=awaited)
    assert texts(sandbox) == []
    assert "No alert was sent: the send window '08:00-20:00 Africa/Kigali' is closed" in caplog.text
    set_clock(monkeypatch, at(8))
    either_way(notifier, awaited=awaited)
    assert texts(sandbox) == ["Muraho"]


@pytest.mark.parametrize("window", [None, ""])
def test_the_connections_window_does_not_bind_an_alert(sandbox, monkeypatch, window):
    connection = json.loads(sandbox.connection_json())
    connection["extra"]["send_window"] = DAY
    monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", json.dumps(connection))
    set_clock(monkeypatch, at(22))
    PindoNotifier(PHONE, "Muraho", send_window=window)({})
    assert texts(sandbox) == ["Muraho"]


def test_without_a_zone_the_dags_counts(sandbox, monkeypatch):
    set_clock(monkeypatch, at(9))  # 07:00 in UTC
    notifier = PindoNotifier(PHONE, "Muraho", send_window="08:00-20:00")
    notifier({})
    assert texts(sandbox) == []
    notifier({"dag": SimpleNamespace(timezone=KIGALI)})
    assert texts(sandbox) == ["Muraho"]


def test_a_wrong_window_is_refused_in_a_dag_file_and_logged_for_a_deadline(sandbox, caplog):
    with pytest.raises(PindoConfigurationError, match="send_window is '8-20': write one such as"):
        PindoNotifier(PHONE, send_window="8-20")
    missed = deadline("one")
    either_way(PindoNotifier(PHONE, "Muraho", send_window="8-20", context=missed), missed, awaited=True)
    assert "Deadline alert: send_window is '8-20'" in caplog.text
    assert texts(sandbox) == ["Muraho"]
