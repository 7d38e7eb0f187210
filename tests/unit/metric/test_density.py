import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from modit.data.catalog import NOT_SCORED, RETRIEVAL_LABEL_SCHEMA, Catalog, Sequences
from modit.data.vectors import mean_of_rows, unit
from modit.index.item_index import ItemIndex
from modit.index.params import IndexParams
from modit.metric.anchors import anchor_density, draw_anchors, label_anchors, logged_labels
from modit.metric.predictor import DensityPredictor, fit_predictor, validate_predictor

ITEMS, DIMENSION, K = 600, 6, 10


@pytest.fixture
def embeddings():
    return unit(np.random.default_rng(0).standard_normal((ITEMS, DIMENSION)))


@pytest.fixture
def catalog(embeddings):
    empty = Sequences(np.zeros(1, np.int64), np.zeros(0, np.int32))
    ids = np.array([f"item-{row}" for row in range(ITEMS)])
    return Catalog(ids, embeddings, {"rare": (embeddings[:, 0] > 0.5).astype(np.int8)}, None, empty)


@pytest.fixture
def index(catalog):
    return ItemIndex.build(catalog.embeddings, catalog.item_ids, IndexParams(kind="flat", threads=1))


def test_linear_density_is_recovered(embeddings, tmp_path):
    truth = np.array([0.3, -0.2, 0.1, 0.0, 0.05, -0.4], np.float32)
    predictor = fit_predictor(embeddings, embeddings @ truth + 0.25)
    assert np.allclose(predictor.direction, truth, atol=1e-3)
    assert predictor.offset == pytest.approx(0.25, abs=1e-3)
    predictor.save(tmp_path / "predictor.npz")
    loaded = DensityPredictor.load(tmp_path / "predictor.npz")
    assert np.array_equal(loaded.predict(embeddings), predictor.predict(embeddings))


def test_validation_tells_signal_from_noise(embeddings):
    rng = np.random.default_rng(1)
    groups = {"item-hash": rng.integers(0, 5, ITEMS)}
    signal = np.clip(0.5 + 0.5 * embeddings[:, 0] + 0.05 * rng.standard_normal(ITEMS), 0, 1)
    good, bad = (validate_predictor(embeddings, density, groups)[0] for density in (signal, rng.permutation(signal)))
    assert good["auc_20_80"] > 0.98
    assert good["spearman"] > 0.9
    assert good["lift"] > 2
    assert 0.35 < bad["auc_20_80"] < 0.65


def test_anchors_and_their_results_never_hold_a_held_out_id(catalog, index):
    trainable = np.random.default_rng(2).random(ITEMS) < 0.5
    anchors = draw_anchors(trainable, logged=np.zeros(0, int), count=100, seed=0)
    labels = label_anchors(catalog, index, "rare", trainable, anchors, K)
    anchor, item = labels["anchor"].to_numpy(), labels["item"].to_numpy()
    assert trainable[anchor].all() and trainable[item].all()
    assert len(set(anchor)) == 100
    assert (anchor != item).all()


def test_density_of_an_anchor_is_the_share_of_positives_among_its_neighbours(catalog, index):
    everything = np.ones(ITEMS, bool)
    labels = label_anchors(catalog, index, "rare", everything, np.arange(ITEMS), K)
    rows, density = anchor_density(labels)
    assert np.array_equal(rows, np.arange(ITEMS))
    scores = catalog.embeddings @ catalog.embeddings.T
    np.fill_diagonal(scores, -np.inf)
    nearest = np.argsort(-scores, 1)[:, :K]
    assert np.allclose(density, catalog.positive("rare")[nearest].mean(1))


def test_results_that_are_not_scored_have_no_label_and_a_list_of_them_gives_no_density(catalog, index):
    verdicts = catalog.verdicts["rare"].copy()
    nearest = index.search(catalog.embeddings[[0]], K, exclude=np.array([[0]])).rows[0]
    verdicts[nearest] = NOT_SCORED
    verdicts[1::2] = NOT_SCORED
    half = replace(catalog, verdicts={"rare": verdicts})
    everything = np.ones(ITEMS, bool)
    labels = label_anchors(half, index, "rare", everything, np.arange(50), K)
    assert (verdicts[labels["item"].to_numpy()] != NOT_SCORED).all()
    rows, density = anchor_density(labels)
    assert 0 not in rows and len(rows) > 40
    lists = index.search(catalog.embeddings[rows], K, exclude=rows[:, None]).rows
    expected = [verdicts[found][verdicts[found] != NOT_SCORED].mean() for found in lists]
    assert np.allclose(density, expected)


def test_anchors_are_drawn_among_trainable_rows_that_the_logs_say_nothing_of():
    trainable = np.arange(ITEMS) % 2 == 0
    drawn = draw_anchors(trainable, np.array([0, 2, 4]), count=50, seed=0)
    assert len(set(drawn)) == 47
    assert trainable[drawn].all() and not np.isin(drawn, [0, 2, 4]).any()
    assert len(draw_anchors(trainable, np.arange(0, ITEMS, 2), count=50, seed=0)) == 0


def logs_of(catalog: Catalog, requests: dict[str, tuple[int, list[int]]]) -> pa.Table:
    """Lists of a production index: request -> anchor and results, as rows of the catalogue."""
    return pa.Table.from_pylist(
        [
            {
                "request_id": request,
                "timestamp": None,
                "domain": "rare" if request != "other" else "common",
                "anchor": anchor,
                "rank": rank,
                "item": item,
                "label": bool(catalog.positive("rare")[item]),
            }
            for request, (anchor, items) in requests.items()
            for rank, item in enumerate(items, 1)
        ],
        RETRIEVAL_LABEL_SCHEMA,
    )


def test_labels_of_the_logs_are_the_first_k_trainable_results_of_trainable_anchors(catalog):
    trainable = np.arange(ITEMS) % 3 > 0
    requests = {
        "b": (1, [1, *range(100, 150)]),  # the anchor itself is no result
        "a": (3, list(range(100, 150))),  # a held-out anchor
        "c": (2, list(range(300, 306))),  # four trainable results: fewer than half of K
        "other": (4, list(range(100, 150))),  # another domain
        "d": (5, list(range(200, 208))),
    }
    labels = logged_labels(logs_of(catalog, requests), "rare", trainable, K)
    found = {row["anchor"]: [] for row in labels.to_pylist()}
    for row in labels.to_pylist():
        assert row["logged"]
        found[row["anchor"]].append((row["rank"], row["item"], row["label"]))
    positive = catalog.positive("rare")
    expected = {1: [row for row in range(100, 150) if row % 3][:K], 5: [200, 202, 203, 205, 206]}
    assert found == {
        anchor: [(rank, item, bool(positive[item])) for rank, item in enumerate(items, 1)]
        for anchor, items in expected.items()
    }
    rows, density = anchor_density(labels)
    assert rows.tolist() == [1, 5]
    assert np.allclose(density, [positive[expected[anchor]].mean() for anchor in (1, 5)])


def test_logs_with_every_item_held_out_say_nothing(catalog):
    logs = logs_of(catalog, {"a": (1, list(range(20, 40)))})
    labels = logged_labels(logs, "rare", np.zeros(ITEMS, bool), K)
    assert len(labels) == 0
    assert [len(part) for part in anchor_density(labels)] == [0, 0]


def test_means_of_padded_rows_skip_the_padding(embeddings):
    found = mean_of_rows(embeddings, np.array([[1, 2, -1], [3, -1, -1]]))
    assert np.allclose(found[0], unit(embeddings[[1, 2]].mean(0)), atol=1e-6)
    assert np.allclose(found[1], embeddings[3], atol=1e-6)


def test_steps_that_only_read_what_was_fitted_import_no_scikit_learn():
    """It costs each of their processes more than a second."""
    steps = ", ".join(f"components.{name}.run" for name in ("finetune", "hppo_round", "export_sampler", "evaluate"))
    code = f"import sys, {steps}; sys.exit('sklearn' in sys.modules or 'scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).resolve().parents[3]).returncode == 0
