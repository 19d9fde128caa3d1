"""What a user finds in the DAGs folder: conversations on every Airflow, the router where Airflow can run it."""

from __future__ import annotations

import pytest
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_3_PLUS

from demo.deployment import EXAMPLE_DAGS

try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:  # Airflow 2.11
    from airflow.models.dagbag import DagBag


@pytest.mark.parametrize(
    ("file", "needs"), [("pindo_confirm_appointment", True), ("pindo_inbound_router", AIRFLOW_V_3_3_PLUS)]
)
def test_the_example_is_read_without_an_error(file, needs, caplog):
    bag = DagBag(dag_folder=EXAMPLE_DAGS / f"{file}.py")
    assert bag.import_errors == {}
    assert set(bag.dags) == ({file} if needs else set())
    assert needs or "needs Airflow 3.3" in caplog.text
