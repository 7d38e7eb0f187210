"""Which items to score next: spread over the catalogue at first, then where an attribute model is uncertain."""

from __future__ import annotations

import numpy as np
import pytest

from modit.data.catalog import NEGATIVE, NOT_SCORED, POSITIVE
from modit.data.vectors import unit
from modit.metric.score_next import items_to_score


@pytest.fixture
def clusters() -> tuple[np.ndarray, np.ndarray]:
    """Five clusters of very different sizes: embeddings [N, 16], and the cluster of each item [N]."""
    generator = np.random.default_rng(0)
    sizes = (600, 200, 60, 20, 5)
    centres = np.eye(16)[: len(sizes)]
    label = np.repeat(np.arange(len(sizes)), sizes)
    return unit(centres[label] + 0.05 * generator.standard_normal((len(label), 16))), label


def test_without_verdicts_each_cluster_is_seen_before_any_twice(clusters):
    embeddings, label = clusters
    rows = items_to_score(embeddings, np.full(len(label), NOT_SCORED, np.int8), 5, seed=0)
    assert sorted(label[rows]) == [0, 1, 2, 3, 4]


def test_where_some_are_scored_it_goes_where_none_is(clusters):
    embeddings, label = clusters
    verdicts = np.where(label < 3, NEGATIVE, NOT_SCORED).astype(np.int8)
    rows = items_to_score(embeddings, verdicts, 2, seed=0)
    assert sorted(label[rows]) == [3, 4]


def test_with_verdicts_of_both_kinds_the_uncertain_items_are_asked_for_more_often():
    generator = np.random.default_rng(1)
    embeddings = unit(generator.standard_normal((4_000, 8)))
    side = embeddings[:, 0]
    verdicts = np.full(4_000, NOT_SCORED, np.int8)
    verdicts[:400] = np.where(side[:400] > 0.1, POSITIVE, NEGATIVE)
    rows = items_to_score(embeddings, verdicts, 300, seed=0)
    assert np.abs(side[rows] - 0.1).mean() < 0.75 * np.abs(side[400:] - 0.1).mean()


@pytest.mark.parametrize("scored", [0, 8, 400])
def test_no_item_is_listed_twice_or_though_it_is_scored_and_the_same_seed_gives_the_same_list(scored):
    generator = np.random.default_rng(2)
    embeddings = unit(generator.standard_normal((500, 8)))
    verdicts = np.full(500, NOT_SCORED, np.int8)
    verdicts[:scored] = np.where(embeddings[:scored, 0] > 0, POSITIVE, NEGATIVE)
    rows = items_to_score(embeddings, verdicts, 60, seed=3)
    assert len(np.unique(rows)) == 60 and (verdicts[rows] == NOT_SCORED).all()
    assert (rows == items_to_score(embeddings, verdicts, 60, seed=3)).all()
    # From scored items on, "farthest first" leaves nothing to chance.
    assert (rows != items_to_score(embeddings, verdicts, 60, seed=4)).any() == (scored != 8)


def test_no_more_items_are_listed_than_there_are(clusters):
    embeddings, label = clusters
    verdicts = np.where(label < 4, NEGATIVE, NOT_SCORED).astype(np.int8)
    assert sorted(items_to_score(embeddings, verdicts, 100, seed=0)) == np.flatnonzero(label == 4).tolist()
