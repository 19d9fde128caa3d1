"""Text people when something happens to a DAG or a task.

:class:`PindoNotifier` works in every place where Airflow takes a notifier. It never raises, and it never takes
longer than its timeout, so that it cannot break what it reports on. With ``throttle``, one incident is one text.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any, Never, TypeVar

from airflow.providers.common.compat.sdk import BaseNotifier
from jinja2 import ChainableUndefined

from airflow_provider_pindo._metrics import ALERT, count_messages
from airflow_provider_pindo._policy.timing import Timing
from airflow_provider_pindo._templates import TextTemplater
from airflow_provider_pindo.api.arguments import check_whole_number, read_flag, read_optional, read_seconds
from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.api.limits import DEFAULT_CONN_ID
from airflow_provider_pindo.api.phone import mask_numbers_in
from airflow_provider_pindo.api.redaction import safe_message
from airflow_provider_pindo.api.windows import parse_window
from airflow_provider_pindo.notifications._event import parse_event
from airflow_provider_pindo.notifications._sending import Alert, log_errors, send_alert
from airflow_provider_pindo.notifications._timebox import TimeLimit, in_background

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from jinja2 import Undefined

_T = TypeVar("_T")
_D = TypeVar("_D")

_log = logging.getLogger(__name__)

_NOT_SENT = "No alert was sent"
#: Segments of an alert, unless the DAG's author wants more.
_MAX_SEGMENTS = 1
#: Seconds for a whole alert: a failed task ends at most this much later.
_TIMEOUT = 10.0
_SEPARATORS = re.compile(r"[,;\n]")


class PindoNotifier(TextTemplater, BaseNotifier):
    """Text one or more people from a callback of a DAG or a task, or from a deadline alert.

    The simplest use is on a DAG. A run that fails sends one text, even if many of its tasks failed::

        with DAG("etl", on_failure_callback=PindoNotifier("+250781234567")):
            ...

    On a task, or in ``default_args``, every failing task instance would send a text. ``throttle`` sends one text
    for each incident::

        default_args = {"on_failure_callback": PindoNotifier(ON_CALL, throttle=timedelta(minutes=15))}

    The first failure is sent. Further failures within the window are held back and counted. The next text after
    the window says how many there were: ``(499 more held back)``. Under load, Airflow may call back twice for one
    failure; it counts once. This works across all processes and machines, through Variables in Airflow's
    database; see :doc:`/howto/alert`. Airflow 3.0 to 3.2 and a deadline's ``SyncCallback`` cannot list and write
    Variables: every text is sent there, and the log says so.

    A deadline alert (Airflow 3.1 and later) runs in the triggerer::

        DeadlineAlert(..., callback=AsyncCallback(PindoNotifier, kwargs={"to": "+250781234567"}))

    An alert that cannot be sent is logged as an error. It does not raise, because Airflow would log the
    recipients with the exception. For the same reason a wrong argument of a deadline alert is logged, and its
    default is used: Airflow reads these arguments only when the deadline is missed.

    The notifier never repeats a message that may have been sent. But Airflow restarts a deadline's callback when
    its triggerer stops, and the text may then be sent twice. With ``throttle`` it is sent once. If the triggerer
    stops just before the send, the text is not sent. The next text then counts it.

    :param to: the people to text: a number, several numbers separated by commas, or a list. Required. If one cannot
        be rendered, the others are still texted. (templated)
    :param text: the message. Default: the event, the DAG, the task, the run's date and the try. Then the first line
        of the exception with masked phone numbers, and the log's address if it fits. A name that is missing in the
        callback's context renders as ``?``. If a template cannot be rendered, the default is used, also for the other
        arguments except ``to``. Values that Airflow knows as secret are masked. (templated)
    :param sender: sender ID of at most 11 characters; the connection's when None. (templated)
    :param max_segments: the longest message, in segments, which are what Pindo bills. A longer text is cut at a
        word. Default 1.
    :param throttle: how long a text holds back the next ones, as a ``timedelta`` or in seconds. None (default)
        holds back nothing.
    :param throttle_key: the name of the incident. Default: the kind of event (a failure, a retry…), the DAG and
        the task. Each list of recipients is throttled separately. (templated)
    :param send_window: the days and hours in which alerts may be sent, such as ``08:00-20:00 Africa/Kigali``; see
        :doc:`/howto/when`. Outside it the alert is only logged, since no callback can wait. None (default) is any time:
        the connection's window does not bind alerts.
    :param timeout: the time limit of the whole alert, as a ``timedelta`` or in seconds, 10 by default. If Pindo
        does not respond, a failed task ends this much later. The throttle may use all but 3 seconds of it, or
        half if that is more. The text is sent if it cannot decide in time. Use a longer timeout if Airflow's API
        is slow.
    :param respect_suppression: leave out the numbers on the connection's ``suppression_list``. If the list cannot be
        read, no alert is sent. Default False, since an alert is for people on call.
    :param pindo_conn_id: Airflow connection of type ``pindo``. (templated)
    :param context: set by Airflow for a notifier that it awaits.
    :raises PindoConfigurationError: in a DAG file, for an invalid ``max_segments``, ``throttle``, ``send_window``,
        ``timeout`` or ``respect_suppression``.
    :raises TypeError: in a DAG file, without ``to`` or with an unknown argument.
    """

    template_fields: Sequence[str] = ("to", "text", "sender", "throttle_key", "pindo_conn_id")

    def __init__(
        self,
        to: str | Iterable[str] | None = None,
        text: str | None = None,
        *,
        sender: str | None = None,
        max_segments: int = _MAX_SEGMENTS,
        throttle: timedelta | float | None = None,
        throttle_key: str | None = None,
        send_window: str | None = None,
        timeout: timedelta | float = _TIMEOUT,
        respect_suppression: bool = False,
        pindo_conn_id: str = DEFAULT_CONN_ID,
        context: Context | None = None,
        **unknown: Never,
    ) -> None:
        super().__init__()  # Airflow 2.11 takes no context here
        # Airflow creates a deadline's notifier with a context. If that raises, Airflow logs the recipients.
        is_deadline = context is not None
        if not is_deadline and to is None:
            raise TypeError("PindoNotifier needs the argument 'to': the phone numbers to text")
        if not is_deadline and unknown:
            raise TypeError(f"PindoNotifier got an unexpected keyword argument {next(iter(unknown))!r}")
        for name in unknown:
            _log.error("Deadline alert: PindoNotifier has no argument %r; it is ignored", name)
        self.context = context or {}
        self.to = list(to) if isinstance(to, Iterator) else to  # each callback reads it anew
        self.text = text
        self.sender = sender
        self.max_segments = _check(
            check_whole_number, "max_segments", max_segments, _MAX_SEGMENTS, is_deadline
        )
        self.throttle = (
            None if throttle is None else _check(_positive_seconds, "throttle", throttle, None, is_deadline)
        )
        self.throttle_key = throttle_key
        self.send_window = _check(_window, "send_window", send_window, None, is_deadline)
        self.timeout = _check(_positive_seconds, "timeout", timeout, _TIMEOUT, is_deadline)
        self.respect_suppression = _check(
            read_flag, "respect_suppression", respect_suppression, False, is_deadline
        )
        self.pindo_conn_id = pindo_conn_id

    def __call__(self, *args: Any) -> None:
        """Send, with a callback's context or with the arguments of an SLA miss (Airflow 2)."""
        # The base class renders the arguments into the notifier. All callbacks of a DAG file share one notifier,
        # so the next callback would send this one's text.
        self.notify(args[0] if len(args) == 1 else dict(zip(("dag", "task_list"), args, strict=False)))

    def __await__(self) -> Generator[Any, None, None]:
        """Send, with the context that the notifier was created with."""
        return self.async_notify(self.context).__await__()

    def notify(self, context: Any) -> None:
        """Send, and wait for at most :attr:`timeout` seconds. Nothing is raised.

        :param context: the callback's context.
        """
        with log_errors(_NOT_SENT):
            if not self._is_window_open(context):
                return
            limit = TimeLimit(self.timeout)
            alert = limit.run(self._render_alert, context)
            from airflow_provider_pindo.hooks.pindo import PindoHook

            settings = limit.run(lambda: PindoHook(alert.pindo_conn_id).settings)
            send_alert(alert, settings, limit)

    async def async_notify(self, context: Any) -> None:
        """Send like :meth:`notify`, in a thread: the triggerer's event loop must not block."""
        with log_errors(_NOT_SENT):
            if not self._is_window_open(context):
                return
            limit = TimeLimit(self.timeout)
            alert = await limit.run_off_loop(self._render_alert, context)
            from airflow_provider_pindo.hooks.pindo import PindoAsyncHook

            # Shielded, because outside the triggerer Airflow's own channel does not survive a cancellation.
            reading = asyncio.shield(PindoAsyncHook(alert.pindo_conn_id).get_settings())
            settings = await asyncio.wait_for(reading, limit.remaining())
            await asyncio.wrap_future(in_background(send_alert, alert, settings, limit))

    def _is_window_open(self, context: Any) -> bool:
        """Return whether alerts may be sent now; log it if not."""
        if self.send_window is None:
            return True
        dag = context.get("dag") if isinstance(context, Mapping) else None
        timing = Timing(parse_window("send_window", self.send_window, getattr(dag, "timezone", UTC)))
        if not timing.is_open:
            _log.warning("%s: %s", _NOT_SENT, timing.why_closed())
            count_messages(ALERT, skipped=sum(1 for _ in _split_numbers(self.to)))
        return timing.is_open

    def _render_alert(self, context: Any) -> Alert:
        """Render the arguments into a value. The notifier itself does not change."""
        from jinja2 import StrictUndefined

        event = parse_event(context)
        text = _clean(self._render_or_default("text", context, _MissingName, ""))
        sender = self._render_or_default("sender", context, StrictUndefined, None)
        throttle_key = self._render_or_default("throttle_key", context, StrictUndefined, None)
        conn_id = self._render_or_default("pindo_conn_id", context, StrictUndefined, DEFAULT_CONN_ID)
        return Alert(
            to=tuple(self._render_numbers(self.to, context)),
            text=text or _clean(event.text()),
            log_url="" if text else _clean(event.log_url),
            sender=read_optional(sender and str(sender)),
            max_segments=self.max_segments,
            window=self.throttle,
            incident=read_optional(throttle_key and str(throttle_key)) or event.incident(),
            event_id=event.id,
            pindo_conn_id=str(conn_id),
            respect_suppression=self.respect_suppression,
        )

    def _render_numbers(self, to: Any, context: Any) -> Iterator[str]:
        """Yield the numbers of ``to``. If it cannot be rendered, render its parts, and log those that fail."""
        try:
            yield from list(_split_numbers(self._render_one(to, context, _MissingName)))
        except Exception as error:
            parts = _SEPARATORS.split(to) if isinstance(to, str) else to
            if isinstance(parts, list | tuple | set) and len(parts) > 1:
                for part in parts:
                    yield from self._render_numbers(part, context)
            else:
                _log.error("A recipient of an alert cannot be rendered: %s", safe_message(error))

    def _render_or_default(self, name: str, context: Any, undefined: type[Undefined], default: Any) -> Any:
        value = getattr(self, name)
        try:
            return default if value is None else self._render_one(value, context, undefined)
        except Exception as error:
            _log.warning(
                "Argument %r cannot be rendered (%s); its default is used", name, safe_message(error)
            )
            return default

    def _render_one(self, value: Any, context: Any, undefined: type[Undefined]) -> Any:
        try:
            env = context["dag"].get_template_env(force_sandboxed=True)
        except Exception:  # no DAG, or a serialized one, as dag.test() has it
            env = self.get_template_env()
        env.undefined = undefined
        return self.render_template(value, context, jinja_env=env)


#: The notifier under the naming convention of other providers.
send_pindo_notification = PindoNotifier


class _MissingName(ChainableUndefined):
    """A missing name in a template renders as ``?``, and so do its attributes, items and calls."""

    def __str__(self) -> str:
        return "?"

    def __call__(self, *args: Any, **kwargs: Any) -> _MissingName:  # type: ignore[override]
        """Return the same for a call."""
        return self


def _clean(text: object) -> str:
    """Return ``text`` with Airflow's secrets masked, and without characters that cannot be encoded."""
    from airflow.providers.common.compat.sdk import redact

    return str(redact(str(text).strip())).encode("utf-8", "replace").decode("utf-8")


def _split_numbers(value: Any) -> Iterator[str]:
    """Yield the numbers of a rendered ``to``. A template may render a list as text."""
    if isinstance(value, str):
        for part in _SEPARATORS.split(value):
            if number := part.strip(" \t\r[]'\""):
                yield number
    elif isinstance(value, Iterable):
        for item in value:
            yield from _split_numbers(item)
    elif value is not None:
        yield str(value)


def _check(
    check: Callable[[str, Any], _T], name: str, value: object, default: _D, is_deadline: bool
) -> _T | _D:
    """Return the checked argument. A deadline's invalid argument is logged, and gives ``default``."""
    try:
        return check(name, value)
    except PindoConfigurationError as error:
        if not is_deadline:
            raise
        _log.error("Deadline alert: %s; its default is used", mask_numbers_in(str(error)))
        return default


def _window(name: str, value: Any) -> str | None:
    """Return the window as it was written, checked; None when it is empty."""
    return value if value is not None and parse_window(name, value, UTC) else None


def _positive_seconds(name: str, value: object) -> float:
    if not (seconds := read_seconds(name, value)):
        raise PindoConfigurationError(f"{name} is {value!r}: it must be greater than 0 s")
    return seconds
