"""The wait for evidence of an unknown outcome, without a worker slot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow.triggers.base import BaseTrigger

    from airflow_provider_pindo._ledger.evidence import UnknownMessage
    from airflow_provider_pindo.hooks.pindo import PindoHook

#: Most messages that one trigger waits for, since Airflow stores its arguments.
_MAX_MESSAGES = 1000


def evidence_trigger(hook: PindoHook, until: datetime, unknown: Iterable[UnknownMessage]) -> BaseTrigger:
    """Return the trigger that waits for evidence.

    :param until: when the wait ends.
    :param unknown: the messages, of one sender. It waits for the first thousand.
    """
    from airflow_provider_pindo.triggers._evidence import EvidenceTrigger

    first = list(unknown)[:_MAX_MESSAGES]
    messages = defaultdict[str, list[str]](list)
    for each in first:
        messages[each.began.isoformat()].append(each.message)
    return EvidenceTrigger(
        messages=messages, sender=first[0].sender, until=until.isoformat(), pindo_conn_id=hook.pindo_conn_id
    )
