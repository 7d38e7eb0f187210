"""Training of the towers on judged queries: losses, SymmAligner, and the batches that they read."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from modit.core.errors import InsufficientDataError
from modit.data.catalog import Catalog
from modit.data.judged_queries import JudgedQueries, QueryPart
from modit.data.ngrams import bags, padded, words_of
from modit.data.text_space import TextSpace, known_vectors
from modit.towers.encoder import ReadTexts, TextTowers, TowersConfig
from modit.towers.params import TowersParams
from modit.training.loop import Batch

# What the step trains: plain towers, one tower for both sides, towers with SymmAligner.
KINDS = ("base", "siamese", "symmaligner")
# Words of a title that stand for a query.
_TITLE_WORDS = (2, 5)


def titles_of(catalog: Catalog) -> list[str]:
    """The titles of all items; towers read nothing else.

    Raises:
        InsufficientDataError: the catalogue has no titles, or an item has none with a letter or digit.
    """
    if catalog.titles is None:
        raise InsufficientDataError("items: no column title; search by text needs one")
    titles = catalog.titles.tolist()
    if empty := [item for item, title in zip(catalog.item_ids, titles, strict=True) if not words_of(title)]:
        raise InsufficientDataError(
            f"items, column title: {len(empty)} have no letter or digit, the first is that of {empty[0]}; search needs "
            "one of each item"
        )
    return titles


def new_towers(params: TowersParams, seed: int, siamese: bool = False, space: TextSpace | None = None) -> TextTowers:
    """Towers with fresh weights drawn from `seed`, over a text space or over n-grams alone."""
    torch.manual_seed(seed)
    size = params.model_dump(include={"buckets", "width", "hidden", "dimension", "dropout"})
    return TextTowers(TowersConfig(**size, siamese=siamese, space=space is not None), space)


def infonce(scores: Tensor, known: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of each row's own item among the items of the batch, [B].

    Args:
        scores: cosines of queries and items [B, C]; item b is the positive of query b.
        known: bool [B, C], items that are no negative of the query; the positive's own place does not matter.
        temperature: tau.
    """
    hidden = known & ~torch.eye(*scores.shape, dtype=torch.bool, device=scores.device)
    targets = torch.arange(len(scores), device=scores.device)
    return F.cross_entropy((scores / temperature).masked_fill(hidden, -torch.inf), targets, reduction="none")


def triplet(scores: Tensor, known: Tensor, margin: float) -> Tensor:
    """max(0, delta - S(Q, I+) + S(Q, I-)) with the hardest negative of the batch, [B] (SCI, L_original).

    The arguments are those of `infonce`, with the margin delta.
    """
    positive = scores.diagonal()
    hidden = known | torch.eye(*scores.shape, dtype=torch.bool, device=scores.device)
    hardest = scores.masked_fill(hidden, -torch.inf).amax(1)
    return F.relu(margin - positive + hardest)


class QueryItemPairs:
    """Data and loss of the stage: pairs of a query and a relevant item, each with a hard negative."""

    def __init__(
        self,
        name: str,
        judged: JudgedQueries,
        titles: Sequence[str],
        params: TowersParams,
        space: TextSpace | None = None,
    ) -> None:
        """Reads all texts.

        Args:
            name: of the stage.
            judged: of which only the training queries are read.
            titles: of all items.
            params: section `train_towers`.
            space: that lies below the towers; None where they read n-grams alone.

        Raises:
            InsufficientDataError: no training query has a relevant item.
        """
        self.name, self.params, self.space = name, params, space
        self.alignment = params.alignment
        self.titles = [words_of(title) for title in titles]
        self.items = self._read(self.titles)
        self.queries = self._read([words_of(text) for text in judged.texts])
        in_training = judged.split[judged.owners] == QueryPart.TRAIN.code
        positive = np.flatnonzero(in_training & (judged.relevance >= params.relevant_min))
        if not len(positive):
            raise InsufficientDataError(
                f"labels: no training query has an item of relevance {params.relevant_min:g} "
                "(train_towers.relevant_min) or more; training needs at least one"
            )
        self.pairs = np.stack([judged.owners[positive], judged.items[positive]], 1)
        negative = in_training & (judged.relevance < params.irrelevant_max)
        # of query q those from `negative_starts[q]` to before `negative_starts[q + 1]`
        self.negative_items = judged.items[negative]
        self.negative_starts = np.searchsorted(judged.owners[negative], np.arange(len(judged) + 1))

    def aligned(self, kind: str) -> QueryItemPairs:
        """The same data for one of `KINDS`: only symmaligner has the loss with swapped inputs."""
        stage = copy(self)
        stage.name, stage.alignment = f"{self.name}_{kind}", self.params.alignment if kind == "symmaligner" else 0.0
        return stage

    def batch(self, generator: torch.Generator, size: int) -> Batch:
        """Bags of `size` queries, of their positives and of a hard negative each, and which items these are.

        A query that has no item below `irrelevant_max` has a drawn item as its negative.
        """
        drawn = torch.rand((size, 4), generator=generator).numpy()
        of_titles = drawn[:, 0] < self.params.title_share
        chosen = self.pairs[(drawn[:, 1] * len(self.pairs)).astype(int)]
        items = np.where(of_titles, (drawn[:, 1] * len(self.titles)).astype(int), chosen[:, 1])
        hard = (drawn[:, 2] * len(self.titles)).astype(int)
        starts = self.negative_starts[chosen[:, 0]]
        counts = self.negative_starts[chosen[:, 0] + 1] - starts
        known = ~of_titles & (counts > 0)
        hard[known] = self.negative_items[(starts + (drawn[:, 2] * counts).astype(int))[known]]
        made = [self._words(self.titles[items[row]], drawn[row, 3], generator) for row in np.flatnonzero(of_titles)]
        (ngrams, known), (made_ngrams, made_known) = _rows(self.queries, chosen[:, 0]), self._read(made)
        for row, bag, vector in zip(np.flatnonzero(of_titles), made_ngrams, made_known, strict=True):
            ngrams[row], known[row] = bag, vector
        parts = {
            "queries": (ngrams, known),
            "positives": _rows(self.items, items),
            "negatives": _rows(self.items, hard),
        }
        read = {name: torch.from_numpy(padded(bag)) for name, (bag, _) in parts.items()}
        read |= {f"{name}_known": torch.from_numpy(vectors) for name, (_, vectors) in parts.items()}
        return read | {"positive_items": torch.from_numpy(items), "negative_items": torch.from_numpy(hard)}

    def loss(self, model: TextTowers, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """L_total = (1 - lambda) L + lambda L_swap of each row [b]; L_swap gives each tower the other's input."""
        plain = self._loss(model, batch, swapped=False)
        if not self.alignment:
            return plain, {}
        swapped = self._loss(model, batch, swapped=True)
        return (1 - self.alignment) * plain + self.alignment * swapped, {"plain": plain, "swapped": swapped}

    def _loss(self, model: TextTowers, batch: Batch, swapped: bool) -> Tensor:
        queries = model(_texts(batch, "queries"), "item" if swapped else "query")
        side = "query" if swapped else "item"
        items = torch.cat([model(_texts(batch, name), side) for name in ("positives", "negatives")])
        scores = (queries @ items.T).float()
        rows = torch.cat([batch["positive_items"], batch["negative_items"]])
        known = batch["positive_items"][:, None] == rows[None]
        if self.params.loss == "triplet":
            return triplet(scores, known, self.params.margin)
        return infonce(scores, known, self.params.temperature)

    def _read(self, texts: Sequence[Sequence[str]]) -> tuple[list[np.ndarray], np.ndarray]:
        """The n-grams of texts, and their vectors in the space [n, d]."""
        return bags(texts, self.params.buckets), known_vectors(texts, self.space, self.params.dimension)

    def _words(self, words: list[str], share: float, generator: torch.Generator) -> list[str]:
        """Some words of a title, in its order."""
        least, most = _TITLE_WORDS
        count = min(len(words), least + int(share * (most - least + 1)))
        chosen = torch.randperm(len(words), generator=generator)[:count].sort().values
        return [words[place] for place in chosen.tolist()]


def _rows(read: tuple[list[np.ndarray], np.ndarray], rows: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Some of the texts that were read."""
    return [read[0][row] for row in rows], read[1][rows]


def _texts(batch: Batch, name: str) -> ReadTexts:
    return ReadTexts(batch[name], batch[f"{name}_known"])
