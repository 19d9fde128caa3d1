"""Text people when something happens to a DAG or a task.

:class:`PindoNotifier` goes wherever Airflow takes a notifier. It never raises and never takes longer than its
bound, so that it cannot break what it reports on; and one incident is one message, however many tasks fail.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Never, TypeVar

from airflow.providers.common.compat.sdk import BaseNotifier
from jinja2 import ChainableUndefined

from airflow_provider_pindo.api.arguments import check_whole_number, read_seconds
from airflow_provider_pindo.api.errors import (
    PindoConfigurationError,
    PindoConnectionError,
    PindoError,
    PindoUnknownOutcomeError,
)
from airflow_provider_pindo.api.phone import mask_numbers_in, mask_phone_number, parse_phone_number
from airflow_provider_pindo.api.redaction import safe_message
from airflow_provider_pindo.api.segments import truncate_to_segments
from airflow_provider_pindo.hooks._transport.attempt import Attempt
from airflow_provider_pindo.notifications.incident import read_incident
from airflow_provider_pindo.notifications.throttle import DECISION_TIME, Permit, Throttle, VariableStore
from airflow_provider_pindo.notifications.timebox import TimeLimit, in_background

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from jinja2 import Undefined

    from airflow_provider_pindo.api.calls import Call
    from airflow_provider_pindo.api.values import SmsReceipt
    from airflow_provider_pindo.hooks.pindo import PindoAsyncHook, PindoHook
    from airflow_provider_pindo.hooks.settings import PindoSettings

    Receipt = Future[SmsReceipt] | asyncio.Task[SmsReceipt]

T = TypeVar("T")
D = TypeVar("D")

log = logging.getLogger(__name__)

#: Tries of one message in all, where repeating it is safe: the bound leaves no time for more.
_MAX_ATTEMPTS = 2
#: Seconds that are kept for sending; an answer usually takes less than one.
_SEND_TIME = 3.0
#: Seconds of these that are kept for telling the throttle what came of it; a Variable takes some 20 ms to write.
_SETTLE_TIME = 0.5
_GIVEN_UP = "No alert was sent"
_TOLD_AGAIN = "The alerts that this one told of may be told again by the next"
_SEPARATORS = re.compile(r"[,;\n]")


@dataclass(frozen=True, slots=True)
class Draft:
    """The arguments of one alert, rendered."""

    to: tuple[str, ...]
    text: str
    log_url: str
    sender: str | None
    incident: str
    failure: str
    pindo_conn_id: str

    def fitted(self, max_segments: int, tail: str) -> str:
        """Return the text with the log's address and ``tail``; shortened, and then without that, if it is too long."""
        if self.log_url:
            whole = f"{self.text} {self.log_url}"
            if truncate_to_segments(whole, max_segments, tail) == whole + tail:
                return whole + tail
        return truncate_to_segments(self.text, max_segments, tail)


@dataclass(frozen=True, slots=True)
class Alert:
    """What goes out: one text, to each number once.

    :param throttle: of the incident; None without one, or where it cannot be used.
    :param granted: its permission.
    """

    to: tuple[str, ...]
    text: str
    sender: str | None
    throttle: Throttle | None = None
    granted: Permit | None = None

    def settle(self, results: list[BaseException | None], limit: TimeLimit) -> None:
        """Tell the throttle what became of the messages."""
        if self.throttle is None or self.granted is None:
            return
        if None in results:
            self.throttle.conclude(self.granted, limit)
        elif all(map(_certainly_not_sent, results)):
            self.throttle.withdraw(self.granted)


class Send:
    """One message on its way.

    :param to: the number, in E.164.
    :param alert: what it gets.
    :param settings: what the connection says.
    """

    def __init__(self, to: str, alert: Alert, settings: PindoSettings) -> None:
        self.to = to
        self._alert = alert
        self._settings = settings
        self._attempt = Attempt()

    def by(self, hook: PindoHook) -> SmsReceipt:
        """Send it, and return Pindo's receipt."""
        return hook.send(self._call(), self._attempt)

    async def by_async(self, hook: PindoAsyncHook) -> SmsReceipt:
        """Do as :meth:`by` does."""
        return await hook.send(self._call(), self._attempt)

    def _call(self) -> Call[SmsReceipt]:
        from airflow_provider_pindo.api.calls import send_sms

        return send_sms(self.to, self._alert.text, self._alert.sender or self._settings.sender)

    def result(self, future: Receipt) -> BaseException | None:
        """Return what went wrong by now, or None when Pindo took it; what has not left by now never does."""
        if future.done():
            return future.exception()
        if self._attempt.abort_if_unsent():
            return PindoUnknownOutcomeError("Pindo did not answer in time. The message may have been sent")
        return self._attempt.error or PindoConnectionError("Pindo was not reached in time. Nothing was sent")


class PindoNotifier(BaseNotifier):
    """Text one or several people, from any callback of a DAG or a task and from deadline alerts.

    On a DAG it is at its simplest: a run that fails sends one text, whatever failed in it, and nothing has to be
    remembered::

        with DAG("etl", on_failure_callback=PindoNotifier("+250781234567")):
            ...

    On a task, or in ``default_args``, every failing task instance would send one. ``throttle`` makes that one
    text for each incident::

        default_args = {"on_failure_callback": PindoNotifier(ON_CALL, throttle=timedelta(minutes=15))}

    The first failure goes out, the others within the window are held back and counted, and the next text after
    it says how many there were: ``(499 more held back)``. A failure that Airflow calls back twice, as it may
    under load, is one. This works over all processes and machines of a
    deployment, through Variables in Airflow's database; how, and what race remains, is told in
    :mod:`airflow_provider_pindo.notifications.throttle`. Where Variables cannot be listed and written (Airflow
    3.0 to 3.2, and a deadline's ``SyncCallback``) the text goes out unthrottled and the log says so.

    As a deadline alert (Airflow 3.1 and later) it runs in the triggerer::

        DeadlineAlert(..., callback=AsyncCallback(PindoNotifier, kwargs={"to": "+250781234567"}))

    An alert that cannot be sent is logged as an error and does not raise: Airflow would log the recipients along
    with the exception. For the same reason a wrong argument of a deadline, which Airflow reads only when it is
    missed, is logged and its default used. A message that may have gone out is not sent again by the notifier. But
    Airflow starts a deadline's callback anew when its triggerer stops in the middle of it, and the text may then
    come twice. With ``throttle`` it comes once; or not at all, if the triggerer stopped in the moment between the
    throttle's permission and the sending: the next text, if there is one, then counts it.

    :param to: the people to text: a number, several separated by commas, or a list. It is needed. (templated)
    :param text: the message. A name that the callback's context does not have appears as ``?``; a template that
        cannot be rendered gives way to the default, here and for ``sender`` and ``throttle_key``. Default: what
        happened, the DAG, the task, the run's date, the try, the first line of the exception with phone numbers
        masked, and the log's address if it fits. What Airflow knows to be a secret is masked in either.
        (templated)
    :param sender: sender ID of at most 11 characters; the connection's when None. (templated)
    :param max_segments: the text is cut at a word to this many segments, which is what is billed. Default 1.
    :param throttle: how long a text holds back those after it, as a ``timedelta`` or in seconds; None (default)
        holds back nothing.
    :param throttle_key: what belongs to one incident; default: the event (a failure, a retry…), the DAG and the
        task. Each list of recipients has windows of its own. (templated)
    :param timeout: seconds for everything together, 10 by default: a failed task ends this much later if Pindo
        does not answer. All but 3 of them are for the throttle, and a text whose turn it is not known to be goes
        out: give more where Airflow's API is slow. A ``timedelta`` is taken too.
    :param pindo_conn_id: Airflow connection of type ``pindo``. (templated)
    :param context: given by Airflow when it awaits the notifier.
    :raises PindoConfigurationError: when a DAG file makes it, for a number that makes no sense.
    :raises TypeError: when a DAG file makes it without ``to``, or with an argument that there is not.
    """

    template_fields: Sequence[str] = ("to", "text", "sender", "throttle_key", "pindo_conn_id")

    def __init__(
        self,
        to: str | Iterable[str] | None = None,
        text: str | None = None,
        *,
        sender: str | None = None,
        max_segments: int = 1,
        throttle: timedelta | float | None = None,
        throttle_key: str | None = None,
        timeout: timedelta | float = 10.0,
        pindo_conn_id: str = "pindo_default",
        context: Context | None = None,
        **unknown: Never,
    ) -> None:
        super().__init__()  # Airflow 2.11 takes no context here
        # Airflow itself makes a deadline's notifier, with a context, and logs the recipients when that raises.
        is_deadline = context is not None
        if not is_deadline and to is None:
            raise TypeError("PindoNotifier misses the argument 'to', the people to text")
        if not is_deadline and unknown:
            raise TypeError(f"PindoNotifier got an unexpected keyword argument {next(iter(unknown))!r}")
        for name in unknown:
            log.error("A deadline's alert: there is no argument %r; it is not used", name)
        self.context = context or {}
        self.to = to
        self.text = text
        self.sender = sender
        self.max_segments = _read(check_whole_number, "max_segments", max_segments, 1, is_deadline)
        self.throttle = (
            None if throttle is None else _read(_positive_seconds, "throttle", throttle, None, is_deadline)
        )
        self.throttle_key = throttle_key
        self.timeout = _read(_positive_seconds, "timeout", timeout, 10.0, is_deadline)
        self.pindo_conn_id = pindo_conn_id

    def __call__(self, *args: Any) -> None:
        """Send, with a callback's context, or with the arguments of an SLA miss of Airflow 2."""
        # Not the base class's way, which renders into the notifier itself: the next callback would get this
        # one's text, since a DAG file's notifier serves all of them.
        self.notify(args[0] if len(args) == 1 else dict(zip(("dag", "task_list"), args, strict=False)))

    def __await__(self) -> Generator[Any, None, None]:
        """Send, with the context that the notifier was made with."""
        return self.async_notify(self.context).__await__()

    def notify(self, context: Any) -> None:
        """Send, and wait at most :attr:`timeout` seconds; nothing is raised.

        :param context: of the callback.
        """
        with _never_raising(_GIVEN_UP):
            limit = TimeLimit(self.timeout)
            draft = limit.run(self._draft, context)
            from airflow_provider_pindo.hooks.pindo import PindoHook

            with PindoHook(draft.pindo_conn_id, max_attempts=_MAX_ATTEMPTS) as hook:
                settings = limit.run(lambda: hook.settings)
                hook.get_conn()  # one session for all of them; without it nothing is sent, and nothing held back
                if alert := limit.run(self._admit, draft, settings, limit):
                    sends = [Send(to, alert, settings) for to in alert.to]
                    futures = [in_background(send.by, hook) for send in sends]
                    wait(futures, timeout=_sending_time(limit))
                    results = _report(sends, futures)
                    with _never_raising(_TOLD_AGAIN):
                        limit.run(alert.settle, results, limit)

    async def async_notify(self, context: Any) -> None:
        """Do as :meth:`notify` does, in an event loop that must not be blocked: the triggerer's."""
        with _never_raising(_GIVEN_UP):
            limit = TimeLimit(self.timeout)
            draft = await limit.run_off_loop(self._draft, context)
            from airflow_provider_pindo.hooks.pindo import PindoAsyncHook

            async with PindoAsyncHook(draft.pindo_conn_id, max_attempts=_MAX_ATTEMPTS) as hook:
                # Shielded, since outside of the triggerer Airflow's own channel does not survive a cancellation.
                settings = await asyncio.wait_for(asyncio.shield(hook.get_settings()), limit.left())
                if alert := await limit.run_off_loop(self._admit, draft, settings, limit):
                    sends = [Send(to, alert, settings) for to in alert.to]
                    tasks = [asyncio.create_task(send.by_async(hook)) for send in sends]
                    await asyncio.wait(tasks, timeout=_sending_time(limit))
                    results = _report(sends, tasks)
                    for task in tasks:
                        task.cancel()
                    with _never_raising(_TOLD_AGAIN):
                        await limit.run_off_loop(alert.settle, results, limit)

    def _draft(self, context: Any) -> Draft:
        """Render the arguments, without touching the notifier."""
        from jinja2 import StrictUndefined

        incident = read_incident(context)
        text = _presentable(self._rendered("text", context, Missing, ""))
        sender = self._rendered("sender", context, StrictUndefined, None)
        throttle_key = self._rendered("throttle_key", context, StrictUndefined, None)
        return Draft(
            to=tuple(_numbers(self._render_one(self.to, context, Missing))),
            text=text or _presentable(incident.text()),
            log_url="" if text else _presentable(incident.log_url),
            sender=sender and str(sender),
            incident=str(throttle_key or incident.name()),
            failure=incident.id,
            pindo_conn_id=str(self._render_one(self.pindo_conn_id, context, StrictUndefined)),
        )

    def _rendered(self, name: str, context: Any, undefined: type[Undefined], default: Any) -> Any:
        """Return an argument rendered; ``default`` if that cannot be done."""
        value = getattr(self, name)
        try:
            return default if value is None else self._render_one(value, context, undefined)
        except Exception as error:
            log.warning("%r cannot be rendered (%s); its default is used", name, safe_message(error))
            return default

    def _render_one(self, value: Any, context: Any, undefined: type[Undefined]) -> Any:
        # Airflow 2.11 cannot do without the key.
        context = context if "dag" in context else {**context, "dag": None}
        env = self.get_template_env(dag=context["dag"])
        env.undefined = undefined
        return self.render_template(value, context, jinja_env=env)

    def _admit(self, draft: Draft, settings: PindoSettings, limit: TimeLimit) -> Alert | None:
        """Return what goes out now; None if it is held back, or nobody is left to text."""
        to = tuple(_readable(draft.to, settings.country))
        if not to:
            log.error("No alert was sent: 'to' has no usable phone number")
            return None
        throttle = granted = None
        if self.throttle is not None:
            throttle = Throttle(draft.incident, to, self.throttle, VariableStore())
            try:
                decision_time = _decision_time(limit)
                if (granted := decision_time.run(throttle.enter, decision_time, draft.failure)) is None:
                    log.info("Alert held back and counted: one went out in the last %g s", self.throttle)
                    return None
            except Exception as error:
                log.warning(
                    "The alert is sent unthrottled, since Variables cannot be used: %s", safe_message(error)
                )
        tail = f" ({granted.held_back} more held back)" if granted and granted.held_back else ""
        return Alert(to, draft.fitted(self.max_segments, tail), draft.sender, throttle, granted)


#: The notifier under the name that the other providers' notifiers have too.
send_pindo_notification = PindoNotifier


def _decision_time(limit: TimeLimit) -> TimeLimit:
    """Return what the throttle may use of ``limit``, so that enough is left for sending."""
    return TimeLimit(min(DECISION_TIME, max(limit.left() - _SEND_TIME, limit.left() / 2)))


def _sending_time(limit: TimeLimit) -> float:
    """Return the seconds to wait for Pindo, so that enough is left for telling the throttle."""
    return max(limit.left() - _SETTLE_TIME, limit.left() / 2)


def _report(sends: Sequence[Send], futures: Sequence[Receipt]) -> list[BaseException | None]:
    """Log what became of each number's message by now; return it: an error, or None when Pindo took it."""
    results = [send.result(future) for send, future in zip(sends, futures, strict=True)]
    for send, error in zip(sends, results, strict=True):
        shown = mask_phone_number(send.to)
        if error is None:
            log.info("Pindo took the alert to %s", shown)
        else:
            log.error("Alert to %s: %s", shown, safe_message(error))
    return results


def _certainly_not_sent(error: BaseException | None) -> bool:
    return isinstance(error, PindoError) and not isinstance(error, PindoUnknownOutcomeError)


@contextmanager
def _never_raising(consequence: str) -> Iterator[None]:
    """Log what goes wrong in words of ours: an exception's own may hold texts, numbers and secrets."""
    try:
        yield
    except Exception as error:
        log.error("%s: %s", consequence, safe_message(error))


def _presentable(text: object) -> str:
    """Return a text with what Airflow knows to be secret masked, and with nothing that cannot be sent."""
    from airflow.providers.common.compat.sdk import redact

    return str(redact(str(text).strip())).encode("utf-8", "replace").decode("utf-8")


def _numbers(value: Any) -> Iterator[str]:
    """Yield the numbers in a rendered ``to``; a template may give a list as text."""
    if isinstance(value, str):
        for part in _SEPARATORS.split(value):
            if number := part.strip(" \t\r[]'\""):
                yield number
    elif isinstance(value, Iterable):
        for each in value:
            yield from _numbers(each)
    elif value is not None:
        yield str(value)


def _readable(numbers: Iterable[str], country: str | None) -> Iterable[str]:
    """Return each number once, in E.164; those that cannot be read are logged."""
    found: dict[str, None] = {}
    for number in numbers:
        try:
            found[parse_phone_number(number, country)] = None
        except PindoConfigurationError as error:
            log.error("An alert has nobody to go to: %s", error)
    return found


def _read(read: Callable[[str, Any], T], name: str, value: object, default: D, is_lenient: bool) -> T | D:
    """Return what ``read`` makes of an argument; for a mistake ``default``, if it is to be lenient."""
    try:
        return read(name, value)
    except PindoConfigurationError as error:
        if not is_lenient:
            raise
        log.error("A deadline's alert: %s; its default is used", mask_numbers_in(str(error)))
        return default


def _positive_seconds(name: str, value: object) -> float:
    if not (seconds := read_seconds(name, value)):
        raise PindoConfigurationError(f"{name} is {value!r}: give more than no time")
    return seconds


class Missing(ChainableUndefined):
    """What a missing name is in a template: ``?`` as text, also its attributes, items and method calls."""

    def __str__(self) -> str:
        return "?"

    def __call__(self, *args: Any, **kwargs: Any) -> Missing:  # type: ignore[override]
        """Return the same for a call."""
        return self
