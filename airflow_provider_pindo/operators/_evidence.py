"""The wait for evidence of an unknown outcome, without a worker slot."""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from airflow_provider_pindo._ledger.evidence import UnknownMessage
    from airflow_provider_pindo.operators._base import PindoOperator

log = logging.getLogger(__name__)

#: Most messages that one trigger waits for, since Airflow stores its arguments.
_MAX_MESSAGES = 1000

#: How late a triggerer may be, until Airflow ends the wait. The next try then does what on_unknown says.
_TRIGGERER_DELAY = timedelta(minutes=1)


def wait_for_evidence(
    operator: PindoOperator,
    until: datetime,
    unknown: Collection[UnknownMessage],
    **kwargs: Any,
) -> NoReturn:
    """Defer the task until there is evidence, or the wait ends.

    :param until: when the wait ends.
    :param unknown: the messages, of one sender. It waits for the first thousand.
    :param kwargs: arguments of the operator's ``execute_evidence``, which goes on, besides ``event``.
    """
    from airflow_provider_pindo.triggers._evidence import EvidenceTrigger

    remaining = until - datetime.now(UTC)
    log.info(
        "The outcome of %s is unknown. Waiting up to %.0f s for Pindo's webhook",
        "1 message" if len(unknown) == 1 else f"{len(unknown):,} messages",
        remaining.total_seconds(),
    )
    operator.defer(
        trigger=EvidenceTrigger.of(list(unknown)[:_MAX_MESSAGES], until, operator.pindo_conn_id),
        method_name="execute_evidence",
        kwargs=kwargs,
        timeout=remaining + _TRIGGERER_DELAY,
    )
    raise AssertionError  # pragma: no cover - defer() raises
