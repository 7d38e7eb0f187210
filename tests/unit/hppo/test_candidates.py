import numpy as np
import pytest

from modit.data.vectors import unit
from modit.hppo import candidates
from modit.hppo.params import HPPOParams
from modit.model.readout import BLENDS


@pytest.fixture
def vectors():
    return unit(np.random.default_rng(0).standard_normal((40, 8)))


@pytest.fixture
def blends(vectors):
    mean, best, whitened = vectors[10:13], vectors[13:16], vectors[16:19]
    return unit(np.stack([mean, mean + best, best, mean + whitened, whitened, best + whitened], 1))


@pytest.fixture
def means(blends):
    return blends[:, [BLENDS.index(name) for name in ("mean", "best", "whitened")]]


@pytest.fixture
def directions(vectors):
    return vectors[20:22]


def test_static_candidates_are_unit_centroids_of_the_last_items(vectors):
    trajectories = np.arange(20).reshape(2, 10)
    found = candidates.static_candidates(vectors, trajectories, 4, (0.2, 0.5, 1.0))
    assert found.shape == (2, 3, 8)
    for number, count in enumerate((1, 2, 4)):
        assert np.allclose(found[1, number], unit(vectors[20 - count : 20].mean(0)), atol=1e-6)


def test_pool_holds_what_the_section_switches_on(vectors, blends, means, directions):
    static, fan = (vectors[: 3 * n].reshape(3, n, 8) for n in (2, 3))
    served = vectors[:3]
    params = HPPOParams(pull_steps=(0.4,), move_steps=(0.2,), axis_steps=(0.3, 0.6))
    expected = {
        "use_static": static,
        "use_policy": fan,
        "use_axes": candidates.axis_candidates(blends, directions, (0.3, 0.6)),
        "use_moves": candidates.move_candidates(served, means, directions, params),
    }
    for chosen in (*((name,) for name in expected), (), tuple(expected)):
        section = params.model_copy(update={name: name in chosen for name in expected})
        pool = candidates.build_pool(static, fan, served, blends, directions, section)
        wanted = [served[:, None], *(expected[name] for name in chosen)]
        assert np.array_equal(pool, np.concatenate(wanted, 1)), chosen


def test_axis_candidates_are_every_blend_with_every_step_along_every_direction(blends, directions):
    found = candidates.axis_candidates(blends, directions, (0.2, 0.5, 0.9))
    assert found.shape == (3, 6 * (1 + 2 * 3), 8)
    assert np.allclose(np.linalg.norm(found, axis=-1), 1, atol=1e-6)
    different = np.linalg.norm(found[:, :, None] - found[:, None], axis=-1) + 2 * np.eye(found.shape[1])
    assert different.min() > 1e-3


def test_axis_candidates_hold_the_means_themselves_and_steps_from_them(blends, directions):
    found = candidates.axis_candidates(blends, directions, (0.2, 0.5))
    assert np.allclose(found[:, 0], blends[:, BLENDS.index("mean")], atol=1e-6)
    for blend in blends.swapaxes(0, 1):
        for step in (0.0, 0.2, 0.5):
            for direction in directions:
                wanted = unit(blend + step * direction)
                assert np.linalg.norm(found - wanted[:, None], axis=-1).min(1).max() < 1e-6


def test_moves_are_unit_and_leave_out_the_one_that_moves_nothing(vectors, means, directions):
    params = HPPOParams(pull_steps=(0.4,), move_steps=(0.2, 0.5))
    served = vectors[:3]
    moves = candidates.move_candidates(served, means, directions, params)
    assert moves.shape == (3, (1 + 3) * (1 + 2 * 2) - 1, 8)
    assert np.allclose(np.linalg.norm(moves, axis=-1), 1, atol=1e-6)
    assert np.linalg.norm(moves - served[:, None], axis=-1).min() > 0.05


def test_moves_are_every_pull_with_every_step(vectors, means, directions):
    params = HPPOParams(pull_steps=(0.4, 0.8), move_steps=(0.2, 0.5))
    served = vectors[:3]
    moves = candidates.move_candidates(served, means, directions, params)
    pulled = [served, *(unit(served + pull * toward) for pull in (0.4, 0.8) for toward in means.swapaxes(0, 1))]
    steps = [np.zeros(8), *(step * direction for step in (0.2, 0.5) for direction in directions)]
    wanted = np.stack([unit(query + step) for query in pulled for step in steps], 1)
    assert np.allclose(moves, wanted[:, 1:], atol=1e-6)
