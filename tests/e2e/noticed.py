"""The moment from which a waiting task that has left its worker can be resumed."""

from __future__ import annotations

import re

from demo.deployment import Deployment
from demo.rest import wait_until


def wait_until_noticed(deployment: Deployment, run_id: str, task_id: str, *, count: int = 1) -> None:
    """Wait until the scheduler has noticed that the processes of a waiting task ended.

    A reply before that moment may fail the task: Airflow then mistakes that end for the end of the process that
    resumes the task. A person is never that fast.

    :param count: how many processes of the task have ended, one for each map index.
    """
    noticed = re.compile(f"Received executor event.*'{re.escape(task_id)}'.*{re.escape(run_id)}")
    log = deployment.component_log("scheduler")
    wait_until(
        lambda: len(noticed.findall(log.read_text(encoding="utf-8", errors="replace"))) >= count,
        f"the scheduler has noticed that {task_id} waits",
        timeout=60,
    )
