"""Asks the registry for the champion of the task `next_item`, where the run starts from it."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from modit.core.names import NEXT_ITEM
from modit.data.catalog import Catalog
from modit.release.gate.champion import named_champion
from modit.release.model_registry.registry_access import tracking_uri
from modit.release.starting_point import CHAMPION, fetch_starting_point
from modit.release.versioning.snapshot import STARTING_POINT_VARIABLE

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, object]:
    """Reads `catalog` and, where `starting_point.origin` is champion, the registry; writes `starting_point`.

    That is starting_point.json and, of a champion, item_codes.npz, quantizer.npz, item_ids.npy and model.pt.
    """
    folder, kept = context.output("starting_point"), os.environ.get(STARTING_POINT_VARIABLE)
    if kept:  # a reproduction brings what the run started from
        shutil.copytree(kept, folder, dirs_exist_ok=True)
        return {}
    wanted = context.params.starting_point.origin == CHAMPION
    named = named_champion(tracking_uri(context.run_uri), NEXT_ITEM) if wanted else None
    if wanted and named is None:
        context.logger.warning("no version of modit-%s is the champion yet: the run starts from nothing", NEXT_ITEM)
    label = fetch_starting_point(named, Catalog.load(context.input("catalog")), folder)
    context.logger.info("the retriever starts from %s", label or "nothing")
    return {"origin": label}
