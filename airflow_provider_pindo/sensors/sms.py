"""Wait for a reply: a task that succeeds when enough inbound messages match."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import PokeReturnValue
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_3_PLUS

from airflow_provider_pindo._inbox.backoff import FailureBudget
from airflow_provider_pindo._inbox.event_scan import EventCursor, inbound_cursor
from airflow_provider_pindo._inbox.filter import InboundFilter, compile_pattern
from airflow_provider_pindo._inbox.scan import LIST, SOURCES, WEBHOOK, Cursor
from airflow_provider_pindo._ledger.waiting import WaitingMemory
from airflow_provider_pindo.api.arguments import check_choice, check_whole_number, read_since
from airflow_provider_pindo.api.errors import PindoError, PindoServerError
from airflow_provider_pindo.hooks._webhook_config import check_airflow
from airflow_provider_pindo.sensors._waiting import PindoWaitingSensor, Waiting

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from airflow.triggers.base import BaseTrigger

    from airflow_provider_pindo.api.values import InboundSms

_TEMPLATE = ("{{", "{%", "{#")


class PindoInboundSmsSensor(PindoWaitingSensor):
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

    :param pattern: RE2 pattern searched in the text; its named groups are returned. Case counts, unless the pattern
        begins with ``(?i)``. RE2 has no look-around and no backreferences, so no stranger's text can stall the task.
        An invalid pattern is an error when the DAG is parsed; a template's, when the task runs. (templated)
    :param from_number: number of the sender. If the account's messages do not name senders, the task fails and says so.
        The connection's ``country`` reads national numbers, here and in the messages. (templated)
    :param inbound_number: the account's number or short code that the message was sent to; None matches all.
        (templated)
    :param since: aware time, or one as ISO text: messages created then or later count. Use the time of the send, or of
        the run. Default: the task's first start, which retries and clears do not move (Airflow 3.3 without
        ``clear_on_success``; before 3.3, the run's start). It is compared with Pindo's times, so the connection's
        ``timezone`` must be right. With ``source="webhook"`` it is compared with the API server's clock, which must
        agree with the clock that gave ``since``. (templated)
    :param min_matches: how many messages must match; all that match by then are returned.
    :param max_consecutive_failures: how many failed polls in a row fail the task. The default of 20 bridges an hour and
        a half with the default ``poke_interval`` of a minute.
    :param deferrable: wait in the triggerer, without a worker; default from ``[operators] default_deferrable``.
    :param start_from_trigger: start and end in the triggerer, so that the task never takes a worker (Airflow 3.3). It
        needs ``deferrable``, ``since``, and templates instead of XComArgs. If that is not possible, as for a mapped
        task, the task is deferred from a worker and logs why.
    :param source: ``list`` polls Pindo's inbound list. ``webhook`` reads what Pindo's inbound webhook brought to this
        Airflow. That needs no request to Pindo, and names the sender, so ``from_number`` works. There ``id`` and
        ``created_at`` are those under which Airflow stored the message. It needs Airflow 3.1 and ``[pindo] webhooks``.
    :param pindo_conn_id: Airflow connection of type ``pindo``. (templated)
    :return: the matches, oldest first: ``{"id", "text", "created_at" (ISO 8601 with its zone), "inbound_sms_number",
        "groups", "raw"}``. Airflow stores them as the task's XCom.
    :raises AirflowFailException: a retry cannot help: a refused token, an invalid argument, unnamed senders.
    :raises PindoError: Pindo gave no usable response for too long.
    """

    template_fields: Sequence[str] = (
        "pattern",
        "from_number",
        "inbound_number",
        "since",
        *PindoWaitingSensor.template_fields,
    )

    memory_key = "pindo_inbound"
    waits_for = "reply"
    reads = "the inbound messages"

    def __init__(
        self,
        *,
        pattern: str,
        from_number: str | None = None,
        inbound_number: str | None = None,
        since: datetime | str | None = None,
        min_matches: int = 1,
        start_from_trigger: bool = False,
        source: str = LIST,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pattern = pattern
        self.from_number = from_number
        self.inbound_number = inbound_number
        self.since = since
        self.min_matches = min_matches
        self.source = check_choice("source", source, SOURCES)
        if source == WEBHOOK:
            check_airflow("source='webhook'")
        if pattern is None or (isinstance(pattern, str) and not any(mark in pattern for mark in _TEMPLATE)):
            compile_pattern(pattern)
        if isinstance(since, datetime):
            read_since(since)
        check_whole_number("min_matches", min_matches)
        self._not_in_triggerer = self._why_not_in_triggerer() if start_from_trigger else None
        if start_from_trigger and self._not_in_triggerer is None:
            self._start_in_triggerer()

    def begin(self, memory: WaitingMemory, budget: FailureBudget) -> _Waiting:
        """Return what this process waits with: the filter, and a cursor at the start."""
        since = memory.first_start() if self.since is None else read_since(self.since)
        return _Waiting(memory, budget, self._filter(), since, inbound_cursor(self.source, since))

    def read(self, waiting: _Waiting, *, retry_first_page: bool) -> PokeReturnValue:
        """Read the new messages once."""
        if isinstance(waiting.cursor, Cursor):
            result = self.hook.read_inbox([waiting.cursor], retry_first_page=retry_first_page)
        else:
            result = self.events.poll([waiting.cursor], retry_first_page=retry_first_page)
        result, waiting.cursor = waiting.cursor.new_in(result), waiting.cursor.advance_past(result)
        waiting.inbound_filter.check_senders(result.names_senders)
        waiting.matches += waiting.inbound_filter.matches(result.messages)
        matches = sorted(waiting.matches, key=lambda match: match["id"])
        return PokeReturnValue(is_done=len(matches) >= self.min_matches, xcom_value=matches)

    def execute_complete(
        self, context: Context, event: dict[str, Any], failures: int = 0
    ) -> list[dict[str, Any]]:
        """Return the messages that the trigger found.

        :param failures: how often reading them has failed. After a failure the task waits again.
        """
        with closing(self), self._skipping():
            self._raise_failure(event)
            try:
                matches = self._read_matches(set(event["ids"]))
            except PindoError as error:
                matches = self._keep_waiting(context, error, failures)
            return matches

    def _read_matches(self, ids: set[int]) -> list[dict[str, Any]]:
        if self.source == WEBHOOK:
            messages: Iterable[InboundSms] = self.events.read_inbound(ids)
        else:
            messages = self.hook.iter_inbound_sms(after_id=min(ids) - 1)
        matches = self._filter().matches([message for message in messages if message.id in ids])
        if missing := ids - {match["id"] for match in matches}:
            problem = (
                f"inbound messages {sorted(missing)} matched before, but are missing or do not match now"
            )
            if len(matches) < self.min_matches:
                raise PindoServerError(problem)
            self.log.warning("%s; the others are enough", problem)
        self.log.info("Matched by messages %s", [match["id"] for match in matches])
        return matches

    def _filter(self) -> InboundFilter:
        # The pattern of an upstream task may be empty, which must not match every text.
        compile_pattern(self.pattern)
        return InboundFilter(
            self.pattern,
            from_number=self.from_number,
            inbound_number=self.inbound_number,
            country=self.hook.settings.country,
        )

    def new_trigger(self, waiting: _Waiting) -> BaseTrigger:
        """Return the trigger that reads from the same start on."""
        from airflow_provider_pindo.triggers.sms import PindoInboundSmsTrigger

        reason = self._not_in_triggerer
        if reason is None and self.start_from_trigger:
            reason = "Airflow starts no mapped task there"
        if reason:
            self.log.warning("Not started in the triggerer, deferred from the worker: %s", reason)
        return PindoInboundSmsTrigger(**{**self._trigger_kwargs(), "since": waiting.since.isoformat()})

    def _trigger_kwargs(self) -> dict[str, Any]:
        return {
            "pattern": self.pattern,
            "since": self.since.isoformat() if isinstance(self.since, datetime) else self.since,
            "from_number": self.from_number,
            "inbound_number": self.inbound_number,
            "min_matches": self.min_matches,
            "poke_interval": self.poke_interval,
            "max_consecutive_failures": self.max_consecutive_failures,
            "source": self.source,
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
class _Waiting(Waiting):
    """What one process has read so far."""

    inbound_filter: InboundFilter
    since: datetime
    cursor: Cursor | EventCursor
    matches: list[dict[str, Any]] = field(default_factory=list)
