"""A real Airflow and the sandbox on this machine, for the duration of a ``with`` block.

:class:`Deployment` starts the components of a production Airflow, each in its own process:

* API server, scheduler with its local executor, DAG processor and triggerer;
* on Airflow 2.11 webserver, scheduler and triggerer.

They use free loopback ports and a temporary ``AIRFLOW_HOME`` with SQLite. The end of the block stops every process
and deletes the folder, also after an error. The user's own Airflow and home folder are not changed.

Environment variables identify the processes of a deployment and of each component. All child processes inherit
them, so a task is found even after its parent processes were killed.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any, Self

import psutil  # Airflow depends on it
import requests

from airflow_provider_pindo.sandbox import SandboxClient
from airflow_provider_pindo.sandbox.address import connection_json, receiver_url
from demo.rest import AirflowRest, wait_until

#: The major and the minor version, such as ``(3, 3)``.
AIRFLOW_RELEASE = tuple(int(number) for number in version("apache-airflow").split(".")[:2])
AIRFLOW_VERSION = AIRFLOW_RELEASE[0]
EXAMPLE_DAGS = Path(__file__).resolve().parent.parent / "example_dags"
USERNAME = "admin"
#: Somebody who may see everything and change nothing (Airflow 3).
VIEWER = "viewer"
_MARK = "PINDO_DEPLOYMENT"
_COMPONENT = "PINDO_COMPONENT"


class DeploymentError(RuntimeError):
    """A component did not start, or stopped unexpectedly. The message contains the end of its log."""


class Deployment:
    """A running Airflow with the sandbox.

    :param dags: the folder of the DAG files. Default: the project's examples.
    :param settings: more environment variables for every process, such as
        ``{"AIRFLOW__STATE_STORE__CLEAR_ON_SUCCESS": "True"}``.
    :param web_port: the UI's port. If it is in use, or None (default), another free port is used.
    :param sandbox_port: the sandbox's port, with the same rule.
    :param sql: statements that fill Airflow's database before it is migrated, such as those of an earlier version.
    :param webhooks: whether the sandbox's webhooks come back to Airflow's API server (Airflow 3.1 and later).
    :param keep_logs: after an error, copy all logs to a folder that stays, and report its path.
    :param progress: called with one line for each step.
    """

    def __init__(
        self,
        dags: Path = EXAMPLE_DAGS,
        *,
        settings: dict[str, str] | None = None,
        web_port: int | None = None,
        sandbox_port: int | None = None,
        sql: str = "",
        webhooks: bool = False,
        keep_logs: bool = False,
        progress: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.dags = dags
        self.username = USERNAME
        self.password = secrets.token_hex(6)
        self.viewer_password = secrets.token_hex(6)
        web_port = free_port(web_port)
        self.url = f"http://127.0.0.1:{web_port}"
        self.sandbox = SandboxClient(f"http://127.0.0.1:{free_port(sandbox_port, besides=web_port)}")
        self.rest = AirflowRest(self.url, self.username, self.password, airflow_version=AIRFLOW_VERSION)
        self._settings = settings or {}
        self._sql = sql
        self.webhook_secret = secrets.token_hex(32)
        self._has_webhooks = webhooks and AIRFLOW_RELEASE >= (3, 1)
        self._keep_logs = keep_logs
        self._progress = progress
        self._mark = secrets.token_hex(8)
        self._secret = secrets.token_hex(32)
        self._fernet_key = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def home(self) -> Path:
        """The temporary ``AIRFLOW_HOME``."""
        if self._folder is None:
            raise RuntimeError("the deployment is not running")
        return Path(self._folder.name)

    @property
    def webhook_address(self) -> str | None:
        """The address of the webhooks, with the token that allows to post them; None if they are off."""
        return receiver_url(self.url, self.webhook_secret) if self._has_webhooks else None

    @property
    def components(self) -> dict[str, list[str]]:
        """The command of each component by name, in the order of their start."""
        port = self.url.rpartition(":")[2]
        web = {
            3: ["api-server", "--host", "127.0.0.1", "--port", port, "--workers", "1"],
            2: ["webserver", "--hostname", "127.0.0.1", "--port", port, "--workers", "1"],
        }[AIRFLOW_VERSION]
        commands = [web, ["scheduler", "--skip-serve-logs"], ["triggerer", "--skip-serve-logs"]]
        if AIRFLOW_VERSION >= 3:
            commands.append(["dag-processor"])
        sandbox = ["--host", "127.0.0.1", "--port", self.sandbox.url.rpartition(":")[2]]
        if self.webhook_address:
            sandbox += ["--webhook-url", self.webhook_address]
        return {
            "sandbox": python("airflow_provider_pindo.sandbox", *sandbox, "--token", self.sandbox.token),
            **{command[0]: python("airflow", *command) for command in commands},
        }

    def __enter__(self) -> Self:
        try:
            self._start_all()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if self._keep_logs and kind is not None and issubclass(kind, Exception):
                self._copy_logs(Path(tempfile.mkdtemp(prefix="pindo-airflow-logs-")))
        finally:
            self.stop()

    def _copy_logs(self, kept: Path) -> None:
        for name in ("components", "logs"):
            if (self.home / name).exists():
                shutil.copytree(self.home / name, kept / name)
        self._progress(f"All logs are in {kept}")

    def _start_all(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="pindo-")
        (self.home / "components").mkdir()
        self._progress("Starting the sandbox and creating Airflow's database")
        self.start("sandbox")
        self._create_database()
        self._create_login()
        self._progress(f"Starting Airflow {version('apache-airflow')}: scheduler, executor and the others")
        for name in self.components:
            if name not in self._processes:
                self.start(name)
        wait_until(lambda: self._responds(self.sandbox.url), "the sandbox responds", timeout=60)
        wait_until(self._is_healthy, "Airflow is healthy", timeout=180)
        self.rest.create_pool("pindo", slots=40, description="Requests to Pindo at a time")

    def _create_database(self) -> None:
        with closing(sqlite3.connect(self.home / "airflow.db")) as database:
            database.executescript(self._sql)
        self.airflow("db", "migrate")
        with closing(sqlite3.connect(self.home / "airflow.db")) as database:
            database.execute(
                "PRAGMA journal_mode=WAL"
            )  # readers do not wait for a writer; the database remembers this mode

    def _create_login(self) -> None:
        if AIRFLOW_VERSION >= 3:
            passwords = self.home / "passwords.json"
            passwords.write_text(json.dumps({self.username: self.password, VIEWER: self.viewer_password}))
            passwords.chmod(0o600)
        else:
            login = ["--username", self.username, "--password", self.password, "--email", "admin@example.org"]
            self.airflow("users", "create", "--role", "Admin", "--firstname", "A", "--lastname", "A", *login)

    def _responds(self, url: str) -> bool:
        self.check()
        try:
            with requests.Session() as session:
                session.trust_env = False
                return session.get(url, timeout=5).ok
        except requests.RequestException:
            return False

    def _is_healthy(self) -> bool:
        self.check()
        try:
            health = self.rest.health()
        except requests.RequestException:
            return False
        parts = {"metadatabase", "scheduler", "triggerer"} | (
            {"dag_processor"} if AIRFLOW_VERSION >= 3 else set()
        )
        return all(health.get(part) == "healthy" for part in parts)

    def check(self) -> None:
        """Raise :class:`DeploymentError` if a component stopped unexpectedly."""
        for name, process in self._processes.items():
            if process.poll() is not None:
                raise DeploymentError(
                    f"{name} stopped with exit code {process.returncode}:\n{tail(self.component_log(name))}"
                )

    def start(self, name: str) -> None:
        """Start a component, also after :meth:`kill`."""
        with self.component_log(name).open("ab") as log, interrupts_wait():
            self._processes[name] = subprocess.Popen(  # noqa: S603
                self.components[name],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**self.environment(), _COMPONENT: name},
                cwd=self.home,
                start_new_session=True,  # Ctrl-C must reach only this process
            )

    def kill(self, name: str) -> None:
        """Kill a component and all its child processes (SIGKILL), like a machine that crashes."""
        process = self._processes.pop(name)
        process.kill()
        _kill_all(lambda: self.processes(name))
        process.wait()

    def airflow(self, *command: str) -> str:
        """Run an ``airflow`` command in this deployment and return its output."""
        return self.run("airflow", *command)

    def run(self, module: str, *arguments: str) -> str:
        """Run a Python module in this deployment and return its output."""
        with interrupts_wait():
            process = subprocess.Popen(  # noqa: S603
                python(module, *arguments),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=self.environment(),
                cwd=self.home,
                start_new_session=True,
                text=True,
            )
        command = " ".join((module, *arguments))
        try:
            printed, _ = process.communicate(timeout=180)
        except subprocess.TimeoutExpired:
            raise DeploymentError(f"{command}: still running after 180 s") from None
        if process.returncode:
            raise DeploymentError(f"{command}: exit code {process.returncode}\n{printed[-4000:]}")
        return printed

    def add_dag(self, dag_id: str, source: str) -> None:
        """Write a DAG file, named after its one DAG, and wait until Airflow has read it."""
        (self.dags / f"{dag_id}.py").write_text(source, encoding="utf-8")
        self.rest.wait_for_dag(dag_id)

    def component_log(self, name: str) -> Path:
        """The file with a component's output."""
        return self.home / "components" / f"{name}.log"

    def task_log(
        self, dag_id: str, run_id: str, task_id: str, *, map_index: int = -1, try_number: int = 1
    ) -> str:
        """Return the log of one try of a task, or "" if it has no log."""
        folder = self.home / "logs" / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}"
        if map_index >= 0:
            folder /= f"map_index={map_index}"
        file = folder / f"attempt={try_number}.log"
        return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""

    def task_process(self, task_instance: dict[str, Any]) -> psutil.Process:
        """Return the process that runs the task's code.

        :param task_instance: a running one, from ``rest.wait_for_task``.
        """
        process = psutil.Process(task_instance["pid"])
        if process not in self.processes():
            raise RuntimeError(f"process {process.pid} does not belong to this deployment")
        return process

    def supervisor_process(self, task_instance: dict[str, Any]) -> psutil.Process:
        """Return the executor's worker process, which supervises the task's process."""
        supervisor = self.task_process(task_instance).parent()
        if supervisor is None:
            raise RuntimeError(f"process {task_instance['pid']} has no parent")
        return supervisor

    def processes(self, component: str | None = None) -> list[psutil.Process]:
        """Return every living process of this deployment, or of one component, tasks included."""
        return [process for process in psutil.process_iter() if self._is_ours(process, component)]

    def _is_ours(self, process: psutil.Process, component: str | None) -> bool:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            environment = process.environ()
        except (psutil.Error, OSError):  # it ended, or belongs to another user
            return False
        is_ours = environment.get(_MARK) == self._mark
        return is_ours and component in (None, environment.get(_COMPONENT))

    def environment(self) -> dict[str, str]:
        """Return the environment of every process: the caller's, without settings of another Airflow."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW_")}
        secret = self.webhook_secret if self._has_webhooks else None
        own = {
            _MARK: self._mark,
            "SPT_NOENV": "1",  # setproctitle, which Airflow calls, leaves the environment readable
            "AIRFLOW_HOME": str(self.home),
            "TMPDIR": str(self.home),  # a short path: a Unix socket's path has at most 104 characters
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            "PYTHONUNBUFFERED": "1",
            "AIRFLOW_CONN_PINDO_DEFAULT": connection_json(self.sandbox.url, self.sandbox.token, secret),
            "AIRFLOW__PINDO__WEBHOOKS": str(self._has_webhooks),
            "AIRFLOW_VAR_PINDO_SEND_WINDOW": "00:00-24:00",  # the examples do not wait for the morning
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            # Seconds to wait for SQLite's lock. Its default of 5 is too short on a busy machine.
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.home}/airflow.db?timeout=60",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            "AIRFLOW__CORE__FERNET_KEY": self._fernet_key,
            # No schedules: only triggered runs start.
            "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False",
            # Detect new DAG files, finished tasks and killed tasks quickly.
            "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
            "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "2",
        }
        of_this_version = _airflow_3_settings if AIRFLOW_VERSION >= 3 else _airflow_2_settings
        return {**inherited, **own, **of_this_version(self, self._secret), **self._settings}

    def stop(self) -> None:
        """Stop every process and delete the folder. Signals are handled afterwards."""
        with interrupts_wait():
            self.rest.close()
            for process in self._processes.values():
                process.terminate()
            deadline = time.monotonic() + 3
            while any(process.poll() is None for process in self._processes.values()):
                if time.monotonic() > deadline:
                    break
                time.sleep(0.05)
            _kill_all(self.processes)  # processes that did not stop, and tasks whose parents were killed
            for process in self._processes.values():
                process.wait()
            self._processes.clear()
            if self._folder is not None:
                self._folder.cleanup()
                self._folder = None


def python(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module with this Python."""
    return [sys.executable, "-m", module, *arguments]


def _kill_all(find: Callable[[], list[psutil.Process]]) -> None:
    """Kill the processes that ``find`` returns, until it finds none: a killed process may have started a new one."""
    while processes := find():
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=1)


def _airflow_3_settings(deployment: Deployment, secret: str) -> dict[str, str]:
    return {
        "AIRFLOW__API__BASE_URL": deployment.url,
        "AIRFLOW__API__SECRET_KEY": secret,
        "AIRFLOW__API_AUTH__JWT_SECRET": secret,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{deployment.url}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{deployment.username}:admin,{VIEWER}:viewer",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(deployment.home / "passwords.json"),
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "2",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "10",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "2",
    }


def _airflow_2_settings(deployment: Deployment, secret: str) -> dict[str, str]:
    return {
        "AIRFLOW__WEBSERVER__BASE_URL": deployment.url,
        "AIRFLOW__WEBSERVER__SECRET_KEY": secret,
        "AIRFLOW__API__AUTH_BACKENDS": "airflow.providers.fab.auth_manager.api.auth.backend.basic_auth",
        # Airflow 2 allows the local executor only with a server database. For a few tasks SQLite is enough.
        "_AIRFLOW__SKIP_DATABASE_EXECUTOR_COMPATIBILITY_CHECK": "1",
        # By default a finished task schedules the next ones, in parallel to the scheduler. Only a row lock stops them
        # from starting the same task twice, and SQLite has no row locks.
        "AIRFLOW__SCHEDULER__SCHEDULE_AFTER_TASK_EXECUTION": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "AIRFLOW__SCHEDULER__LOCAL_TASK_JOB_HEARTBEAT_SEC": "2",
        "AIRFLOW__SCHEDULER__SCHEDULER_ZOMBIE_TASK_THRESHOLD": "10",
        "AIRFLOW__SCHEDULER__ZOMBIE_DETECTION_INTERVAL": "2",
        "AIRFLOW__SCHEDULER__DAG_DIR_LIST_INTERVAL": "2",
    }


def free_port(preferred: int | None = None, *, besides: int | None = None) -> int:
    """Return ``preferred`` if it is free, or else another free loopback port, but never ``besides``.

    The other port is below the range of outgoing connections: such a connection could take it before the server.
    """
    candidates = chain(
        [preferred] if preferred else [], iter(lambda: 20_000 + secrets.randbelow(10_000), None)
    )
    return next(port for port in candidates if port != besides and _is_free(port))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def tail(file: Path) -> str:
    """Return the last 40 lines of a file."""
    return "\n".join(file.read_text(encoding="utf-8", errors="replace").splitlines()[-40:])


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Delay Ctrl-C and termination signals until the end of the block, so that every process is stopped."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    handlers = {
        number: signal.signal(number, lambda received, _: held.append(received))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for received in dict.fromkeys(held):
            signal.raise_signal(received)
