"""What the package's metadata take from the address of the repository, once it is known.

Fill in ``repository`` and ``documentation`` under ``[tool.hatch.metadata.hooks.custom]`` in ``pyproject.toml``. The
registry reads ``.airflow-registry.yaml`` as it stands, so three keys go there too: its first line names them.
As long as ``repository`` is empty, the metadata have no links, and the README on PyPI keeps its relative links. Without
``documentation``, links to a page of the documentation lead to its source in the repository.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

#: A relative link or picture of Markdown, up to its address.
_RELATIVE = re.compile(r"(!?\[[^\]]*\]\()(?!https?://|#)")
#: A relative link to a page of the documentation, up to the end of its path.
_PAGE = re.compile(r"(?<=\]\()docs/([\w/-]+)\.rst\b")


class LinksToTheRepository(MetadataHookInterface):
    """Set the links of the project and of its README."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set ``readme`` and, when the address is known, ``urls``."""
        repository, documentation = (self.config[key].rstrip("/") for key in ("repository", "documentation"))
        tag = f"v{metadata['version']}" if "version" in metadata else "main"
        readme = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": absolute_links(readme, repository, tag, documentation) if repository else readme,
        }
        metadata["urls"] = links(repository, documentation) if repository else {}


def links(repository: str, documentation: str) -> dict[str, str]:
    """Return the links that PyPI shows beside the package."""
    return {
        "Source": repository,
        "Documentation": documentation or f"{repository}/blob/main/docs/index.rst",
        "Changelog": f"{repository}/blob/main/CHANGELOG.md",
        "Issues": f"{repository}/issues",
    }


def absolute_links(readme: str, repository: str, tag: str, documentation: str) -> str:
    """Return the README with addresses that work outside the repository: pictures as files, links as pages."""
    if documentation:
        readme = _PAGE.sub(rf"{documentation}/\1.html", readme)

    def address(match: re.Match[str]) -> str:
        kind = "raw" if match[1].startswith("!") else "blob"
        return f"{match[1]}{repository}/{kind}/{tag}/"

    return _RELATIVE.sub(address, readme)
