"""Encodes every item twice, by either tower, and builds the index."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modit.core.seeds import derived_seed
from modit.data.catalog import Catalog
from modit.towers.consistent_index import ConsistentIndex
from modit.towers.encoder import load_towers
from modit.towers.training import titles_of

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, object]:
    """Reads `catalog` and the aligned towers of `towers`; writes `consistent_index`.

    Returns:
        `lists`, and the sizes of the `smallest` and the `largest` of them.

    Raises:
        ContractError: `stage_consistent_index.pieces` does not divide `train_towers.dimension`.
    """
    titles = titles_of(Catalog.load(context.input("catalog")))
    towers = load_towers(context.input("towers") / "symmaligner")
    seed = derived_seed(context.seed, "stage_consistent_index")
    query_view, item_view = towers.encode(titles, "query"), towers.encode(titles, "item")
    index = ConsistentIndex.build(query_view, item_view, context.params.stage_consistent_index, seed)
    index.save(context.output("consistent_index"))
    sizes = index.sizes
    return {"lists": len(sizes), "smallest": int(sizes.min()), "largest": int(sizes.max())}
