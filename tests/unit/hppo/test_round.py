import numpy as np
import pytest
import torch

from modit.data.vectors import unit
from modit.hppo.round import RoundCases, RoundContext, case_blends
from modit.metric.predictor import DomainGeometry
from modit.model.axes import AXES, Geometry, case_axes
from modit.model.readout import BLENDS, step_directions
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


def test_blends_of_the_pool_hold_the_axes_that_the_model_reads(context, cases):
    blends = case_blends(context, cases)
    seeds = torch.from_numpy(context.embeddings)[torch.from_numpy(SEEDS).long().clamp_min(0)]
    lengths = torch.from_numpy((SEEDS >= 0).sum(1))
    axes = case_axes(seeds, lengths, Geometry.of(context.geometry)).numpy()
    for blend, axis in (("mean", "frame"), ("whitened", "whitened_frame")):
        assert np.allclose(blends[:, BLENDS.index(blend)], axes[:, AXES.index(axis)], atol=1e-5)


def test_best_mean_is_of_the_densest_third_of_the_seeds_and_at_least_one(context, cases):
    density = context.embeddings @ context.geometry.density
    for row, found in zip(SEEDS, case_blends(context, cases)[:, BLENDS.index("best")], strict=True):
        seeds = row[row >= 0]
        densest = seeds[np.argsort(-density[seeds])][: max(1, round(len(seeds) / 3))]
        assert np.allclose(found, unit(context.embeddings[densest].mean(0)), atol=1e-6)


def test_steps_go_along_density_attribute_and_their_middle(context):
    density, attribute, middle = step_directions(Geometry.of(context.geometry)).numpy()
    assert np.array_equal(density, context.geometry.density)
    assert np.array_equal(attribute, context.geometry.attribute)
    assert np.linalg.norm(middle) == pytest.approx(1, abs=1e-6)
    assert middle @ density == pytest.approx(middle @ attribute, abs=1e-6)
    assert middle @ density > 0
