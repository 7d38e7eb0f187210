"""Answers before training: the file of the vote is the trained readout, and verdicts alone make it find more."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from modit.core.errors import ArtifactError, InsufficientDataError
from modit.data.vectors import unit
from modit.index.item_index import ItemIndex
from modit.index.params import IndexParams
from modit.inference.retrieval import (
    Query,
    Retriever,
    SamplerRetriever,
    generate_queries,
    padded_exclusions,
    padded_seeds,
)
from modit.inference.untrained import UntrainedDomain, mean_vote, untrained_retriever
from modit.inference.vote_file import VoteFile, WeightedMove, load_vote
from modit.metric.attribute_model import LogisticModel, fit_calibrated_logistic
from modit.metric.calibration import log_loss, probability
from modit.metric.evidence import KnownVerdicts
from modit.metric.predictor import DomainGeometry
from modit.model.axes import Geometry
from modit.model.readout import BLENDS, EVIDENCE, STEPS, Move, Readout, readout_json, vote
from modit.model.sampler import blends_of_seeds
from tests.unit.samplers import DIMENSION, SEEDS

ITEMS, CLUSTERS = 1_200, 6


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


@pytest.fixture(scope="module")
def file(vote_file) -> VoteFile:
    return load_vote(vote_file.parent, threads=1)


def all_moves() -> list[Move]:
    fixed = [Move(blend, step, 0.6) for blend in BLENDS for step in STEPS]
    return fixed + [Move(blend, STEPS[0], 0.3, name, 1.5) for blend in BLENDS for name in EVIDENCE]


def drawn_geometry(world: World) -> DomainGeometry:
    generator = np.random.default_rng(2)
    return DomainGeometry(
        unit(generator.standard_normal(DIMENSION)).astype(np.float32),
        unit(generator.standard_normal(DIMENSION)).astype(np.float32),
        world.embeddings.mean(0),
        np.linalg.inv(np.cov(world.embeddings.T) + 0.01 * np.eye(DIMENSION)).astype(np.float32),
    )


def test_the_file_votes_as_the_trained_readout_whatever_the_moves(world, file):
    verdicts, moves, geometry = world.verdicts(400), all_moves(), drawn_geometry(world)
    weights = np.random.default_rng(3).random(len(moves)).tolist()
    requests = [request for cluster in range(CLUSTERS) for request in world.requests(cluster, 2 + 2 * cluster)]
    content = readout_json(0.0, moves, weights)
    sampler = file.sampler("drama", mean_vote([content]), geometry)
    assert sampler.info.uses_evidence and sampler.info.maximum_seeds == SEEDS
    found = generate_queries(sampler, requests, verdicts)
    seeds, mask = (torch.from_numpy(part) for part in padded_seeds(requests))
    tensors = Geometry.of(geometry)
    evidence = verdicts.directions(unit(padded_seeds(requests)[0].sum(1)), padded_exclusions(requests))
    readout = Readout.of(0.0, moves, weights, tensors)
    expected = vote(blends_of_seeds(seeds, mask, tensors), readout, torch.from_numpy(evidence))
    assert np.abs(found - expected.numpy()).max() < 1e-5


def test_a_vote_of_one_fixed_move_looks_no_verdict_up(world, file):
    sampler = file.sampler("drama", [WeightedMove("best", "both", 0.3, "10", 0.0, 1.0)], drawn_geometry(world))
    assert not sampler.info.uses_evidence


def test_the_order_of_the_seeds_changes_nothing_even_where_they_are_equally_dense(world, file):
    blank = DomainGeometry(*np.zeros((3, DIMENSION), np.float32), np.eye(DIMENSION, dtype=np.float32))
    sampler = file.sampler("drama", [WeightedMove("best", "both", 0.3, "10", 0.0, 1.0)], blank)
    (request,) = world.requests(0)
    turned = Query(request.seeds[::-1].copy(), request.k)
    assert np.allclose(generate_queries(sampler, [request]), generate_queries(sampler, [turned]), atol=1e-6)


@pytest.mark.parametrize(
    ("field", "value"), [("blend", "middle"), ("step", "sideways"), ("evidence", "1000")], ids=lambda each: each
)
def test_a_move_that_the_file_does_not_know_is_refused(world, file, field, value):
    move = WeightedMove("mean", "density", 0.3, "10", 1.0, 1.0)._replace(**{field: value})
    with pytest.raises(ArtifactError, match=f"vote.onnx: {field} {value!r} of a move is unknown; allowed: "):
        file.sampler("drama", [move], drawn_geometry(world))


def test_a_folder_without_the_file_says_what_to_run(tmp_path):
    with pytest.raises(ArtifactError, match=r"vote\.onnx is missing: .* run export_sampler again"):
        load_vote(tmp_path)


def test_a_hundred_verdicts_find_more_in_the_pattern_with_the_attribute_than_the_mean_of_the_seeds(world, file):
    moves = mean_vote([readout_json(0.0, [Move("mean", "attribute", 0.6, "30", 0.6)], [1.0])])
    retriever = untrained_retriever("drama", world.verdicts(100), moves, file, world.index, k=20)
    average = file.sampler("drama", [WeightedMove("mean", "density", 0.0, "10", 0.0, 1.0)], drawn_geometry(world))

    def joint(retriever: Retriever[Query]) -> float:
        hits = []
        for cluster in range(CLUSTERS):
            rows = retriever.retrieve(world.requests(cluster))[0].rows
            hits.append((world.positive[rows] & (world.label[rows] == cluster)).mean())
        return float(np.mean(hits))

    assert joint(retriever) > joint(SamplerRetriever(average, world.index)) + 0.15
    # All seeds are without the attribute, so they lie off the centre of the positives of their own cluster.
    assert joint(UntrainedDomain.fit(retriever, world.verdicts(100)).reranker) > joint(retriever)
    chances = probability(UntrainedDomain.fit(retriever, world.verdicts(100)).log_odds)
    assert ((chances > 0) & (chances < 1)).all()
    unknown = ~world.verdicts(100).known
    assert chances[world.positive & unknown].mean() > chances[~world.positive & unknown].mean() + 0.1


def test_a_given_verdict_takes_the_place_of_the_probability_in_the_second_stage(world, file):
    moves, verdicts = [WeightedMove("mean", "both", 0.3, "10", 1.0, 1.0)], world.verdicts(ITEMS)
    found = UntrainedDomain.fit(untrained_retriever("drama", verdicts, moves, file, world.index, k=20), verdicts)
    assert ((found.log_odds > 0) == world.positive).all() and set(np.abs(found.log_odds)) == {6.0}
    rows = found.reranker.retrieve(world.requests(2))[0].rows
    assert world.positive[rows].all() and (world.label[rows] == 2).mean() > 0.9


def test_seeds_whose_verdict_is_known_are_no_evidence_of_what_is_near_them(world, file):
    moves = [WeightedMove("mean", "density", 0.0, "10", 2.0, 1.0)]
    verdicts = world.verdicts(ITEMS)
    retriever = untrained_retriever("drama", verdicts, moves, file, world.index, k=20)
    (request,) = world.requests(0)
    without = replace(verdicts, known=~np.isin(np.arange(ITEMS), request.exclude))
    query = retriever.retrieve([request])[0].query
    assert np.allclose(query, replace(retriever, verdicts=without).retrieve([request])[0].query, atol=1e-5)
    counted = Query(request.seeds, request.k)
    assert np.abs(query - retriever.retrieve([counted])[0].query).max() > 1e-3


def test_calibration_on_left_out_verdicts_brings_probabilities_nearer_to_the_truth(world):
    """Labels are noisy and few, so the regression is too sure of itself."""
    generator = np.random.default_rng(4)
    positive = np.where(generator.random(ITEMS) < 0.3, ~world.positive, world.positive)
    known = KnownVerdicts(world.embeddings, positive, world.verdicts(60).known)
    calibration, log_odds = fit_calibrated_logistic(known, 5, seed=0)
    unseen = ~known.known
    raw = LogisticModel(known, 0).log_odds(world.embeddings[unseen])
    assert calibration.method == "platt" and calibration.slope < 1
    assert log_loss(log_odds[unseen], positive[unseen]) < log_loss(raw, positive[unseen])


def test_five_verdicts_of_each_kind_are_enough_to_answer(world, file):
    known = np.zeros(ITEMS, bool)
    known[np.r_[np.flatnonzero(world.positive)[:5], np.flatnonzero(~world.positive)[:5]]] = True
    verdicts = KnownVerdicts(world.embeddings, world.positive, known)
    moves = [WeightedMove("mean", "both", 0.3, "10", 1.0, 1.0)]
    retriever = untrained_retriever("drama", verdicts, moves, file, world.index, k=20)
    assert len(retriever.retrieve(world.requests(1))[0].rows) == 20
    assert np.isfinite(UntrainedDomain.fit(retriever, verdicts).log_odds).all()


def test_votes_of_several_domains_are_averaged_and_old_ones_have_no_evidence():
    first = readout_json(0.5, [Move("mean", "density", 0.3), Move("best", "both", 1.0, "probe", 0.6)], [0.75, 0.25])
    second = {"share": 0.0, "moves": [{"blend": "mean", "step": "density", "length": 0.3, "weight": 1.0}]}
    found = mean_vote([first, second])
    assert [(move.blend, move.weight) for move in found] == [("mean", 0.875), ("best", 0.125)]


def test_too_few_verdicts_of_a_kind_are_refused(world, file):
    verdicts = KnownVerdicts(world.embeddings, np.ones(ITEMS, bool), world.verdicts(100).known)
    with pytest.raises(
        InsufficientDataError, match="100 positive and 0 negative verdicts; allowed: at least 5 of each"
    ):
        untrained_retriever("drama", verdicts, [], file, world.index, k=20)
