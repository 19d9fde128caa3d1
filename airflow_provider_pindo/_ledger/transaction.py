"""One protocol for a task that makes a single request: write *unknown*, send, write the outcome."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_pindo._ledger.entry import NOT_SENT, REJECTED, SENT, Entry, read_entry
from airflow_provider_pindo._ledger.store import Ledger
from airflow_provider_pindo.api.errors import PindoError, PindoRejectedError, PindoUnknownOutcomeError
from airflow_provider_pindo.api.redaction import safe_message

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class Client(Protocol):
    """What makes the request: a hook."""

    def request_sent(self) -> bool:
        """Return whether the latest request was sent, so that its outcome may be unknown."""


@dataclass(slots=True)
class Transaction:
    """One request.

    :ivar result: what the request returned, for the ledger.
    """

    result: dict[str, Any] = field(default_factory=dict)


class RequestLedger(Ledger):
    """The entry of a task that makes a single request.

    :param context: the task's context.
    :param key: name of the entry, as the Task State Store shows it.
    """

    def __init__(self, context: Context, key: str) -> None:
        super().__init__(context)
        self.key = key

    def read(self) -> Entry | None:
        """Return the entry, as a task or a person wrote it; None when it does not exist."""
        return read_entry(self.get(self.key), self.key)

    def write(self, entry: Entry) -> None:
        """Write the entry.

        :raises Exception: Airflow did not store it.
        """
        self.set(self.key, entry.to_value())

    def write_outcome(self, entry: Entry) -> None:
        """Write the outcome of the request; log a warning when Airflow does not store it."""
        self.set_outcome(self.key, entry.to_value())

    @contextmanager
    def transaction(
        self, planned: Entry, hook: Client, *, if_lost: str, before: Entry | None = None
    ) -> Iterator[Transaction]:
        """Record one request: ``with ledger.transaction(…) as tx: tx.result = send()``.

        What the block raises decides what is written:

        - Nothing: *sent*, with ``tx.result``.
        - :class:`PindoUnknownOutcomeError`: *unknown*, with the reason.
        - Any other :class:`PindoError`, or anything before the request was sent: ``before``, if that is *sent* or
          *unknown*. Else *not sent*, with the reason if Pindo rejected the request.
        - Another exception after the request was sent: *unknown*, raised as :class:`PindoUnknownOutcomeError`. Only its
          type is reported, since its message may quote the response.
        - A timeout or a kill after the request was sent: *unknown*, raised unchanged.

        The block must make only one request, since the hook knows only whether its latest one was sent.

        :param planned: the entry to write before the request, with the status *unknown*.
        :param hook: what makes the request.
        :param if_lost: what may have happened, for the error of an unknown outcome.
        :param before: the entry of an earlier request; None at the first try.
        :raises AirflowException: Airflow did not store ``planned``; nothing was sent.
        """
        self.set_planned(self.key, planned.to_value())
        if before is None or before.status == NOT_SENT:
            before = replace(planned, status=NOT_SENT)
        transaction = Transaction()
        try:
            yield transaction
        except PindoUnknownOutcomeError as error:
            self.write_outcome(replace(planned, reason=error.why))
            raise
        except BaseException as error:
            if isinstance(error, PindoError) or not hook.request_sent():
                self.write_outcome(_after_failure(before, error))
            elif isinstance(error, Exception):
                why = f"{safe_message(error)} was raised after the request was sent"
                self.write_outcome(replace(planned, reason=why))
                raise PindoUnknownOutcomeError(f"{why}: {if_lost}", summary=why) from None
            raise
        self.write_outcome(replace(planned, status=SENT, result=transaction.result))


def _after_failure(before: Entry, error: BaseException) -> Entry:
    """Return the entry after a request that sent nothing."""
    if before.status != NOT_SENT or not isinstance(error, PindoRejectedError):
        return before
    reason = " ".join(str(part) for part in (error.status, error.reason) if part)
    return replace(before, outcome=REJECTED, reason=reason)
