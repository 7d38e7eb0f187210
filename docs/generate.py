"""Writes the tables of the documentation that are data: `python -m docs.generate [--check]`.

A page holds `<!-- generated: NAME -->` and `<!-- end -->`; the lines between them come from the function of that
name in `BLOCKS`. Edit the code that a table describes, then run this. A test fails while a page is out of date.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from docs.tables import commands, fields, lists, pipeline
from docs.tables.markdown import ROOT

PAGES = ROOT / "docs"
_BLOCK = re.compile(r"(<!-- generated: ([\w-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
BLOCKS: dict[str, Callable[[], str]] = {
    "alerts": lists.alerts,
    "answer-fields": partial(fields.api_fields, "RetrieveAnswer"),
    "artifacts": pipeline.artifacts,
    "attacks": lists.attacks,
    "commands": commands.commands,
    "exporter-metrics": lists.exporter_metrics,
    "found-item-fields": partial(fields.api_fields, "FoundItem"),
    "images": pipeline.images,
    "item-fields": partial(fields.api_fields, "ResultItem"),
    "make-help": commands.make_help,
    "parameters": fields.parameters,
    "pipelines": pipeline.pipelines,
    "recommend-answer-fields": partial(fields.api_fields, "RecommendAnswer"),
    "recommend-fields": partial(fields.api_fields, "RecommendRequest"),
    "recommended-item-fields": partial(fields.api_fields, "RecommendedItem"),
    "records": lists.records,
    "refusals": lists.refusals,
    "request-fields": partial(fields.api_fields, "RetrieveRequest"),
    "rooms": lists.rooms,
    "rules": lists.rules,
    "search-answer-fields": partial(fields.api_fields, "SearchAnswer"),
    "search-fields": partial(fields.api_fields, "SearchRequest"),
    "fan-out-fields": partial(fields.api_fields, "FanOutRequest"),
    "fan-out-answer-fields": partial(fields.api_fields, "FanOutAnswer"),
    "set-item-fields": partial(fields.api_fields, "SetItem"),
    "set-query-fields": partial(fields.api_fields, "SetQuery"),
    "seed-source-fields": partial(fields.api_fields, "SeedSource"),
    "seeds-fields": partial(fields.api_fields, "Seeds"),
    "service-metrics": lists.service_metrics,
    "services": pipeline.services,
    "step-command": commands.step_command,
    "steps": pipeline.steps,
}


def rewritten(text: str) -> str:
    """A page with fresh blocks.

    Args:
        text: the page as it is.

    Returns:
        The page as it must be.

    Raises:
        KeyError: the page names a block that does not exist.
    """
    return _BLOCK.sub(lambda found: found[1] + BLOCKS[found[2]]() + found[4], text)


def outdated() -> dict[Path, str]:
    """The pages whose blocks differ from the code, with what they must hold."""
    os.environ["COLUMNS"] = str(commands.WIDTH)
    texts = {path: path.read_text() for path in sorted(PAGES.rglob("*.md"))}
    return {path: new for path, text in texts.items() if (new := rewritten(text)) != text}


def main() -> int:
    """Rewrites the pages; with `--check` it only says which ones are out of date, and then the status is 1."""
    parser = argparse.ArgumentParser(description="Writes the generated tables of the documentation.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page is out of date")
    check = parser.parse_args().check
    pages = outdated()
    for path, text in pages.items():
        print(f"{'out of date' if check else 'written'}: {path.relative_to(ROOT)}")
        if not check:
            path.write_text(text)
    return int(check and bool(pages))


if __name__ == "__main__":
    sys.exit(main())
