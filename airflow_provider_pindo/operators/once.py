"""An operator that makes one request which must not happen twice.

The ledger decides (:func:`~airflow_provider_pindo._ledger.entry.decide`), this class carries it out:
write, send, write, and turn what went wrong into what Airflow should do about it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowException

from airflow_provider_pindo._ledger.entry import (
    NOT_SENT,
    SENT,
    UNKNOWN,
    Action,
    Entry,
    decide,
    fingerprint,
    tell_how_to_settle,
)
from airflow_provider_pindo._ledger.transaction import RequestLedger
from airflow_provider_pindo.api.arguments import check_choice, read_flag
from airflow_provider_pindo.api.errors import (
    PindoConfigurationError,
    PindoError,
    PindoUnknownOutcomeError,
)
from airflow_provider_pindo.api.json_safe import json_safe
from airflow_provider_pindo.api.phone import mask_phone_number
from airflow_provider_pindo.operators.base import (
    PindoOperator,
    fail_without_retry,
    unknown_outcome_after_send,
)

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

ON_UNKNOWN = ("fail", "resend", "accept")


@dataclass(frozen=True, slots=True)
class OnceRequest:
    """The one request of a task, checked and ready to go.

    :param recipient: E.164 number that it reaches.
    :param identity: what makes it this request and not another; a later try with another identity is refused.
    :param send: makes the request; returns the task's result, which need not be storable.
    """

    recipient: str
    identity: tuple[str, ...]
    send: Callable[[], dict[str, Any]]


class EndedBeforeSending(BaseException):
    """The task was told to end before its request had left."""


class PindoOnceOperator(PindoOperator):
    """Base of the operators that text somebody once.

    :param on_unknown: ``fail``, ``resend`` or ``accept``: what to do when nobody knows whether it was sent.
    :param resend: send again when a person clears the task after it has sent; not for an unknown outcome.
    """

    template_fields: Sequence[str] = ("on_unknown", "resend", *PindoOperator.template_fields)

    #: Name of the ledger's entry, as the Task State Store shows it.
    ledger_key: str
    #: What the task sends, in its messages.
    what: str
    #: Key of the recipient in the result.
    recipient_key: str
    #: The words by which a person settles an unknown outcome.
    settled_by: tuple[str, ...] = (SENT, NOT_SENT)

    _ledger: RequestLedger

    def __init__(
        self,
        *,
        on_unknown: str = "fail",
        resend: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.on_unknown = on_unknown
        self.resend = resend
        #: What the task returned, for its link button.
        self.result: dict[str, Any] | None = None
        self._is_sending = self._is_to_end = False

    def prepare(self) -> OnceRequest:
        """Check the input and return the request; nothing is sent yet."""
        raise NotImplementedError

    def execute(self, context: Context) -> dict[str, Any]:
        """Make the request, or return what an earlier try of this task got for it."""
        with self.hook, fail_without_retry():
            on_unknown = check_choice("on_unknown", self.on_unknown, ON_UNKNOWN)
            resend = read_flag("resend", self.resend)
            request = self.prepare()
            ledger = self._ledger = RequestLedger(context, self.ledger_key)
            planned = Entry(
                UNKNOWN,
                input=fingerprint(*request.identity),
                generation=ledger.generation,
                to=mask_phone_number(request.recipient),
            )
            entry = self._seen(ledger.read(), planned)
            action = decide(entry, planned, ledger.generation, on_unknown=on_unknown, resend=resend)
            if action is Action.SEND:
                self.result = self._send(request, planned, before=entry)
            else:
                self.result = self._skip_send(action, request, entry or planned)
            return self.result

    def _seen(self, entry: Entry | None, planned: Entry) -> Entry | None:
        """Return the entry; write it down as this go's when a person has settled it as sent.

        They may have done so before a clear or before a retry, which look the same from here: so `resend` takes
        effect only at the clear after this.
        """
        if entry is None or entry.status != SENT or None not in (entry.generation, entry.result):
            return entry
        seen = replace(
            entry,
            input=entry.input or planned.input,
            generation=planned.generation,
            to=entry.to or planned.to,
            result=entry.result or {},
        )
        self._ledger.write(seen)
        self.log.info(
            "A person has settled the entry %r as sent. (Were resend on, it would act from the next clear on)",
            self.ledger_key,
        )
        return seen

    def on_kill(self) -> None:
        """End the task before its request leaves, at once if it waits to; one that has left is waited for."""
        self._is_to_end = True
        if self._is_sending and not self.hook.request_left():
            raise EndedBeforeSending

    def _send(self, request: OnceRequest, planned: Entry, *, before: Entry | None) -> dict[str, Any]:
        self._ledger.write(planned)
        # What the ledger goes back to when this request certainly did not get through.
        as_before = (
            replace(planned, status=NOT_SENT) if before is None or before.status == NOT_SENT else before
        )
        try:
            result = self._make(request)
        except PindoUnknownOutcomeError as error:
            return self._unknown(request, error)
        except PindoError:
            self._ledger.write_outcome(as_before)
            raise
        except BaseException as error:  # the task is being timed out or ended, or nothing has left
            if not self.hook.request_left():
                self._ledger.write_outcome(as_before)
            elif not self._ledger.is_kept:  # nothing but this keeps a retry from sending again
                raise PindoUnknownOutcomeError(
                    f"the task was ended ({type(error).__name__}) while it sent the {self.what} to {planned.to}, "
                    f"which may have gone out. {self._how_to_settle(request)}"
                ) from None
            raise
        self._ledger.write_outcome(replace(planned, status=SENT, result=result))
        self.log.info("Pindo took the %s to %s", self.what, planned.to)
        return result

    def _make(self, request: OnceRequest) -> dict[str, Any]:
        """Make the request; whatever error comes up once it has left is an unknown outcome."""
        may_be = f"the {self.what} to {mask_phone_number(request.recipient)} may have gone out"
        try:
            self._is_sending = True
            if self._is_to_end:
                raise EndedBeforeSending
            with unknown_outcome_after_send(self.hook, may_be):
                result: dict[str, Any] = json_safe(request.send())
            return result
        finally:
            self._is_sending = False

    def _unknown(self, request: OnceRequest, error: PindoUnknownOutcomeError) -> dict[str, Any]:
        if self.on_unknown == "accept":
            self.log.warning("%s. Counted as sent, as on_unknown says", error)
            return self._result_without_receipt(request, UNKNOWN)
        if self.on_unknown == "resend":
            raise AirflowException(f"{error}. The next try sends it again, as on_unknown says") from error
        raise self._unsettled(str(error), request) from error

    def _skip_send(self, action: Action, request: OnceRequest, entry: Entry) -> dict[str, Any]:
        shown = entry.to or mask_phone_number(request.recipient)
        if action is Action.RETURN_RESULT:
            self.log.warning(
                "The %s to %s was sent before: nothing is sent now, and the first result is returned. To send "
                "again, clear the task with resend=True",
                self.what,
                shown,
            )
            return entry.result or self._result_without_receipt(request, SENT)
        if action is Action.ACCEPT_UNKNOWN:
            self.log.warning("Nobody knows whether the %s reached %s; counted as sent", self.what, shown)
            return self._result_without_receipt(request, UNKNOWN)
        if action is Action.FAIL_CHANGED:
            clear = (
                "clear the task with resend=True"
                if entry.status == SENT
                else f"{self._change_status('not_sent')}, and clear the task"
            )
            raise PindoConfigurationError(
                f"this task has sent, or may have sent, another {self.what} before (to {shown}); its input has "
                f"changed since, and nothing is sent now. If the new one is to go out as well, {clear}; if not, "
                "mark it as success"
            )
        raise self._unsettled(
            f"an earlier try of this task was cut off while it sent the {self.what} to {shown}, which may have "
            "gone out",
            request,
        )

    def _unsettled(self, why: str, request: OnceRequest) -> PindoUnknownOutcomeError:
        """Return the error for what a person has to settle."""
        if self._ledger.is_kept:
            tell_how_to_settle(self.ledger_key, *self.settled_by)
        return PindoUnknownOutcomeError(f"{why}. {self._how_to_settle(request)}")

    def _result_without_receipt(self, request: OnceRequest, status: str) -> dict[str, Any]:
        return {"status": status, self.recipient_key: request.recipient}

    def _how_to_settle(self, request: OnceRequest) -> str:
        find_out = (
            f"Find out whether {mask_phone_number(request.recipient)} got it (Pindo's dashboard shows it)"
        )
        if not self._ledger.is_kept:
            return f"{find_out}: if so, mark the task as success; if not, clear it, which sends again"
        return f"{find_out}, then {self._change_status(*self.settled_by)}, and clear the task"

    def _change_status(self, *words: str) -> str:
        return (
            "open the Storage tab of this task instance, in its Task State Store change the status of the entry "
            f"{self.ledger_key!r} from 'unknown' to {' or '.join(map(repr, words))}"
        )
