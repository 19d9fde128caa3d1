"""What a waiting task remembers from one process to the next: when it first started, and how often Pindo failed.

Airflow 3.3 keeps it in its task state store, for each task instance over retries, reschedules and clears. An
older Airflow has no such place: there the run's start stands for the task's, and failures are forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_pindo.api.arguments import read_since
from airflow_provider_pindo.api.errors import PindoConfigurationError

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

#: Name of the entry, as the Task State Store shows it.
KEY = "pindo_inbound"


class WaitingMemory:
    """The entry of one task instance: ``{"first_start": ISO time, "failures": count}``.

    :param context: the task's context.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._store: Any = context.get("task_state_store")
        stored = None if self._store is None else self._store.get(KEY)
        self._entry: dict[str, Any] = dict(stored) if isinstance(stored, Mapping) else {}

    def first_start(self) -> datetime:
        """Return when this task first started, and see to it that a retry or a clear finds the same."""
        if self._store is None:
            run_start = self._context["dag_run"].start_date
            return datetime.now(UTC) if run_start is None else run_start
        if "first_start" not in self._entry:
            started = self._context["ti"].start_date or datetime.now(UTC)
            self._write(first_start=started.isoformat())
        try:
            return read_since(self._entry["first_start"])
        except PindoConfigurationError:
            raise PindoConfigurationError(
                f"first_start in the entry {KEY!r} of the Task State Store (the Storage tab of this task instance) is "
                f"{self._entry['first_start']!r}, no time with a zone: put it back, such as 2026-11-24T08:00:00+02:00, "
                "or delete the entry, and messages from now on count"
            ) from None

    @property
    def failures(self) -> int:
        """How many looks at the list have failed in a row."""
        failures = self._entry.get("failures")
        return failures if isinstance(failures, int) else 0

    def keep_failures(self, failures: int) -> None:
        """Remember the failures for the next process."""
        if self._store is not None and failures != self.failures:
            self._write(failures=failures)

    def _write(self, **values: Any) -> None:
        from airflow.sdk.execution_time.context import NEVER_EXPIRE

        self._entry |= values
        self._store.set(KEY, self._entry, retention=NEVER_EXPIRE)
