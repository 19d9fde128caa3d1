"""What happened, as far as the place that calls back says it.

A task's callback has everything in its context, a DAG's callback may have only the DAG and a reason, and a
deadline's only the run and the deadline, as plain dictionaries. Nothing here raises for what is missing, or for
a value that is not what it should be: the alert then says less.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from airflow_provider_pindo.api.phone import mask_numbers_in

_EVENTS = {
    "failed": "Failed",
    "upstream_failed": "Failed",
    "up_for_retry": "Will retry",
    "success": "Succeeded",
    "skipped": "Skipped",
    "scheduled": "Started",  # in Airflow 2's dag.test()
    "queued": "Started",
    "running": "Started",
}
#: Why Airflow says that a run has failed, in words; nothing where a person knows as much already.
_REASONS = {
    "task_failure": "",
    "timed_out": "It timed out",
    "all_tasks_deadlocked": "All tasks are deadlocked",
}
_FAILED = "Failed"
_LATE = "Late"


@dataclass(frozen=True, slots=True)
class Incident:
    """What happened; whatever is not known is empty.

    :param event: in one word or two: ``Failed``, ``Will retry``, ``Late``, ``Succeeded`` and so on.
    :param dag_id: the DAG.
    :param task_id: the task, with its map index, such as ``load [3]``; not for what concerns the whole run.
    :param run_date: the run's logical date, or when it was to start, in UTC.
    :param due: the deadline that was missed, in UTC.
    :param try_number: which try of the task it was.
    :param why: the exception's first line with phone numbers masked, or what Airflow says of the run: a run
        that has failed misses its deadline too.
    :param log_url: where the task's log is.
    :param id: what all callbacks of this one event have in common and no others: Airflow may call back twice
        for one failure.
    """

    event: str
    dag_id: str
    task_id: str
    run_date: str
    due: str
    try_number: str
    why: str
    log_url: str
    id: str

    def text(self) -> str:
        """Return the default text; what matters most comes first, since the end may be cut.

        The log's address is not in it: it goes after the text where there is room for all of it.
        """
        parts = [
            f"{self.event}: DAG {self.dag_id or '?'}",
            self.task_id and f"task {self.task_id}",
            self.run_date and f"run {self.run_date}",
            self.due and f"due {self.due}",
            self.try_number and f"try {self.try_number}",
        ]
        sentence = ", ".join(part for part in parts if part)
        return " ".join(part for part in (f"{sentence}.", self.why) if part)

    def name(self) -> str:
        """Return what its repetitions have in common: the event, the DAG and the task, not which run it was."""
        task_id = self.task_id.partition(" [")[0]
        return f"{self.event}: DAG {self.dag_id}" + (f", task {task_id}" if task_id else "")


def read_incident(context: Mapping[str, Any]) -> Incident:
    """Return what ``context`` says.

    :param context: of a callback of a task or a DAG, of a deadline, or of an SLA miss (Airflow 2).
    """
    ti, run = _get(context, "ti"), _get(context, "dag_run")
    event = _event(context)
    of_run = not ti or (_get(context, "reason") is not None and not _may_have_failed(ti))
    dag_id = _text(_get(context, "dag", "dag_id") or _get(ti, "dag_id") or _get(run, "dag_id"))
    return Incident(
        event=event,
        dag_id=dag_id,
        task_id="" if of_run else _task_id(ti),
        run_date=_date(_get(run, "logical_date") or _get(context, "logical_date") or _get(run, "run_after")),
        due=_date(_get(context, "deadline", "deadline_time")),
        try_number="" if of_run else _text(_get(ti, "try_number")),
        why=_why(context, event),
        log_url="" if of_run else _text(_get(ti, "log_url")),
        id=_id(context, event, dag_id),
    )


def _id(context: Mapping[str, Any], event: str, dag_id: str) -> str:
    """Return what identifies an event; rather nothing than what another event may have too, which is then lost."""
    if event == _EVENTS["running"]:
        return ""  # a task that runs may have several things to say
    if deadline := _text(_get(context, "deadline", "id")):
        return f"deadline {deadline}"
    ti, run = _get(context, "ti"), _get(context, "dag_run")
    # A run that is cleared, or deleted and made again under its old name, fails anew.
    parts = [event, dag_id, *(_text(_get(run, name)) for name in ("run_id", "clear_number"))]
    parts.append(_utc(_get(run, "start_date"), "%Y-%m-%d %H:%M:%S.%f"))
    if ti and _get(context, "reason") is None:
        parts += [_task_id(ti), _text(_get(ti, "try_number"))]
    return "\n".join(parts) if all(parts) else ""


def _event(context: Mapping[str, Any]) -> str:
    if _get(context, "deadline"):
        return _LATE
    if _get(context, "task_list") is not None:
        return "SLA missed"
    if reason := _get(context, "reason"):
        return _EVENTS["success"] if reason == "success" else _FAILED
    return _EVENTS.get(_state(_get(context, "ti")), _FAILED)


def _may_have_failed(ti: Any) -> bool:
    """Return whether the task that comes with a whole run is worth naming: the one that failed."""
    # Airflow 3 gives that one, without its state; Airflow 2 gives any.
    return _state(ti) in ("failed", "upstream_failed", "")


def _state(of: Any) -> str:
    state = _get(of, "state")
    return _text(getattr(state, "value", state))


def _task_id(ti: Any) -> str:
    map_index = _get(ti, "map_index")
    shown = f" [{map_index}]" if isinstance(map_index, int) and map_index >= 0 else ""
    return _text(_get(ti, "task_id")) + shown


def _why(context: Mapping[str, Any], event: str) -> str:
    if exception := _get(context, "exception"):
        lines = _text(exception).splitlines()
        named = type(exception).__name__ if isinstance(exception, BaseException) else ""
        return mask_numbers_in(": ".join(part for part in (named, *lines[:1]) if part))
    if event == _LATE and (state := _state(_get(context, "dag_run"))):
        return f"The run's state: {state}"
    if event == _FAILED and (reason := _get(context, "reason")):
        return _REASONS.get(_text(reason), _text(reason))
    tasks = _get(context, "task_list")
    return " ".join(_text(tasks).split()) if tasks else ""


def _date(value: Any) -> str:
    """Return a moment (a datetime, or as ISO 8601) as ``2026-11-22 10:00 UTC``."""
    return _utc(value, "%Y-%m-%d %H:%M UTC")


def _utc(value: Any, shown: str) -> str:
    with suppress(Exception):
        moment = dt.datetime.fromisoformat(value) if isinstance(value, str) else value
        return str(moment.astimezone(dt.UTC).strftime(shown))
    return ""


def _text(value: Any) -> str:
    with suppress(Exception):
        return "" if value is None else str(value).strip()
    return ""


def _get(thing: Any, *names: str) -> Any:
    """Return what is under ``names``, each an attribute or a key of the one before; None when it is not there."""
    for name in names:
        try:
            thing = thing[name] if isinstance(thing, Mapping) else getattr(thing, name, None)
        except Exception:  # a missing key, or a property that needs what is not there
            return None
    return thing
