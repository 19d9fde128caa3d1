"""A client of Airflow's REST API, to run DAGs and to read their state.

Airflow 3 has version 2 of the API, and Airflow 2.11 has version 1. They differ in the address, the login and a few
field names. Every method returns Airflow's response as JSON.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import quote

import requests

Json = Any
T = TypeVar("T")
FINISHED_RUN = frozenset({"success", "failed"})


class AirflowRest:
    """A client of one Airflow.

    :param url: the address of Airflow's UI, such as ``http://127.0.0.1:8080``.
    :param username: the user.
    :param password: the user's password.
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
        """Send one request and return the response's JSON (None if it is empty).

        :param path: below ``/api/v2`` (``/api/v1`` on Airflow 2), starting with a slash.
        :raises requests.HTTPError: Airflow responded with 4xx or 5xx; the message contains its text.
        """
        if self._airflow_version >= 3 and "Authorization" not in self._session.headers:
            response = self._session.post(f"{self._url}/auth/token", json=self._credentials, timeout=30)
            response.raise_for_status()
            self._session.headers["Authorization"] = f"Bearer {response.json()['access_token']}"
        base = f"{self._url}/api/v{2 if self._airflow_version >= 3 else 1}"
        response = self._session.request(method, base + path, timeout=60, **kwargs)
        if not response.ok:
            raise requests.HTTPError(
                f"{method} {path}: {response.status_code} {response.text[:500]}", response=response
            )
        return response.json() if response.content else None

    def health(self) -> dict[str, str | None]:
        """Return each component's status, such as ``healthy``, by its name."""
        path = "/monitor/health" if self._airflow_version >= 3 else "/health"
        return {name: info.get("status") for name, info in self.request("GET", path).items()}

    def import_errors(self) -> list[str]:
        """Return the tracebacks of DAG files with import errors."""
        return [error["stack_trace"] for error in self.request("GET", "/importErrors")["import_errors"]]

    def wait_for_dag(self, dag_id: str) -> None:
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

        wait_until(is_read, f"Airflow has read the DAG {dag_id}", timeout=120)

    def create_pool(self, name: str, *, slots: int, description: str) -> None:
        """Create a pool, as a person does in the UI (Admin, Pools)."""
        body = {"name": name, "slots": slots, "description": description, "include_deferred": False}
        self.request("POST", "/pools", json=body)

    def trigger(self, dag_id: str, *, conf: Json = None, logical_date: dt.datetime | None = None) -> str:
        """Trigger a run of the DAG and return its run ID."""
        body: dict[str, Json] = {"conf": conf or {}}
        if logical_date is not None or self._airflow_version >= 3:
            body["logical_date"] = logical_date and logical_date.isoformat()
        return str(self.request("POST", f"/dags/{dag_id}/dagRuns", json=body)["dag_run_id"])

    def run_ids(self, dag_id: str) -> list[str]:
        """Return the run IDs of the DAG's newest hundred runs, the oldest first."""
        runs = self.request("GET", f"/dags/{dag_id}/dagRuns", params={"limit": 100, "order_by": "-id"})[
            "dag_runs"
        ]
        return [str(run["dag_run_id"]) for run in reversed(runs)]

    def delete_run(self, dag_id: str, run_id: str) -> None:
        """Delete a run, as a person does in the UI."""
        self.request("DELETE", f"/dags/{dag_id}/dagRuns/{quote(run_id)}")

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a run: queued, running, success or failed."""
        return str(self.request("GET", f"/dags/{dag_id}/dagRuns/{quote(run_id)}")["state"])

    def wait_for_run(self, dag_id: str, run_id: str, *, timeout: float = 180) -> str:
        """Wait until the run has ended and return its state."""

        def final_state() -> str | None:
            state = self.run_state(dag_id, run_id)
            return state if state in FINISHED_RUN else None

        return wait_until(final_state, f"run {run_id} of {dag_id} has ended", timeout=timeout)

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Json]]:
        """Return every task instance of a run, in the order of their task IDs and map indexes."""
        path = f"/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances"
        tasks = self.request("GET", path, params={"limit": 1000})["task_instances"]
        return sorted(tasks, key=lambda task: (task["task_id"], task["map_index"]))

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

        :param try_number: the try that must be in the state. None (default) means any try.
        """

        def reached() -> dict[str, Json] | None:
            task = self.task_instance(dag_id, run_id, task_id, map_index=map_index)
            is_right_try = try_number is None or task["try_number"] == try_number
            return task if task["state"] == state and is_right_try else None

        return wait_until(reached, f"task {task_id} of {run_id} is {state}", timeout=timeout)

    def clear(self, dag_id: str, run_id: str, *task_ids: str) -> None:
        """Clear tasks, as a person does in the UI, so that they run again."""
        body = {"dry_run": False, "dag_run_id": run_id, "task_ids": task_ids, "only_failed": False}
        self.request("POST", f"/dags/{dag_id}/clearTaskInstances", json={**body, "reset_dag_runs": True})

    def answer(self, dag_id: str, run_id: str, task_id: str, option: str, **params: Json) -> None:
        """Answer a task's question, as a person does in the UI (Required Actions, Airflow 3.1 and later).

        Airflow 3.3.2 commits its audit log on the event loop. On SQLite that may block it for a minute, and the answer
        is lost or comes without a response. A person presses again then.

        :param option: the button.
        :param params: what is filled in.
        """
        path = f"{self._task_path(dag_id, run_id, task_id)}/-1/hitlDetails"
        body = {"chosen_options": [option], "params_input": params}
        try:
            self.request("PATCH", path, json=body)
        except requests.ReadTimeout:
            try:
                self.request("PATCH", path, json=body)
            except requests.HTTPError as error:
                if error.response is None or error.response.status_code != 409:  # it was answered before
                    raise

    def xcom(self, dag_id: str, run_id: str, task_id: str, *, map_index: int = -1) -> Json:
        """Return a task's result."""
        path = f"{self._task_path(dag_id, run_id, task_id)}/xcomEntries/return_value"
        params = {"map_index": str(map_index), "stringify": "false"}
        return self.request("GET", path, params=params)["value"]

    def task_state(self, dag_id: str, run_id: str, task_id: str, *, map_index: int = -1) -> dict[str, Json]:
        """Return the entries of the task instance's state store (Airflow 3.3), by their keys."""
        path = f"{self._task_path(dag_id, run_id, task_id)}/state-store"
        params = {"map_index": map_index, "limit": 1000}
        entries = self.request("GET", path, params=params)["task_state_store"]
        return {entry["key"]: entry["value"] for entry in entries}

    def patch_task_state(self, dag_id: str, run_id: str, task_id: str, key: str, value: Json) -> None:
        """Change one entry of the state store, as a person does in the Task State Store tab (Airflow 3.3)."""
        path = f"{self._task_path(dag_id, run_id, task_id)}/state-store/{quote(key)}"
        self.request("PATCH", path, params={"map_index": -1}, json={"value": value})

    def _task_path(self, dag_id: str, run_id: str, task_id: str) -> str:
        return f"/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances/{task_id}"


def wait_until(ready: Callable[[], T | None], what: str, *, timeout: float, interval: float = 0.25) -> T:
    """Call ``ready`` until it returns a true value, and return that value.

    :param what: the awaited condition, for the error.
    :raises TimeoutError: no true value within ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    while not (result := ready()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"timed out after {timeout:.0f} s, waiting until {what}")
        time.sleep(interval)
    return result
