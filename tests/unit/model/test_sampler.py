import pytest
import torch

from modit.model.axes import case_axes
from modit.model.dit import query_visibility
from modit.model.flow import normalize, sample_noise
from modit.model.sampler import (
    Sampler,
    generate_queries,
    guided_velocity,
    guided_visibility,
    noise_companions,
    sort_seeds,
)
from tests.unit.conftest import draw_geometry

BATCH, COUNT, DIMENSION = 3, 6, 10


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def seeds():
    return normalize(draw(BATCH, COUNT, DIMENSION))


@pytest.fixture
def mask():
    return torch.arange(COUNT) < torch.tensor([[3], [6], [1]])


@pytest.fixture
def noise():
    return sample_noise((BATCH, DIMENSION), torch.Generator().manual_seed(5))


@pytest.fixture
def sampler(make_model):
    return Sampler(make_model(), draw_geometry(seed=4), steps=3, samples=2).eval()


@torch.no_grad()
def test_seed_order_and_length_of_seed_vectors_do_not_matter(sampler, seeds, mask, noise):
    order = torch.tensor([4, 1, 5, 0, 3, 2])
    plain = sampler(seeds, mask, noise, torch.tensor(2.0))
    assert torch.allclose(sampler(seeds[:, order], mask[:, order], noise, torch.tensor(2.0)), plain, atol=1e-5)
    assert torch.allclose(sampler(3 * seeds, mask, noise, torch.tensor(2.0)), plain, atol=1e-5)


@torch.no_grad()
def test_queries_are_unit_vectors_that_depend_on_seeds_noise_and_guidance(sampler, seeds, mask, noise):
    plain = sampler(seeds, mask, noise, torch.tensor(2.0))
    assert torch.allclose(plain.norm(dim=-1), torch.ones(BATCH), atol=1e-5)
    for other in (
        sampler(-seeds, mask, noise, torch.tensor(2.0)),
        sampler(seeds, mask, noise.roll(1, 0), torch.tensor(2.0)),
        sampler(seeds, mask, noise, torch.tensor(1.0)),
    ):
        assert not torch.allclose(other, plain, atol=1e-3)


@torch.no_grad()
def test_masked_seeds_are_never_read(sampler, seeds, mask, noise):
    garbage = torch.where(mask[..., None], seeds, draw(BATCH, COUNT, DIMENSION, seed=9))
    one, other = (sampler(x, mask, noise, torch.tensor(2.0)) for x in (seeds, garbage))
    assert torch.allclose(one, other, atol=1e-6)


@torch.no_grad()
def test_guidance_of_one_is_conditional_and_of_zero_unconditional(make_model, seeds):
    model, lengths = make_model(), torch.tensor([3, 6, 1])
    cache = model.encode(seeds, lengths, case_axes(seeds, lengths, draw_geometry(seed=4)))
    z, time = normalize(draw(BATCH, 2, DIMENSION, seed=6)), torch.full((1, 1), 0.5)
    for scale, unconditional in ((1.0, False), (0.0, True)):
        guided = guided_velocity(model, z, time, cache, guided_visibility(cache, 2), torch.full((BATCH, 2), scale))
        visibility = query_visibility(cache, 2, torch.full((BATCH, 2), unconditional))
        assert torch.allclose(guided, model.velocity(z, time, cache, visibility), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_fan_is_one_call_for_each_scale(sampler, seeds, mask, noise):
    scales = torch.tensor([1.0, 2.0, 3.0])
    fan = sampler.fan(seeds, mask, noise, scales.expand(BATCH, -1))
    for number, scale in enumerate(scales):
        assert torch.allclose(fan[:, number], sampler(seeds, mask, noise, scale), atol=1e-5)


def test_sorting_puts_valid_seeds_first_in_ascending_density(seeds, mask):
    direction = draw(DIMENSION, seed=4)
    ordered, lengths = sort_seeds(seeds, mask.flip(1), direction)
    assert lengths.tolist() == [3, 6, 1]
    for row, length in enumerate(lengths.tolist()):
        density = ordered[row, :length] @ direction
        assert (density.diff() >= 0).all()
        assert not ordered[row, length:].any()
        assert torch.allclose(density, (seeds[row][mask.flip(1)[row]] @ direction).sort()[0], atol=1e-6)


def test_sorting_commutes_with_rotation(seeds, mask):
    rotation, direction = torch.linalg.qr(draw(DIMENSION, DIMENSION, seed=7))[0], draw(DIMENSION, seed=4)
    plain, _ = sort_seeds(seeds, mask, direction)
    assert torch.allclose(sort_seeds(seeds @ rotation, mask, direction @ rotation)[0], plain @ rotation, atol=1e-6)


@pytest.mark.parametrize("tied", [torch.zeros(DIMENSION), torch.eye(DIMENSION)[0]], ids=["all", "in groups"])
def test_seeds_of_equal_density_are_ordered_by_their_content_whatever_order_they_come_in(seeds, mask, tied):
    seeds = torch.where(torch.arange(DIMENSION) == 0, 0.25, seeds)  # the first coordinate ties all of them
    seeds[:, ::2, 0] = 0.5
    expected, _ = sort_seeds(seeds, mask, tied)
    for seed in range(5):
        order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(sort_seeds(seeds[:, order], mask[:, order], tied)[0], expected)


@torch.no_grad()
def test_a_query_does_not_depend_on_the_order_of_seeds_that_all_have_one_density(make_model, seeds, mask, noise):
    geometry = draw_geometry(seed=4)._replace(density=torch.zeros(DIMENSION))
    sampler, order = Sampler(make_model(), geometry, steps=3, samples=2).eval(), torch.tensor([4, 1, 5, 0, 3, 2])
    plain = sampler(seeds, mask, noise, torch.tensor(2.0))
    assert torch.allclose(sampler(seeds[:, order], mask[:, order], noise, torch.tensor(2.0)), plain, atol=1e-5)


def test_companions_are_the_noise_its_reflection_and_distinct_shifts(noise):
    companions = noise_companions(noise, 4)
    assert torch.equal(companions[:, 0], noise)
    assert torch.equal(companions[:, 1], -noise)
    assert torch.equal(companions[:, 3], -companions[:, 2])
    assert torch.allclose(companions.norm(dim=-1), torch.ones(BATCH, 4), atol=1e-6)
    assert not torch.allclose(companions[:, 2], noise, atol=1e-3)


def test_query_of_a_case_does_not_depend_on_the_batch_it_is_in(sampler):
    embeddings = normalize(draw(20, DIMENSION, seed=3))
    rows = torch.tensor([[0, 1, 2, -1], [3, 4, -1, -1], [5, 6, 7, 8]])
    together = generate_queries(sampler, embeddings, rows, (1.0, 2.0), seed=1)
    apart = generate_queries(sampler, embeddings, rows, (1.0, 2.0), seed=1, batch=1)
    assert together.shape == (3, 2, DIMENSION)
    assert torch.allclose(together, apart, atol=1e-5)
