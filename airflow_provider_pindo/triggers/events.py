"""Events that carry messages and do not show them: the triggerer logs the ``repr`` of what a trigger fires."""

from __future__ import annotations

from typing import Any

from airflow.triggers.base import TaskSuccessEvent, TriggerEvent


class TaskDone(TaskSuccessEvent):
    """Ends the task well; its XComs are not shown."""

    def __repr__(self) -> str:
        return f"TaskDone<{_shown((self.xcoms or {}).get('return_value') or [])}>"

    __str__ = __repr__


class MessagesArrived(TriggerEvent):
    """Messages for the DAGs of an asset; only their ids are shown."""

    def __repr__(self) -> str:
        return f"MessagesArrived<{_shown(self.payload['messages'])}>"

    __str__ = __repr__


def _shown(messages: Any) -> str:
    return "messages " + ", ".join(str(message["id"]) for message in messages)
