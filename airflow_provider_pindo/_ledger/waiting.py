"""What a waiting task keeps from one process to the next: its first start, and its consecutive failures.

Airflow 3.3 and later keep both over retries, reschedules and clears. On an older Airflow the start of the run
stands for that of the task, and failures are forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_pindo._ledger.store import TaskStateStore
from airflow_provider_pindo.api.arguments import read_since
from airflow_provider_pindo.api.errors import PindoConfigurationError

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class WaitingMemory:
    """The entry of one task instance: ``{"first_start": ISO time, "failures": count}``.

    :param context: the task's context.
    :param key: name of the entry, as the Task State Store shows it.
    """

    def __init__(self, context: Context, key: str) -> None:
        self._context = context
        self._key = key
        self._store = TaskStateStore(context)
        stored = self._store.get(key)
        self._entry: dict[str, Any] = dict(stored) if isinstance(stored, Mapping) else {}

    def first_start(self) -> datetime:
        """Return when this task first started, and store it for a retry or a clear."""
        if not self._store.is_kept:
            run_start = self._context["dag_run"].start_date
            return datetime.now(UTC) if run_start is None else run_start
        if "first_start" not in self._entry:
            started = self._context["ti"].start_date or datetime.now(UTC)
            self._write(first_start=started.isoformat())
        try:
            return read_since(self._entry["first_start"])
        except PindoConfigurationError:
            raise PindoConfigurationError(
                f"first_start in the entry {self._key!r} of the Task State Store (in this task instance's Storage "
                f"tab) is {self._entry['first_start']!r}, which is not a time with a zone\n"
                "Write a time with a zone, such as 2026-11-24T08:00:00+02:00. Or delete the entry: then only messages "
                "from now on count"
            ) from None

    @property
    def failures(self) -> int:
        """How many polls have failed in a row."""
        failures = self._entry.get("failures")
        return failures if isinstance(failures, int) else 0

    def keep_failures(self, failures: int) -> None:
        """Store the number of failures for the next process."""
        if failures != self.failures:
            self._write(failures=failures)

    def _write(self, **values: Any) -> None:
        self._entry |= values
        self._store.set(self._key, self._entry)
