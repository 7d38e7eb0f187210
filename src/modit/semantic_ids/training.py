"""Supervised training of the decoder: every item of a session is predicted from those before it (teacher forcing)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from modit.core.errors import InsufficientDataError
from modit.data.catalog import Sequences
from modit.index.id_retrieval import session_tokens
from modit.index.item_codes import END, PAD, ItemCodes
from modit.semantic_ids.decoder import NO_BLOCK, Decoder, DecoderConfig
from modit.semantic_ids.params import RetrieverParams
from modit.training.loop import Batch


def new_decoder(codes: ItemCodes, params: RetrieverParams, seed: int, embeddings: np.ndarray | None = None) -> Decoder:
    """A decoder with fresh weights drawn from `seed`.

    Args:
        codes: IDs of all items.
        params: section `train_retriever`.
        seed: of the weights.
        embeddings: of the items float32 [N, D], which their own vectors follow; None for vectors that do not.
    """
    torch.manual_seed(seed)
    size = params.model_dump(include={"width", "depth", "heads", "mlp_ratio", "dropout", "session_items"})
    own = len(codes) if params.own_vectors else 0
    within = params.softmax == "trie"
    content = None if embeddings is None or not own else torch.from_numpy(np.asarray(embeddings))
    config = DecoderConfig(
        codes.vocabulary,
        **size,
        items=own,
        within_trie=within,
        node_vectors=within and own > 0,
        content=0 if content is None else content.shape[1],
        dense=own > 0 and params.dense,
    )
    model = Decoder(config, codes.trie)
    if model.items is not None and content is not None:
        model.items.follow(content)
    return model


class SessionPrediction:
    """Data and loss of the supervised stage. A row of a batch holds several sessions, which do not see each other."""

    def __init__(self, name: str, codes: ItemCodes, training: Sequences, params: RetrieverParams) -> None:
        """Keeps the sessions.

        Args:
            name: of the stage.
            codes: IDs of all items.
            training: sessions as rows of the catalogue; what is for validation and test is not among them.
            params: section `train_retriever`.

        Raises:
            InsufficientDataError: no session has an item.
        """
        kept = np.flatnonzero(np.diff(training.offsets) > 0)
        if not len(kept):
            raise InsufficientDataError("interactions: no training session has an item; a retriever needs at least one")
        self.name, self.codes, self.sessions = name, codes, [training[int(index)] for index in kept]
        self.session_items, self.item_tokens = params.session_items, len(codes) if params.own_vectors else 0
        self.drawn_items = params.dense_items if params.own_vectors and params.dense else 0
        self.row_tokens = max(params.row_tokens, 1 + params.session_items * codes.tokens.shape[1])
        lengths = [1 + int((codes.lengths[items[-params.session_items :]] + 1).sum()) for items in self.sessions]
        self.mean_tokens = float(np.mean(lengths))

    def batch(self, generator: torch.Generator, size: int) -> Batch:
        """Rows filled with drawn sessions; of a session that is too long, items in a row from a drawn place."""
        drawn = max(size, int(size * self.row_tokens / self.mean_tokens))
        chosen = torch.randint(len(self.sessions), (drawn,), generator=generator).tolist()
        starts = torch.rand(drawn, generator=generator).tolist()
        tokens = np.full((size, self.row_tokens), PAD, np.int64)
        blocks = np.full((size, self.row_tokens), NO_BLOCK, np.int64)
        positions = np.zeros((size, self.row_tokens), np.int64)
        nodes = np.zeros((size, self.row_tokens), np.int64)
        rows = np.zeros((size, self.row_tokens), np.int64)
        used, sessions = np.zeros(size, np.int64), np.zeros(size, np.int64)
        for index, start in zip(chosen, starts, strict=True):
            items = self.sessions[index]
            first = int(start * (max(0, len(items) - self.session_items) + 1))
            items = items[first : first + self.session_items]
            own = session_tokens(self.codes, items, self.item_tokens)
            room = np.flatnonzero(used + len(own) <= self.row_tokens)
            if not len(room):
                continue
            row = int(room[0])
            place = slice(int(used[row]), int(used[row]) + len(own))
            sessions[row] += 1
            tokens[row, place], blocks[row, place], positions[row, place] = own, sessions[row], np.arange(len(own))
            there = self.codes.tokens[items] != PAD
            nodes[row, place] = np.concatenate([[0], self.codes.nodes[items][there]])
            rows[row, place] = np.concatenate([[0], np.repeat(items, there.sum(1))])
            used[row] += len(own)
        found = {"tokens": tokens, "blocks": blocks, "positions": positions, "nodes": nodes, "items": rows}
        batch = {name: torch.from_numpy(values) for name, values in found.items()}
        if 0 < self.drawn_items < len(self.codes):
            shape = (size, -(-self.drawn_items // size))
            batch["drawn"] = torch.randint(len(self.codes), shape, generator=generator)
        return batch

    def loss(self, model: Decoder, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy of each row [b]: sum_t -log p(s_t | s_<t) over the tokens of its items, over how many items.

        Where items of one ID have vectors, -log p(item | ID, session) is part of it; where items have dense scores, so
        is -log p(item | session) by them, after each item of the session.
        """
        tokens, blocks = batch["tokens"], batch["blocks"]
        states = model(tokens, batch["positions"], blocks)
        targets = torch.where(tokens >= self.codes.vocabulary, END, tokens)[:, 1:]
        counted = (targets >= END) & (blocks[:, 1:] == blocks[:, :-1])
        nodes = batch["nodes"][:, 1:][counted]
        losses = -model.token_log_probabilities(states[:, :-1][counted], nodes, targets[counted])
        row = counted.nonzero()[:, 0]
        total = torch.zeros(len(tokens), device=losses.device).index_add(0, row, losses)
        ends = counted & (targets == END)
        if model.output is not None and model.item_vectors is not None:
            of_items = -model.output.item_log_probabilities(states[:, :-1][ends], batch["items"][:, 1:][ends])
            total = total.index_add(0, ends.nonzero()[:, 0], of_items)
        if model.config.dense and model.items is not None:
            starts = counted & (batch["nodes"][:, 1:] == 0)
            drawn = batch["drawn"].flatten() if "drawn" in batch else None
            dense = model.items.dense_losses(states[:, :-1][starts], batch["items"][:, 1:][starts], drawn)
            total = total.index_add(0, starts.nonzero()[:, 0], dense)
        return total / ends.sum(1).clamp_min(1), {}
