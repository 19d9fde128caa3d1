"""Verify a phone number: send a PIN, check what the person typed, cancel.

Each :class:`PindoVerifyOperator` sends one PIN, and no check uses up an attempt twice. The ledger keeps what was sent
and what Pindo responded, over retries, crashes and clears. It never holds the PIN.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_pindo._ledger.entry import NOT_SENT, SENT, UNKNOWN, Action, Entry, fingerprint
from airflow_provider_pindo._ledger.transaction import RequestLedger
from airflow_provider_pindo._metrics import VERIFY
from airflow_provider_pindo.api.arguments import (
    check_choice,
    check_code,
    check_request_id,
    check_sender,
    clean_code,
    read_flag,
    read_optional,
)
from airflow_provider_pindo.api.errors import (
    PindoConfigurationError,
    PindoError,
    PindoRejectedError,
    PindoUnknownOutcomeError,
)
from airflow_provider_pindo.api.json_safe import json_safe
from airflow_provider_pindo.api.phone import parse_phone_number
from airflow_provider_pindo.hooks._transport.attempt import Attempt, begin_attempt
from airflow_provider_pindo.operators._base import PindoOperator, fail_without_retry
from airflow_provider_pindo.operators._once import OnceRequest, PindoOnceOperator
from airflow_provider_pindo.operators._secret import PrivateArg, render_private

if TYPE_CHECKING:
    import jinja2
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_pindo.hooks.pindo import PindoHook

_ON_WRONG_CODE = ("fail", "return")
#: Statuses that refuse the HTTP request, from Pindo or a proxy. They say nothing about the code.
_ABOUT_HTTP = frozenset({405, 406, 407, 411, 413, 414, 415, 416, 417, 421, 425, 426, 428, 431})
#: The states of a PIN that cannot be checked any more. Pindo does not publish their spelling.
_VERIFIED = frozenset({"verified"})
_LAPSED = frozenset({"expired", "cancelled", "canceled"})


class PindoVerifyOperator(PindoOnceOperator):
    """Send a PIN to a phone, once: no retry, crash or clear sends another one.

    A later try returns the ``request_id`` of the first one. It is in the entry ``pindo_verify`` of the *Task State
    Store*, within the *Storage* tab (Airflow 3.3 and later). The task first asks Pindo for the verification's state:

    - An expired or cancelled PIN cannot be checked. The task fails and points to ``resend``.
    - For any other state, and when Pindo gives none, the task returns the ``request_id``. The check finds out.

    When the response is lost, the PIN may be on the phone, and its ``request_id`` is unknown. This is an unknown
    outcome, as for a message: see ``on_unknown``. With ``ask``, a person answers a question. Otherwise a person who
    wants a new PIN chooses *Did not arrive* in the task instance's *Pindo* tab, or, last of all, changes the entry's
    ``unknown`` to ``not_sent``. A person who found the ``request_id`` elsewhere writes
    ``{"status": "sent", "result": {"request_id": 4}}`` into it.

    Before Airflow 3.3 the retry of a killed task looks like a first try and sends again; the task logs this. For a
    mapped task, the promise holds while the mapped list keeps its order, since the ledger is kept by map index.

    Every key of the result is also an XCom of its own (``multiple_outputs``), so a check can take
    ``request_id=send_pin.output["request_id"]``.

    :param number: the phone, in E.164 (``+250781234567``), or a national number if the connection names a
        country. (templated)
    :param brand: who the PIN is from, a sender ID of at most 11 characters; the connection's sender when None.
        (templated)
    :param on_unknown: what to do when the outcome is unknown. ``fail`` (default) stops without retry until a person
        settles it. ``ask`` asks a person in Airflow's UI (*Required Actions*, Airflow 3.3 and later) and goes on with
        the answer. When the PIN arrived, the task returns ``{"status": "sent", "number": …, "request_id": None}``: it
        cannot be checked. ``resend`` sends a new PIN at the next try; the person may get two, and only the newer can be
        checked. ``accept`` counts it as sent and returns ``{"status": "unknown", "number": …}``, without the
        ``request_id`` that a check needs. (templated)
    :param ask_timeout: how long a person may take to answer, as a ``timedelta``: 7 days by default. Then the task fails
        as with ``fail``. None: as long as they like.
    :param ask_notifiers: notifiers that are called when a question is asked, such as
        ``[PindoNotifier(ON_CALL, "Did it arrive? {{ question_url }}")]``. ``question_url`` is the address of the form.
    :param resend: send a new PIN when a person clears the task after it has sent one. Ignored within the same
        generation, for unknown outcomes, and for an entry just settled as sent that no try has read yet. ``"False"``
        as text is false. (templated)
    :param send_window: the days and hours in which it may be sent, such as ``mon-sat 08:00-20:00 Africa/Kigali``;
        several are separated by ``;``. Without a zone, the DAG's counts. None (default) is any time: the
        connection's window does not bind a PIN. See :doc:`/howto/when`. (templated)
    :param outside_window: what to do outside the window. ``wait`` (default) defers the task until it opens. ``skip``
        skips the task, and ``fail`` fails it without retry.
    :param expires_at: an aware time, or one as ISO text. After it nothing is sent: the task is skipped, also while it
        waits. (templated)
    :param respect_suppression: skip the task when the number is on the connection's ``suppression_list``, without a
        message. The list is read by each try that would send; a list that cannot be read fails the task. False sends
        in any case, such as the answer to a message just received. Default True.
    :param pindo_conn_id: Airflow connection of type ``pindo``. (templated)
    :return: Pindo's response with its own keys: ``request_id`` (int), ``network`` (mobile network code),
        ``remaining_balance`` (USD) and any others. The PIN is not among them.
    :raises AirflowSkipException: the number is on the connection's ``suppression_list``, the PIN expired, or its
        window is closed and ``outside_window`` is ``skip``.
    :raises AirflowFailException: a retry cannot help: refused token or number, bad input, unknown outcome, a
        lapsed PIN.
    :raises PindoError: a retry may help: no connection, too many requests, an empty wallet. Nothing was sent.
    """

    template_fields: Sequence[str] = ("number", "brand", *PindoOnceOperator.template_fields)

    takes_connection_window = False
    ledger_key = "pindo_verify"
    kind = VERIFY
    what = "PIN"
    if_arrived = (
        "the task succeeds with no `request_id`, since nobody knows it. So the PIN cannot be checked."
    )
    recipient_key = "number"

    def __init__(self, *, number: str, brand: str | None = None, **kwargs: Any) -> None:
        super().__init__(**{"multiple_outputs": True, **kwargs})
        self.number = number
        self.brand = brand

    def prepare(self) -> OnceRequest:
        """Check number and brand."""
        settings = self.hook.settings
        number = parse_phone_number(self.number, settings.country)
        brand = check_sender(read_optional(self.brand) or settings.sender, "brand")
        return OnceRequest(
            number, identity=(number, brand), send=lambda attempt: self._verify(number, brand, attempt)
        )

    def _verify(self, number: str, brand: str, attempt: Attempt) -> dict[str, Any]:
        from airflow_provider_pindo.api.calls import verify

        verification = self.hook.send(verify(number, brand), attempt)
        return {**verification.raw, "request_id": verification.request_id}

    def _skip_send(
        self, context: Context, action: Action, request: OnceRequest, entry: Entry
    ) -> dict[str, Any]:
        if action is Action.RETURN_RESULT:
            if entry.settled and not entry.result:
                return {**self._result_without_receipt(request, SENT), "request_id": None}
            self._check_not_lapsed(entry)
        return super()._skip_send(context, action, request, entry)

    def _check_not_lapsed(self, entry: Entry) -> None:
        """Refuse to return the ``request_id`` of a PIN that cannot be checked."""
        request_id = (entry.result or {}).get("request_id")
        if request_id is None:
            raise PindoConfigurationError(
                f"entry {self.ledger_key!r} of the Task State Store says that the PIN was sent, but has no request_id "
                'to check it by\nReplace its value with {"status": "sent", "result": {"request_id": …}} and clear the '
                "task; or, for a new PIN, clear the task with resend=True"
            )
        try:
            state = _normalize(self.hook.get_verification(request_id).status)
        except PindoError as error:
            if error.status not in (404, 410):
                self.log.warning("The state of verification %s is not known: %s", request_id, error)
                return
            state = "expired"  # Pindo no longer has it
        if state in _LAPSED:
            raise PindoRejectedError(
                f"the PIN of verification {request_id}, which this task sent before, cannot be checked any more "
                f"({state})\nFor a new PIN, clear the task with resend=True"
            )

    def _how_to_settle(self, request: OnceRequest) -> str:
        clear = self._by_hand(NOT_SENT) if self._ledger.is_kept else "clear the task"
        return (
            f"If {request.masked_recipient} got it, it cannot be checked, since its request_id is not known. For a new "
            f"PIN, {clear}"
        )


class PindoVerifyCheckOperator(PindoOperator):
    """Check the PIN that a person typed.

    A PIN has few attempts, and each check may use one up, so the task never repeats a check on its own. Pindo's
    response goes into the ledger: the entry ``pindo_verify_check`` in the *Task State Store* (Airflow 3.3 and later).

    - A retry returns that response and checks nothing.
    - A clear returns a right code's response again, and checks again after a wrong code.
    - After a 5xx or a lost response, the attempt may be used up. The task then reads the verification's state, which
      uses up nothing. The state ``verified`` means that the code was right. Any other state fails the task without
      retry. A clear then checks the code again.

    Before Airflow 3.3 there is no ledger: one try checks once, but a retry checks again.

    The code is ``***`` in logs, rendered templates and the serialized DAG. A literal code in ``.partial()`` or
    ``.expand()`` does stand in the serialized DAG, since Airflow writes it before this class sees it: pass the upstream
    task's output instead. The source of the code is stored as usual. An upstream task's XCom holds it. A
    human-in-the-loop form keeps it in ``hitl_detail``, in that task's XCom and, on Airflow 3.1 and 3.2, in the
    triggerer's log.

    :param request_id: what :class:`PindoVerifyOperator` returned; an int or a numeric string. (templated)
    :param code: the PIN, as a string: a number has lost its leading zeros and is refused. Spaces and hyphens between
        digits and invisible characters are dropped, and digits of any script are understood. (templated)
    :param on_wrong_code: what to do about a wrong, expired or empty code. ``fail`` (default) fails without retry.
        ``return`` returns ``{"verified": false, "reason": …}``, so that the DAG can branch. Other refusals (the token,
        the wallet, an unknown ``request_id``) fail either way. (templated)
    :param cancel_on_failure: cancel the verification when the task fails and has no retry left, so that the PIN is
        no longer valid. False by default, since the person may have mistyped it. (templated)
    :param pindo_conn_id: Airflow connection of type ``pindo``. (templated)
    :return: for a right code ``{"verified": true}`` with the keys of Pindo's response (``message``,
        ``remaining_balance`` in USD, ``request_id``).
    :raises AirflowFailException: a retry cannot help: a wrong or expired code, bad input, a refused token, an
        unknown outcome.
    :raises PindoError: a retry may help, and uses up no attempt: no connection, too many requests, an empty wallet.
    """

    template_fields: Sequence[str] = (
        "request_id",
        "code",
        "on_wrong_code",
        "cancel_on_failure",
        *PindoOperator.template_fields,
    )

    ledger_key = "pindo_verify_check"

    def __init__(
        self,
        *,
        request_id: int | str,
        code: str,
        on_wrong_code: str = "fail",
        cancel_on_failure: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.request_id = request_id
        self.code = PrivateArg(code)
        self.on_wrong_code = on_wrong_code
        self.cancel_on_failure = cancel_on_failure

    def _do_render_template_fields(
        self,
        parent: Any,
        template_fields: Iterable[str],
        context: Context,
        jinja_env: jinja2.Environment,
        seen_oids: set[int],
    ) -> None:
        # Airflow saves the fields afterwards.
        shown = [field for field in template_fields if field != "code"]
        super()._do_render_template_fields(parent, shown, context, jinja_env, seen_oids)
        render_private(parent, "code", context, self._text_env(jinja_env), seen_oids)

    def execute(self, context: Context) -> dict[str, Any]:
        """Check the code, or return the result of an earlier try."""
        with self.hook, fail_without_retry():
            request_id = check_request_id(self.request_id)
            on_wrong_code = check_choice("on_wrong_code", self.on_wrong_code, _ON_WRONG_CODE)
            cancel_on_failure = read_flag("cancel_on_failure", self.cancel_on_failure)
            try:
                result = self._result(request_id, RequestLedger(context, self.ledger_key))
                if not result["verified"] and on_wrong_code == "fail":
                    raise PindoRejectedError(
                        f"the code for verification {request_id} was not accepted: {result['reason']}"
                    )
            except PindoError as error:
                is_last = not (error.retry_helps and _has_another_try(context))
                cancelled = cancel_on_failure and is_last and self._cancel(request_id)
                if isinstance(error, PindoUnknownOutcomeError) and not cancelled:
                    raise error.with_message(
                        f"{error}\nA second check could use up an attempt, so none is made: clear the task to check "
                        "the code once more"
                    ) from None
                raise
            if result["verified"]:
                self.log.info("Verification %s: verified", request_id)
            else:
                self.log.warning("Verification %s: not verified (%s)", request_id, result["reason"])
            return result

    def _result(self, request_id: int, ledger: RequestLedger) -> dict[str, Any]:
        """Return the result of an earlier try, or check the code."""
        # Without the code: a fingerprint of a few digits can be reversed.
        planned = Entry(UNKNOWN, input=fingerprint(request_id), generation=ledger.generation)
        entry = ledger.read()
        if entry is not None and entry.status != NOT_SENT and entry.input in (None, planned.input):
            is_cleared = entry.generation != ledger.generation
            result = self._earlier_result(entry, request_id, is_cleared=is_cleared)
            if result is not None:
                return result
        return self._check(request_id, ledger, planned)

    def _earlier_result(self, entry: Entry, request_id: int, *, is_cleared: bool) -> dict[str, Any] | None:
        """Return the result of an earlier try; None when the code should be checked (again)."""
        result = entry.result or {}
        if "verified" in result:
            if is_cleared and not result["verified"]:
                return None
            self.log.info("Verification %s was checked before: nothing is checked now", request_id)
            return result
        if verified := self._verified_by_now(request_id):
            return verified
        if is_cleared:
            return None
        raise PindoUnknownOutcomeError(
            f"an earlier try of this task ended during the check of verification {request_id}, which may have used up "
            "an attempt"
        )

    def _check(self, request_id: int, ledger: RequestLedger, planned: Entry) -> dict[str, Any]:
        """Check the code, and record the result."""
        code = _read_code(self.code.reveal())
        if not code:
            return {"verified": False, "reason": "the code is empty"}
        if_lost = "the check may have used up an attempt"
        try:
            begin_attempt()  # the hook's latest request may have been one that reads
            with ledger.transaction(planned, self.hook, if_lost=if_lost) as transaction:
                transaction.result = self._request_check(request_id, code)
            return transaction.result
        except PindoUnknownOutcomeError:
            # Outside the transaction, in which the hook may make only one request.
            result = self._verified_by_now(request_id)
            if result is None:
                raise
            ledger.write_outcome(replace(planned, status=SENT, result=result))
            return result

    def _request_check(self, request_id: int, code: str) -> dict[str, Any]:
        """Ask Pindo whether the code is right."""
        try:
            response = json_safe(self.hook.check_verification(request_id, code).raw)
        except PindoRejectedError as error:
            if error.status in _ABOUT_HTTP:
                raise
            return {"verified": False, "reason": error.reason or f"Pindo returned {error.status}"}
        kept = {key: value for key, value in response.items() if not _contains(value, code)}
        return {**kept, "request_id": request_id, "verified": True}

    def _verified_by_now(self, request_id: int) -> dict[str, Any] | None:
        """Return the result of a right code if the verification's state is ``verified``."""
        try:
            state = _normalize(self.hook.get_verification(request_id).status)
        except PindoError as error:
            self.log.warning("The state of verification %s is not known either: %s", request_id, error)
            return None
        return {"verified": True, "request_id": request_id} if state in _VERIFIED else None

    def _cancel(self, request_id: int) -> bool:
        try:
            _cancel_verification(self.hook, request_id)
        except PindoError as error:
            self.log.warning("Verification %s was not cancelled: %s", request_id, error)
            return False
        self.log.info("Cancelled verification %s, as cancel_on_failure says", request_id)
        return True


class PindoVerifyCancelOperator(PindoOperator):
    """Cancel a verification: its PIN is no longer valid.

    The task may be retried and cleared freely, since a second cancel has no further effect. A verification that has
    ended (verified, expired, cancelled) stays unchanged, and the task succeeds. So the task can be the teardown of a
    :class:`PindoVerifyOperator`.

    :param request_id: what :class:`PindoVerifyOperator` returned; an int or a numeric string. (templated)
    :param pindo_conn_id: Airflow connection of type ``pindo``. (templated)
    :return: ``request_id`` and the state in Pindo's response, with its own keys (Pindo does not publish their names).
    :raises AirflowFailException: a retry cannot help: bad input, a refused token, no such verification.
    :raises PindoError: a retry may help: no connection, too many requests, a 5xx.
    """

    template_fields: Sequence[str] = ("request_id", *PindoOperator.template_fields)

    def __init__(self, *, request_id: int | str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.request_id = request_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Cancel the verification, unless it has ended."""
        with self.hook as hook, fail_without_retry():
            state = _cancel_verification(hook, check_request_id(self.request_id))
            self.log.info("The PIN of verification %s is no longer valid", state["request_id"])
            return state


def _cancel_verification(hook: PindoHook, request_id: int) -> dict[str, Any]:
    """Cancel a verification and return its state. One that has ended is only read."""
    try:
        state = hook.cancel_verification(request_id)
    except PindoRejectedError as refusal:
        state = hook.get_verification(request_id)
        if _normalize(state.status) not in _VERIFIED | _LAPSED:
            raise refusal from None
    return {**json_safe(state.raw), "request_id": request_id}


def _normalize(status: str | None) -> str:
    return (status or "").strip().lower()


def _contains(value: Any, code: str) -> bool:
    """Return whether ``code`` is in ``value``, as text or as a number. A result must not keep it."""
    if isinstance(value, dict):
        return any(_contains(item, code) for item in value.values())
    if isinstance(value, list):
        return any(_contains(item, code) for item in value)
    if isinstance(value, str):
        return code in value
    return code.isdecimal() and value == int(code)


def _has_another_try(context: Context) -> bool:
    ti = context["ti"]
    return bool(ti.try_number <= ti.max_tries)


def _read_code(code: Any) -> str:
    """Return the code that a person typed, as Pindo sent it; empty when they typed none."""
    return "" if isinstance(code, str) and not clean_code(code) else check_code(code)
