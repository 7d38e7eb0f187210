"""Builds the index over the whole catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modit.data.catalog import Catalog
from modit.index.item_index import ItemIndex

if TYPE_CHECKING:
    from modit.core.runner import StepContext


def run(context: StepContext) -> None:
    """Reads `catalog`; writes `index`, pinned by its digest in every later step.

    Raises:
        MemoryBudgetError: the index would not fit the memory budget.
    """
    catalog = Catalog.load(context.input("catalog"))
    params = context.params.stage_index
    index = ItemIndex.build(catalog.embeddings, catalog.item_ids, params, context.seed, context.scratch)
    index.save(context.output("index"))
    meta = index.meta
    context.logger.info(
        "%s index of %d items in %d part(s), %s; digest %s",
        meta.kind,
        meta.items,
        meta.shards,
        meta.reason,
        index.digest,
    )
