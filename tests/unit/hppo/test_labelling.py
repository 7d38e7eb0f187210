"""Labels are the same to the bit in however many parts they are made."""

from __future__ import annotations

import numpy as np
import pytest

from modit.core.memory import in_parts
from modit.data.vectors import unit
from modit.hppo.candidates import label_candidates
from modit.index.item_index import ItemIndex
from modit.index.params import IndexParams

ITEMS, CASES, POOL = 40_000, 9, 40


@pytest.mark.parametrize("parts", [2, 4, 100])
def test_labels_made_in_parts_are_those_made_at_once(parts):
    rng = np.random.default_rng(0)
    embeddings = unit(rng.standard_normal((ITEMS, 16)).astype(np.float32))
    index = ItemIndex.build(embeddings, np.arange(ITEMS).astype(str), IndexParams(kind="flat"))
    seeds = rng.integers(0, ITEMS, (CASES, 5)).astype(np.int32)
    views, patterns = rng.integers(0, 2, CASES), rng.integers(0, 3, CASES)
    world = (rng.random(ITEMS) < 0.3, rng.integers(0, 3, (2, ITEMS)), views, patterns, rng.random(ITEMS) < 0.8)

    def labels():
        candidates = unit(np.random.default_rng(1).standard_normal((CASES, POOL, 16)).astype(np.float32))
        return label_candidates(index, candidates, seeds, *world, 20)

    whole = labels()
    with in_parts(parts):
        other = labels()
    assert whole.joint.shape == (CASES, POOL) and whole.joint.std() > 0
    assert all(np.array_equal(one, two) for one, two in zip(whole, other, strict=True))
