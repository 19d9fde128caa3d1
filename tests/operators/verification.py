"""One task instance of a verify operator, run try after try, and what the sandbox saw of it.

A :class:`Task` replaces Airflow: it runs ``execute`` with the task state store, the try numbers and the generations
of Airflow 3.3. The tests in ``tests/e2e`` run the same in a real Airflow.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from airflow_provider_pindo.hooks.pindo import PindoHook
from tests.versions import HAS_STORE

PHONE = "+250781234567"


class Store(dict[str, Any]):
    """What a task instance keeps, as Airflow's task state store does."""

    def set(self, key: str, value: Any, *, retention: Any) -> None:
        self[key] = value


class Task:
    """One task instance.

    :param make: makes the operator anew for each try, as Airflow does.
    """

    def __init__(self, make: Callable[[], Any], *, retries: int = 1) -> None:
        self.make = make
        self.store = Store()
        self.retries = retries
        self.try_number = 0
        self.max_tries = retries

    def run(self) -> Any:
        """Run the first try, or retry."""
        self.try_number += 1
        return self.make().execute(self.context())

    def context(self) -> dict[str, Any]:
        """Return the context of the present try."""
        ti = SimpleNamespace(
            try_number=self.try_number, max_tries=self.max_tries, id="id", log_url="http://airflow/t"
        )
        return {"ti": ti, **({"task_state_store": self.store} if HAS_STORE else {})}

    def clear(self) -> Any:
        """Run again as after a clear."""
        self.max_tries = self.try_number + self.retries
        return self.run()


def checks(sandbox) -> list[int]:
    return [request["status"] for request in sandbox.requests(call="check_verification")]


def state(sandbox, request_id: int) -> str:
    return str(PindoHook().get_verification(request_id).status)
