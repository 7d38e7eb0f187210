"""Sections of `params.yaml`: patterns, anchor labels, trajectories."""

from __future__ import annotations

from modit.core.params import AtLeastZero, Positive, Section, Share

# Of the second stage, the same for every domain (docs/adr/0047): how much longer than asked a list is fetched, the
# weight of log P(attribute and pattern) beside the inner product, and how fast P(pattern) falls beyond a border.
DEPTH, WEIGHT, SHARPNESS = 25, 0.1, 15.0


class PatternParams(Section):
    """Section `assign_patterns`: how positives are clustered and what is held out.

    Attributes:
        positives_per_pattern: aim for the size of a pattern.
        minimum: fewest patterns of a domain.
        maximum: most patterns of a domain (the paper: 1000).
        minimum_positives: positives that a pattern needs before it can be held out and judged.
        minimum_negatives: fewest items of a domain that the scorer denies the attribute; a domain with fewer is
            skipped.
        minimum_held_out: fewest patterns in test and in validation.
        test_share: share of patterns held out for test.
        validation_share: share of patterns held out for validation.
        item_test_share: share of items held out for test, by hash of the id.
        item_validation_share: share of items held out for validation.
        views: number of clusterings of the training positives that trajectories are drawn from.
        view_granularities: factors on the number of patterns, used in turn by the views.
    """

    positives_per_pattern: Positive = 50
    minimum: Positive = 8
    maximum: Positive = 60
    minimum_positives: Positive = 24
    minimum_negatives: AtLeastZero = 100
    minimum_held_out: Positive = 2
    test_share: Share = 1 / 6
    validation_share: Share = 1 / 6
    item_test_share: Share = 0.3
    item_validation_share: Share = 0.15
    views: Positive = 12
    view_granularities: tuple[float, ...] = (1.0, 0.6, 1.5)


class AnchorParams(Section):
    """Section `label_anchors`.

    Attributes:
        anchors: most anchors to label in a domain; all trainable items where there are fewer.
    """

    anchors: Positive = 20_000


class SequenceParams(Section):
    """Section `build_trajectories` (Algorithm 1).

    Attributes:
        length: L, items in a trajectory.
        seeds: m, the part of it that the model reads; the tail is the rest.
        normal_share: share of non-positive items in a pattern's pool.
        sequences: trajectories to draw for a domain.
        cases: cases of each evaluation split.
        validation_cases: cases of each validation split.
        minimum_case_seeds: fewest seeds of an evaluation case; smaller patterns are skipped by name.
    """

    length: Positive = 32
    seeds: Positive = 24
    normal_share: Share = 0.2
    sequences: Positive = 6_000
    cases: Positive = 500
    validation_cases: Positive = 300
    minimum_case_seeds: Positive = 6
