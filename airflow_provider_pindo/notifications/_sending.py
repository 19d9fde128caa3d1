"""Send one alert: ask the throttle, text each recipient once, log the outcomes, record them in the throttle.

It blocks until its time limit at most. It never repeats a message that may have been sent.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_provider_pindo._metrics import ALERT, count_messages, outcome_of
from airflow_provider_pindo.api.errors import (
    PindoConfigurationError,
    PindoConnectionError,
    PindoError,
    PindoUnknownOutcomeError,
)
from airflow_provider_pindo.api.phone import mask_phone_number, parse_phone_number
from airflow_provider_pindo.api.redaction import safe_message
from airflow_provider_pindo.api.segments import truncate_to_segments
from airflow_provider_pindo.hooks._transport.attempt import Attempt
from airflow_provider_pindo.notifications._throttle import DECISION_TIMEOUT, Permit, Throttle, VariableStore
from airflow_provider_pindo.notifications._timebox import TimeLimit, in_background

if TYPE_CHECKING:
    from airflow_provider_pindo.api.values import SmsReceipt
    from airflow_provider_pindo.hooks._settings import PindoSettings
    from airflow_provider_pindo.hooks.pindo import PindoHook

_log = logging.getLogger(__name__)

#: Tries of one message, where a repetition is safe. The time limit leaves no time for more.
_MAX_ATTEMPTS = 2
#: Seconds that the throttle leaves for sending. A response usually takes less than one.
_SENDING_TIME = 3.0
#: Seconds that sending leaves for recording the outcome. Writing a Variable takes about 20 ms.
_RECORDING_TIME = 0.5


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert, with its rendered arguments.

    :param to: the recipients, as the author wrote them.
    :param text: the message.
    :param log_url: the address of the log; empty if the author wrote the text.
    :param sender: the sender ID; the connection's when None.
    :param max_segments: the longest message, in segments.
    :param window: seconds in which a text holds back the next ones; None sends every text.
    :param incident: the name of the incident, for the throttle.
    :param event_id: identifies the event, for the throttle; may be empty.
    :param pindo_conn_id: the Airflow connection.
    :param respect_suppression: leave out the numbers on the connection's ``suppression_list``.
    """

    to: Sequence[str] = field(repr=False)
    text: str = field(repr=False)
    log_url: str
    sender: str | None
    max_segments: int
    window: float | None
    incident: str
    event_id: str
    pindo_conn_id: str
    respect_suppression: bool = False

    def message(self, tail: str) -> str:
        """Return the text, the log's address and ``tail``. If they are too long, omit the address, then shorten."""
        if self.log_url:
            whole = f"{self.text} {self.log_url}"
            if truncate_to_segments(whole, self.max_segments, tail) == whole + tail:
                return whole + tail
        return truncate_to_segments(self.text, self.max_segments, tail)


def send_alert(alert: Alert, settings: PindoSettings, limit: TimeLimit) -> None:
    """Send ``alert``, unless the throttle holds it back.

    :param settings: of the alert's connection. In a triggerer not every thread can read a connection.
    """
    from airflow_provider_pindo.hooks.pindo import PindoHook

    numbers = _parse_numbers(alert.to, settings.country)
    if not numbers:
        _log.error("No alert was sent: 'to' has no usable phone number")
        return
    if alert.respect_suppression and not (numbers := limit.run(_without_suppressed, numbers, settings)):
        return
    with PindoHook(alert.pindo_conn_id, max_attempts=_MAX_ATTEMPTS, settings=settings) as hook:
        hook.get_conn()  # All threads share one session. If this fails, the throttle must not hold back others.
        throttle = permit = None
        if alert.window is not None:
            throttle = Throttle(alert.incident, numbers, alert.window, VariableStore())
            decision = TimeLimit(min(DECISION_TIMEOUT, limit.remaining(reserve=_SENDING_TIME)))
            try:
                permit = decision.run(throttle.request_permit, decision, alert.event_id)
            except Exception as error:
                _log.warning(
                    "Variables cannot be used, so the alert is sent unthrottled: %s", safe_message(error)
                )
            else:
                if permit is None:
                    _log.info("Alert held back and counted: an alert was sent in the last %g s", alert.window)
                    return
        tail = f" ({permit.held_back} more held back)" if permit and permit.held_back else ""
        text = alert.message(tail)
        sends = [_Send(number, text, alert.sender or settings.sender, hook) for number in numbers]
        wait([send.future for send in sends], timeout=limit.remaining(reserve=_RECORDING_TIME))
        outcomes = _log_outcomes(sends)
        if throttle and permit:
            with log_errors("The next alert may count the same failures again"):
                limit.run(_record, throttle, permit, outcomes, limit)


class _Send:
    """One message in flight, in its own thread.

    :param to: the recipient, in E.164.
    """

    def __init__(self, to: str, text: str, sender: str | None, hook: PindoHook) -> None:
        self.to = to
        self._attempt = Attempt()
        self.future = in_background(self._run, text, sender, hook)

    def _run(self, text: str, sender: str | None, hook: PindoHook) -> SmsReceipt:
        from airflow_provider_pindo.api.calls import send_sms

        return hook.send(send_sms(self.to, text, sender), self._attempt)

    def outcome(self) -> BaseException | None:
        """Return the error until now, or None if Pindo accepted the message. An unsent message is never sent later."""
        if self.future.done():
            return self.future.exception()
        if self._attempt.abort_if_unsent():
            return PindoUnknownOutcomeError("Pindo did not respond in time. The message may have been sent")
        return self._attempt.error or PindoConnectionError("Pindo was not reached in time. Nothing was sent")


def _log_outcomes(sends: Sequence[_Send]) -> list[BaseException | None]:
    """Log and return the outcome of each send: an error, or None if Pindo accepted the message."""
    outcomes = [send.outcome() for send in sends]
    for send, error in zip(sends, outcomes, strict=True):
        number = mask_phone_number(send.to)
        if error is None:
            _log.info("Pindo accepted the alert to %s", number)
        else:
            _log.error("Alert to %s: %s", number, safe_message(error))
    _count(sends, outcomes)
    return outcomes


def _count(sends: Sequence[_Send], outcomes: Sequence[BaseException | None]) -> None:
    """Report the outcomes to Airflow's metrics."""
    receipts = [send.future.result() for send, error in zip(sends, outcomes, strict=True) if error is None]
    count_messages(
        ALERT,
        segments=sum(receipt.item_count or 1 for receipt in receipts),
        cost=sum(receipt.total_cost or 0.0 for receipt in receipts),
        **Counter(map(outcome_of, outcomes)),
    )


def _record(
    throttle: Throttle, permit: Permit, outcomes: Sequence[BaseException | None], limit: TimeLimit
) -> None:
    """Record the outcomes in the throttle. An unknown outcome keeps the permit: the text may have arrived."""
    if None in outcomes:
        throttle.commit(permit, limit)
    elif all(map(_is_certainly_unsent, outcomes)):
        throttle.withdraw(permit)


def _is_certainly_unsent(error: BaseException | None) -> bool:
    return isinstance(error, PindoError) and not isinstance(error, PindoUnknownOutcomeError)


def _parse_numbers(numbers: Iterable[str], country: str | None) -> list[str]:
    """Return each number once, in E.164, and log the unusable ones."""
    parsed: dict[str, None] = {}
    for number in numbers:
        try:
            parsed[parse_phone_number(number, country)] = None
        except PindoConfigurationError as error:
            _log.error("A recipient of an alert cannot be texted: %s", error)
    return list(parsed)


def _without_suppressed(numbers: Iterable[str], settings: PindoSettings) -> list[str]:
    """Return the numbers that are not on the connection's list, and log the others."""
    from airflow_provider_pindo._policy.suppression import read_suppression_list

    suppressed = read_suppression_list(settings).intersection(numbers)
    count_messages(ALERT, excluded=len(suppressed))
    for number in suppressed:
        _log.warning(
            "No alert was sent to %s: the number is on the connection's suppression_list",
            mask_phone_number(number),
        )
    return [number for number in numbers if number not in suppressed]


@contextmanager
def log_errors(consequence: str) -> Iterator[None]:
    """Log an error and do not raise it. Its own message may contain texts, numbers and secrets: it is redacted."""
    try:
        yield
    except Exception as error:
        _log.error("%s: %s", consequence, safe_message(error))
