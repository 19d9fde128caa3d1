"""The sending half of a bulk send: chunks in, outcomes out.

It runs in an event loop of its own, in a thread of its own, while the task's main thread only waits. So a
signal or a timeout, which Airflow delivers to the main thread, never strikes in the middle of a request or
of an entry in the ledger: it is passed on here, where nothing new starts from then on, what is in flight
gets a short grace, and what has no answer by then is unknown.

Chunks are opened one after the other, two at a time. All their requests go into one line, which
``concurrency`` workers serve over one pool of connections.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_pindo._bulk.chunk_ledger import OPEN_CHUNKS, ChunkLedger, Outcome
from airflow_provider_pindo._bulk.recipients import Chunk, Plan, requests_of
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

#: Seconds that requests in flight get when the task is being ended. Airflow kills a task five seconds after
#: it asked it to end, and the ledger is to be written within them.
GRACE = 3.0
#: Requests in a row without a certain answer after which Pindo counts as down: going on would only make
#: more recipients unknown.
UNKNOWN_IN_A_ROW = 10
#: Seconds between two lines of progress in the log.
PROGRESS = 5.0

#: Statuses of a bulk request that is sent again in halves: 409 is about a number in it, 413 about its size.
_SPLIT = frozenset({409, 413})


@dataclass(slots=True)
class Spending:
    """What a send costs, and when to stop for it.

    :param min_balance: USD that are to stay in the wallet, or None.
    :param max_cost: USD that the whole send may cost, over all tries, or None.
    :param price: USD for one segment, as far as it is known.
    :param balance: USD in the wallet, as Pindo said last, or None.
    :param spent: USD that were spent, with those of unknown outcome counted as spent.
    :param reserved: USD that the chunks on their way will cost.
    """

    min_balance: float | None = None
    max_cost: float | None = None
    price: float = 0.0
    balance: float | None = None
    spent: float = 0.0
    reserved: float = 0.0

    def problem(self, cost: float = 0.0) -> PindoError | None:
        """Return why nothing more may be sent; ``cost`` is that of what is on its way or would be next."""
        if (
            self.min_balance is not None
            and self.balance is not None
            and self.balance - cost < self.min_balance
        ):
            return PindoInsufficientBalanceError(
                f"the wallet holds {self.balance:,.3f} USD, and {cost:,.3f} more are on their way or would be next, "
                f"which leaves less than min_balance={self.min_balance:,.2f}: top it up, or lower min_balance"
            )
        if self.max_cost is not None and self.spent + cost > self.max_cost:
            return PindoCostLimitError(
                f"{self.spent:,.3f} USD were spent, and {cost:,.3f} more are on their way or would be next, which is "
                f"over max_cost={self.max_cost:,.2f}: raise max_cost and clear the task, and it goes on from there"
            )
        return None


@dataclass(slots=True)
class ChunkInFlight:
    """A chunk that is being sent.

    :param price: USD for a segment, by which money is reserved for it.
    :param before: why some of those it is sent to were unknown before, by row.
    :param requests: how many of its requests are left.
    """

    chunk: Chunk
    outcome: Outcome
    price: float
    before: dict[int, str] = field(default_factory=dict)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    requests: int = 0


@dataclass(slots=True)
class Request:
    """One request to make.

    :param places: positions of its recipients in the chunk.
    :param text: the text; None for that of the plan, whose name Pindo fills.
    :param segments: segments of its messages, as they are counted here.
    """

    job: ChunkInFlight
    places: Sequence[int]
    text: str | None
    segments: int
    single: bool

    @property
    def rows(self) -> list[int]:
        """Row numbers of its recipients."""
        return [self.job.chunk.rows[place] for place in self.places]

    def put_back(self) -> None:
        """Have its recipients where they were before, since nothing was sent to them now."""
        outcome = self.job.outcome
        for row in self.rows:
            reason = self.job.before.get(row)
            (outcome.not_sent if reason is None else outcome.unknown.setdefault(reason, [])).append(row)


class BulkSender:
    """Sends chunks, each with its entry in the ledger.

    :param chunks: yields them; it is read in a thread, since it reads files.
    :param tally: is told what came of each chunk, in the same thread.
    :param resend_unknown: send again to those whom an earlier try left unknown.
    :param read_to_the_end: go through all chunks even after a stop, so that the report has everybody.
    """

    def __init__(
        self,
        *,
        plan: Plan,
        sender: str,
        chunks: Iterator[Chunk],
        ledger: ChunkLedger,
        totals: Totals,
        spending: Spending,
        concurrency: int,
        resend_unknown: bool = False,
        read_to_the_end: bool = False,
    ) -> None:
        self._plan = plan
        self._sender = sender
        self._chunks = chunks
        self._ledger = ledger
        self._totals = totals
        self._spending = spending
        self.concurrency = concurrency
        self._resend_unknown = resend_unknown
        self._read_to_the_end = read_to_the_end
        #: Why it stopped before the end; None when it did not.
        self.stopped: BaseException | None = None
        self._starts_requests = True
        self._is_interrupted = False
        self._in_flight: dict[int, tuple[Chunk, Outcome]] = {}
        self._unknown_in_a_row = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._written: set[asyncio.Future[None]] = set()
        self._working: dict[asyncio.Task[None], Attempt | None] = {}

    async def run(self, hook: PindoAsyncHook) -> None:
        """Send everything, or until something stops it; see :attr:`stopped`."""
        self._loop = asyncio.get_running_loop()
        self._hook = hook
        self._queue: asyncio.Queue[Request] = asyncio.Queue()
        self._open_slots = asyncio.Semaphore(OPEN_CHUNKS)
        with ThreadPoolExecutor(1) as self._files, ThreadPoolExecutor(1) as self._entries:
            self._working = {asyncio.create_task(self._work()): None for _ in range(self.concurrency)}
            progress = asyncio.create_task(self._show_progress())
            try:
                await self._open_chunks()
            finally:
                for task in (*self._working, progress):
                    task.cancel()
                await asyncio.gather(*self._working, progress, return_exceptions=True)

    def interrupt(self) -> None:
        """Start nothing new, and end within the grace; may be called from any thread, and by a signal handler."""
        self._is_interrupted, self._starts_requests = True, False
        if self.stopped is None:
            self.stopped = PindoInterruptedError("The task was asked to end while it was sending")
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended meanwhile
                self._loop.call_soon_threadsafe(self._end_soon)

    def _end_soon(self) -> None:
        for task, attempt in self._working.items():
            if attempt is not None:
                attempt.is_last = True
                if not attempt.sent:  # it waits for its turn: nothing was sent
                    task.cancel()
        asyncio.get_running_loop().call_later(GRACE, self._end_now)

    def _end_now(self) -> None:
        for task, attempt in self._working.items():
            if attempt is not None:
                task.cancel()

    def _stop(self, error: BaseException) -> None:
        """Start no further request; those in flight go on."""
        self._starts_requests = False
        self._open_no_more(error)

    def _open_no_more(self, error: BaseException) -> None:
        """Start no further chunk; those on their way go on."""
        if self.stopped is None:
            self.stopped = error
            log.warning("Stopping: no further request starts")

    @property
    def in_flight(self) -> Sequence[tuple[Chunk, Outcome]]:
        """Chunks that have been begun and are not in the tally yet, with what is known of them."""
        return list(self._in_flight.copy().values())

    @property
    def balance(self) -> float | None:
        """USD in the wallet, as Pindo said last."""
        return self._spending.balance

    # -- chunks

    async def _open_chunks(self) -> None:
        opened: set[asyncio.Task[None]] = set()
        while self.stopped is None or (self._read_to_the_end and not self._is_interrupted):
            try:  # while the chunks before it are being sent
                chunk = await self._read()
            except Exception as error:
                self._open_no_more(error)
                break
            self._look_at_the_report()
            if chunk is None:
                break
            await self._open_slots.acquire()
            task = asyncio.create_task(self._send_chunk(chunk))
            opened.add(task)
            task.add_done_callback(opened.discard)
        await asyncio.gather(*opened)
        await asyncio.gather(*self._written)

    async def _read(self) -> Chunk | None:
        return await self._in(self._files, next, self._chunks, None)

    async def _send_chunk(self, chunk: Chunk) -> None:
        try:
            await self._send_rest(chunk)
        except Exception as error:
            self._stop(error)
        finally:
            self._open_slots.release()

    async def _send_rest(self, chunk: Chunk) -> None:
        """Send to those in ``chunk`` who have not been sent to."""
        outcome = self._ledger.find(chunk) or Outcome(not_sent=chunk.rows.copy())
        self._in_flight[chunk.index] = chunk, outcome
        again = chain(*outcome.unknown.values()) if self._resend_unknown else ()
        rows = sorted(set(outcome.not_sent).union(again) - chunk.excluded)
        try:
            if rows and self.stopped is None:
                await self._send_rows(ChunkInFlight(chunk, outcome, self._spending.price), rows)
            elif not rows and self._ledger.was_settled(chunk):
                self._soon(self._entries, self._ledger.close, chunk, outcome)  # what the person said is noted
        except Exception as error:  # the ledger was not written: nobody more was sent to
            self._stop(error)
        self._soon(self._files, self._add, chunk, outcome)

    async def _send_rows(self, job: ChunkInFlight, rows: list[int]) -> None:
        chunk, outcome = job.chunk, job.outcome
        requests = list(self._requests(job, chunk.positions(rows)))
        cost = sum(each.segments for each in requests) * job.price
        if not self._may_send(cost):
            return
        if_killed = outcome.if_killed(rows, cost)
        if self._ledger.is_kept:
            await self._in(self._entries, self._ledger.open, chunk, if_killed)
        self._in_flight[chunk.index] = chunk, if_killed
        job.before = outcome.take(rows)
        job.requests = len(requests)
        for request in requests:
            self._queue.put_nowait(request)
        await job.done.wait()
        outcome.not_sent.sort()
        if self._ledger.is_kept:
            # Entries are written in order, so the next chunk is not opened there before this one is closed.
            self._soon(self._entries, self._ledger.close, chunk, outcome)

    def _may_send(self, cost: float) -> bool:
        if problem := self._spending.problem(self._spending.reserved + cost):
            self._open_no_more(problem)
            return False
        self._spending.reserved += cost
        return True

    def _requests(self, job: ChunkInFlight, places: Sequence[int]) -> Iterator[Request]:
        for text, group in requests_of(job.chunk, places):
            yield self._request(job, group, text, single=text is not None and len(group) == 1)

    def _request(
        self, job: ChunkInFlight, places: Sequence[int], text: str | None, *, single: bool = False
    ) -> Request:
        return Request(job, places, text, job.chunk.segments(places, self._plan.template), single)

    def _add(self, chunk: Chunk, outcome: Outcome) -> None:
        self._totals.add(chunk, outcome)
        self._in_flight.pop(chunk.index, None)
        self._totals.write(chunk, outcome)
        self._look_at_the_report()

    def _look_at_the_report(self) -> None:
        if self._totals.failure is not None:
            self._stop(self._totals.failure)

    def _soon(self, executor: Executor, do: Callable[..., None], *args: Any) -> None:
        done = asyncio.get_running_loop().run_in_executor(executor, do, *args)
        self._written.add(done)
        done.add_done_callback(self._written.discard)

    async def _in(self, executor: Executor, do: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(executor, do, *args)

    # -- requests

    async def _work(self) -> None:
        me = asyncio.current_task()
        assert me is not None  # noqa: S101
        while True:
            request = await self._queue.get()
            if self._starts_requests:
                attempt = self._working[me] = Attempt()
                await self._deliver(request, attempt)
                self._working[me] = None
            else:
                request.put_back()
            request.job.requests -= 1
            if not request.job.requests:
                request.job.done.set()

    async def _deliver(self, request: Request, attempt: Attempt) -> None:
        try:
            request.job.outcome.requests += 1
            await (
                self._deliver_one(request, attempt)
                if request.single
                else self._deliver_many(request, attempt)
            )
        except PindoUnknownOutcomeError as error:
            reason = _why_unknown(error)
            self._unknown(request, reason)
            self._count_unanswered(reason)
        except PindoRejectedError as error:
            self._rejected(request, error)
        except PindoError as error:
            request.put_back()
            self._stop(error)
        except asyncio.CancelledError:
            if not self._is_interrupted:
                raise  # pragma: no cover - the loop itself is being ended
            if attempt.sent:
                self._unknown(request, "the task was ended before Pindo answered")
            else:
                request.put_back()
        except Exception as error:  # a library's, or a mistake of ours
            if attempt.sent:
                self._unknown(request, f"{type(error).__name__} came up before Pindo's answer was read")
            else:
                request.put_back()
            # Not the error itself: Airflow logs what it says, and that may be the text or the number.
            self._stop(PindoStoppedError(f"{safe_message(error)} came up while sending"))

    async def _deliver_one(self, request: Request, attempt: Attempt) -> None:
        chunk, place = request.job.chunk, request.places[0]
        receipt = await self._hook.send(
            calls.send_sms(chunk.numbers[place], request.text or "", self._sender), attempt
        )
        request.job.outcome.sms_ids[chunk.rows[place]] = receipt.sms_id
        self._read_receipt(receipt)
        self._accepted(request, receipt.item_count or request.segments, receipt.total_cost)

    async def _deliver_many(self, request: Request, attempt: Attempt) -> None:
        chunk, asked = request.job.chunk, len(request.places)
        numbers = map(chunk.numbers.__getitem__, request.places)
        names = map(chunk.names.__getitem__, request.places)
        recipients = [
            {"phonenumber": number, "name": name} for number, name in zip(numbers, names, strict=True)
        ]
        text = self._plan.template.text if request.text is None else request.text
        receipt = await self._hook.send(calls.send_checked_bulk_sms(recipients, text, self._sender), attempt)
        self._read_receipt(receipt)
        if receipt.count > asked or receipt.total not in (None, asked):
            self._unknown(
                request, f"Pindo speaks of {receipt.count} of {receipt.total} where it was asked for {asked}"
            )
        elif 0 < receipt.count < asked:
            self._unknown(request, f"Pindo took {receipt.count} of {asked} and does not say which")
        elif receipt.count == 0:
            self._refused(request, f"Pindo took none of {asked}")
        else:
            self._accepted(request, request.segments, None)

    def _read_receipt(self, receipt: SmsReceipt | BulkReceipt) -> None:
        """Take note that Pindo is up, and of the price and the balance."""
        self._unknown_in_a_row = 0
        if receipt.item_price is not None:
            self._spending.price = receipt.item_price
        if receipt.remaining_balance is not None:
            self._spending.balance = receipt.remaining_balance

    def _accepted(self, request: Request, segments: int, cost: float | None) -> None:
        outcome, spending = request.job.outcome, self._spending
        if cost is None:
            cost = segments * spending.price
        self._release(request)
        outcome.segments += segments
        outcome.cost += cost
        spending.spent += cost
        if problem := spending.problem():
            self._stop(problem)

    def _unknown(self, request: Request, reason: str) -> None:
        outcome = request.job.outcome
        outcome.unknown.setdefault(reason, []).extend(request.rows)
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
        if error.status in _SPLIT and len(request.places) > 1:
            half = len(request.places) // 2
            for places in (request.places[:half], request.places[half:]):
                request.job.requests += 1
                self._queue.put_nowait(self._request(request.job, places, request.text))
            return
        self._refused(request, f"{error.status} {error.reason}" if error.reason else str(error.status))

    def _refused(self, request: Request, reason: str) -> None:
        self._release(request)
        request.job.outcome.rejected.setdefault(reason, []).extend(request.rows)

    def _release(self, request: Request) -> None:
        self._spending.reserved -= request.segments * request.job.price

    async def _show_progress(self) -> None:
        started, before = time.monotonic(), self._totals.visited
        while True:
            await asyncio.sleep(PROGRESS)
            done, everybody = self._totals.visited, self._totals.preflight.in_chunks
            rate = (done - before) / (time.monotonic() - started)
            left = f"{(everybody - done) / rate:,.0f} s left" if rate else "no rate yet"
            log.info(
                "%s of %s done, %s rejected, %.0f/s, %s",
                f"{done:,}",
                f"{everybody:,}",
                self._totals.rejected,
                rate,
                left,
            )


def _why_unknown(error: PindoUnknownOutcomeError) -> str:
    if error.status is None:
        return error.reason or error.summary
    return f"Pindo answered {error.status}" + (f" ({error.reason})" if error.reason else "")
