"""The documentation: nothing public is left out, and what it shows is there and runs."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from textwrap import dedent

import pytest
from airflow.configuration import conf

from airflow_provider_pindo.get_provider_info import CONNECTION_FIELDS
from airflow_provider_pindo.hooks.pindo import PindoAsyncHook, PindoHook
from airflow_provider_pindo.sandbox.calls import CALLS
from airflow_provider_pindo.sandbox.faults import ACTIONS, Fault
from airflow_provider_pindo.sandbox.outcomes import NUMBERS
from demo.deployment import AIRFLOW_VERSION, EXAMPLE_DAGS
from tests.test_house_rules import PUBLIC
from tests.versions import HAS_STORE, NO_STORE

try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:  # Airflow 2.11
    from airflow.models.dagbag import DagBag

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.rst"))
MARKDOWN = [
    ROOT / f"{name}.md" for name in ("README", "SECURITY", "CHANGELOG", "CONTRIBUTING", "CODE_OF_CONDUCT")
]
PUBLIC_NAMES = sorted(
    {*set().union(*PUBLIC.values()), "classify", "Sandbox", "SandboxClient", "pindo_sandbox"}
)


def text_of(*pages: Path) -> str:
    return "\n".join(page.read_text(encoding="utf-8") for page in pages)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("name", PUBLIC_NAMES)
def test_every_public_name_is_on_a_page_that_shows_its_use_and_in_the_reference(name):
    assert re.search(rf"\b{name}\b", text_of(*DOCS.glob("*.rst"), *DOCS.glob("howto/*.rst")))
    assert re.search(rf"^\.\. auto\w+:: .*\b{name}$", text_of(*DOCS.glob("reference/*.rst")), re.MULTILINE)


def test_the_first_page_of_the_reference_names_what_it_shows_and_no_more():
    first, *others = sorted((DOCS / "reference").glob("*.rst"), key=lambda page: page.name != "index.rst")
    named = set(re.findall(r"``(\w+)``", text_of(first)))
    shown = re.findall(r"^\.\. auto(?:class|function|exception|data):: (\S+)", text_of(*others), re.MULTILINE)
    assert {name.rpartition(".")[2] for name in shown} == named


@pytest.mark.parametrize("hook", [PindoHook, PindoAsyncHook])
def test_every_call_of_a_hook_is_in_the_reference_and_in_the_how_to(hook):
    calls = {
        name for name, value in vars(hook).items() if callable(value) and re.match("[a-z]+_|verify", name)
    }
    calls -= {"get_settings", "request_sent"}
    calls -= {"get_connection_form_widgets", "get_ui_field_behaviour", "read_inbox"}
    assert len(calls) >= 11
    how_to, reference = text_of(DOCS / "howto" / "hook.rst"), text_of(DOCS / "reference" / "hooks.rst")
    for call in calls - {"test_connection"}:
        assert f"``{call}(" in how_to, call
    for call in calls:
        assert len(re.findall(rf"\b{call}\b", reference)) == 2, call


def test_every_field_of_the_connection_and_every_fault_call_and_number_of_the_sandbox_is_told():
    connection, sandbox = text_of(DOCS / "connection.rst"), text_of(DOCS / "sandbox.rst")
    assert [field for field in CONNECTION_FIELDS if f"``{field}``" not in connection] == []
    assert [action for action in ACTIONS if f"* - ``{action}``" not in sandbox] == []
    assert [call for call in CALLS if f"``{call}``" not in sandbox] == []
    assert [field for field in Fault.__struct_fields__ if f"``{field}``" not in sandbox] == []
    rows = [f"* - ``{number}``\n     - ``{outcome}``" for number, outcome in NUMBERS.items()]
    assert [row for row in rows if row not in sandbox] == []


@pytest.mark.parametrize(
    ("module", "name"),
    sorted(
        (module, name)
        for module, names in PUBLIC.items()
        for name in names
        if re.search("Operator$|Sensor$|EventTrigger$|Notifier$", name)  # what stands in a DAG
    ),
)
def test_a_guide_names_every_parameter(module, name):
    if name.endswith("EventTrigger") and AIRFLOW_VERSION < 3:
        pytest.skip("Airflow 2.11 has no watched assets")
    public = getattr(importlib.import_module(f"airflow_provider_pindo.{module}"), name)
    own = [each for each in inspect.getmro(public) if each.__module__.startswith("airflow_provider_pindo")]
    parameters = {parameter for each in own for parameter in inspect.signature(each).parameters}
    parameters -= {"kwargs", "context"}  # what Airflow gives
    guides = text_of(*DOCS.glob("*.rst"), *DOCS.glob("howto/*.rst"))
    assert [each for each in sorted(parameters) if not re.search(rf"``{each}\b|\b{each}=", guides)] == []


def words_of(text: str) -> str:
    """Return a text without line breaks and marks."""
    return " ".join(re.sub(r"[*`]", "", text).split())


def test_the_readme_and_the_first_page_make_the_same_promises():
    readme, page = (
        re.findall(r"^\d\. .*\n(?:   .*\n)*", text_of(file), re.MULTILINE)
        for file in (ROOT / "README.md", DOCS / "index.rst")
    )
    assert len(readme) == 4
    assert [*map(words_of, page)] == [*map(words_of, readme)]


@pytest.mark.parametrize(
    ("page", "module", "name", "number", "sentence"),
    [
        ("troubleshooting", "_bulk.sender", "GRACE", 3, "Requests in flight had three more seconds."),
        ("speed", "plugins._overview", "MAX_ENTRIES", 20_000, "It counts the newest 20,000 entries"),
        (
            "delivery",
            "plugins._claims",
            "_MAX_ENTRIES",
            10_000,
            "If more than 10,000 entries that name messages",
        ),
        ("delivery", "plugins._models", "_WEEK", timedelta(7), "began at most a week before the request"),
    ],
)
def test_a_number_on_a_page_is_that_of_the_code(page, module, name, number, sentence):
    assert sentence in words_of(text_of(DOCS / f"{page}.rst"))
    if module.startswith("plugins") and AIRFLOW_VERSION < 3:
        pytest.skip("Airflow 2.11 has no pages and no webhooks")
    assert getattr(importlib.import_module(f"airflow_provider_pindo.{module}"), name) == number


def test_the_readme_has_the_speeds_of_the_tables():
    readme, speed, scale = (
        text_of(page) for page in (ROOT / "README.md", DOCS / "speed.rst", DOCS / "scale.rst")
    )
    ratio = float(re.search(r"\* - 10,000 personal texts, checked.*\n.*\n.*\n +- (.+)", speed)[1])
    low, high = re.search(r"beside bare aiohttp had ratios from (\S+) to (\S+) in", words_of(speed)).groups()
    assert float(low) <= ratio <= float(high)
    factors = f"{1 / float(high):.1f} to {1 / float(low):.1f}"
    assert f"take {factors} times as long as with bare aiohttp" in words_of(readme)
    least = re.search(r"\* - 1,000\n +- 1\.0\n +- (\d+ %) of a core", scale)[1]
    most = re.search(r"the triggerer's CPU, all waiting \(.*\n +- (\d+ %) of a core", speed)[1]
    assert f"use {least.split()[0]} to {most} of a core" in words_of(readme)
    assert f"there, 1,000 used {most} of a core" in words_of(scale)


def test_the_tests_use_as_many_processes_as_the_page_says():
    numbers = re.search(r"--numprocesses \$\(if \$\(COVERAGE\),(\d),(\d)\)", text_of(ROOT / "Makefile"))
    few, many = ({"4": "four", "6": "six"}[number] for number in numbers.groups())
    page = words_of(text_of(DOCS / "contributing.rst"))
    assert f"A whole make test uses {many} processes" in page
    assert re.search(rf"make test COVERAGE=1 [^.]*\. It uses {few} processes", page)


def test_airflow_maps_over_as_many_messages_as_the_page_says():
    assert "maps over more than 1,024 messages" in words_of(text_of(DOCS / "howto" / "watch.rst"))
    assert conf.getint("core", "max_map_length") == 1024


def test_every_example_is_listed():
    listed = re.findall(r"\* - ``example_dags/(\w+\.py)``", text_of(DOCS / "examples.rst"))
    assert sorted(listed) == sorted(file.name for file in EXAMPLE_DAGS.glob("*.py"))


def inclusions() -> Iterator[tuple[Path, Path, dict[str, str]]]:
    """Yield each inclusion of code: the page, the file and the options."""
    for page in PAGES:
        matches = re.finditer(
            r"^\.\. literalinclude:: /(\S+)\n((?:   :.*\n)+)", text_of(page), flags=re.MULTILINE
        )
        for match in matches:
            options = dict(re.findall(r":([a-z-]+): (.*)", match[2]))
            yield page, (DOCS / match[1]).resolve(), options


def shown(file: Path, options: dict[str, str]) -> str:
    """Return the lines between the markers of an inclusion."""
    code = file.read_text(encoding="utf-8")
    start, end = options["start-after"], options["end-before"]
    assert (code.count(f"{start}\n"), code.count(f"{end}\n")) == (1, 1)
    return code.partition(f"{start}\n")[2].partition(end)[0].rpartition("\n")[0]


@pytest.mark.parametrize(
    ("page", "file", "options"),
    [
        pytest.param(page, file, options, id=f"{page.stem}-{options['start-after'].split()[-1]}")
        for page, file, options in inclusions()
    ],
)
def test_what_a_page_includes_is_marked_in_the_file_and_stands_at_the_margin(page, file, options):
    lines = shown(file, options)
    assert lines.strip()
    indented = len(re.match(" *", lines.lstrip("\n"))[0])
    assert int(options.get("dedent", 0)) == indented


def test_every_marked_piece_of_an_example_is_shown_somewhere():
    marked = {
        (file.name, name)
        for file in EXAMPLE_DAGS.glob("*.py")
        for name in re.findall(r"# \[START (\w+)\]", text_of(file))
    }
    assert marked == {
        (file.name, options["start-after"].split()[-1][:-1]) for _, file, options in inclusions()
    }


def python_blocks() -> Iterator[tuple[Path, str]]:
    """Yield each piece of Python that is written on a page itself."""
    for page in PAGES:
        block = r"^( *)\.\. code-block:: python\n\n((?:(?:\1   .*)?\n)+)"
        for match in re.finditer(block, text_of(page) + "\n", flags=re.MULTILINE):
            yield page, dedent(match[2])
    for page in MARKDOWN:
        for match in re.finditer(r"^```python\n(.*?)^```", text_of(page), flags=re.MULTILINE | re.DOTALL):
            yield page, match[1]


@pytest.mark.parametrize(
    "code",
    [pytest.param(code, id=f"{name_of(page)}-{at}") for at, (page, code) in enumerate(python_blocks())],
)
def test_the_python_on_a_page_runs(code, monkeypatch, tmp_path):
    if "import Asset, AssetWatcher" in code:
        pytest.importorskip("airflow.sdk", reason="Airflow 2.11 has no watched assets")
    if 'on_unknown="ask"' in code and not HAS_STORE:
        pytest.skip(NO_STORE)
    names: dict[str, object] = {"__name__": "snippet"}
    exec(compile(code, "snippet.py", "exec"), names)
    for name, value in names.items():
        if name.startswith("test_") and [*inspect.signature(value).parameters] == ["monkeypatch"]:
            value(monkeypatch)
    if "@dag" in code:
        (tmp_path / "snippet.py").write_text(code, encoding="utf-8")
        bag = DagBag(dag_folder=tmp_path / "snippet.py")
        assert bag.import_errors == {}
        assert len(bag.dags) == 1


@pytest.mark.parametrize("page", [*PAGES, *MARKDOWN], ids=name_of)
def test_the_commands_and_files_that_a_page_names_are_there(page):
    targets = set(re.findall(r"^([a-z0-9-]+):", text_of(ROOT / "Makefile"), flags=re.MULTILINE))
    commands = re.findall(r"(?:``?|^ *)make ([a-z0-9-]+)", text_of(page), flags=re.MULTILINE)
    assert set(commands) <= targets
    links = re.findall(r"\]\((?!http)([^)#]+)|src=\"([^\"]+)\"", text_of(page))
    missing = [link for link in map("".join, links) if not (page.parent / link).exists()]
    missing += [
        path
        for path in re.findall(r"``?((?:tests|docs|demo|example_dags)/[\w./]+)``?", text_of(page))
        if not (ROOT / path).exists()
    ]
    assert missing == []


def test_every_picture_of_a_page_is_there_light_and_dark():
    pictures = {picture.stem for picture in (DOCS / "images").glob("*.png")}
    light = {picture for picture in pictures if not picture.endswith("-dark")}
    assert len(light) > 5
    assert pictures - light == {f"{picture}-dark" for picture in light}


def test_the_picture_of_the_layers_is_drawn_from_the_imports_of_today(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    draw_layers = importlib.import_module("draw_layers")
    assert draw_layers.PICTURE.read_text(encoding="utf-8") == draw_layers.draw(draw_layers.rooms()), (
        "an import between rooms is new or gone: run `python docs/draw_layers.py`"
    )
