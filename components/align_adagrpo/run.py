"""Fits the reward model, says where it is wrong, and aligns the retriever by AdaGRPO."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from modit.core.seeds import derived_seed
from modit.data.catalog import Catalog
from modit.data.sessions import Sessions, training_counts
from modit.index.item_codes import CODES_FILE, ItemCodes
from modit.semantic_ids.adagrpo import RewardAlignment, stratified_lift
from modit.semantic_ids.alignment import ValidationCases, align
from modit.semantic_ids.decoder import Decoder
from modit.semantic_ids.retriever import MODEL_FILE, load_decoder
from modit.semantic_ids.reward_ranker import auc_by_popularity, fit_reward_ranker

if TYPE_CHECKING:
    from modit.core.context import StepContext

_ROWS_OF_TABLE = 1_024


def run(context: StepContext) -> dict[str, Any]:
    """Reads `catalog`, `item_codes`, `next_item_retriever_rad_dpo`; writes `next_item_retriever_adagrpo`.

    That is model.pt, rounds.json, curve.json, the reward model in `reward_ranker/`, and diagnostics.json: the AUC of
    the reward model for each tenth of the items by popularity, and by how many places it lifts the next item where
    both, one or none of AdaGRPO's diagnostics hold. The weights are those before where no round is better.

    Returns:
        The content of rounds.json.
    """
    catalog = Catalog.load(context.input("catalog"))
    sessions, params = Sessions(catalog.sequences), context.params.align_adagrpo
    codes = ItemCodes.load(context.input("item_codes") / CODES_FILE)
    before = load_decoder(context.input("next_item_retriever_rad_dpo") / MODEL_FILE, codes)
    seed, folder = derived_seed(context.seed, "align_adagrpo"), context.output("next_item_retriever_adagrpo")
    training, counts = sessions.training, training_counts(sessions.training, len(catalog))
    cases = ValidationCases.drawn(sessions, codes, params.validation_cases, params.beams, seed)
    places = folder / "reward_ranker", context.scratch / "reward_ranker"
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
    ranker = fit_reward_ranker(
        catalog.embeddings, training, counts, context.params.reward_ranker, seed, *places, context.logger
    )

    def stage_of(name: str, start: Decoder) -> RewardAlignment:
        return RewardAlignment(name, codes, training, params, ranker, before)

    diagnostics = {
        "auc_by_popularity": auc_by_popularity(
            ranker,
            [items[-context.params.reward_ranker.window :] for items in cases.histories],
            cases.targets,
            counts,
            seed,
        ),
        "lift": stratified_lift(stage_of("lift", before), before, _ROWS_OF_TABLE, seed),
    }
    (folder / "diagnostics.json").write_text(json.dumps(diagnostics, indent=1) + "\n")
    return align("align_adagrpo", before, stage_of, params, cases, seed, folder, context.scratch, context.logger)
