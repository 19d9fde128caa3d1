"""The one door to Airflow's task state store."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from airflow_provider_pindo._ledger.entry import Entry, read_entry

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

log = logging.getLogger(__name__)

#: How often, and with which pauses in seconds, "it was sent" is written before giving up on it.
_WRITE_PAUSES = (0.5, 1.0, 2.0)


class Ledger:
    """The ledger's entry of one task instance.

    :param context: the task's context.
    :param key: name of the entry, as the Task State Store shows it.
    """

    def __init__(self, context: Context, key: str) -> None:
        self.key = key
        self._store: Any = context.get("task_state_store")
        #: The current go: Airflow sets max_tries anew when a person clears a task that has ended, and not on a
        #: retry (airflow.models.taskinstance.clear_task_instances). A task cleared while it runs stays in its
        #: go, and so does one whose `retries` were lowered by just as many as it had tries.
        self.generation: int = context["ti"].max_tries
        if self._store is None:
            log.warning(
                "This Airflow has no task state store (it came with 3.3): a task that was killed while it sent "
                "cannot be told from one that never started, so its retry sends again"
            )
        elif _is_cleared_on_success():
            log.warning(
                "[state_store] clear_on_success is on: Airflow forgets what this task sent as soon as it "
                "succeeds, so clearing it sends again"
            )

    @property
    def is_kept(self) -> bool:
        """Whether this Airflow keeps what is written."""
        return self._store is not None

    def read(self) -> Entry | None:
        """Return the entry, as the task wrote it or as a person settled it; None when there is none."""
        return read_entry(self.read_value(self.key), self.key)

    def write(self, entry: Entry) -> None:
        """Write the entry; raises when Airflow does not take it."""
        self.write_value(self.key, asdict(entry))

    def write_outcome(self, entry: Entry) -> None:
        """Write what came of the request, and go on when that fails; see :meth:`write_value_after`."""
        self.write_value_after(self.key, asdict(entry))

    def read_value(self, key: str) -> Any:
        """Return what stands under ``key``; None when nothing does."""
        return None if self._store is None else self._store.get(key)

    def write_value(self, key: str, value: dict[str, Any]) -> None:
        """Write ``value`` under ``key``, never to expire; raises when Airflow does not take it."""
        if self._store is not None:
            from airflow.sdk.execution_time.context import NEVER_EXPIRE

            self._store.set(key, value, retention=NEVER_EXPIRE)

    def write_value_after(self, key: str, value: dict[str, Any]) -> None:
        """Write what came of a request, and go on when that fails.

        It has happened, and the task's own end says more than that the ledger was out of reach: the entry
        then stays unknown, which sends nothing by itself either.
        """
        for pause in (*_WRITE_PAUSES, None):
            try:
                return self.write_value(key, value)
            except Exception as error:
                if pause is None:
                    log.warning(
                        "The ledger was not written (%s): what came of the request stays unknown there", error
                    )
                else:
                    time.sleep(pause)
        return None


def _is_cleared_on_success() -> bool:
    from airflow.providers.common.compat.sdk import conf

    return bool(conf.getboolean("state_store", "clear_on_success", fallback=False))
