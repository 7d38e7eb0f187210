"""How crowded the prefix of an ID is, and when an ID ends there (SARQ: sa2crq, sections 2 and 3; arXiv 2602.23978)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

# Two sides of a threshold are told apart only beyond rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class PathTable:
    """How many items have each prefix.

    Attributes:
        sizes: codewords of each layer, L numbers; the largest that codes may come to have.
        keys: of each depth 1..L, the prefixes that occur, as ascending integers int64.
        counts: of each depth, the items of each of these prefixes int64.
        total: items that were counted.
        smoothing: alpha >= 0, added to the count of every codeword.
    """

    sizes: tuple[int, ...]
    keys: tuple[np.ndarray, ...]
    counts: tuple[np.ndarray, ...]
    total: int
    smoothing: float = 0.0

    @classmethod
    def of(cls, codes: np.ndarray, sizes: tuple[int, ...], smoothing: float = 0.0) -> PathTable:
        """Counts the prefixes of codes int32 [n, l], padded with -1; l may be below the number of layers."""
        keys, counts = [], []
        for depth in range(1, codes.shape[1] + 1):
            there = codes[codes[:, depth - 1] >= 0]
            found, count = np.unique(prefix_keys(there, sizes, depth), return_counts=True)
            keys.append(found)
            counts.append(count.astype(np.int64))
        return cls(sizes, tuple(keys), tuple(counts), len(codes), smoothing)

    def count(self, codes: np.ndarray, depth: int) -> np.ndarray:
        """Items of the table that have the first `depth` codes of each row [n, >= depth]: int64 [n]; 0 where none."""
        if depth == 0:
            return np.full(len(codes), self.total)
        keys, counts = self.keys[depth - 1], self.counts[depth - 1]
        if not len(keys):
            return np.zeros(len(codes), np.int64)
        wanted = prefix_keys(codes, self.sizes, depth)
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where(keys[place] == wanted, counts[place], 0)

    def self_information(self, codes: np.ndarray, depth: int) -> np.ndarray:
        """I(c_1..c_depth) = -log P(c_1) - sum_i log P(c_i | c_1..c_{i-1}) of each row, in nats; inf where never seen.

        P(c_i | prefix) = (count + alpha) / (count of the prefix + alpha M_i).
        """
        information = np.zeros(len(codes))
        above = self.count(codes, 0)
        for layer in range(1, depth + 1):
            here = self.count(codes, layer)
            top, bottom = here + self.smoothing, above + self.smoothing * self.sizes[layer - 1]
            with np.errstate(divide="ignore", invalid="ignore"):
                information += np.where(top > 0, np.log(bottom) - np.log(top), np.inf)
            above = here
        return information


def prefix_keys(codes: np.ndarray, sizes: tuple[int, ...], depth: int) -> np.ndarray:
    """The first `depth` codes of each row as one integer: int64 [n]."""
    key = np.zeros(len(codes), np.int64)
    for layer in range(depth):
        key = key * (sizes[layer] + 1) + codes[:, layer] + 1
    return key


class StopRule(Protocol):
    """Decides which items get a code of the next layer."""

    def continues(self, table: PathTable, codes: np.ndarray, depth: int) -> np.ndarray:
        """Bool [n]: whether items with these `depth` codes get one more."""
        ...


@dataclass(frozen=True)
class FixedDepth:
    """Every ID has all layers."""

    def continues(self, table: PathTable, codes: np.ndarray, depth: int) -> np.ndarray:
        """Always."""
        return np.ones(len(codes), bool)


@dataclass(frozen=True)
class RatioStop:
    """An ID ends after the first N layers or later as soon as at most a share tau of the items has its prefix.

    Attributes:
        ratio: tau, in [0, 1].
        full_layers: N, layers that every ID has.
    """

    ratio: float
    full_layers: int = 2

    def continues(self, table: PathTable, codes: np.ndarray, depth: int) -> np.ndarray:
        """count(prefix) / total > tau."""
        if depth < self.full_layers:
            return np.ones(len(codes), bool)
        return table.count(codes, depth) > self.ratio * table.total * (1 + _ROUNDING)


@dataclass(frozen=True)
class BudgetStop:
    """An ID gets layer l only while the self-information of its first l - 1 codes is below the budget B_l.

    The paper has "at most B_l" here and "at most tau: stop" for the ratio; they differ where the two are equal. Both
    stop there, so that a budget of -log(tau) is the ratio tau.

    Attributes:
        budgets: B_l for l = 2..L in nats; inf for a layer that every ID has.
    """

    budgets: tuple[float, ...]

    def continues(self, table: PathTable, codes: np.ndarray, depth: int) -> np.ndarray:
        """I(c_1..c_depth) < B_(depth + 1)."""
        budget = self.budgets[depth - 1]
        if np.isinf(budget):
            return np.ones(len(codes), bool)
        return table.self_information(codes, depth) < budget - _ROUNDING
