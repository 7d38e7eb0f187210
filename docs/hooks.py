"""MkDocs hooks: pages of the repository's root, pages of notebooks, and intervals that are no references."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT_PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages of the root, with links that start at `docs/` instead of the root, and a page for each notebook.

    Args:
        files: the site's files.
        config: the site's configuration.

    Returns:
        The same files and those pages.
    """
    root = Path(config.config_file_path).parent
    for source, target in ROOT_PAGES.items():
        text = (root / source).read_text().replace("](docs/", "](")
        files.append(File.generated(config, target, content=text))
    for path in sorted(Path(config.docs_dir).glob("notebooks/*.ipynb")):
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=notebook_page(path)))
    return files


def notebook_page(path: Path) -> str:
    """A notebook as Markdown: its texts, its code, and what that printed.

    Args:
        path: Of the notebook.
    """
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    page = "\n\n".join(part for cell in cells for part in _parts(cell))
    return f"{page}\n\n[Download this notebook]({path.name})\n"


def _parts(cell: dict[str, Any]) -> Iterator[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield source
        return
    yield f"```python\n{source}\n```"
    for output in cell["outputs"]:
        data = output.get("data", {})
        if "text/html" in data:  # a table; its style is for Jupyter
            table = re.sub(r"<style.*?</style>", "", "".join(data["text/html"]), flags=re.DOTALL)
            yield re.sub(r"<table[^>]*>", "<table>", table)
        else:
            text = "".join(data.get("text/plain", output.get("text", [])))
            yield f"```text\n{text.rstrip()}\n```"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links to the pages of notebooks, not to their files.

    It also escapes the second of two intervals side by side, which mkdocstrings takes for a reference to an object.
    """
    markdown = re.sub(r"(notebooks/[\w-]+)\.ipynb\)", r"\1.md)", markdown)
    return re.sub(r"\] \[(?=[-+0-9])", r"] \\[", markdown)
