"""On a cluster: three Celery workers, two triggerers, Postgres and Redis, of which parts are killed.

Every test asserts on what the phones received, and on what the tasks say of it. It needs a Postgres and a Redis
server, see :mod:`demo.cluster`, and runs by ``make test-cluster``.
"""

from __future__ import annotations

import csv
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_pindo.sandbox import SandboxClient
from demo.cluster import (
    REDIS_NUMBERS,
    ROOT,
    Cluster,
    give_back_redis_number,
    missing_services,
    postgres,
    redis_url,
    server_url,
    take_redis_number,
)
from demo.deployment import AIRFLOW_VERSION, EXAMPLE_DAGS
from demo.rest import FINISHED_RUN, wait_until
from tests.e2e.person import DAG_ID as VERIFICATION
from tests.e2e.person import Person

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(
        AIRFLOW_VERSION < 3, reason="what is promised of killed workers came with Airflow 3.3"
    ),
    pytest.mark.timeout(600),
]

CAMPAIGN = "pindo_campaign"
TEXT_PARTITION = "text_partition"
COLUMNS = ("accepted", "rejected", "unknown", "not_sent", "duplicates", "excluded")


def need(missing: list[str]) -> None:
    """Skip the test if anything is missing; where the servers are required, fail it."""
    if missing:
        give_up = pytest.fail if os.environ.get("PINDO_REQUIRE_SERVICES") == "1" else pytest.skip
        give_up("\n".join(missing))


@pytest.fixture(scope="module")
def services() -> None:
    """What a cluster needs is here."""
    need(missing_services())


@pytest.fixture(scope="module")
def cluster(
    services: None, sigterm_is_heard: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """A running cluster with an empty DAGs folder, and with a Redis server of its own if that can be."""
    dags = tmp_path_factory.mktemp("dags")
    own_redis = shutil.which("redis-server") is not None
    settings = {
        "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "True",  # events start DAGs
        "AIRFLOW__TRIGGERER__CAPACITY": "200",  # so that three hundred need both
    }
    with Cluster(dags, settings=settings, own_redis=own_redis, keep_logs=True) as running:
        yield running


@pytest.fixture
def sandbox(cluster: Cluster) -> SandboxClient:
    """The sandbox of ``cluster``, with no messages and no faults."""
    cluster.sandbox.reset()
    return cluster.sandbox


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
        """The tasks that text a partition each."""
        found = self.cluster.rest.task_instances(CAMPAIGN, self.run_id)
        return [each for each in found if each["task_id"] == TEXT_PARTITION and each["map_index"] >= 0]

    @property
    def machines(self) -> list[str]:
        """Where partitions are being texted now."""
        return sorted({each["hostname"] for each in self.partitions if each["state"] == "running"})

    def has_ended(self) -> bool:
        return self.cluster.rest.run_state(CAMPAIGN, self.run_id) in FINISHED_RUN

    def wait(self) -> str:
        return self.cluster.rest.wait_for_run(CAMPAIGN, self.run_id, timeout=300)

    def wait_for_messages(self, count: int) -> bool:
        """Wait until that many arrived in all; returns whether they came before the end of the run."""
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
        """In which column everybody ended, by the reports of the partitions."""
        found = {}
        for report in (self.folder / self.run_id).glob("report-*.csv"):
            with report.open(newline="") as file:
                for row in csv.DictReader(file):
                    assert row["phonenumber"] not in found
                    found[row["phonenumber"]] = row["outcome"]
        return found

    def summary(self) -> str:
        """What to tell of it in one line."""
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
        assert unknown == sum(self._unknown_in_ledger(each) for each in self.partitions)

    def _unknown_in_ledger(self, task: dict[str, Any]) -> int:
        entries = self.cluster.rest.task_state(
            CAMPAIGN, self.run_id, TEXT_PARTITION, map_index=task["map_index"]
        )
        return sum(each["recipients"] for each in entries.values() if each["status"] == "unknown")


@pytest.fixture
def start_campaign(cluster: Cluster, sandbox: SandboxClient, tmp_path: Path):
    """Start a campaign; requests take as long as Pindo's might."""
    example = f"{CAMPAIGN}.py"
    (cluster.dags / example).write_bytes((EXAMPLE_DAGS / example).read_bytes())
    cluster.rest.wait_for_dag(CAMPAIGN)

    def start(*, recipients: int, partitions: int, latency: float = 0.05, **settings: Any) -> Campaign:
        sandbox.settings(latency=latency, **settings)
        return Campaign(cluster, tmp_path, recipients=recipients, partitions=partitions)

    return start


@pytest.fixture
def pool(cluster: Cluster):
    """Change the slots of the pool, as a person does in the UI."""

    def change(slots: int) -> None:
        body = {"pool": "pindo", "slots": slots, "include_deferred": False}
        cluster.rest.request("PATCH", "/pools/pindo", json=body)

    yield change
    change(40)


def test_a_number_of_redis_is_taken_when_it_is_empty_and_given_back_empty(services):
    redis = pytest.importorskip("redis").Redis
    urls = [take_redis_number("ours"), take_redis_number("theirs")]
    ours, theirs = map(redis.from_url, urls)
    with ours, theirs:
        try:
            assert urls[0] != urls[1]
            ours.set("a message", "of Celery")
            give_back_redis_number(urls[1], "ours")
            assert theirs.dbsize() == 1  # it was not ours to empty
            give_back_redis_number(urls[0], "ours")
            assert ours.dbsize() == 0
        finally:
            give_back_redis_number(urls[0], "ours")
            give_back_redis_number(urls[1], "theirs")
        assert theirs.dbsize() == 0


START = """
import signal
from pathlib import Path
from demo.cluster import Cluster
signal.signal(signal.SIGINT, signal.default_int_handler)  # also where pytest runs in the background
cluster = Cluster(Path("."))
print(cluster.database_url.database, flush=True)
with cluster:
    pass
"""


def test_a_start_that_is_interrupted_leaves_nothing_behind(services, tmp_path):
    from redis import Redis

    def database_is_there() -> bool:
        with postgres(server_url()) as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database])
            return cursor.fetchone() is not None

    def number_is_taken() -> bool:
        return any(
            Redis.from_url(url, decode_responses=True).get("pindo-cluster") == database.rpartition("_")[2]
            for url in map(redis_url, REDIS_NUMBERS)
        )

    starting = subprocess.Popen(
        [sys.executable, "-c", START],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # how it was interrupted
        text=True,
    )
    try:
        database = starting.stdout.readline().strip()
        wait_until(database_is_there, "its database is there", timeout=60)
        assert number_is_taken()
    finally:
        starting.send_signal(signal.SIGINT)
        try:
            starting.communicate(timeout=120)
        finally:
            starting.kill()  # nothing happens to one that has ended
    assert not database_is_there()
    assert not number_is_taken()
    assert list(tmp_path.iterdir()) == []


def test_a_campaign_spreads_over_all_workers_and_reaches_everyone_once(start_campaign, cluster, sandbox):
    campaign = start_campaign(recipients=20_000, partitions=12, latency=0, balance=1000)
    assert campaign.wait() == "success"
    received = Counter(message["to"] for message in sandbox.messages())
    assert sorted(received) == campaign.phones
    assert set(received.values()) == {1}
    assert campaign.total() == {"accepted": 20_000}
    assert {each["hostname"] for each in campaign.partitions} == set(cluster.workers)


def test_the_pool_bounds_the_requests_in_flight_and_too_many_of_them_lose_nothing(
    start_campaign, sandbox, pool
):
    pool(20)
    campaign = start_campaign(recipients=800, partitions=4, latency=0.3, requests_per_second=40)
    assert campaign.wait() == "success"
    assert 10 < sandbox.state()["most_in_flight"] <= 20
    statuses = Counter(request["status"] for request in sandbox.requests(call="send_sms"))
    assert statuses[429] > 0
    assert statuses[201] == 800
    assert sorted(message["to"] for message in sandbox.messages()) == campaign.phones
    assert campaign.total() == {"accepted": 800}


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
def test_workers_killed_at_random_text_nobody_twice(start_campaign, cluster, seed):
    chance = random.Random(seed)
    # So slow that a kill is never too late.
    campaign = start_campaign(recipients=2000, partitions=6, latency=0.2)
    killed = []
    for moment in sorted(chance.sample(range(100, 1400), 2)):
        order = chance.sample(cluster.workers, 3)
        if campaign.wait_for_messages(moment) and (busy := campaign.machines):
            killed.append(min(busy, key=order.index))
            cluster.restart(killed[-1])
    ended = campaign.wait()
    tries = [each["try_number"] for each in campaign.partitions]
    print(
        f"seed {seed}: killed {' and '.join(killed)}; the run: {ended}; tries: {tries}; {campaign.summary()}"
    )
    assert killed
    assert max(tries) > 1
    unknown = Counter(campaign.outcomes().values())["unknown"]
    assert unknown <= 200 * sum(
        number - 1 for number in tries
    )  # two chunks of 100 for each try that was cut off
    campaign.assert_nobody_twice_and_who_is_missing_is_unknown()


def test_scheduler_api_server_and_redis_killed_text_nobody_twice(start_campaign, cluster):
    if "redis" not in cluster.components:
        need(["no redis-server on the PATH: the Redis at PINDO_TEST_REDIS is not ours to kill"])
    campaign = start_campaign(recipients=4000, partitions=8)
    for count, name in enumerate(("redis", "scheduler", "api-server")):
        campaign.wait_for_messages(200 + 800 * count)
        cluster.restart(name)
        cluster.wait_until_healthy()
    ended = campaign.wait()
    print(f"killed redis, scheduler and api-server; the run: {ended}; {campaign.summary()}")
    campaign.assert_nobody_twice_and_who_is_missing_is_unknown()


WAITING = """
from datetime import datetime
from airflow.providers.common.compat.sdk import DAG
from airflow_provider_pindo.sensors.sms import PindoInboundSmsSensor

since = {"since": "{{ dag_run.conf.since }}", "poke_interval": 2, "deferrable": True}
with DAG("waiting", schedule=None, start_date=datetime(2026, 1, 1), max_active_runs=100):
    for digit in range(10):  # start and end in a triggerer
        PindoInboundSmsSensor(
            task_id=f"wait_{digit}",
            pattern=f"YES {{{{ dag_run.conf.digits }}}}{digit}",
            start_from_trigger=True,
            **since,
        )
with DAG("resumed", schedule=None, start_date=datetime(2026, 1, 1)):  # deferred from a worker, and resumed there
    PindoInboundSmsSensor.partial(task_id="wait", **since).expand(
        pattern=[f"YES {code}" for code in range(1290, 1300)]
    )
"""


class Waiting:
    """Three hundred tasks that each wait for a reply with a code of their own, 1000 to 1299."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        conf = {"since": datetime.now(UTC).isoformat()}
        trigger = cluster.rest.trigger
        self.runs = [("waiting", trigger("waiting", conf={**conf, "digits": 100 + run})) for run in range(29)]
        self.runs.append(("resumed", trigger("resumed", conf=conf)))

    @property
    def triggers(self) -> dict[str, int]:
        """How many of them each triggerer has."""
        found = self.cluster.query(
            "SELECT job.hostname, count(*) FROM trigger JOIN job ON job.id = trigger.triggerer_id "
            "WHERE job.state = 'running' GROUP BY 1"
        )
        return dict(found)

    def reply(self, codes: range) -> None:
        texts = [f"YES {code}, we come" for code in codes]
        self.cluster.sandbox.reply_all([{"from": "+250781234567", "text": text} for text in texts])

    def wait(self) -> set[str]:
        """Wait until all runs have ended, and return their states."""
        wait = self.cluster.rest.wait_for_run
        return {wait(dag_id, run_id, timeout=240) for dag_id, run_id in self.runs}

    def replies(self) -> list[str]:
        """The texts that the tasks returned, each with the digits that it waited for."""
        found = self.cluster.query(
            "SELECT dag_run.conf, xcom.task_id, xcom.map_index, xcom.value FROM xcom "
            "JOIN dag_run USING (dag_id, run_id) WHERE dag_id IN ('waiting', 'resumed') AND key = 'return_value'"
        )
        return sorted(
            f"{conf.get('digits', '')}{task_id if index < 0 else 1290 + index}: {[each['text'] for each in matches]}"
            for conf, task_id, index, matches in found
        )


def test_every_reply_resumes_its_task_when_one_of_two_triggerers_is_killed(cluster, sandbox):
    cluster.add_dag("waiting", WAITING)
    waiting = Waiting(cluster)
    wait_until(lambda: sum(waiting.triggers.values()) == 300, "all wait", timeout=240, interval=1)
    before = waiting.triggers
    survivor, victim = sorted(cluster.triggerers, key=before.__getitem__)
    waiting.reply(range(1000, 1300, 3))
    cluster.kill(victim)
    try:
        waiting.reply(range(1001, 1300, 3))
        wait_until(lambda: set(waiting.triggers) <= {survivor}, "one has them all", timeout=240)
        waiting.reply(range(1002, 1300, 3))
        assert waiting.wait() == {"success"}
    finally:
        cluster.start(victim)
    print(f"killed {victim}; before that they had {before}")
    ended_by_triggerers = [
        f"{code // 10}wait_{code % 10}: ['YES {code}, we come']" for code in range(1000, 1290)
    ]
    resumed_by_workers = [f"{code}: ['YES {code}, we come']" for code in range(1290, 1300)]
    assert waiting.replies() == sorted([*ended_by_triggerers, *resumed_by_workers])


KEPT = """
from datetime import datetime
from airflow.providers.common.compat.sdk import DAG, task
from airflow_provider_pindo.operators.sms import PindoSendBulkSmsOperator, PindoSendSmsOperator
from airflow_provider_pindo.sensors.sms import PindoInboundSmsSensor

with DAG("kept", schedule=None, start_date=datetime(2026, 1, 1)):

    @task(show_return_value_in_logs=False)
    def people():
        return [{"phonenumber": "+25078" + "1000002", "name": "Aline"}]

    # What is put together here stands nowhere in this file.
    PindoSendSmsOperator(
        task_id="text", to="+25078{{ 1000001 }}", text="{{ dag_run.conf.greeting }}, said {{ 'the' }} clinic"
    )
    PindoSendBulkSmsOperator(task_id="many", recipients=people(), text="Written in the file")
    PindoInboundSmsSensor(
        task_id="wait",
        pattern="(?i)inyama",
        since="{{ dag_run.conf.since }}",
        poke_interval=2,
        deferrable=True,
        start_from_trigger=True,
    )
"""
RENDERED, XCOM = "rendered_task_instance_fields.rendered_fields", "xcom.value"
#: What Airflow's database keeps after all this, and where (table and column), as docs/storage.rst lists it.
KEPT_WHERE = {
    "the token": set(),
    "a PIN that a person typed into a form": {"hitl_detail.params_input", XCOM},
    "a text, as rendered": {RENDERED},
    "a number, as rendered": {
        RENDERED,
        XCOM,
        "task_state_store.value",
    },  # the receipt has it, and the ledger that
    "a text that stands in the DAG's file": {"dag_code.source_code", "serialized_dag.data", RENDERED},
    "what a run is started with": {"dag_run.conf", "log.extra", RENDERED},
    "recipients that come by XCom": {RENDERED, XCOM},
    "recipients that come from a file": set(),
    "a text that somebody sent us": {
        "asset_event.extra",
        RENDERED,
        XCOM,
    },  # rendered where a task is given it
}


@pytest.fixture
def person(cluster: Cluster, sandbox: SandboxClient) -> Person:
    """Somebody who gets a PIN of ten digits, so that no time or id happens to be one."""
    example = f"{VERIFICATION}.py"
    (cluster.dags / example).write_bytes((EXAMPLE_DAGS / example).read_bytes())
    sandbox.settings(pin_length=10)
    return Person(cluster, sandbox)


@pytest.fixture
def router(cluster: Cluster) -> Iterator[str]:
    """The example that answers every message, for as long as the test takes."""
    file = cluster.dags / "pindo_inbound_router.py"
    source = (EXAMPLE_DAGS / file.name).read_text(encoding="utf-8")
    file.write_text(source.replace("poll_interval=10", "poll_interval=2"), encoding="utf-8")
    cluster.rest.wait_for_dag(file.stem)
    yield file.stem
    file.unlink()


def test_what_is_kept_stands_where_the_docs_say_and_in_no_log(
    cluster, sandbox, start_campaign, person, router
):
    """It comes last, so that the logs of all the others are looked through too."""
    cluster.add_dag("kept", KEPT)
    rest = cluster.rest
    wait_until(lambda: cluster.query("SELECT 1 FROM asset_state_store"), "the asset is watched", timeout=120)
    campaign = start_campaign(recipients=200, partitions=1)
    conf = {"greeting": "Mwaramutse mwese", "since": datetime.now(UTC).isoformat()}
    run_id = rest.trigger("kept", conf=conf)
    verification = person.starts()
    pin = person.reads_the_pin()
    assert person.types(verification, pin)["verified"] == "success"
    rest.wait_for_task("kept", run_id, "wait", state="deferred")
    sandbox.reply("+250781000003", "inyama z'inka, 0781000003")
    assert rest.wait_for_run("kept", run_id) == "success"
    assert campaign.wait() == "success"
    wait_until(lambda: sandbox.messages(to="+250781000003"), "the router has answered", timeout=120)

    secrets = {
        "the token": sandbox.token,
        "a PIN that a person typed into a form": pin,
        "a text, as rendered": "said the clinic",
        "a number, as rendered": "781000001",
        "a text that stands in the DAG's file": "Written in the file",
        "what a run is started with": "Mwaramutse mwese",
        "recipients that come by XCom": "781000002",
        "recipients that come from a file": campaign.phones[7],
        "a text that somebody sent us": "inyama z'inka",
    }
    texts_of_other_tests = ["free eye checks", "we come"]
    assert lines_with([*secrets.values(), *texts_of_other_tests], cluster) == []
    kept = columns_with(list(secrets.values()), cluster)
    assert {what: kept[secret] for what, secret in secrets.items()} == KEPT_WHERE


def lines_with(secrets: list[str], cluster: Cluster) -> list[str]:
    """Return the lines with one of these, or with any whole number, of all logs of all processes."""
    wanted = re.compile("|".join([*map(re.escape, secrets), r"\+2507\d{8}"]))
    logs = [file for folder in ("logs", "components") for file in (cluster.home / folder).rglob("*.log")]
    logs.remove(cluster.component_log("sandbox"))  # it prints its token, to be pasted
    assert {"worker-3.log", "triggerer-2.log", "scheduler.log"} <= {file.name for file in logs}
    assert any(TEXT_PARTITION in str(file) for file in logs)
    return [
        f"{file.relative_to(cluster.home)}: {line}"
        for file in logs
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines()
        if wanted.search(line)
    ]


def columns_with(secrets: list[str], cluster: Cluster) -> dict[str, set[str]]:
    """Return the columns of Airflow's database in which each of these stands."""
    found: dict[str, set[str]] = {secret: set() for secret in secrets}
    columns = cluster.query(
        "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public'"
    )
    for table, column, kind in columns:
        shown = f'"{column}"' if kind == "bytea" else f'"{column}"::text'
        rows = cluster.query(f'SELECT {shown} FROM "{table}" WHERE "{column}" IS NOT NULL')
        values = [value if kind != "bytea" else bytes(value).decode("latin-1") for (value,) in rows]
        for secret in secrets:
            if any(secret in value for value in values):
                found[secret].add(f"{table}.{column}")
    return found
