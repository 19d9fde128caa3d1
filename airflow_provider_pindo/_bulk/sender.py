"""The sending half of a bulk send: batches in, outcomes out.

How it works. A coordinator and ``concurrency`` workers share an event loop in a thread of its own. One write of the
ledger records what came of the requests before, and admits as many as :class:`.Admission` chooses. Then the workers may
send them. A write runs in a thread of its own, and the workers go on with what is admitted already. The next write
starts when the queue runs low, so each write admits as many as it can. A :class:`.Breaker` may stop all of it early.

What it guarantees. After a kill the outcome is unknown only for recipients that the last write admitted and that had no
outcome when it began. The limit of :class:`.Admission` bounds them.

What it does not do. Within a try it never repeats a request whose outcome is unknown. Once it is interrupted it starts
nothing new: requests in flight get a short grace, and those without a response by then are unknown.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_pindo._bulk.admission import Admission
from airflow_provider_pindo._bulk.batches import Batch, chunks_of, pick
from airflow_provider_pindo._bulk.breaker import TOO_LARGE, Breaker, reason_of
from airflow_provider_pindo._bulk.bulk_ledger import BulkLedger
from airflow_provider_pindo._bulk.gate import Gate
from airflow_provider_pindo._bulk.in_flight import BatchInFlight, Request
from airflow_provider_pindo._bulk.messages import Plan
from airflow_provider_pindo._bulk.outcome import Outcome
from airflow_provider_pindo._bulk.spending import Spending
from airflow_provider_pindo.api import calls
from airflow_provider_pindo.api.errors import (
    PindoError,
    PindoRejectedError,
    PindoStoppedError,
    PindoUnknownOutcomeError,
)
from airflow_provider_pindo.api.redaction import safe_message
from airflow_provider_pindo.hooks._transport.attempt import Attempt

if TYPE_CHECKING:
    from airflow_provider_pindo._bulk.totals import Totals
    from airflow_provider_pindo.api.values import BulkReceipt, SmsReceipt
    from airflow_provider_pindo.hooks.pindo import PindoAsyncHook

log = logging.getLogger(__name__)
T = TypeVar("T")
R = TypeVar("R", "SmsReceipt", "BulkReceipt")

#: Seconds that requests in flight get when the task must end. Airflow kills a task five seconds after it asked it to
#: end, and the ledger must be written within them.
GRACE = 3.0
#: Seconds between two lines of progress in the log.
PROGRESS = 5.0

#: Fewer recipients say nothing about the rate.
_MIN_MEASURED = 20

#: Statuses of a bulk request that is sent again in halves: one number may be the reason, or the size.
_SPLIT = frozenset({400, 409, 422, TOO_LARGE})


class BulkSender:
    """Sends batches, each with its entry in the ledger.

    :param batches: yields them; it is read in a thread, since it reads files.
    :param totals: adds up what came of each batch, in the same thread.
    :param gate: what time allows.
    :param chunk_size: most recipients of a bulk request.
    :param resends_unknown: send again to those whose outcome an earlier try left unknown.
    :param accepts_unknown: go on when Pindo's receipts do not say who was accepted.
    :param read_to_the_end: read all batches even after a stop, so that the report has everybody.
    """

    def __init__(
        self,
        *,
        plan: Plan,
        sender: str,
        batches: Iterator[Batch],
        ledger: BulkLedger,
        totals: Totals,
        spending: Spending,
        gate: Gate,
        concurrency: int,
        chunk_size: int,
        resends_unknown: bool,
        accepts_unknown: bool,
        read_to_the_end: bool,
    ) -> None:
        self._plan = plan
        self._sender_id = sender
        self._batches = batches
        self._ledger = ledger
        self._totals = totals
        self._spending = spending
        self._gate = gate
        self.concurrency = concurrency
        self._chunk_size = chunk_size
        self._resends_unknown = resends_unknown
        self._accepts_unknown = accepts_unknown
        self._read_to_the_end = read_to_the_end
        self._queue: asyncio.Queue[Request] = asyncio.Queue()
        self._wake = asyncio.Event()
        self._breaker = Breaker(self._wake.set)
        self._admission = Admission(
            next_batch=self._begin_next,
            breaker=self._breaker,
            spending=spending,
            gate=gate,
            fills_text=plan.fills_text,
            concurrency=concurrency,
            chunk_size=chunk_size,
        )
        self._not_in_totals: dict[int, BatchInFlight] = {}
        # Those with something to send or to record.
        self._unfinished: list[BatchInFlight] = []
        self._admitting: list[Request] = []
        self._reading: asyncio.Future[Batch | None] | None = None
        self._adding: set[asyncio.Future[None]] = set()
        # The next write starts when the queue is this short. A lower mark lets each write admit more; a higher one
        # keeps the workers busy meanwhile.
        self._low_water = concurrency // 8
        self._loop: asyncio.AbstractEventLoop | None = None
        self._working: dict[asyncio.Task[None], Attempt | None] = {}
        self._busy = 0
        self._has_warned = False
        #: Recipients of the requests that have ended, and when the first began and the last ended.
        self._sent_to, self._first_began, self._last_ended = 0, math.inf, math.inf

    async def run(self, hook: PindoAsyncHook) -> None:
        """Send everything, or until something stops it; see :attr:`stopped`."""
        self._loop = asyncio.get_running_loop()
        self._hook = hook
        with ThreadPoolExecutor(1) as self._files, ThreadPoolExecutor(1) as self._entries:
            self._working = {asyncio.create_task(self._work()): None for _ in range(self.concurrency)}
            progress = asyncio.create_task(self._show_progress())
            try:
                await self._coordinate()
            finally:
                for task in (*self._working, progress):
                    task.cancel()
                await asyncio.gather(*self._working, progress, return_exceptions=True)

    def interrupt(self) -> None:
        """Start nothing new, and end within the grace. May be called from any thread and by a signal handler."""
        self._breaker.interrupt()
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended meanwhile
                self._loop.call_soon_threadsafe(self._end_soon)

    def _end_soon(self) -> None:
        self._wake.set()
        for task, attempt in self._working.items():
            if attempt is not None:
                attempt.is_last = True
                if not attempt.sent:  # it waits for a permit: nothing was sent
                    task.cancel()
        asyncio.get_running_loop().call_later(GRACE, self._end_now)

    def _end_now(self) -> None:
        for task, attempt in self._working.items():
            if attempt is not None:
                task.cancel()

    @property
    def stopped(self) -> BaseException | None:
        """Why it stopped before the end; None when it did not."""
        return self._breaker.error

    @property
    def in_flight(self) -> Sequence[tuple[Batch, Outcome]]:
        """Batches that were begun and are not in the totals yet, with what is known of them."""
        sources = self._not_in_totals.copy()
        outcomes = {index: source.snapshot(self._spending.price) for index, source in sources.items()}
        for request in self._admitting:  # the write has not ended, so nothing was sent to them
            request.put_back_in(outcomes[request.source.batch.index])
        return [(source.batch, outcomes[index]) for index, source in sources.items()]

    @property
    def balance(self) -> float | None:
        """USD in the wallet, as Pindo said last."""
        return self._spending.balance

    @property
    def pace(self) -> float | None:
        """Recipients a second; None when there were too few to tell."""
        seconds = self._last_ended - self._first_began
        return self._sent_to / seconds if self._sent_to >= _MIN_MEASURED and seconds > 0 else None

    # -- the coordinator

    async def _coordinate(self) -> None:
        """Prepare, admit and record, until nothing is left or something stops it."""
        self._read()
        while True:
            self._wake.clear()
            await self._write(self._admit())
            self._end_batches()
            self._check_report()
            has_ended = all(source.has_ended for source in self._unfinished)
            if has_ended and not self._admission.has_batch and self._reading is None:
                break
            await self._wake.wait()
        if self._ledger.is_kept:
            unrecorded = [source for source in self._unfinished if not source.is_recorded]
            await self._in(self._entries, self._ledger.write_last, self._snapshots(unrecorded))
        for source in self._unfinished:
            source.count_new_outcomes()
        await asyncio.gather(*self._adding)

    def _read(self) -> None:
        """Start to read the next batch, while the others are sent."""
        self._reading = asyncio.get_running_loop().run_in_executor(self._files, next, self._batches, None)
        self._reading.add_done_callback(lambda _: self._wake.set())

    def _begin_next(self) -> BatchInFlight | None:
        """Return the batch that was read; None when it is not read yet, or nothing is left."""
        if self._reading is None or not self._reading.done():
            return None
        reads_on = self.stopped is None or (self._read_to_the_end and not self._breaker.is_interrupted)
        try:
            batch = self._reading.result() if reads_on else None
            if batch is None:
                self._reading = None
                return None
            source = self._begin(batch)
        except Exception as error:
            self._reading = None
            self._breaker.stop(error)
            return None
        self._read()
        return source

    def _begin(self, batch: Batch) -> BatchInFlight:
        outcome = self._ledger.take(batch) or Outcome(not_sent=batch.rows.copy())
        again = chain(*outcome.unknown.values()) if self._resends_unknown else ()
        rows = set(outcome.not_sent).union(again) - batch.excluded
        positions = batch.positions(rows)
        chunks = chunks_of(batch, positions, self._chunk_size, one_by_one=self._plan.one_by_one)
        source = BatchInFlight(batch, outcome, chunks, self._plan.template)
        source.is_recorded = bool(rows) or not self._ledger.was_settled(batch)
        self._unfinished.append(source)
        self._not_in_totals[batch.index] = source
        return source

    def _admit(self) -> list[Request]:
        """Choose the requests that the next write admits."""
        if not self._breaker.starts_requests:
            self._admission.drop_waiting()
            return []
        if self._queue.qsize() > self._low_water:
            return []
        return self._admission.admit(self._unfinished)

    async def _write(self, admitted: list[Request]) -> None:
        """Write the ledger, which records and admits; then let the workers send."""
        if admitted and self._ledger.is_kept:
            unrecorded = [source for source in self._unfinished if not source.is_recorded]
            snapshots = self._snapshots(unrecorded)
            for source in unrecorded:
                source.is_recorded = True
            self._admitting = admitted
            try:
                await self._in(self._entries, self._ledger.write, snapshots)
            except Exception as error:  # nobody of them is sent to
                self._admitting = []
                for source in unrecorded:
                    source.is_recorded = False
                for request in admitted:
                    request.put_back()
                self._breaker.stop(error)
                return
            for source in unrecorded:
                source.count_new_outcomes()
        self._admitting = []
        for request in admitted:
            self._queue.put_nowait(request)

    def _snapshots(self, sources: Sequence[BatchInFlight]) -> list[tuple[Batch, Outcome]]:
        return [(source.batch, source.snapshot(self._spending.price)) for source in sources]

    def _end_batches(self) -> None:
        for source in self._unfinished:
            if source.has_ended and not source.is_in_totals:
                source.is_in_totals = True
                source.count_new_outcomes()
                source.outcome.not_sent.sort()
                adding = asyncio.get_running_loop().run_in_executor(self._files, self._add, source)
                self._adding.add(adding)
                adding.add_done_callback(self._adding.discard)
        is_kept = self._ledger.is_kept
        self._unfinished = [
            source
            for source in self._unfinished
            if not source.has_ended or (is_kept and not source.is_recorded)
        ]

    def _add(self, source: BatchInFlight) -> None:
        self._totals.add(source.batch, source.outcome)
        self._not_in_totals.pop(source.batch.index, None)
        self._totals.write(source.batch, source.outcome)

    def _check_report(self) -> None:
        if self._totals.failure is not None:
            self._breaker.stop(self._totals.failure)

    async def _in(self, executor: Executor, do: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(executor, do, *args)

    # -- requests

    async def _work(self) -> None:
        me = asyncio.current_task()
        assert me is not None  # noqa: S101
        while True:
            request = self._take_due(await self._queue.get())
            self._busy += 1
            # Admit ahead only for a free worker: a kill leaves everybody unknown who is admitted and not sent to.
            if self._busy < self.concurrency:
                self._wake_if_short()
            if request is not None and self._breaker.starts_requests:
                attempt = self._working[me] = Attempt()
                if self._gate.has_end:
                    attempt.expire_in(self._gate.seconds_left(request.rows))
                self._first_began = min(self._first_began, time.monotonic())
                await self._deliver(request, attempt)
                self._sent_to += len(request.positions)
                self._last_ended = time.monotonic()
                self._working[me] = None
            elif request is not None:
                request.put_back()
            self._busy -= 1
            self._wake_if_short()

    def _wake_if_short(self) -> None:
        """Let the next write admit more when few requests are waiting."""
        if self._queue.qsize() <= self._low_water:
            self._wake.set()

    def _take_due(self, request: Request) -> Request | None:
        """Return what of an admitted request may go out at this moment; the rest is not sent."""
        if not self._gate.has_end:
            return request
        if self._breaker.starts_requests and (closed := self._gate.why_closed()):
            self._breaker.stop(closed)
        expired, rest = request.divide(self._gate.expiries)
        if expired is not None:
            self._release(expired)
            expired.put_back()
        return rest

    async def _deliver(self, request: Request, attempt: Attempt) -> None:
        try:
            request.source.outcome.requests += 1
            await (
                self._deliver_one(request, attempt)
                if request.is_single
                else self._deliver_many(request, attempt)
            )
        except PindoUnknownOutcomeError as error:
            self._unknown(request, error.why)
            self._breaker.count_unknown(error.why)
        except PindoRejectedError as error:
            self._rejected(request, error)
        except PindoError as error:
            if attempt.is_late:
                self._put_back_late(request)
            else:
                request.put_back()
                self._breaker.stop(error)
        except asyncio.CancelledError:
            if not self._breaker.is_interrupted:
                raise  # pragma: no cover - the loop itself is being ended
            if attempt.sent:
                self._unknown(request, "the task ended before a response came")
            else:
                request.put_back()
        except Exception as error:  # a library's, or a mistake of ours
            if attempt.sent:
                self._unknown(request, f"{type(error).__name__} was raised before Pindo's response was read")
            else:
                request.put_back()
            # Not the error itself: Airflow logs its message, which may quote the text or the number.
            self._breaker.stop(PindoStoppedError(f"{safe_message(error)} was raised while sending"))

    def _put_back_late(self, request: Request) -> None:
        """Put a request that had to wait too long into the queue again. Who takes it next sees for whom it is late."""
        request.source.outcome.requests -= 1
        self._sent_to -= len(request.positions)  # the worker counts them, as it does all that it delivered
        self._queue.put_nowait(request)

    async def _deliver_one(self, request: Request, attempt: Attempt) -> None:
        batch, position = request.source.batch, request.positions[0]
        receipt = await self._send(
            calls.send_checked_sms(batch.numbers[position], request.text or "", self._sender_id), attempt
        )
        request.source.outcome.sms_ids[request.rows[0]] = receipt.sms_id
        self._accepted(request, receipt, receipt.item_count or request.segments, receipt.total_cost)

    async def _deliver_many(self, request: Request, attempt: Attempt) -> None:
        batch, count = request.source.batch, len(request.positions)
        numbers, names = pick(batch.numbers, request.positions), pick(batch.names, request.positions)
        recipients = [
            {"phonenumber": number, "name": name} for number, name in zip(numbers, names, strict=True)
        ]
        text = self._plan.template.text if request.text is None else request.text
        receipt = await self._send(calls.send_checked_bulk_sms(recipients, text, self._sender_id), attempt)
        if receipt.count > count or receipt.total not in (None, count):
            named = receipt.count if receipt.total is None else f"{receipt.count} of {receipt.total}"
            reason = f"Pindo's receipt names {named} recipients, and the request had {count}"
            self._unclear(request, receipt, reason)
        elif 0 < receipt.count < count:
            self._unclear(
                request, receipt, f"Pindo accepted {receipt.count} of {count} and does not say which"
            )
        elif receipt.count == 0:
            self._breaker.count_response()
            self._refused(request, f"Pindo accepted none of {count}")
        else:
            self._accepted(request, receipt, request.segments, None)

    async def _send(self, call: calls.Call[R], attempt: Attempt) -> R:
        """Make a call, and note Pindo's price and balance."""
        spending = self._spending
        unseen_before = spending.unseen
        receipt = await self._hook.send(call, attempt)
        spending.is_price_known = True
        if receipt.item_price is not None:
            spending.price = receipt.item_price
        if receipt.remaining_balance is not None:
            spending.note_balance(receipt.remaining_balance, unseen_before)
        return receipt

    def _accepted(
        self, request: Request, receipt: SmsReceipt | BulkReceipt, segments: int, cost: float | None
    ) -> None:
        outcome, spending = request.source.outcome, self._spending
        if cost is None:
            cost = segments * spending.price
        self._breaker.count_accepted()
        if request.whole is not None:
            request.whole.is_partly_accepted = True
        request.accept()
        self._release(request)
        outcome.segments += segments
        outcome.cost += cost
        spending.add_cost(cost, is_seen=receipt.remaining_balance is not None)
        if problem := spending.problem():
            self._breaker.stop(problem)

    def _unknown(self, request: Request, reason: str, *, is_seen: bool = False) -> None:
        outcome = request.source.outcome
        outcome.unknown.setdefault(reason, []).extend(request.take())
        self._release(request)
        cost = request.segments * self._spending.price
        outcome.unknown_cost += cost
        self._spending.add_cost(cost, is_seen=is_seen)

    def _unclear(self, request: Request, receipt: BulkReceipt, reason: str) -> None:
        """Note that Pindo accepted some of a request and does not say whom."""
        self._unknown(request, reason, is_seen=receipt.remaining_balance is not None)
        if self._accepts_unknown:
            self._breaker.count_response()
        else:
            self._breaker.count_unclear(reason)

    def _rejected(self, request: Request, error: PindoRejectedError) -> None:
        self._breaker.count_response()
        concerns_everybody = False
        if request.may_speak_for_all:
            concerns_everybody = self._breaker.count_refused(error)
        if error.status not in _SPLIT or len(request.positions) == 1:
            self._refused(request, reason_of(error))
        elif concerns_everybody:
            request.put_back()
        else:
            for half in request.halves():
                self._queue.put_nowait(half)
        if concerns_everybody:
            self._breaker.refuse_everybody(error, self._sender_id)

    def _refused(self, request: Request, reason: str) -> None:
        self._release(request)
        if request.refuse(reason) and not self._has_warned:
            self._has_warned = True
            log.warning(
                "Pindo refused to text somebody again whose outcome was unknown (%s). An earlier request may have "
                "texted them, so they stay unknown",
                reason,
            )

    def _release(self, request: Request) -> None:
        self._spending.reserved -= request.segments

    async def _show_progress(self) -> None:
        started, before = time.monotonic(), self._processed()
        while True:
            await asyncio.sleep(PROGRESS)
            done, everybody = self._processed(), self._totals.preflight.in_batches
            rate = (done - before) / (time.monotonic() - started)
            remaining = f"{(everybody - done) / rate:,.0f} s left" if rate else "no rate yet"
            rejected = self._totals.refused + sum(
                source.outcome.count_rejected() for source in self._unfinished if not source.is_in_totals
            )
            log.info(
                "%s of %s done, %s rejected, %.0f/s, %s",
                f"{done:,}",
                f"{everybody:,}",
                rejected,
                rate,
                remaining,
            )

    def _processed(self) -> int:
        """Return how many recipients have an outcome."""
        return self._totals.visited + sum(
            len(source.batch) - len(source.outcome.not_sent) - len(source.admitted)
            for source in self._unfinished
            if not source.is_in_totals
        )
