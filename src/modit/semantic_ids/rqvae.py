"""RQ-VAE: codebooks in the latent space of an autoencoder that is trained with them (Lee et al. 2022; TIGER).

Losses of an item with k(x) codes (sa2crq, section 4; sg stops gradients):
  reconstruction  || x - Dec(sum_{l <= k} q_l) ||^2, by the straight-through estimator
  codebook        sum_{l <= k} || sg(r_{l-1}) - q_l ||^2, in stage 2 only where q_l is new
  commitment      beta sum_{l <= k} || r_{l-1} - sg(q_l) ||^2
SA2CRQ prints || z - sum q_l ||^2 as reconstruction. Its minimum is an encoder that maps everything to one point, so
the reconstruction here is RQ-VAE's, of x by a decoder. In stage 2 the encoder is frozen with the anchors (the paper
does not say): popular items then keep their IDs, and the codebook loss is the only one with a gradient.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modit.core.seeds import stream
from modit.index.paths import PathTable, StopRule
from modit.index.quantizer import Quantizer
from modit.semantic_ids.codebooks import fit_codebook
from modit.semantic_ids.params import TokenizerParams
from modit.semantic_ids.quantizers import (
    extend_layers,
    fit_layers,
    new_codewords,
    stop_rule,
    table_sizes,
    vae_seed,
)

# Share of the steps that train the autoencoder alone, before the codebooks start from k-means on its latent vectors.
WARM_UP = 0.2


def fit_rqvae(vectors: np.ndarray, head: np.ndarray, params: TokenizerParams, seed: int) -> Quantizer:
    """Trains RQ-VAE: codebooks of the popular items, then, where `head` leaves some out, codewords for the others.

    Args:
        vectors: float32 [N, D].
        head: bool [N], items of stage 1; all for methods rq and sarq.
        params: section `tokenize_items`.
        seed: of weights, starts and batches.
    """
    previous = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in one order: the same bits on any number of cores
    try:
        return _fit(vectors, head, params, seed)
    finally:
        torch.set_num_threads(previous)


def _fit(vectors: np.ndarray, head: np.ndarray, params: TokenizerParams, seed: int) -> Quantizer:
    generator = torch.Generator().manual_seed(vae_seed(seed))
    torch.manual_seed(vae_seed(seed))
    scale = float(np.sqrt((vectors.astype(np.float64) ** 2).mean())) or 1.0
    items = torch.from_numpy(vectors / np.float32(scale))
    autoencoder = _Autoencoder(vectors.shape[1], params.hidden, params.latent)
    popular = items[torch.from_numpy(head)]
    rule, sizes = stop_rule(params, int(head.sum())), table_sizes(params)
    warm = round(WARM_UP * params.steps)
    _train(autoencoder, [], popular, rule, None, params, warm, generator)

    def start(points: np.ndarray, layer: int) -> np.ndarray:
        return fit_codebook(points, params.sizes[layer], params.iterations, stream(seed, "codebook", layer))

    latent = autoencoder.encode(popular)
    starts, table = fit_layers(latent, len(params.sizes), start, rule, sizes, params.smoothing)
    codebooks = [nn.Parameter(torch.from_numpy(each)) for each in starts]
    _train(autoencoder, codebooks, popular, rule, table, params, params.steps - warm, generator)
    # The table of the codebooks as they have become.
    latent = autoencoder.encode(popular)
    anchors, table = fit_layers(
        latent, len(codebooks), lambda _, layer: _array(codebooks[layer]), rule, sizes, params.smoothing
    )
    final, new = anchors, new_codewords(params)
    if any(new) and not head.all():
        others = autoencoder.encode(items[torch.from_numpy(~head)])

        def extend(points: np.ndarray, layer: int) -> np.ndarray:
            drawn = stream(seed, "new codewords", layer)
            return fit_codebook(points, new[layer], params.iterations, drawn, anchors[layer])

        extended = extend_layers(others, anchors, extend, rule, table)
        final = _train_new(torch.from_numpy(others), extended, anchors, rule, table, params, generator)
    return Quantizer(final, tuple(map(len, anchors)), table, rule, autoencoder.network(scale))


class _Autoencoder(nn.Module):
    def __init__(self, dimension: int, hidden: int, latent: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(dimension, hidden), nn.ReLU(), nn.Linear(hidden, latent))
        self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, dimension))

    @torch.no_grad()
    def encode(self, items: Tensor) -> np.ndarray:
        return self.encoder(items).numpy()

    def network(self, scale: float) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """The encoder as it takes the vectors that were not scaled."""
        linear = [module for module in self.encoder if isinstance(module, nn.Linear)]
        first = (_array(linear[0].weight) / np.float32(scale), _array(linear[0].bias))
        return (first, *((_array(module.weight), _array(module.bias)) for module in linear[1:]))


def _train(
    autoencoder: _Autoencoder,
    codebooks: list[nn.Parameter],
    items: Tensor,
    rule: StopRule,
    table: PathTable | None,
    params: TokenizerParams,
    steps: int,
    generator: torch.Generator,
) -> None:
    """Stage 1, or the autoencoder alone where there are no codebooks."""
    optimizer = torch.optim.Adam([*autoencoder.parameters(), *codebooks], lr=params.learning_rate)
    for _ in range(steps):
        x = items[torch.randint(len(items), (min(params.batch, len(items)),), generator=generator)]
        latent = autoencoder.encoder(x)
        quantized, codebook, commitment = latent, latent.new_zeros(()), latent.new_zeros(())
        if table is not None:
            total, codebook, commitment = residual_losses(latent, codebooks, rule, table)
            quantized = latent + (total - latent).detach()
        reconstruction = F.mse_loss(autoencoder.decoder(quantized), x)
        loss = reconstruction + codebook + params.commitment * commitment
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


def residual_losses(
    latent: Tensor, codebooks: Sequence[Tensor], rule: StopRule, table: PathTable, anchors: tuple[int, ...] = ()
) -> tuple[Tensor, Tensor, Tensor]:
    """Quantises latent vectors to the depth that their prefixes have.

    Args:
        latent: z [n, d].
        codebooks: of each layer [M_l, d].
        rule: when an ID ends.
        table: by which it is decided.
        anchors: of each layer, how many leading codewords are frozen: they have no part in the codebook loss.

    Returns:
        sum_{l <= k} q_l [n, d]; the codebook loss and the commitment loss, means over items and coordinates.
    """
    residual, total = latent, torch.zeros_like(latent)
    codebook_loss, commitment = latent.new_zeros(()), latent.new_zeros(())
    active = torch.ones(len(latent), dtype=torch.bool)
    codes = np.full((len(latent), len(codebooks)), -1, np.int32)
    for layer, codebook in enumerate(codebooks):
        if layer:
            active = active & torch.from_numpy(rule.continues(table, codes, layer))
        found = torch.cdist(residual.detach(), codebook.detach()).argmin(1)
        codes[active.numpy(), layer] = found[active].numpy()
        chosen = codebook[found]
        trained = active & (found >= anchors[layer]) if anchors else active
        codebook_loss = codebook_loss + (((residual.detach() - chosen) ** 2).mean(1) * trained).mean()
        commitment = commitment + (((residual - chosen.detach()) ** 2).mean(1) * active).mean()
        step = chosen * active[:, None]
        total, residual = total + step, residual - step.detach()
    return total, codebook_loss, commitment


def _train_new(
    latent: Tensor,
    extended: tuple[np.ndarray, ...],
    anchors: tuple[np.ndarray, ...],
    rule: StopRule,
    table: PathTable,
    params: TokenizerParams,
    generator: torch.Generator,
) -> tuple[np.ndarray, ...]:
    """Stage 2: only new codewords get a gradient; anchors are put together with them anew, bit for bit."""
    frozen = [torch.from_numpy(each) for each in anchors]
    new = [nn.Parameter(torch.from_numpy(each[len(old) :])) for each, old in zip(extended, anchors, strict=True)]
    optimizer = torch.optim.Adam(new, lr=params.learning_rate)
    for _ in range(params.steps // 2):
        z = latent[torch.randint(len(latent), (min(params.batch, len(latent)),), generator=generator)]
        codebooks = [torch.cat(pair) for pair in zip(frozen, new, strict=True)]
        loss = residual_losses(z, codebooks, rule, table, tuple(map(len, anchors)))[1]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return tuple(np.concatenate([old, _array(each)]) for old, each in zip(anchors, new, strict=True))


def _array(value: Tensor) -> np.ndarray:
    return value.detach().numpy().copy()
