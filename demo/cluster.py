"""Airflow as a cluster: CeleryExecutor on Redis, a Postgres database, several workers and triggerers.

:class:`Cluster` uses the Postgres and the Redis server of this machine. It creates a Postgres database and drops
it at the end. It takes an empty numbered Redis database and empties it at the end. It changes nothing else there.

Every component represents a machine. It has its own host name, and :meth:`~demo.deployment.Deployment.kill` kills
everything that runs on it.

``PINDO_TEST_POSTGRES`` (with a user who may create databases) and ``PINDO_TEST_REDIS`` are the servers' addresses.
The defaults are those of a fresh installation.
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
#: The numbered databases of Redis; others use the high numbers least.
REDIS_NUMBERS = range(15, -1, -1)
#: The key that marks a Redis database as taken.
_TAKEN = "pindo-cluster"


class Cluster(Deployment):
    """The sandbox, and an Airflow whose components simulate several machines.

    It takes the arguments of :class:`~demo.deployment.Deployment` too.

    :param workers: the number of Celery workers. They are named ``worker-1`` and so on.
    :param worker_concurrency: the number of parallel tasks on each worker.
    :param triggerers: the number of triggerers. They are named ``triggerer-1`` and so on.
    :param own_redis: also start a Redis server, the component ``redis``. It loses its data when it is killed.
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
        self._database_name = f"pindo_cluster_{self._mark}"
        self._redis_port = free_port() if own_redis else None
        self._redis_url = f"redis://127.0.0.1:{self._redis_port}/0" if own_redis else None

    @property
    def components(self) -> dict[str, list[str]]:
        """The command of each component, by its name."""
        one_of_each = super().components
        triggerer = one_of_each.pop("triggerer")
        worker = python("airflow", "celery", "worker", "--skip-serve-logs")
        worker += ["--without-mingle", "--without-gossip"]  # messages between workers at their start
        worker += ["--concurrency", str(self._worker_concurrency), "--celery-hostname"]
        return {
            **(self._redis_command if self._redis_port else {}),
            **one_of_each,
            **{name: [*worker, name] for name in self.workers},
            **dict.fromkeys(self.triggerers, triggerer),
        }

    @property
    def _redis_command(self) -> dict[str, list[str]]:
        # A process title would overwrite the environment, which identifies the deployment's processes.
        keeps_nothing = ["--save", "", "--appendonly", "no", "--set-proc-title", "no"]
        return {
            "redis": ["redis-server", "--bind", "127.0.0.1", "--port", str(self._redis_port), *keeps_nothing]
        }

    @property
    def database_url(self) -> URL:
        """The URL of Airflow's database."""
        return server_url().set(database=self._database_name)

    @property
    def broker_url(self) -> str:
        """The URL of Celery's broker."""
        if self._redis_url is None:
            raise RuntimeError("the cluster is not running")
        return self._redis_url

    def environment(self) -> dict[str, str]:
        """Return the environment of every process."""
        database = self.database_url.render_as_string(hide_password=False)
        inherited = super().environment()
        del inherited["AIRFLOW_CONN_PINDO_DEFAULT"]  # it is in the database, as in production
        return {
            **inherited,
            "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
            "AIRFLOW__CORE__HOSTNAME_CALLABLE": "demo.machine.name",
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
            "AIRFLOW__CORE__PARALLELISM": "32",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
            "AIRFLOW__CELERY__BROKER_URL": self.broker_url,
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{database}",
            # Redelivers the message of a killed worker soon, and the message of a running task too.
            "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "20",
            # If Redis lost the message, the scheduler queues the task again.
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
            cursor.execute(f'CREATE DATABASE "{self._database_name}"')
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
        """Return the names of the workers that respond. Without Redis the set is empty."""
        from celery import Celery
        from kombu.exceptions import KombuError
        from redis import RedisError

        with Celery(broker=self.broker_url, set_as_current=False) as app:
            try:
                responses = app.control.ping(timeout=1.0)
            except (KombuError, RedisError):
                return set()
        return {name.rpartition("@")[2] for response in responses for name in response}

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a SELECT on Airflow's database."""
        with postgres(self.database_url) as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall())

    def restart(self, *names: str) -> None:
        """Kill components (SIGKILL) and start them again. All state in their memory is lost."""
        for name in names:
            self.kill(name)
        for name in names:
            self.start(name)

    def wait_until_healthy(self) -> None:
        """Wait until every component responds."""
        wait_until(self._is_healthy, "the whole cluster is healthy", timeout=120)

    def stop(self) -> None:
        """Stop every process, and delete the folder, the database and the data in Redis."""
        with interrupts_wait(), ExitStack() as at_last:
            at_last.callback(self._give_back_redis)
            at_last.callback(self._drop_database)
            super().stop()

    def _drop_database(self) -> None:
        with postgres(server_url()) as cursor:
            cursor.execute(f'DROP DATABASE IF EXISTS "{self._database_name}" WITH (FORCE)')

    def _give_back_redis(self) -> None:
        if self._redis_url is not None and self._redis_port is None:
            give_back_redis_number(self._redis_url, self._mark)
            self._redis_url = None


def server_url() -> URL:
    """Return the URL of Postgres."""
    from sqlalchemy.engine import make_url

    return make_url(POSTGRES).set(drivername="postgresql+psycopg2")


@contextmanager
def postgres(url: URL) -> Iterator[Any]:
    """Open a cursor in autocommit mode."""
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
            # Two processes may find it empty at the same time. Only one of them can set the key.
            if database.dbsize() == 0 and database.set(_TAKEN, mark, nx=True):
                if database.dbsize() == 1:
                    return url
                database.delete(_TAKEN)
    raise RuntimeError(f"{_without_password(REDIS)} has no empty numbered database")


def redis_url(number: int) -> str:
    """Return the URL of a numbered Redis database."""
    return urlsplit(REDIS)._replace(path=f"/{number}").geturl()


def give_back_redis_number(url: str, mark: str) -> None:
    """Empty the database if ``mark`` still owns it."""
    import redis

    with redis.Redis.from_url(url, decode_responses=True) as database:
        if database.get(_TAKEN) == mark:
            database.flushdb()


def missing_services() -> list[str]:
    """Return one sentence for each missing requirement of a cluster: the requirement, and how to install it."""
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
            f"no usable Postgres at {_without_password(POSTGRES)} ({why}): start one (apt-get install postgresql, "
            "or docker run -p 127.0.0.1:5432:5432 -e POSTGRES_HOST_AUTH_METHOD=trust postgres), and name a user "
            "who may create databases: PINDO_TEST_POSTGRES=postgresql://user:password@host:port/postgres"
        )
    try:
        with redis.Redis.from_url(REDIS, socket_connect_timeout=5) as server:
            server.ping()
    except redis.RedisError as error:
        problems.append(
            f"no usable Redis at {_without_password(REDIS)} ({error}): start one (apt-get install redis-server, or "
            "docker run -p 127.0.0.1:6379:6379 redis), or name it: PINDO_TEST_REDIS=redis://:password@host:port"
        )
    return problems


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its package is missing too
        return False


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
