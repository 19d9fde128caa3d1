"""The same Airflow as a cluster: CeleryExecutor on Redis, its database in Postgres, several workers and triggerers.

:class:`Cluster` takes the Postgres and the Redis that are on the machine, and from each a piece of its own: a
database that it creates and drops, and a numbered Redis database that was empty and is emptied again. Nothing
else there is touched. Every component stands for a machine: it has a host name of its own, and
:meth:`~demo.deployment.Deployment.kill` takes everything with it that runs there.

Where the servers are is told by ``PINDO_TEST_POSTGRES`` (a user who may create databases) and
``PINDO_TEST_REDIS``; without them, where such servers are when they are just installed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from demo.deployment import Deployment, free_port, interrupts_wait, python
from demo.rest import wait_until

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

POSTGRES = os.environ.get("PINDO_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/postgres")
REDIS = os.environ.get("PINDO_TEST_REDIS", "redis://127.0.0.1:6379")
ROOT = Path(__file__).resolve().parent.parent
#: The numbered databases of Redis, by how likely nobody else uses them.
REDIS_NUMBERS = range(15, -1, -1)
#: Name of the key that marks a Redis database as taken.
_TAKEN = "pindo-cluster"


class Cluster(Deployment):
    """Airflow on several machines, as far as one machine can show it, and the sandbox.

    :param dags: as for :class:`~demo.deployment.Deployment`, with its other arguments.
    :param workers: how many Celery workers; they are named ``worker-1`` and so on.
    :param worker_concurrency: how many tasks each runs at a time.
    :param triggerers: how many triggerers, ``triggerer-1`` and so on.
    :param own_redis: start a Redis server too, the component ``redis``, which keeps nothing when it is killed.
    """

    def __init__(
        self,
        *args: Any,
        workers: int = 3,
        worker_concurrency: int = 2,
        triggerers: int = 2,
        own_redis: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.workers = [f"worker-{number}" for number in range(1, workers + 1)]
        self.triggerers = [f"triggerer-{number}" for number in range(1, triggerers + 1)]
        self._worker_concurrency = worker_concurrency
        self._database = f"pindo_cluster_{self._mark}"
        self._redis_port = free_port() if own_redis else None
        self._redis_url = f"redis://127.0.0.1:{self._redis_port}/0" if own_redis else None

    @property
    def components(self) -> dict[str, list[str]]:
        """The command of each component, by its name."""
        one_of_each = super().components
        triggerer = one_of_each.pop("triggerer")
        worker = python("airflow", "celery", "worker", "--skip-serve-logs")
        worker += ["--without-mingle", "--without-gossip"]  # what workers tell each other at their start
        worker += ["--concurrency", str(self._worker_concurrency), "--celery-hostname"]
        return {
            **(self._redis_command if self._redis_port else {}),
            **one_of_each,
            **{name: [*worker, name] for name in self.workers},
            **dict.fromkeys(self.triggerers, triggerer),
        }

    @property
    def _redis_command(self) -> dict[str, list[str]]:
        # With a title, it writes over the environment by which a deployment knows its processes.
        keeps_nothing = ["--save", "", "--appendonly", "no", "--set-proc-title", "no"]
        return {
            "redis": ["redis-server", "--bind", "127.0.0.1", "--port", str(self._redis_port), *keeps_nothing]
        }

    @property
    def database_url(self) -> URL:
        """Where Airflow's database is."""
        return server_url().set(database=self._database)

    @property
    def broker_url(self) -> str:
        """Where Celery's messages are."""
        if self._redis_url is None:
            raise RuntimeError("the cluster is not running")
        return self._redis_url

    def environment(self) -> dict[str, str]:
        """Return the environment of every process."""
        database = self.database_url.render_as_string(hide_password=False)
        inherited = super().environment()
        del inherited["AIRFLOW_CONN_PINDO_DEFAULT"]  # it is kept in the database, as on a real deployment
        return {
            **inherited,
            "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
            "AIRFLOW__CORE__HOSTNAME_CALLABLE": "demo.machine.name",
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
            "AIRFLOW__CORE__PARALLELISM": "32",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
            "AIRFLOW__CELERY__BROKER_URL": self.broker_url,
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{database}",
            # A message that a worker took with it comes back soon; so does one of a task that still runs.
            "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "20",
            # And when Redis forgot it, the scheduler queues the task again.
            "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "15",
            "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "5",
            "AIRFLOW__SCHEDULER__NUM_STUCK_IN_QUEUED_RETRIES": "10",
            "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "2",
            "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "10",
            "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
            "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "15",
            **self._settings,
        }

    def _start_all(self) -> None:
        if self._redis_url is None:
            self._redis_url = take_redis_number(self._mark)
        super()._start_all()
        connection = json.loads(self.sandbox.connection_json())
        connection |= {"connection_id": "pindo_default", "extra": json.dumps(connection["extra"])}
        self.rest.request("POST", "/connections", json=connection)

    def _create_database(self) -> None:
        if self._redis_port:
            self.start("redis")
        with postgres(server_url()) as cursor:
            cursor.execute(f'CREATE DATABASE "{self._database}"')
        self.airflow("db", "migrate")

    def _is_healthy(self) -> bool:
        return (
            super()._is_healthy()
            and self._all_triggerers_run()
            and self.living_workers() == set(self.workers)
        )

    def _all_triggerers_run(self) -> bool:
        params = {"job_type": "TriggererJob", "is_alive": True}
        jobs = self.rest.request("GET", "/jobs", params=params)["jobs"]
        return {job["hostname"] for job in jobs} == set(self.triggerers)

    def living_workers(self) -> set[str]:
        """Return the names of the workers that answer; none does while Redis is away."""
        from celery import Celery
        from kombu.exceptions import KombuError
        from redis import RedisError

        with Celery(broker=self.broker_url, set_as_current=False) as app:
            try:
                answers = app.control.ping(timeout=1.0)
            except (KombuError, RedisError):
                return set()
        return {name.rpartition("@")[2] for answer in answers for name in answer}

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return what a SELECT on Airflow's database gives."""
        with postgres(self.database_url) as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall())

    def restart(self, *names: str) -> None:
        """Kill components outright and start them again, empty of all that they held in memory."""
        for name in names:
            self.kill(name)
        for name in names:
            self.start(name)

    def wait_until_healthy(self, *, timeout: float = 120) -> None:
        """Wait until every component answers."""
        wait_until(self._is_healthy, "all of the cluster is healthy", timeout=timeout)

    def stop(self) -> None:
        """Stop every process, and remove the folder, the database and what is in Redis."""
        with interrupts_wait(), ExitStack() as at_last:
            at_last.callback(self._give_back_redis)
            at_last.callback(self._drop_database)
            super().stop()

    def _drop_database(self) -> None:
        with postgres(server_url()) as cursor:
            cursor.execute(f'DROP DATABASE IF EXISTS "{self._database}" WITH (FORCE)')

    def _give_back_redis(self) -> None:
        if self._redis_url is not None and self._redis_port is None:
            give_back_redis_number(self._redis_url, self._mark)
            self._redis_url = None


def server_url() -> URL:
    """Return where Postgres is."""
    from sqlalchemy.engine import make_url

    return make_url(POSTGRES).set(drivername="postgresql+psycopg2")


@contextmanager
def postgres(url: URL) -> Iterator[Any]:
    """Give a cursor whose statements are each on their own, in no transaction."""
    import psycopg2

    connection = psycopg2.connect(**url.translate_connect_args(username="user"), connect_timeout=5)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


def take_redis_number(mark: str) -> str:
    """Find a numbered Redis database that is empty, mark it as taken, and return its URL."""
    import redis

    for number in REDIS_NUMBERS:
        url = redis_url(number)
        with redis.Redis.from_url(url) as database, suppress(redis.ResponseError):  # the server has fewer
            # Two who find it empty at the same time: only one of them sets the key.
            if database.dbsize() == 0 and database.set(_TAKEN, mark, nx=True):
                if database.dbsize() == 1:
                    return url
                database.delete(_TAKEN)
    raise RuntimeError(f"{_without_password(REDIS)} has no numbered database that is empty")


def redis_url(number: int) -> str:
    """Return where a numbered database of Redis is."""
    return urlsplit(REDIS)._replace(path=f"/{number}").geturl()


def give_back_redis_number(url: str, mark: str) -> None:
    """Empty the database if it still is the one that ``mark`` took."""
    import redis

    with redis.Redis.from_url(url, decode_responses=True) as database:
        if database.get(_TAKEN) == mark:
            database.flushdb()


def missing_services() -> list[str]:
    """Return a sentence for everything that a cluster needs and that is not here: what, and how to get it."""
    packages = ("airflow.providers.celery", "psycopg2", "asyncpg")
    if missing := ", ".join(name for name in packages if not _is_there(name)):
        return [f"{missing} not installed: pip install -e '.[cluster]', which make test-cluster does"]
    import psycopg2
    import redis

    problems = []
    try:
        with postgres(server_url()):
            pass
    except psycopg2.OperationalError as error:
        why = str(error).strip().splitlines()[0]
        problems.append(
            f"no Postgres for us at {_without_password(POSTGRES)} ({why}): start one (apt-get install postgresql, "
            "or docker run -p 127.0.0.1:5432:5432 -e POSTGRES_HOST_AUTH_METHOD=trust postgres), and name a user "
            "who may create databases: PINDO_TEST_POSTGRES=postgresql://user:password@host:port/postgres"
        )
    try:
        with redis.Redis.from_url(REDIS, socket_connect_timeout=5) as server:
            server.ping()
    except redis.RedisError as error:
        problems.append(
            f"no Redis for us at {_without_password(REDIS)} ({error}): start one (apt-get install redis-server, or "
            "docker run -p 127.0.0.1:6379:6379 redis), or name it: PINDO_TEST_REDIS=redis://:password@host:port"
        )
    return problems


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # nor is what it is in
        return False


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
