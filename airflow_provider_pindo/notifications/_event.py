"""The event that an alert reports, read from a callback's context.

A task's callback has a full context. A DAG's callback may have only the DAG and a reason. A deadline's callback
has only the run and the deadline, as plain dictionaries. A missing or malformed value never raises an error: the
alert then says less.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from airflow_provider_pindo.api.phone import mask_numbers_in

_KIND_BY_STATE = {
    "failed": "Failed",
    "upstream_failed": "Failed",
    "up_for_retry": "Will retry",
    "success": "Succeeded",
    "skipped": "Skipped",
    "scheduled": "Started",  # in Airflow 2's dag.test()
    "queued": "Started",
    "running": "Started",
}
#: Airflow's reasons for a failed run, in words. "Failed" already says ``task_failure``.
_REASONS = {
    "task_failure": "",
    "timed_out": "It timed out",
    "all_tasks_deadlocked": "All tasks are deadlocked",
}
_FAILED = "Failed"
_LATE = "Late"
_ASKS = "Waits for an answer"


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a task or a run. An unknown value is empty.

    :param kind: ``Failed``, ``Will retry``, ``Late``, ``Succeeded`` and so on.
    :param dag_id: the DAG.
    :param task_id: the task with its map index, such as ``load [3]``. Empty for an event of the whole run.
    :param run_date: the run's logical date, or else its planned start, in UTC.
    :param due: the missed deadline, in UTC.
    :param try_number: the task's try.
    :param cause: the exception's first line with masked phone numbers, or Airflow's words about the run. For a missed
        deadline: the run's state, since the run may have failed.
    :param log_url: the address of the task's log, or of the question that the task asks.
    :param id: the same for all callbacks of this event and for no other event. Airflow may call back twice for
        one failure.
    """

    kind: str
    dag_id: str
    task_id: str
    run_date: str
    due: str
    try_number: str
    cause: str
    log_url: str
    id: str

    def text(self) -> str:
        """Return the default text, most important facts first: its end may be cut.

        The log's address is added later, and only if all of it fits.
        """
        parts = [
            f"{self.kind}: DAG {self.dag_id or '?'}",
            self.task_id and f"task {self.task_id}",
            self.run_date and f"run {self.run_date}",
            self.due and f"due {self.due}",
            self.try_number and f"try {self.try_number}",
        ]
        sentence = ", ".join(part for part in parts if part)
        return " ".join(part for part in (f"{sentence}.", self.cause) if part)

    def incident(self) -> str:
        """Return the name that all repetitions of this event share: its kind, DAG and task, but not its run."""
        task_id = self.task_id.partition(" [")[0]
        return f"{self.kind}: DAG {self.dag_id}" + (f", task {task_id}" if task_id else "")


def parse_event(context: Mapping[str, Any]) -> Event:
    """Return the event that ``context`` describes.

    :param context: of a task's or a DAG's callback, of a deadline, or of an SLA miss (Airflow 2).
    """
    ti, run = _get(context, "ti"), _get(context, "dag_run")
    kind = _kind(context)
    is_of_run = not ti or (_get(context, "reason") is not None and not _may_have_failed(ti))
    dag_id = _text(_get(context, "dag", "dag_id") or _get(ti, "dag_id") or _get(run, "dag_id"))
    return Event(
        kind=kind,
        dag_id=dag_id,
        task_id="" if is_of_run else _task_id(ti),
        run_date=_date(_get(run, "logical_date") or _get(context, "logical_date") or _get(run, "run_after")),
        due=_date(_get(context, "deadline", "deadline_time")),
        try_number="" if is_of_run else _text(_get(ti, "try_number")),
        cause=_cause(context, kind),
        log_url="" if is_of_run else _text(_get(context, "question_url") or _get(ti, "log_url")),
        id=_id(context, kind, dag_id),
    )


def _id(context: Mapping[str, Any], kind: str, dag_id: str) -> str:
    """Return the event's ID, or "" if another event could have the same one: its alert would be lost."""
    if kind in (_KIND_BY_STATE["running"], _ASKS):
        return ""  # a running task may send several alerts
    if deadline := _text(_get(context, "deadline", "id")):
        return f"deadline {deadline}"
    ti, run = _get(context, "ti"), _get(context, "dag_run")
    # A cleared run can fail again. So can a run that was deleted and created again under the same ID.
    parts = [kind, dag_id, *(_text(_get(run, name)) for name in ("run_id", "clear_number"))]
    parts.append(_utc(_get(run, "start_date"), "%Y-%m-%d %H:%M:%S.%f"))
    if ti and _get(context, "reason") is None:
        parts += [_task_id(ti), _text(_get(ti, "try_number"))]
    return "\n".join(parts) if all(parts) else ""


def _kind(context: Mapping[str, Any]) -> str:
    if _get(context, "deadline"):
        return _LATE
    if _get(context, "task_list") is not None:
        return "SLA missed"
    if _get(context, "question_url"):
        return _ASKS
    if reason := _get(context, "reason"):
        return _KIND_BY_STATE["success"] if reason == "success" else _FAILED
    return _KIND_BY_STATE.get(_state(_get(context, "ti")), _FAILED)


def _may_have_failed(ti: Any) -> bool:
    """Return whether the task in a DAG callback's context may be the one that failed: then the alert names it."""
    # Airflow 3 gives the failed task, without its state. Airflow 2 gives any task.
    return _state(ti) in ("failed", "upstream_failed", "")


def _state(thing: Any) -> str:
    state = _get(thing, "state")
    return _text(getattr(state, "value", state))


def _task_id(ti: Any) -> str:
    map_index = _get(ti, "map_index")
    suffix = f" [{map_index}]" if isinstance(map_index, int) and map_index >= 0 else ""
    return _text(_get(ti, "task_id")) + suffix


def _cause(context: Mapping[str, Any], kind: str) -> str:
    if exception := _get(context, "exception"):
        lines = _text(exception).splitlines()
        name = type(exception).__name__ if isinstance(exception, BaseException) else ""
        return mask_numbers_in(": ".join(part for part in (name, *lines[:1]) if part))
    if kind == _LATE and (state := _state(_get(context, "dag_run"))):
        return f"The run's state: {state}"
    if kind == _FAILED and (reason := _get(context, "reason")):
        return _REASONS.get(_text(reason), _text(reason))
    tasks = _get(context, "task_list")
    return " ".join(_text(tasks).split()) if tasks else ""


def _date(value: Any) -> str:
    """Return a time (a datetime, or ISO 8601 text) as ``2026-11-22 10:00 UTC``."""
    return _utc(value, "%Y-%m-%d %H:%M UTC")


def _utc(value: Any, pattern: str) -> str:
    with suppress(Exception):
        time = dt.datetime.fromisoformat(value) if isinstance(value, str) else value
        return str(time.astimezone(dt.UTC).strftime(pattern))
    return ""


def _text(value: Any) -> str:
    with suppress(Exception):
        return "" if value is None else str(value).strip()
    return ""


def _get(thing: Any, *names: str) -> Any:
    """Follow ``names``, each an attribute or a key; return the last value, or None if one is missing."""
    for name in names:
        try:
            thing = thing[name] if isinstance(thing, Mapping) else getattr(thing, name, None)
        except Exception:  # a missing key, or a property that needs another missing value
            return None
    return thing
