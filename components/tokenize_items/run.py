"""Learns a quantiser of the embeddings, and gives every item its semantic ID."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modit.core.seeds import derived_seed
from modit.data.catalog import Catalog
from modit.data.sessions import Sessions, training_counts
from modit.index.item_codes import CODES_FILE, order_of_ties
from modit.index.quantizer import QUANTIZER_FILE
from modit.semantic_ids.tokenizer import describe, tokenize

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, Any]:
    """Reads `catalog`; writes `item_codes`: item_codes.npz, and quantizer.npz, which gives new items their ID.

    Interactions are counted in training sessions only: validation and test items do not decide who is popular.

    Returns:
        Figures of the IDs (`modit.semantic_ids.tokenizer.describe`).

    Raises:
        InsufficientDataError: all embeddings are equal, or the method needs interactions and there are none.
    """
    catalog = Catalog.load(context.input("catalog"))
    params = context.params.tokenize_items
    training = Sessions(catalog.sequences).training
    counts = training_counts(training, len(catalog))
    ties = order_of_ties(catalog.item_ids)
    seed = derived_seed(context.seed, "tokenize_items")
    quantizer, codes = tokenize(catalog.embeddings, counts, ties, params, seed, training)
    folder = context.output("item_codes")
    quantizer.save(folder / QUANTIZER_FILE)
    codes.save(folder / CODES_FILE)
    figures = describe(codes, params.head_share)
    smaller = [size for size, wanted in zip(quantizer.anchors, params.sizes, strict=True) if size < wanted]
    if smaller:
        context.logger.warning(
            "codebooks are smaller than sizes %s: %s codewords, as there are not more different items to make them of",
            params.sizes,
            quantizer.anchors,
        )
    context.logger.info("%d IDs of %d items, codebooks of %s", figures["ids"], len(codes), codes.sizes)
    return figures
