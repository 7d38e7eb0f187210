"""Builds the index over the whole catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modit.data.catalog import Catalog
from modit.index.engines.staging import stage
from modit.index.item_index import ItemIndex

if TYPE_CHECKING:
    from modit.core.runner import StepContext


def run(context: StepContext) -> None:
    """Reads `catalog`; writes `index`, pinned by its digest in every later step, and a generation in an engine.

    Raises:
        MemoryBudgetError: the index would not fit the memory budget.
        EngineError: the engine does not answer, or refuses.
    """
    catalog = Catalog.load(context.input("catalog"))
    params = context.params.stage_index
    index = ItemIndex.build(catalog.embeddings, catalog.item_ids, params, context.seed, context.scratch)
    folder = context.output("index")
    index.save(folder)
    if params.engine:
        staged = stage(index, catalog.embeddings, params, context.seed)
        staged.save(folder)
        context.logger.info("%s: recall@%d %.4f at effort %d", staged.place, staged.k, staged.recall, staged.effort)
    meta = index.meta
    context.logger.info(
        "%s index of %d items in %d part(s), %s; digest %s",
        meta.kind,
        meta.items,
        meta.shards,
        meta.reason,
        index.digest,
    )
