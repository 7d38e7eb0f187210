"""The preference objective: signs, shared draws, and a reference that never moves."""

import copy
import dataclasses
import math

import pytest
import torch

from modit.hppo.params import HPPOParams
from modit.hppo.preferences import PairData, PreferenceStage
from modit.model.axes import case_axes
from modit.model.dit import DiTConfig, MODiT
from modit.model.flow import normalize
from modit.training.loop import step_generator
from tests.unit.conftest import draw_geometry

DIMENSION, CASES, PAIRS = 10, 4, 6


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def data():
    vectors = normalize(draw(3, PAIRS, DIMENSION, seed=1))
    seeds = normalize(draw(CASES, 5, DIMENSION))
    return PairData(seeds, torch.tensor([5, 3, 1, 4]), torch.arange(PAIRS) % CASES, *vectors)


@pytest.fixture
def stage_of(data, make_model):
    def build(**values):
        params = HPPOParams(**{"batch": 8, "draws": 3} | values)
        return PreferenceStage("hppo_1", data, make_model(1), params, draw_geometry(DIMENSION, 2))

    return build


def batch_of(stage, step=0):
    return stage.batch(step_generator(0, stage.name, step), 8)


def test_policy_that_is_the_reference_pays_log_two_on_every_pair(stage_of, make_model):
    stage = stage_of(anchor_weight=0.0)
    loss, figures = stage.loss(make_model(1), batch_of(stage))
    assert torch.allclose(loss, torch.full((8,), math.log(2)), atol=1e-6)
    assert torch.equal(figures["absolute_logit"], torch.zeros(8))


def test_loss_is_that_of_the_equations(stage_of, make_model):
    stage = stage_of(beta=0.2, anchor_weight=0.5)
    batch, policy = batch_of(stage), make_model(2)
    with torch.no_grad():
        winner, loser, anchor = stage.scores(policy, batch).unbind(1)
        reference_winner, reference_loser, _ = stage.scores(stage.reference, batch).unbind(1)
    # beta [s(w) - s(l) - s_ref(w) + s_ref(l)] with s = -L_FM
    logit = 0.2 * (-winner + loser + reference_winner - reference_loser)
    loss, figures = stage.loss(policy, batch)
    assert torch.allclose(loss, torch.log1p(torch.exp(-logit)) + 0.5 * anchor, atol=1e-4)
    assert torch.equal(figures["accuracy"], (logit > 0).float())


def test_the_winner_is_the_anchor_where_no_other_is_given(stage_of, make_model, data):
    stage = stage_of(anchor_weight=0.5)
    stage.data = dataclasses.replace(data, anchors=None)
    batch = batch_of(stage)
    assert batch["targets"].shape[1] == 2
    policy = make_model(2)
    loss, figures = stage.loss(policy, batch)
    assert torch.equal(figures["anchor"], stage.scores(policy, batch)[:, 0])
    assert torch.allclose(loss, figures["preference"] + 0.5 * figures["anchor"])


def test_winner_loser_and_anchor_share_their_draws(stage_of, make_model, data):
    stage = stage_of()
    batch = batch_of(stage)
    same_target = batch | {"targets": batch["targets"][:, :1].expand(-1, 3, -1)}
    scores = stage.scores(make_model(2), same_target)
    assert torch.allclose(scores, scores[:, :1].expand(-1, 3), atol=1e-4)
    assert not torch.allclose(scores[0], scores[1], atol=1e-3)


def test_gradient_steps_prefer_winners_and_leave_the_reference_alone(stage_of):
    stage = stage_of(anchor_weight=0.0, beta=0.5, rotate=0.0)
    torch.manual_seed(0)
    stage.reference = MODiT(DiTConfig(DIMENSION, width=16, depth=1, heads=2)).requires_grad_(False)
    before = {name: value.clone() for name, value in stage.reference.state_dict().items()}
    policy = copy.deepcopy(stage.reference).requires_grad_(True)
    optimizer = torch.optim.Adam(policy.parameters(), 3e-3)
    for step in range(80):
        optimizer.zero_grad()
        stage.loss(policy, batch_of(stage, step))[0].mean().backward()
        optimizer.step()
    loss, figures = stage.loss(policy, batch_of(stage, 100))
    assert loss.mean() < 0.8 * math.log(2)
    assert figures["accuracy"].mean() > 0.7
    for name, value in stage.reference.state_dict().items():
        assert torch.equal(value, before[name])


def test_pairs_come_with_the_seeds_and_axes_of_their_case(stage_of, data):
    stage = stage_of(rotate=0.0)
    batch = batch_of(stage)
    for row in range(8):
        pair = int((data.winners - batch["targets"][row, 0]).norm(dim=-1).argmin())
        assert torch.equal(batch["targets"][row, 1], data.losers[pair])
        assert torch.equal(batch["targets"][row, 2], data.anchors[pair])
        assert torch.equal(batch["seeds"][row], data.seeds[data.case[pair]])
        assert batch["lengths"][row] == data.lengths[data.case[pair]]
    axes = case_axes(batch["seeds"], batch["lengths"], stage.geometry)
    assert torch.allclose(batch["axes"], axes, atol=1e-6)


def test_rotated_batches_keep_all_inner_products(stage_of):
    def draw_vectors(rotate):
        batch = batch_of(stage_of(rotate=rotate))
        return torch.cat([batch["seeds"], batch["targets"], batch["axes"]], 1)

    plain, turned = draw_vectors(0.0), draw_vectors(1.0)
    assert not torch.allclose(plain, turned, atol=1e-2)
    assert torch.allclose(plain @ plain.transpose(1, 2), turned @ turned.transpose(1, 2), atol=1e-5)


def test_model_given_as_the_reference_can_still_be_trained(data, make_model):
    """A chain starts from the reference itself."""
    model = make_model(1)
    PreferenceStage("hppo_1", data, model, HPPOParams(), draw_geometry(DIMENSION, 2))
    assert all(parameter.requires_grad for parameter in model.parameters())
