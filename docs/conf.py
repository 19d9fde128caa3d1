"""How Sphinx builds the documentation: ``make docs``. Every warning is an error, and no other site is requested.

The reference comes from the docstrings of the package, so the build imports Airflow, with its own AIRFLOW_HOME.
"""

from __future__ import annotations

import inspect
import os
import re
from pathlib import Path
from typing import Any

import msgspec
from docutils import nodes

ROOT = Path(__file__).resolve().parent.parent
os.environ["AIRFLOW_HOME"] = str(ROOT / "build" / "airflow")
os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "WARNING"

from airflow_provider_pindo import __version__  # noqa: E402

project = "airflow-provider-pindo"
release = version = __version__
author = project
html_title = f"{project} {version}"
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
extensions = ["sphinx.ext.autodoc"]
exclude_patterns = ["images"]
nitpicky = True
highlight_language = "python"

add_module_names = False  # the headings show them
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
autodoc_class_signature = "mixed"

# Names of Python, requests, pytest and Airflow. The build does not request their documentation from other sites.
nitpick_ignore_regex = [
    ("py:class", r"(collections\.abc|datetime|os|pathlib)\.\w+(\[str)?"),
    (
        "py:class",
        r"timedelta|Session|(requests\.(models\.)?)?Response|Context|airflow\.sdk\.AssetWatcher|str \| tuple\[str",
    ),
    ("py:exc", r"Airflow(FailException|SkipException|SensorTimeout)"),
    ("py:class", r"pytest\.MonkeyPatch"),
    # Private: the operators give a hook the settings that they have read already.
    ("py:class", r"airflow_provider_pindo\.hooks\._settings\.PindoSettings"),
]

#: Pages whose text is a Markdown file at the top of the repository, where readers on GitHub look for it.
MARKDOWN = {"changelog": "CHANGELOG.md", "security": "SECURITY.md"}


def markdown_as_rst(app: Any, docname: str, source: list[str]) -> None:
    """Translate these files to reStructuredText; they contain only headings, lists and code."""
    if docname not in MARKDOWN:
        return
    lines: list[str] = []
    for line in (ROOT / MARKDOWN[docname]).read_text(encoding="utf-8").splitlines():
        marks, _, heading = line.partition(" ")
        underline = {"#": "=", "##": "-", "###": "~"}.get(marks)
        lines += [line] if underline is None else [heading, underline * len(heading)]
    source[0] = re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", "\n".join(lines))


def dark_pictures(app: Any, doctree: nodes.document) -> None:
    """Show ``NAME-dark.png`` instead of ``NAME.png`` to readers whose page is dark."""
    for light in list(doctree.findall(nodes.image)):
        uri = light["uri"].replace(".png", "-dark.png")
        if uri != light["uri"]:
            dark = light.deepcopy()
            dark["uri"] = uri
            light["classes"].append("only-light")
            dark["classes"].append("only-dark")
            light.parent.insert(light.parent.index(light) + 1, dark)


def short_signatures(
    app: Any, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Hide the signature of a value, which users never make, and the checks in that of a msgspec struct."""
    if what == "class" and name.startswith("airflow_provider_pindo.api.values."):
        return "", None
    if what == "class" and issubclass(obj, msgspec.Struct):
        fields = inspect.signature(obj).parameters.values()
        return str(inspect.Signature([field.replace(annotation=field.empty) for field in fields])), None
    return signature, returns


def setup(app: Any) -> None:
    """Register the functions above with Sphinx."""
    app.connect("autodoc-process-signature", short_signatures)
    app.connect("source-read", markdown_as_rst)
    app.connect("doctree-read", dark_pictures, priority=400)  # before Sphinx collects the images
