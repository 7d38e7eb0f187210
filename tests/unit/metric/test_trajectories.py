import numpy as np
import pytest

from modit.data.splits import TEST, TRAIN, VALIDATION, Split
from modit.metric.cases import Cases, build_cases
from modit.metric.params import SequenceParams
from modit.metric.patterns import Patterns, PatternViews
from modit.metric.trajectories import Trajectories, build_trajectories, order_group, pattern_pool

ITEMS, PATTERNS = 1200, 8
PARAMS = SequenceParams(length=12, seeds=8, normal_share=0.25, sequences=60, minimum_case_seeds=4)


@pytest.fixture
def world():
    """Positives, trainable items, predicted density and two views, in no order."""
    rng = np.random.default_rng(0)
    labels = np.stack([rng.integers(0, PATTERNS, ITEMS), rng.integers(0, PATTERNS // 2, ITEMS)]).astype(np.int32)
    views = PatternViews(labels, np.array([PATTERNS, PATTERNS // 2]))
    return views, rng.random(ITEMS) < 0.5, rng.random(ITEMS) < 0.6, rng.random(ITEMS)


def build(world, order="ascending", params=PARAMS):
    return build_trajectories(*world, params, np.random.default_rng(1), order)


def test_trajectories_ascend_in_predicted_density(world):
    assert (np.diff(world[3][build(world).items], axis=1) >= 0).all()


def test_ablation_orders_are_descending_and_without_order(world):
    assert (np.diff(world[3][build(world, "descending").items], axis=1) <= 0).all()
    steps = np.diff(world[3][build(world, "random").items], axis=1)
    assert 0.4 < (steps > 0).mean() < 0.6


def test_trajectories_hold_trainable_items_of_one_pattern_once(world):
    views, _, trainable, _ = world
    found = build(world)
    assert found.items.shape[1] == PARAMS.length
    assert trainable[found.items].all()
    for items, view, pattern in zip(found.items, found.views, found.patterns, strict=True):
        assert len(np.unique(items)) == PARAMS.length
        assert (views.labels[view][items] == pattern).all()


def test_every_pattern_that_is_large_enough_has_its_trajectories(world):
    views, positive, trainable, _ = world
    found = build(world)
    assert len(found) == pytest.approx(PARAMS.sequences, abs=12)
    assert {(v, p) for v, size in enumerate(views.sizes) for p in range(size)} == set(
        zip(found.views.tolist(), found.patterns.tolist(), strict=True)
    )
    nothing = build_trajectories(views, positive, trainable & False, world[3], PARAMS, np.random.default_rng(1))
    assert len(nothing) == 0
    assert nothing.items.shape == (0, PARAMS.length)


def test_pool_has_all_positives_and_the_wanted_share_of_others():
    members, positive = np.arange(100, 200), np.arange(300) < 140
    pool = pattern_pool(members, positive, 0.2, np.random.default_rng(0))
    assert set(np.arange(100, 140)) <= set(pool)
    assert (~positive[pool]).mean() == pytest.approx(0.2)
    assert len(np.unique(pool)) == len(pool)
    assert set(pattern_pool(members, positive, 0.0, np.random.default_rng(0))) == set(range(100, 140))


def test_equal_density_is_ordered_by_row():
    group = np.array([5, 3, 9, 1])
    assert order_group(group, np.zeros(10), "ascending", np.random.default_rng(0)).tolist() == [1, 3, 5, 9]


def test_same_generator_gives_the_same_trajectories_and_they_come_back_from_disk(world, tmp_path):
    first, second = build(world), build(world)
    first.save(tmp_path / "own.npz")
    loaded = Trajectories.load(tmp_path / "own.npz")
    for other in (second, loaded):
        assert np.array_equal(first.items, other.items)
        assert np.array_equal(first.patterns, other.patterns)


@pytest.fixture
def patterns(world):
    rng = np.random.default_rng(3)
    item_split = rng.choice([TRAIN, VALIDATION, TEST], ITEMS).astype(np.int8)
    pattern_split = np.array([TEST, TEST, VALIDATION, VALIDATION] + [TRAIN] * (PATTERNS - 4), np.int8)
    return Patterns(np.zeros((PATTERNS, 2), np.float32), world[0].labels[0], pattern_split, item_split)


@pytest.mark.parametrize("split", Split)
def test_cases_hold_items_of_their_split_in_ascending_density(world, patterns, split):
    _, positive, _, density = world
    cases, skipped = build_cases(patterns, positive, density, split, 40, PARAMS, np.random.default_rng(0))
    assert len(cases) == 40
    assert skipped == []
    eligible = patterns.members_of(split)
    for seeds, tail, pattern in zip(cases.seeds, cases.tails, cases.patterns, strict=True):
        rows = np.concatenate([seeds[seeds >= 0], tail[tail >= 0]])
        assert eligible[rows].all()
        assert (patterns.labels[rows] == pattern).all()
        assert (np.diff(density[rows]) >= 0).all()
        assert len(np.unique(rows)) == len(rows)
    # Every pattern has as many cases as any other, give or take one.
    counts = np.unique(cases.patterns, return_counts=True)[1]
    assert counts.max() - counts.min() <= 1


def test_splits_share_no_case_item_between_validation_and_test(patterns):
    eligible = {split: patterns.members_of(split) for split in Split}
    for one in Split:
        for other in Split:
            assert one == other or not (eligible[one] & eligible[other]).any()
    for split in ("item_validation", "pattern_validation"):
        assert patterns.visible_for_validation[eligible[split]].all()
        assert not (eligible[split] & patterns.trainable).any()
    for split in ("item_holdout", "pattern_holdout"):
        assert (patterns.role[eligible[split]] == TEST).all()


def test_patterns_too_small_to_be_judged_are_named(world, patterns):
    _, positive, _, density = world
    small = patterns.labels == 5
    items = np.where(small & (np.cumsum(small) > 5), TRAIN, patterns.item_split).astype(np.int8)
    few = Patterns(patterns.centroids, patterns.labels, patterns.pattern_split, items)
    cases, skipped = build_cases(few, positive, density, "item_holdout", 40, PARAMS, np.random.default_rng(0))
    assert skipped == [5]
    assert 5 not in cases.patterns


def test_no_usable_pattern_gives_no_cases(world, patterns, tmp_path):
    empty = Patterns(patterns.centroids, patterns.labels, patterns.pattern_split, np.zeros_like(patterns.item_split))
    args = world[1], world[3], "item_holdout", 40, PARAMS, np.random.default_rng(0)
    cases, _ = build_cases(empty, *args)
    cases.save(tmp_path / "cases.npz")
    assert len(Cases.load(tmp_path / "cases.npz")) == 0
