"""Choice of the kind, calibration, memory and determinism."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from modit.core.errors import ConfigError, ContractError, InsufficientDataError, MemoryBudgetError
from modit.index import IndexConfig, ItemIndex, estimate_memory
from modit.index.gpu import gpu_copy

DATA = Path(os.environ.get("MODIT_DATA", Path(__file__).parents[3] / "../shared/data"))


def _unclustered(count: int, dimension: int = 32) -> np.ndarray:
    return _normalised(np.random.default_rng(0).standard_normal((count, dimension)))


def _clustered(count: int, dimension: int = 32) -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((100, dimension))
    return _normalised(centres[rng.integers(0, 100, count)] + 0.3 * rng.standard_normal((count, dimension)))


def _normalised(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _build(embeddings: np.ndarray, **fields: object) -> ItemIndex:
    return ItemIndex.build(embeddings, np.arange(len(embeddings)).astype(str), IndexConfig(**{"threads": 1} | fields))


def test_calibration_reaches_the_target_on_clustered_data() -> None:
    embeddings = _clustered(12_000)
    index = _build(embeddings, kind="ivf", calibration_k=20, recall_target=0.95)
    assert index.kind == "ivf"
    assert 0.95 <= index.meta.recall <= 1
    queries = embeddings[::97]
    exact = _build(embeddings, kind="flat").search(queries, 20).rows
    found = index.search(queries, 20).rows
    recall = np.mean([len(np.intersect1d(a, b)) / 20 for a, b in zip(exact, found, strict=True)])
    assert recall >= 0.9


def test_unclustered_data_falls_back_to_exact_and_says_why() -> None:
    index = _build(_unclustered(12_000), kind="ivf", calibration_k=20, recall_target=0.99, max_probe_share=0.1)
    assert index.kind == "flat"
    assert "ivf gave way to flat: recall@20" in index.meta.reason
    assert "misses 0.99" in index.meta.reason


def test_a_fallback_that_does_not_fit_is_refused_with_both_reasons() -> None:
    embeddings = _unclustered(20_000, 128)
    need = estimate_memory("ivf_sq8", len(embeddings), 128, 128).total
    assert need < estimate_memory("flat", len(embeddings), 128).total
    with pytest.raises(MemoryBudgetError, match=r"gave way to flat.*kind flat over 20,000 items x 128 needs"):
        _build(embeddings, kind="ivf_sq8", nlist=128, max_probe_share=0.01, memory_budget_bytes=need)


@pytest.mark.parametrize("kind", ["flat", "ivf", "ivf_sq8", "ivf_pq"])
def test_same_input_gives_the_same_digest_and_other_input_another(kind: str) -> None:
    fields = {"kind": kind, "recall_target": 0.01, "calibration_k": 10, "max_probe_share": 1.0, "threads": 1}
    embeddings = _clustered(10_500, 8)
    first = _build(embeddings, **fields)
    assert first.kind == kind
    assert first.digest == _build(embeddings, **fields).digest
    assert first.digest != _build(embeddings[::-1], **fields).digest
    other_ids = ItemIndex.build(embeddings, np.arange(1, 10_501).astype(str), IndexConfig(**fields))
    assert first.digest != other_ids.digest


def test_auto_chooses_by_size() -> None:
    config = IndexConfig(flat_up_to=10, ivf_up_to=20)
    assert [config.kind_by_size(items) for items in (10, 11, 20, 21)] == ["flat", "ivf", "ivf", "ivf_sq8"]


def test_memory_over_budget_is_refused_with_numbers_and_what_would_fit() -> None:
    items, budget = 1_000_000, 634_217_728
    config = IndexConfig(kind="flat", memory_budget_bytes=budget)
    embeddings = np.broadcast_to(np.eye(1, 64, dtype=np.float32), (items, 64))
    with pytest.raises(MemoryBudgetError) as refusal:
        ItemIndex.build(embeddings, np.arange(items), config)
    message = str(refusal.value)
    assert f"{estimate_memory('flat', items, 64).total:,} bytes" in message
    assert f"allows {budget:,}" in message
    assert "ivf_pq (" in message and "ivf (" not in message


def test_the_number_of_items_said_to_fit_does_fit() -> None:
    config = IndexConfig(kind="flat", memory_budget_bytes=434_217_728)
    with pytest.raises(MemoryBudgetError, match="fits up to about 54,799 items"):
        _build(_unclustered(60_000, 64), **vars(config))
    assert estimate_memory("flat", 54_799, 64).total <= 434_217_728 < estimate_memory("flat", 54_800, 64).total


def test_too_few_items_for_a_product_quantiser_are_refused() -> None:
    with pytest.raises(InsufficientDataError, match="at least 9,984 items"):
        _build(_unclustered(500), kind="ivf_pq")


def test_a_gpu_that_is_not_there_is_refused_only_when_insisted_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("modit.index.gpu.faiss.StandardGpuResources", raising=False)
    index = _build(_unclustered(100), kind="flat")
    assert gpu_copy(index._content, "auto") is None
    with pytest.raises(ConfigError, match="use_gpu is True, but faiss .* without GPU"):
        gpu_copy(index._content, True)


@pytest.mark.parametrize(
    ("field", "value"), [("kind", "hnsw"), ("recall_target", 1.5), ("threads", 0), ("ivf_up_to", 1), ("seed", -1)]
)
def test_a_parameter_out_of_range_is_named(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"stage_index.{field} is {value!r}; allowed"):
        IndexConfig(**{field: value})


def test_embeddings_that_are_not_unit_and_ids_that_repeat_are_refused() -> None:
    embeddings = _unclustered(10)
    with pytest.raises(ContractError, match="not unique"):
        ItemIndex.build(embeddings, np.zeros(10, int), IndexConfig())
    embeddings[3] *= 2
    with pytest.raises(ContractError, match="row 3 has length"):
        _build(embeddings)


@pytest.mark.real_data
@pytest.mark.parametrize("catalogue", ["goodbooks", "retail", "spotify"])
def test_inverted_file_on_a_real_catalogue_meets_its_target_or_gives_way(catalogue: str) -> None:
    path = DATA / catalogue / "items.parquet"
    if not path.exists():
        pytest.skip(f"{path} is missing; set MODIT_DATA")
    table = pq.read_table(path, columns=["item_id", "embedding"])
    embeddings = np.stack(table["embedding"].to_numpy())
    item_ids = np.array(table["item_id"].to_pylist())
    exact = ItemIndex.build(embeddings, item_ids, IndexConfig())
    assert exact.kind == "flat"
    queries = embeddings[::101]
    nearest = exact.search(queries, 20)
    assert np.allclose(nearest.scores[:, 0], 1, atol=1e-4)
    index = ItemIndex.build(
        embeddings, item_ids, IndexConfig(kind="ivf", calibration_k=20, recall_target=0.9, threads=1)
    )
    found = index.search(queries, 20)
    recall = (found.scores >= nearest.scores[:, -1:] - 1e-5).mean()
    assert recall >= 0.85
    assert index.kind == "ivf" or "gave way" in index.meta.reason
