"""Sections of `params.yaml`: HPPO, its variants, and the second stage that is chosen after it."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator

from modit.core.params import Positive, Section, Share, Weight
from modit.metric.params import DEPTH, SHARPNESS, WEIGHT
from modit.training.params import Sharding

Variant = Literal["off_policy", "adaptive", "pareto", "pareto_epsilon"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)


class HPPOParams(Section):
    """Section `hppo`: candidates, pairs, loss and rounds (specification section 6).

    Attributes:
        variant: off_policy (one round from the frozen SFT, no filter), adaptive (relabelled each round, no filter),
            pareto (adaptive with the strict filter), pareto_epsilon (filter with `tolerance`).
        rounds: most rounds, of the four that the pipeline has tasks for; validation may end the chain before.
        cases: training cases labelled in a round.
        margin: delta of the case gate and the pairs.
        gate: what the best candidate must lead by `margin`: the second best (paper), or the query served today, which
            wins where it is not beaten.
        tolerance: epsilon of `pareto_epsilon`.
        beta: inverse temperature of the preference loss.
        anchor: the target of the anchor, the SFT tail centroid (paper) or the pair's winner.
        anchor_weight: lambda.
        draws: (time, noise) draws of each pair.
        curvature: Jacobi weight in the scores.
        use_static: static candidates in the pool.
        use_policy: the guidance fan in the pool.
        static_depths: depths of the static centroids over the tail.
        fan: guidance scales of the policy candidates.
        use_axes: blends of the seeds' means with steps along density and attribute in the pool.
        axis_steps: lengths of those steps.
        use_moves: moves of the served query in the pool: pulls to the seeds' means, steps along density and
            attribute.
        pull_steps: lengths of the pulls.
        move_steps: lengths of the steps of a move.
        case_weight: share of a case's own deviation from the mean of a kind of candidate that labels keep; 1 is the
            paper.
        blends: shares of a round's change of weights to try on validation cases.
        fall_allowed: most that Joint on validation items or validation patterns may fall in a round that is kept.
        rotate: share of pairs seen under a random rotation of everything, axes included.
        steps: optimiser steps of a round.
        batch: pairs in a step.
        sharding: as in the other training sections.
        learning_rate: peak; falls to nearly nothing in each round.
        weight_decay: of AdamW.
    """

    variant: Variant = "pareto_epsilon"
    rounds: Positive = 4
    cases: Positive = 800
    margin: Share = 0.01
    gate: Literal["second", "served"] = "served"
    tolerance: Share = 0.05
    beta: Annotated[float, Field(gt=0)] = 0.05
    anchor: Literal["tail", "winner"] = "winner"
    anchor_weight: Annotated[float, Field(ge=0)] = 1.0
    draws: Positive = 4
    curvature: Literal["none", "remaining", "travelled"] = "remaining"
    use_static: bool = False
    use_policy: bool = True
    static_depths: tuple[float, ...] = (0.2, 0.5, 0.7, 1.0)
    fan: tuple[float, ...] = (1.0, 2.0, 3.0, 6.0)
    use_axes: bool = True
    axis_steps: tuple[float, ...] = (0.15, 0.3, 0.45, 0.6, 0.8, 1.0, 1.3, 1.6)
    use_moves: bool = True
    pull_steps: tuple[float, ...] = (0.4,)
    move_steps: tuple[float, ...] = (0.2, 0.4)
    case_weight: Weight = 0.3
    blends: Annotated[tuple[Weight, ...], Field(min_length=1)] = (1.0, 0.5, 0.25)
    fall_allowed: Share = 0.01
    rotate: Weight = 1.0
    steps: Positive = 150
    batch: Positive = 64
    sharding: Sharding = "auto"
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.01


class HPPOVariantsParams(Section):
    """Section `hppo_variants`: variants of HPPO to train beside the one of section `hppo`, as further rows.

    Attributes:
        names: of the variants, each once and not the one of section `hppo`; none by default, because each costs a
            whole chain of rounds. Everything else is as in section `hppo`.
    """

    names: tuple[Variant, ...] = ()

    @field_validator("names")
    @classmethod
    def _each_once(cls, names: tuple[Variant, ...]) -> tuple[Variant, ...]:
        if len(set(names)) < len(names):
            raise ValueError(f"a variant is named twice; allowed: each of {', '.join(VARIANTS)} once")
        return tuple(name for name in VARIANTS if name in names)


AttributeModelKind = Literal["logistic", "neighbours", "trees", "mean"]


class SecondStageParams(Section):
    """Section `fit_second_stage`: the attribute model, and how lists are reranked (docs/adr/0045, 0047).

    Attributes:
        kinds: of attribute models that are fitted; validation chooses one, and the last is taken where it cannot.
        fewest_of_a_kind: positives, and negatives, among the validation items that a choice and a calibration need.
        depth: how much longer than asked a list is fetched.
        weight: of log P(attribute and pattern) beside the inner product.
        sharpness: how fast the probability of the pattern falls beyond the border to another one, in units of the
            patterns' mean spread.
        default: whether a request that does not say is reranked: "auto": unless the rerank is worse on
            validation by more than one standard error.
    """

    kinds: Annotated[tuple[AttributeModelKind, ...], Field(min_length=1)] = get_args(AttributeModelKind)
    fewest_of_a_kind: Positive = 20
    depth: Positive = DEPTH
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = WEIGHT
    sharpness: Annotated[float, Field(gt=0, allow_inf_nan=False)] = SHARPNESS
    default: Literal["auto", "on", "off"] = "auto"
