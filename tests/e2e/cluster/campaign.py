"""A run of the example campaign on a cluster."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

from airflow_provider_pindo._bulk.row_numbers import parse_rows
from demo.cluster import Cluster
from demo.rest import FINISHED_RUN, wait_until

CAMPAIGN = "pindo_campaign"
TEXT_PARTITION = "text_partition"
#: Three times the concurrency of a task of the campaign, whose texts go out one by one.
UNKNOWN_AFTER_A_KILL = 30
COLUMNS = ("accepted", "rejected", "unknown", "not_sent", "duplicates", "excluded")


class Campaign:
    """A run of the example, with as many recipients as a test wants.

    :param folder: where the recipients, the partitions and the reports are.
    """

    def __init__(self, cluster: Cluster, folder: Path, *, recipients: int, partitions: int) -> None:
        self.cluster = cluster
        self.folder = folder
        self.phones = [f"+250785{row:06}" for row in range(recipients)]
        lines = [f"Remy {row},{phone},Huye" for row, phone in enumerate(self.phones)]
        (folder / "everybody.csv").write_text("\n".join(["name,phone,district", *lines, ""]))
        (folder / "nobody.csv").write_text("phonenumber\n")
        self.run_id = cluster.rest.trigger(
            CAMPAIGN,
            conf={
                "recipients": str(folder / "everybody.csv"),
                "opted_out": str(folder / "nobody.csv"),
                "folder": str(folder),
                "partitions": partitions,
            },
        )

    @property
    def partitions(self) -> list[dict[str, Any]]:
        """The tasks, each of which texts one partition."""
        tasks = self.cluster.rest.task_instances(CAMPAIGN, self.run_id)
        return [task for task in tasks if task["task_id"] == TEXT_PARTITION and task["map_index"] >= 0]

    @property
    def machines(self) -> list[str]:
        """Where partitions are being texted now."""
        return sorted({task["hostname"] for task in self.partitions if task["state"] == "running"})

    def has_ended(self) -> bool:
        return self.cluster.rest.run_state(CAMPAIGN, self.run_id) in FINISHED_RUN

    def wait(self) -> str:
        return self.cluster.rest.wait_for_run(CAMPAIGN, self.run_id, timeout=300)

    def wait_for_messages(self, count: int) -> bool:
        """Wait until that many messages arrived. Returns whether they arrived before the end of the run."""
        sandbox = self.cluster.sandbox
        wait_until(
            lambda: sandbox.state()["messages"] >= count or self.has_ended(),
            f"{count} messages have arrived",
            timeout=120,
            interval=0.1,
        )
        return sandbox.state()["messages"] >= count

    def total(self) -> dict[str, int]:
        """What the last task added up."""
        total = self.cluster.rest.xcom(CAMPAIGN, self.run_id, "add_up")
        return {name: total[name] for name in COLUMNS if total[name]}

    def outcomes(self) -> dict[str, str]:
        """The outcome of each recipient, from the reports of the partitions."""
        outcomes = {}
        for report in (self.folder / self.run_id).glob("report-*.csv"):
            with report.open(newline="") as file:
                for row in csv.DictReader(file):
                    assert row["phonenumber"] not in outcomes
                    outcomes[row["phonenumber"]] = row["outcome"]
        return outcomes

    def summary(self) -> str:
        """The result in one line."""
        return (
            f"{self.cluster.sandbox.state()['messages']} messages; {dict(Counter(self.outcomes().values()))}"
        )

    def assert_nobody_twice_and_who_is_missing_is_unknown(self) -> None:
        received = Counter(message["to"] for message in self.cluster.sandbox.messages())
        assert set(received.values()) <= {1}
        outcomes = self.outcomes()
        assert sorted(outcomes) == self.phones
        assert {outcomes[phone] for phone in self.phones if phone not in received} <= {"unknown"}
        assert {outcomes[phone] for phone in received} <= {"accepted", "unknown"}
        unknown = Counter(outcomes.values())["unknown"]
        assert unknown == sum(self._unknown_in_ledger(task) for task in self.partitions)

    def _unknown_in_ledger(self, task: dict[str, Any]) -> int:
        entries = self.cluster.rest.task_state(
            CAMPAIGN, self.run_id, TEXT_PARTITION, map_index=task["map_index"]
        )
        rows = [ranges for entry in entries.values() for ranges in entry.get("unknown", {}).values()]
        unknown = sum(len(parse_rows(ranges)) for ranges in rows)
        assert unknown <= UNKNOWN_AFTER_A_KILL * max(1, task["try_number"] - 1)
        return unknown
