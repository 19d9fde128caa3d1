"""Airflow's task state store. No other module touches it.

Airflow 3.3 and later keep its values for each task instance (DAG, run, task and map index) over retries, crashes,
deferrals and clears. Values are written without expiry; Airflow deletes them with the DAG run. An older Airflow has
no such store: nothing is kept there, and every read returns None.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from airflow_provider_pindo.api.redaction import mask_error

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

log = logging.getLogger(__name__)

#: Seconds between the attempts to write an outcome.
_WRITE_PAUSES = (0.5, 1.0, 2.0)


class TaskStateStore:
    """The values of one task instance.

    :param context: the task's context.
    """

    def __init__(self, context: Context) -> None:
        self._store: Any = context.get("task_state_store")

    @property
    def is_kept(self) -> bool:
        """Whether this Airflow keeps what is written."""
        return self._store is not None

    def get(self, key: str) -> Any:
        """Return the value of ``key``; None when it has no value."""
        return None if self._store is None else self._store.get(key)

    def set(self, key: str, value: dict[str, Any]) -> None:
        """Write ``value`` without expiry.

        :raises Exception: Airflow did not store it.
        """
        if self._store is not None:
            from airflow.sdk.execution_time.context import NEVER_EXPIRE

            self._store.set(key, value, retention=NEVER_EXPIRE)


class Ledger(TaskStateStore):
    """The store as the record of what a task sent. Logs a warning when Airflow will forget it.

    :param context: the task's context.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        #: The task's generation. Airflow raises max_tries when a person clears a task that has ended, and not at a
        #: retry (airflow.models.taskinstance.clear_task_instances). Two clears keep the generation: that of a running
        #: task, and that of a task whose `retries` were lowered by as many as it had tries.
        self.generation: int = context["ti"].max_tries
        if not self.is_kept:
            log.warning(
                "This Airflow has no task state store (it came with 3.3). The retry of a task that was killed while it "
                "sent cannot know that, and sends again"
            )
        elif _is_cleared_on_success():
            log.warning(
                "[state_store] clear_on_success is on: Airflow forgets what this task sent as soon as it "
                "succeeds, so clearing it sends again"
            )

    def get(self, key: str) -> Any:
        """Return the value of ``key``; None when it has no value.

        :raises AirflowException: Airflow cannot read it now. Then no request may be made; a retry may help.
        """
        from airflow.providers.common.compat.sdk import AirflowException

        try:
            return super().get(key)
        except Exception as error:
            why = mask_error(error).rstrip(".")
            raise AirflowException(
                f"The ledger cannot be read ({why}), so nothing is sent now.\nThe next try reads it again."
            ) from None

    def set_planned(self, key: str, value: dict[str, Any]) -> None:
        """Write what the task is about to do, before its first request.

        :raises AirflowException: Airflow did not store it. Then no request may be made; a retry may help.
        """
        from airflow.providers.common.compat.sdk import AirflowException

        try:
            self.set(key, value)
        except Exception as error:
            why = mask_error(error).rstrip(".")
            raise AirflowException(
                f"The ledger cannot be written ({why}), so nothing is sent now.\nThe next try sends, unless Airflow "
                "stored the entry after all. Then a single request counts as unknown."
            ) from None

    def set_outcome(self, key: str, value: dict[str, Any]) -> None:
        """Write the outcome of a request; log a warning when Airflow does not store it.

        The request was made, so a failed write must not hide its result. The entry then stays unknown, and a later try
        sends nothing.
        """
        for pause in (*_WRITE_PAUSES, None):
            try:
                self.set(key, value)
            except Exception as error:
                if pause is None:
                    log.warning(
                        "The ledger was not written (%s): the outcome stays unknown there", mask_error(error)
                    )
                else:
                    time.sleep(pause)
            else:
                return


def _is_cleared_on_success() -> bool:
    from airflow.providers.common.compat.sdk import conf

    return bool(conf.getboolean("state_store", "clear_on_success", fallback=False))
