"""
What a distribution has besides pyproject.toml says: links that work on the package index.

README.md links files of the repository by relative paths, which lead nowhere on the package index.  The release names
the repository by WOOLEXEC_REPOSITORY, such as https://host/owner/woolexec, and then these links and the project's URLs
lead to the files of the release's tag there.  Without it the links stay as they are, and there are no URLs.
"""

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(!?)\[([^]]*)\]\((?!\w+:|#)([^)\s]+)\)")


def with_links_to(repository: str, tag: str, text: str) -> str:
    """Replace the relative links of a page at the root of the repository."""

    def absolute(link: re.Match[str]) -> str:
        image, title, target = link.groups()
        return f"{image}[{title}]({repository}/{'raw' if image else 'blob'}/{tag}/{target})"

    return LINK.sub(absolute, text)


def urls_of(repository: str, tag: str) -> dict[str, str]:
    """Return the URLs that the package index shows beside the page."""
    return {
        "Documentation": f"{repository}/blob/{tag}/docs/index.md",
        "Changelog": f"{repository}/blob/{tag}/CHANGELOG.md",
        "Source": repository,
        "Issues": f"{repository}/issues",
    }


class Links(MetadataHookInterface):
    """Called by hatchling for each distribution that it builds."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the fields that pyproject.toml calls dynamic, unless a source distribution has filled them in."""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        urls: dict[str, str] = {}
        if repository := os.environ.get("WOOLEXEC_REPOSITORY", "").rstrip("/"):
            tag = f"v{metadata['version']}"
            text, urls = with_links_to(repository, tag, text), urls_of(repository, tag)
        metadata.setdefault("urls", urls)
        metadata.setdefault("readme", {"content-type": "text/markdown", "text": text})
