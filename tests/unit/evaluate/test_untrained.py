"""Answers before training: the vote in numpy is that of the trained readout, and verdicts alone make it find more."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from modit.core.errors import InsufficientDataError
from modit.data.vectors import unit
from modit.index.item_index import ItemIndex
from modit.index.params import IndexParams
from modit.inference.retrieval import Query, padded_exclusions, padded_seeds
from modit.inference.untrained import UntrainedDomain, VoteRetriever, WeightedMove, mean_vote
from modit.metric.evidence import KnownVerdicts
from modit.metric.predictor import DomainGeometry
from modit.model.axes import Geometry
from modit.model.readout import BLENDS, EVIDENCE, STEPS, Move, Readout, readout_json, vote
from modit.model.sampler import blends_of_seeds

ITEMS, DIMENSION, CLUSTERS = 1_200, 16, 6


class World:
    """Six clusters; in each, half of the items have the attribute: those on one side along a shared direction."""

    def __init__(self) -> None:
        generator = np.random.default_rng(0)
        centres = generator.standard_normal((CLUSTERS, DIMENSION))
        self.label = np.arange(ITEMS) % CLUSTERS
        side = generator.standard_normal(ITEMS)
        points = 2 * unit(centres)[self.label] + 0.25 * generator.standard_normal((ITEMS, DIMENSION))
        points[:, 0] += 0.35 * side
        self.embeddings, self.positive = unit(points), side > 0
        ids = np.array([f"i{number}" for number in range(ITEMS)])
        self.index = ItemIndex.build(self.embeddings, ids, IndexParams(kind="flat", threads=1))

    def verdicts(self, count: int) -> KnownVerdicts:
        known = np.zeros(ITEMS, bool)
        known[np.random.default_rng(1).permutation(ITEMS)[:count]] = True
        return KnownVerdicts(self.embeddings, self.positive, known)

    def requests(self, cluster: int, count: int = 8) -> list[Query]:
        seeds = np.flatnonzero((self.label == cluster) & ~self.positive)[:count]
        return [Query(self.embeddings[seeds], 20, exclude=seeds)]


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def all_moves() -> list[Move]:
    fixed = [Move(blend, step, 0.6) for blend in BLENDS for step in STEPS]
    return fixed + [Move(blend, STEPS[0], 0.3, name, 1.5) for blend in BLENDS for name in EVIDENCE]


def test_the_vote_is_that_of_the_trained_readout(world):
    generator = np.random.default_rng(2)
    verdicts, moves = world.verdicts(400), all_moves()
    geometry = DomainGeometry(
        unit(generator.standard_normal(DIMENSION)),
        unit(generator.standard_normal(DIMENSION)),
        world.embeddings.mean(0),
        np.linalg.inv(np.cov(world.embeddings.T) + 0.01 * np.eye(DIMENSION)).astype(np.float32),
    )
    weights = generator.random(len(moves)).tolist()
    requests = [request for cluster in range(CLUSTERS) for request in world.requests(cluster, 3 + 2 * cluster)]
    content = readout_json(0.0, moves, weights)
    found = VoteRetriever(mean_vote([content]), verdicts, geometry, world.index).queries(requests)
    seeds, mask = (torch.from_numpy(part) for part in padded_seeds(requests))
    tensors = Geometry.of(geometry)
    exclude = padded_exclusions(requests)
    evidence = torch.from_numpy(verdicts.directions(unit(padded_seeds(requests)[0].sum(1)), exclude))
    expected = vote(blends_of_seeds(seeds, mask, tensors), Readout.of(0.0, moves, weights, tensors), evidence)
    assert np.abs(found - expected.numpy()).max() < 1e-5


def test_the_order_of_the_seeds_changes_nothing_even_where_they_are_equally_dense(world):
    geometry = DomainGeometry(*np.zeros((3, DIMENSION), np.float32), np.eye(DIMENSION, dtype=np.float32))
    retriever = VoteRetriever(
        [WeightedMove("best", "both", 0.3, "10", 0.0, 1.0)], world.verdicts(50), geometry, world.index
    )
    (request,) = world.requests(0)
    turned = Query(request.seeds[::-1].copy(), request.k)
    assert np.allclose(retriever.queries([request]), retriever.queries([turned]), atol=1e-6)


def test_a_hundred_verdicts_find_more_in_the_pattern_with_the_attribute_than_the_mean_of_the_seeds(world):
    moves = mean_vote([readout_json(0.0, [Move("mean", "attribute", 0.6, "30", 0.6)], [1.0])])
    domain = UntrainedDomain.fit(world.verdicts(100), moves, world.index, k=20)
    average = VoteRetriever(
        [WeightedMove("mean", "density", 0.0, "10", 0.0, 1.0)], domain.vote.verdicts, domain.vote.geometry, world.index
    )

    def joint(retriever) -> float:
        hits = []
        for cluster in range(CLUSTERS):
            rows = retriever.retrieve(world.requests(cluster))[0].rows
            hits.append((world.positive[rows] & (world.label[rows] == cluster)).mean())
        return float(np.mean(hits))

    assert joint(domain.vote) > joint(average) + 0.15
    rows = np.arange(ITEMS)
    probability = domain.probability(rows)
    assert ((probability > 0) & (probability < 1)).all()
    assert probability[world.positive].mean() > probability[~world.positive].mean() + 0.1


def test_votes_of_several_domains_are_averaged_and_old_ones_have_no_evidence():
    first = readout_json(0.5, [Move("mean", "density", 0.3), Move("best", "both", 1.0, "probe", 0.6)], [0.75, 0.25])
    second = {"share": 0.0, "moves": [{"blend": "mean", "step": "density", "length": 0.3, "weight": 1.0}]}
    found = mean_vote([first, second])
    assert [(move.blend, move.weight) for move in found] == [("mean", 0.875), ("best", 0.125)]


def test_too_few_verdicts_of_a_kind_are_refused(world):
    verdicts = KnownVerdicts(world.embeddings, np.ones(ITEMS, bool), world.verdicts(100).known)
    with pytest.raises(
        InsufficientDataError, match="100 positive and 0 negative verdicts; allowed: at least 5 of each"
    ):
        UntrainedDomain.fit(verdicts, [], world.index, k=20)
