"""The DAGs folder of a user: every DAG that this Airflow can run, with a description of its work."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_1_PLUS, AIRFLOW_V_3_3_PLUS

from demo.deployment import EXAMPLE_DAGS

try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:  # Airflow 2.11
    from airflow.models.dagbag import DagBag

FILES = {file.stem for file in EXAMPLE_DAGS.glob("*.py")}
TOO_NEW = {  # for this Airflow, with the version that each needs
    **({} if AIRFLOW_V_3_1_PLUS else {"pindo_phone_verification": "3.1", "pindo_delivery_followup": "3.1"}),
    **({} if AIRFLOW_V_3_3_PLUS else {"pindo_inbound_router": "3.3"}),
}


@pytest.fixture(scope="module")
def dags() -> dict[str, Any]:
    """The DAGs of all files, by their IDs."""
    bag = DagBag(dag_folder=EXAMPLE_DAGS)
    assert bag.import_errors == {}
    return bag.dags


@pytest.fixture(params=sorted(FILES - set(TOO_NEW)))
def dag(dags, request) -> Any:
    """Each DAG in turn."""
    return dags[request.param]


def test_each_file_has_one_dag_of_its_name_where_airflow_can_run_it(dags):
    assert set(dags) == FILES - set(TOO_NEW)


@pytest.mark.parametrize("file", sorted(FILES))
def test_a_file_whose_dag_cannot_run_says_which_airflow_it_needs(file, caplog):
    assert DagBag(dag_folder=EXAMPLE_DAGS / f"{file}.py").import_errors == {}
    assert re.findall(r"needs Airflow (\d\.\d)", caplog.text) == ([TOO_NEW[file]] if file in TOO_NEW else [])


def test_without_forms_there_is_a_log_line_and_neither_a_dag_nor_an_import_error(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "airflow.providers.standard.operators.hitl", None)
    bag = DagBag(dag_folder=EXAMPLE_DAGS / "pindo_phone_verification.py")
    assert (bag.dags, bag.import_errors) == ({}, {})
    assert "needs Airflow 3.1 or later and apache-airflow-providers-standard" in caplog.text


def test_its_name_and_its_tags_tell_it_from_others(dag):
    assert dag.dag_display_name.startswith("Pindo: ")
    assert {"pindo", "example"} < set(dag.tags)


def test_the_list_of_dags_says_in_one_short_sentence_what_it_does(dag):
    assert re.fullmatch(r"[A-Z][^.]{20,80}\.", dag.description)


def test_a_group_of_tasks_says_what_it_is(dag):
    for name, group in dag.task_group.get_task_group_dict().items():
        assert name is None or group.tooltip, name  # None: the DAG itself


def test_its_documentation_says_what_it_does_and_how(dag):
    what, *how = dag.doc_md.strip().split("\n\n")
    assert what.endswith(".")
    assert "".join(how).count(".") >= 3


def test_every_param_says_what_it_is_and_has_a_type(dag):
    for name in dag.params:
        param = dag.params.get_param(name)
        assert param.schema["title"], name
        assert param.schema["type"], name
        assert param.description.endswith("."), name


def test_a_param_with_a_list_of_objects_says_so(dag):
    """Else Airflow's form fills in "[object Object]"."""
    for name, value in dag.params.items():
        if isinstance(value, list):
            assert dag.params.get_param(name).schema["items"]["type"] == "object", name


def test_every_task_has_a_name_of_its_own_in_words(dag):
    names = [task.task_display_name for task in dag.tasks]
    assert len(set(names)) == len(names) > 0
    for name in names:
        assert name[0].isupper(), name
        assert "_" not in name
