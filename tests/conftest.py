"""What every test needs: a private Airflow home, a sandbox over a real socket, and DAGs that really run.

Each process that runs tests has its own Airflow home. It is set before any test imports Airflow, so that no test
reads or writes the user's home.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

# The same examples at every run, however slow the machine; --hypothesis-profile=default looks for new ones.
settings.register_profile(
    "steady", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("steady")

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

_home = tempfile.TemporaryDirectory(prefix="pindo-tests-")
for name in [name for name in os.environ if name.startswith("AIRFLOW_")]:
    del os.environ[name]  # such as the address of the user's own database
os.environ.update(
    {
        "AIRFLOW_HOME": _home.name,
        "AIRFLOW__CORE__DAGS_FOLDER": f"{_home.name}/dags",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        # Airflow's timeout for reading a DAG file uses the timer of pytest-timeout, and leaves it stopped.
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "0",
        # Seconds to wait for the database's lock. SQLite's default of five is too few on a busy machine.
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{_home.name}/airflow.db?timeout=60",
        "NO_PROXY": "127.0.0.1,localhost",  # not through a proxy of the user
        "no_proxy": "127.0.0.1,localhost",
    }
)

from airflow_provider_pindo.sandbox import Sandbox  # noqa: E402
from airflow_provider_pindo.sandbox.address import connection_json  # noqa: E402
from tests.plugin_server import SECRET, PluginServer, plugin_server  # noqa: E402


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """Escape half surrogate pairs in a report. pytest-xdist sends reports as UTF-8, and would end the run."""
    return _escape_surrogates((yield))


def _escape_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {key: _escape_surrogates(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_escape_surrogates, value))
    return value


@pytest.fixture(scope="session", autouse=True)
def only_this_process_is_measured() -> None:
    """What a test starts is not measured: it would be slower, and a test may kill it."""
    os.environ.pop("COVERAGE_PROCESS_START", None)


@pytest.fixture(autouse=True)
def loopback_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reaches Pindo or any other host: only the names of this machine resolve."""
    resolve = socket.getaddrinfo

    def resolve_loopback(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name not in (None, "", "localhost", "127.0.0.1", "::1", "0.0.0.0", socket.gethostname()):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_loopback)


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A sandbox for this test alone. The connection ``pindo_default`` points to it."""
    with Sandbox() as running:
        monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", running.connection_json())
        yield running


@pytest.fixture
def webhooks(
    sandbox: Sandbox, airflow_database: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PluginServer]:
    """A server that receives webhooks (Airflow 3.1 and later). The connection has a secret for them."""
    from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_1_PLUS

    if not AIRFLOW_V_3_1_PLUS:
        pytest.skip("webhooks need Airflow 3.1")
    monkeypatch.setenv("AIRFLOW__PINDO__WEBHOOKS", "True")
    monkeypatch.setenv("AIRFLOW_CONN_PINDO_DEFAULT", connection_json(sandbox.url, sandbox.token, SECRET))
    with plugin_server() as running:
        monkeypatch.setenv("AIRFLOW__PINDO__API_URL", running.url)
        yield running


@pytest.fixture(scope="session")
def airflow_home() -> Path:
    """Airflow's folder, with its database (``airflow.db``) and its logs."""
    return Path(_home.name)


@pytest.fixture(scope="session")
def airflow_database(airflow_home: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Airflow's metadata database, in SQLite. One process of a test run creates it, the others copy its file."""
    (airflow_home / "dags").mkdir()
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # all processes of a test run share it
    with (folder / "airflow.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "airflow.db").exists():
            subprocess.run(
                [sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True
            )
            shutil.copy(airflow_home / "airflow.db", folder / "airflow.db")
            return
    shutil.copy(folder / "airflow.db", airflow_home / "airflow.db")


@pytest.fixture
def dag_file(
    airflow_database: None, request: pytest.FixtureRequest
) -> Callable[[str], AbstractContextManager[Any]]:
    """Write a file into the folder of the DAGs, and import it as long as the block lasts."""

    @contextmanager
    def load(source: str) -> Iterator[Any]:
        name = f"{request.node.originalname}_{os.urandom(4).hex()}"
        file = Path(f"{_home.name}/dags/{name}.py")
        file.write_text(source.replace("DAG_ID", name), encoding="utf-8")
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        on_sigterm = signal.getsignal(signal.SIGTERM)
        try:
            yield module
        finally:
            file.unlink()  # dag.test() of Airflow 3 reads every file of the folder, those of earlier tests too
            signal.signal(signal.SIGTERM, on_sigterm)  # Airflow's task runner leaves its own

    return load


@pytest.fixture
def run_dag(dag_file: Callable[[str], AbstractContextManager[Any]]) -> Callable[..., Any]:
    """Write a DAG file with one ``dag`` in it, run it by ``dag.test()`` and return the DAG run."""

    def run(source: str, **kwargs: Any) -> Any:
        with dag_file(source) as module:
            return module.dag.test(**kwargs)

    return run


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium. Without one the test is skipped, or fails if PINDO_REQUIRE_BROWSER is set.

    Its driver keeps an event loop running, so other tests cannot run theirs. It ends with the module.
    """
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None or importlib.util.find_spec("playwright") is None:
        reason = (
            "this test needs the package playwright, and a Chromium on the PATH (Debian's package chromium)"
        )
        (pytest.fail if os.environ.get("PINDO_REQUIRE_BROWSER") else pytest.skip)(reason)
    from playwright.sync_api import sync_playwright

    quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    quiet += ["--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=chromium, args=quiet)
        yield running
        running.close()


@pytest.fixture
def picture(tmp_path: Path) -> Callable[[Page | Locator, str], None]:
    """Take a picture of a page or of a part, light and dark.

    The docs' pictures go to the folder PINDO_SCREENSHOTS if it is set.
    """
    folder = Path(os.environ.get("PINDO_SCREENSHOTS", tmp_path))
    # The sandbox follows the browser, Airflow the class of its root.
    switch = "([before, after]) => document.documentElement.classList.replace(before, after)"

    def take(shown: Page | Locator, name: str) -> None:
        page = getattr(shown, "page", shown)
        shown.screenshot(path=folder / f"{name}.png")
        page.emulate_media(color_scheme="dark")
        page.evaluate(switch, ["light", "dark"])
        page.wait_for_timeout(500)  # for the transitions of colours
        shown.screenshot(path=folder / f"{name}-dark.png")
        page.evaluate(switch, ["dark", "light"])
        page.emulate_media(color_scheme="light")

    return take
