"""Fixtures of the verify operators' tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_pindo.operators.verify import PindoVerifyCheckOperator, PindoVerifyOperator
from tests.operators.verification import PHONE, Task


@pytest.fixture
def send() -> Callable[..., Task]:
    def make(**arguments: Any) -> Task:
        return Task(lambda: PindoVerifyOperator(task_id="send", number=PHONE, **arguments))

    return make


@pytest.fixture
def check() -> Callable[..., Task]:
    def make(request_id: int | str, code: Any, **arguments: Any) -> Task:
        return Task(
            lambda: PindoVerifyCheckOperator(task_id="check", request_id=request_id, code=code, **arguments)
        )

    return make


@pytest.fixture
def sent(sandbox, send) -> dict[str, Any]:
    """A PIN on the phone: ``request_id`` and ``pin``."""
    return {**send().run(), "pin": sandbox.messages()[-1]["pin"]}


@pytest.fixture
def an_entry_for_each_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an entry of the bulk ledger cover one chunk, so that a few recipients make several entries."""
    monkeypatch.setattr("airflow_provider_pindo._bulk.bulk_ledger.ROWS_PER_ENTRY", 1)
