"""Trains three kinds of towers of one size on the training queries, with one seed for weights and batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modit.core.seeds import derived_seed
from modit.data.catalog import Catalog
from modit.data.judged_queries import JudgedQueries, QueryPart
from modit.data.text_space import fit_space
from modit.towers.training import KINDS, QueryItemPairs, new_towers, titles_of
from modit.training.session import run_stage

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, object]:
    """Reads `catalog`; writes `towers`: base/, siamese/ and symmaligner/ with model.pt and curve.json each.

    The text space below them is text_space.npz.

    Returns:
        `pairs` of a query and a relevant item that are trained on.

    Raises:
        MissingExtraError: the package of general words is not installed.
        InsufficientDataError: the catalogue has no queries or no titles, or no training query has a relevant item.
    """
    catalog, params = Catalog.load(context.input("catalog")), context.params.train_towers
    judged, seed = JudgedQueries.load(context.input("catalog")), derived_seed(context.seed, "train_towers")
    titles, space = titles_of(catalog), None
    if params.general_share:
        asked = judged.texts[judged.of(QueryPart.TRAIN)].tolist()
        space = fit_space(titles, asked, params.dimension, params.general_share)
        space.save(context.output("towers"))
    stage = QueryItemPairs("train_towers", judged, titles, params, space)
    for kind in KINDS:
        folder, scratch = context.output("towers") / kind, context.scratch / kind
        for each in (folder, scratch):
            each.mkdir(exist_ok=True)
        model = new_towers(params, seed, kind == "siamese", space)
        run_stage(model, stage.aligned(kind), params, seed, folder, scratch, context.logger)
    return {"pairs": len(stage.pairs)}
