"""The output of a decoder within the trie of IDs: at each node, a softmax over the tokens that lead on from it.

A softmax over all tokens spends most of its training on which IDs there are, which the trie knows. Within the trie the
network learns only which of them comes next: a hierarchical softmax (Morin and Bengio 2005) whose tree is that of the
semantic IDs. A node may have a vector of its own beside that of its token, which all nodes with this token share: what
is common to a code is learnt once, and what is special about a branch can be learnt too.

Shape legend: n places, H width, V vocabulary, m children of all places.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from modit.index.item_codes import Trie


class TrieSoftmax(nn.Module):
    """The softmax over the children of a node.

    Attributes:
        vectors: of every node of the trie [nodes, H + 1], the last number is its bias; None without them. Those of the
            first level stay 0: there a token is a node.
        items: of every item alike [N, H + 1], which tell the items of one ID apart; None without them.
    """

    def __init__(self, trie: Trie, width: int, own_vectors: bool) -> None:
        super().__init__()
        self.vocabulary = trie.vocabulary
        for name, values in (
            ("first_child", trie.first_child),
            ("token", trie.token.astype("int64")),
            ("keys", trie.parent[1:] * trie.vocabulary + trie.token[1:]),
            ("item_offsets", trie.item_offsets),
            ("item_order", trie.items.astype("int64")),
            ("identifier_of", trie.identifier_of),
            ("log_shares", trie.log_shares),
        ):
            self.register_buffer(name, torch.from_numpy(values), persistent=False)
        self.first_child: Tensor
        self.token: Tensor
        self.keys: Tensor
        self.item_offsets: Tensor
        self.item_order: Tensor
        self.identifier_of: Tensor
        self.log_shares: Tensor
        self.vectors = nn.Embedding(len(trie), width + 1) if own_vectors else None
        self.items = nn.Embedding(len(trie.items), width + 1) if own_vectors else None
        if self.items is not None and trie.identifiers == len(trie.items):
            self.items.requires_grad_(False)  # no ID is shared

    def walk(self, tokens: Tensor) -> Tensor:
        """The node that each token leads on from, as `Trie.walk`: int64 [..., S] to the same; -1 outside the trie."""
        node, nodes = torch.zeros_like(tokens[..., 0]), []
        for column in tokens.unbind(-1):
            nodes.append(node)
            wanted = node * self.vocabulary + column
            place = torch.searchsorted(self.keys, wanted).clamp_max(len(self.keys) - 1)
            node = torch.where((node >= 0) & (self.keys[place] == wanted), place + 1, -1)
        return torch.stack(nodes, -1)

    def forward(self, states: Tensor, logits: Tensor, nodes: Tensor, tokens: Tensor) -> Tensor:
        """Log-probability of one token at each place [n]; 0 where no other leads on.

        Args:
            states: hidden states [n, H].
            logits: of all tokens [n, V].
            nodes: of the trie int64 [n], 0 or more.
            tokens: that lead on from them int64 [n].
        """
        counts = self.first_child[nodes + 1] - self.first_child[nodes]
        chosen = (counts > 1).nonzero()[:, 0]
        counts, first = counts[chosen], self.first_child[nodes[chosen]]
        owner = torch.repeat_interleave(torch.arange(len(chosen), device=nodes.device), counts)
        child = torch.arange(len(owner), device=nodes.device) + (first - counts.cumsum(0) + counts)[owner]
        scores = logits[chosen[owner], self.token[child]].float()
        if self.vectors is not None:
            deep = (first[owner] > 1).nonzero()[:, 0]  # the children of the root are the nodes from 1 on
            own = self.vectors(child[deep]).float()
            extra = (states[chosen[owner[deep]]] * own[:, :-1]).sum(1) + own[:, -1]
            scores = scores.index_add(0, deep, extra)
        wanted = (self.token[child] == tokens[chosen][owner]).nonzero()[:, 0]
        found = _log_softmax(scores, owner, len(chosen))[wanted]
        return scores.new_zeros(len(nodes)).index_copy(0, chosen[owner[wanted]], found)

    def item_log_probabilities(self, states: Tensor, rows: Tensor) -> Tensor:
        """The logarithm of P(item | ID, session) [n]: a softmax over the ID's items that starts from their log-shares.

        Args:
            states: that the END of the ID is predicted from [n, H].
            rows: of the catalogue int64 [n].
        """
        own = self.identifier_of[rows]
        first, counts = self.item_offsets[own], self.item_offsets[own + 1] - self.item_offsets[own]
        if self.items is None:
            return torch.zeros_like(states[:, 0])
        owner = torch.repeat_interleave(torch.arange(len(rows), device=rows.device), counts)
        places = torch.arange(len(owner), device=rows.device) + (first - counts.cumsum(0) + counts)[owner]
        item = self.item_order[places]
        vectors = self.items(item).float()
        scores = self.log_shares[places] + (states[owner] * vectors[:, :-1]).sum(1) + vectors[:, -1]
        wanted = (item == rows[owner]).nonzero()[:, 0]
        return _log_softmax(scores, owner, len(rows))[wanted]


def _log_softmax(scores: Tensor, owner: Tensor, count: int) -> Tensor:
    """Log-probabilities that sum to 1 for each owner: scores [m], owner int64 [m] of 0 to count - 1."""
    highest = scores.new_zeros(count).scatter_reduce(0, owner, scores, "amax", include_self=False).detach()
    total = scores.new_zeros(count).index_add(0, owner, (scores - highest[owner]).exp())
    return scores - (highest + total.log())[owner]
