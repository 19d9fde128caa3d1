"""A person who fills in the form of the verification example."""

from __future__ import annotations

from urllib.parse import quote

from airflow_provider_pindo.sandbox import SandboxClient
from demo.deployment import Deployment
from tests.e2e.noticed import wait_until_noticed

DAG_ID = "pindo_phone_verification"
PHONE = "+250780000101"


class Person:
    """Triggers the DAG and answers its form through Airflow's REST API."""

    def __init__(self, deployment: Deployment, sandbox: SandboxClient) -> None:
        self._deployment = deployment
        self.rest = deployment.rest
        self._sandbox = sandbox

    def starts(self, dag_id: str = DAG_ID) -> str:
        """Trigger a run, wait for its form and return the run's ID."""
        self.rest.wait_for_dag(dag_id)
        run_id = self.rest.trigger(dag_id, conf={"phone": PHONE})
        self.rest.wait_for_task(dag_id, run_id, "ask_code", state="awaiting_input")
        wait_until_noticed(self._deployment, run_id, "ask_code")
        return run_id

    def reads_the_pin(self) -> str:
        """Return the PIN of the one message on the phone."""
        (message,) = self._sandbox.messages(to=PHONE)
        return str(message["pin"])

    def types(self, run_id: str, code: str) -> dict[str, str]:
        """Answer the form and return the state of each task once the run has ended."""
        form = f"/dags/{DAG_ID}/dagRuns/{quote(run_id)}/taskInstances/ask_code/-1/hitlDetails"
        answer = {"chosen_options": ["OK"], "params_input": {"secret_code": code}}
        self.rest.request("PATCH", form, json=answer)
        return self.waits(run_id)

    def waits(self, run_id: str, dag_id: str = DAG_ID) -> dict[str, str]:
        """Return the state of each task once the run has ended."""
        self.rest.wait_for_run(dag_id, run_id)
        return {task["task_id"]: task["state"] for task in self.rest.task_instances(dag_id, run_id)}
