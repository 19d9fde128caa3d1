"""Check that the repository is ready for a release: ``python .ci/check_release.py v0.1.0``. It needs Python alone.

The release workflow runs it before anything else. It lists what would be false once the release is published.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: What a page may say only before the release; words may stand on two lines.
_STALE = re.compile(r"not\s+released\s+yet|first\s+release|once\s+the\s+repository\s+is\s+public")
_REGISTRY_KEYS = ("source-url", "docs-url", "logo")
#: Where GitHub offers the private report beside the forms.
_ISSUE_CONFIG = ".github/ISSUE_TEMPLATE/config.yml"


def faults(root: Path, tag: str) -> list[str]:
    """Return what is not ready, one line for each thing.

    :param root: the folder of the repository.
    :param tag: the tag of the release, such as ``v0.1.0``.
    """
    found = []

    def read(name: str) -> str:
        return (root / name).read_text(encoding="utf-8")

    version = tag.removeprefix("v")
    package = re.search(r'^__version__ = "(.*)"$', read("airflow_provider_pindo/__init__.py"), re.MULTILINE)
    if package is None or tag != f"v{package[1]}":
        found.append(
            f"airflow_provider_pindo/__init__.py: the version is {package and package[1]}, the tag {tag}"
        )
    section = re.search(r"^## (.*)$", read("CHANGELOG.md"), re.MULTILINE)
    if section is None or not re.fullmatch(rf"{re.escape(version)} \(\d{{4}}-\d\d-\d\d\)", section[1]):
        found.append(f"CHANGELOG.md: the first section is not '## {version} (YYYY-MM-DD)'")
    addresses = tomllib.loads(read("pyproject.toml"))["tool"]["hatch"]["metadata"]["hooks"]["custom"]
    found += [
        f"pyproject.toml: the address '{name}' is empty" for name, address in addresses.items() if not address
    ]
    registry = read(".airflow-registry.yaml")
    found += [
        f".airflow-registry.yaml: the key '{key}' is missing"
        for key in _REGISTRY_KEYS
        if not re.search(rf"^{key}: \S", registry, re.MULTILINE)
    ]
    if not re.search(r"^contact_links:\n +- ", read(_ISSUE_CONFIG), re.MULTILINE):
        found.append(f"{_ISSUE_CONFIG}: the key 'contact_links' is missing")
    pages = sorted(page.relative_to(root).as_posix() for page in (root / "docs").rglob("*.rst"))
    for name in ("CHANGELOG.md", "README.md", "CONTRIBUTING.md", *pages):
        text = read(name)
        for match in _STALE.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(f"{name}:{line}: '{' '.join(match[0].split())}' is not true after the release")
    return found


def main(*arguments: str) -> int:
    """Print what is not ready; return the exit code."""
    if len(arguments) != 1:
        print("Name the tag: python .ci/check_release.py v0.1.0", file=sys.stderr)
        return 2
    found = faults(ROOT, arguments[0])
    print("\n".join(found) or "Ready", file=sys.stderr if found else sys.stdout)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
