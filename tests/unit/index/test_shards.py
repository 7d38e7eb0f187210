"""An index in several files answers as the one in a single file: same rows, same scores, same order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modit.core.errors import ArtifactError, MemoryBudgetError
from modit.index.item_index import ItemIndex
from modit.index.memory import estimate_memory, require_memory
from modit.index.params import IndexParams
from modit.index.parts import row_ranges

LOOSE = {"recall_target": 0.01, "calibration_k": 10, "max_probe_share": 1.0, "threads": 1}


def _build(embeddings: np.ndarray, **fields: object) -> ItemIndex:
    return ItemIndex.build(embeddings, np.arange(len(embeddings)).astype(str), IndexParams(**LOOSE | fields))


def _clustered(count: int, dimension: int = 8) -> np.ndarray:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((40, dimension))[rng.integers(0, 40, count)]
    vectors += 0.3 * rng.standard_normal((count, dimension))
    vectors[1::5] = vectors[::5][: len(vectors[1::5])]  # many of equal score, near and far by row
    vectors[-200:] = vectors[:200]
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _same(found, expected) -> bool:
    return np.array_equal(found.rows, expected.rows) and np.array_equal(found.scores, expected.scores)


@settings(max_examples=60, deadline=None)
@given(
    items=st.integers(1, 300),
    shards=st.integers(1, 12),
    queries=st.integers(1, 30),
    k=st.integers(1, 60),
    excluded=st.integers(0, 5),
    share=st.floats(0, 1) | st.none(),
    seed=st.integers(0, 10_000),
)
def test_exact_search_over_shards_equals_that_over_one(items, shards, queries, k, excluded, share, seed):
    rng = np.random.default_rng(seed)
    # Few directions: ties are many, also over the borders of shards. k is often more than a shard has.
    embeddings = np.eye(4, dtype=np.float32)[rng.integers(0, 4, items)] * rng.choice([-1, 1], (items, 1))
    wanted = rng.standard_normal((queries, 4)).astype(np.float32)
    allowed = None if share is None else rng.random(items) < share
    unwanted = rng.integers(-1, items, (queries, excluded))
    embeddings = embeddings.astype(np.float32)
    whole, parts = _build(embeddings, kind="flat"), _build(embeddings, kind="flat", shards=shards)
    assert parts.meta.shards == min(shards, items)
    assert _same(parts.search(wanted, k, allowed, unwanted), whole.search(wanted, k, allowed, unwanted))


@pytest.mark.parametrize("kind", ["flat", "ivf", "ivf_sq8"])
@pytest.mark.parametrize("shards", [3])
def test_every_kind_answers_as_one_file_does_also_when_it_was_saved(tmp_path: Path, kind: str, shards: int) -> None:
    embeddings, rng = _clustered(10_500), np.random.default_rng(1)
    whole, parts = _build(embeddings, kind=kind), _build(embeddings, kind=kind, shards=shards)
    assert (parts.kind, parts.meta.nprobe, parts.meta.recall) == (kind, whole.meta.nprobe, whole.meta.recall)
    parts.save(tmp_path)
    loaded = ItemIndex.load(tmp_path, parts.digest)
    assert len(list(tmp_path.glob("index*.faiss"))) == shards and loaded.meta == parts.meta
    allowed = rng.random(len(embeddings)) < 0.3
    for queries in (embeddings[:3], embeddings[::70] + np.float32(0.01)):
        for mask in (None, allowed):
            exclude = rng.integers(0, len(embeddings), (len(queries), 2))
            expected = whole.search(queries, 25, mask, exclude)
            assert _same(parts.search(queries, 25, mask, exclude), expected)
            assert _same(loaded.search(queries, 25, mask, exclude), expected)


def test_an_inverted_file_in_shards_that_misses_its_target_gives_way_to_exact_shards() -> None:
    vectors = np.random.default_rng(0).standard_normal((4_000, 32)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    fields = {"kind": "ivf", "calibration_k": 20, "recall_target": 0.99, "max_probe_share": 0.05}
    index = _build(vectors, **fields, shards=3)
    assert (index.kind, index.meta.shards) == ("flat", 3) and "gave way to flat" in index.meta.reason
    assert _same(index.search(vectors[:50], 10), _build(vectors, kind="flat").search(vectors[:50], 10))


@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_same_input_gives_the_same_digest_and_another_number_of_shards_another(kind: str) -> None:
    embeddings = _clustered(3_000)
    digests = [_build(embeddings, kind=kind, shards=shards).digest for shards in (1, 2, 2, 3)]
    assert digests[1] == digests[2] and len(set(digests)) == 3


@pytest.mark.parametrize("damage", ["missing", "truncated", "exchanged"])
def test_a_damaged_shard_is_refused(tmp_path: Path, damage: str) -> None:
    _build(_clustered(3_000), kind="flat", shards=3).save(tmp_path)
    first, second = tmp_path / "index-0000.faiss", tmp_path / "index-0001.faiss"
    if damage == "missing":
        second.unlink()
    elif damage == "truncated":
        second.write_bytes(second.read_bytes()[:-20])
    else:
        content = first.read_bytes(), second.read_bytes()
        first.unlink(), second.unlink()
        first.write_bytes(content[1]), second.write_bytes(content[0])
    with pytest.raises(ArtifactError, match="index-000"):
        ItemIndex.load(tmp_path)


def test_shards_need_less_memory_and_as_few_are_taken_as_fit_the_budget() -> None:
    need = [estimate_memory(kind, 4_000_000, 64, 8192, 8) for kind in ("flat", "ivf")]
    one = [estimate_memory(kind, 4_000_000, 64, 8192) for kind in ("flat", "ivf")]
    assert all(few < many for few, many in zip(need, one, strict=True))
    config = IndexParams(kind="flat", shards=0, memory_budget_bytes=estimate_memory("flat", 4_000_000, 64, 0, 8))
    assert require_memory("flat", 4_000_000, 64, config)[0] == 8
    assert (
        require_memory("flat", 4_000_000, 64, config.model_copy(update={"memory_budget_bytes": 0, "shards": 3}))[0] == 3
    )
    with pytest.raises(MemoryBudgetError, match="Would fit: .*flat in 8 shards"):
        require_memory("flat", 4_000_000, 64, config.model_copy(update={"shards": 1}))
    with pytest.raises(MemoryBudgetError, match="Would fit: no kind"):
        require_memory("flat", 4_000_000, 64, config.model_copy(update={"memory_budget_bytes": 1_000}))


@given(st.integers(0, 1000), st.integers(1, 50))
def test_ranges_of_rows_follow_each_other_and_are_even(items: int, parts: int) -> None:
    ranges = row_ranges(items, parts)
    assert [row for rows in ranges for row in rows] == list(range(items)) and len(ranges) == parts
    assert max(map(len, ranges)) - min(map(len, ranges)) <= 1
