"""When a task sends: its send window, and the moment at which its message expires.

A task that waits for its window is deferred: it takes no worker slot. It looks again when it goes on, so a retry, a
clear or a late triggerer changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import AirflowSkipException

from airflow_provider_pindo._metrics import count_messages
from airflow_provider_pindo._policy.timing import Timing, check_untemplated, read_timing
from airflow_provider_pindo.operators._base import PindoOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class MessageExpired(AirflowSkipException):
    """The message's time is over, so nothing is sent, and the task is skipped."""


class PindoTimedOperator(PindoOperator):
    """Base of the operators that send: when they may.

    :param send_window: the days and hours in which the task may send.
    :param outside_window: ``wait``, ``skip`` or ``fail``.
    :param expires_at: after it nothing goes out.
    """

    template_fields: Sequence[str] = ("send_window", "expires_at", *PindoOperator.template_fields)

    #: Kind of its messages, for the metrics.
    kind: str
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

    def _zone(self) -> tzinfo:
        """Return the zone of a window, or of a time, that names none."""
        dag = self.get_dag()
        return UTC if dag is None else dag.timezone

    def _read_timing(self) -> Timing:
        return read_timing(
            send_window=self.send_window,
            default_window=self.hook.settings.send_window if self.takes_connection_window else None,
            outside_window=self.outside_window,
            expires_at=self.expires_at,
            zone=self._zone(),
        )

    def _check_may_send(self) -> float:
        """Return for how many seconds the one message of this task may go out now. Otherwise wait, skip or fail.

        :raises MessageExpired: its time is over.
        """
        timing = self._read_timing()
        if timing.has_expired:
            raise MessageExpired(timing.why_expired())
        if timing.is_open:
            return timing.seconds_left()
        if timing.outside_window != "wait":
            count_messages(self.kind, **{timing.refused_outcome: 1})
            raise timing.refusal()
        self._wait(timing.waits_until(), timing.why_closed())

    def _wait(self, until: datetime, reason: str) -> NoReturn:
        """Defer the task until the window opens, or until its message expires if that is earlier."""
        self.log.info("Waiting without a worker slot: %s", reason)
        self.defer(trigger=_trigger(until), method_name="execute_after_wait")


def _trigger(moment: datetime) -> Any:
    """Return Airflow's own trigger that fires at a time."""
    try:
        from airflow.providers.standard.triggers.temporal import DateTimeTrigger
    except ImportError:  # pragma: no cover - Airflow 2.11 without the standard provider
        from airflow.triggers.temporal import DateTimeTrigger  # type: ignore[import-not-found,no-redef]
    return DateTimeTrigger(moment=moment)
