"""Rows of Airflow's metadata database, written without a run, and clients of the page's routes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.models.connection import Connection
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.models.hitl import HITLDetail
from airflow.models.log import Log
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import delete, insert, select, update

from tests.versions import HAS_STORE, NO_STORE

if HAS_STORE:
    from airflow.models.task_state_store import TaskStateStoreModel

NOW = datetime.now(UTC).replace(microsecond=0)


@dataclass
class Metadata:
    """What a test has written. Its DAGs are the only ones that its page can show."""

    app: FastAPI
    run_ids: dict[tuple[str, str], int] = field(default_factory=dict)

    def client(self, role: str | None = "admin", name: str = "ada") -> TestClient:
        """A browser in which a person with this role is logged in; nobody without one."""
        client = TestClient(self.app, base_url="http://airflow.example", raise_server_exceptions=True)
        if role is not None:
            client.cookies["_token"] = get_auth_manager().generate_jwt(
                SimpleAuthManagerUser(username=name, role=role)
            )
        return client

    def add_task(
        self,
        entries: dict[str, Any],
        *,
        dag_id: str = "reminders",
        run_id: str = "run_1",
        task_id: str = "text",
        map_index: int = -1,
        state: str = "success",
        age: timedelta = timedelta(minutes=30),
        started: timedelta | None = None,
        display_name: str | None = None,
    ) -> None:
        """Write a task instance with the entries of its ledger. Without a store, the test is skipped.

        :param age: of its run.
        :param started: how long ago the run started and wrote them, if later.
        """
        if not HAS_STORE:
            pytest.skip(NO_STORE)
        place = {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": map_index}
        with create_session() as session:
            run = self._run(session, dag_id, run_id, NOW - age, display_name)
            if started is not None:
                session.execute(update(DagRun).where(DagRun.id == run).values(start_date=NOW - started))
            session.execute(
                insert(TaskInstance.__table__).values(
                    id=uuid4(),
                    state=state,
                    pool="default_pool",
                    pool_slots=1,
                    span_status="not_started",
                    **place,
                )
            )
            for key, value in entries.items():
                session.execute(
                    insert(TaskStateStoreModel.__table__).values(
                        dag_run_id=run,
                        key=key,
                        value=json.dumps(value),
                        updated_at=NOW - (started or age),
                        **place,
                    )
                )

    def _run(self, session: Any, dag_id: str, run_id: str, run_after: datetime, name: str | None) -> int:
        if not session.scalar(select(DagModel.dag_id).where(DagModel.dag_id == dag_id)):
            if not session.execute(select(_BUNDLES.c.name).where(_BUNDLES.c.name == "tests")).first():
                session.execute(insert(_BUNDLES).values(name="tests"))
            session.add(DagModel(dag_id=dag_id, bundle_name="tests", _dag_display_property_value=name))
            session.flush()
        if (dag_id, run_id) not in self.run_ids:
            run = DagRun(dag_id=dag_id, run_id=run_id, run_after=run_after, run_type="manual", state="failed")
            session.add(run)
            session.flush()
            self.run_ids[dag_id, run_id] = run.id
        return self.run_ids[dag_id, run_id]

    def ask(self, task_id: str, subject: str, age: timedelta = timedelta(0)) -> None:
        """Have a task wait for the answer to a question."""
        with create_session() as session:
            ti = session.scalar(select(TaskInstance.id).where(TaskInstance.task_id == task_id))
            session.execute(
                insert(HITLDetail.__table__).values(
                    ti_id=ti,
                    options=["Yes"],
                    subject=subject,
                    params={},
                    params_input={},
                    created_at=NOW - age,
                )
            )

    def value(self, key: str, task_id: str = "text") -> Any:
        """Return an entry as the store holds it now."""
        store = TaskStateStoreModel
        with create_session() as session:
            return json.loads(
                session.scalar(select(store.value).where(store.key == key, store.task_id == task_id))
            )

    def touch(self, key: str, task_id: str = "text") -> None:
        """Write an entry again, as a later try of the task does."""
        store = TaskStateStoreModel
        with create_session() as session:
            written = update(store).where(store.key == key, store.task_id == task_id)
            session.execute(written.values(updated_at=datetime.now(UTC)))

    def audit_log(self) -> list[tuple[str | None, str | None, Any]]:
        """Return who did what: the owner, the task and the details of each settlement."""
        with create_session() as session:
            rows = session.scalars(select(Log).where(Log.event == "pindo_settle").order_by(Log.id))
            return [(row.owner, row.task_id, json.loads(row.extra or "")) for row in rows]

    @staticmethod
    def clear() -> None:
        """Delete what tests have written."""
        with create_session() as session:
            stores = [TaskStateStoreModel] if HAS_STORE else []
            for model in (HITLDetail, *stores, TaskInstance, DagRun, DagModel, Connection):
                session.execute(delete(model))
            session.execute(delete(Log).where(Log.event == "pindo_settle"))


_BUNDLES = DagModel.metadata.tables["dag_bundle"]


def single(status: str, to: str = "+25078****101", **fields: Any) -> dict[str, Any]:
    """An entry of one message."""
    result = {"status": "sent", "sms_id": 7, "total_cost": 0.01, "remaining_balance": 12.5}
    return {
        "v": 1,
        "status": status,
        "input": "0123456789abcdef",
        "generation": 0,
        "to": to,
        "result": result if status == "sent" else None,
        **fields,
    }


def batch(
    people: int = 4, *, rejected: Any = None, unknown: Any = None, not_sent: str = "", **fields: Any
) -> dict[str, Any]:
    """An entry of a bulk send to rows 1 and following, with numbers that end in 101 and following."""
    others = sum(
        int(part.partition("-")[2] or part.partition("-")[0]) - int(part.partition("-")[0]) + 1
        for rows in (*(rejected or {}).values(), *(unknown or {}).values(), not_sent)
        for part in filter(None, rows.split(","))
    )
    return {
        "v": 1,
        "status": "unknown" if unknown else "not_sent" if not_sent else "sent",
        "recipients": people,
        "rows": f"1-{people}",
        "accepted": people - others,
        "rejected": rejected or {},
        "unknown": unknown or {},
        "not_sent": not_sent,
        "requests": 1,
        "segments": people - others,
        "cost": 0.01 * (people - others),
        "unknown_cost": 0.0,
        "of": "0123456789abcdef/0",
        "numbers": " ".join(f"+25078****{100 + row}" for row in range(1, people + 1)),
        **fields,
    }
