"""The common part of the triggers that a deferred task waits with."""

from __future__ import annotations

from collections.abc import AsyncIterator

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_pindo.api.errors import PindoError
from airflow_provider_pindo.api.redaction import safe_message

#: ``status`` of the event that resumes a task.
MATCHED = "matched"
FAILED = "failed"
#: Seconds before a trigger fires, at least. Airflow may take a task for dead that resumes right after it was deferred.
MIN_WAIT = 2.0


class TaskTrigger(BaseTrigger):
    """Waits, and fires one event: what :meth:`wait` returns, or why the wait ended with an error."""

    #: What it waits for, for its error.
    waits_for: str

    async def wait(self) -> TriggerEvent:
        """Wait, and return the event that resumes the task.

        :raises PindoError: the wait has ended with an error.
        """
        raise NotImplementedError

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and fire one event."""
        try:
            event = await self.wait()
        except PindoError as error:
            event = TriggerEvent({"status": FAILED, "reason": str(error), "retry_helps": error.retry_helps})
        except Exception as error:
            # Airflow skips a task with soft_fail when its trigger crashes, although a reply may have arrived.
            reason = f"waiting for {self.waits_for} failed: {safe_message(error)}"
            self.log.error("%s", reason)
            event = TriggerEvent({"status": FAILED, "reason": reason, "retry_helps": True})
        yield event
