"""The provider's metrics, received over UDP from a real task, a trigger and the API server."""

from __future__ import annotations

import re
import socket
import threading
from collections import Counter
from datetime import UTC, datetime

import pytest
import requests

from demo.deployment import AIRFLOW_VERSION, Deployment
from demo.rest import wait_until

PHONE, LOST = "+250781234567", "+250781234568"
TEXT = "Ejo saa tatu"
DAG = f"""
from datetime import datetime
from airflow.providers.common.compat.sdk import DAG
from airflow_provider_pindo.operators.sms import PindoSendSmsOperator
from airflow_provider_pindo.sensors.sms import PindoInboundSmsSensor

with DAG("measured", schedule=None, start_date=datetime(2026, 1, 1)):
    PindoSendSmsOperator(task_id="text", to="{PHONE}", text="{TEXT}") >> PindoInboundSmsSensor(
        task_id="reply", pattern="(?i)yego", poke_interval=1, deferrable=True, timeout=120
    )

with DAG("lost", schedule=None, start_date=datetime(2026, 1, 1)):
    PindoSendSmsOperator(task_id="text", to="{LOST}", text="{TEXT}")
"""

pytestmark = pytest.mark.skipif(AIRFLOW_VERSION < 3, reason="the webhook receiver needs Airflow 3.1")


class StatsdServer:
    """Keeps every line that it receives over UDP."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.lines = []
        threading.Thread(target=self._receive, daemon=True).start()

    def _receive(self):
        while data := self.socket.recv(65_535):
            self.lines += [line for line in data.decode().split("\n") if ".pindo." in line]

    def timed(self, prefix):
        """The lines with the time of a request, of processes with this prefix."""
        return [line for line in self.lines if re.fullmatch(rf"{prefix}\.pindo\.request:[\d.]+\|ms", line)]

    def counters(self):
        """The sum of each counter, by its name without the prefix of the deployment."""
        totals = Counter()
        for line in self.lines:
            if match := re.fullmatch(r"airflow\.(pindo\.[\w.]+):(\d+)\|c", line):
                totals[match[1]] += int(match[2])
        return totals


def test_a_task_a_trigger_and_the_api_server_report_what_they_do(sigterm_is_heard, tmp_path_factory):
    statsd = StatsdServer()
    settings = {
        "AIRFLOW__METRICS__STATSD_ON": "True",
        "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
        "AIRFLOW__METRICS__STATSD_PORT": str(statsd.port),
    }
    with Deployment(tmp_path_factory.mktemp("dags"), settings=settings, webhooks=True) as deployment:
        deployment.kill("triggerer")  # to start it with a prefix of its own
        settings["AIRFLOW__METRICS__STATSD_PREFIX"] = "triggerer"
        deployment.start("triggerer")
        deployment.add_dag("measured", DAG)
        run_id = deployment.rest.trigger("measured")
        deployment.rest.wait_for_task("measured", run_id, "reply", state="deferred")
        deployment.sandbox.reply(PHONE, "Yego")
        assert deployment.rest.wait_for_run("measured", run_id) == "success"
        wait_until(
            lambda: statsd.counters()["pindo.webhooks.delivery_report"], "a report is counted", timeout=60
        )
        deployment.sandbox.add_fault("drop_before", to=LOST)  # so no event is evidence
        lost = deployment.rest.trigger("lost")
        assert deployment.rest.wait_for_run("lost", lost) == "failed"
        settle_on_the_page(deployment, lost)
        wait_until(lambda: statsd.counters()["pindo.settled.page"], "a settlement is counted", timeout=60)
    counters = statsd.counters()
    assert (counters["pindo.messages"], counters["pindo.messages.accepted"]) == (2, 1)
    assert counters["pindo.messages.unknown"] == 1
    assert counters["pindo.settled"] == counters["pindo.settled.page"] == 1
    assert counters["pindo.segments"] == 1
    assert counters["pindo.cost"] > 0
    assert counters["pindo.webhooks"] >= counters["pindo.webhooks.delivery_report"] >= 1
    assert statsd.timed("airflow"), "the task's request"
    assert statsd.timed("triggerer"), "a request of the trigger"
    for private in (PHONE[-9:], LOST[-9:], TEXT, "out_sms_"):
        assert private not in "\n".join(statsd.lines)


def settle_on_the_page(deployment, run_id):
    """Settle the lost message as the page does."""
    credentials = {"username": deployment.username, "password": deployment.password}
    token = requests.post(f"{deployment.url}/auth/token", json=credentials, timeout=60).json()["access_token"]
    response = requests.post(
        f"{deployment.url}/pindo/ui/api/settle",
        headers={"Authorization": f"Bearer {token}"},
        json={
            "dag_id": "lost",
            "run_id": run_id,
            "task_id": "text",
            "everybody": True,
            "seen": datetime.now(UTC).isoformat(),
        },
        timeout=60,
    )
    assert response.json() == {"arrived": 1, "not_arrived": 0, "unknown": 0}
