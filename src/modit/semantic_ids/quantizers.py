"""Residual quantisers of item vectors: fixed length, SARQ, ACRQ and SA2CRQ, on k-means or on RQ-VAE.

SARQ decides how deep an ID goes, ACRQ which items make the codebooks, SA2CRQ is both (arXiv 2602.23978).
r_0 = z, q_l = the codeword of layer l that is nearest to r_{l-1}, r_l = r_{l-1} - q_l.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from modit.core.errors import InsufficientDataError
from modit.core.seeds import derived_seed, stream
from modit.data.sessions import head_items
from modit.index.paths import BudgetStop, FixedDepth, PathTable, RatioStop, StopRule
from modit.index.quantizer import Quantizer, nearest
from modit.semantic_ids.codebooks import fit_codebook
from modit.semantic_ids.params import TokenizerParams

_NO_CODE = -1


def fit_quantizer(vectors: np.ndarray, counts: np.ndarray, params: TokenizerParams, seed: int) -> Quantizer:
    """Learns codebooks.

    Args:
        vectors: of the items float32 [N, D].
        counts: training interactions of the items [N].
        params: section `tokenize_items`.
        seed: of all draws.

    Raises:
        InsufficientDataError: all vectors are equal, or no popular item can be told.
    """
    vectors = np.ascontiguousarray(vectors, np.float32)
    if len(vectors) < 2 or (vectors == vectors[0]).all():
        raise InsufficientDataError(
            f"catalog, embeddings: the catalogue's {len(vectors)} item(s) have one embedding in all; "
            "semantic IDs need at least 2 different ones"
        )
    head = popular_items(counts, params.head_share) if params.anchored else np.ones(len(vectors), bool)
    if params.base == "rqvae":
        from modit.semantic_ids.rqvae import fit_rqvae

        return fit_rqvae(vectors, head, params, seed)
    return _fit_kmeans(vectors, head, params, seed)


def popular_items(counts: np.ndarray, share: float) -> np.ndarray:
    """The head: `modit.data.sessions.head_items`, bool [N].

    Raises:
        InsufficientDataError: there are no interactions.
    """
    if not counts.any():
        raise InsufficientDataError(
            "interactions: no item is in a training session, so none is popular; "
            "methods acrq and sa2crq need popular items, rq and sarq do without"
        )
    return head_items(counts, share)


def stop_rule(params: TokenizerParams, items: int) -> StopRule:
    """The rule of a method, for a path table of `items` items."""
    if not params.adaptive:
        return FixedDepth()
    if params.budgets is not None:
        return BudgetStop(tuple(np.inf if budget is None else budget for budget in params.budgets))
    return RatioStop(params.items_per_prefix / items, params.full_layers)


# (residuals of the items that have this layer, layer) -> codewords.
FitLayer = Callable[[np.ndarray, int], np.ndarray]


def fit_layers(
    latent: np.ndarray, layers: int, fit: FitLayer, rule: StopRule, sizes: tuple[int, ...], smoothing: float
) -> tuple[tuple[np.ndarray, ...], PathTable]:
    """Fits codebooks layer by layer. Items whose ID has ended take no part in deeper layers (the sums to k(x)).

    Args:
        latent: float32 [n, d].
        layers: L.
        fit: makes one codebook.
        rule: when an ID ends, by the prefixes of these same items.
        sizes: of the path table.
        smoothing: of the path table.

    Returns:
        The codebooks, and the table of all prefixes.
    """
    residual = latent.copy()
    codes = np.full((len(latent), layers), _NO_CODE, np.int32)
    active, codebooks = np.arange(len(latent)), []
    for layer in range(layers):
        if layer:
            table = PathTable.of(codes[:, :layer], sizes, smoothing)
            active = active[rule.continues(table, codes[active], layer)]
        points = residual[active] if len(active) else np.zeros((1, latent.shape[1]), np.float32)
        codebooks.append(fit(points, layer))
        codes[active, layer] = nearest(residual[active], codebooks[-1])
        residual[active] -= codebooks[-1][codes[active, layer]]
    return tuple(codebooks), PathTable.of(codes, sizes, smoothing)


def extend_layers(
    latent: np.ndarray, anchors: tuple[np.ndarray, ...], fit: FitLayer, rule: StopRule, table: PathTable
) -> tuple[np.ndarray, ...]:
    """Adds codewords for other items than those that made the anchors (ACRQ, stage 2). Anchors stay bit for bit.

    Args:
        latent: of the other items float32 [n, d].
        anchors: the codebooks of stage 1.
        fit: (residuals, layer) -> the layer's anchors and its new codewords.
        rule: when an ID ends, by the prefixes of the items that made the anchors.
        table: of these prefixes.
    """
    residual = latent.copy()
    codes = np.full((len(latent), len(anchors)), _NO_CODE, np.int32)
    active, codebooks = np.arange(len(latent)), []
    for layer in range(len(anchors)):
        if layer:
            active = active[rule.continues(table, codes[active], layer)]
        codebooks.append(fit(residual[active], layer))
        codes[active, layer] = nearest(residual[active], codebooks[-1])
        residual[active] -= codebooks[-1][codes[active, layer]]
    return tuple(codebooks)


def new_codewords(params: TokenizerParams) -> tuple[int, ...]:
    """How many codewords stage 2 adds to each layer; none where the method has no stage 2."""
    share = params.new_share if params.anchored else 0.0
    return tuple(int(np.ceil(share * size)) for size in params.sizes)


def table_sizes(params: TokenizerParams) -> tuple[int, ...]:
    """The largest that codebooks can become."""
    return tuple(size + new for size, new in zip(params.sizes, new_codewords(params), strict=True))


def _fit_kmeans(vectors: np.ndarray, head: np.ndarray, params: TokenizerParams, seed: int) -> Quantizer:
    rule, new = stop_rule(params, int(head.sum())), new_codewords(params)

    def fit(points: np.ndarray, layer: int) -> np.ndarray:
        generator = stream(seed, "codebook", layer)
        return fit_codebook(points, params.sizes[layer], params.iterations, generator)

    anchors, table = fit_layers(vectors[head], len(params.sizes), fit, rule, table_sizes(params), params.smoothing)

    def extend(points: np.ndarray, layer: int) -> np.ndarray:
        generator = stream(seed, "new codewords", layer)
        return fit_codebook(points, new[layer], params.iterations, generator, anchors[layer])

    codebooks = extend_layers(vectors[~head], anchors, extend, rule, table) if any(new) else anchors
    return Quantizer(codebooks, tuple(map(len, anchors)), table, rule)


def vae_seed(seed: int) -> int:
    """Seed of the weights and batches of RQ-VAE."""
    return derived_seed(seed, "rqvae")
