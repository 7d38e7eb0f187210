"""What is on disk is what was built, or is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from modit.core.errors import ArtifactError
from modit.index.item_index import ItemIndex
from modit.index.params import IndexParams


def _index(seed: int = 0, kind: str = "flat") -> ItemIndex:
    rng = np.random.default_rng(seed)
    embeddings = rng.standard_normal((600, 8)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    config = IndexParams(kind=kind, max_probe_share=1.0, calibration_k=5, recall_target=0.1, threads=1)
    return ItemIndex.build(embeddings, np.array([f"item-{row}" for row in range(600)]), config)


@pytest.mark.parametrize("kind", ["flat", "ivf", "ivf_sq8"])
def test_a_loaded_index_answers_as_the_saved_one(tmp_path: Path, kind: str) -> None:
    index = _index(kind=kind)
    index.save(tmp_path)
    loaded = ItemIndex.load(tmp_path, index.digest)
    queries = np.random.default_rng(1).standard_normal((30, 8)).astype(np.float32)
    before, after = index.search(queries, 7), loaded.search(queries, 7)
    assert np.array_equal(before.rows, after.rows) and np.array_equal(before.scores, after.scores)
    assert np.array_equal(index.item_ids, loaded.item_ids)
    assert (loaded.digest, loaded.meta) == (index.digest, index.meta)


def test_saving_twice_writes_the_same_bytes(tmp_path: Path) -> None:
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        _index().save(tmp_path / name)
        contents.append({path.name: path.read_bytes() for path in sorted((tmp_path / name).iterdir())})
    assert contents[0] == contents[1]


def test_another_index_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    _index().save(tmp_path)
    with pytest.raises(ArtifactError, match="pinned is " + "0" * 64):
        ItemIndex.load(tmp_path, "0" * 64)


@pytest.mark.parametrize("name", ["index.faiss", "item_ids.npy", "canaries.npy", "meta.json"])
@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_missing_or_truncated_file_is_refused_by_name(tmp_path: Path, name: str, damage: str) -> None:
    _index().save(tmp_path)
    path = tmp_path / name
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ArtifactError, match=name):
        ItemIndex.load(tmp_path)


def test_ids_in_another_order_are_refused(tmp_path: Path) -> None:
    _index().save(tmp_path)
    np.save(tmp_path / "item_ids.npy", np.load(tmp_path / "item_ids.npy")[::-1])
    with pytest.raises(ArtifactError, match="item_ids.npy"):
        ItemIndex.load(tmp_path)


def test_changed_search_settings_are_refused(tmp_path: Path) -> None:
    _index(kind="ivf").save(tmp_path)
    meta = json.loads((tmp_path / "meta.json").read_text())
    (tmp_path / "meta.json").write_text(json.dumps(meta | {"nprobe": meta["nprobe"] + 1}))
    with pytest.raises(ArtifactError, match="settings have digest"):
        ItemIndex.load(tmp_path)


def test_a_canary_with_another_answer_is_refused(tmp_path: Path) -> None:
    _index().save(tmp_path)
    table = np.load(tmp_path / "canaries.npy")
    table["scores"][3, 0] += 0.01
    np.save(tmp_path / "canaries.npy", table)
    with pytest.raises(ArtifactError, match="canary query 3"):
        ItemIndex.load(tmp_path)
