"""Asks the registry for the champion of the domain and keeps what judging it takes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from modit.data.catalog import Catalog
from modit.release.gate.champion import NONE, Champion, fetch_champion, named_champion
from modit.release.model_registry.registry_access import tracking_uri
from modit.release.versioning.snapshot import CHAMPIONS_VARIABLE

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, object]:
    """Reads `catalog` and the registry.

    Writes `champion`: champion.json, and sampler.onnx and new_items.npy of one that can be judged.
    """
    folder, kept = context.output("champion"), os.environ.get(CHAMPIONS_VARIABLE)
    if kept:  # a reproduction brings the champions of its time
        shutil.copytree(Path(kept) / context.domain, folder, dirs_exist_ok=True)
        champion = Champion.load(folder)
    else:
        named = named_champion(tracking_uri(context.run_uri), context.domain)
        champion = fetch_champion(named, context.domain, Catalog.load(context.input("catalog")), folder)
    context.logger.info("champion: %s", champion.reason if champion.status == NONE else champion.label)
    return {"status": champion.status, "version": champion.version}
