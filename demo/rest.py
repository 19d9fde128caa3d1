"""Airflow's REST API, as far as running DAGs and looking at them takes it.

Airflow 3 has version 2 of it, Airflow 2.11 version 1. They differ in their address, in how one logs in and in
a few field names; everything here returns what Airflow answered, as JSON.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Collection
from typing import Any, TypeVar
from urllib.parse import quote

import requests

Json = Any
T = TypeVar("T")
FINISHED_RUN = frozenset({"success", "failed"})


class AirflowRest:
    """A client of one Airflow.

    :param url: where Airflow's UI is, such as ``http://127.0.0.1:8080``.
    :param username: who logs in.
    :param password: their password.
    :param airflow_version: major version, 2 or 3.
    """

    def __init__(self, url: str, username: str, password: str, *, airflow_version: int) -> None:
        self._url = url
        self._airflow_version = airflow_version
        self._session = requests.Session()
        self._session.trust_env = False  # loopback only: no proxy, no .netrc
        self._credentials = {"username": username, "password": password}
        if airflow_version < 3:
            self._session.auth = (username, password)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def request(self, method: str, path: str, **kwargs: Any) -> Json:
        """Send one request and return the answer's JSON (None when it is empty).

        :param path: below ``/api/v2`` (``/api/v1`` on Airflow 2), starting with a slash.
        :raises requests.HTTPError: Airflow answered 4xx or 5xx; the message has what it said.
        """
        if self._airflow_version >= 3 and "Authorization" not in self._session.headers:
            answer = self._session.post(f"{self._url}/auth/token", json=self._credentials, timeout=30)
            answer.raise_for_status()
            self._session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        base = f"{self._url}/api/v{2 if self._airflow_version >= 3 else 1}"
        answer = self._session.request(method, base + path, timeout=60, **kwargs)
        if not answer.ok:
            raise requests.HTTPError(
                f"{method} {path}: {answer.status_code} {answer.text[:500]}", response=answer
            )
        return answer.json() if answer.content else None

    def health(self) -> dict[str, str | None]:
        """Return each component's status, ``healthy`` or not, by its name."""
        path = "/monitor/health" if self._airflow_version >= 3 else "/health"
        return {name: info.get("status") for name, info in self.request("GET", path).items()}

    def import_errors(self) -> list[str]:
        """Return the tracebacks of the DAG files that Airflow could not read."""
        return [each["stack_trace"] for each in self.request("GET", "/importErrors")["import_errors"]]

    def wait_for_dag(self, dag_id: str, *, timeout: float = 120) -> None:
        """Wait until Airflow has read the DAG and can run it."""

        def is_read() -> bool:
            try:
                self.request("GET", f"/dags/{dag_id}/tasks")
            except requests.HTTPError as error:
                if error.response is None or error.response.status_code != 404:
                    raise
                if errors := self.import_errors():
                    raise RuntimeError("a DAG file cannot be read:\n" + "\n".join(errors)) from None
                return False
            return True

        wait_until(is_read, f"DAG {dag_id} is there", timeout=timeout)

    def create_pool(self, name: str, *, slots: int, description: str) -> None:
        """Create a pool, as a person does in the UI (Admin, Pools)."""
        body = {"name": name, "slots": slots, "description": description, "include_deferred": False}
        self.request("POST", "/pools", json=body)

    def trigger(self, dag_id: str, *, conf: Json = None, logical_date: dt.datetime | None = None) -> str:
        """Start a run of the DAG by hand and return its run ID."""
        body: dict[str, Json] = {"conf": conf or {}}
        if logical_date is not None or self._airflow_version >= 3:
            body["logical_date"] = logical_date and logical_date.isoformat()
        return str(self.request("POST", f"/dags/{dag_id}/dagRuns", json=body)["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a run: queued, running, success or failed."""
        return str(self.request("GET", f"/dags/{dag_id}/dagRuns/{quote(run_id)}")["state"])

    def wait_for_run(
        self, dag_id: str, run_id: str, *, states: Collection[str] = FINISHED_RUN, timeout: float = 180
    ) -> str:
        """Wait until the run is in one of ``states`` (default: it has ended) and return its state."""

        def reached() -> str | None:
            state = self.run_state(dag_id, run_id)
            return state if state in states else None

        what = f"run {run_id} of {dag_id} is {' or '.join(sorted(states))}"
        return wait_until(reached, what, timeout=timeout)

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Json]]:
        """Return every task instance of a run, in the order of their task IDs and map indexes."""
        path = f"/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances"
        found = self.request("GET", path, params={"limit": 1000})["task_instances"]
        return sorted(found, key=lambda each: (each["task_id"], each["map_index"]))

    def task_instance(
        self, dag_id: str, run_id: str, task_id: str, *, map_index: int = -1
    ) -> dict[str, Json]:
        """Return one task instance: its ``state``, ``try_number``, ``pid`` and so on."""
        path = self._task_path(dag_id, run_id, task_id)
        mapped = f"/{map_index}" if map_index >= 0 else ""
        return dict(self.request("GET", path + mapped))

    def wait_for_task(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        *,
        state: str = "running",
        map_index: int = -1,
        try_number: int | None = None,
        timeout: float = 120,
    ) -> dict[str, Json]:
        """Wait until the task instance is in ``state`` and return it.

        :param try_number: that try must be in the state, not an earlier one; None (default) takes any.
        """

        def reached() -> dict[str, Json] | None:
            found = self.task_instance(dag_id, run_id, task_id, map_index=map_index)
            right_try = try_number is None or found["try_number"] == try_number
            return found if found["state"] == state and right_try else None

        return wait_until(reached, f"task {task_id} of {run_id} is {state}", timeout=timeout)

    def clear(self, dag_id: str, run_id: str, *task_ids: str, map_index: int | None = None) -> None:
        """Clear tasks, as a person does in the UI, so that they run again.

        :param map_index: of a mapped task, this one alone (Airflow 3); None (default) clears all of it.
        """
        tasks: list[Json] = [[each, map_index] if map_index is not None else each for each in task_ids]
        body = {"dry_run": False, "dag_run_id": run_id, "task_ids": tasks, "only_failed": False}
        self.request("POST", f"/dags/{dag_id}/clearTaskInstances", json={**body, "reset_dag_runs": True})

    def xcom(
        self, dag_id: str, run_id: str, task_id: str, *, key: str = "return_value", map_index: int = -1
    ) -> Json:
        """Return an XCom's value; ``return_value`` (default) is what the task returned."""
        path = f"{self._task_path(dag_id, run_id, task_id)}/xcomEntries/{quote(key)}"
        params = {"map_index": str(map_index), "stringify": "false"}
        return self.request("GET", path, params=params)["value"]

    def task_state(self, dag_id: str, run_id: str, task_id: str, *, map_index: int = -1) -> dict[str, Json]:
        """Return the entries of the task instance's state store (Airflow 3.3), by their keys."""
        path = f"{self._task_path(dag_id, run_id, task_id)}/state-store"
        params = {"map_index": map_index, "limit": 1000}
        found = self.request("GET", path, params=params)["task_state_store"]
        return {each["key"]: each["value"] for each in found}

    def patch_task_state(
        self, dag_id: str, run_id: str, task_id: str, key: str, value: Json, *, map_index: int = -1
    ) -> None:
        """Change one entry of the state store, as a person does in the Task State Store tab (Airflow 3.3)."""
        path = f"{self._task_path(dag_id, run_id, task_id)}/state-store/{quote(key)}"
        self.request("PATCH", path, params={"map_index": map_index}, json={"value": value})

    def _task_path(self, dag_id: str, run_id: str, task_id: str) -> str:
        return f"/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances/{task_id}"


def wait_until(ready: Callable[[], T | None], what: str, *, timeout: float, interval: float = 0.25) -> T:
    """Call ``ready`` until it returns something true, and return that.

    :param what: what must hold, for the error.
    :raises TimeoutError: it did not within ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    while not (result := ready()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout:.0f} s in vain until {what}")
        time.sleep(interval)
    return result
