"""What every operator here has: the connection, its hook, and how an error ends the task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowFailException, BaseOperator

from airflow_provider_pindo.api.errors import PindoError, PindoUnknownOutcomeError
from airflow_provider_pindo.api.redaction import safe_message

if TYPE_CHECKING:
    from airflow_provider_pindo.hooks.pindo import PindoHook


class PindoOperator(BaseOperator):
    """Base of the operators.

    :param pindo_conn_id: Airflow connection of type ``pindo``.
    """

    template_fields: Sequence[str] = ("pindo_conn_id",)
    ui_color = "#e6f4ee"

    def __init__(self, *, pindo_conn_id: str = "pindo_default", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pindo_conn_id = pindo_conn_id

    @cached_property
    def hook(self) -> PindoHook:
        """The hook of this task's connection."""
        from airflow_provider_pindo.hooks.pindo import PindoHook

        return PindoHook(self.pindo_conn_id)


@contextmanager
def unknown_outcome_after_send(hook: PindoHook, what: str) -> Iterator[None]:
    """Turn an error that is none of Pindo's, a library's or a mistake of ours, into an unknown outcome.

    Before the request has left it stays what it is. Afterwards it is told without its own words, which may be of the
    answer: Airflow would log them.

    :param what: what may have been done, for the message.
    """
    try:
        yield
    except PindoError:
        raise
    except Exception as error:
        if not hook.request_left():
            raise
        raise PindoUnknownOutcomeError(
            f"{safe_message(error)} came up after the request had left: {what}"
        ) from None


@contextmanager
def fail_without_retry() -> Iterator[None]:
    """Turn the errors that a retry cannot mend into ``AirflowFailException``, with the cause kept."""
    try:
        yield
    except PindoError as error:
        if error.retry_helps:
            raise
        raise AirflowFailException(str(error)) from error
