"""The pytest plugin: the fixture ``pindo_sandbox``.

pytest imports this module in every run, so it loads nothing until a test asks for the fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from airflow_provider_pindo.sandbox.runner import Sandbox


@pytest.fixture
def pindo_sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A Pindo for this test alone. The connection ``pindo_default`` points to it, and has a sender."""
    from airflow_provider_pindo.sandbox.runner import Sandbox

    with Sandbox() as sandbox:
        monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", sandbox.connection_json())
        yield sandbox
