"""The policy's supervised start: sets of template queries, the intent with some words of an item added.

It stands for the zero-shot prompt of the paper's language model ("diverse but on the same topic, better by adding or
changing one to three words"). The items are those of the intent's own set, or near ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from modit.core.errors import InsufficientDataError
from modit.core.memory import at_once
from modit.data.merging import best_rows
from modit.data.text_space import TextSpace
from modit.data.vectors import unit
from modit.fan_out.intents import Conditions, IntentSets
from modit.fan_out.policy import END, FanOutPolicy
from modit.training.loop import Batch

# Bounds the memory: each of these is compared with the whole catalogue.
_ITEMS_AT_ONCE = 256
# Words of an item that the policy can write, and the chance of each.
Described = tuple[list[int], np.ndarray]


class TemplateSets:
    """Data and loss of the stage."""

    def __init__(
        self, name: str, intents: IntentSets, titles: Sequence[str], space: TextSpace, policy: FanOutPolicy, near: int
    ) -> None:
        """Finds the words of intents and items that the policy can write.

        Args:
            name: of the stage.
            intents: of training.
            titles: of all items.
            space: of the texts.
            policy: whose vocabulary and layout count; it is not changed.
            near: items near an item of a set that may stand for it.

        Raises:
            InsufficientDataError: the policy can write no word of any intent's items.
        """
        self.name, self.config, self.conditions = name, policy.config, intents.conditions
        token_of = policy.token_of
        tokens = lambda text: [token_of[place] for place in space.known(text) if place in token_of]  # noqa: E731
        self.intent_words = [set(tokens(text)) for text in intents.texts]
        of_sets = np.unique(items := intents.items.numpy())
        of_sets = of_sets[of_sets >= 0]
        places = _nearest(space.items, of_sets, near + 1)
        described = {item: tokens(titles[item]) for item in np.unique(places).tolist()}
        # a word is drawn by its cosine with the item
        weights = {item: self._weights(words, policy, space.items[item]) for item, words in described.items()}
        drawable = {item: (words, weights[item]) for item, words in described.items() if words}
        near_of = dict(zip(of_sets.tolist(), places.tolist(), strict=True))
        self.choices = [
            [[drawable[other] for other in near_of[item] if other in drawable] for item in row if item >= 0]
            for row in items.tolist()
        ]
        self.choices = [[choice for choice in row if choice] for row in self.choices]
        self.usable = [row for row, choices in enumerate(self.choices) if choices]
        if not self.usable:
            raise InsufficientDataError("items: the policy can write no word of the items of any training intent")

    @staticmethod
    def _weights(words: list[int], policy: FanOutPolicy, item: np.ndarray) -> np.ndarray:
        if not words:
            return np.empty(0)
        weights = np.maximum(unit(policy.vectors[words].numpy()) @ item, 0.01)
        return weights / weights.sum()

    def batch(self, generator: torch.Generator, size: int) -> Batch:
        """Conditions of `size` intents and an output for each, int64 [size, T]."""
        draw = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
        rows = draw.choice(self.usable, size)
        tokens = np.stack([self._output(row, draw) for row in rows.tolist()])
        chosen = self.conditions[torch.from_numpy(rows)]
        return chosen.as_batch() | {"output": torch.from_numpy(tokens)}

    def loss(self, model: FanOutPolicy, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean negative log-likelihood of an output's tokens [b]."""
        tokens = batch["output"]
        found = model.log_probabilities(Conditions.in_batch(batch), tokens)
        return -found.sum(-1) / model.written(tokens).sum(-1), {}

    def _output(self, row: int, draw: np.random.Generator) -> np.ndarray:
        """Queries about the items of a set, each item as often as another, in random order."""
        choices = self.choices[row]
        order = [choices[place % len(choices)] for place in draw.permutation(self.config.queries)]
        found = np.full((self.config.queries, self.config.words), END, np.int64)
        for query, options in zip(found, order, strict=True):
            # the item itself as often as all near ones together
            pick = 0 if draw.random() < 0.5 else int(draw.integers(len(options)))  # noqa: PLR2004 - half
            words = self._added(self.intent_words[row], options[pick], draw)
            query[: len(words)] = words
        return found.ravel()

    def _added(self, intent: set[int], described: Described, draw: np.random.Generator) -> list[int]:
        """One to W words of an item, other than the intent's unless it has no others."""
        words, weights = described
        new = np.array([word not in intent for word in words])
        weights = weights * new if new.any() else weights
        count = min(int((weights > 0).sum()), int(draw.integers(1, self.config.words + 1)))
        return [words[place] for place in draw.choice(len(words), count, replace=False, p=weights / weights.sum())]


def _nearest(items: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    """The items nearest to some of a catalogue's [N, d], each itself first, int64 [n, count]; fewer of fewer items."""
    found, size = [], at_once(_ITEMS_AT_ONCE)
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        cosines = items[part] @ items.T
        cosines[np.arange(len(part)), part] = np.inf  # even before equal ones
        found.append(best_rows(cosines, count))
    return np.concatenate(found)
