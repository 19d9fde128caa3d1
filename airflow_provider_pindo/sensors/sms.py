"""Wait for a reply: a task that is done when enough inbound messages match."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_3_PLUS

from airflow_provider_pindo._inbox.backoff import MAX_CONSECUTIVE_FAILURES, FailureBudget, poll_backoff
from airflow_provider_pindo._inbox.filter import InboundFilter, compile_pattern
from airflow_provider_pindo._inbox.scan import Cursor
from airflow_provider_pindo._ledger.waiting import WaitingMemory
from airflow_provider_pindo.api.arguments import check_whole_number, read_since
from airflow_provider_pindo.api.errors import PindoError, PindoServerError

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_pindo.hooks.pindo import PindoHook

#: The method by which Airflow resumes a task whose deferral took too long, or whose trigger failed, and what it says
#: of the latter (airflow.models.trigger).
_ENDED_BY_AIRFLOW = "__fail__"
_TRIGGER_FAILED = "Trigger failure"
_TEMPLATE = ("{{", "{%", "{#")


class PindoInboundSmsSensor(BaseSensorOperator):
    r"""Wait until an inbound message matches, and return the matches.

    Pindo's inbound list does not say who sent a message. Tell a reply from another person's by a code in the
    text that you send ("Reply YES 4821 or NO 4821"), and wait for that::

        PindoInboundSmsSensor(
            task_id="wait_for_reply",
            pattern=r"(?i)\b(?P<answer>yes|no)\W+4821\b",
            since="{{ ti.xcom_pull('moment_of_sending') }}",
            deferrable=True,
        )

    A 5xx, a timeout or a 429 while it waits does not fail the task: it goes on, ever more slowly, and gives
    up after ``max_consecutive_failures`` or when Pindo refuses the token. ``soft_fail`` skips the task when no
    reply came in time, and then alone: that Pindo refuses the token is no person's silence, nor is it that Pindo did
    not answer when the time was up, after which a retry looks again. In reschedule mode
    before Airflow 3.3 nothing can be counted from one look to the next, and only the timeout ends it.

    :param pattern: regular expression searched in the text; its named groups come back. Texts come from
        strangers, so it is RE2's: no look-around and no backreferences, and time linear in the text, whatever
        the text. One that RE2 does not take is an error when the DAG is parsed; a template's, when the task
        runs. (templated)
    :param from_number: the sender's number, where messages name one; where they do not, the task fails and
        says so. National numbers, here and in the messages, are read by the connection's ``country``. (templated)
    :param inbound_number: the account's number or short code that the message must have come to; any when
        None. (templated)
    :param since: aware time, or one as ISO text: messages created then or later count. Where a reply is
        awaited, the moment of the send, or of the run. Default: this task's first start, which retries and
        clears do not move (Airflow 3.3 without ``clear_on_success``; before it, the run's start). Pindo's times
        are compared with it, so the connection's ``timezone`` must be right. (templated)
    :param min_matches: how many messages must match; all that do by then are returned.
    :param max_consecutive_failures: how many looks at the list may fail in a row; 20, which with the default
        ``poke_interval`` of a minute bridges an hour and a half.
    :param deferrable: wait in the triggerer, without a worker; default from ``[operators] default_deferrable``.
    :param start_from_trigger: start and end in the triggerer, so that waiting never takes a worker (Airflow
        3.3). It needs ``deferrable`` and ``since``, and templates in place of XComArgs; where Airflow or these
        do not allow it (a mapped task), the task says so and is deferred from the worker.
    :param pindo_conn_id: Airflow connection of type ``pindo``. (templated)
    :return: the matches, oldest first: ``{"id", "text", "created_at" (ISO 8601 with its zone),
        "inbound_sms_number", "groups", "raw"}``. They are stored as the task's XCom, as any result is.
    :raises AirflowFailException: a retry cannot help: a refused token, bad input, senders that are not named.
    :raises PindoError: Pindo did not answer for too long.
    """

    template_fields: Sequence[str] = ("pattern", "from_number", "inbound_number", "since", "pindo_conn_id")
    ui_color = "#e6f4ee"

    def __init__(
        self,
        *,
        pattern: str,
        from_number: str | None = None,
        inbound_number: str | None = None,
        since: datetime | str | None = None,
        min_matches: int = 1,
        max_consecutive_failures: int = MAX_CONSECUTIVE_FAILURES,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        start_from_trigger: bool = False,
        pindo_conn_id: str = "pindo_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pattern = pattern
        self.from_number = from_number
        self.inbound_number = inbound_number
        self.since = since
        self.min_matches = min_matches
        self.max_consecutive_failures = max_consecutive_failures
        self.deferrable = deferrable
        self.pindo_conn_id = pindo_conn_id
        self._waiting: _Waiting | None = None
        self._failed_look: PindoError | None = None
        self._pause = 0.0
        if pattern is None or (isinstance(pattern, str) and not any(mark in pattern for mark in _TEMPLATE)):
            compile_pattern(pattern)
        if isinstance(since, datetime):
            read_since(since)
        check_whole_number("min_matches", min_matches)
        check_whole_number("max_consecutive_failures", max_consecutive_failures)
        self._not_in_triggerer = self._why_not_in_triggerer() if start_from_trigger else None
        if start_from_trigger and self._not_in_triggerer is None:
            self._start_in_triggerer()

    @cached_property
    def hook(self) -> PindoHook:
        """The hook that reads the list."""
        from airflow_provider_pindo.hooks.pindo import PindoHook

        return PindoHook(self.pindo_conn_id)

    def execute(self, context: Context) -> Any:
        """Look at the list, and wait while too few messages match."""
        try:
            if not self.deferrable:
                return self._poke_until_done(context)
            with self._skipping():
                if done := self.poke(context):
                    return done.xcom_value
                self._defer(context)
        finally:
            self.hook.close()

    def _poke_until_done(self, context: Context) -> Any:
        try:
            return super().execute(context)
        except (AirflowSensorTimeout, AirflowSkipException) as error:
            raise self._ended(error) from error.__cause__

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume the task; look once more where Airflow ends its waiting: the trigger's last look was before that."""
        if next_method != _ENDED_BY_AIRFLOW:
            return super().resume_execution(next_method, next_kwargs, context)
        try:
            with self._skipping():
                if done := self._poll_once(context, retry=True):
                    return done.xcom_value
            if (next_kwargs or {}).get("error") == _TRIGGER_FAILED:
                self.soft_fail = False  # the time is not up, so it is no person's silence
            return super().resume_execution(next_method, next_kwargs, context)
        except AirflowException as error:
            raise self._ended(error) from error.__cause__
        finally:
            self.hook.close()

    def _ended(self, error: AirflowException) -> Exception:
        """Return what ends the task once Airflow says that its time is up: that the last look failed, if it did."""
        if self.never_fail:
            return AirflowSkipException(str(error))
        if isinstance(error, AirflowFailException):
            return error
        return self._failed_look or error

    @contextmanager
    def _skipping(self) -> Iterator[None]:
        """Skip the task where ``soft_fail`` or ``never_fail`` ask for it; Airflow does so around a poke alone."""
        try:
            yield
        except (AirflowFailException, AirflowSensorTimeout, PindoError) as error:
            if self.never_fail or (self.soft_fail and isinstance(error, AirflowSensorTimeout)):
                raise AirflowSkipException(str(error)) from error
            raise

    def _final(self, reason: str) -> AirflowFailException:
        """Return what ends the task for good, whatever ``soft_fail`` says: that is for a reply that does not come."""
        self.soft_fail = False  # Airflow would take this for such a silence
        return AirflowFailException(reason)

    def poke(self, context: Context) -> PokeReturnValue:
        """Read the list once. The next poke is the retry."""
        return self._poll_once(context, retry=False)

    def _poll_once(self, context: Context, *, retry: bool) -> PokeReturnValue:
        try:
            self._waiting = self._waiting or self._begin(context)
            self._look(self._waiting, retry=retry)
        except PindoError as error:
            self._tolerate(error)
            return PokeReturnValue(is_done=False)
        matches = self._waiting.matches
        return PokeReturnValue(is_done=len(matches) >= self.min_matches, xcom_value=_oldest_first(matches))

    def execute_complete(
        self, context: Context, event: dict[str, Any], failures: int = 0
    ) -> list[dict[str, Any]]:
        """Return the messages that the trigger saw.

        :param failures: how often this has been tried in vain; the task then waits again, for the messages stay.
        """
        from airflow_provider_pindo.triggers.sms import FAILED

        with self._skipping():
            if event["status"] == FAILED:
                if event["retry_helps"]:
                    raise PindoServerError(event["reason"])
                raise self._final(event["reason"])
            try:
                return self._read_again(set(event["ids"]))
            except PindoError as error:
                if not error.retry_helps:
                    raise self._final(str(error)) from error
                if failures + 1 >= self.max_consecutive_failures or self._left(context) <= timedelta(0):
                    raise
                self._failed_look = error
                self.log.warning("Cannot read the messages that matched now, and wait on: %s", error)
                self._waiting = self._begin(context)
                self._defer(context, failures=failures + 1)

    def _read_again(self, ids: set[int]) -> list[dict[str, Any]]:
        from airflow_provider_pindo.hooks.pindo import PindoHook

        with PindoHook(self.pindo_conn_id) as hook:
            messages = [each for each in hook.iter_inbound_sms(after_id=min(ids) - 1) if each.id in ids]
            matches = self._filter().matches(messages)
        if missing := ids - {match["id"] for match in matches}:
            gone = f"inbound messages {sorted(missing)} matched, and are gone from Pindo's list, or match no more"
            if len(matches) < self.min_matches:
                raise PindoServerError(gone)
            self.log.warning("%s; the others are enough", gone)
        self.log.info("Matched by messages %s", [match["id"] for match in matches])
        return matches

    def _begin(self, context: Context) -> _Waiting:
        memory = WaitingMemory(context)
        since = memory.first_start() if self.since is None else read_since(self.since)
        return _Waiting(
            memory=memory,
            wanted=self._filter(),
            patience=FailureBudget(self.max_consecutive_failures, memory.failures if self.reschedule else 0),
            since=since,
            place=Cursor(since=since),
        )

    def _filter(self) -> InboundFilter:
        compile_pattern(
            self.pattern
        )  # which an upstream task may have left empty: that is not to take every text
        return InboundFilter(
            self.pattern,
            from_number=self.from_number,
            inbound_number=self.inbound_number,
            country=self.hook.settings.country,
        )

    def _look(self, waiting: _Waiting, *, retry: bool) -> None:
        result = self.hook.read_inbox([waiting.place], retry_first_page=retry)
        waiting.wanted.check_senders(result.names_senders)
        waiting.matches += waiting.wanted.matches(result.messages)
        waiting.place = waiting.place.advance_to(result.highest_id)
        waiting.patience.succeeded()
        self._keep_failures(waiting)
        self._pause, self._failed_look = 0.0, None

    def _tolerate(self, error: PindoError) -> None:
        """Go on waiting after ``error``, or raise what ends the task."""
        waiting, self._failed_look = self._waiting, error
        try:
            if waiting is None:
                raise error
            waiting.patience.failed(error)
        except PindoError:
            if waiting is not None:
                waiting.patience.succeeded()  # the next try has the same patience
                self._keep_failures(waiting)
            if error.retry_helps:
                raise
            raise self._final(str(error)) from error
        self._keep_failures(waiting)
        self._pause = poll_backoff(waiting.patience.failures, self.poke_interval, error)
        self.log.warning("Cannot look for messages now, and wait on: %s", error)

    def _keep_failures(self, waiting: _Waiting) -> None:
        if self.reschedule and not self.deferrable:
            waiting.memory.keep_failures(waiting.patience.failures)

    def _get_next_poke_interval(
        self, started_at: Any, run_duration: Callable[[], float], estimated_poke_count: int
    ) -> float:
        """Keep away longer from a Pindo that does not answer, but not beyond the timeout."""
        interval = super()._get_next_poke_interval(started_at, run_duration, estimated_poke_count)
        return max(float(interval), min(self._pause, self.timeout - run_duration()))

    def _defer(self, context: Context, **next_kwargs: Any) -> NoReturn:
        """Wait in the triggerer for what is left of the timeout, which began with this try of the task."""
        from airflow_provider_pindo.triggers.sms import PindoInboundSmsTrigger

        if self._not_in_triggerer:
            self.log.warning(
                "Not started in the triggerer, deferred from the worker: %s", self._not_in_triggerer
            )
        elif self.start_from_trigger:
            self.log.warning(
                "Not started in the triggerer, deferred from the worker: Airflow starts no mapped task there"
            )
        if self._waiting is None:  # pragma: no cover - poke() has set it
            raise RuntimeError("the list was not looked at before the task was deferred")
        if (left := self._left(context)) <= timedelta(0):
            raise self._failed_look or AirflowSensorTimeout(
                f"no reply within {self.timeout:,.0f} seconds, the sensor's timeout"
            )
        self.defer(
            trigger=PindoInboundSmsTrigger(
                **{**self._trigger_kwargs(), "since": self._waiting.since.isoformat()}
            ),
            method_name="execute_complete",
            kwargs=next_kwargs,
            timeout=left,
        )

    def _left(self, context: Context) -> timedelta:
        """Return how long this try of the task may go on waiting."""
        now = datetime.now(UTC)
        return timedelta(seconds=self.timeout) - (now - (context["ti"].start_date or now))

    def _trigger_kwargs(self) -> dict[str, Any]:
        return {
            "pattern": self.pattern,
            "since": self.since.isoformat() if isinstance(self.since, datetime) else self.since,
            "from_number": self.from_number,
            "inbound_number": self.inbound_number,
            "min_matches": self.min_matches,
            "poke_interval": self.poke_interval,
            "max_consecutive_failures": self.max_consecutive_failures,
            "pindo_conn_id": self.pindo_conn_id,
        }

    def _why_not_in_triggerer(self) -> str | None:
        if not AIRFLOW_V_3_3_PLUS:  # pragma: no cover - Airflow 2.11 to 3.2
            return "this Airflow renders no templates there (3.3 does)"
        if not self.deferrable:
            return "deferrable is False"
        if self.since is None:
            return "without 'since' the task's first start counts, which only a worker can keep"
        for name in self.template_fields:
            if not isinstance(getattr(self, name), str | datetime | None):
                return f"{name!r} is not a string: write the XComArg as a template"
        return None

    def _start_in_triggerer(self) -> None:
        from airflow.triggers.base import StartTriggerArgs

        self.start_from_trigger = True
        self.start_trigger_args = StartTriggerArgs(
            trigger_cls="airflow_provider_pindo.triggers.sms.PindoInboundSmsTrigger",
            trigger_kwargs={**self._trigger_kwargs(), "end_task": True},
            next_method="execute_complete",
            next_kwargs=None,
            timeout=timedelta(seconds=self.timeout),
        )


@dataclass(slots=True)
class _Waiting:
    """What one process has seen so far."""

    memory: WaitingMemory
    wanted: InboundFilter
    patience: FailureBudget
    since: datetime
    place: Cursor
    matches: list[dict[str, Any]] = field(default_factory=list)


def _oldest_first(matches: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(matches, key=lambda match: match["id"])
