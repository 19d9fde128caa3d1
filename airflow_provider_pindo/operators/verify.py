"""Verify a phone number: send a PIN, check what the person typed, cancel.

One PIN goes out for each :class:`PindoVerifyOperator`, and no attempt at it is burnt twice: what was sent and
what was answered is in the ledger, where retries, crashes and clears find it. The PIN itself is in none of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_pindo._ledger.entry import NOT_SENT, SENT, UNKNOWN, Action, Entry, fingerprint
from airflow_provider_pindo._ledger.transaction import RequestLedger
from airflow_provider_pindo.api.arguments import check_choice, read_flag
from airflow_provider_pindo.api.calls import check_code, check_request_id, check_sender
from airflow_provider_pindo.api.errors import (
    PindoConfigurationError,
    PindoError,
    PindoRejectedError,
    PindoUnknownOutcomeError,
)
from airflow_provider_pindo.api.json_safe import json_safe
from airflow_provider_pindo.api.phone import mask_phone_number, parse_phone_number
from airflow_provider_pindo.operators.base import (
    PindoOperator,
    fail_without_retry,
    unknown_outcome_after_send,
)
from airflow_provider_pindo.operators.once import OnceRequest, PindoOnceOperator
from airflow_provider_pindo.operators.secret import PrivateArg, render_private

if TYPE_CHECKING:
    import jinja2
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_pindo.hooks.pindo import PindoHook

ON_WRONG_CODE = ("fail", "return")
#: Refusals of the request as such, by Pindo or by something between: they say nothing of the code.
_ABOUT_HTTP = frozenset({405, 406, 407, 411, 413, 414, 415, 416, 417, 421, 425, 426, 428, 431})
#: The states of a PIN that is worth nothing any more. How Pindo spells them is not published.
_VERIFIED = frozenset({"verified"})
_LAPSED = frozenset({"expired", "cancelled", "canceled"})

_CLEAR = (
    "Asking again could burn an attempt, so it is not done by itself: clear the task to have the code checked "
    "once more"
)


class PindoVerifyOperator(PindoOnceOperator):
    """Send a PIN to a phone, once: no retry, crash or clear sends another one by itself.

    A later try returns the ``request_id`` that the first one got, from the entry ``pindo_verify`` in the *Task
    State Store*, within the *Storage* tab (Airflow 3.3 and later). Before that it asks Pindo whether the PIN still
    counts: one that has expired or was cancelled cannot be checked, so the task then fails and points to ``resend``.
    When the state that Pindo gives says neither, or it gives none, the ``request_id`` is returned, and the check finds
    out.

    When the answer was lost, the PIN may be on the phone, and nobody knows its ``request_id``: an unknown
    outcome like that of a message, see ``on_unknown``. For a new PIN a person changes the entry's ``unknown`` to
    ``not_sent``; whoever found the ``request_id`` elsewhere writes
    ``{"status": "sent", "result": {"request_id": 4}}`` into it.

    Before Airflow 3.3 a killed worker cannot be told from a first try, and the task says so in its log. For a
    mapped task all this holds as long as the mapped list keeps its order, since the ledger is kept by map index.

    Every key of the result is an XCom of its own too (``multiple_outputs``), so that
    ``request_id=send_pin.output["request_id"]`` can be given to the check.

    :param number: the phone, in E.164 (``+250781234567``), or a national number if the connection names a
        country. (templated)
    :param brand: who the PIN is from, a sender ID of at most 11 characters; the connection's sender when None.
        (templated)
    :param on_unknown: when nobody can know whether the PIN went out: ``fail`` (default) stops without retry
        until a person settles it; ``resend`` sends a new one at the next try (the person may get two, and only
        the newer can be checked); ``accept`` counts it as sent and returns ``{"status": "unknown", "number":
        …}``, without the ``request_id`` that a check needs. (templated)
    :param resend: send a new PIN when a person clears the task after it has sent one; a retry within the same
        go never does. It does not act on an unknown outcome, and after a person settled that as ``sent`` only
        from the second clear on. ``"False"`` as text is false. (templated)
    :param pindo_conn_id: Airflow connection of type ``pindo``. (templated)
    :return: Pindo's answer with its own keys: ``request_id`` (int), ``network`` (mobile network code),
        ``remaining_balance`` (USD) and whatever else it sends. The PIN is not among them.
    :raises AirflowFailException: a retry cannot help: refused token or number, bad input, unknown outcome, a
        PIN that has lapsed.
    :raises PindoError: a retry may help: no connection, too many requests, an empty wallet. Nothing was sent.
    """

    template_fields: Sequence[str] = ("number", "brand", *PindoOnceOperator.template_fields)

    ledger_key = "pindo_verify"
    what = "PIN"
    recipient_key = "number"
    settled_by = (NOT_SENT,)

    def __init__(self, *, number: str, brand: str | None = None, **kwargs: Any) -> None:
        super().__init__(**{"multiple_outputs": True, **kwargs})
        self.number = number
        self.brand = brand

    def prepare(self) -> OnceRequest:
        """Check number and brand."""
        settings = self.hook.settings
        number = parse_phone_number(self.number, settings.country)
        brand = check_sender(self.brand or settings.sender, "brand")
        return OnceRequest(number, identity=(number, brand), send=lambda: self._verify(number, brand))

    def _verify(self, number: str, brand: str) -> dict[str, Any]:
        verification = self.hook.verify(number, brand)
        return {**verification.raw, "request_id": verification.request_id}

    def _skip_send(self, action: Action, request: OnceRequest, entry: Entry) -> dict[str, Any]:
        if action is Action.RETURN_RESULT:
            self._refuse_a_lapsed_pin(entry)
        return super()._skip_send(action, request, entry)

    def _refuse_a_lapsed_pin(self, entry: Entry) -> None:
        request_id = (entry.result or {}).get("request_id")
        if request_id is None:
            raise PindoConfigurationError(
                f"the ledger's entry {self.ledger_key!r} says that the PIN was sent, but has no request_id to check "
                'it by: put {"status": "sent", "result": {"request_id": …}} in its place and clear the task, or clear '
                "the task with resend=True for a new PIN"
            )
        try:
            status = self.hook.get_verification(request_id).status
        except PindoError as error:
            if error.status not in (404, 410):
                self.log.warning("The state of verification %s is not known: %s", request_id, error)
                return
            status = "expired"  # Pindo has forgotten it
        if _is(status, _LAPSED):
            raise PindoRejectedError(
                f"the PIN of verification {request_id}, which this task sent before, does not count any more "
                f"({status}), and no other one is sent by itself: clear the task with resend=True for a new one"
            )

    def _how_to_settle(self, request: OnceRequest) -> str:
        shown = mask_phone_number(request.recipient)
        lost = f"If {shown} got it, it cannot be checked, since its request_id is not known. For a new PIN, "
        if not self._ledger.is_kept:
            return f"{lost}clear the task"
        return f"{lost}{self._change_status(*self.settled_by)}, and clear the task"


class PindoVerifyCheckOperator(PindoOperator):
    """Check the PIN that a person typed.

    Each check may use up one of the few attempts that a PIN has, so none is repeated by itself. The answer goes
    into the ledger (the entry ``pindo_verify_check`` in the *Task State Store*, Airflow 3.3 and later): a retry
    finds it there and asks nothing; a clear returns a right answer again, and asks anew after a wrong one. After
    a 5xx or a lost answer the attempt may be used up, so asking again could burn another: the task looks at the
    verification's state instead, which costs nothing. If that says ``verified``, the code was right; if not, the
    task fails without retry, and a person who clears it has the code checked again. Before Airflow 3.3 there is no
    ledger: nothing is asked twice within one try, but a retry asks again.

    The code shows in no log, no rendered template and no serialized DAG: there the field is ``***``. A literal one
    in ``.partial()`` or ``.expand()`` does stand in the serialized DAG, since Airflow writes it down before this
    class sees it: give the upstream task's output there. Where the code comes from is another matter: an upstream
    task's XCom is stored as any XCom, and what a person types into a human-in-the-loop form stands in Airflow's tables
    (``hitl_detail``, the XCom of that task and, on Airflow 3.1 and 3.2, the triggerer's log).

    :param request_id: what :class:`PindoVerifyOperator` returned; an int or a numeric string. (templated)
    :param code: the PIN, as a string: a number has lost its leading zeros and is refused. In a DAG with
        ``render_template_as_native_obj`` a Jinja template gives a number, so give the XCom itself there
        (``code=ask.output``). (templated)
    :param on_wrong_code: for a wrong, expired or empty code: ``fail`` (default) fails without retry; ``return``
        returns ``{"verified": false, "reason": …}``, so that the DAG can branch. Other refusals (the token, the
        wallet, a ``request_id`` that Pindo does not know) fail either way. (templated)
    :param cancel_on_failure: cancel the verification when the task fails and will not be retried, so that the
        PIN is worth nothing from then on. False by default, since the person may have mistyped it. (templated)
    :param pindo_conn_id: Airflow connection of type ``pindo``. (templated)
    :return: for a right code ``{"verified": true}`` with the keys of Pindo's answer (``message``,
        ``remaining_balance`` in USD, ``request_id``).
    :raises AirflowFailException: a retry cannot help: a wrong or expired code, bad input, a refused token, an
        unknown outcome.
    :raises PindoError: a retry may help, and burns no attempt: no connection, too many requests, an empty wallet.
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
        # Airflow renders here for plain and for mapped tasks alike, and saves the fields afterwards.
        shown = [field for field in template_fields if field != "code"]
        super()._do_render_template_fields(parent, shown, context, jinja_env, seen_oids)
        render_private(parent, "code", context, jinja_env, seen_oids)

    def execute(self, context: Context) -> dict[str, Any]:
        """Check the code, or return what an earlier try of this task was answered."""
        with self.hook, fail_without_retry():
            request_id = check_request_id(self.request_id)
            on_wrong_code = check_choice("on_wrong_code", self.on_wrong_code, ON_WRONG_CODE)
            cancel_on_failure = read_flag("cancel_on_failure", self.cancel_on_failure)
            try:
                answer = self._answer(request_id, RequestLedger(context, self.ledger_key))
                if not answer["verified"] and on_wrong_code == "fail":
                    raise PindoRejectedError(
                        f"the code for verification {request_id} does not count: {answer['reason']}"
                    )
            except PindoError as error:
                is_last = not (error.retry_helps and _has_another_try(context))
                cancelled = cancel_on_failure and is_last and self._cancel(request_id)
                if isinstance(error, PindoUnknownOutcomeError) and not cancelled:
                    raise PindoUnknownOutcomeError(f"{error}. {_CLEAR}") from error
                raise
            if answer["verified"]:
                self.log.info("Verification %s: verified", request_id)
            else:
                self.log.warning("Verification %s: not verified (%s)", request_id, answer["reason"])
            return answer

    def _answer(self, request_id: int, ledger: RequestLedger) -> dict[str, Any]:
        """Return what Pindo says to the code, from the ledger if it has said so before."""
        # Not of the code: whoever reads the ledger could find a code of a few digits by its fingerprint.
        planned = Entry(UNKNOWN, input=fingerprint(request_id), generation=ledger.generation)
        entry = ledger.read()
        if entry is not None and entry.status != NOT_SENT and entry.input in (None, planned.input):
            known = self._recall(entry, request_id, is_new_go=entry.generation != ledger.generation)
            if known is not None:
                return known
        return self._ask(request_id, ledger, planned)

    def _recall(self, entry: Entry, request_id: int, *, is_new_go: bool) -> dict[str, Any] | None:
        """Return the answer that an earlier try got; None when this try is to ask (again)."""
        result = entry.result or {}
        if "verified" in result:
            if is_new_go and not result["verified"]:
                return None
            self.log.info("Verification %s was checked before; nothing is asked now", request_id)
            return result
        if answer := self._verified_by_now(request_id):
            return answer
        if is_new_go:
            return None
        raise PindoUnknownOutcomeError(
            f"an earlier try of this task was cut off while it checked the code for verification {request_id}, "
            "which may have used up an attempt"
        )

    def _ask(self, request_id: int, ledger: RequestLedger, planned: Entry) -> dict[str, Any]:
        """Ask Pindo and write down what it answers."""
        code = _read_code(self.code.reveal())
        if not code:
            return {"verified": False, "reason": "the code is empty"}
        ledger.write(planned)
        try:
            answer = self._check(request_id, code)
        except PindoRejectedError as error:
            if error.status in _ABOUT_HTTP:
                ledger.write_outcome(replace(planned, status=NOT_SENT))
                raise
            answer = {"verified": False, "reason": error.reason or f"Pindo answered {error.status}"}
        except PindoUnknownOutcomeError:
            found = self._verified_by_now(request_id)
            if found is None:
                raise
            answer = found
        except PindoError:
            ledger.write_outcome(replace(planned, status=NOT_SENT))
            raise
        except BaseException:
            # The task is being timed out or ended; while it waited for its turn, nothing had left.
            if not self.hook.request_left():
                ledger.write_outcome(replace(planned, status=NOT_SENT))
            raise
        ledger.write_outcome(replace(planned, status=SENT, result=answer))
        return answer

    def _check(self, request_id: int, code: str) -> dict[str, Any]:
        """Return Pindo's answer to a right code; whatever error comes up once it has left is an unknown outcome."""
        with unknown_outcome_after_send(self.hook, "the check may have used up an attempt"):
            said = json_safe(self.hook.check_verification(request_id, code).raw)
            # Should Pindo repeat the code, it is not to be kept.
            kept = {key: value for key, value in said.items() if not _repeats(value, code)}
            return {**kept, "request_id": request_id, "verified": True}

    def _verified_by_now(self, request_id: int) -> dict[str, Any] | None:
        """Return the answer of a check that went through, going by the verification's state."""
        try:
            state = self.hook.get_verification(request_id)
        except PindoError as error:
            self.log.warning("The state of verification %s is not known either: %s", request_id, error)
            return None
        return {"verified": True, "request_id": request_id} if _is(state.status, _VERIFIED) else None

    def _cancel(self, request_id: int) -> bool:
        try:
            cancel(self.hook, request_id)
        except PindoError as error:
            self.log.warning("Verification %s was not cancelled: %s", request_id, error)
            return False
        self.log.info("Cancelled verification %s, as cancel_on_failure says", request_id)
        return True


class PindoVerifyCancelOperator(PindoOperator):
    """Cancel a verification: its PIN is worth nothing from now on.

    Cancelling twice does no more than once, so the task may be retried and cleared freely. A verification that
    is over already (verified, expired, cancelled) is left as it is, and the task succeeds: as the teardown of a
    :class:`PindoVerifyOperator` it runs whatever became of the PIN.

    :param request_id: what :class:`PindoVerifyOperator` returned; an int or a numeric string. (templated)
    :param pindo_conn_id: Airflow connection of type ``pindo``. (templated)
    :return: ``request_id`` and the state that Pindo answers, with its own keys (their names are not published).
    :raises AirflowFailException: a retry cannot help: bad input, a refused token, no such verification.
    :raises PindoError: a retry may help: no connection, too many requests, a 5xx.
    """

    template_fields: Sequence[str] = ("request_id", *PindoOperator.template_fields)

    def __init__(self, *, request_id: int | str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.request_id = request_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Cancel, unless it is over."""
        with self.hook as hook, fail_without_retry():
            state = cancel(hook, check_request_id(self.request_id))
            self.log.info("The PIN of verification %s is worth nothing now", state["request_id"])
            return state


def cancel(hook: PindoHook, request_id: int) -> dict[str, Any]:
    """Cancel a verification and return its state; one that is over already is only looked at."""
    try:
        state = hook.cancel_verification(request_id)
    except PindoRejectedError as refusal:
        state = hook.get_verification(request_id)
        if not _is(state.status, _VERIFIED | _LAPSED):
            raise refusal from None
    return {**json_safe(state.raw), "request_id": request_id}


def _is(status: str | None, states: frozenset[str]) -> bool:
    return status is not None and status.strip().lower() in states


def _repeats(value: Any, code: str) -> bool:
    """Return whether ``code`` is in ``value``, as text or as a number."""
    if isinstance(value, dict | list):
        return any(_repeats(each, code) for each in (value.values() if isinstance(value, dict) else value))
    if isinstance(value, str):
        return code in value
    return code.isdecimal() and value == int(code)


def _has_another_try(context: Context) -> bool:
    ti = context["ti"]
    return bool(ti.try_number <= ti.max_tries)


def _read_code(code: Any) -> str:
    """Return the code that a person typed, without spaces around it; "" when they typed none."""
    if isinstance(code, int | float):
        raise PindoConfigurationError(
            "code is a number, which has lost its leading zeros: give a string. In a DAG with "
            "render_template_as_native_obj a template gives a number: give the XCom itself (code=task.output) there"
        )
    if isinstance(code, str) and not code.strip():
        return ""
    return check_code(code)
