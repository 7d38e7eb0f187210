"""The slow ways that the benchmarks time compute what the product computes."""

import pytest
import torch

from benchmarks.bench_packed import build_model, draw, draw_geometry, greatest_difference
from benchmarks.bench_sampling import recompute_queries
from modit.model.flow import normalize
from modit.model.sampler import sample_queries


@pytest.mark.parametrize("length", [2, 17])
def test_the_dense_pass_gives_the_velocities_of_the_packed_pass(length):
    model, (_, batch) = build_model(32, 2), draw(length, rows=3)
    batch["dropped"][0] = True
    assert greatest_difference(model, batch) < 1e-5


@torch.no_grad()
def test_recomputing_every_step_gives_the_queries_of_the_cached_sampler():
    model, generator = build_model(32, 2), torch.Generator().manual_seed(0)
    seeds, noise = torch.randn(3, 5, 64, generator=generator), torch.randn(3, 1, 64, generator=generator)
    lengths, geometry = torch.tensor([5, 1, 3]), draw_geometry(generator)
    inputs = (model, normalize(seeds), lengths, geometry, noise, torch.full((3, 1), 3.0), 4)
    assert (sample_queries(*inputs) - recompute_queries(*inputs)).abs().max() < 1e-5
