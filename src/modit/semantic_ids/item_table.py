"""A vector for each item: what its embedding says, and what is special about it.

It is the item's own token in a prompt, and with a bias it scores the item after a prompt, as dense retrieval does.
LIGER joins both kinds of retrieval so: IDs are decoded, and what they find is ranked by dense scores (Yang et al.
2024, "Unifying Generative and Dense Retrieval for Sequential Recommendation"). An item that nobody used has what its
embedding says, so that it can be found.

Shape legend: n places, N items, M drawn items, H width, D dimension of an embedding.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modit.index.id_retrieval import bias_of_unused


class ItemTable(nn.Embedding):
    """Vectors of items [N, H], vector(i) = weight(i) + content @ embedding(i), and their biases.

    While embeddings are there (`follow`), both parts are trained. `settle` makes one table of them.

    Attributes:
        content: what an embedding says [H, D]; None without it.
        bias: of the dense score [N]; None for a table that scores nothing.
        embeddings: of the items [N, D]; None once the table is settled. No file has them.
    """

    def __init__(self, items: int, width: int, dimension: int = 0, dense: bool = False) -> None:
        super().__init__(items, width)
        self.content = nn.Parameter(torch.zeros(width, dimension)) if dimension else None
        self.bias = nn.Parameter(torch.zeros(items)) if dense else None
        self.register_buffer("embeddings", None, persistent=False)
        self.embeddings: Tensor | None

    @torch.no_grad()
    def follow(self, embeddings: Tensor, known: Tensor | None = None) -> None:
        """Parts a settled table into what the embeddings say and the rest; a new table is left as it is.

        Args:
            embeddings: of the items [N, D].
            known: rows of a settled table that are not new, bool [N]; None for a table that was never settled.
        """
        self.embeddings = embeddings.to(self.weight)
        if known is not None and self.content is not None:
            said = self.embeddings @ self.content.T
            self.weight.copy_(torch.where(known[:, None], self.weight - said, 0))

    @torch.no_grad()
    def settle(self, embeddings: Tensor, counts: np.ndarray) -> None:
        """Puts what the embeddings say into the vectors; they are no longer needed.

        An item without interactions keeps nothing of its own, which training could only push away from every session:
        it gets the bias of the items that are used least.

        Args:
            embeddings: of the items [N, D].
            counts: their training interactions int64 [N].
        """
        if self.content is not None:
            unused = torch.from_numpy(counts == 0)
            self.weight.mul_(~unused[:, None]).add_(embeddings.to(self.weight) @ self.content.T)
            if self.bias is not None and unused.any() and not unused.all():
                self.bias[unused] = bias_of_unused(self.bias.numpy(), counts)
        self.embeddings = None

    def forward(self, rows: Tensor) -> Tensor:
        """Vectors of items, int64 [...] to [..., H]."""
        own = super().forward(rows)
        if self.embeddings is None or self.content is None:
            return own
        return own + self.embeddings[rows] @ self.content.T

    def vectors(self) -> Tensor:
        """Of all items [N, H]."""
        if self.embeddings is None or self.content is None:
            return self.weight
        return self.weight + self.embeddings @ self.content.T

    def dense_vectors(self) -> Tensor | None:
        """Vectors with the bias as their last number [N, H + 1]; None of a table that scores nothing."""
        return None if self.bias is None else torch.cat([self.vectors(), self.bias[:, None]], 1)

    def dense_losses(self, states: Tensor, targets: Tensor, drawn: Tensor | None) -> Tensor:
        """-log P(item | prompt) at each place [n], P a softmax of `state . vector + bias` over all items.

        Over drawn items it is estimated: of M drawn evenly, those that are not the target stand for all others.

        Args:
            states: after the prompts [n, H].
            targets: the next items, int64 [n].
            drawn: rows int64 [M] that stand for the others; None compares with all items.
        """
        assert self.bias is not None, "a table without dense scores"
        if drawn is None:
            return F.cross_entropy(F.linear(states, self.vectors(), self.bias).float(), targets, reduction="none")
        right = (states * self(targets)).sum(1) + self.bias[targets]
        others = F.linear(states, self(drawn), self.bias[drawn]).float()
        others = others + math.log(self.num_embeddings / len(drawn))
        others = others.masked_fill(targets[:, None] == drawn, float("-inf"))
        scores = torch.cat([right[:, None].float(), others], 1)
        return scores.logsumexp(1) - scores[:, 0]
