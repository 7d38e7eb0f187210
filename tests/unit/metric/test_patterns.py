import numpy as np
import pytest

from modit.core.errors import InsufficientDataError
from modit.data.catalog import NEGATIVE, NOT_SCORED
from modit.data.splits import TEST, TRAIN, VALIDATION
from modit.data.vectors import nearest_centroid, unit
from modit.metric.params import PatternParams
from modit.metric.patterns import (
    Patterns,
    build_patterns,
    build_views,
    hold_out_patterns,
    nearest_rows,
    shared_items,
)

CLUSTERS, MEMBERS, DIMENSION = 12, 40, 8


@pytest.fixture
def embeddings():
    rng = np.random.default_rng(0)
    centres = unit(rng.standard_normal((CLUSTERS, DIMENSION)))
    return unit((centres[:, None] + 0.1 * rng.standard_normal((CLUSTERS, MEMBERS, DIMENSION))).reshape(-1, DIMENSION))


@pytest.fixture
def item_ids(embeddings):
    return np.array([f"item-{row}" for row in range(len(embeddings))])


@pytest.fixture
def params():
    return PatternParams(
        positives_per_pattern=MEMBERS, minimum=4, maximum=CLUSTERS, minimum_positives=10, minimum_negatives=0
    )


def build(embeddings, item_ids, params, positive=None, seed=0):
    positive = np.ones(len(embeddings), bool) if positive is None else positive
    split = np.random.default_rng(1).choice([TRAIN, VALIDATION, TEST], len(embeddings)).astype(np.int8)
    return build_patterns(embeddings, item_ids, positive, split, params, seed)


def test_hold_out_does_not_depend_on_the_numbering_of_the_clusters(embeddings, item_ids, params):
    centroids = build(embeddings, item_ids, params).centroids
    eligible = np.ones(len(centroids), bool)
    plain = hold_out_patterns(embeddings, item_ids, centroids, eligible, params)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(centroids))
        permuted = hold_out_patterns(embeddings, item_ids, centroids[order], eligible, params)
        assert np.array_equal(permuted, plain[order])


def test_hold_outs_have_their_sizes_and_are_patterns_that_can_be_judged(embeddings, item_ids, params):
    centroids = build(embeddings, item_ids, params).centroids
    eligible = np.arange(len(centroids)) % 4 != 0
    split = hold_out_patterns(embeddings, item_ids, centroids, eligible, params)
    assert (split == TEST).sum() == max(2, round(len(centroids) / 6))
    assert (split == VALIDATION).sum() == 2
    assert eligible[split != TRAIN].all()


def test_every_item_has_the_pattern_of_its_nearest_centroid(embeddings, item_ids, params):
    patterns = build(embeddings, item_ids, params, positive=np.arange(len(embeddings)) % 2 == 0)
    distance = np.linalg.norm(embeddings[:, None] - patterns.centroids[None], axis=-1)
    assert np.array_equal(patterns.labels, distance.argmin(1))
    medoids = nearest_rows(embeddings, patterns.centroids)
    assert np.array_equal(medoids, (embeddings @ patterns.centroids.T).argmax(0))


def test_role_is_test_before_validation_before_train(embeddings, item_ids, params):
    patterns = build(embeddings, item_ids, params)
    of_pattern = patterns.pattern_split[patterns.labels]
    test = (of_pattern == TEST) | (patterns.item_split == TEST)
    train = (of_pattern == TRAIN) & (patterns.item_split == TRAIN)
    assert np.array_equal(patterns.role == TEST, test)
    assert np.array_equal(patterns.trainable, train)
    assert np.array_equal(patterns.visible_for_validation, ~test)
    assert test.any()
    assert train.any()
    assert (~test & ~train).any()


def test_same_seed_gives_the_same_patterns_and_they_come_back_from_disk(embeddings, item_ids, params, tmp_path):
    first, second = (build(embeddings, item_ids, params) for _ in range(2))
    first.save(tmp_path / "patterns.npz")
    loaded = Patterns.load(tmp_path / "patterns.npz")
    for name, value in vars(first).items():
        assert np.array_equal(value, getattr(second, name))
        assert np.array_equal(value, getattr(loaded, name))


def test_shared_items_are_test_in_no_domain_and_train_by_their_own_hash(embeddings, item_ids, params):
    rng = np.random.default_rng(2)
    domains = [build(embeddings, item_ids, params, positive=rng.random(len(embeddings)) < 0.6, seed=s) for s in (0, 1)]
    shared = shared_items(domains)
    assert shared.any()
    assert (domains[0].item_split[shared] == TRAIN).all()
    for patterns in domains:
        assert (patterns.role[shared] != TEST).all()


def test_views_cluster_the_trainable_positives_alone(embeddings, params):
    positive = np.arange(len(embeddings)) % 2 == 0
    trainable = np.arange(len(embeddings)) % 3 != 0
    moved = embeddings.copy()
    moved[~(positive & trainable)] *= -1
    plain, other = (build_views(x, positive, trainable, params, seed=0) for x in (embeddings, moved))
    assert plain.labels.shape == (params.views, len(embeddings))
    seen = positive & trainable
    assert np.array_equal(plain.labels[:, seen], other.labels[:, seen])
    assert (plain.labels.max(1) < plain.sizes).all()


def test_too_few_positives_are_refused_with_both_numbers(embeddings, item_ids, params):
    with pytest.raises(InsufficientDataError, match="30 positive items, at least 40 are needed for 4 patterns"):
        build(embeddings, item_ids, params, positive=np.arange(len(embeddings)) < 30)


def test_too_few_negatives_are_refused_with_both_numbers_and_items_that_are_not_scored_are_none(
    embeddings, item_ids, params
):
    wanted = params.model_copy(update={"minimum_negatives": 25})
    verdicts = np.ones(len(embeddings), np.int8)
    verdicts[:24], verdicts[24:60] = NEGATIVE, NOT_SCORED
    reason = "24 negative items beside 420 positive ones, at least 25 are needed .assign_patterns.minimum_negatives."
    with pytest.raises(InsufficientDataError, match=reason):
        build(embeddings, item_ids, wanted, verdicts)
    verdicts[24] = NEGATIVE
    assert len(build(embeddings, item_ids, wanted, verdicts).centroids) > 4


def test_too_few_patterns_that_can_be_judged_are_refused(embeddings, item_ids, params):
    hard = params.model_copy(update={"minimum_held_out": 6})
    with pytest.raises(InsufficientDataError, match="18 such patterns are needed to hold out 6 for test and 6"):
        build(embeddings, item_ids, hard)


def test_assignment_in_blocks_is_assignment_at_once(embeddings, item_ids, params, monkeypatch):
    centroids = build(embeddings, item_ids, params).centroids
    whole = nearest_centroid(embeddings, centroids), nearest_rows(embeddings, centroids)
    monkeypatch.setattr("modit.data.vectors.ROWS_AT_ONCE", 17)
    monkeypatch.setattr("modit.metric.patterns.ROWS_AT_ONCE", 17)
    assert np.array_equal(nearest_centroid(embeddings, centroids), whole[0])
    assert np.array_equal(nearest_rows(embeddings, centroids), whole[1])
