"""When a task sends: its send window, and the moment at which its message expires.

A task that waits for its window is deferred: it takes no worker slot. It looks again when it goes on, so a retry, a
clear or a late triggerer changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException

from airflow_provider_pindo._policy.timing import Timing, check_untemplated, read_timing
from airflow_provider_pindo.operators._base import PindoOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class PindoTimedOperator(PindoOperator):
    """Base of the operators that send: when they may.

    :param send_window: the days and hours in which the task may send.
    :param outside_window: ``wait``, ``skip`` or ``fail``.
    :param expires_at: after it nothing goes out.
    """

    template_fields: Sequence[str] = ("send_window", "expires_at", *PindoOperator.template_fields)

    #: Whether the connection's window binds a task that names none.
    takes_connection_window = True

    def __init__(
        self,
        *,
        send_window: str | None = None,
        outside_window: str = "wait",
        expires_at: datetime | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.send_window = send_window
        self.outside_window = outside_window
        self.expires_at = expires_at
        check_untemplated(send_window=send_window, outside_window=outside_window, expires_at=expires_at)

    def execute_after_wait(self, context: Context, event: Any = None) -> Any:
        """Go on after a wait, as a new try does: look again, then send.

        :param event: what the trigger said; the clock decides.
        """
        return self.execute(context)

    def _read_timing(self) -> Timing:
        dag = self.get_dag()
        return read_timing(
            send_window=self.send_window,
            default_window=self.hook.settings.send_window if self.takes_connection_window else None,
            outside_window=self.outside_window,
            expires_at=self.expires_at,
            zone=UTC if dag is None else dag.timezone,
        )

    def _check_may_send(self) -> None:
        """Return if the one message of this task may go out now. Otherwise wait, skip or fail."""
        timing = self._read_timing()
        if timing.has_expired:
            raise AirflowSkipException(timing.why_expired())
        if not timing.is_open:
            self._stay_outside_window(timing)

    def _stay_outside_window(self, timing: Timing) -> NoReturn:
        """Do what ``outside_window`` says before anything was sent."""
        if timing.outside_window == "skip":
            raise AirflowSkipException(f"{timing.why_closed()}, and outside_window is 'skip'")
        if timing.outside_window == "fail":
            raise AirflowFailException(
                f"{timing.why_closed()}, and outside_window is 'fail'. Nothing was sent\nClear the task when the "
                "window is open, or let outside_window='wait' wait for it"
            )
        self._wait_for_window(timing)

    def _wait_for_window(self, timing: Timing) -> NoReturn:
        """Defer the task until the window opens, or until its message expires if that is earlier."""
        self.log.info("Waiting without a worker slot: %s", timing.why_closed())
        self.defer(trigger=_trigger(timing.waits_until()), method_name="execute_after_wait")


def _trigger(moment: datetime) -> Any:
    """Return Airflow's own trigger that fires at a time."""
    try:
        from airflow.providers.standard.triggers.temporal import DateTimeTrigger
    except ImportError:  # pragma: no cover - Airflow 2.11 without the standard provider
        from airflow.triggers.temporal import DateTimeTrigger
    return DateTimeTrigger(moment=moment)
