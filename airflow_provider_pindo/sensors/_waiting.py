"""The common part of the sensors: how a task waits in poke mode, in reschedule mode and in the triggerer.

A sensor reads its source, and decides whether that is enough. The rest is the same for all sensors:

* which failures a task tolerates, and for how long;
* what ends it at its deadline;
* what it keeps from one process to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)

from airflow_provider_pindo._inbox.backoff import MAX_CONSECUTIVE_FAILURES, FailureBudget, poll_backoff
from airflow_provider_pindo._ledger.waiting import WaitingMemory
from airflow_provider_pindo._templates import TextFields
from airflow_provider_pindo.api.arguments import check_whole_number
from airflow_provider_pindo.api.errors import (
    PindoAuthError,
    PindoConfigurationError,
    PindoError,
    PindoServerError,
)
from airflow_provider_pindo.api.limits import DEFAULT_CONN_ID

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from airflow.triggers.base import BaseTrigger

    from airflow_provider_pindo.hooks._events import EventReader
    from airflow_provider_pindo.hooks.pindo import PindoHook

#: The method by which Airflow resumes a task after a deferral that timed out or a trigger that failed, and the error
#: that it gives for the latter (airflow.models.trigger).
_ENDED_BY_AIRFLOW = "__fail__"
_TRIGGER_FAILED = "Trigger failure"


@dataclass(slots=True)
class Waiting:
    """What one process has read so far; a sensor adds what it needs."""

    memory: WaitingMemory
    budget: FailureBudget


class PindoWaitingSensor(TextFields, BaseSensorOperator):
    """Base of the sensors.

    :param max_consecutive_failures: how many failed polls in a row fail the task.
    :param deferrable: wait in the triggerer, without a worker; default from ``[operators] default_deferrable``.
    :param pindo_conn_id: Airflow connection of type ``pindo``. (templated)
    """

    template_fields: Sequence[str] = ("pindo_conn_id",)
    ui_color = "#e6f4ee"

    #: Name of the entry in the Task State Store.
    memory_key: str
    #: What it waits for, and what it reads, for its messages.
    waits_for: str
    reads: str

    def __init__(
        self,
        *,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        max_consecutive_failures: int = MAX_CONSECUTIVE_FAILURES,
        pindo_conn_id: str = DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.max_consecutive_failures = check_whole_number(
            "max_consecutive_failures", max_consecutive_failures
        )
        self.deferrable = deferrable
        self.pindo_conn_id = pindo_conn_id
        self._waiting: Any = None
        self._poll_error: PindoError | None = None
        self._backoff = 0.0

    def begin(self, memory: WaitingMemory, budget: FailureBudget) -> Any:
        """Check the arguments, and return the :class:`Waiting` of this process."""
        raise NotImplementedError

    def read(self, waiting: Any, *, retry_first_page: bool) -> PokeReturnValue:
        """Read the source once, into ``waiting``.

        :param retry_first_page: whether to try it again when it fails. The next poke is otherwise the retry.
        :raises PindoError: it cannot be read.
        """
        raise NotImplementedError

    def new_trigger(self, waiting: Any) -> BaseTrigger:
        """Return the trigger that waits for the rest."""
        raise NotImplementedError

    def result_at_deadline(self) -> Any:
        """Return the result of a task whose time is up, or None to end it as Airflow does."""
        return None

    @cached_property
    def hook(self) -> PindoHook:
        """The hook that reads."""
        from airflow_provider_pindo.hooks.pindo import PindoHook

        return PindoHook(self.pindo_conn_id)

    @cached_property
    def events(self) -> EventReader:
        """The reader of the events that Pindo's webhooks brought."""
        from airflow_provider_pindo.hooks._events import EventReader
        from airflow_provider_pindo.hooks._webhook_config import retention_days

        reader = EventReader(self.pindo_conn_id, settings=self.hook.settings)
        with suppress(PindoConfigurationError):  # the API server, which reads the option too, logs that
            if self.timeout > (days := retention_days()) * 86_400:
                self.log.warning(
                    "The timeout of %s s is longer than [pindo] webhook_retention_days = %d. The task may read events "
                    "again when they are deleted. Keep them longer, or shorten the timeout",
                    f"{self.timeout:,.0f}",
                    days,
                )
        return reader

    def close(self) -> None:
        """Close the connections."""
        self.hook.close()
        if "events" in self.__dict__:
            self.events.close()

    def execute(self, context: Context) -> Any:
        """Read the source, and wait until it has enough."""
        try:
            if not self.deferrable:
                return self._poke_until_done(context)
            with self._skipping():
                if done := self.poke(context):
                    return done.xcom_value
                return self._defer(context)
        finally:
            self.close()

    def _poke_until_done(self, context: Context) -> Any:
        try:
            return super().execute(context)
        except (AirflowSensorTimeout, AirflowSkipException) as error:
            if (result := self._result_without_error()) is not None:
                return result
            raise self._final_error(error) from error.__cause__

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume the task. If Airflow ended the deferral, poll once more: more may have arrived since."""
        if next_method != _ENDED_BY_AIRFLOW:
            return super().resume_execution(next_method, next_kwargs, context)
        try:
            with self._skipping():
                if done := self._poll_once(context, retry_first_page=True):
                    return done.xcom_value
            if (next_kwargs or {}).get("error") == _TRIGGER_FAILED:
                self.soft_fail = False  # the deadline has not passed, so more may still arrive
            elif (result := self._result_without_error()) is not None:
                return result
            return super().resume_execution(next_method, next_kwargs, context)
        except AirflowException as error:
            raise self._final_error(error) from error.__cause__
        finally:
            self.close()

    def _result_without_error(self) -> Any:
        """Return the result at the deadline, unless the last poll failed: the source may have more."""
        return self.result_at_deadline() if self._waiting is not None and self._poll_error is None else None

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
        """Return the error that fails the task without a retry. ``soft_fail`` is only for what did not arrive."""
        self.soft_fail = False  # Airflow would skip the task
        return AirflowFailException(reason)

    def poke(self, context: Context) -> PokeReturnValue:
        """Read the source once. The next poke is the retry."""
        return self._poll_once(context, retry_first_page=False)

    def _poll_once(self, context: Context, *, retry_first_page: bool) -> PokeReturnValue:
        try:
            self._waiting = waiting = self._waiting or self._begin(context)
            result = self._read_or_renew(waiting, retry_first_page=retry_first_page)
        except PindoError as error:
            self._tolerate(error)
            return PokeReturnValue(is_done=False)
        waiting.budget.reset()
        self._store_failures(waiting)
        self._backoff, self._poll_error = 0.0, None
        return result

    def _read_or_renew(self, waiting: Any, *, retry_first_page: bool) -> PokeReturnValue:
        """Read, and once more if the token or secret is refused and the connection has another one meanwhile."""
        try:
            return self.read(waiting, retry_first_page=retry_first_page)
        except PindoAuthError:
            refused = self.hook.settings
            self.close()
            for name in ("hook", "events"):
                self.__dict__.pop(name, None)
            if self.hook.settings == refused:
                raise
            return self.read(waiting, retry_first_page=retry_first_page)

    def _begin(self, context: Context) -> Any:
        memory = WaitingMemory(context, self.memory_key)
        failures = memory.failures if self.reschedule else 0
        return self.begin(memory, FailureBudget(self.max_consecutive_failures, failures))

    def _raise_failure(self, event: dict[str, Any]) -> None:
        """Raise the error that ended the wait in the triggerer, if there was one."""
        from airflow_provider_pindo.triggers._task import FAILED

        if event["status"] == FAILED:
            if event["retry_helps"]:
                raise PindoServerError(event["reason"])
            raise self._fail(event["reason"])

    def _keep_waiting(self, context: Context, error: PindoError, failures: int) -> Any:
        """Defer again after the task has resumed and could not read, or raise ``error``.

        :param failures: how often reading has failed before.
        """
        if not error.retry_helps:
            raise self._fail(str(error)) from error
        if failures + 1 >= self.max_consecutive_failures or self._remaining(context) <= timedelta(0):
            raise error
        self._poll_error = error
        self.log.warning("Cannot read %s; the task keeps waiting: %s", self.reads, error)
        return self._defer(context, failures=failures + 1)

    def _tolerate(self, error: PindoError) -> None:
        """Keep waiting after ``error``, or raise the error that ends the task."""
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
        self.log.warning("Cannot read %s; the task keeps waiting: %s", self.reads, error)

    def _store_failures(self, waiting: Waiting) -> None:
        if self.reschedule and not self.deferrable:
            waiting.memory.keep_failures(waiting.budget.failures)

    def _get_next_poke_interval(
        self, started_at: Any, run_duration: Callable[[], float], estimated_poke_count: int
    ) -> float:
        """Pause longer after failures, but not beyond the timeout."""
        interval = super()._get_next_poke_interval(started_at, run_duration, estimated_poke_count)
        return max(float(interval), min(self._backoff, self.timeout - run_duration()))

    def _defer(self, context: Context, **next_kwargs: Any) -> Any:
        """Wait in the triggerer for the rest of the timeout, which began with this try of the task.

        :return: the result, if the time is up and the task ends without an error.
        """
        waiting = self._waiting or self._begin(context)
        if (remaining := self._remaining(context)) <= timedelta(0):
            if (result := self._result_without_error()) is not None:
                return result
            raise self._poll_error or AirflowSensorTimeout(
                f"no {self.waits_for} within {self.timeout:,.0f} seconds, the sensor's timeout"
            )
        self.defer(
            trigger=self.new_trigger(waiting),
            method_name="execute_complete",
            kwargs=next_kwargs,
            timeout=remaining,
        )

    def _remaining(self, context: Context) -> timedelta:
        """Return the rest of this try's timeout; 0 or less when the timeout has passed."""
        now = datetime.now(UTC)
        return timedelta(seconds=self.timeout) - (now - (context["ti"].start_date or now))
