"""A small catalogue: clustered unit vectors, and how often each item was used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from modit.data.hash_unit import hash_unit
from modit.data.vectors import unit
from modit.semantic_ids.params import TokenizerParams

ITEMS, CLUSTERS, DIMENSION = 400, 12, 16


@dataclass
class Items:
    vectors: np.ndarray
    counts: np.ndarray
    ties: np.ndarray


@pytest.fixture(scope="session")
def items() -> Items:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((CLUSTERS, DIMENSION))
    crowd = rng.choice(CLUSTERS, ITEMS, p=np.arange(1, CLUSTERS + 1) / np.arange(1, CLUSTERS + 1).sum())
    vectors = unit(centres[crowd] + 0.3 * rng.standard_normal((ITEMS, DIMENSION)))
    counts = rng.lognormal(1.0, 1.2, ITEMS).astype(np.int64)
    return Items(vectors, counts, hash_unit(map(str, range(ITEMS)), "ties"))


@pytest.fixture
def params_of():
    def make(method: str = "sa2crq", **values) -> TokenizerParams:
        return TokenizerParams(
            **{"method": method, "sizes": (8, 12, 16), "steps": 60, "hidden": 16, "latent": 8} | values
        )

    return make
