"""Make the database that the test of an upgrade starts from: ``python -m tests.upgrade.make_database``.

It runs the DAG of ``dag.py`` once, with lost responses, and writes Airflow's SQLite database as SQL. Keep the old file
when the version of the entries changes: the test reads them all. Folders of this machine, logs and sessions are left
out.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from airflow_provider_pindo._ledger.entry import VERSION
from demo.deployment import Deployment

HERE = Path(__file__).parent
#: Stands for the folder of the DAGs, which differs on every machine.
FOLDER = "/the/dags/folder"
#: Tables whose rows say nothing about a task, and may name the machine.
LEFT_OUT = (
    "log",
    "job",
    "session",
    "import_error",
    "dag_priority_parsing_request",
    "callback",
    "revoked_token",
)


def main() -> None:
    """Run the DAG once and write its database."""
    with tempfile.TemporaryDirectory() as folder:
        dags = Path(folder)
        shutil.copy(HERE / "dag.py", dags / "upgrade.py")
        with Deployment(dags) as deployment:
            deployment.rest.wait_for_dag("upgrade")
            deployment.sandbox.add_fault("drop_after", to="+250781234502")
            deployment.sandbox.add_fault("drop_after", call="send_bulk_sms", skip=1)
            run_id = deployment.rest.trigger("upgrade")
            deployment.rest.wait_for_run("upgrade", run_id)
            deployment.airflow("dags", "pause", "upgrade")
            sql = dump(deployment.home / "airflow.db", str(dags))
    target = HERE / f"entries_v{VERSION}.sql"
    target.write_text(sql, encoding="utf-8")
    print(f"{target.name}: {len(sql):,} characters")


def dump(database: Path, dags: str) -> str:
    """Return the database as SQL, without what belongs to this machine."""
    with closing(sqlite3.connect(database)) as connection:
        tables = {
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
        for table in tables.intersection(LEFT_OUT):
            connection.execute(f"DELETE FROM {table}")
        connection.execute("DELETE FROM slot_pool WHERE pool = 'pindo'")  # the deployment makes it
        connection.commit()
        return "\n".join(connection.iterdump()).replace(dags, FOLDER) + "\n"


if __name__ == "__main__":
    main()
