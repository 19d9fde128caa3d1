"""Wait for a reply: a task that succeeds when enough inbound messages match."""

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
from airflow_provider_pindo._templates import TextFields
from airflow_provider_pindo.api.arguments import check_whole_number, read_since
from airflow_provider_pindo.api.errors import PindoError, PindoServerError

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_pindo.hooks.pindo import PindoHook

#: The method by which Airflow resumes a task after a deferral that timed out or a trigger that failed, and the error
#: that it gives for the latter (airflow.models.trigger).
_ENDED_BY_AIRFLOW = "__fail__"
_TRIGGER_FAILED = "Trigger failure"
_TEMPLATE = ("{{", "{%", "{#")


class PindoInboundSmsSensor(TextFields, BaseSensorOperator):
    r"""Wait until an inbound message matches, and return the matches.

    Pindo's inbound list does not say who sent a message. To recognise a person's reply, put a code into the text that
    you send ("Reply YES 4821 or NO 4821"), and wait for that code::

        PindoInboundSmsSensor(
            task_id="wait_for_reply",
            pattern=r"(?i)\b(?P<answer>yes|no)\W+4821\b",
            since="{{ ti.xcom_pull('moment_of_sending') }}",
            deferrable=True,
        )

    A 5xx, a timeout or a 429 does not fail the task: it polls on with growing pauses. It fails after
    ``max_consecutive_failures``, or when Pindo refuses the token.

    ``soft_fail`` skips only when no reply arrived in time. A refused token, or Pindo being down at the deadline, still
    fails the task. In reschedule mode before Airflow 3.3, failures are not counted and only the timeout ends the task.

    :param pattern: RE2 pattern searched in the text; its named groups are returned. RE2 has no look-around and no
        backreferences, so no stranger's text can stall the task. An invalid pattern is an error when the DAG is parsed;
        a template's, when the task runs. (templated)
    :param from_number: number of the sender. If the account's messages do not name senders, the task fails and says so.
        The connection's ``country`` reads national numbers, here and in the messages. (templated)
    :param inbound_number: the account's number or short code that the message was sent to; None matches all.
        (templated)
    :param since: aware time, or one as ISO text: messages created then or later count. Use the time of the send, or of
        the run. Default: the task's first start, which retries and clears do not move (Airflow 3.3 without
        ``clear_on_success``; before 3.3, the run's start). It is compared with Pindo's times, so the connection's
        ``timezone`` must be right. (templated)
    :param min_matches: how many messages must match; all that match by then are returned.
    :param max_consecutive_failures: how many failed polls in a row fail the task. The default of 20 bridges an hour and
        a half with the default ``poke_interval`` of a minute.
    :param deferrable: wait in the triggerer, without a worker; default from ``[operators] default_deferrable``.
    :param start_from_trigger: start and end in the triggerer, so that the task never takes a worker (Airflow 3.3). It
        needs ``deferrable``, ``since``, and templates instead of XComArgs. If that is not possible, as for a mapped
        task, the task is deferred from a worker and logs why.
    :param pindo_conn_id: Airflow connection of type ``pindo``. (templated)
    :return: the matches, oldest first: ``{"id", "text", "created_at" (ISO 8601 with its zone), "inbound_sms_number",
        "groups", "raw"}``. Airflow stores them as the task's XCom.
    :raises AirflowFailException: a retry cannot help: a refused token, an invalid argument, unnamed senders.
    :raises PindoError: Pindo gave no usable response for too long.
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
        self._poll_error: PindoError | None = None
        self._backoff = 0.0
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
        """The hook that reads the inbound list."""
        from airflow_provider_pindo.hooks.pindo import PindoHook

        return PindoHook(self.pindo_conn_id)

    def execute(self, context: Context) -> Any:
        """Read the inbound list, and wait until enough messages match."""
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
            raise self._final_error(error) from error.__cause__

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume the task. If Airflow ended the deferral, poll once more: a reply may have arrived since."""
        if next_method != _ENDED_BY_AIRFLOW:
            return super().resume_execution(next_method, next_kwargs, context)
        try:
            with self._skipping():
                if done := self._poll_once(context, retry=True):
                    return done.xcom_value
            if (next_kwargs or {}).get("error") == _TRIGGER_FAILED:
                self.soft_fail = False  # the deadline has not passed, so a reply may still arrive
            return super().resume_execution(next_method, next_kwargs, context)
        except AirflowException as error:
            raise self._final_error(error) from error.__cause__
        finally:
            self.hook.close()

    def _final_error(self, error: AirflowException) -> Exception:
        """Return what ends the task at its deadline: the error of the last poll, or else Airflow's ``error``."""
        if self.never_fail:
            return AirflowSkipException(str(error))
        if isinstance(error, AirflowFailException):
            return error
        return self._poll_error or error

    @contextmanager
    def _skipping(self) -> Iterator[None]:
        """Skip the task as ``soft_fail`` or ``never_fail`` say. Airflow itself does so only around a poke."""
        try:
            yield
        except (AirflowFailException, AirflowSensorTimeout, PindoError) as error:
            if self.never_fail or (self.soft_fail and isinstance(error, AirflowSensorTimeout)):
                raise AirflowSkipException(str(error)) from error
            raise

    def _fail(self, reason: str) -> AirflowFailException:
        """Return the error that fails the task without a retry. ``soft_fail`` is only for a missing reply."""
        self.soft_fail = False  # Airflow would skip the task
        return AirflowFailException(reason)

    def poke(self, context: Context) -> PokeReturnValue:
        """Read the inbound list once. The next poke is the retry."""
        return self._poll_once(context, retry=False)

    def _poll_once(self, context: Context, *, retry: bool) -> PokeReturnValue:
        try:
            self._waiting = waiting = self._waiting or self._begin(context)
            result = self.hook.read_inbox([waiting.cursor], retry_first_page=retry)
            waiting.inbound_filter.check_senders(result.names_senders)
        except PindoError as error:
            self._tolerate(error)
            return PokeReturnValue(is_done=False)
        waiting.matches += waiting.inbound_filter.matches(result.messages)
        waiting.cursor = waiting.cursor.advance_to(result.highest_id)
        waiting.budget.reset()
        self._store_failures(waiting)
        self._backoff, self._poll_error = 0.0, None
        matches = sorted(waiting.matches, key=lambda match: match["id"])
        return PokeReturnValue(is_done=len(matches) >= self.min_matches, xcom_value=matches)

    def execute_complete(
        self, context: Context, event: dict[str, Any], failures: int = 0
    ) -> list[dict[str, Any]]:
        """Return the messages that the trigger found.

        :param failures: how often reading them has failed. After a failure the task waits again.
        """
        from airflow_provider_pindo.triggers._watcher import FAILED

        with self._skipping():
            if event["status"] == FAILED:
                if event["retry_helps"]:
                    raise PindoServerError(event["reason"])
                raise self._fail(event["reason"])
            try:
                return self._read_matches(set(event["ids"]))
            except PindoError as error:
                if not error.retry_helps:
                    raise self._fail(str(error)) from error
                if failures + 1 >= self.max_consecutive_failures or self._remaining(context) <= timedelta(0):
                    raise
                self._poll_error = error
                self.log.warning("Cannot read the messages that matched; the task waits on: %s", error)
                self._defer(context, failures=failures + 1)

    def _read_matches(self, ids: set[int]) -> list[dict[str, Any]]:
        with self.hook as hook:
            messages = [
                message for message in hook.iter_inbound_sms(after_id=min(ids) - 1) if message.id in ids
            ]
            matches = self._filter().matches(messages)
        if missing := ids - {match["id"] for match in matches}:
            problem = (
                f"inbound messages {sorted(missing)} matched before, but are missing or do not match now"
            )
            if len(matches) < self.min_matches:
                raise PindoServerError(problem)
            self.log.warning("%s; the others are enough", problem)
        self.log.info("Matched by messages %s", [match["id"] for match in matches])
        return matches

    def _begin(self, context: Context) -> _Waiting:
        memory = WaitingMemory(context)
        since = memory.first_start() if self.since is None else read_since(self.since)
        return _Waiting(
            memory=memory,
            inbound_filter=self._filter(),
            budget=FailureBudget(self.max_consecutive_failures, memory.failures if self.reschedule else 0),
            since=since,
            cursor=Cursor(since=since),
        )

    def _filter(self) -> InboundFilter:
        # The pattern of an upstream task may be empty, which must not match every text.
        compile_pattern(self.pattern)
        return InboundFilter(
            self.pattern,
            from_number=self.from_number,
            inbound_number=self.inbound_number,
            country=self.hook.settings.country,
        )

    def _tolerate(self, error: PindoError) -> None:
        """Wait on after ``error``, or raise the error that ends the task."""
        waiting, self._poll_error = self._waiting, error
        try:
            if waiting is None:
                raise error
            waiting.budget.record_failure(error)
        except PindoError:
            if waiting is not None:
                waiting.budget.reset()  # a retry gets the whole budget
                self._store_failures(waiting)
            if error.retry_helps:
                raise
            raise self._fail(str(error)) from error
        self._store_failures(waiting)
        self._backoff = poll_backoff(waiting.budget.failures, self.poke_interval, error)
        self.log.warning("Cannot read the inbound list; the task waits on: %s", error)

    def _store_failures(self, waiting: _Waiting) -> None:
        if self.reschedule and not self.deferrable:
            waiting.memory.keep_failures(waiting.budget.failures)

    def _get_next_poke_interval(
        self, started_at: Any, run_duration: Callable[[], float], estimated_poke_count: int
    ) -> float:
        """Pause longer after failures, but not beyond the timeout."""
        interval = super()._get_next_poke_interval(started_at, run_duration, estimated_poke_count)
        return max(float(interval), min(self._backoff, self.timeout - run_duration()))

    def _defer(self, context: Context, **next_kwargs: Any) -> NoReturn:
        """Wait in the triggerer for the rest of the timeout, which began with this try of the task."""
        from airflow_provider_pindo.triggers.sms import PindoInboundSmsTrigger

        reason = self._not_in_triggerer
        if reason is None and self.start_from_trigger:
            reason = "Airflow starts no mapped task there"
        if reason:
            self.log.warning("Not started in the triggerer, deferred from the worker: %s", reason)
        waiting = self._waiting or self._begin(context)
        if (remaining := self._remaining(context)) <= timedelta(0):
            raise self._poll_error or AirflowSensorTimeout(
                f"no reply within {self.timeout:,.0f} seconds, the sensor's timeout"
            )
        self.defer(
            trigger=PindoInboundSmsTrigger(**{**self._trigger_kwargs(), "since": waiting.since.isoformat()}),
            method_name="execute_complete",
            kwargs=next_kwargs,
            timeout=remaining,
        )

    def _remaining(self, context: Context) -> timedelta:
        """Return the rest of this try's timeout; 0 or less when the timeout has passed."""
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
    """What one process has read so far."""

    memory: WaitingMemory
    inbound_filter: InboundFilter
    budget: FailureBudget
    since: datetime
    cursor: Cursor
    matches: list[dict[str, Any]] = field(default_factory=list)
