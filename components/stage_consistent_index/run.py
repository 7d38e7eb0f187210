"""Encodes every item twice, by either tower, and builds the index."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modit.core.seeds import derived_seed
from modit.core.storage import sha256_of_file
from modit.data.catalog import Catalog
from modit.index.consistent_index import ConsistentIndex
from modit.towers.encoder import MODEL_FILE, load_towers
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
    folder = context.input("towers") / "symmaligner"
    towers = load_towers(folder)
    seed = derived_seed(context.seed, "stage_consistent_index")
    query_view, item_view = towers.encode(titles, "query"), towers.encode(titles, "item")
    params, digest = context.params.stage_consistent_index, sha256_of_file(folder / MODEL_FILE)
    index = ConsistentIndex.build(query_view, item_view, params, seed, digest)
    index.save(context.output("consistent_index"))
    sizes = index.sizes
    return {"lists": len(sizes), "smallest": int(sizes.min()), "largest": int(sizes.max())}
