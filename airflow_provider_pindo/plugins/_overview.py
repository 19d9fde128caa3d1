"""The page's numbers: tiles, chart, tables, and what needs a person.

Everything is added up from the ledger's entries while they are read, so memory does not grow with their number. What
is not known is None, never zero.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_pindo._bulk.row_numbers import format_rows
from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.plugins import _models
from airflow_provider_pindo.plugins._entries import (
    SINGLE,
    Counts,
    balance,
    count_batch,
    count_single,
    is_batch,
    read_message,
)
from airflow_provider_pindo.plugins._models import Head, TaskKey, Window

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy.orm import Session

#: The windows that the page offers: how long, and the width of a bar of the chart.
WINDOWS = {
    "1h": (timedelta(hours=1), timedelta(minutes=5)),
    "24h": (timedelta(hours=24), timedelta(hours=1)),
    "7d": (timedelta(days=7), timedelta(hours=6)),
    "30d": (timedelta(days=30), timedelta(days=1)),
}
#: Most entries that one summary reads. The page says so when there are more.
MAX_ENTRIES = 20_000
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
#: Most lines of a list below the tiles.
MAX_LISTED = 50


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why Pindo rejected some people of an entry.

    :param rows: their rows, as ranges.
    """

    task: TaskKey
    reason: str
    rows: str
    people: int
    time: datetime


@dataclass(slots=True)
class RunSummary:
    """What the entries of one DAG run say together. Those of its :class:`TaskSummary` are added at the end.

    :param time: when it was due, or started if it was due before the window.
    """

    dag_id: str
    run_id: str
    counts: Counts = field(default_factory=Counts)
    time: datetime = _LONG_AGO


@dataclass(slots=True)
class TaskSummary:
    """What the entries of one task instance say together.

    :param expired_result: how many the task's result counts as expired. Their entries have them as not sent.
    :param rejected_result: how many the task's result counts as rejected, the invalid numbers among them.
    :param rejections: the result's first rejections. They stand for those of the entries.
    """

    task: TaskKey
    run: RunSummary
    updated_at: datetime
    state: str | None = None
    counts: Counts = field(default_factory=Counts)
    report_path: str | None = None
    rejected_result: int = 0
    expired_result: int = 0
    rejections: list[Rejection] = field(default_factory=list)

    @property
    def needs_a_person(self) -> bool:
        """Whether its run stands still until somebody settles what is unknown."""
        return self.state == "failed" and self.counts.unknown > 0

    def close(self) -> None:
        """Add what only the task's result says: whose number was invalid, and whose message expired."""
        self.counts.rejected = max(self.counts.rejected, self.rejected_result)
        expired = min(self.counts.not_sent, self.expired_result)
        self.counts.expired += expired
        self.counts.not_sent -= expired
        self.run.counts.add(self.counts)

    def to_value(self, names: dict[str, str]) -> dict[str, Any]:
        """Return the summary as the page reads it."""
        return {
            **_task_value(self.task, names),
            "state": self.state,
            "report_path": self.report_path,
            "time": self.updated_at.isoformat(),
            **self.counts.to_value(),
        }


@dataclass(slots=True)
class Summary:
    """What the entries of a window say together.

    :param keeps_tasks: whether every task is kept. Otherwise only those of bulk sends and those with an unknown
        message are: the others add to their run alone, which takes less time.
    :param rejected: the newest, all of those since ``rejected_since``.
    """

    keeps_tasks: bool
    runs: dict[int, RunSummary] = field(default_factory=dict)
    tasks: dict[TaskKey, TaskSummary] = field(default_factory=dict)
    rejected: list[Rejection] = field(default_factory=list)
    rejected_since: datetime = _LONG_AGO
    balance: float | None = None
    balance_at: datetime | None = None
    entries: int = 0
    unreadable: int = 0
    is_cut: bool = False

    def add(self, head: Head) -> None:
        """Add a value of the task state store."""
        self.entries += 1
        try:
            if head.key in SINGLE:
                self._add_single(head)
            elif is_batch(head.key):
                self._add_batch(head)
            else:
                self._add_header(head)
        except PindoConfigurationError:
            self.unreadable += 1

    def _add_single(self, head: Head) -> None:
        message = read_message(head.value)
        if message is None:
            self._add_edited(head, _models.parse(head.value))
            return
        column = message.column
        is_kept = self.keeps_tasks or column == "unknown"
        counts = self._task(head).counts if is_kept else self._run(head).counts
        if column == "accepted":  # almost all of them
            receipt = message.result
            counts.accept(receipt.total_cost if receipt else None)
            if receipt and receipt.remaining_balance is not None:
                self._note_balance(head, receipt.remaining_balance)
            return
        counts.add(Counts(**{column: 1}))
        if column == "rejected":
            self._add_rejection(head, str(message.reason), "", 1)

    def _add_edited(self, head: Head, value: Any) -> None:
        """Add a single message whose entry a person has edited."""
        self._note_balance(head, balance(value))
        counts = count_single(head.key, value)
        self._task(head).counts.add(counts)
        if counts.rejected:
            self._add_rejection(head, str(value.get("reason")), "", 1)

    def _add_batch(self, head: Head) -> None:
        counts, rejected = count_batch(head.value)
        self._task(head).counts.add(counts)
        for some in rejected:
            self._add_rejection(head, *some)

    def _run(self, head: Head) -> RunSummary:
        key = head.dag_run_id
        run = self.runs.get(key)
        if run is None:
            run = self.runs[key] = RunSummary(head.dag_id, head.run_id)
        return run

    def _task(self, head: Head) -> TaskSummary:
        key = head.task
        time = _models.read_time(head.updated_at)
        task = self.tasks.get(key)
        if task is None:
            task = self.tasks[key] = TaskSummary(key, self._run(head), time)
        task.updated_at = max(task.updated_at, time)
        return task

    def _add_header(self, head: Head) -> None:
        value = _models.parse(head.value)
        self._note_balance(head, balance(value))
        task = self._task(head)
        result = value.get("result") if isinstance(value, dict) else None
        if isinstance(result, dict):
            path = result.get("report_path")
            task.report_path = path if isinstance(path, str) else None
            task.rejected_result, task.expired_result = _count(result, "rejected"), _count(result, "expired")
            task.rejections = list(_rejections_of_result(head, result.get("rejections")))

    def _add_rejection(self, head: Head, reason: str, rows: str, people: int) -> None:
        time = _models.read_time(head.updated_at)
        if time < self.rejected_since:
            return
        self.rejected.append(Rejection(head.task, reason, rows, people, time))
        if len(self.rejected) > 20 * MAX_LISTED:
            self.rejected = sorted(self.rejected, key=lambda rejection: rejection.time)[-10 * MAX_LISTED :]
            self.rejected_since = self.rejected[0].time

    def newest_rejections(self) -> list[Rejection]:
        """Return the newest rejections."""
        of_results = [rejection for task in self.tasks.values() for rejection in task.rejections]
        listed = {rejection.task for rejection in of_results}
        others = [rejection for rejection in self.rejected if rejection.task not in listed]
        newest = sorted([*of_results, *others], key=lambda rejection: rejection.time, reverse=True)
        return newest[:MAX_LISTED]

    def _note_balance(self, head: Head, amount: float | None) -> None:
        if amount is None:
            return
        time = _models.read_time(head.updated_at)
        if self.balance_at is None or time > self.balance_at:
            self.balance, self.balance_at = amount, time

    def read_states(self, session: Session, tasks: Iterable[TaskKey]) -> None:
        """Add the states of some tasks."""
        for key, state in _models.read_states(session, tasks):
            self.tasks[key].state = state

    def total(self) -> Counts:
        """Return the counts of all runs."""
        total = Counts()
        for run in self.runs.values():
            total.add(run.counts)
        return total


def _count(result: dict[str, Any], name: str) -> int:
    value = result.get(name)
    return value if isinstance(value, int) else 0


def _rejections_of_result(head: Head, listed: Any) -> Iterator[Rejection]:
    """Yield the rejections that a bulk send's result lists, by reason. Their numbers and names are not read."""
    rows: dict[str, list[int]] = defaultdict(list)
    for person in listed if isinstance(listed, list) else ():
        if isinstance(person, dict) and isinstance(person.get("row"), int):
            rows[str(person.get("reason"))].append(person["row"])
    for reason, some in rows.items():
        yield Rejection(
            head.task, reason, format_rows(set(some)), len(some), _models.read_time(head.updated_at)
        )


def summarise(session: Session, window: Window, *, left_by_failed: bool = False) -> Summary:
    """Return what the entries of ``window`` say together.

    :param left_by_failed: only entries of failed tasks in which somebody may be unknown.
    """
    summary = Summary(keeps_tasks=window.run is not None)
    for head in _models.iter_heads(session, window, MAX_ENTRIES, left_by_failed=left_by_failed):
        summary.add(head)
    summary.is_cut = summary.entries >= MAX_ENTRIES
    for dag_run_id, time in _models.read_run_times(session, summary.runs, window.since):
        summary.runs[dag_run_id].time = time
    for task in summary.tasks.values():
        task.close()
    # Of all that may need a person. Reading the state with each entry would take ten times as long.
    summary.read_states(session, [key for key, task in summary.tasks.items() if task.counts.unknown])
    return summary


def overview(session: Session, window: Window, now: datetime, name: str) -> dict[str, Any]:
    """Return the first data of the page.

    :param name: one of :data:`WINDOWS`.
    """
    summary = summarise(session, window)
    names, common = _common(session, window, summary)
    return {
        **common,
        "bars": list(_bars(summary, now, *WINDOWS[name])),
        "dags": _by_dag(summary, names),
    }


def run_summary(session: Session, window: Window) -> dict[str, Any]:
    """Return what the tab of one run or task shows."""
    summary = summarise(session, window)
    names, common = _common(session, window, summary)
    keys = sorted(summary.tasks)[: 10 * MAX_LISTED]
    summary.read_states(session, keys)
    return {
        **common,
        "tasks": [summary.tasks[key].to_value(names) for key in keys],
        "task_count": len(summary.tasks),
    }


def _common(session: Session, window: Window, summary: Summary) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the names of DAGs, and what all views show.

    What needs a person may be older than the entries that the summary reads.
    """
    failed = summarise(session, window, left_by_failed=True) if summary.is_cut else summary
    waiting = [task for task in failed.tasks.values() if task.needs_a_person]
    waiting.sort(key=lambda task: task.run.time, reverse=True)
    questions = _models.read_questions(session, window, MAX_LISTED)
    dag_ids = {run.dag_id for run in summary.runs.values()}
    dag_ids |= {task.task.dag_id for task in waiting[:MAX_LISTED]}
    dag_ids |= {question.task.dag_id for question in questions}
    names = _models.read_dag_names(session, dag_ids)
    return names, {
        "tiles": {
            **summary.total().to_value(),
            "balance": summary.balance,
            "balance_at": summary.balance_at and summary.balance_at.isoformat(),
        },
        "entries": summary.entries,
        "is_cut": summary.is_cut,
        "unreadable": summary.unreadable,
        "unknown": [task.to_value(names) for task in waiting[:MAX_LISTED]],
        "unknown_count": len(waiting),
        "questions": [
            {**_task_value(question.task, names), "subject": question.subject} for question in questions
        ],
        "rejections": [
            {
                **_task_value(rejection.task, names),
                "reason": rejection.reason,
                "rows": rejection.rows,
                "people": rejection.people,
                "time": rejection.time.isoformat(),
            }
            for rejection in summary.newest_rejections()
        ],
    }


def _bars(summary: Summary, now: datetime, length: timedelta, width: timedelta) -> Iterator[dict[str, Any]]:
    """Yield the bars of the chart: when the runs were due, and what became of their messages."""
    bars: dict[int, Counts] = defaultdict(Counts)
    last = int(now.timestamp() // width.total_seconds())
    first = last - int(length / width)
    for run in summary.runs.values():
        bars[int(run.time.timestamp() // width.total_seconds())].add(run.counts)
    for index in range(first, last + 1):
        start = datetime.fromtimestamp(index * width.total_seconds(), now.tzinfo)
        yield {"start": start.isoformat(), **bars[index].to_value()}


def _by_dag(summary: Summary, names: dict[str, str]) -> list[dict[str, Any]]:
    counts: dict[str, Counts] = defaultdict(Counts)
    runs = Counter(run.dag_id for run in summary.runs.values())
    for run in summary.runs.values():
        counts[run.dag_id].add(run.counts)
    rows = [
        {
            "dag_id": dag_id,
            "dag_name": names.get(dag_id, dag_id),
            "runs": runs[dag_id],
            **count.to_value(),
        }
        for dag_id, count in counts.items()
    ]
    return sorted(rows, key=lambda row: (-row["messages"], row["dag_id"]))


def _task_value(task: TaskKey, names: dict[str, str]) -> dict[str, Any]:
    return {**task.to_value(), "dag_name": names.get(task.dag_id, task.dag_id)}
