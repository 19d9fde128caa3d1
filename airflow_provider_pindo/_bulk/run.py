"""One bulk send from start to end: ``source -> preflight -> batches -> sender -> totals -> verdict``.

Preflight reads the source once and spools what it checked; the sender reads only the spool.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Container, Iterable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, tzinfo
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import AirflowException

from airflow_provider_pindo._bulk.batches import batches, batches_by_row, chunks_of
from airflow_provider_pindo._bulk.bulk_ledger import BulkLedger, rows_per_entry
from airflow_provider_pindo._bulk.estimate import Estimate, Rate, estimate, expected_rate
from airflow_provider_pindo._bulk.evidence import (
    WaitForEvidence,
    evidence_by_row,
    read_unchanged,
    settle_by_evidence,
    unknown_messages,
)
from airflow_provider_pindo._bulk.gate import Expiries, Gate, WaitForWindow
from airflow_provider_pindo._bulk.messages import Plan
from airflow_provider_pindo._bulk.own_loop import run_in_thread
from airflow_provider_pindo._bulk.preflight import SEND, Preflight, preflight
from airflow_provider_pindo._bulk.sender import BulkSender
from airflow_provider_pindo._bulk.spending import Spending
from airflow_provider_pindo._bulk.totals import Report, Totals
from airflow_provider_pindo._bulk.verdict import Policies, judge, prevent_retry
from airflow_provider_pindo._metrics import BULK, count_messages
from airflow_provider_pindo._policy.suppression import read_suppression_list
from airflow_provider_pindo._policy.timing import Timing
from airflow_provider_pindo._sources.files import address_of, would_overwrite
from airflow_provider_pindo._sources.numbers import read_numbers
from airflow_provider_pindo._sources.rows import is_path, open_source
from airflow_provider_pindo.api.arguments import check_sender, check_text
from airflow_provider_pindo.api.errors import (
    PindoConfigurationError,
    PindoCostLimitError,
    PindoError,
    PindoInsufficientBalanceError,
    PindoRejectedError,
    PindoStoppedError,
    PindoWindowClosedError,
)
from airflow_provider_pindo.api.json_safe import json_safe
from airflow_provider_pindo.api.mentions import Template
from airflow_provider_pindo.api.redaction import mask_error
from airflow_provider_pindo.hooks import _evidence
from airflow_provider_pindo.hooks._evidence import can_find_evidence

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_pindo._bulk.bulk_ledger import UnknownEntries
    from airflow_provider_pindo._ledger.evidence import UnknownMessage
    from airflow_provider_pindo.hooks.pindo import PindoHook

log = logging.getLogger(__name__)

#: Why a send stops before its end. If nobody is left, it has not failed.
_STOPS_FOR_THE_REST = (
    PindoCostLimitError,
    PindoInsufficientBalanceError,
    PindoStoppedError,
    PindoWindowClosedError,
)


@dataclass(slots=True)
class BulkSend:
    """One bulk send. The arguments are those of the operator, rendered and checked.

    :param hook: the hook of the task's connection.
    :param exclude: returns the argument, or what its callable returns.
    :param timing: when it may send.
    :param zone: the zone of a time in ``expires_field`` that names none.
    :param is_callable: whether a callable gave ``recipients``.
    :param has_waited: whether this is the rest of a try that has waited for evidence.
    :param resends_unknown: whether it may send again to the unknown, as ``on_unknown`` says. False: the next try does.
    """

    hook: PindoHook
    recipients: Any
    text: str
    sender: str | None
    columns: Mapping[str, str] | None
    chunk_size: int
    concurrency: int
    on_invalid: str
    on_duplicate: str
    exclude: Callable[[], Any]
    on_unknown: str
    on_rejected: str
    resend: bool
    max_segments: int | None
    min_balance: float | None
    max_cost: float | None
    item_price: float
    report_path: str | None
    sheet: str | None
    timing: Timing
    expires_field: str | None
    zone: tzinfo
    is_callable: bool
    track_delivery: bool
    has_waited: bool
    resends_unknown: bool
    _bulk_sender: BulkSender | None = field(default=None, init=False)
    _was_killed: bool = field(default=False, init=False)

    def run(self, context: Context) -> dict[str, Any] | None:
        """Check everybody, send, and return the result; raise the error that the verdict names.

        :return: the result; None when a person must be asked about the unknown first.
        """
        self._refuse_to_overwrite("recipients", self.recipients)
        ledger, unread = BulkLedger(context), None
        try:
            excluded: Container[str] = self._read_excluded()
        except Exception as error:
            if self.resend or not ledger.has_finished():
                raise
            excluded, unread = _Everybody(), error
        sender, plan = self._plan(excluded)
        checked = self._check(plan)
        with closing(checked.spool):
            return self._run_checked(ledger, sender, plan, checked, unread)

    def _run_checked(
        self, ledger: BulkLedger, sender: str, plan: Plan, checked: Preflight, unread: Exception | None
    ) -> dict[str, Any] | None:
        started = datetime.now(UTC)
        first_result = self._begin(ledger, sender, checked)
        if first_result is not None:
            log.warning(
                "This was sent before: nothing is sent now, and the first result is returned. To send to everybody "
                "again, clear the task with resend=True"
            )
            return first_result
        if unread is not None:
            raise unread
        if ledger.may_have_evidence and self._can_find_evidence(ledger):
            self._settle_by_evidence(ledger, sender, plan, checked)
        expiries = self._expiries(checked)
        if self.timing.window or expiries:
            self._estimate_rest(plan, checked, ledger, expiries)
        if not (ledger.has_earlier or self.timing.is_open or expiries.are_over()):
            self._stay_outside_window(checked, expiries)
        return self._send(sender, plan, checked, ledger, started)

    def _begin(self, ledger: BulkLedger, sender: str, checked: Preflight) -> dict[str, Any] | None:
        return ledger.begin(
            input=checked.fingerprint(self.text, sender),
            given=checked.given,
            chunk_size=self.chunk_size,
            resend=self.resend,
        )

    def _settle_by_evidence(self, ledger: BulkLedger, sender: str, plan: Plan, checked: Preflight) -> None:
        """Settle those whom an earlier try left unknown and an event names.

        :raises WaitForEvidence: the others would be sent to again, and an event may still arrive.
        """
        unknown = read_unchanged(ledger)
        if unknown is None:
            return
        messages = self._unknown_messages(unknown, ledger, sender, plan, checked)
        rest = settle_by_evidence(self.hook, ledger, unknown, messages)
        if len(rest) < len(messages):
            self._begin(ledger, sender, checked)  # reads the entries again
        if self.on_unknown == "resend" and not self.has_waited:
            self._wait_for_evidence(rest.values(), resends_unknown=True)

    def _can_find_evidence(self, ledger: BulkLedger) -> bool:
        return ledger.is_kept and can_find_evidence(self.hook)

    def _unknown_messages(
        self, unknown: UnknownEntries, ledger: BulkLedger, sender: str, plan: Plan, checked: Preflight
    ) -> dict[int, UnknownMessage]:
        return unknown_messages(unknown, batches(checked, ledger.rows_per_entry), plan, sender)

    def _wait_for_evidence(
        self,
        messages: Iterable[UnknownMessage],
        started: datetime | None = None,
        *,
        resends_unknown: bool = False,
    ) -> None:
        """Wait as long as an event may still arrive: from now on for messages of this try, else from their request on.

        :param started: when this try began to send.
        :raises WaitForEvidence: the task goes on later.
        """
        now = datetime.now(UTC)

        def end_of_wait(message: UnknownMessage) -> datetime:
            latest = message.latest or message.began
            is_of_this_try = started is not None and latest >= started
            return (now if is_of_this_try else latest) + _evidence.WAIT

        if waiting := [message for message in messages if end_of_wait(message) > now]:
            raise WaitForEvidence(waiting, max(map(end_of_wait, waiting)), resends_unknown=resends_unknown)

    def dry_run(self) -> dict[str, Any]:
        """Check everybody, and return the counts and the estimated cost; send nothing."""
        self._refuse_to_overwrite("recipients", self.recipients)
        _, plan = self._plan(self._read_excluded())
        checked = self._check(plan)
        requests = segments = 0
        with closing(checked.spool):
            for batch in batches(checked, rows_per_entry(self.chunk_size)):
                positions = batch.positions([row for row in batch.rows if row not in batch.excluded])
                chunks = chunks_of(batch, positions, self.chunk_size, one_by_one=plan.one_by_one)
                requests += sum(map(len, chunks))
                segments += batch.segments(positions, plan.template)
        expiries = self._expiries(checked)
        counts, cost = Totals(checked, expiries=expiries).counts(), round(segments * self.item_price, 6)
        log.info(
            "Dry run: %s. %s segments in %s requests, about %.2f USD",
            counts,
            f"{segments:,}",
            f"{requests:,}",
            cost,
        )
        estimated = self._estimate(requests, "requests", self._expected_rate(plan), expiries)
        return {
            **asdict(counts),
            "requests": requests,
            "segments": segments,
            "estimated_cost": cost,
            "estimated_seconds": round(estimated.seconds, 1),
            "opens_at": None if self.timing.is_open else estimated.starts.isoformat(),
        }

    def interrupt(self) -> None:
        """Start nothing new, and end within the grace. May be called from any thread and by a signal handler."""
        self._was_killed = True
        if self._bulk_sender is not None:
            self._bulk_sender.interrupt()

    def _read_excluded(self) -> frozenset[str]:
        """Return who must not be texted: ``exclude`` and the connection's list."""
        settings = self.hook.settings
        self._refuse_to_overwrite("suppression_list", settings.suppression_list)
        excluded = read_suppression_list(settings)
        if (exclude := self.exclude()) is not None:
            self._refuse_to_overwrite("exclude", exclude)
            excluded |= read_numbers(exclude, settings.country)
        return excluded

    def _refuse_to_overwrite(self, argument: str, source: object) -> None:
        """Refuse a report that would replace a list that this send reads."""
        if self.report_path and is_path(source) and would_overwrite(self.report_path, str(source)):
            raise PindoConfigurationError(
                f"report_path {address_of(self.report_path)!r} would replace what {argument} names, and nothing was "
                "sent: give the report a path of its own"
            )

    def _plan(self, excluded: Container[str]) -> tuple[str, Plan]:
        settings = self.hook.settings
        sender = check_sender(self.sender or settings.sender)
        plan = Plan(
            template=Template(check_text(self.text)),
            country=settings.country,
            excluded=excluded,
            on_invalid=self.on_invalid,
            on_duplicate=self.on_duplicate,
            max_segments=self.max_segments,
            expires_field=self.expires_field,
            zone=self.zone,
            one_by_one=self.track_delivery,
        )
        return sender, plan

    def _check(self, plan: Plan) -> Preflight:
        source = open_source(self.recipients, self.columns, sheet=self.sheet)
        return preflight(source.blocks(plan.fields, plan.optional_fields), plan, log.warning)

    def _send(
        self, sender: str, plan: Plan, checked: Preflight, ledger: BulkLedger, started: datetime
    ) -> dict[str, Any] | None:
        spending = self._spending(ledger)
        expiries = self._expiries(checked)
        totals = Totals(checked, self._open_report(sender, plan, ledger), expiries=expiries)
        bulk_sender = self._bulk_sender = BulkSender(
            plan=plan,
            sender=sender,
            batches=batches(checked, ledger.rows_per_entry, totals.add_left_out),
            ledger=ledger,
            totals=totals,
            spending=spending,
            gate=Gate(self.timing, expiries, is_bound=ledger.is_kept),
            concurrency=self.concurrency,
            chunk_size=min(self.chunk_size, ledger.rows_per_entry),
            resends_unknown=self.on_unknown == "resend" and self.resends_unknown,
            accepts_unknown=self.on_unknown == "accept",
            read_to_the_end=ledger.has_earlier or totals.report is not None,
        )
        if self._was_killed:  # on_kill came before there was a sender to interrupt
            bulk_sender.interrupt()
        policies = Policies(self.on_unknown, self.on_rejected, ledger.is_kept)
        try:
            self._carry_out(bulk_sender, totals, ledger)
        except BaseException as error:  # the task is timed out or ended, or the sender did not start
            if totals.failure is not None:
                log.warning("%s; the next try writes it again", totals.failure)
            log.error("Ended early: %s.%s", totals.counts(), totals.what_report_lacks())
            if replacement := prevent_retry(error, totals, policies):
                raise replacement from None
            raise
        stopped = self._stopped(bulk_sender, totals, ledger) or totals.failure
        if (
            self._may_wait_for_evidence(stopped, totals)
            and self._can_find_evidence(ledger)
            and (unknown := read_unchanged(ledger))
        ):
            messages = self._unknown_messages(unknown, ledger, sender, plan, checked)
            self._wait_for_evidence(messages.values(), started)
        return self._end(bulk_sender, totals, ledger, stopped, policies)

    def _end(
        self,
        bulk_sender: BulkSender,
        totals: Totals,
        ledger: BulkLedger,
        stopped: BaseException | None,
        policies: Policies,
    ) -> dict[str, Any] | None:
        """Count what was not sent, write into the ledger how the send ends, and return the result or raise the error.

        :return: the result; None when a person must be asked about the unknown first.
        """
        verdict = judge(totals, stopped, policies)
        result = self._result(totals, bulk_sender.balance)
        if not verdict.asks:
            count_messages(BULK, **{name: result[name] for name in ("not_sent", "excluded", "expired")})
        if verdict.is_finished:
            ledger.finish(None if verdict.error else result)
        elif isinstance(bulk_sender.stopped, PindoRejectedError) or isinstance(
            verdict.error, PindoRejectedError
        ):
            ledger.refuse()
        if verdict.error is not None:
            raise verdict.error from None  # the log would have its message twice
        if verdict.asks:
            log.info("Sent to all others: %s", totals.counts())
            return None
        log.info("Done: %s", totals.counts())
        return result

    def _may_wait_for_evidence(self, stopped: BaseException | None, totals: Totals) -> bool:
        """Return whether the unknown of this try are worth a wait for their events.

        Not for a callable with ``on_unknown="accept"``: after the wait it is called again, and other rows would fail a
        task that succeeds now.
        """
        if stopped is not None or not totals.unknown or totals.has_changed_entry or self.has_waited:
            return False
        return not (self.is_callable and self.on_unknown == "accept")

    def _expiries(self, checked: Preflight) -> Expiries:
        end = self.timing.expires_at
        return Expiries(math.inf if end is None else end.timestamp(), checked.expires)

    def _estimate_rest(self, plan: Plan, checked: Preflight, ledger: BulkLedger, expiries: Expiries) -> None:
        """Estimate what is left: by the rate that an earlier try measured, or else by what is expected."""
        recipients = max(0, checked.count(SEND) - ledger.processed)
        if ledger.pace is not None:
            self._estimate(recipients, "recipients", Rate(ledger.pace, "as measured before"), expiries)
        else:
            requests = recipients if plan.fills_text else math.ceil(recipients / self.chunk_size)
            self._estimate(requests, "requests", self._expected_rate(plan), expiries)

    def _expected_rate(self, plan: Plan) -> Rate:
        in_flight = self.concurrency if plan.fills_text else min(self.concurrency, 2)
        return expected_rate(in_flight, self.hook.settings.requests_per_second)

    def _estimate(self, count: int, unit: str, rate: Rate, expiries: Expiries) -> Estimate:
        """Log how long the send takes, and warn if it does not fit."""
        estimated = estimate(count, unit, rate, self.timing, expiries)
        estimated.log_estimate()
        if self.is_callable and self.timing.window and not estimated.fits:
            log.warning(
                "recipients is a callable. If the window closes before the end, it is called again after the wait, and "
                "must return the same rows"
            )
        return estimated

    def _stay_outside_window(self, checked: Preflight, expiries: Expiries) -> NoReturn:
        """Do what ``outside_window`` says before anybody was sent to."""
        if self.timing.outside_window == "wait":
            raise WaitForWindow(self.timing.why_closed(), self._resumes_at(expiries))
        counts = Totals(checked, expiries=expiries).counts()
        held_back = {self.timing.refused_outcome: counts.not_sent}
        count_messages(BULK, **held_back, excluded=counts.excluded, expired=counts.expired)
        raise self.timing.refusal()

    def _resumes_at(self, expiries: Expiries) -> datetime:
        """Return when a waiting send resumes: when the window opens, or when the last message expires."""
        opens, last = self.timing.opens_at(), expiries.last_moment()
        return opens if last is None else min(opens, last)

    def _stopped(self, bulk_sender: BulkSender, totals: Totals, ledger: BulkLedger) -> BaseException | None:
        """Return why the send stopped, if somebody is left. If its window has closed, wait for the next.

        :raises WaitForWindow: the task goes on later.
        """
        if not isinstance(bulk_sender.stopped, _STOPS_FOR_THE_REST):
            return bulk_sender.stopped
        counts, is_closed = totals.counts(), isinstance(bulk_sender.stopped, PindoWindowClosedError)
        waits = is_closed and self.timing.outside_window == "wait"
        is_to_resend = self.on_unknown == "resend" and totals.unknown > totals.unknown_not_resendable
        if not counts.not_sent and not (is_to_resend and (waits or not is_closed)):
            log.warning("Stopped, with nobody left to send to: %s", mask_error(bulk_sender.stopped))
            return None
        if waits:
            log.info("Until now: %s", counts)
            ledger.keep_pace(bulk_sender.pace)
            raise WaitForWindow(self.timing.why_closed(), self._resumes_at(totals.expiries))
        return bulk_sender.stopped

    def _spending(self, ledger: BulkLedger) -> Spending:
        spending = Spending(self.min_balance, self.max_cost, self.item_price, spent=ledger.spent)
        if ledger.price is not None:
            spending.price, spending.is_price_known = ledger.price, True
        if self.min_balance is not None:
            spending.note_balance(self._read_balance())
        return spending

    def _read_balance(self) -> float:
        try:
            with self.hook as hook:
                return hook.get_balance().amount
        except PindoError as error:
            raise error.with_message(
                f"min_balance={self.min_balance:,.2f} needs the wallet's balance, which cannot be read: {error}. "
                "Nothing is sent now\nIf a retry does not help, leave min_balance out: then the send has no such limit"
            ) from None

    def _open_report(self, sender: str, plan: Plan, ledger: BulkLedger) -> Report | None:
        if not self.report_path:
            return None
        evidence = None
        if not self.track_delivery and self._can_find_evidence(ledger):
            digest = partial(_evidence.message_digest, self.hook)
            evidence = partial(evidence_by_row, plan=plan, sender=sender, digest=digest)
        try:
            return Report(self.report_path, evidence)
        except Exception as error:  # every storage has its own
            raise AirflowException(
                f"report_path {address_of(self.report_path)!r} cannot be written, and nothing was sent "
                f"({mask_error(error)}): give the path or URL of a file that may be written, or leave it out"
            ) from None

    def _carry_out(self, bulk_sender: BulkSender, totals: Totals, ledger: BulkLedger) -> None:
        """Send, close the report, and count what this try did not come to."""
        try:
            run_in_thread(bulk_sender, self.hook)
        finally:
            try:
                totals.close()
            finally:
                rest = ledger.rest(batches_by_row(totals.preflight, ledger.rows_per_entry))
                for batch, outcome in (*bulk_sender.in_flight, *rest):
                    totals.add_counts(batch, outcome)

    def _result(self, totals: Totals, balance: float | None) -> dict[str, Any]:
        return {
            **asdict(totals.counts()),
            "requests": totals.requests,
            "segments": totals.segments,
            "total_cost": round(totals.cost, 6),
            "remaining_balance": balance,
            "report_path": self.report_path or None,
            "rejections": json_safe([asdict(person) for person in totals.rejections]),
        }


class _Everybody:
    """Stands for lists that cannot be read. A send that has finished sends to nobody and needs none."""

    def __contains__(self, number: object) -> bool:
        return True
