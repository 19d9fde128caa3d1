"""What a user finds in the DAGs folder, on an Airflow with forms and on one without."""

from __future__ import annotations

import sys

import pytest

from demo.deployment import AIRFLOW_VERSION, EXAMPLE_DAGS

try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:  # Airflow 2.11
    from airflow.models.dagbag import DagBag

FILE = EXAMPLE_DAGS / "pindo_phone_verification.py"


def read(file):
    """Read the file as the DAG processor does; returns the IDs of its DAGs, or the import error."""
    bag = DagBag(dag_folder=file)
    return bag.import_errors or set(bag.dags)


@pytest.mark.skipif(AIRFLOW_VERSION < 3, reason="forms came with Airflow 3.1")
def test_the_dag_is_there_where_airflow_has_forms():
    assert read(FILE) == {"pindo_phone_verification"}


def test_without_forms_there_is_a_log_line_and_neither_a_dag_nor_an_import_error(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "airflow.providers.standard.operators.hitl", None)
    assert read(FILE) == set()
    assert "needs Airflow 3.1 or later and apache-airflow-providers-standard" in caplog.text
