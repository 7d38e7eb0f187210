"""RAD-DPO, or a method that it is compared with; validation says whether the retriever is better than before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modit.core.seeds import derived_seed
from modit.data.catalog import Catalog
from modit.data.sessions import Sessions, training_counts
from modit.index.item_codes import CODES_FILE, ItemCodes
from modit.semantic_ids.alignment import ValidationCases, align
from modit.semantic_ids.decoder import Decoder
from modit.semantic_ids.rad_dpo import PreferenceAlignment
from modit.semantic_ids.retriever import MODEL_FILE, load_decoder

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, Any]:
    """Reads `catalog`, `item_codes`, `next_item_retriever`; writes `next_item_retriever_rad_dpo`.

    That is model.pt, rounds.json and curve.json; the weights are those before where no round is better on validation.

    Returns:
        The content of rounds.json.
    """
    catalog = Catalog.load(context.input("catalog"))
    sessions, params = Sessions(catalog.sequences), context.params.align_rad_dpo
    codes = ItemCodes.load(context.input("item_codes") / CODES_FILE)
    before = load_decoder(context.input("next_item_retriever") / MODEL_FILE, codes)
    seed = derived_seed(context.seed, "align_rad_dpo")
    training, counts = sessions.training, training_counts(sessions.training, len(catalog))

    def stage_of(name: str, start: Decoder) -> PreferenceAlignment:
        return PreferenceAlignment(name, codes, training, counts, params, start, before, seed)

    return align(
        "align_rad_dpo",
        before,
        stage_of,
        params,
        ValidationCases.drawn(sessions, codes, params.validation_cases, params.beams, seed),
        seed,
        context.output("next_item_retriever_rad_dpo"),
        context.scratch,
        context.logger,
    )
