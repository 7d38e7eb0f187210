"""The choice of the readout on validation cases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from modit.data.splits import VALIDATIONS, ResultScope, Split
from modit.evaluate.seeds.context import EvaluationContext
from modit.hppo.readout import SHARES, VOTERS, choose_readout, mean_over_patterns, voters
from modit.hppo.validation import Validator
from modit.model.readout import MOVES
from modit.train.params import SamplerParams
from tests.unit.evaluate.conftest import build_context, build_generator


@pytest.fixture(scope="module")
def context() -> EvaluationContext:
    return build_context()


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
    )


def test_a_move_two_points_behind_weighs_a_third_and_few_vote() -> None:
    joint = np.zeros(len(MOVES))
    joint[[7, 50]] = 0.9, 0.88
    moves, weights = voters(joint)
    assert moves[:2] == [MOVES[7], MOVES[50]]
    assert weights[1] / weights[0] == pytest.approx(np.exp(-1))
    assert len(moves) == VOTERS and sum(weights) == pytest.approx(1)


def test_a_network_that_does_not_help_gets_no_share(context: EvaluationContext) -> None:
    """The world's attribute has one direction, and the network is untrained: only the vote finds it."""
    model = build_generator(context, 1).sampler.model
    choice = choose_readout(model, 2.0, validator_of(context))
    figures = {share: np.mean(list(by_kind.values())) for share, by_kind in choice.shares.items()}
    assert list(figures) == list(SHARES)
    assert choice.share == 0 and figures[0.0] == max(figures.values()) > figures[1.0] + 0.2
    assert all(move.length > 0 for move in choice.moves[:5])


def test_the_choice_sees_no_verdict_of_a_test_item(context: EvaluationContext) -> None:
    model = build_generator(context, 1).sampler.model
    hidden = ~context.patterns.visible_for_validation
    flipped = {"rare": np.where(hidden, ~context.positive, context.positive).astype(np.int8)}
    other = replace(context, catalog=replace(context.catalog, verdicts=flipped))
    expected = choose_readout(model, 2.0, validator_of(context)).as_json()
    assert choose_readout(model, 2.0, validator_of(other)).as_json() == expected


def test_one_kind_of_validation_is_enough_and_none_is_refused(context: EvaluationContext) -> None:
    model = build_generator(context, 1).sampler.model
    validator = validator_of(context)
    empty = (np.empty((0, 8), np.int32), np.empty(0, np.int32))
    cases = {**validator.cases, Split.PATTERN_VALIDATION: empty}
    one = choose_readout(model, 2.0, replace(validator, cases=cases))
    assert set(one.shares[0.0]) == {"item_validation"}
    with pytest.raises(ValueError, match="neither kind of validation has a case"):
        choose_readout(model, 2.0, replace(validator, cases=dict.fromkeys(VALIDATIONS, empty)))


def test_every_pattern_weighs_the_same_however_many_cases_it_has() -> None:
    joint = {Split.ITEM_VALIDATION: np.array([0.2, 0.4, 0.9]), Split.PATTERN_VALIDATION: np.array([0.0, 0.0])}
    patterns = {Split.ITEM_VALIDATION: np.array([1, 1, 2]), Split.PATTERN_VALIDATION: np.array([3, 3])}
    assert mean_over_patterns(joint, patterns) == pytest.approx((0.3 + 0.9 + 0.0) / 3)
