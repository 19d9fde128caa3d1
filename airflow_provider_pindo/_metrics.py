"""What the provider reports to Airflow's metrics (StatsD, Datadog, OpenTelemetry).

``docs/howto/measure.rst`` lists the names, units and tags. Counters are added up per write of the ledger, not per
message. No metric has a number, an id or a text in it. A metric that cannot be reported never fails a task.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import count
from typing import Any, Protocol

from airflow_provider_pindo.api.errors import PindoError, PindoRejectedError, PindoUnknownOutcomeError

log = logging.getLogger(__name__)

#: Kinds of messages, for the tag ``kind``.
SINGLE, BULK, VERIFY, ALERT = "single", "bulk", "verify", "alert"
#: One request in so many is timed, beginning with the first of a process.
SAMPLING_INTERVAL = 10

_requests = count()
_UNTIMED = nullcontext()


def count_messages(kind: str, *, segments: int = 0, cost: float = 0.0, **outcomes: int) -> None:
    """Count messages by outcome.

    :param kind: one of the kinds above.
    :param segments: segments of those that were accepted.
    :param cost: USD that they cost. Counters are whole, so it is reported in millionths.
    :param outcomes: messages by outcome, such as ``accepted=38, unknown=2``.
    """
    for outcome, messages in outcomes.items():
        _count("pindo.messages", messages, outcome, {"kind": kind})
    _incr("pindo.segments", segments, {"kind": kind})
    _incr("pindo.cost", round(cost * 1_000_000), {"kind": kind})


def outcome_of(error: BaseException | None) -> str:
    """Return the outcome of a message whose request raised ``error``; None means that it raised nothing."""
    if error is None:
        return "accepted"
    if isinstance(error, PindoUnknownOutcomeError) or not isinstance(error, PindoError):
        return "unknown"
    return "rejected" if isinstance(error, PindoRejectedError) else "not_sent"


def count_settled(by: str, messages: int = 1) -> None:
    """Count unknown outcomes that were settled, by ``person``, ``page`` or ``evidence``."""
    _count("pindo.settled", messages, by, {}, tag="by")


def count_webhook(kind: str) -> None:
    """Count a webhook that the receiver has stored."""
    _count("pindo.webhooks", 1, kind, {}, tag="kind")


class HasStatus(Protocol):
    """A request that is timed."""

    #: HTTP status of the response; None before one arrives.
    status: int | None


def timed_request(call: str, attempt: HasStatus) -> AbstractContextManager[None]:
    """Time one request in :data:`SAMPLING_INTERVAL`, from its start to the end of the response.

    Waits for ``requests_per_second`` and for a free slot are included.

    :param call: name of the hook's method.
    """
    return _UNTIMED if next(_requests) % SAMPLING_INTERVAL else _timed(call, attempt)


@contextmanager
def _timed(call: str, attempt: HasStatus) -> Iterator[None]:
    started = time.monotonic()
    try:
        yield
    finally:
        milliseconds = 1000 * (time.monotonic() - started)
        _report(
            "timing", "pindo.request", milliseconds, {"call": call, "status": str(attempt.status or "none")}
        )


def _count(name: str, amount: int, value: str, tags: dict[str, str], *, tag: str = "outcome") -> None:
    """Count under the name with a tag, and under a name of its own for backends that have no tags."""
    _incr(name, amount, {tag: value, **tags})
    _incr(f"{name}.{value}", amount, tags)


def _incr(name: str, amount: int, tags: dict[str, str]) -> None:
    if amount > 0:
        _report("incr", name, amount, tags)


def _report(method: str, name: str, value: Any, tags: dict[str, str]) -> None:
    try:
        from airflow.providers.common.compat.sdk import Stats

        getattr(Stats, method)(name, value, tags=tags)
    except Exception as error:
        log.debug("The metric %s was not reported: %s", name, type(error).__name__)
