"""How Sphinx builds the documentation: ``make docs``, with every warning an error and no request to any other site.

The reference comes from the docstrings of the real package, so this imports Airflow, in a home of its own.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

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

add_module_names = False  # the headings have them
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
autodoc_class_signature = "mixed"

# What belongs to Python, requests and Airflow, whose documentation is elsewhere: none is asked for over the network.
nitpick_ignore_regex = [
    ("py:class", r"(collections\.abc|datetime|os|pathlib)\.\w+(\[str)?"),
    ("py:class", r"timedelta|Session|Response|Context|airflow\.sdk\.AssetWatcher|str \| tuple\[str"),
    ("py:exc", r"AirflowFailException"),
]

#: Pages whose text is a Markdown file at the top, where GitHub's readers look for it.
MARKDOWN = {"changelog": "CHANGELOG.md", "security": "SECURITY.md"}


def markdown_as_rst(app: Any, docname: str, source: list[str]) -> None:
    """Give Sphinx those files, which have headings, lists and code and nothing more, in its own language."""
    if docname not in MARKDOWN:
        return
    lines: list[str] = []
    for line in (ROOT / MARKDOWN[docname]).read_text(encoding="utf-8").splitlines():
        marks, _, heading = line.partition(" ")
        underline = {"#": "=", "##": "-"}.get(marks)
        lines += [line] if underline is None else [heading, underline * len(heading)]
    source[0] = re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", "\n".join(lines))


def no_signature_of_values(
    app: Any, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Leave out how a value is made, which users never do: its fields are listed below it."""
    is_value = what == "class" and name.startswith("airflow_provider_pindo.api.values.")
    return ("", None) if is_value else (signature, returns)


def setup(app: Any) -> None:
    """Take part in the build."""
    app.connect("autodoc-process-signature", no_signature_of_values)
    app.connect("source-read", markdown_as_rst)
