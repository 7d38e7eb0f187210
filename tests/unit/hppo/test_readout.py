"""The choice of the readout on validation cases."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from modit.data.splits import TRAIN, VALIDATION, VALIDATIONS, ResultScope, Split
from modit.data.vectors import unit
from modit.evaluate.seeds.context import EvaluationContext
from modit.evaluate.seeds.models import Generator
from modit.evaluate.seeds.queries import SeedFeatures
from modit.evaluate.seeds.task import SeedsTask
from modit.hppo.readout import MIDDLE, SHARES, VOTERS, choose_readout, choose_share, mean_of_kinds, voters
from modit.hppo.validation import Validator, fold_validators
from modit.index.params import RetrievalParams
from modit.inference.retrieval import search_together
from modit.metric.params import SequenceParams
from modit.model.axes import Geometry
from modit.model.readout import MOVES, Readout
from modit.model.sampler import Sampler
from modit.training.params import SamplerParams
from tests.unit.evaluate.conftest import build_context, build_generator


@pytest.fixture(scope="module")
def context() -> EvaluationContext:
    return build_context()


PARAMS = SimpleNamespace(
    retrieval=RetrievalParams(k=20),
    sampler=SamplerParams(steps=2, samples=2, guidance=(2.0,)),
    build_trajectories=SequenceParams(length=12, seeds=8, minimum_case_seeds=4),
)


def folds_of(context: EvaluationContext) -> list[Validator]:
    return fold_validators(context.catalog, context.patterns, "rare", context.index, PARAMS, 3, 12, 0)


def validator_of(context: EvaluationContext) -> Validator:
    allowed = context.patterns.may_be_results(Split.ITEM_VALIDATION, ResultScope.DISCOVERY)
    return Validator(
        context.catalog.embeddings,
        context.positive,
        context.patterns,
        allowed,
        {split: (context.cases[split].seeds, context.cases[split].patterns) for split in VALIDATIONS},
        context.geometry,
        context.index,
        SamplerParams(steps=2, samples=2, guidance=(2.0,)),
        context.depth(Split.ITEM_VALIDATION),
        context.known_verdicts.known,
    )


def test_a_move_two_points_behind_weighs_a_third_and_few_vote() -> None:
    joint = np.zeros(len(MOVES))
    joint[[7, 50]] = 0.9, 0.88
    moves, weights = voters(joint)
    assert moves[:2] == [MOVES[7], MOVES[50]]
    assert weights[1] / weights[0] == pytest.approx(np.exp(-1))
    assert len(moves) == VOTERS and sum(weights) == pytest.approx(1)


def test_a_network_that_does_harm_gets_hardly_a_share(context: EvaluationContext) -> None:
    """The world's attribute has one direction, and the network is untrained: only the vote finds it."""
    model = build_generator(context, 1).sampler.model
    choice = choose_readout(model, 2.0, validator_of(context))
    figures = {share: np.mean(list(by_kind.values())) for share, by_kind in choice.shares.items()}
    assert list(figures) == list(SHARES)
    assert choice.share <= 0.15 and figures[0.0] == max(figures.values()) > figures[1.0] + 0.2
    assert all(move.length > 0 for move in choice.moves[:5])


def test_the_choice_sees_no_verdict_of_a_test_item(context: EvaluationContext) -> None:
    model = build_generator(context, 1).sampler.model
    hidden = ~context.patterns.visible_for_validation
    flipped = {"rare": np.where(hidden, ~context.positive, context.positive).astype(np.int8)}
    other = replace(context, catalog=replace(context.catalog, verdicts=flipped))
    expected = choose_readout(model, 2.0, validator_of(context), folds_of(context)).as_json()
    assert choose_readout(model, 2.0, validator_of(other), folds_of(other)).as_json() == expected


def test_no_item_is_evidence_and_result_in_a_fold_and_none_of_them_is_held_out_from_training(
    context: EvaluationContext,
) -> None:
    folds = folds_of(context)
    for fold in folds:
        assert fold.known.any() and fold.visible.any() and not (fold.known & fold.visible).any()
        assert not ((fold.known | fold.visible) & ~context.patterns.trainable).any()
        for seeds, _ in fold.cases.values():
            assert len(seeds) and fold.visible[seeds[seeds >= 0]].all()
    held_out = np.sum([fold.patterns.pattern_split == VALIDATION for fold in folds], 0)
    np.testing.assert_array_equal(held_out, context.patterns.pattern_split == TRAIN)


def test_shuffled_verdicts_give_the_readout_no_gain(context: EvaluationContext) -> None:
    """A leak of a result's own verdict, or of one that a choice must not see, would show here first."""
    generator, gains = np.random.default_rng(5), []
    for _ in range(4):
        verdicts = generator.permutation(context.catalog.verdicts["rare"])
        other = replace(context, catalog=replace(context.catalog, verdicts={"rare": verdicts}))
        model = build_generator(other, 1).sampler.model
        choice = choose_readout(model, 2.0, validator_of(other), folds_of(other))
        geometry = Geometry.of(other.geometry)
        readout = Readout.of(0.0, choice.moves, choice.weights, geometry)
        sampler = Sampler(model, geometry, 2, 2, readout).eval()
        task = SeedsTask(other)
        cases = task.cases(Split.ITEM_HOLDOUT)
        served = Generator(sampler, 2.0, other.index, other.known_verdicts).retrieve(cases.requests)
        average = search_together(other.index, SeedFeatures(None, cases.requests).mean, cases.requests)
        gains.append(task.decide(cases, served).mean() - task.decide(cases, average).mean())
    assert np.mean(gains) < 0.04


def test_evidence_helps_where_no_direction_of_the_whole_domain_does(context: EvaluationContext) -> None:
    """Each pattern has its attribute on its own side: only the verdicts near the seeds say on which."""
    generator = np.random.default_rng(7)
    sides = unit(generator.standard_normal(context.patterns.centroids.shape))
    offsets = context.catalog.embeddings - context.patterns.centroids[context.patterns.labels]
    positive = (offsets * sides[context.patterns.labels]).sum(1) > 0.04
    catalog = replace(context.catalog, verdicts={"rare": positive.astype(np.int8)})
    other = replace(context, catalog=catalog)
    choice = choose_readout(build_generator(other, 1).sampler.model, 2.0, validator_of(other), folds_of(other))
    voting = {name: weight for name, weight in zip(choice.moves, choice.weights, strict=True) if name.evidence_weight}
    assert sum(voting.values()) > 0.8


def test_one_kind_of_validation_is_enough_and_none_is_refused(context: EvaluationContext) -> None:
    model = build_generator(context, 1).sampler.model
    validator = validator_of(context)
    empty = (np.empty((0, 8), np.int32), np.empty(0, np.int32))
    cases = {**validator.cases, Split.PATTERN_VALIDATION: empty}
    one = choose_readout(model, 2.0, replace(validator, cases=cases))
    assert set(one.shares[0.0]) == {"item_validation"}
    with pytest.raises(ValueError, match="neither kind of validation has a case"):
        choose_readout(model, 2.0, replace(validator, cases=dict.fromkeys(VALIDATIONS, empty)))


def test_every_pattern_weighs_the_same_in_its_kind_and_both_kinds_weigh_the_same() -> None:
    items, patterns = Split.ITEM_VALIDATION, Split.PATTERN_VALIDATION
    judged = [
        (items, np.array([1, 1, 2]), np.array([[0.2, 0.4, 0.9]])),
        (items, np.array([1]), np.array([[0.0]])),
        (patterns, np.array([3, 3]), np.array([[0.5, 0.7]])),
    ]
    assert mean_of_kinds(judged) == pytest.approx([((0.3 + 0.9 + 0.0) / 3 + 0.6) / 2])


def shares_of(joint_by_pattern: list[list[float]]) -> float:
    """The share chosen where each pattern has one case, of figures [share][pattern] of one kind."""
    joint = np.array(joint_by_pattern)
    return choose_share({Split.ITEM_VALIDATION: joint}, {Split.ITEM_VALIDATION: np.arange(joint.shape[1])})


def test_the_middle_share_is_taken_unless_another_is_clearly_better() -> None:
    noise = [[0.5, 0.4, 0.6, 0.3]] * len(SHARES)
    noise[0] = [0.8, 0.2, 0.7, 0.15]  # better on average, and not in every pattern
    assert shares_of(noise) == MIDDLE
    clear = [[0.5, 0.4, 0.6, 0.3]] * len(SHARES)
    clear[0] = [0.6, 0.51, 0.7, 0.4]
    assert shares_of(clear) == 0
