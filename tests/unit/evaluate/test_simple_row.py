"""Worked examples follow their rule, and the simple row beside them is served as it was judged."""

from __future__ import annotations

import numpy as np
import pytest

from modit.evaluate.seeds.queries import ClosedFormRetriever, DomainKnowledge, local_feedback
from modit.evaluate.seeds.worked_examples import cases_at_percentiles
from modit.inference.retrieval import Query
from modit.inference.simple_row import STARTS_OF_KNOWN, MoveRetriever
from modit.inference.vote_file import WeightedMove, load_vote
from modit.metric.known_patterns import KnownPatterns
from modit.metric.predictor import DensityPredictor
from tests.unit.evaluate.test_untrained import World, drawn_geometry


@pytest.mark.parametrize("start", ["mean", "best + whitened", *STARTS_OF_KNOWN])
def test_a_move_is_served_as_it_was_judged_wherever_it_starts(vote_file, start):
    world = World()
    verdicts, geometry = world.verdicts(400), drawn_geometry(world)
    patterns = KnownPatterns.of(verdicts, world.label)
    # Judging leaves no item out of the evidence; serving leaves the seeds out, so here nothing is excluded.
    requests = [Query(each.seeds, each.k) for cluster in (0, 3) for each in world.requests(cluster, 3 + cluster)]
    setting = {"blend": start, "step": "both", "length": 0.6, "evidence": "30", "evidence_weight": 1.5}
    domain = DomainKnowledge(verdicts, DensityPredictor(geometry.density, 0.0, 1.0), geometry, patterns)
    judged = ClosedFormRetriever(local_feedback, domain, world.index, setting).retrieve(requests)
    vote = load_vote(vote_file.parent, threads=1)
    served = MoveRetriever.of(
        "drama", WeightedMove(**setting, weight=0.2), vote, geometry, world.index, patterns, verdicts
    ).retrieve(requests)
    for one, other in zip(served, judged, strict=True):
        assert np.abs(one.query - other.query).max() < 1e-5
        assert one.rows.tolist() == other.rows.tolist()


def test_examples_are_the_first_cases_of_patterns_by_the_order_of_their_gain_and_each_occurs_once():
    patterns = np.array([4, 2, 4, 9, 7, 1, 2], np.int32)
    gain = np.array([0.3, -0.1, 9.0, 0.0, 0.0, 0.8, -9.0])  # first cases: 0, 1, 3, 4, 5
    assert cases_at_percentiles(gain, patterns) == {25: 3, 50: 4, 75: 0}
    assert cases_at_percentiles(gain[:2], patterns[:2]) == {25: 1, 75: 0}
    assert cases_at_percentiles(gain[:1], patterns[:1]) == {25: 0}
