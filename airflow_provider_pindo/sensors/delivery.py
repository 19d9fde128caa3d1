"""Wait for delivery: a task that succeeds when the phones have the messages, or when it is known that they do not."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import PokeReturnValue

from airflow_provider_pindo._inbox.backoff import FailureBudget
from airflow_provider_pindo._inbox.event_scan import ReportCursor
from airflow_provider_pindo._ledger.evidence import (
    CLOCK_SKEW,
    SentEvent,
    UnknownMessage,
    find_unambiguous_events,
    parse_message,
)
from airflow_provider_pindo._ledger.waiting import WaitingMemory
from airflow_provider_pindo.api.arguments import check_choice, read_seconds
from airflow_provider_pindo.api.delivery import RETRY_WINDOW, Deliveries, read_messages
from airflow_provider_pindo.api.errors import PindoConfigurationError, PindoError
from airflow_provider_pindo.api.fields import read_sms_id
from airflow_provider_pindo.hooks._webhook_config import check_airflow
from airflow_provider_pindo.sensors._waiting import PindoWaitingSensor, Waiting

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from airflow.triggers.base import BaseTrigger

_ON_NO_REPORT = ("fail", "report")
#: Most messages that one trigger waits for, since Airflow stores its arguments. The task resumes, and waits for the
#: rest.
_MAX_DEFERRED = 1000


class PindoDeliverySensor(PindoWaitingSensor):
    """Wait until it is known whether each phone has its message, and return the counts.

    ::

        send = PindoSendSmsOperator(task_id="send", to="+250781234567", text="Your appointment is at 9")
        PindoDeliverySensor(task_id="delivered", sms_ids=send.output, timeout=3600, deferrable=True)

    The reports come from Pindo's webhook, which the API server of this Airflow receives: see the page *Delivery* of the
    documentation. This needs Airflow 3.1, ``[pindo] webhooks = True``, and a ``webhook_secret`` in the connection.

    * A report that came before the task started counts. Reports may come twice, late and in any order.
    * A message that was undelivered and then delivered is delivered. So the task gives Pindo ``retry_window`` to retry
      an undelivered one.
    * A message without a report is never *undelivered*. ``ACCEPTED`` and ``UNKNOWN`` say nothing of the phone, and do
      not end the wait.

    :param sms_ids: the messages: an id, a receipt of
        :class:`~airflow_provider_pindo.operators.sms.PindoSendSmsOperator`, or a list of either. (templated)
    :param report_path: the report of a bulk send, instead of ``sms_ids``: its accepted rows are the messages. They have
        ids if the send was made with ``track_delivery=True``. A row without an id takes the ``sent`` event of its
        number and text, where that is unambiguous: see the page *Delivery*. (templated)
    :param on_no_report: what to do at ``timeout`` about messages without a report. ``fail`` (default) ends the task as
        any sensor. ``report`` succeeds and counts them in ``no_report``. With ``fail``, a message whose id cannot be
        found fails the task at once, since no report can name it.
    :param retry_window: seconds, or a timedelta, that Pindo may need to retry an undelivered message. The default is
        30. Set it above the *Retry Interval* of Pindo's dashboard if *Maximum SMS Retries* is not 0.
    :param max_consecutive_failures: how many failed polls in a row fail the task.
    :param deferrable: wait in the triggerer, without a worker; default from ``[operators] default_deferrable``.
    :param pindo_conn_id: Airflow connection of type ``pindo``. (templated)
    :return: ``{"delivered", "undelivered", "no_report", "of", "not_delivered"}``. The first three add up to ``of``.
        ``not_delivered`` lists the first 100 of the others: ``{"sms_id", "status", "modified_at"}``, with None where
        there is no report.
    :raises AirflowSensorTimeout: messages have no report at ``timeout``, and ``on_no_report`` is ``fail``.
    :raises AirflowFailException: a retry cannot help: webhooks are off, a wrong secret, an invalid argument.
    :raises PindoError: the API server could not be read for too long.
    """

    template_fields: Sequence[str] = ("sms_ids", "report_path", *PindoWaitingSensor.template_fields)
    native_fields = ("sms_ids",)

    memory_key = "pindo_delivery"
    waits_for = "final report of every message"
    reads = "the delivery reports"

    def __init__(
        self,
        *,
        sms_ids: Any = None,
        report_path: str | None = None,
        on_no_report: str = "fail",
        retry_window: float | timedelta = RETRY_WINDOW,
        **kwargs: Any,
    ) -> None:
        check_airflow(type(self).__name__)
        super().__init__(**kwargs)
        if (sms_ids is None) == (report_path is None):
            raise PindoConfigurationError(
                "give one of sms_ids (ids or receipts) and report_path (the report of a bulk send)"
            )
        self.sms_ids = sms_ids
        self.report_path = report_path
        self.on_no_report = check_choice("on_no_report", on_no_report, _ON_NO_REPORT)
        self.retry_window = timedelta(seconds=read_seconds("retry_window", retry_window))

    def begin(self, memory: WaitingMemory, budget: FailureBudget) -> _Waiting:
        """Return what this process waits with: the messages, and a cursor that has read nothing."""
        messages: dict[str, UnknownMessage] = {}
        if self.report_path is not None:
            ids, messages, unnamed = _read_report(self.report_path)
        else:
            ids, unnamed = read_messages(self.sms_ids)
        if unnamed and self.on_no_report == "fail":
            of = unnamed + len(messages) + len(ids)
            why = (
                "since an outcome was settled or accepted without a receipt: count"
                if self.report_path is None
                else "so no report can be matched to them: send them with track_delivery=True, or count"
            )
            raise PindoConfigurationError(
                f"no sms_id for {unnamed:,} of {of:,} messages, {why} them with on_no_report='report'"
            )
        deliveries = Deliveries(ids, self.retry_window, unnamed + len(messages))
        cursors = [ReportCursor(frozenset(ids))] if ids else []
        return _Waiting(memory, budget, deliveries, cursors, messages)

    def read(self, waiting: _Waiting, *, retry_first_page: bool) -> PokeReturnValue:
        """Read the new reports once."""
        if waiting.messages:
            self._find_ids(waiting, retry_first_page=retry_first_page)
        if waiting.cursors:
            result = self.events.poll(waiting.cursors, retry_first_page=retry_first_page)
            waiting.deliveries.add(result.reports)
            waiting.cursors = [cursor.advance_past(result) for cursor in waiting.cursors]
        is_done = not (waiting.messages or waiting.deliveries.pending(datetime.now(UTC)))
        return PokeReturnValue(is_done=is_done, xcom_value=waiting.deliveries.result())

    def _find_ids(self, waiting: _Waiting, *, retry_first_page: bool) -> None:
        """Find the ids of messages that have none, where exactly one event can be of the message."""
        from airflow_provider_pindo.hooks._evidence import message_digest

        stable_ids, claims_known = [], True
        for events, page in self.events.iter_new_sent(
            waiting.began, waiting.after, retry_first_page=retry_first_page
        ):
            stable_ids.append(page.stable_id)
            claims_known &= page.claims_known
            for event in events:
                message = waiting.messages.get(message_digest(self.hook, event.fingerprint))
                if message is not None and event.sms_id not in waiting.deliveries:
                    waiting.events.setdefault(event.sms_id, replace(event, fingerprint=message.fingerprint))
        waiting.wake_after = stable_ids[0]  # what comes later may be missing from the first page
        if claims_known:
            waiting.after = waiting.wake_after
        matches = find_unambiguous_events(waiting.messages, waiting.events.values(), waiting.after)
        for key, event in matches.items():
            del waiting.messages[key], waiting.events[event.sms_id]
        if ids := frozenset(event.sms_id for event in matches.values()):
            waiting.deliveries.add_ids(ids)
            waiting.cursors.append(ReportCursor(ids))

    def result_at_deadline(self) -> dict[str, Any] | None:
        """Return the counts, unless a message has no report and that must fail the task."""
        result: dict[str, Any] = self._waiting.deliveries.result()
        return result if self.on_no_report == "report" or not result["no_report"] else None

    def new_trigger(self, waiting: _Waiting) -> BaseTrigger:
        """Return the trigger that waits for the first messages that are open, or for the events of those without id.

        The task does not end before these have what they wait for. So it need not resume for the others.
        """
        pending = waiting.deliveries.pending(datetime.now(UTC))
        if waiting.messages and not pending:
            from airflow_provider_pindo.triggers._sent import SentTrigger

            return SentTrigger(
                messages=list(islice(waiting.messages, _MAX_DEFERRED)),
                since=(waiting.began - CLOCK_SKEW).isoformat(),
                after=waiting.wake_after,
                poke_interval=self.poke_interval,
                max_consecutive_failures=self.max_consecutive_failures,
                pindo_conn_id=self.pindo_conn_id,
            )
        from airflow_provider_pindo.triggers.delivery import PindoDeliveryTrigger

        return PindoDeliveryTrigger(
            sms_ids=pending[:_MAX_DEFERRED],
            retry_window=self.retry_window,
            poke_interval=self.poke_interval,
            max_consecutive_failures=self.max_consecutive_failures,
            pindo_conn_id=self.pindo_conn_id,
        )

    def execute_complete(self, context: Context, event: dict[str, Any], failures: int = 0) -> dict[str, Any]:
        """Return the counts, or defer again for the remaining messages.

        :param event: what the trigger said.
        :param failures: how often reading the reports has failed. After a failure the task waits again.
        """
        result: Any
        with closing(self), self._skipping():
            self._raise_failure(event)
            try:
                self._waiting = self._begin(context)
                done = self.read(self._waiting, retry_first_page=True)
            except PindoError as error:
                result = self._keep_waiting(context, error, failures)
            else:
                result = done.xcom_value if done else self._defer(context)
            counts: dict[str, Any] = result
            return counts


@dataclass(slots=True)
class _Waiting(Waiting):
    """What one process has read so far."""

    deliveries: Deliveries
    cursors: list[ReportCursor]
    #: Messages whose ids may be found, and the events that may be of them.
    messages: dict[str, UnknownMessage]
    events: dict[str, SentEvent] = field(default_factory=dict)
    #: Events up to this id are known.
    after: int = 0
    #: Events up to this id were there at the last read. A trigger that fires for them would fire again and again.
    wake_after: int = 0

    @property
    def began(self) -> datetime:
        """When the first request of :attr:`messages` began."""
        return min(message.began for message in self.messages.values())


def _read_report(path: str) -> tuple[list[str], dict[str, UnknownMessage], int]:
    """Return the accepted messages of a bulk send's report: ids, those whose ids may be found, and how many others.

    Two rows with the same message are among the others, since an event does not say of which it is.
    """
    from airflow_provider_pindo._sources.files import File
    from airflow_provider_pindo._sources.rows import FileSource

    ids: list[str] = []
    messages: dict[str, UnknownMessage] = {}
    others = set[str]()
    unnamed = 0
    report = FileSource(File(path, argument="report_path"), {})
    for block in report.blocks(("outcome", "sms_id", "evidence"), ("evidence",)):
        for outcome, value, evidence in zip(*block.columns, strict=True):
            key, message = parse_message(evidence)
            sms_id = read_sms_id(value)
            if outcome == "accepted" and sms_id:
                ids.append(sms_id)
            elif outcome == "accepted":
                unnamed += 1
                if message is not None and key not in messages and key not in others:
                    messages[key] = message
                    continue
            messages.pop(key, None)
            others.add(key)
    return ids, messages, unnamed - len(messages)
