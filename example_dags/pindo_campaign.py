"""Text everybody in a file, spread over many workers, with one limit on the requests to Pindo.

The first task splits the file into partitions, without loading all of it. Each partition is a task of its own. On
the Celery or Kubernetes executor the tasks run on all available machines.

The Airflow pool ``pindo`` limits the requests across all machines and DAGs. It has one slot for each request in
flight, and each task takes as many slots as it makes requests. You can change the pool in the UI (Admin, Pools)
during a campaign. Create it once: ``airflow pools set pindo 40 "Requests to Pindo at a time"``.

- Each task keeps its own record of its sends. Its retry texts only people who were not texted before.
- Rows with the same number are in the same partition, so a person who is in the file twice is texted once.
- Numbers on the opt-out list are never texted.

The phone numbers in the example file are invented, but they may belong to real people. Replace them before you
use the real Pindo.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import Param, dag, task

from airflow_provider_pindo.operators.sms import PindoSendBulkSmsOperator

HERE = Path(__file__).parent
REQUESTS_OF_A_TASK = 10  # requests in flight, and slots of the pool


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="Africa/Kigali"),
    catchup=False,
    tags=["pindo", "sms", "example"],
    params={
        "recipients": Param(
            str(HERE / "campaign.csv"),
            type="string",
            title="Recipients",
            description="A CSV, JSON Lines or Parquet file with the columns name, phone and district. A path, or a "
            "URL such as s3://bucket/file.csv.",
        ),
        "opted_out": Param(
            str(HERE / "opted_out.csv"),
            type="string",
            title="Opted out",
            description="A file with the numbers that must not be texted, one per line.",
        ),
        "text": Param(
            "Hello @contact.name, free eye checks this Saturday in @contact.district. Kigali Family Clinic",
            type="string",
            format="multiline",
            title="Text",
            description="Mention any column as @contact.column.",
        ),
        "folder": Param(
            str(Path(tempfile.gettempdir()) / "pindo_campaign"),
            type="string",
            title="Folder",
            description="The folder of the partitions and the reports. Every worker must reach it: with several "
            "machines, use a URL such as s3://bucket/folder.",
        ),
        "partitions": Param(
            4,
            type="integer",
            minimum=1,
            maximum=1000,
            title="Partitions",
            description="The number of tasks that share the recipients.",
        ),
    },
    description="Texts everybody in a file, except people who opted out, spread over workers.",
    doc_md=__doc__,
    dag_display_name="Pindo: campaign",
)
def pindo_campaign():
    # [START howto_write_partitions]
    @task(task_display_name="Split the recipients")
    def split(params=None, run_id=None) -> list[str]:
        """Return the partitions' paths."""
        from airflow_provider_pindo.operators.partitions import write_partitions

        return write_partitions(
            params["recipients"],
            f"{params['folder']}/{run_id}",
            partitions=params["partitions"],
            phonenumber="phone",
        )

    # [END howto_write_partitions]

    @task(task_display_name="Add up")
    def add_up(parts: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the sums of all partitions, and the paths of their reports."""
        names = (
            "accepted",
            "rejected",
            "unknown",
            "not_sent",
            "duplicates",
            "excluded",
            "expired",
            "given",
        )
        total = {name: sum(part[name] for part in parts) for name in names}
        return {
            **total,
            "total_cost": sum(part["total_cost"] for part in parts),
            "reports": [part["report_path"] for part in parts],
        }

    # [START howto_operator_pindo_send_bulk_sms_mapped]
    texted = PindoSendBulkSmsOperator.partial(
        task_id="text_partition",
        task_display_name="Text a partition",
        columns={"phonenumber": "phone"},
        text="{{ params.text }}",
        exclude="{{ params.opted_out }}",
        on_invalid="skip",
        on_rejected="report",
        report_path="{{ params.folder }}/{{ run_id }}/report-{{ ti.map_index }}.csv",
        concurrency=REQUESTS_OF_A_TASK,
        pool="pindo",
        pool_slots=REQUESTS_OF_A_TASK,
        retries=3,
    ).expand(recipients=split())
    # [END howto_operator_pindo_send_bulk_sms_mapped]
    add_up(texted.output)


pindo_campaign()
