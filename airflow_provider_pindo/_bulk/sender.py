"""The sending half of a bulk send: batches in, outcomes out.

How it works. A coordinator and ``concurrency`` workers share an event loop in a thread of its own. The coordinator
prepares requests, and admits as many as the window allows by one write of the ledger, which also records what came of
the requests before. Then the workers may send them. A write runs in a thread of its own, and the workers go on with
what is admitted already. The next write starts when the queue runs low, so each write admits as many as it can.

What it guarantees. After a kill the outcome is unknown only for recipients that the last write admitted and that had no
outcome when it began. The window bounds them: three times ``concurrency`` for texts that go out one by one, and two
requests' recipients for bulk requests. Nobody else is unknown, whatever the size of an entry.

What it does not do. It never repeats a request whose outcome is unknown. Once it is interrupted it starts nothing new:
requests in flight get a short grace, and those without a response by then are unknown.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from airflow_provider_pindo._bulk.bulk_ledger import BulkLedger, Outcome
from airflow_provider_pindo._bulk.gate import Gate
from airflow_provider_pindo._bulk.recipients import Batch, Plan, chunks_of
from airflow_provider_pindo._metrics import BULK, count_messages
from airflow_provider_pindo.api import calls
from airflow_provider_pindo.api.errors import (
    PindoCostLimitError,
    PindoError,
    PindoInsufficientBalanceError,
    PindoInterruptedError,
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

#: Seconds that requests in flight get when the task must end. Airflow kills a task five seconds after it asked it to
#: end, and the ledger must be written within them.
GRACE = 3.0
#: Requests in a row without a certain response after which Pindo counts as down. Going on would only make more
#: recipients unknown.
UNKNOWN_IN_A_ROW = 10
#: Refusals in a row with one reason that is not about a number, and nobody accepted in between, after which the reason
#: counts for everybody.
REFUSED_IN_A_ROW = 20
#: Recipients admitted and not recorded, for texts that go out one by one: so many times ``concurrency``.
WINDOW = 3
#: Seconds between two lines of progress in the log.
PROGRESS = 5.0

#: Statuses of a bulk request that is sent again in halves: 409 is about a number in it, 413 about its size.
_SPLIT = frozenset({409, 413})
_TOO_LARGE = 413
#: Reasons that Pindo documents of numbers: unsupported country, unsupported telco, wrong number format.
_ABOUT_A_NUMBER = re.compile(r"\b(?:country|telco|number|phone ?number|recipient)s?\b", re.IGNORECASE)


@dataclass(slots=True)
class Spending:
    """What a send costs, and when it must stop for that.

    :param min_balance: USD that must stay in the wallet, or None.
    :param max_cost: USD that the whole send may cost, over all tries, or None.
    :param price: USD for one segment, as known so far.
    :param balance: USD in the wallet, as Pindo said last, or None.
    :param spent: USD that were spent; those of unknown outcome count as spent.
    :param reserved: USD that the chunks in flight will cost.
    """

    min_balance: float | None = None
    max_cost: float | None = None
    price: float = 0.0
    balance: float | None = None
    spent: float = 0.0
    reserved: float = 0.0

    def problem(self, cost: float = 0.0) -> PindoError | None:
        """Return why nothing more may be sent; ``cost`` is that of what is in flight or comes next."""
        if (
            self.min_balance is not None
            and self.balance is not None
            and self.balance - cost < self.min_balance
        ):
            return PindoInsufficientBalanceError(
                f"the wallet holds {self.balance:,.3f} USD, and {cost:,.3f} more are in flight or come next, which "
                f"leaves less than min_balance={self.min_balance:,.2f}: top it up, or lower min_balance"
            )
        if self.max_cost is not None and self.spent + cost > self.max_cost:
            return PindoCostLimitError(
                f"{self.spent:,.3f} USD were spent, and {cost:,.3f} more are in flight or come next, which is over "
                f"max_cost={self.max_cost:,.2f}: raise max_cost and clear the task, which continues the send"
            )
        return None


class Reported(NamedTuple):
    """What Airflow's metrics know of a batch."""

    accepted: int = 0
    rejected: int = 0
    unknown: int = 0
    segments: int = 0
    cost: float = 0.0


@dataclass(slots=True)
class BatchInFlight:
    """A batch that is being sent.

    :param outcome: what is certain; the admitted rows are in none of its columns.
    :param chunks: the requests that are not prepared yet, chunk by chunk.
    :param price: USD for a segment, by which money is reserved for it.
    :param admitted: rows that a worker may send to, with the reason why each was unknown before, or None.
    :param waiting: requests that are prepared and not admitted.
    :param is_prepared: whether no further request of it is prepared.
    :param is_recorded: whether the last write has the present outcome.
    :param is_counted: whether the totals have it.
    :param reported: what Airflow's metrics know of it.
    """

    batch: Batch
    outcome: Outcome
    chunks: Iterator[list[tuple[str | None, Sequence[int]]]]
    price: float
    admitted: dict[int, str | None] = field(default_factory=dict)
    admitted_segments: int = 0
    waiting: int = 0
    is_prepared: bool = False
    is_recorded: bool = True
    is_counted: bool = False
    reported: Reported = field(init=False)

    def __post_init__(self) -> None:
        self.reported = self._tally()

    def report(self) -> None:
        """Report what is new since the last time to Airflow's metrics."""
        before, now = self.reported, self._tally()
        self.reported = now
        count_messages(
            BULK,
            segments=now.segments - before.segments,
            cost=now.cost - before.cost,
            accepted=now.accepted - before.accepted,
            rejected=now.rejected - before.rejected,
            unknown=now.unknown - before.unknown,
        )

    def _tally(self) -> Reported:
        outcome = self.outcome
        return Reported(
            accepted=outcome.count_accepted(len(self.batch)) - len(self.admitted),
            rejected=outcome.count_rejected(),
            unknown=outcome.count_unknown(),
            segments=outcome.segments,
            cost=outcome.cost,
        )

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it is left to send."""
        return self.is_prepared and not self.admitted and not self.waiting

    def snapshot(self) -> Outcome:
        """Return what is known if the task is killed now."""
        return self.outcome.if_killed(self.admitted, self.admitted_segments * self.price)


@dataclass(slots=True)
class Request:
    """One request to make.

    :param positions: positions of its recipients in the batch.
    :param text: the text; None for that of the plan, whose name Pindo fills.
    :param segments: segments of its messages, as counted here.
    :param is_single: whether it is one message over the call for one.
    """

    source: BatchInFlight
    positions: Sequence[int]
    text: str | None
    segments: int
    is_single: bool = False

    @property
    def rows(self) -> list[int]:
        """Row numbers of its recipients."""
        return [self.source.batch.rows[position] for position in self.positions]

    def take(self) -> dict[int, str | None]:
        """Take its recipients out of the admitted; return the reason why each was unknown before."""
        source = self.source
        source.admitted_segments -= self.segments
        source.is_recorded = False
        if len(self.positions) == len(source.admitted):
            before, source.admitted = source.admitted, {}
            return before
        return {row: source.admitted.pop(row) for row in self.rows}

    def put_back(self) -> None:
        """Return its recipients to their columns, since nothing was sent to them now."""
        _put_back(self.source.outcome, self.take())

    def put_back_in(self, snapshot: Outcome) -> None:
        """Do the same in a snapshot, where they are in flight."""
        before = {row: self.source.admitted[row] for row in self.rows}
        snapshot.take(before)
        _put_back(snapshot, before)


class BulkSender:
    """Sends batches, each with its entry in the ledger.

    :param batches: yields them; it is read in a thread, since it reads files.
    :param totals: adds up what came of each batch, in the same thread.
    :param gate: what time allows.
    :param chunk_size: most recipients of a bulk request.
    :param resend_unknown: send again to those whose outcome an earlier try left unknown.
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
        resend_unknown: bool = False,
        read_to_the_end: bool = False,
    ) -> None:
        self._plan = plan
        self._sender = sender
        self._batches = batches
        self._ledger = ledger
        self._totals = totals
        self._spending = spending
        self._gate = gate
        self.concurrency = concurrency
        self._chunk_size = chunk_size
        self._resend_unknown = resend_unknown
        self._read_to_the_end = read_to_the_end
        #: Why it stopped before the end; None when it did not.
        self.stopped: BaseException | None = None
        self._starts_requests = True
        self._is_interrupted = False
        self._in_flight: dict[int, BatchInFlight] = {}
        self._open: list[BatchInFlight] = []
        self._current: BatchInFlight | None = None
        self._admitting: list[Request] = []
        self._reading: asyncio.Future[Batch | None] | None = None
        self._adding: set[asyncio.Future[None]] = set()
        self._ready: deque[Request] = deque()
        self._chunk: list[Request] = []
        self._is_personal = plan.fills_text
        # As many as are sent while a write takes its time; the fewer, the more each write can admit.
        self._low_water = concurrency // 8
        self._window = WINDOW * concurrency if self._is_personal else 2 * chunk_size
        self._unknown_in_a_row = 0
        self._refused_in_a_row: tuple[str, int] = ("", 0)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._working: dict[asyncio.Task[None], Attempt | None] = {}

    async def run(self, hook: PindoAsyncHook) -> None:
        """Send everything, or until something stops it; see :attr:`stopped`."""
        self._loop = asyncio.get_running_loop()
        self._hook = hook
        self._queue: asyncio.Queue[Request] = asyncio.Queue()
        self._wake = asyncio.Event()
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
        self._is_interrupted, self._starts_requests = True, False
        if self.stopped is None:
            self.stopped = PindoInterruptedError("The task was asked to end while it was sending")
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

    def _stop(self, error: BaseException) -> None:
        """Start no further request; those in flight go on."""
        self._prepare_no_more(error)
        if self._starts_requests:
            self._starts_requests = False
            self._wake.set()

    def _prepare_no_more(self, error: BaseException) -> None:
        """Prepare no further chunk; those that are prepared go on."""
        if self.stopped is None:
            self.stopped = error
            log.warning("Stopping: no further request starts")

    @property
    def in_flight(self) -> Sequence[tuple[Batch, Outcome]]:
        """Batches that were begun and are not in the totals yet, with what is known of them."""
        sources = self._in_flight.copy()
        outcomes = {index: source.snapshot() for index, source in sources.items()}
        for request in self._admitting:  # the write has not ended, so nothing was sent to them
            request.put_back_in(outcomes[request.source.batch.index])
        return [(source.batch, outcomes[index]) for index, source in sources.items()]

    @property
    def balance(self) -> float | None:
        """USD in the wallet, as Pindo said last."""
        return self._spending.balance

    # -- the coordinator

    async def _coordinate(self) -> None:
        """Prepare, admit and record, until nothing is left or something stops it."""
        self._read()
        while True:
            self._wake.clear()
            await self._write(self._admit())
            self._end_batches()
            self._check_report()
            if self._current is None and self._reading is None and all(map(_has_ended, self._open)):
                break
            await self._wake.wait()
        if self._ledger.is_kept:
            unrecorded = [source for source in self._open if not source.is_recorded]
            await self._in(self._entries, self._ledger.write_last, _snapshots(unrecorded))
        for source in self._open:
            source.report()
        await asyncio.gather(*self._adding)

    def _read(self) -> None:
        """Start to read the next batch, while the others are sent."""
        self._reading = asyncio.get_running_loop().run_in_executor(self._files, next, self._batches, None)
        self._reading.add_done_callback(lambda _: self._wake.set())

    def _prepare(self) -> bool:
        """Make the next chunk ready, and reserve its cost; return whether there is one."""
        while True:
            if self._chunk and self.stopped is not None:
                self._drop(self._chunk)
            if not self._chunk and not self._next_chunk():
                return False
            if not self._chunk:
                continue
            cost = sum(request.segments * request.source.price for request in self._chunk)
            problem = self._spending.problem(self._spending.reserved + cost)
            if problem is None:
                self._spending.reserved += cost
                self._ready.extend(self._chunk)
                self._chunk = []
                return True
            if any(source.admitted for source in self._open):
                return False  # receipts may say that what is in flight costs less
            self._prepare_no_more(problem)

    def _next_chunk(self) -> bool:
        """Make the requests of the next chunk; return False when no batch is at hand."""
        if self._current is None:
            self._current = self._begin_next()
            if self._current is None:
                return False
        source = self._current
        chunk = next(source.chunks, None) if self.stopped is None else None
        if chunk is None:
            source.is_prepared = True
            self._current = None
            return True
        self._chunk = [
            self._request(source, positions, text, is_single=text is not None and len(positions) == 1)
            for text, positions in chunk
        ]
        source.waiting += len(self._chunk)
        return True

    def _drop(self, requests: list[Request] | deque[Request]) -> None:
        """Forget requests that are not admitted; their recipients are not sent."""
        for request in requests:
            request.source.waiting -= 1
        requests.clear()

    def _request(
        self, source: BatchInFlight, positions: Sequence[int], text: str | None, *, is_single: bool = False
    ) -> Request:
        segments = source.batch.segments(positions, self._plan.template)
        return Request(source, positions, text, segments, is_single)

    def _begin_next(self) -> BatchInFlight | None:
        """Return the batch that was read; None when it is not read yet, or nothing is left."""
        if self._reading is None or not self._reading.done():
            return None
        reads_on = self.stopped is None or (self._read_to_the_end and not self._is_interrupted)
        try:
            batch = self._reading.result() if reads_on else None
            if batch is None:
                self._reading = None
                return None
            source = self._begin(batch)
        except Exception as error:
            self._reading = None
            self._stop(error)
            return None
        self._read()
        return source

    def _begin(self, batch: Batch) -> BatchInFlight:
        outcome = self._ledger.find(batch) or Outcome(not_sent=batch.rows.copy())
        again = chain(*outcome.unknown.values()) if self._resend_unknown else ()
        rows = set(outcome.not_sent).union(again) - batch.excluded
        positions = batch.positions(rows)
        chunks = chunks_of(batch, positions, self._chunk_size, one_by_one=self._plan.one_by_one)
        source = BatchInFlight(batch, outcome, chunks, self._spending.price)
        source.is_recorded = bool(rows) or not self._ledger.was_settled(batch)
        self._open.append(source)
        self._in_flight[batch.index] = source
        return source

    def _admit(self) -> list[Request]:
        """Choose the requests that the next write admits."""
        admitted: list[Request] = []
        if not self._starts_requests:
            self._drop(self._ready)
            self._prepare()
            return admitted
        if self._queue.qsize() > self._low_water:
            return admitted
        if (self._ready or self._prepare()) and (closed := self._gate.why_closed()):
            self._stop(closed)
            return admitted
        rows = sum(len(source.admitted) for source in self._open)
        while self._ready or self._prepare():
            if not self._drop_expired():
                continue
            size = len(self._ready[0].positions)
            # Equal texts go out together, even if they are more than the window.
            if rows + size > max(self._window, 2 * size if self._is_personal else 0):
                break
            rows += size
            admitted.append(self._ready.popleft())
        for source in self._open:
            mine = [request for request in admitted if request.source is source]
            if mine:
                taken = [row for request in mine for row in request.rows]
                source.admitted |= dict.fromkeys(taken)
                source.admitted |= source.outcome.take(taken)
                source.admitted_segments += sum(request.segments for request in mine)
                source.waiting -= len(mine)
                source.is_recorded = False
        return admitted

    def _drop_expired(self) -> bool:
        """Take the expired out of the next request, so that they stay not sent; return whether somebody is left."""
        expired, rest = self._divide(self._ready[0])
        if expired is None:
            return True
        request = self._ready.popleft()
        self._release(request)
        request.source.waiting -= 1
        if rest is None:
            return False
        rest.source.waiting += 1
        self._spending.reserved += rest.segments * rest.source.price
        self._ready.appendleft(rest)
        return True

    def _divide(self, request: Request) -> tuple[Request | None, Request | None]:
        """Return the part of a request whose recipients' messages have expired, and the other part."""
        if not self._gate.expiries:
            return None, request
        has_expired, rows = self._gate.expiries.have_expired(), request.source.batch.rows
        expired = [position for position in request.positions if has_expired(rows[position])]
        if not expired:
            return None, request
        if len(expired) == len(request.positions):
            return request, None
        live = [position for position in request.positions if not has_expired(rows[position])]
        return (
            self._request(request.source, expired, request.text),
            self._request(
                request.source, live, request.text, is_single=request.text is not None and len(live) == 1
            ),
        )

    async def _write(self, admitted: list[Request]) -> None:
        """Write the ledger, which records and admits; then let the workers send."""
        if admitted and self._ledger.is_kept:
            unrecorded = [source for source in self._open if not source.is_recorded]
            snapshots = _snapshots(unrecorded)
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
                self._stop(error)
                return
            for source in unrecorded:
                source.report()
        self._admitting = []
        for request in admitted:
            self._queue.put_nowait(request)

    def _end_batches(self) -> None:
        for source in self._open:
            if source.has_ended and not source.is_counted:
                source.is_counted = True
                source.report()
                source.outcome.not_sent.sort()
                adding = asyncio.get_running_loop().run_in_executor(self._files, self._add, source)
                self._adding.add(adding)
                adding.add_done_callback(self._adding.discard)
        is_kept = self._ledger.is_kept
        self._open = [
            source for source in self._open if not source.has_ended or (is_kept and not source.is_recorded)
        ]

    def _add(self, source: BatchInFlight) -> None:
        self._totals.add(source.batch, source.outcome)
        self._in_flight.pop(source.batch.index, None)
        self._totals.write(source.batch, source.outcome)

    def _check_report(self) -> None:
        if self._totals.failure is not None:
            self._stop(self._totals.failure)

    async def _in(self, executor: Executor, do: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(executor, do, *args)

    # -- requests

    async def _work(self) -> None:
        me = asyncio.current_task()
        assert me is not None  # noqa: S101
        while True:
            request = self._take_due(await self._queue.get())
            if request is not None and self._starts_requests:
                attempt = self._working[me] = Attempt()
                await self._deliver(request, attempt)
                self._working[me] = None
            elif request is not None:
                request.put_back()
            if self._queue.qsize() <= self._low_water:
                self._wake.set()

    def _take_due(self, request: Request) -> Request | None:
        """Return what of an admitted request may go out at this moment; the rest is not sent."""
        if self._starts_requests and (closed := self._gate.why_closed()):
            self._stop(closed)
        expired, rest = self._divide(request)
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
            self._count_unanswered(error.why)
        except PindoRejectedError as error:
            self._rejected(request, error)
        except PindoError as error:
            request.put_back()
            self._stop(error)
        except asyncio.CancelledError:
            if not self._is_interrupted:
                raise  # pragma: no cover - the loop itself is being ended
            if attempt.sent:
                self._unknown(request, "the task ended before a response came")
            else:
                request.put_back()
        except Exception as error:  # a library's, or a mistake of ours
            if attempt.sent:
                self._unknown(request, f"{type(error).__name__} came up before Pindo's response was read")
            else:
                request.put_back()
            # Not the error itself: Airflow logs its message, which may quote the text or the number.
            self._stop(PindoStoppedError(f"{safe_message(error)} came up while sending"))

    async def _deliver_one(self, request: Request, attempt: Attempt) -> None:
        batch, position = request.source.batch, request.positions[0]
        receipt = await self._hook.send(
            calls.send_sms(batch.numbers[position], request.text or "", self._sender), attempt
        )
        request.source.outcome.sms_ids[batch.rows[position]] = receipt.sms_id
        self._read_receipt(receipt)
        self._accepted(request, receipt.item_count or request.segments, receipt.total_cost)

    async def _deliver_many(self, request: Request, attempt: Attempt) -> None:
        batch, count = request.source.batch, len(request.positions)
        recipients = [
            {"phonenumber": batch.numbers[position], "name": batch.names[position]}
            for position in request.positions
        ]
        text = self._plan.template.text if request.text is None else request.text
        receipt = await self._hook.send(calls.send_checked_bulk_sms(recipients, text, self._sender), attempt)
        self._read_receipt(receipt)
        if receipt.count > count or receipt.total not in (None, count):
            reason = f"Pindo speaks of {receipt.count} of {receipt.total} where it was asked for {count}"
            self._unknown(request, reason)
        elif 0 < receipt.count < count:
            self._unknown(request, f"Pindo took {receipt.count} of {count} and does not say which")
        elif receipt.count == 0:
            self._refused(request, f"Pindo took none of {count}")
        else:
            self._accepted(request, request.segments, None)

    def _read_receipt(self, receipt: SmsReceipt | BulkReceipt) -> None:
        """Note that Pindo is up, and its price and balance."""
        self._unknown_in_a_row = 0
        if receipt.item_price is not None:
            self._spending.price = receipt.item_price
        if receipt.remaining_balance is not None:
            self._spending.balance = receipt.remaining_balance

    def _accepted(self, request: Request, segments: int, cost: float | None) -> None:
        outcome, spending = request.source.outcome, self._spending
        if cost is None:
            cost = segments * spending.price
        self._refused_in_a_row = ("", 0)
        request.take()
        self._release(request)
        outcome.segments += segments
        outcome.cost += cost
        spending.spent += cost
        if problem := spending.problem():
            self._stop(problem)

    def _unknown(self, request: Request, reason: str) -> None:
        outcome = request.source.outcome
        outcome.unknown.setdefault(reason, []).extend(request.take())
        self._release(request)
        cost = request.segments * self._spending.price
        outcome.unknown_cost += cost
        self._spending.spent += cost

    def _count_unanswered(self, reason: str) -> None:
        self._unknown_in_a_row += 1
        if self._unknown_in_a_row == UNKNOWN_IN_A_ROW:
            self._stop(
                PindoStoppedError(
                    f"{UNKNOWN_IN_A_ROW} requests in a row got no certain response ({reason}): Pindo seems to be down"
                )
            )

    def _rejected(self, request: Request, error: PindoRejectedError) -> None:
        self._unknown_in_a_row = 0
        concerns_everybody = self._concerns_everybody(error)
        if error.status not in _SPLIT or len(request.positions) == 1:
            self._refused(request, _reason(error))
        elif concerns_everybody:
            request.put_back()
        else:
            half = len(request.positions) // 2
            for positions in (request.positions[:half], request.positions[half:]):
                self._queue.put_nowait(self._request(request.source, positions, request.text))
        if concerns_everybody and self._starts_requests:
            self._stop(_refused_everybody(error, self._sender))

    def _concerns_everybody(self, error: PindoRejectedError) -> bool:
        """Count a refusal; return whether it is the last of a run that concerns everybody.

        Only refusals with one reason, and nobody accepted in between, make a run. Reasons about a number never do.
        """
        reason = _reason(error)
        if error.status == _TOO_LARGE or _ABOUT_A_NUMBER.search(error.reason or ""):
            return False
        before, count = self._refused_in_a_row
        self._refused_in_a_row = reason, count + 1 if reason == before else 1
        return self._refused_in_a_row[1] >= REFUSED_IN_A_ROW

    def _refused(self, request: Request, reason: str) -> None:
        self._release(request)
        request.source.outcome.rejected.setdefault(reason, []).extend(request.take())

    def _release(self, request: Request) -> None:
        self._spending.reserved -= request.segments * request.source.price

    async def _show_progress(self) -> None:
        started, before = time.monotonic(), self._processed()
        while True:
            await asyncio.sleep(PROGRESS)
            done, everybody = self._processed(), self._totals.preflight.in_batches
            rate = (done - before) / (time.monotonic() - started)
            remaining = f"{(everybody - done) / rate:,.0f} s left" if rate else "no rate yet"
            rejected = self._totals.rejected + sum(
                source.outcome.count_rejected() for source in self._open if not source.is_counted
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
            for source in self._open
            if not source.is_counted
        )


def _put_back(outcome: Outcome, before: dict[int, str | None]) -> None:
    for row, reason in before.items():
        (outcome.not_sent if reason is None else outcome.unknown.setdefault(reason, [])).append(row)


def _has_ended(source: BatchInFlight) -> bool:
    return source.has_ended


def _snapshots(sources: Sequence[BatchInFlight]) -> list[tuple[Batch, Outcome]]:
    return [(source.batch, source.snapshot()) for source in sources]


def _reason(error: PindoRejectedError) -> str:
    return f"{error.status} {error.reason}" if error.reason else str(error.status)


def _refused_everybody(error: PindoRejectedError, sender: str) -> PindoRejectedError:
    what = (
        f"the sender ID {sender!r}"
        if re.search(r"\bsender", error.reason or "", re.IGNORECASE)
        else "every message"
    )
    return error.with_message(f"Pindo refuses {what} ({_reason(error)}), so nobody else was sent to")
