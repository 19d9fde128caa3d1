"""Tasks that wait in two triggerers, one of which is killed."""

from __future__ import annotations

from datetime import UTC, datetime

from demo.cluster import Cluster
from demo.rest import wait_until

WAITING = """
from datetime import datetime
from airflow.providers.common.compat.sdk import DAG
from airflow_provider_pindo.sensors.sms import PindoInboundSmsSensor

since = {"since": "{{ dag_run.conf.since }}", "poke_interval": 2, "deferrable": True}
with DAG("waiting", schedule=None, start_date=datetime(2026, 1, 1), max_active_runs=100):
    for digit in range(10):  # start and end in a triggerer
        PindoInboundSmsSensor(
            task_id=f"wait_{digit}",
            pattern=f"YES {{{{ dag_run.conf.digits }}}}{digit}",
            start_from_trigger=True,
            **since,
        )
with DAG("resumed", schedule=None, start_date=datetime(2026, 1, 1)):  # deferred from a worker, and resumed there
    PindoInboundSmsSensor.partial(task_id="wait", **since).expand(
        pattern=[f"YES {code}" for code in range(1290, 1300)]
    )
"""


class Waiting:
    """Three hundred tasks that each wait for a reply with a different code, 1000 to 1299."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        conf = {"since": datetime.now(UTC).isoformat()}
        trigger = cluster.rest.trigger
        self.runs = [("waiting", trigger("waiting", conf={**conf, "digits": 100 + run})) for run in range(29)]
        self.runs.append(("resumed", trigger("resumed", conf=conf)))

    @property
    def triggers(self) -> dict[str, int]:
        """The number of triggers in each triggerer."""
        rows = self.cluster.query(
            "SELECT job.hostname, count(*) FROM trigger JOIN job ON job.id = trigger.triggerer_id "
            "WHERE job.state = 'running' GROUP BY 1"
        )
        return dict(rows)

    def reply(self, codes: range) -> None:
        texts = [f"YES {code}, we come" for code in codes]
        self.cluster.sandbox.reply_all([{"from": "+250781234567", "text": text} for text in texts])

    def wait(self) -> set[str]:
        """Wait until all runs have ended, and return their states."""
        wait = self.cluster.rest.wait_for_run
        return {wait(dag_id, run_id, timeout=240) for dag_id, run_id in self.runs}

    def replies(self) -> list[str]:
        """The texts that the tasks returned, each with the digits that it waited for."""
        rows = self.cluster.query(
            "SELECT dag_run.conf, xcom.task_id, xcom.map_index, xcom.value FROM xcom "
            "JOIN dag_run USING (dag_id, run_id) WHERE dag_id IN ('waiting', 'resumed') AND key = 'return_value'"
        )
        return sorted(
            f"{conf.get('digits', '')}{task_id if index < 0 else 1290 + index}: {[reply['text'] for reply in replies]}"
            for conf, task_id, index, replies in rows
        )


def test_every_reply_resumes_its_task_when_one_of_two_triggerers_is_killed(cluster, sandbox):
    cluster.add_dag("waiting", WAITING)
    waiting = Waiting(cluster)
    wait_until(lambda: sum(waiting.triggers.values()) == 300, "all wait", timeout=240, interval=1)
    before = waiting.triggers
    survivor, victim = sorted(cluster.triggerers, key=before.__getitem__)
    waiting.reply(range(1000, 1300, 3))
    cluster.kill(victim)
    try:
        waiting.reply(range(1001, 1300, 3))
        wait_until(lambda: set(waiting.triggers) <= {survivor}, "one has them all", timeout=240)
        waiting.reply(range(1002, 1300, 3))
        assert waiting.wait() == {"success"}
    finally:
        cluster.start(victim)
    print(f"killed {victim}; before that they had {before}")
    ended_by_triggerers = [
        f"{code // 10}wait_{code % 10}: ['YES {code}, we come']" for code in range(1000, 1290)
    ]
    resumed_by_workers = [f"{code}: ['YES {code}, we come']" for code in range(1290, 1300)]
    assert waiting.replies() == sorted([*ended_by_triggerers, *resumed_by_workers])
