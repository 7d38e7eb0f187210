"""Rewards of a set of queries, equations (1) to (5) of R4T (arXiv 2603.06397). Pure torch.

Shape legend: n outputs, k queries of an output, N items, d dimension, R items of an intent. All vectors have unit
length, so distances are in [0, 2].
"""

from __future__ import annotations

import torch
from torch import Tensor

from modit.fan_out.params import RewardParams


def vendi(vectors: Tensor) -> Tensor:
    """The Vendi score (Friedman & Dieng, TMLR 2023), in [1, k]: how many different vectors there are.

    It is the exponential of the Shannon entropy of the eigenvalues of K / k, K the matrix of cosines: 1 if all are
    equal, k if all are orthogonal.

    Args:
        vectors: unit [..., k, d].

    Returns:
        [...].
    """
    gram = vectors @ vectors.transpose(-1, -2) / vectors.shape[-2]
    eigenvalues = torch.linalg.eigvalsh(gram.double()).clamp_min(0)
    return torch.special.entr(eigenvalues).sum(-1).exp().to(vectors.dtype)


def diversity(vectors: Tensor) -> Tensor:
    """r_div, equation (2), scaled by us to [0, 1] as (Vendi - 1) / (k - 1): the paper does not say how.

    Args:
        vectors: of the items that the queries find first [..., k, d]; of one, the diversity is 0.
    """
    count = vectors.shape[-2]
    return (vendi(vectors) - 1).clamp(0, max(1, count - 1)) / max(1, count - 1)


def groundedness(nearest: Tensor) -> Tensor:
    """r_ground, equation (3): 1 less the mean distance of a query to its nearest item, in [-1, 1].

    Args:
        nearest: cosine of each query and its nearest item [..., k].
    """
    return 1 - (2 - 2 * nearest).clamp_min(0).sqrt().mean(-1)


def alignment(queries: Tensor, intents: Tensor) -> Tensor:
    """r_align, equation (4): mean cosine of the queries [..., k, d] and their intent [..., d], in [-1, 1]."""
    return (queries * intents[..., None, :]).sum(-1).mean(-1)


def set_recall(scores: Tensor, items: Tensor, depth: int) -> Tensor:
    """r_set, equation (5): the share of an intent's items among the first `depth` results of any of its queries.

    Args:
        scores: of all items for each query [n, k, N].
        items: rows of the intent's items int64 [n, R], -1 at padding; at least one each.
        depth: results of a query, in [1, N].

    Returns:
        [n], in [0, 1].
    """
    least = scores.topk(depth, dim=-1).values[..., -1:]
    valid = items >= 0
    own = scores.gather(-1, items.clamp_min(0)[:, None].expand(-1, scores.shape[1], -1))
    found = (own >= least).any(1) & valid
    return found.sum(-1) / valid.sum(-1)


class SetReward:
    """The reward of outputs for intents, over one catalogue."""

    def __init__(self, params: RewardParams, items: Tensor, queries: int) -> None:
        """Keeps the catalogue.

        Args:
            params: which reward.
            items: unit vectors [N, d].
            queries: k. The pool is divided among them: each query's share of it is at least one item.
        """
        self.params, self.items = params, items
        self.depth = max(1, params.pool(len(items), queries) // queries)

    def parts(self, queries: Tensor, intents: Tensor, items: Tensor) -> dict[str, Tensor]:
        """All rewards of outputs, each [n].

        Args:
            queries: unit vectors of their queries [n, k, d].
            intents: unit vectors of their intents [n, d].
            items: of the intents int64 [n, R], -1 at padding.

        Returns:
            `ground`, `diversity`, `alignment`, `set`, `abstract` (equation (1)) and `reward`, the one of `params.kind`.
        """
        catalogue = self.items.to(queries.device)
        scores = queries @ catalogue.T
        best = scores.max(-1)
        found = {
            "ground": groundedness(best.values),
            "diversity": diversity(catalogue[best.indices]),
            "alignment": alignment(queries, intents),
            "set": set_recall(scores, items, self.depth),
        }
        found["abstract"] = sum(
            getattr(self.params, name) * found[name] for name in ("ground", "diversity", "alignment")
        )
        return found | {"reward": found[self.params.kind]}
