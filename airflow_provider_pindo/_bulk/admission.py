"""Which requests the next write of the ledger admits.

Requests are prepared chunk by chunk, in the order of the list. The segments of each admitted request are reserved.
Where a limit holds, one request goes out alone until a receipt names the price.

A limit bounds how many recipients are admitted and have no outcome. It is three times ``concurrency`` for texts that go
out one by one, and two requests' recipients for bulk requests. Only these are unknown after a kill, whatever the size
of an entry.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from airflow_provider_pindo._bulk.breaker import Breaker
from airflow_provider_pindo._bulk.gate import Gate
from airflow_provider_pindo._bulk.in_flight import BatchInFlight, Request
from airflow_provider_pindo._bulk.spending import Spending

#: Recipients admitted and not recorded, for texts that go out one by one: so many times ``concurrency``.
PER_WORKER = 3


class Admission:
    """Prepares requests, and chooses those that may go out.

    :param next_batch: returns the next batch; None when none is at hand.
    :param fills_text: whether texts are filled here, and most go out one by one.
    """

    def __init__(
        self,
        *,
        next_batch: Callable[[], BatchInFlight | None],
        breaker: Breaker,
        spending: Spending,
        gate: Gate,
        fills_text: bool,
        concurrency: int,
        chunk_size: int,
    ) -> None:
        self._next_batch = next_batch
        self._breaker = breaker
        self._spending = spending
        self._gate = gate
        self._most_admitted = PER_WORKER * concurrency if fills_text else 2 * chunk_size
        self._current: BatchInFlight | None = None
        self._ready: deque[Request] = deque()

    @property
    def has_batch(self) -> bool:
        """Whether a batch has chunks that are not prepared yet."""
        return self._current is not None

    def admit(self, batches: list[BatchInFlight]) -> list[Request]:
        """Return the requests that may go out now, which their batches count as admitted.

        :param batches: those in flight; a batch that is begun meanwhile is added to them.
        """
        admitted: list[Request] = []
        if (self._ready or self._prepare()) and (closed := self._gate.why_closed()):
            self._breaker.stop(closed)
            return admitted
        rows = sum(len(source.admitted) for source in batches)
        while self._ready or self._prepare():
            if not self._drop_expired():
                continue
            request = self._ready[0]
            size = len(request.positions)
            # Equal texts go out together, even if they are more than the limit.
            if rows + size > max(self._most_admitted, 2 * size):
                break
            problem = self._spending.problem(self._spending.reserved + request.segments)
            if problem and not rows:
                self._breaker.stop(problem)
                break
            if rows and (problem or self._spending.awaits_price):
                break  # a receipt may say another price
            self._spending.reserved += request.segments
            rows += size
            admitted.append(self._ready.popleft())
        for source in batches:
            if mine := [request for request in admitted if request.source is source]:
                source.admit(mine)
        return admitted

    def drop_waiting(self) -> None:
        """Forget the requests that are prepared; their recipients are not sent."""
        for request in self._ready:
            request.source.waiting -= 1
        self._ready.clear()
        self._prepare()

    def _prepare(self) -> bool:
        """Make the requests of the next chunk ready; return whether there is one."""
        while source := self._current or self._next_batch():
            self._current = source
            chunk = next(source.chunks, None) if self._breaker.error is None else None
            if chunk is not None:
                self._ready.extend(
                    source.request(positions, text, is_single=text is not None and len(positions) == 1)
                    for text, positions in chunk
                )
                source.waiting += len(chunk)
                return True
            source.is_prepared = True
            self._current = None
        return False

    def _drop_expired(self) -> bool:
        """Take the expired out of the next request, so that they stay not sent; return whether somebody is left."""
        expired, rest = self._ready[0].divide(self._gate.expiries)
        if expired is None:
            return True
        request = self._ready.popleft()
        request.source.waiting -= 1
        if rest is None:
            return False
        rest.source.waiting += 1
        self._ready.appendleft(rest)
        return True
