"""Intents as the networks read them, and the items that each asks for.

Shape legend: Q intents, P tokens of a condition (the whole text, then its words), d dimension, R items of the largest
set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from modit.core.errors import InsufficientDataError
from modit.data.judged_queries import JudgedQueries, QueryPart
from modit.data.text_space import TextSpace
from modit.training.loop import Batch

NO_ITEM = NO_WORD = -1


@dataclass(frozen=True, eq=False)
class Conditions:
    """Texts as tokens for a network.

    Attributes:
        tokens: unit vectors, the text's own and one for each of its known words, float32 [n, P, d]; zeros at padding.
        valid: bool [n, P], false at padding.
        sums: of the vectors of all known words of each text, float32 [n, d], which queries add words to.
        words: places in the text space of the words that have a token, int64 [n, P - 1], `NO_WORD` at padding.
    """

    tokens: Tensor
    valid: Tensor
    sums: Tensor
    words: Tensor

    @classmethod
    def of(cls, texts: Sequence[str], space: TextSpace, most: int) -> Conditions:
        """The conditions of texts.

        Args:
            texts: each with a letter or digit.
            space: their vectors.
            most: words that are read of each text, its first known ones.

        Raises:
            ContractError: a text has no letter or digit.
        """
        sums = np.zeros((len(texts), space.dimension), np.float32)
        words = np.full((len(texts), most), NO_WORD, np.int64)
        for row, text in enumerate(texts):
            known = space.known(text)
            sums[row], known = space.vectors[known].sum(0), known[:most]
            words[row, : len(known)] = known
        arrays = (*space.tokens(texts, most), sums, words)
        return cls(*map(torch.from_numpy, arrays))

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, rows: Tensor | slice) -> Conditions:
        return Conditions(self.tokens[rows], self.valid[rows], self.sums[rows], self.words[rows])

    def repeated(self, times: int) -> Conditions:
        """Each row `times` times, one after another."""
        return self[torch.arange(len(self), device=self.tokens.device).repeat_interleave(times)]

    def as_batch(self) -> Batch:
        """The fields by name, as batches of the training loop have them."""
        return {"tokens": self.tokens, "valid": self.valid, "sums": self.sums, "words": self.words}

    @classmethod
    def in_batch(cls, batch: Batch) -> Conditions:
        """The conditions in a batch that has what `as_batch` gave."""
        return cls(batch["tokens"], batch["valid"], batch["sums"], batch["words"])


@dataclass(frozen=True, eq=False)
class IntentSets:
    """Intents of one part with their items.

    Attributes:
        texts: of the intents [Q].
        conditions: of the intents.
        items: rows of the catalogue, int64 [Q, R], `NO_ITEM` at padding; each intent has at least one.
    """

    texts: list[str]
    conditions: Conditions
    items: Tensor

    @classmethod
    def of(
        cls, judged: JudgedQueries, part: QueryPart, space: TextSpace, relevant_min: float, prompt_words: int
    ) -> IntentSets:
        """The intents of a part that have an item of relevance `relevant_min` or more.

        Raises:
            InsufficientDataError: there is none.
        """
        found = [(query, items_of(judged, query, relevant_min)) for query in judged.of(part).tolist()]
        found = [(query, items) for query, items in found if len(items)]
        if not found:
            raise InsufficientDataError(
                f"labels: no {part} query has an item of relevance {relevant_min:g} or more "
                "(train_fan_out.relevant_min)"
            )
        texts = [str(judged.texts[query]) for query, _ in found]
        table = np.full((len(found), max(len(items) for _, items in found)), NO_ITEM, np.int64)
        for row, (_, items) in enumerate(found):
            table[row, : len(items)] = items
        return cls(texts, Conditions.of(texts, space, prompt_words), torch.from_numpy(table))

    def __len__(self) -> int:
        return len(self.texts)


def items_of(judged: JudgedQueries, query: int, relevant_min: float) -> np.ndarray:
    """The items that a query asks for, int64 [r]."""
    items, relevance = judged.labels(query)
    return items[relevance >= relevant_min].astype(np.int64)
