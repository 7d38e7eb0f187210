import numpy as np
import pytest

from modit.core.sections import HPPOParams
from modit.hppo import candidates
from modit.metric.vectors import unit


@pytest.fixture
def vectors():
    return unit(np.random.default_rng(0).standard_normal((40, 8)))


def test_static_candidates_are_unit_centroids_of_the_last_items(vectors):
    trajectories = np.arange(20).reshape(2, 10)
    found = candidates.static_candidates(vectors, trajectories, 4, (0.2, 0.5, 1.0))
    assert found.shape == (2, 3, 8)
    for number, count in enumerate((1, 2, 4)):
        assert np.allclose(found[1, number], unit(vectors[20 - count : 20].mean(0)), atol=1e-6)


def test_local_moves_are_unit_and_stay_in_the_span_of_query_and_axes(vectors):
    queries, axes = vectors[:3], vectors[3:9].reshape(3, 2, 8)
    moves = candidates.local_candidates(queries, axes, 0.3, 50, np.random.default_rng(1))
    assert np.allclose(np.linalg.norm(moves, axis=-1), 1, atol=1e-6)
    for row in range(3):
        basis = np.vstack([queries[row], axes[row]])
        outside = np.eye(8) - np.linalg.pinv(basis) @ basis
        assert np.abs(moves[row] @ outside).max() < 1e-5
    near = candidates.local_candidates(queries, axes, 0.03, 50, np.random.default_rng(1))
    assert np.linalg.norm(near - queries[:, None], axis=-1).mean() < 0.1


def test_pool_holds_what_the_section_switches_on(vectors):
    static, fan, moves = (vectors[: 3 * n].reshape(3, n, 8) for n in (2, 3, 4))
    sizes = {}
    for name in ("use_static", "use_policy", "use_moves"):
        params = HPPOParams(**{"use_static": False, "use_policy": False, "use_moves": False, name: True})
        pool = candidates.build_pool(static, fan, vectors[:3], moves, vectors[3], params)
        assert np.array_equal(pool[:, 0], vectors[:3])
        sizes[name] = pool.shape[1]
    assert sizes == {"use_static": 3, "use_policy": 4, "use_moves": 5}


def test_moves_are_unit_and_leave_out_the_one_that_moves_nothing(vectors):
    params = HPPOParams(pull_steps=(0.4,), density_steps=(0.2, 0.5))
    moves = candidates.move_candidates(vectors[:3], vectors[3:6], vectors[6:9], vectors[9], params)
    assert moves.shape == (3, 3 * 3 - 1, 8)
    assert np.allclose(np.linalg.norm(moves, axis=-1), 1, atol=1e-6)
    assert np.linalg.norm(moves - vectors[:3, None], axis=-1).min() > 0.05
    assert np.allclose(moves[:, 0], unit(vectors[:3] + 0.2 * vectors[9]), atol=1e-6)
