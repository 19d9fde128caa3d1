"""An event that carries messages and does not show them: the triggerer logs what a trigger fires."""

from __future__ import annotations

from airflow.triggers.base import TriggerEvent


class MessagesArrived(TriggerEvent):
    """Messages for the DAGs of an asset; only their ids are shown."""

    def __repr__(self) -> str:
        return f"MessagesArrived<messages {', '.join(str(each['id']) for each in self.payload['messages'])}>"

    __str__ = __repr__
