"""Asks the registry for the champion of a task and keeps what judging it takes."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from components.judged_once import retriever_of
from modit.data.catalog import Catalog
from modit.release.gate.champion import NONE, Champion, fetch_champion, named_champion
from modit.release.model_registry.registry_access import tracking_uri
from modit.release.versioning.snapshot import CHAMPIONS_VARIABLE

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, object]:
    """Reads `catalog` and the registry.

    Writes the champion: champion.json, and retriever/, item_ids.npy, rows.npy and new_items.npy of one that can be
    judged.
    """
    retriever = retriever_of(context.step)
    folder, kept = context.output(retriever.champion), os.environ.get(CHAMPIONS_VARIABLE)
    if kept:  # a reproduction brings the champion of its time
        shutil.copytree(kept, folder, dirs_exist_ok=True)
        champion = Champion.load(folder)
    else:
        named = named_champion(tracking_uri(context.run_uri), retriever.name)
        champion = fetch_champion(named, retriever.name, Catalog.load(context.input("catalog")), folder)
    context.logger.info("champion: %s", champion.reason if champion.status == NONE else champion.label)
    return {"status": champion.status, "version": champion.version}
