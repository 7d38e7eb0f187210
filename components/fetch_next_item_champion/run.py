"""Asks the registry for the champion of the task `next_item` and keeps what judging it takes."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from modit.core.names import NEXT_ITEM
from modit.data.catalog import Catalog
from modit.release.gate.champion import NONE, Champion, fetch_champion, named_champion
from modit.release.model_registry.registry_access import tracking_uri
from modit.release.versioning.snapshot import CHAMPIONS_VARIABLE

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, object]:
    """Reads `catalog` and the registry.

    Writes `next_item_champion`: champion.json, and retriever/, rows.npy and new_items.npy of one that can be judged.
    """
    folder, kept = context.output("next_item_champion"), os.environ.get(CHAMPIONS_VARIABLE)
    if kept:  # a reproduction brings the champion of its time
        shutil.copytree(kept, folder, dirs_exist_ok=True)
        champion = Champion.load(folder)
    else:
        named = named_champion(tracking_uri(context.run_uri), NEXT_ITEM)
        champion = fetch_champion(named, NEXT_ITEM, Catalog.load(context.input("catalog")), folder)
    context.logger.info("champion: %s", champion.reason if champion.status == NONE else champion.label)
    return {"status": champion.status, "version": champion.version}
