"""No list is lost: what a task writes does not replace what it reads."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_pindo._sources.files import would_overwrite
from airflow_provider_pindo.api.errors import PindoConfigurationError
from airflow_provider_pindo.operators.partitions import write_partitions
from tests.operators.bulk import Store, people, send
from tests.operators.files import write_parquet

CONTENT = "phonenumber,name\n+250781000001,A\n+250781000002,B\n"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text(CONTENT)
    return path


def _other_folder(path: Path) -> str:
    return f"{path.parent}/sub/../{path.name}"


def _url(path: Path) -> str:
    return f"file://{path}"


def _symbolic_link(path: Path) -> str:
    link = path.with_name("link.csv")
    link.symlink_to(path)
    return str(link)


def _hard_link(path: Path) -> str:
    link = path.with_name("hard.csv")
    os.link(path, link)
    return str(link)


SPELLINGS = [str, _other_folder, _url, _symbolic_link, _hard_link]


def refused(sandbox, path, argument, **arguments):
    says = (
        f"report_path '.*' would replace what {argument} names, and nothing was sent: give the report a path"
    )
    with pytest.raises(AirflowFailException, match=says):
        send(Store(), **arguments)
    assert sandbox.messages() == []
    assert path.read_text() == CONTENT


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("dry_run", [False, True])
def test_a_report_does_not_replace_the_recipients(sandbox, path, spelling, dry_run):
    refused(sandbox, path, "recipients", recipients=str(path), report_path=spelling(path), dry_run=dry_run)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_report_does_not_replace_the_excluded(sandbox, path, spelling):
    refused(
        sandbox,
        path,
        "exclude",
        recipients=people(1),
        exclude=lambda: Path(spelling(path)),
        report_path=str(path),
    )


def test_a_report_does_not_replace_the_suppression_list(sandbox, path, monkeypatch):
    connection = json.loads(os.environ["AIRFLOW_CONN_PINDO_DEFAULT"])
    connection["extra"]["suppression_list"] = str(path)
    monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", json.dumps(connection))
    refused(sandbox, path, "suppression_list", recipients=people(1), report_path=str(path))


def test_a_report_is_not_written_into_a_folder_of_parquet(sandbox, tmp_path):
    folder = tmp_path / "list.parquet"
    folder.mkdir()
    write_parquet(folder / "part-0.parquet", ["phonenumber", "name"], [["+250781000001", "A"]])
    with pytest.raises(AirflowFailException, match="would replace what recipients names"):
        send(Store(), recipients=str(folder), report_path=str(folder / "report.csv"))
    assert [each.name for each in folder.iterdir()] == ["part-0.parquet"]


def test_a_report_beside_the_recipients_is_written(sandbox, path):
    report = path.with_name("list.csv.report.csv")
    assert send(Store(), recipients=str(path), report_path=str(report))["accepted"] == 2
    assert (path.read_text(), report.exists()) == (CONTENT, True)


MAPPED = """
from datetime import datetime
from airflow.providers.common.compat.sdk import DAG, task, task_group
from airflow_provider_pindo.operators.sms import PindoSendBulkSmsOperator as Bulk

LISTS = [["+250780000001"], ["+250780000002"]]
SEND = {"task_id": "text_all", "text": "Muraho"}

with DAG("DAG_ID", schedule=None, start_date=datetime(2026, 1, 1)) as dag:
    @task_group
    def group(part, report_path):
        Bulk(recipients=part, report_path=report_path, **SEND)

    @task
    def nested(part, ti=None, **context):
        Bulk(recipients=part, report_path=f"FOLDER/{ti.map_index}.csv", **SEND).execute({"ti": ti, **context})

    TASK
"""


@pytest.mark.parametrize(
    ("task", "is_refused"),
    [
        ("Bulk.partial(report_path='FOLDER/0.csv', **SEND).expand(recipients=LISTS)", True),
        ("group.partial(report_path='FOLDER/0.csv').expand(part=LISTS)", True),
        ("Bulk.partial(report_path='FOLDER/{{ ti.map_index }}.csv', **SEND).expand(recipients=LISTS)", False),
        ("group.partial(report_path='FOLDER/{{ ti.map_index }}.csv').expand(part=LISTS)", False),
        (
            "Bulk.partial(**SEND).expand_kwargs([{'recipients': part, 'report_path': f'FOLDER/{row}.csv'} "
            "for row, part in enumerate(LISTS)])",
            False,
        ),
        (
            "Bulk.partial(report_path='FOLDER/0.csv', **SEND).expand_kwargs([{'recipients': part, 'report_path': "
            "f'FOLDER/{row}.csv'} for row, part in enumerate(LISTS, 1)], strict=False)",
            False,
        ),
        ("nested.expand(part=LISTS)", False),
        ("Bulk.partial(**SEND).expand(recipients=LISTS)", None),
    ],
)
def test_every_instance_of_a_mapped_task_has_a_report_of_its_own(
    run_dag, sandbox, tmp_path, task, is_refused, capfd, caplog
):
    run = run_dag(MAPPED.replace("TASK", task).replace("FOLDER", str(tmp_path)))
    assert run.state == ("failed" if is_refused else "success")
    assert len(sandbox.messages()) == (0 if is_refused else 2)
    assert len(list(tmp_path.glob("[012].csv"))) == (2 if is_refused is False else 0)
    logged = "".join((*capfd.readouterr(), caplog.text))
    assert ("is the same for every instance of this mapped task" in logged) is bool(is_refused)


def test_partitions_do_not_replace_what_is_split(tmp_path):
    (path,) = write_partitions(people(4), tmp_path, partitions=1)
    content = Path(path).read_text()
    with pytest.raises(PindoConfigurationError, match=r"part-001\.jsonl .* would replace recipients"):
        write_partitions(path, tmp_path, partitions=2)
    assert Path(path).read_text() == content


def test_partitions_do_not_replace_what_a_link_leads_to(path):
    (path.parent / "part-002.jsonl").symlink_to(path)
    with pytest.raises(PindoConfigurationError, match=r"part-002\.jsonl .* would replace recipients"):
        write_partitions(path, path.parent, partitions=2)
    assert path.read_text() == CONTENT


def test_a_list_in_the_folder_of_its_partitions_is_split(path):
    paths = write_partitions(str(path), path.parent, partitions=1)
    assert len(Path(paths[0]).read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("target", "source", "is_same"),
    [
        ("s3://bucket/list.csv", "s3://bucket/list.csv", True),
        ("s3://aws_default@bucket/a/../list.csv", "s3://bucket/./list.csv", True),
        ("s3a://bucket/list.csv", "s3://other@bucket/list.csv", True),
        ("gcs://bucket/list.csv", "gs://bucket/list.csv", True),
        ("s3://bucket/list.parquet/report.csv", "s3://bucket/list.parquet", True),
        ("s3://bucket/list.csv", "s3://another/list.csv", False),
        ("s3://bucket/list.csv", "gs://bucket/list.csv", False),
        ("s3://bucket/list.csv.csv", "s3://bucket/list.csv", False),
        ("/bucket/list.csv", "s3://bucket/list.csv", False),
        ("/bucket/list.csv", "file:///bucket//list.csv", True),
        ("/bucket/list.csv", "/bucket/\0list.csv", False),
    ],
)
def test_urls_are_compared_by_what_they_name(target, source, is_same):
    assert would_overwrite(target, source) is is_same
