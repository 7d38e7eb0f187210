"""The chain keeps what validation says is better and ends at the first round that is not; its reference stays."""

import copy
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from modit.core.params import Params
from modit.hppo import chain
from modit.hppo.blends import interpolate, score_blends
from modit.hppo.chain import ChainState, advance, best_blend, improves
from modit.hppo.round import best_scored, draw_cases
from modit.hppo.validation import ValidationScore
from modit.metric.trajectories import Trajectories
from modit.train.journal import Journal


def score(item, pattern):
    return ValidationScore(item, 0.8, pattern, 0.7, 2.0)


class Validator:
    """Scores a model by a table of one of its weights."""

    def __init__(self, joint):
        self.joint = joint

    def score(self, model):
        value = self.joint(model.bos[0].item())
        return score(value, value)


@pytest.fixture
def run(make_model, monkeypatch):
    """Runs rounds that each move the first BOS weight by one, from zero."""

    def rounds(joint, count, **section):
        reference = make_model()
        reference.bos.data[0] = 0.0
        params = Params.model_validate({"hppo": {"blends": (1.0,), **section}})
        trajectories = Trajectories(np.arange(640, dtype=np.int32).reshape(20, 32), np.zeros(20), np.zeros(20))
        inputs = SimpleNamespace(validator=Validator(joint), trajectories=trajectories, world=None)
        started = []

        def move(policy, frozen, *arguments):
            started.append(policy.bos[0].item())
            assert frozen.bos[0].item() == 0.0
            policy.bos.data[0] += 1.0
            return policy, {}

        monkeypatch.setattr(chain, "run_round", move)
        state = ChainState.start(reference)
        for number in range(1, count + 1):
            state = advance(state, reference, inputs, params, number, 0, Journal("x", 1, logging.getLogger("test")))
        return state, started

    return rounds


def test_rounds_build_on_each_other_while_validation_rises(run):
    state, started = run(lambda value: 0.1 + 0.01 * value, 3)
    assert started == [0.0, 1.0, 2.0]
    assert state.model.bos[0].item() == 3.0
    assert [record["kept"] for record in state.rounds] == [True] * 4
    assert not state.stopped


def test_chain_stops_at_the_first_round_that_is_no_better_and_keeps_the_best(run):
    state, started = run(lambda value: {0: 0.1, 1: 0.2, 2: 0.15}.get(value, 0.9), 4)
    assert started == [0.0, 1.0]
    assert state.model.bos[0].item() == 1.0
    assert [record["kept"] for record in state.rounds] == [True, True, False, False, False]
    assert state.stopped


def test_first_round_must_beat_the_reference(run):
    state, _ = run(lambda value: 0.3 if value == 0 else 0.2, 1)
    assert state.model.bos[0].item() == 0.0
    assert state.stopped


def test_off_policy_is_one_round(run):
    state, started = run(lambda value: 0.1 + 0.01 * value, 2, variant="off_policy")
    assert started == [0.0]
    assert state.model.bos[0].item() == 1.0


def test_state_comes_back_as_it_was(run, tmp_path):
    state, _ = run(lambda value: 0.1 + 0.01 * value, 2)
    state.save(tmp_path)
    loaded = ChainState.load(tmp_path)
    assert (loaded.rounds, loaded.stopped) == (state.rounds, state.stopped)
    for name, value in state.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], value)


def test_an_unchanged_model_is_no_improvement_however_its_score_is_rounded():
    for value in (0.1234564, 0.1234566, 1 / 3, 2 / 3):
        assert not improves(score(value, value), score(value, value).as_dict(), 0.0)


def test_one_kind_may_not_fall_by_more_than_allowed():
    best = score(0.2, 0.2).as_dict()
    assert improves(score(0.4, 0.19), best, 0.02)
    assert not improves(score(0.4, 0.17), best, 0.02)
    assert not improves(score(0.17, 0.4), best, 0.02)


def test_blends_go_from_before_to_after_and_the_best_is_taken(make_model):
    before, after = make_model(1), make_model(2)
    for share, expected in ((0.0, before), (1.0, after)):
        for name, value in interpolate(before, after, share).state_dict().items():
            assert torch.allclose(value, expected.state_dict()[name], atol=1e-6)
    before.bos.data[0], after.bos.data[0] = 0.0, 1.0
    kept = copy.deepcopy(after.state_dict())
    blends = score_blends(before, after, (0.25, 0.5, 1.0), Validator(lambda value: 1 - abs(value - 0.5)))
    best = best_blend(blends, score(0.1, 0.1).as_dict(), 0.01)
    assert best.share == 0.5
    assert best.model.bos[0].item() == pytest.approx(0.5)
    assert torch.equal(after.state_dict()["bos"], kept["bos"])


def test_the_best_blend_is_taken_of_those_that_let_neither_kind_fall(make_model):
    class TwoKinds:
        """The whole step gains more on items than it loses on patterns; half of it loses nothing."""

        def score(self, model):
            share = model.bos[0].item()
            return score(0.2 + 0.4 * share, 0.2 if share < 0.75 else 0.1)

    before, after = make_model(1), make_model(2)
    before.bos.data[0], after.bos.data[0] = 0.0, 1.0
    blends = score_blends(before, after, (1.0, 0.5), TwoKinds())
    assert best_blend(blends, score(0.2, 0.2).as_dict(), 0.01).share == 0.5


def test_cases_are_trajectories_with_subsets_of_their_seeds():
    items = np.arange(120, dtype=np.int32).reshape(10, 12)
    cases = draw_cases(Trajectories(items, np.arange(10), np.arange(10, 20)), 8, 6, 0.5, seed=1)
    assert len(cases.seeds) == 6
    assert len(np.unique(cases.views)) == 6
    for row, seeds in enumerate(cases.seeds):
        assert np.array_equal(cases.trajectories[row], items[cases.views[row]])
        assert set(seeds[seeds >= 0]) <= set(items[cases.views[row], :8])
        assert cases.patterns[row] == cases.views[row] + 10


def test_best_scored_seeds_are_the_densest_third_of_each_row():
    density = np.array([0.1, 0.9, 0.5, 0.7, 0.3, 0.2])
    found = best_scored(np.array([[0, 1, 2, 3, 4, 5], [4, 0, -1, -1, -1, -1]]), density, 1 / 3)
    assert found.tolist() == [[-1, 1, -1, 3, -1, -1], [4, -1, -1, -1, -1, -1]]
