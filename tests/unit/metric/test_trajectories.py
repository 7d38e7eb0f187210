import numpy as np
import pytest

from modit.data.splits import TEST, TRAIN, VALIDATION, Split
from modit.metric.cases import Cases, build_cases
from modit.metric.params import SequenceParams
from modit.metric.patterns import Patterns, PatternViews
from modit.metric.trajectories import (
    Trajectories,
    build_trajectories,
    density_ranks,
    order_group,
    pattern_pool,
    pattern_sequences,
)

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


def test_equal_density_is_ordered_by_id_wherever_the_item_stands_in_the_catalogue():
    ids, density = np.array(["d", "b", "c", "a", "f", "e"]), np.array([0.5, 0.5, 0.1, 0.5, 0.1, 0.9], np.float32)
    ranks = density_ranks(density, ids)
    assert ids[np.argsort(ranks)].tolist() == ["c", "f", "a", "b", "d", "e"]
    group = np.array([0, 1, 3])
    assert ids[order_group(group, ranks, "ascending", np.random.default_rng(0))].tolist() == ["a", "b", "d"]
    places = np.random.default_rng(0).permutation(len(ids))
    moved = density_ranks(density[places], ids[places])
    assert ids[places][np.argsort(moved)].tolist() == ["c", "f", "a", "b", "d", "e"]


def test_sequences_without_interactions_are_of_allowed_items_of_one_training_pattern_each():
    rng = np.random.default_rng(0)
    domains = []
    for _ in range(2):
        pattern_split = np.array([TEST, TEST, VALIDATION, VALIDATION] + [TRAIN] * (PATTERNS - 4), np.int8)
        labels = rng.integers(0, PATTERNS, ITEMS).astype(np.int32)
        domains.append(Patterns(np.zeros((PATTERNS, 2), np.float32), labels, pattern_split, np.zeros(ITEMS, np.int8)))
    allowed = rng.random(ITEMS) < 0.6
    found = pattern_sequences(domains, allowed, 12, 200, np.random.default_rng(1))
    assert found.shape == (len(found), 12) and 190 <= len(found) <= 210
    for items in found:
        assert allowed[items].all() and len(np.unique(items)) == 12
        own = [each.labels[items[0]] for each in domains if (each.labels[items] == each.labels[items[0]]).all()]
        assert any(pattern >= 4 for pattern in own), "a sequence is of one training pattern of one domain"
    again = pattern_sequences(domains, allowed, 12, 200, np.random.default_rng(1))
    assert np.array_equal(found, again)
    assert len(pattern_sequences(domains, allowed & False, 12, 200, np.random.default_rng(1))) == 0


def test_patterns_with_fewer_items_than_a_sequence_give_short_ones_padded_at_the_end():
    few = Patterns(np.zeros((1, 2), np.float32), np.zeros(5, np.int32), np.zeros(1, np.int8), np.zeros(5, np.int8))
    found = pattern_sequences([few], np.ones(5, bool), 8, 3, np.random.default_rng(0))
    assert [sorted(items) for items in found.tolist()] == [[-1, -1, -1, 0, 1, 2, 3, 4]] * 3
    assert (found[:, 5:] == -1).all()


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
    scored = np.random.default_rng(4).random(ITEMS) < 0.9
    cases, skipped = build_cases(patterns, positive, scored, density, split, 40, PARAMS, np.random.default_rng(0))
    assert len(cases) == 40
    assert skipped == []
    eligible = patterns.members_of(split) & scored
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
    cases, skipped = build_cases(
        few, positive, np.ones(ITEMS, bool), density, "item_holdout", 40, PARAMS, np.random.default_rng(0)
    )
    assert skipped == [5]
    assert 5 not in cases.patterns


def test_no_usable_pattern_gives_no_cases(world, patterns, tmp_path):
    empty = Patterns(patterns.centroids, patterns.labels, patterns.pattern_split, np.zeros_like(patterns.item_split))
    args = world[1], np.ones(ITEMS, bool), world[3], "item_holdout", 40, PARAMS, np.random.default_rng(0)
    cases, _ = build_cases(empty, *args)
    cases.save(tmp_path / "cases.npz")
    assert len(Cases.load(tmp_path / "cases.npz")) == 0
