"""The common part of all operators: the connection, its hook, and how an error ends the task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowFailException, BaseOperator

from airflow_provider_pindo._templates import TextFields
from airflow_provider_pindo.api.errors import PindoError
from airflow_provider_pindo.api.limits import DEFAULT_CONN_ID

if TYPE_CHECKING:
    from airflow_provider_pindo.hooks.pindo import PindoHook


class PindoOperator(TextFields, BaseOperator):
    """Base of the operators.

    :param pindo_conn_id: Airflow connection of type ``pindo``.
    """

    template_fields: Sequence[str] = ("pindo_conn_id",)
    ui_color = "#e6f4ee"

    def __init__(self, *, pindo_conn_id: str = DEFAULT_CONN_ID, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pindo_conn_id = pindo_conn_id

    @cached_property
    def hook(self) -> PindoHook:
        """The hook of this task's connection."""
        from airflow_provider_pindo.hooks.pindo import PindoHook

        return PindoHook(self.pindo_conn_id)


@contextmanager
def fail_without_retry() -> Iterator[None]:
    """Turn each error that a retry cannot fix into ``AirflowFailException``, with the same message.

    The error itself is the exception's ``__context__``. As its cause, it would stand in the log a second time.
    """
    try:
        yield
    except PindoError as error:
        if error.retry_helps:
            raise
        raise AirflowFailException(str(error)).with_traceback(error.__traceback__) from None
