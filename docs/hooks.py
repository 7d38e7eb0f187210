"""MkDocs hooks: CONTRIBUTING.md and CHANGELOG.md of the repository's root, and intervals that are no references."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT_PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages of the root, with links that start at `docs/` instead of the root.

    Args:
        files: the site's files.
        config: the site's configuration.

    Returns:
        The same files and two more.
    """
    root = Path(config.config_file_path).parent
    for source, target in ROOT_PAGES.items():
        text = (root / source).read_text().replace("](docs/", "](")
        files.append(File.generated(config, target, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Escapes the second of two intervals side by side, which mkdocstrings takes for a reference to an object."""
    return re.sub(r"\] \[(?=[-+0-9])", r"] \\[", markdown)
