"""Learns a quantiser of the embeddings, or takes that of an earlier version, and gives every item its semantic ID."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modit.core.seeds import derived_seed
from modit.data.catalog import Catalog
from modit.data.sessions import Sessions, training_counts
from modit.index.item_codes import CODES_FILE, order_of_ties
from modit.index.quantizer import QUANTIZER_FILE
from modit.semantic_ids.starting_point import StartingPoint
from modit.semantic_ids.tokenizer import describe, tokenize

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, Any]:
    """Reads `catalog` and `starting_point`; writes `item_codes`.

    That is item_codes.npz, and quantizer.npz, which gives new items their ID. A run that starts from an earlier version
    keeps the IDs of its items, and takes its quantiser for new ones.

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
    if start := StartingPoint.load(context.input("starting_point")):
        quantizer, codes = start.quantizer, start.codes_of(catalog.item_ids, catalog.embeddings, counts, ties)
        context.logger.info("%d items are new, the others keep their IDs", (start.rows_of(catalog.item_ids) < 0).sum())
    else:
        seed = derived_seed(context.seed, "tokenize_items")
        quantizer, codes = tokenize(catalog.embeddings, counts, ties, params, seed, training)
        if any(size < wanted for size, wanted in zip(quantizer.anchors, params.sizes, strict=True)):
            context.logger.warning(
                "codebooks are smaller than sizes %s: %s codewords, as there are not more different items to make them "
                "of",
                params.sizes,
                quantizer.anchors,
            )
    folder = context.output("item_codes")
    quantizer.save(folder / QUANTIZER_FILE)
    codes.save(folder / CODES_FILE)
    figures = describe(codes, params.head_share)
    context.logger.info("%d IDs of %d items, codebooks of %s", figures["ids"], len(codes), codes.sizes)
    return figures
