"""What the Airflow that runs the tests has, and why a test is skipped on one that has less."""

from __future__ import annotations

import pytest
from airflow.providers.common.compat.version_compat import (
    AIRFLOW_V_3_0_PLUS,
    AIRFLOW_V_3_2_PLUS,
    AIRFLOW_V_3_3_PLUS,
)

#: Whether Airflow keeps what a task writes. Parked tasks and shared streams came with the same version.
HAS_STORE = AIRFLOW_V_3_3_PLUS
NO_STORE = "Airflow before 3.3 has no task state store"
_IS_3_0_TO_3_2 = AIRFLOW_V_3_0_PLUS and not AIRFLOW_V_3_3_PLUS

needs_store = pytest.mark.skipif(not HAS_STORE, reason=NO_STORE)
needs_local_scheme = pytest.mark.skipif(not AIRFLOW_V_3_0_PLUS, reason="local:// came with Airflow 3")
needs_teams = pytest.mark.skipif(not AIRFLOW_V_3_2_PLUS, reason="[core] multi_team came with Airflow 3.2")
needs_throttle = pytest.mark.skipif(
    _IS_3_0_TO_3_2, reason="Airflow 3.0 to 3.2 cannot list Variables, so there is no throttle"
)
needs_exception_in_callbacks = pytest.mark.skipif(
    _IS_3_0_TO_3_2, reason="dag.test() of Airflow 3.0 to 3.2 gives callbacks no exception, unlike a worker"
)
needs_broken_connections = pytest.mark.skipif(
    _IS_3_0_TO_3_2, reason="Airflow 3.0 to 3.2 says that a connection with a broken extra is not there"
)
needs_form_in_every_process = pytest.mark.skipif(
    _IS_3_0_TO_3_2,
    reason="Airflow 3.0 to 3.2 builds the form in the API server alone, where FAB is not installed",
)
