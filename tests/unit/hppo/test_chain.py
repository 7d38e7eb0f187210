"""The chain keeps what validation says is better and ends at the first round that is not; its reference stays."""

import copy
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from modit.hppo import chain
from modit.hppo.chain import ChainState, advance, best_blend, improves, run_chain
from modit.hppo.params import HPPOParams
from modit.hppo.round import draw_cases
from modit.hppo.validation import ValidationScore, interpolate, score_blends
from modit.metric.trajectories import Trajectories
from modit.training.session import Journal


def score(item, pattern):
    return ValidationScore(item, 0.8, pattern, 0.7, 2.0)


class Validator:
    """Scores a model by a table of one of its weights."""

    def __init__(self, joint):
        self.joint = joint

    def score(self, model):
        value = self.joint(model.bos[0].item())
        return score(value, value)


class Interrupted(Exception):
    pass


def fail():
    raise Interrupted


class Rounds:
    """Rounds of `STEPS` steps that each move the first BOS weight by one, from zero."""

    STEPS = 2

    def __init__(self, reference, joint, **section):
        self.reference, self.started, self.dies_at = reference, [], None
        self.reference.bos.data[0] = 0.0
        self.section = HPPOParams(**{"blends": (1.0,), "steps": self.STEPS} | section)
        self.context = SimpleNamespace(validator=Validator(joint))

    def move(self, policy, frozen, context, section, guidance, number, seed, log, checkpoint):
        self.started.append(policy.bos[0].item())
        assert frozen.bos[0].item() == 0.0
        log.rewind(0)
        for step in range(1, self.STEPS + 1):
            log(step, {"loss": number})
            if number == self.dies_at:
                raise Interrupted
        policy.bos.data[0] += 1.0
        return policy, {}

    def one_by_one(self, count):
        """As the steps of the pipeline run them."""
        state = ChainState.start(self.reference)
        for number in range(1, count + 1):
            journal = Journal("x", self.STEPS, logging.getLogger("test"))
            state = advance(state, self.reference, self.context, self.section, number, 0, journal)
        return state

    def whole(self, count, scratch):
        """As one chain; gives its journal too."""
        scratch.mkdir(exist_ok=True)
        journal = Journal("x", count * self.STEPS, logging.getLogger("test"), scratch / "curve.jsonl")
        rounds, start = range(1, count + 1), ChainState.start(self.reference)
        return run_chain(start, self.reference, self.context, self.section, rounds, 0, journal, scratch), journal


@pytest.fixture
def rounds_of(make_model, monkeypatch):
    def build(joint, **section):
        rounds = Rounds(make_model(), joint, **section)
        monkeypatch.setattr(chain, "run_round", rounds.move)
        return rounds

    return build


@pytest.fixture
def run(rounds_of):
    def rounds(joint, count, **section):
        found = rounds_of(joint, **section)
        return found.one_by_one(count), found.started

    return rounds


def rising(value):
    return 0.1 + 0.01 * value


def falling_after_two(value):
    return {0: 0.1, 1: 0.2, 2: 0.3}.get(value, 0.0)


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


def test_a_chain_has_no_more_rounds_than_its_section_says(run):
    state, started = run(lambda value: 0.1 + 0.01 * value, 4, rounds=2)
    assert len(started) == 2
    assert [record["kept"] for record in state.rounds] == [True, True, True, False, False]


def test_state_comes_back_as_it_was(run, tmp_path):
    state, _ = run(lambda value: 0.1 + 0.01 * value, 2)
    state.save(tmp_path)
    loaded = ChainState.load(tmp_path)
    assert (loaded.rounds, loaded.stopped) == (state.rounds, state.stopped)
    for name, value in state.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], value)


@pytest.mark.parametrize("joint", [rising, falling_after_two])
@pytest.mark.parametrize("variant", ["off_policy", "pareto"])
def test_a_whole_chain_does_what_its_rounds_do_one_by_one(rounds_of, tmp_path, joint, variant):
    expected = rounds_of(joint, variant=variant).one_by_one(4)
    state, _ = rounds_of(joint, variant=variant).whole(4, tmp_path)
    assert (state.rounds, state.stopped) == (expected.rounds, expected.stopped)
    assert state.model.bos[0].item() == expected.model.bos[0].item()


def test_an_interrupted_chain_goes_on_after_the_last_round_that_it_finished(rounds_of, tmp_path):
    expected, whole = rounds_of(rising).whole(4, tmp_path / "whole")
    rounds = rounds_of(rising)
    rounds.dies_at = 3
    with pytest.raises(Interrupted):
        rounds.whole(4, tmp_path / "parts")
    rounds.dies_at = None
    rounds.started.clear()
    state, journal = rounds.whole(4, tmp_path / "parts")
    assert rounds.started == [2.0, 3.0]
    assert state.rounds == expected.rounds
    assert torch.equal(state.model.bos, expected.model.bos)
    assert journal.curve == whole.curve


def test_a_finished_chain_is_not_trained_again(rounds_of, tmp_path):
    rounds = rounds_of(falling_after_two)
    first, curve = rounds.whole(4, tmp_path)
    rounds.started.clear()
    again, same = rounds.whole(4, tmp_path)
    assert rounds.started == []
    assert again.rounds == first.rounds
    assert torch.equal(again.model.bos, first.model.bos)
    assert same.curve == curve.curve


def test_a_state_that_was_not_written_to_its_end_is_not_taken(rounds_of, tmp_path, monkeypatch):
    rounds = rounds_of(rising)
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(chain, "save_model", lambda path, model: path.write_bytes(b"half") and fail())
        rounds.whole(2, tmp_path)
    state, _ = rounds.whole(2, tmp_path)
    assert rounds.started == [0.0, 0.0, 1.0]
    assert state.model.bos[0].item() == 2.0


def test_steps_of_a_chain_count_on_from_round_to_round(rounds_of, tmp_path):
    _, journal = rounds_of(rising).whole(3, tmp_path)
    assert [(point["step"], point["loss"]) for point in journal.curve] == [
        (1, 1),
        (2, 1),
        (3, 2),
        (4, 2),
        (5, 3),
        (6, 3),
    ]


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
