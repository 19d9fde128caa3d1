"""Alerts and the connection's ``suppression_list``: ignored, unless the notifier is told to respect it."""

from __future__ import annotations

import json
import os

import pytest

from airflow_provider_pindo.notifications.sms import PindoNotifier
from tests.notifications.alerts import OTHER, PHONE, assert_nothing_is_told, awaited, either_way, phones


@pytest.fixture
def stop_list(sandbox, monkeypatch, tmp_path):
    file = tmp_path / "stop.txt"
    file.write_text(f"{PHONE}\n")
    connection = json.loads(os.environ["AIRFLOW_CONN_PINDO_DEFAULT"])
    connection["extra"]["suppression_list"] = str(file)
    monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", json.dumps(connection))
    return file


@awaited
def test_an_alert_goes_to_a_listed_number(sandbox, stop_list, awaited):
    stop_list.unlink()  # it is not even read
    either_way(PindoNotifier(PHONE, "Muraho"), awaited=awaited)
    assert phones(sandbox) == [(PHONE, "Muraho")]


@awaited
def test_respect_suppression_leaves_out_the_listed_and_says_so(sandbox, stop_list, log, awaited):
    either_way(PindoNotifier([PHONE, OTHER], "Muraho", respect_suppression=True), awaited=awaited)
    assert phones(sandbox) == [(OTHER, "Muraho")]
    assert (
        "No alert was sent to +25078****567: the number is on the connection's suppression_list" in log.text
    )
    assert_nothing_is_told(log)


def test_an_alert_to_listed_numbers_alone_is_not_sent(sandbox, stop_list, log):
    either_way(PindoNotifier(PHONE, "Muraho", respect_suppression=True), awaited=False)
    assert sandbox.messages() == []
    assert "No alert was sent to +25078****567" in log.text


@awaited
def test_a_list_that_cannot_be_read_stops_an_alert_that_respects_it(sandbox, stop_list, log, awaited):
    stop_list.unlink()
    either_way(PindoNotifier(OTHER, "Muraho", respect_suppression=True), awaited=awaited)
    assert sandbox.messages() == []
    assert "No alert was sent: the connection's suppression_list" in log.text


def test_a_deadlines_wrong_argument_is_logged_and_the_alert_sent(sandbox, stop_list, log):
    either_way(PindoNotifier(PHONE, "Muraho", respect_suppression="perhaps", context={}), awaited=False)
    assert phones(sandbox) == [(PHONE, "Muraho")]
    assert "respect_suppression is 'perhaps': give true or false; its default is used" in log.text
