"""The diffusion over sets: EDM's preconditioning and samplers, without order among rows."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modit.fan_out.diffusion import (
    Denoiser,
    DenoiserConfig,
    RowRegression,
    RowRegressor,
    SetDenoising,
    denoise_by_torch,
    load_denoiser,
    loss_weight,
    noise_levels,
)
from modit.fan_out.params import RewardParams, SetDiffusionParams, SynthesisParams
from modit.fan_out.rewards import SetReward
from modit.fan_out.synthesis import SampledSets, shuffled
from modit.inference.fan_out import SetSampler
from modit.training.checkpoint import save_model

CONFIG = DenoiserConfig(dimension=8, rows=3, width=16, depth=1, heads=2)


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = Denoiser(CONFIG).eval()
    for parameter in model.parameters():  # fresh weights say nothing: AdaLN and the output start at zero
        torch.nn.init.normal_(parameter, std=0.2)
    return model


@pytest.fixture
def samples(policy, intents, space):
    reward = SetReward(RewardParams(pool_share=0.2), torch.from_numpy(space.items), policy.config.queries)
    return SampledSets.of(policy.eval(), intents, reward, SynthesisParams(samples=4), 0)


def sample_sets(model, conditions, params, guidance, seed=0):
    """Sets by the sampler that is served, of conditions in the place of texts."""

    class Space:
        dimension = CONFIG.dimension

        def tokens(self, texts, most):
            return conditions.tokens.numpy(), conditions.valid.numpy()

    levels = noise_levels(params, CONFIG.sigma_data)
    denoise = denoise_by_torch(model, guidance)
    sampler = SetSampler(denoise, Space(), CONFIG.rows, 1, levels, params.solver)
    return torch.from_numpy(sampler.sampled([""] * len(conditions), noise_of(len(conditions), seed)))


def noise_of(count, seed):
    return [np.random.default_rng([seed, number]) for number in range(count)]


def draw(seed):
    generator = torch.Generator().manual_seed(seed)
    return lambda shape: torch.randn(shape, generator=generator)


def test_the_denoiser_does_not_see_the_order_of_rows(model, intents):
    conditions = intents.conditions[slice(0, 4)]
    noisy, sigma = draw(0)((4, 3, 8)), torch.full((4,), 0.3)
    order = torch.tensor([2, 0, 1])
    assert torch.allclose(
        model(noisy, sigma, conditions.tokens, conditions.valid)[:, order],
        model(noisy[:, order], sigma, conditions.tokens, conditions.valid),
        atol=1e-5,
    )


def test_a_dropped_intent_is_not_seen_and_a_told_one_is(model, intents):
    first, other = intents.conditions[slice(0, 1)], intents.conditions[slice(4, 5)]
    noisy, sigma = draw(0)((1, 3, 8)), torch.full((1,), 0.3)
    for dropped, same in ((True, True), (False, False)):
        found = [model(noisy, sigma, each.tokens, each.valid & (not dropped)) for each in (first, other)]
        assert torch.allclose(*found, atol=1e-6) is same


def test_words_beyond_the_text_do_not_count(model, intents):
    conditions = intents.conditions[slice(0, 2)]
    tokens = conditions.tokens.clone()
    tokens[~conditions.valid] = 7.0
    noisy, sigma = draw(0)((2, 3, 8)), torch.full((2,), 0.3)
    expected = model(noisy, sigma, conditions.tokens, conditions.valid)
    assert torch.allclose(model(noisy, sigma, tokens, conditions.valid), expected, atol=1e-6)


@given(st.floats(0.001, 100))
def test_weight_and_output_scale_make_the_loss_of_a_silent_network_one(sigma):
    """Lambda(sigma) c_out^2 = 1: all noise levels count alike (EDM, table 1)."""
    data = CONFIG.sigma_data
    out = sigma * data / (sigma**2 + data**2) ** 0.5
    assert float(loss_weight(torch.tensor(sigma, dtype=torch.float64), data)) * out**2 == pytest.approx(1)


def test_almost_without_noise_the_denoiser_returns_its_input(model, intents):
    rows = torch.nn.functional.normalize(draw(1)((2, 3, 8)), dim=-1)
    conditions = intents.conditions[slice(0, 2)]
    found = model(rows, torch.full((2,), 1e-6), conditions.tokens, conditions.valid)
    assert torch.allclose(found, rows, atol=1e-4)


@pytest.mark.parametrize("steps", [1, 2, 16])
def test_noise_falls_from_the_greatest_to_the_least_and_to_nothing(steps):
    levels = noise_levels(SetDiffusionParams(sampler_steps=steps), 0.1)
    assert levels[0] == pytest.approx(2) and levels[-1] == 0 and len(levels) == steps + 1
    assert all(first > second for first, second in zip(levels, levels[1:], strict=False))


class Known(torch.nn.Module):
    """The exact denoiser of data that are one set, which every solver must find."""

    config = CONFIG

    def __init__(self, target):
        super().__init__()
        self.target, self.calls = target, 0

    def forward(self, noisy, sigma, tokens, valid):
        self.calls += 1
        return self.target.expand_as(noisy)


@pytest.mark.parametrize(("solver", "calls"), [("heun", 15), ("sde", 8)])
def test_a_solver_ends_at_the_data_in_its_number_of_calls(intents, solver, calls):
    target = torch.nn.functional.normalize(draw(2)((1, 3, 8)), dim=-1)
    model = Known(target)
    params = SetDiffusionParams(solver=solver, sampler_steps=8)
    found = sample_sets(model, intents.conditions[slice(0, 2)], params, 1.0)
    assert torch.allclose(found, target.expand(2, -1, -1), atol=1e-4) and model.calls == calls


@pytest.mark.parametrize("solver", ["heun", "sde"])
def test_samples_have_the_spread_of_the_data(intents, solver):
    """For data N(0, s^2) the exact denoiser is x s^2 / (s^2 + sigma^2)."""

    class Gaussian(torch.nn.Module):
        config = CONFIG

        def forward(self, noisy, sigma, tokens, valid):
            data = self.config.sigma_data**2
            return noisy * (data / (data + sigma[:, None, None] ** 2))

    conditions = intents.conditions[torch.zeros(500, dtype=torch.int64)]
    found = sample_sets(Gaussian(), conditions, SetDiffusionParams(solver=solver, sampler_steps=16), 1.0)
    assert torch.allclose(found.norm(dim=-1), torch.ones(500, 3), atol=1e-5)
    assert found.mean((0, 1)).abs().max() < 0.05
    assert float(found.var()) == pytest.approx(1 / 8, rel=0.05)


def test_guidance_of_one_is_the_plain_denoiser_and_more_goes_beyond_it(model, intents):
    conditions, params = intents.conditions[slice(0, 2)], SetDiffusionParams(sampler_steps=1)
    sigma, (tokens, valid) = torch.full((2,), 20 * CONFIG.sigma_data), (conditions.tokens, conditions.valid)
    drawn = np.stack([each.standard_normal((3, 8), np.float32) for each in noise_of(2, 0)])
    noise = sigma[:, None, None] * torch.from_numpy(drawn)
    with torch.no_grad():
        told, untold = model(noise, sigma, tokens, valid), model(noise, sigma, tokens, torch.zeros_like(valid))
    for guidance in (1.0, 2.0):
        expected = torch.nn.functional.normalize(untold + guidance * (told - untold), dim=-1)
        assert torch.allclose(sample_sets(model, conditions, params, guidance), expected, atol=1e-3)


def test_training_finds_the_rows_of_a_single_set(samples):
    torch.manual_seed(0)
    rows = samples.rows[:1, :1].expand(len(samples.conditions), 1, -1, -1)
    stage = SetDenoising("test", SampledSets(samples.conditions, rows, {}), SetDiffusionParams(), CONFIG)
    model = Denoiser(CONFIG)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for step in range(150):
        loss = stage.loss(model, stage.batch(torch.Generator().manual_seed(step), 16))[0].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = sample_sets(model.eval(), samples.conditions[slice(0, 8)], SetDiffusionParams(), 1.0)
    assert (found @ rows[0, 0].float().T).amax(-1).mean() > 0.9


def test_a_regressor_learns_the_mean_of_each_row(samples):
    torch.manual_seed(0)
    stage, model = RowRegression("test", samples, CONFIG), RowRegressor(CONFIG)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for step in range(60):
        losses.append(stage.loss(model, stage.batch(torch.Generator().manual_seed(step), 16))[0].mean())
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0] - 0.1


def test_a_saved_denoiser_samples_the_same(model, intents, tmp_path):
    save_model(tmp_path / "model.pt", model)
    conditions, params = intents.conditions[slice(0, 2)], SetDiffusionParams(sampler_steps=3)
    found = [sample_sets(each, conditions, params, 2.0) for each in (model, load_denoiser(tmp_path))]
    assert torch.equal(*found)


# What the diffusion learns from.


def test_shuffling_keeps_the_rows_of_each_set():
    rows = draw(0)((5, 4, 3))
    mixed = shuffled(rows, torch.Generator().manual_seed(0))
    assert torch.equal(mixed.sum(-1).sort(1).values, rows.sum(-1).sort(1).values) and not torch.equal(mixed, rows)


def test_the_filter_keeps_the_best_samples(policy, intents, space):
    reward = SetReward(RewardParams(pool_share=0.2), torch.from_numpy(space.items), policy.config.queries)
    found = SampledSets.of(policy.eval(), intents, reward, SynthesisParams(samples=4, kept=0.5), 0)
    assert found.rows.shape[1] == 2 and found.rewards["kept"] > found.rewards["all"]
    assert SampledSets.of(policy, intents, reward, SynthesisParams(samples=4), 0).rows.shape[1] == 4


def test_rows_of_content_are_items_of_the_catalogue(policy, intents, space):
    items = torch.from_numpy(space.items)
    reward = SetReward(RewardParams(), items, policy.config.queries)
    found = SampledSets.of(policy.eval(), intents, reward, SynthesisParams(samples=2, rows="content"), 0).rows.float()
    assert torch.allclose((found @ items.T).amax(-1), torch.ones(found.shape[:-1]), atol=1e-3)
