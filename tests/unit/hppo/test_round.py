import numpy as np
import pytest
import torch

from modit.data.vectors import mean_of_rows, unit
from modit.hppo.round import RoundCases, RoundContext, best_scored, seed_means, step_directions
from modit.metric.predictor import DomainGeometry
from modit.model.axes import AXES, Geometry, case_axes
from tests.unit.conftest import DIMENSION, draw_geometry

SEEDS = np.array([[3, 1, 4, 15, 9, 2], [6, 5, 35, -1, -1, -1], [8, -1, -1, -1, -1, -1]], np.int32)


@pytest.fixture
def context():
    embeddings = unit(np.random.default_rng(0).standard_normal((40, DIMENSION)))
    geometry = DomainGeometry(*(part.numpy() for part in draw_geometry(seed=3)))
    everything = np.ones(40, bool)
    return RoundContext(
        embeddings,
        everything,
        everything,
        views=None,
        trajectories=None,
        geometry=geometry,
        index=None,
        k=5,
        validator=None,
        sampler=None,
        seeds=6,
        full_share=0.5,
    )


@pytest.fixture
def cases():
    none = np.zeros(len(SEEDS), np.int32)
    return RoundCases(SEEDS, SEEDS, none, none)


def test_means_of_the_pool_are_the_axes_that_the_model_reads(context, cases):
    means = seed_means(context, cases)
    seeds = torch.from_numpy(context.embeddings)[torch.from_numpy(SEEDS).long().clamp_min(0)]
    lengths = torch.from_numpy((SEEDS >= 0).sum(1))
    axes = case_axes(seeds, lengths, Geometry.of(context.geometry)).numpy()
    assert np.allclose(means.mean, axes[:, AXES.index("frame")], atol=1e-6)
    assert np.allclose(means.whitened, axes[:, AXES.index("whitened_frame")], atol=1e-5)


def test_best_mean_is_of_the_densest_third_of_the_seeds(context, cases):
    density = context.embeddings @ context.geometry.density
    expected = mean_of_rows(context.embeddings, best_scored(SEEDS, density, 1 / 3))
    assert np.allclose(seed_means(context, cases).best, expected, atol=1e-6)


def test_steps_go_along_density_attribute_and_their_middle(context):
    density, attribute, middle = step_directions(context)
    assert np.array_equal(density, context.geometry.density)
    assert np.array_equal(attribute, context.geometry.attribute)
    assert np.linalg.norm(middle) == pytest.approx(1, abs=1e-6)
    assert middle @ density == pytest.approx(middle @ attribute, abs=1e-6)
    assert middle @ density > 0
