"""Whether the served lists are better on validation cases when they are reranked (docs/adr/0045, 0047).

Depth and weight are the same for every domain: a few validation patterns prefer some setting by chance, and the best of
a grid carried over worse than one setting for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from modit.core.memory import at_once
from modit.data.splits import VALIDATIONS, Split
from modit.data.vectors import mean_of_rows
from modit.hppo.readout import mean_of_kinds, pattern_means, standard_error
from modit.hppo.validation import Validator
from modit.metric.known_patterns import KnownPatterns
from modit.metric.list_metrics import list_metrics
from modit.metric.second_stage import SecondStage, log_goodness, reordering_scores
from modit.model.axes import Geometry
from modit.model.dit import MODiT
from modit.model.flow import sample_noise
from modit.model.readout import Readout
from modit.model.sampler import CASES_AT_ONCE, Sampler

_NOISE_SEED = 0


class RerankTrial(NamedTuple):
    """What the served lists and the reranked ones reach on validation.

    Attributes:
        none: Joint@K without rerank: of each kind of validation, and as `mean` what decides: the mean over the patterns
            of a kind, then over both kinds.
        reranked: The same with it.
        error: Standard error over patterns of the gain; infinite where a kind has one pattern.
    """

    none: dict[str, float]
    reranked: dict[str, float]
    error: float

    @property
    def hurts(self) -> bool:
        """Whether the reranked lists are worse by more than one standard error.

        Lists are better with the second stage in nearly every domain that was measured; a few validation patterns that
        say otherwise by less than this are more likely chance.
        """
        return round(self.reranked["mean"] - self.none["mean"] + self.error, 9) < 0

    def as_json(self) -> dict[str, Any]:
        """The figures for `second_stage.json`; the error is null where it is not known."""
        none, reranked = (
            {name: round(value, 6) for name, value in figures.items()} for figures in (self.none, self.reranked)
        )
        error = round(self.error, 6) if np.isfinite(self.error) else None
        return {"none": none, "reranked": reranked, "error": error}


@torch.no_grad()
def served_queries(
    model: MODiT, readout: Readout, guidance: float, validator: Validator, known: KnownPatterns
) -> dict[Split, np.ndarray]:
    """The queries that a domain answers validation cases with, unit [n, d] for each kind that has cases.

    Args:
        model: The last of HPPO.
        readout: Of the domain.
        guidance: The serving scale.
        validator: Of the domain.
        known: Patterns, which queries are moved by.
    """
    params, found = validator.sampler, {}
    sampler = Sampler(model, Geometry.of(validator.geometry), params.steps, params.samples, readout).eval()
    for split in VALIDATIONS:
        rows, block = validator.cases[split][0], at_once(CASES_AT_ONCE)
        seeds, mask = validator.seeds(split)
        noise = sample_noise((len(rows), seeds.shape[2]), torch.Generator().manual_seed(_NOISE_SEED))
        evidence = validator.verdicts.directions(mean_of_rows(validator.embeddings, rows))
        parts = []
        for start in range(0, len(rows), block):
            own = slice(start, start + block)
            near = torch.from_numpy(evidence[own])
            parts.append(sampler(seeds[own], mask[own], noise[own], torch.tensor(guidance), near).numpy())
        if parts:
            of_cases = [each[there] for each, there in zip(seeds.numpy(), mask.numpy(), strict=True)]
            found[split] = known.moved(np.concatenate(parts), of_cases)
    return found


def try_rerank(queries: Mapping[Split, np.ndarray], validator: Validator, stage: SecondStage) -> RerankTrial:
    """Judges lists with and without rerank: patterns weigh the same in their kind, and both kinds weigh the same.

    Args:
        queries: Of the served readout, unit [n, d] for each kind of validation that has cases.
        validator: Of the domain; its results are validation items.
        stage: What reranks; whether it is enabled is not read.

    Raises:
        ValueError: Neither kind of validation has a case.
    """
    if not queries:
        raise ValueError("neither kind of validation has a case to try the rerank on")
    none, reranked = {}, {}
    for split, vectors in queries.items():
        none[split], reranked[split] = _joint_of_both(split, vectors, validator, stage)
    patterns = {split: validator.cases[split][1] for split in queries}
    gains = [pattern_means((reranked[split] - none[split])[None], patterns[split]) for split in queries]
    return RerankTrial(_figures(none, patterns), _figures(reranked, patterns), float(standard_error(gains)[0]))


def _figures(joint: Mapping[Split, np.ndarray], patterns: Mapping[Split, np.ndarray]) -> dict[str, float]:
    """Mean Joint@K of each kind, and what decides."""
    mean = float(mean_of_kinds([(split, patterns[split], own[None]) for split, own in joint.items()])[0])
    return {str(split): float(own.mean()) for split, own in joint.items()} | {"mean": mean}


def _joint_of_both(
    split: Split, vectors: np.ndarray, validator: Validator, stage: SecondStage
) -> tuple[np.ndarray, np.ndarray]:
    """Joint@K of every case [n]: of the plain lists, and of the reranked ones."""
    seeds, patterns = validator.cases[split]
    reach = min(stage.depth * validator.k, max(validator.k, int(validator.visible.sum())))
    found = validator.index.search(vectors, reach, allowed=validator.visible, exclude=seeds)
    inside = stage.pattern_of(validator.embeddings)
    values = np.zeros_like(found.scores)
    for own, rows, case in zip(values, found.rows, seeds, strict=True):
        kept = rows[rows >= 0]
        in_pattern = inside.log_probability(validator.embeddings[case[case >= 0]], kept)
        own[rows >= 0] = log_goodness(stage.log_odds[kept], in_pattern)
    order = np.argsort(-reordering_scores(found.scores, values, stage.weight), axis=1, kind="stable")
    lists = found.rows, np.take_along_axis(found.rows, order, 1)
    plain, reranked = (
        list_metrics(rows[:, : validator.k], validator.positive, validator.patterns.labels, patterns).joint
        for rows in lists
    )
    return plain, reranked
