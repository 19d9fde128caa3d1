"""
An operator that makes one request which must not happen twice.

The ledger decides (:func:`~airflow_provider_pindo.operators.ledger.decide`), this class carries it out:
write, send, write, and turn what went wrong into what Airflow should do about it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException, BaseOperator

from airflow_provider_pindo.api.errors import PindoConfigurationError, PindoError, PindoUnknownOutcomeError
from airflow_provider_pindo.api.phone import mask_phone_number
from airflow_provider_pindo.operators.ledger import (
    NOT_SENT,
    SENT,
    UNKNOWN,
    Action,
    Entry,
    Ledger,
    decide,
    fingerprint,
)

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_pindo.hooks.pindo import PindoHook

ON_UNKNOWN = ("fail", "resend", "accept")


@dataclass(frozen=True, slots=True)
class OnceRequest:
    """
    The one request of a task, checked and ready to go.

    :param recipient: E.164 number that it reaches.
    :param identity: what makes it this request and not another; a later try with another identity is refused.
    :param send: makes the request; returns the task's result.
    """

    recipient: str
    identity: tuple[str, ...]
    send: Callable[[], dict[str, Any]]


class EndedBeforeSending(BaseException):
    """The task was told to end while its request still waited to leave."""


class PindoOnceOperator(BaseOperator):
    """
    Base of the operators that text somebody once.

    :param on_unknown: ``fail``, ``resend`` or ``accept``: what to do when nobody knows whether it was sent.
    :param resend: send again when a person clears the task after it has sent; not for an unknown outcome.
    :param pindo_conn_id: Airflow connection of type ``pindo``.
    """

    template_fields: Sequence[str] = ("on_unknown", "resend", "pindo_conn_id")

    #: Name of the ledger's entry, as the Task State tab shows it.
    ledger_key: str
    #: What the task sends, in its messages.
    what: str
    #: Key of the recipient in the result.
    recipient_key: str

    _ledger: Ledger

    def __init__(
        self,
        *,
        on_unknown: str = "fail",
        resend: bool | str = False,
        pindo_conn_id: str = "pindo_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.on_unknown = on_unknown
        self.resend = resend
        self.pindo_conn_id = pindo_conn_id
        #: What the task returned, for its link button.
        self.result: dict[str, Any] | None = None
        self._is_sending = False

    @cached_property
    def hook(self) -> PindoHook:
        """The hook of this task's connection."""
        from airflow_provider_pindo.hooks.pindo import PindoHook

        return PindoHook(self.pindo_conn_id)

    def prepare(self) -> OnceRequest:
        """Check the input and return the request; nothing is sent yet."""
        raise NotImplementedError

    def execute(self, context: Context) -> dict[str, Any]:
        """Make the request, or return what an earlier try of this task got for it."""
        with self.hook, no_retry_where_it_cannot_help():
            on_unknown, resend = read_choice("on_unknown", self.on_unknown, ON_UNKNOWN), self._resend()
            request = self.prepare()
            ledger = self._ledger = Ledger(context, self.ledger_key)
            planned = Entry(
                UNKNOWN,
                input=fingerprint(*request.identity),
                go=ledger.go,
                to=mask_phone_number(request.recipient),
            )
            entry = ledger.read()
            action = decide(entry, planned, ledger.go, on_unknown=on_unknown, resend=resend)
            if action is Action.SEND:
                self.result = self._send(request, planned, before=entry)
            else:
                self.result = self._keep_silent(action, request, entry or planned)
            return self.result

    def _resend(self) -> bool:
        return read_flag("resend", self.resend)

    def on_kill(self) -> None:
        """End the task at once if its request still waits to leave; one that has left is waited for."""
        if self._is_sending and not self.hook.request_left():
            raise EndedBeforeSending

    def _send(self, request: OnceRequest, planned: Entry, *, before: Entry | None) -> dict[str, Any]:
        self._ledger.write(planned)
        # What the ledger goes back to when this request certainly did not get through.
        as_before = (
            replace(planned, status=NOT_SENT) if before is None or before.status == NOT_SENT else before
        )
        try:
            self._is_sending = True
            result = request.send()
        except PindoUnknownOutcomeError as error:
            return self._unknown(request, error)
        except PindoError:
            self._ledger.write_outcome(as_before)
            raise
        except BaseException as error:  # the task is being timed out or ended
            self._is_sending = False
            if not self.hook.request_left():
                self._ledger.write_outcome(as_before)
            elif not self._ledger.is_kept:  # nothing but this keeps a retry from sending again
                raise PindoUnknownOutcomeError(
                    f"the task was ended while it sent the {self.what} to {planned.to}, which may have gone out. "
                    f"{self._how_to_settle(request)}"
                ) from error
            raise
        finally:
            self._is_sending = False
        self._ledger.write_outcome(replace(planned, status=SENT, result=result))
        self.log.info("Pindo took the %s to %s", self.what, planned.to)
        return result

    def _unknown(self, request: OnceRequest, error: PindoUnknownOutcomeError) -> dict[str, Any]:
        if self.on_unknown == "accept":
            self.log.warning("%s. Counted as sent, as on_unknown says", error)
            return self._result_without_receipt(request, UNKNOWN)
        if self.on_unknown == "resend":
            raise AirflowException(f"{error}. The next try sends it again, as on_unknown says") from error
        raise PindoUnknownOutcomeError(f"{error}. {self._how_to_settle(request)}") from error

    def _keep_silent(self, action: Action, request: OnceRequest, entry: Entry) -> dict[str, Any]:
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
            raise PindoConfigurationError(
                f"this task has sent, or may have sent, another {self.what} before (to {shown}); its input has "
                "changed since, and nothing is sent now. If the new one is to go out as well, clear the task "
                "with resend=True; if not, mark it as success"
            )
        raise PindoUnknownOutcomeError(
            f"an earlier try of this task was cut off while it sent the {self.what} to {shown}, which may have "
            f"gone out. {self._how_to_settle(request)}"
        )

    def _result_without_receipt(self, request: OnceRequest, status: str) -> dict[str, Any]:
        return {"status": status, self.recipient_key: request.recipient}

    def _how_to_settle(self, request: OnceRequest) -> str:
        find_out = (
            f"Find out whether {mask_phone_number(request.recipient)} got it (Pindo's dashboard shows it)"
        )
        if not self._ledger.is_kept:
            return f"{find_out}: if so, mark the task as success; if not, clear it, which sends again"
        return (
            f"{find_out}, then open the Task State tab of this task instance, change 'unknown' in the entry "
            f"{self.ledger_key!r} to 'sent' or 'not_sent', and clear the task"
        )


def read_flag(name: str, value: object) -> bool:
    """Return a flag that a template may have given as text: ``"False"`` is false."""
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    word = str(value).strip().lower()
    if word in ("", "none"):
        return False
    if word not in words:
        raise PindoConfigurationError(f"{name} is {value!r}: give True or False")
    return words[word]


def read_choice(name: str, value: str, choices: Sequence[str]) -> str:
    """Return ``value``, or refuse what is none of ``choices``."""
    if value not in choices:
        raise PindoConfigurationError(f"{name} is {value!r}: give one of {', '.join(choices)}")
    return value


@contextmanager
def no_retry_where_it_cannot_help() -> Iterator[None]:
    """Turn the errors that a retry cannot mend into ``AirflowFailException``, with the cause kept."""
    try:
        yield
    except PindoError as error:
        if error.retry_helps:
            raise
        raise AirflowFailException(str(error)) from error
