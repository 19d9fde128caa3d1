"""The example that asks patients for a reply with a code: each patient of a run has a different code."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pendulum
import pytest

from demo.deployment import EXAMPLE_DAGS

try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:  # Airflow 2.11
    from airflow.models.dagbag import DagBag


def codes(count: int) -> list[str]:
    """Return the codes of ``count`` patients."""
    bag = DagBag(dag_folder=EXAMPLE_DAGS / "pindo_confirm_appointment.py")
    write_questions = bag.dags["pindo_confirm_appointment"].get_task("write_questions").python_callable
    patients = [{"name": "A", "to": f"+25078{row:07}", "time": "09:00"} for row in range(count)]
    run = SimpleNamespace(run_id="run", run_after=pendulum.now("UTC"))
    questions = write_questions(params={"patients": patients}, dag_run=run)
    return [re.search(r"YES (\d+) or NO \1\b", each["text"])[1] for each in questions]


# Without enough codes, the search for a free code would not end.
@pytest.mark.timeout(60)
@pytest.mark.parametrize(("patients", "digits"), [(3, 4), (999, 4), (1000, 5), (9_001, 5), (10_000, 6)])
def test_each_patient_has_a_code_of_their_own_however_many_there_are(patients, digits):
    given = codes(patients)
    assert len(set(given)) == patients
    assert {len(code) for code in given} == {digits}
