"""The common part of operators that make one request, and must not make it twice.

:func:`~airflow_provider_pindo._ledger.entry.decide` decides whether to send.
:meth:`~airflow_provider_pindo._ledger.transaction.RequestLedger.transaction` records the request. This class connects
both to Airflow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import AirflowException, AirflowSkipException

from airflow_provider_pindo._ledger.entry import (
    EXPIRED,
    LEAVE_IT_FAILED,
    NOT_SENT,
    SENT,
    UNKNOWN,
    Action,
    Entry,
    decide,
    fingerprint,
    how_to_settle,
    utc_iso,
)
from airflow_provider_pindo._ledger.transaction import RequestLedger
from airflow_provider_pindo._metrics import count_messages, count_settled, outcome_of
from airflow_provider_pindo._policy.suppression import skip_if_suppressed
from airflow_provider_pindo.api.arguments import read_flag
from airflow_provider_pindo.api.errors import (
    PindoConfigurationError,
    PindoConnectionError,
    PindoError,
    PindoUnknownOutcomeError,
)
from airflow_provider_pindo.api.json_safe import json_safe
from airflow_provider_pindo.api.phone import mask_phone_number
from airflow_provider_pindo.hooks._transport.attempt import Attempt, begin_attempt, current_attempt
from airflow_provider_pindo.operators._ask import Form, FormAnswer, PindoAskingOperator, read_form_answer
from airflow_provider_pindo.operators._base import fail_without_retry
from airflow_provider_pindo.operators._timed import MessageExpired

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

_ARRIVED = "It arrived"
_NOT_ARRIVED = "It did not: send it"
#: What the ledger says after each answer.
_STATUS_AFTER = {_ARRIVED: SENT, _NOT_ARRIVED: NOT_SENT, LEAVE_IT_FAILED: UNKNOWN}


@dataclass(frozen=True, slots=True)
class Message:
    """What the phone gets."""

    text: str
    sender: str


@dataclass(frozen=True, slots=True)
class OnceRequest:
    """The one request of a task, with checked arguments.

    :param recipient: E.164 number that it reaches.
    :param identity: recipient and content. A later try with another identity is refused.
    :param send: makes the request with an attempt, and returns the task's result before :func:`json_safe`.
    :param message: what the phone gets, by which evidence is found; None for a PIN, whose text nobody here knows.
    """

    recipient: str
    identity: tuple[str, ...]
    send: Callable[[Attempt], dict[str, Any]]
    message: Message | None = None

    @property
    def masked_recipient(self) -> str:
        """The recipient, for logs and errors."""
        return mask_phone_number(self.recipient)


class EndedBeforeSending(BaseException):
    """Airflow ended the task before its request was sent."""


class PindoOnceOperator(PindoAskingOperator):
    """Base of the operators that text one person once.

    :param resend: send again when a person clears the task after it has sent. Ignored for an unknown outcome.
    :param respect_suppression: skip the task if the recipient is on the connection's ``suppression_list``.
    """

    template_fields: Sequence[str] = ("resend", *PindoAskingOperator.template_fields)

    #: Name of the ledger's entry, as the Task State Store shows it.
    ledger_key: str
    #: What the task sends, for its messages.
    what: str
    #: What happens after the answer *It arrived*, for the form.
    if_arrived = "the task succeeds and sends nothing."
    #: Key of the recipient in the result.
    recipient_key: str

    _ledger: RequestLedger

    def __init__(
        self,
        *,
        resend: bool | str = False,
        respect_suppression: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.resend = resend
        self.respect_suppression = read_flag("respect_suppression", respect_suppression)
        #: What the task returned, for its link button.
        self.result: dict[str, Any] | None = None
        self._is_sending = self._was_killed = False

    def prepare(self) -> OnceRequest:
        """Check the arguments and return the request; nothing is sent yet."""
        raise NotImplementedError

    def execute(self, context: Context) -> dict[str, Any]:
        """Make the request, or return the result of an earlier try."""
        return self._run(context)

    def execute_answer(self, context: Context, event: Mapping[str, Any], began: str | None) -> dict[str, Any]:
        """Go on with a person's answer.

        :param event: what Airflow says of the answer.
        :param began: when the request began that the question was about.
        """
        return self._run(context, read_form_answer(event), began)

    def execute_evidence(
        self, context: Context, event: Mapping[str, Any], reason: str | None = None
    ) -> dict[str, Any]:
        """Go on after the wait for evidence.

        :param event: what the trigger said; what is known by now decides.
        :param reason: why the outcome of this try's request is unknown; None if an earlier try made the request.
        """
        return self._run(context, has_waited=True, reason=reason)

    def _run(
        self,
        context: Context,
        answer: FormAnswer | None = None,
        began: str | None = None,
        *,
        has_waited: bool = False,
        reason: str | None = None,
    ) -> dict[str, Any]:
        with self.hook, fail_without_retry():
            on_unknown = self._read_on_unknown()
            resend = read_flag("resend", self.resend)
            request = self.prepare()
            ledger = self._ledger = RequestLedger(context, self.ledger_key)
            planned = Entry(
                UNKNOWN,
                input=fingerprint(*request.identity),
                generation=ledger.generation,
                to=request.masked_recipient,
                began=utc_iso(),
            )
            entry = ledger.read()
            if answer is not None:
                if entry is not None and entry.input == planned.input:  # Pindo may have reported it meanwhile
                    entry = self._look_for_evidence(request, entry, has_waited=True)
                entry, is_left = self._record(answer, entry or replace(planned, began=began), began)
                on_unknown = "fail" if is_left else on_unknown
            elif entry is not None and entry.input == planned.input:
                entry = self._look_for_evidence(request, entry, has_waited=has_waited)
                if reason is not None and entry.status == UNKNOWN:
                    self.result = self._end_unknown(context, request, entry, PindoUnknownOutcomeError(reason))
                    return self.result
            entry = self._adopt(entry, planned)
            action = decide(entry, planned, ledger.generation, on_unknown=on_unknown, resend=resend)
            if action is Action.SEND:
                with self._expiry_recorded(planned, entry):
                    attempt = Attempt()
                    attempt.expire_in(self._check_may_send())
                    try:
                        self.result = self._send(context, request, planned, attempt, before=entry)
                    except PindoConnectionError:
                        if attempt.is_late:
                            self._check_may_send()  # wait, skip or fail
                        raise
            else:
                self.result = self._skip_send(context, action, request, entry or planned)
            return self.result

    def _record(self, answer: FormAnswer, entry: Entry, began: str | None) -> tuple[Entry, bool]:
        """Write an answer into the ledger, unless somebody settled the entry while the question was open.

        Airflow may deliver an answer twice, if its scheduler stops. The second time, the entry is about the request
        that the answer caused, and the answer says nothing of it.

        :return: the entry, and whether its outcome stays unknown for now.
        """
        if answer.option is None:
            self.log.warning("Nobody answered within %s (ask_timeout)", self.ask_timeout)
            return entry, True
        status = _STATUS_AFTER.get(answer.option)
        if entry.status != UNKNOWN or entry.began != began or status is None:
            self.log.warning(
                "The answer %r of %s is not used: the entry %r has changed since the question",
                answer.option,
                answer.who,
                self.ledger_key,
            )
            return entry, False
        self.log.info("%s answered %r at %s", answer.who, answer.option, answer.at)
        entry = entry.settle(status, answer.settlement)
        self._ledger.write(entry)
        if status != UNKNOWN:
            count_settled(answer.settlement.by)
        return entry, status == UNKNOWN

    def _adopt(self, entry: Entry | None, planned: Entry) -> Entry | None:
        """Return the entry. If a person has just settled it as sent, complete it with this generation.

        A clear and a retry after that look the same here. So ``resend`` takes effect at the next clear.
        """
        if entry is None or entry.status != SENT or None not in (entry.generation, entry.result):
            return entry
        adopted = replace(
            entry,
            input=entry.input or planned.input,
            generation=planned.generation,
            to=entry.to or planned.to,
            result=entry.result or {},
        )
        self._ledger.write(adopted)
        self.log.info(
            "A person has settled the entry %r as sent. From the next clear on, resend=True sends again",
            self.ledger_key,
        )
        return adopted

    @contextmanager
    def _expiry_recorded(self, planned: Entry, entry: Entry | None) -> Iterator[None]:
        """Record that the message expired before it was sent, unless the entry says more than that."""
        try:
            yield
        except MessageExpired:
            if entry is None or (entry.status == NOT_SENT and entry.outcome != EXPIRED):
                self._ledger.write_outcome(replace(planned, status=NOT_SENT, began=None, outcome=EXPIRED))
                count_messages(self.kind, expired=1)
            raise

    def on_kill(self) -> None:
        """End the task at once if its request was not sent yet. Otherwise wait for the response, the last one."""
        self._was_killed = True
        if self._is_sending and not current_attempt().abort_if_unsent():
            raise EndedBeforeSending

    def _send(
        self,
        context: Context,
        request: OnceRequest,
        planned: Entry,
        attempt: Attempt,
        *,
        before: Entry | None,
    ) -> dict[str, Any]:
        if self.respect_suppression:
            try:
                skip_if_suppressed(self.hook.settings, request.recipient)
            except AirflowSkipException:
                count_messages(self.kind, excluded=1)
                raise
        if_lost = f"the {self.what} to {planned.to} may have been sent"
        begin_attempt(attempt)  # the hook's latest request may have been one that reads
        try:
            with (
                self._failures_counted(attempt),
                self._ledger.transaction(planned, self.hook, if_lost=if_lost, before=before) as transaction,
            ):
                transaction.result = self._make(request, attempt)
        except PindoUnknownOutcomeError as error:
            entry = self._look_for_evidence(request, planned, reason=str(error))
            if entry.status == SENT:
                return entry.result or {}
            return self._end_unknown(context, request, planned, error)
        except BaseException as error:
            if isinstance(error, Exception) or self._ledger.is_kept or not self.hook.request_sent():
                raise
            # Without a ledger, only a failure without retry keeps the next try from sending again.
            raise PindoUnknownOutcomeError(
                f"the task was ended ({type(error).__name__}) during the request: {if_lost}\n"
                f"{self._how_to_settle(request)}"
            ) from None
        self.log.info("Pindo accepted the %s to %s", self.what, planned.to)
        self._count_accepted(transaction.result)
        return transaction.result

    @contextmanager
    def _failures_counted(self, attempt: Attempt) -> Iterator[None]:
        """Report a request that did not succeed to Airflow's metrics, unless the task may wait and send it later."""
        try:
            yield
        except BaseException as error:
            if not attempt.is_late:
                has_outcome = isinstance(error, PindoError) or attempt.sent
                count_messages(self.kind, **{outcome_of(error) if has_outcome else "not_sent": 1})
            raise

    def _count_accepted(self, result: Mapping[str, Any]) -> None:
        segments, cost = result.get("item_count"), result.get("total_cost")
        count_messages(
            self.kind,
            accepted=1,
            segments=segments if isinstance(segments, int) else 0,
            cost=cost if isinstance(cost, int | float) else 0.0,
        )

    def _make(self, request: OnceRequest, attempt: Attempt) -> dict[str, Any]:
        """Make the request. Until it is sent, :meth:`on_kill` may end it."""
        try:
            self._is_sending = True
            if self._was_killed:
                raise EndedBeforeSending
            result: dict[str, Any] = json_safe(request.send(attempt))
            return result
        finally:
            self._is_sending = False

    def _look_for_evidence(
        self, request: OnceRequest, entry: Entry, *, has_waited: bool = False, reason: str | None = None
    ) -> Entry:
        """Return the entry, settled as sent if Pindo's webhook proves that its message was sent.

        Without evidence yet, the task waits without a worker slot, for as long as it may still arrive.

        :param has_waited: whether that time is over.
        :param reason: why the outcome of this try's request is unknown.
        """
        message = request.message
        if message is None or entry.status != UNKNOWN or entry.began is None or not self._ledger.is_kept:
            return entry
        from airflow_provider_pindo._ledger.evidence import UnknownMessage, find_evidence, message_fingerprint
        from airflow_provider_pindo.hooks import _evidence
        from airflow_provider_pindo.operators._evidence import wait_for_evidence

        if not _evidence.can_find_evidence(self.hook):
            return entry
        began = datetime.fromisoformat(entry.began)
        recipient = request.recipient
        unknown = UnknownMessage(message_fingerprint(recipient, message.text), message.sender, began)
        events = _evidence.read_sent_events(self.hook, began, recipient)
        if event := find_evidence({recipient: unknown}, events).get(recipient):
            result = {"sms_id": event.sms_id, "status": SENT, self.recipient_key: recipient}
            settled = replace(
                entry.settle(SENT, _evidence.settlement(event.sms_id)),
                result=result,
                generation=self._ledger.generation,
            )
            self._ledger.write(settled)
            count_settled("evidence")
            self.log.info(
                "Pindo's webhook says that the %s to %s was sent: %s", self.what, entry.to, event.sms_id
            )
            return settled
        # The response of this try was lost a moment ago, perhaps after a long timeout; that of an earlier one long ago.
        until = (began if reason is None else datetime.now(UTC)) + _evidence.WAIT
        if not has_waited and until > datetime.now(UTC):
            wait_for_evidence(self, until, [unknown], reason=reason)
        return entry

    def _end_unknown(
        self, context: Context, request: OnceRequest, entry: Entry, error: PindoUnknownOutcomeError
    ) -> dict[str, Any]:
        """Return the result of a request whose outcome is unknown, or fail, as ``on_unknown`` says."""
        if self.on_unknown == "accept":
            self.log.warning("%s. Counted as sent, as on_unknown says", error)
            return self._result_without_receipt(request, UNKNOWN)
        if self.on_unknown == "resend":
            raise AirflowException(f"{error}\nThe next try sends it again, as on_unknown says") from None
        if self.on_unknown == "ask" and self._ledger.is_kept:
            self._ask(context, request, entry, str(error))
        raise error.with_message(f"{error}\n{self._how_to_settle(request)}") from None

    def _ask(self, context: Context, request: OnceRequest, entry: Entry, reason: str) -> NoReturn:
        """Ask a person whether the request of ``entry`` texted somebody, and park the task.

        The form is the same for every request. So the log says which request it is about.
        """
        self.log.warning(
            "%s (began at %s). Find out whether %s got it, then answer the question in Required Actions",
            reason,
            entry.began,
            entry.to or request.masked_recipient,
        )
        self._park(context, self._form(), began=entry.began)

    def _form(self) -> Form:
        return Form(
            subject=f"Did the {self.what} arrive?",
            body=(
                f"Pindo gave no certain answer to a request of this task. So the {self.what} may have been sent. The "
                "number, the time and the reason are in the task's log and in its Pindo tab. Pindo's dashboard shows "
                "what was sent.\n\n"
                f"- **{_ARRIVED}**: {self.if_arrived}\n"
                f"- **{_NOT_ARRIVED}**: the task sends it now, once.\n"
                f"- **{LEAVE_IT_FAILED}**: the task fails and sends nothing. To be asked again, clear it."
            ),
            options=(_ARRIVED, _NOT_ARRIVED, LEAVE_IT_FAILED),
        )

    def _skip_send(
        self, context: Context, action: Action, request: OnceRequest, entry: Entry
    ) -> dict[str, Any]:
        """Return the result of a task that does not send, or ask, or fail."""
        recipient = entry.to or request.masked_recipient
        if action is Action.RETURN_RESULT:
            self.log.warning(
                "The %s to %s was sent before: nothing is sent now, and the first result is returned. To send "
                "again, clear the task with resend=True",
                self.what,
                recipient,
            )
            return entry.result or self._result_without_receipt(request, SENT)
        if action is Action.ACCEPT_UNKNOWN:
            self.log.warning(
                "Outcome unknown for the %s to %s. Counted as sent, as on_unknown says", self.what, recipient
            )
            return self._result_without_receipt(request, UNKNOWN)
        if action is Action.FAIL_CHANGED:
            clear = "clear the task with resend=True" if entry.status == SENT else self._by_hand(NOT_SENT)
            raise PindoConfigurationError(
                f"this task has sent, or may have sent, another {self.what} (to {recipient}), and its input has "
                f"changed since. Nothing is sent now\nTo send the new one as well, {clear}; otherwise mark the task "
                "as success"
            )
        what_happened = (
            f"an earlier request of this task got no certain response: the {self.what} to {recipient} may have been "
            "sent"
        )
        if action is Action.ASK:
            self._ask(context, request, entry, what_happened)
        raise PindoUnknownOutcomeError(f"{what_happened}\n{self._how_to_settle(request)}")

    def _result_without_receipt(self, request: OnceRequest, status: str) -> dict[str, Any]:
        return {"status": status, self.recipient_key: request.recipient}

    def _how_to_settle(self, request: OnceRequest) -> str:
        find_out = f"Find out whether {request.masked_recipient} got it (Pindo's dashboard shows it)"
        if not self._ledger.is_kept:
            return f"{find_out}: if so, mark the task as success; if not, clear it, which sends again"
        return f"{find_out}, then {self._by_hand(SENT, NOT_SENT)}"

    def _by_hand(self, *words: str) -> str:
        return how_to_settle(f"the entry {self.ledger_key!r}", *words)
